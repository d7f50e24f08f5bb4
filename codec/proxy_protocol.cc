#include "codec/proxy_protocol.h"

#include <algorithm>
#include <array>

namespace codec {

namespace {

using Kind = ProxyHeader::Kind;

constexpr std::array<uint8_t, 12> signature = {'\r', '\n', '\r', '\n', 0,   '\r',
                                               '\n', 'Q',  'U',  'I',  'T', '\n'};
constexpr size_t version_at = 12;
constexpr size_t family_at = 13;
constexpr size_t length_at = 14;
constexpr size_t fixed_bytes = 16;
constexpr size_t tlv_head_bytes = 3;  // the type, and a length of two bytes

constexpr uint8_t version_2_local = 0x20;
constexpr uint8_t version_2_proxy = 0x21;

// Of family and transport, and how many bytes of addresses follow: source, destination, and the
// ports of both.
constexpr uint8_t unspecified = 0x00;
constexpr uint8_t tcp_over_ipv4 = 0x11;
constexpr uint8_t tcp_over_ipv6 = 0x21;
constexpr uint8_t unix_stream = 0x31;
// What the specification knows besides. It wants them taken as unspecified by receivers that do not
// support them, and everything else refused.
constexpr uint8_t udp_over_ipv4 = 0x12;
constexpr uint8_t udp_over_ipv6 = 0x22;
constexpr uint8_t unix_datagram = 0x32;
constexpr size_t ipv4_addresses_bytes = 4 + 4 + 2 + 2;
constexpr size_t ipv6_addresses_bytes = 16 + 16 + 2 + 2;
constexpr size_t unix_addresses_bytes = 108 + 108;

ProxyHeader need_more() {
    return {.kind = Kind::need_more};
}

ProxyHeader invalid(const char* reason) {
    return {.kind = Kind::invalid, .reason = reason};
}

size_t get_16(std::span<const uint8_t> bytes) {
    return static_cast<size_t>(bytes[0]) << 8 | bytes[1];
}

// Whether the type-length-values fill their room exactly.
bool are_tlvs_whole(std::span<const uint8_t> bytes) {
    while (!bytes.empty()) {
        if (bytes.size() < tlv_head_bytes) return false;
        const size_t tlv_bytes = tlv_head_bytes + get_16(bytes.subspan(1));
        if (bytes.size() < tlv_bytes) return false;
        bytes = bytes.subspan(tlv_bytes);
    }
    return true;
}

}  // namespace

ProxyHeader parse_proxy_header(std::span<const uint8_t> bytes) {
    const size_t compared = std::min(bytes.size(), signature.size());
    if (!std::equal(signature.begin(), signature.begin() + static_cast<ptrdiff_t>(compared),
                    bytes.begin())) {
        return invalid("the connection does not begin with a PROXY protocol v2 header");
    }
    if (bytes.size() <= version_at) return need_more();
    const bool is_local = bytes[version_at] == version_2_local;
    if (!is_local && bytes[version_at] != version_2_proxy) {
        return invalid("the PROXY header has another version than 2, or an unknown command");
    }
    if (bytes.size() <= family_at) return need_more();
    const uint8_t family = bytes[family_at];
    size_t addresses_bytes = 0;
    switch (family) {
        case unspecified:
        case udp_over_ipv4:
        case udp_over_ipv6:
        case unix_datagram: break;
        case tcp_over_ipv4: addresses_bytes = ipv4_addresses_bytes; break;
        case tcp_over_ipv6: addresses_bytes = ipv6_addresses_bytes; break;
        case unix_stream: addresses_bytes = unix_addresses_bytes; break;
        default:
            // What a LOCAL header says besides is to be ignored (§2.2).
            if (!is_local) return invalid("the PROXY header is about an unknown protocol");
    }
    if (bytes.size() < fixed_bytes) return need_more();
    const size_t rest_bytes = get_16(bytes.subspan(length_at));
    if (fixed_bytes + rest_bytes > proxy_header_bytes_max) {
        return invalid("the PROXY header is too long");
    }
    const bool has_no_addresses = is_local || addresses_bytes == 0;
    if (!has_no_addresses && rest_bytes < addresses_bytes) {
        return invalid("the PROXY header is too short for its addresses");
    }
    if (bytes.size() < fixed_bytes + rest_bytes) return need_more();
    ProxyHeader header{.kind = Kind::header,
                       .header_bytes = static_cast<uint32_t>(fixed_bytes + rest_bytes),
                       .is_local = has_no_addresses};
    if (has_no_addresses) return header;
    const std::span<const uint8_t> rest = bytes.subspan(fixed_bytes, rest_bytes);
    if (!are_tlvs_whole(rest.subspan(addresses_bytes))) {
        return invalid("the PROXY header's type-length-values do not fit its length");
    }
    if (family == tcp_over_ipv4) header.source = ip_address_of_v4(rest.first<4>());
    if (family == tcp_over_ipv6) header.source = ip_address_of_v6(rest.first<16>());
    return header;
}

}  // namespace codec
