#include "broker/trusted_proxies.h"

#include <algorithm>

#include "broker/units.h"

namespace broker {

namespace {

constexpr uint8_t address_bits = 128;
constexpr uint8_t v4_bits = 32;

// The bits of the byte that belong to the prefix.
uint8_t prefix_mask(uint32_t prefix_bits, uint32_t byte) {
    if (prefix_bits >= (byte + 1) * 8) return 0xff;
    if (prefix_bits <= byte * 8) return 0;
    return static_cast<uint8_t>(0xff << (8 - prefix_bits % 8));
}

}  // namespace

bool Cidr::contains(const codec::IpAddress& address) const {
    for (uint32_t byte = 0; byte < address.bytes.size(); ++byte) {
        const uint8_t different = address.bytes[byte] ^ network.bytes[byte];
        if ((different & prefix_mask(prefix_bits, byte)) != 0) return false;
    }
    return true;
}

std::optional<Cidr> parse_cidr(std::string_view text) {
    const size_t slash = text.find('/');
    const std::optional<codec::IpAddress> network = codec::parse_ip_address(text.substr(0, slash));
    if (!network) return {};
    Cidr block{.network = *network, .prefix_bits = address_bits};
    if (slash != std::string_view::npos) {
        const std::string_view digits = text.substr(slash + 1);
        const std::optional<uint64_t> bits = parse_number(digits);
        // "::ffff:10.0.0.0/104" counts its bits as IPv6 does, "10.0.0.0/8" as IPv4 does.
        const bool counts_as_v4 = text.substr(0, slash).find(':') == std::string_view::npos;
        const uint8_t bits_max = counts_as_v4 ? v4_bits : address_bits;
        if (!bits || *bits > bits_max) return {};
        block.prefix_bits = static_cast<uint8_t>(address_bits - bits_max + *bits);
    }
    for (uint32_t byte = 0; byte < block.network.bytes.size(); ++byte) {
        if ((block.network.bytes[byte] & ~prefix_mask(block.prefix_bits, byte)) != 0) return {};
    }
    return block;
}

TrustedProxies::TrustedProxies(std::span<const std::string> names) {
    for (const std::string& name : names) {
        if (name == unix_name) trusts_unix_ = true;
        if (const std::optional<Cidr> block = parse_cidr(name)) blocks_.push_back(*block);
    }
}

bool TrustedProxies::trusts(const codec::IpAddress& address) const {
    if (address.is_none()) return trusts_unix_;
    return std::any_of(blocks_.begin(), blocks_.end(),
                       [&](const Cidr& block) { return block.contains(address); });
}

}  // namespace broker
