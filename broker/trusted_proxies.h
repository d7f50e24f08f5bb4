// TrustedProxies: from whom an account of somebody else's address is believed.
//
// Owner: a shard, constant. Thread: any.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "codec/ip_address.h"

namespace broker {

// A block of addresses (RFC 4632), those of IPv4 as IPv6 maps them.
struct Cidr {
    codec::IpAddress network;  // the bits behind the prefix are 0
    uint8_t prefix_bits;       // of 128

    bool contains(const codec::IpAddress& address) const;
};

// "10.0.0.0/8", "2001:db8::/32", or one address. Nothing when it is anything else, also when bits
// are set behind the prefix: 10.1.2.3/8 is most likely a mistake.
std::optional<Cidr> parse_cidr(std::string_view text);

class TrustedProxies {
  public:
    // The name that stands for whoever connects over a Unix socket.
    static constexpr std::string_view unix_name = "unix";

    // What is neither unix_name nor a block is left out; validate_settings() has refused it.
    explicit TrustedProxies(std::span<const std::string> names);

    // An address that is none is that of a Unix socket's other end.
    bool trusts(const codec::IpAddress& address) const;

  private:
    bool trusts_unix_ = false;
    std::vector<Cidr> blocks_;
};

}  // namespace broker
