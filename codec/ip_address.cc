#include "codec/ip_address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

namespace codec {

namespace {

constexpr std::array<uint8_t, 12> v4_prefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

}  // namespace

bool IpAddress::is_v4() const {
    return std::equal(v4_prefix.begin(), v4_prefix.end(), bytes.begin());
}

IpAddress ip_address_of_v4(std::span<const uint8_t, 4> bytes) {
    IpAddress address;
    std::copy(v4_prefix.begin(), v4_prefix.end(), address.bytes.begin());
    std::copy(bytes.begin(), bytes.end(), address.bytes.begin() + v4_prefix.size());
    return address;
}

IpAddress ip_address_of_v6(std::span<const uint8_t, 16> bytes) {
    IpAddress address;
    std::copy(bytes.begin(), bytes.end(), address.bytes.begin());
    return address;
}

std::optional<IpAddress> parse_ip_address(std::string_view text) {
    char terminated[INET6_ADDRSTRLEN] = {};
    if (text.size() >= sizeof terminated || text.find('\0') != std::string_view::npos) return {};
    text.copy(terminated, text.size());
    std::array<uint8_t, 4> v4{};
    if (inet_pton(AF_INET, terminated, v4.data()) == 1) return ip_address_of_v4(v4);
    IpAddress address;
    if (inet_pton(AF_INET6, terminated, address.bytes.data()) == 1) return address;
    return {};
}

std::string ip_address_text(const IpAddress& address) {
    char text[INET6_ADDRSTRLEN] = {};
    if (address.is_v4()) {
        inet_ntop(AF_INET, address.bytes.data() + v4_prefix.size(), text, sizeof text);
    } else {
        inet_ntop(AF_INET6, address.bytes.data(), text, sizeof text);
    }
    return text;
}

}  // namespace codec
