// How socket addresses are written: "127.0.0.1:5555", "[::1]:5555", "unix:/run/fanfare.sock", and
// just "unix" for the nameless other end of a Unix socket.
#pragma once

#include <sys/socket.h>

#include <string>

#include "io/reactor.h"

namespace io {

[[nodiscard]] std::string address_text(const sockaddr_storage& storage, socklen_t length);
[[nodiscard]] std::string peer_text(const PeerAddress& peer);

// Whether only this machine can be at that address: 127.0.0.0/8, ::1, or a Unix socket.
[[nodiscard]] bool is_loopback(const sockaddr_storage& storage);

}  // namespace io
