#include "io/peer_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

namespace io {

namespace {

// The specific form of a generic address, copied because the two must not alias.
template <class Address>
Address address_as(const sockaddr_storage& storage) {
    Address address;
    static_assert(sizeof address <= sizeof storage);
    std::memcpy(&address, &storage, sizeof address);
    return address;
}

std::string ipv4_text(const sockaddr_in& address) {
    char text[INET_ADDRSTRLEN] = {};
    inet_ntop(AF_INET, &address.sin_addr, text, sizeof text);
    return std::string(text) + ":" + std::to_string(ntohs(address.sin_port));
}

std::string ipv6_text(const sockaddr_in6& address) {
    char text[INET6_ADDRSTRLEN] = {};
    inet_ntop(AF_INET6, &address.sin6_addr, text, sizeof text);
    return std::string("[") + text + "]:" + std::to_string(ntohs(address.sin6_port));
}

std::string unix_text(const sockaddr_un& address, socklen_t length) {
    constexpr size_t path_offset = offsetof(sockaddr_un, sun_path);
    // A client rarely binds its end, and accept(2) then answers the family alone. A name that
    // begins with a zero byte is an abstract one, which is written with '@' (unix(7)).
    if (length <= path_offset) return "unix";
    // The kernel's length of a path counts a zero byte behind it, even where there is no room for
    // it.
    const size_t name_bytes = std::min<size_t>(length - path_offset, sizeof address.sun_path);
    if (address.sun_path[0] == '\0') {
        return std::string("unix:@").append(address.sun_path + 1, name_bytes - 1);
    }
    return std::string("unix:").append(address.sun_path, strnlen(address.sun_path, name_bytes));
}

}  // namespace

std::string address_text(const sockaddr_storage& storage, socklen_t length) {
    switch (storage.ss_family) {
        case AF_INET: return ipv4_text(address_as<sockaddr_in>(storage));
        case AF_INET6: return ipv6_text(address_as<sockaddr_in6>(storage));
        case AF_UNIX: return unix_text(address_as<sockaddr_un>(storage), length);
    }
    return "unknown";
}

std::string peer_text(const PeerAddress& peer) {
    return address_text(peer.storage, peer.length);
}

bool is_loopback(const sockaddr_storage& storage) {
    switch (storage.ss_family) {
        case AF_INET: return ntohl(address_as<sockaddr_in>(storage).sin_addr.s_addr) >> 24 == 127;
        case AF_INET6: {
            const sockaddr_in6 address = address_as<sockaddr_in6>(storage);
            return std::memcmp(&address.sin6_addr, &in6addr_loopback, sizeof in6addr_loopback) == 0;
        }
        case AF_UNIX: return true;
    }
    return false;
}

}  // namespace io
