// IpAddress: an IPv4 or IPv6 address without a port, in one form for both. Pure; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace codec {

struct IpAddress {
    // In network order; IPv4 as IPv6 maps it (RFC 4291 §2.5.5.2), ::ffff:a.b.c.d.
    std::array<uint8_t, 16> bytes{};

    // "::", which no peer can have: the address of somebody who has none, or is not known.
    bool is_none() const { return *this == IpAddress{}; }
    bool is_v4() const;
    friend bool operator==(const IpAddress&, const IpAddress&) = default;
};

IpAddress ip_address_of_v4(std::span<const uint8_t, 4> bytes);
IpAddress ip_address_of_v6(std::span<const uint8_t, 16> bytes);

// "192.0.2.1" or "2001:db8::1": no port, brackets, zone or space.
std::optional<IpAddress> parse_ip_address(std::string_view text);
// "192.0.2.1", "2001:db8::1"; mapped ones as IPv4.
std::string ip_address_text(const IpAddress& address);

}  // namespace codec
