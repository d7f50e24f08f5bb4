// Listener: the address that the broker listens on, and the listening sockets of the shards.
//
// Owner: main, at start-up; each socket then goes to the reactor of its shard
// (Reactor::listener_add).
// Thread: any one; the calls block.
// Invariants:
//  1. Each shard gets a listening descriptor of its own. For TCP they form a group (SO_REUSEPORT),
//     over which the kernel spreads connections. For a Unix socket, which knows no such groups,
//     they are duplicates of one socket, and whichever shard is free accepts.
//  2. Two processes never share an address: opening what another process listens on is an error,
//     even when both start at the same moment.
//  3. What accepted connections need is set on the listener, from which they inherit it:
//     TCP_NODELAY (a frame must not wait for the acknowledgement of the last one),
//     TCP_NOTSENT_LOWAT (the kernel takes little more than it can send, so the broker notices a
//     slow reader while its queue is still ours) and TCP_USER_TIMEOUT (the kernel gives up a peer
//     that has vanished with bytes on the way to it).
// Limits: a queue of 4096 connections that wait to be accepted (the kernel may lower it:
// net.core.somaxconn).
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace io {

struct ListenAddress {
    sockaddr_storage storage{};
    socklen_t length = 0;
};

// "127.0.0.1:7788", "[::1]:7788", "0.0.0.0:80" or "unix:/path". Port 0 lets the kernel choose.
// False: `error` says what is wrong and how it is written right.
[[nodiscard]] bool parse_listen_address(std::string_view text, ListenAddress& address,
                                        std::string& error);

struct Listening {
    std::vector<int> fds;      // one per shard, the caller's; empty when opening failed
    std::string bound;         // "127.0.0.1:45123": the port is known here even if 0 was asked for
    bool is_loopback = false;  // only this machine can connect
    std::string error;         // why it failed and what helps; empty when it did not
    int error_number = 0;      // the errno behind `error`; EAFNOSUPPORT: this machine has no IPv6
};

// What TCP connections are given; a Unix socket knows nothing of it.
struct ConnectionOptions {
    uint32_t unsent_bytes_max = 64 * 1024;  // that the kernel takes before it can send them
    uint32_t unacknowledged_ms_max = 0;     // how long sent bytes may be; 0: the kernel's, minutes
};

[[nodiscard]] Listening open_listening(const ListenAddress& address, uint32_t shards_count,
                                       const ConnectionOptions& options = {});

// The first half of closing a listening TCP socket that nobody is to notice: from here on the
// kernel drops each SYN that comes, so that the queue can be emptied for good. A connection that
// came between the last accept and close(2) would be reset; a client whose SYN is dropped repeats
// it after a second (RFC 6298 section 2.1), and is then refused, or let in by a successor.
void drop_new_handshakes(int listening_fd);

}  // namespace io
