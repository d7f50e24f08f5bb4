// Url: where the broker is, as people write it. Pure; any thread.
//
//   ws://host[:port][/path[?query]]     port 7788 and path /ws when left out
//   host[:port][/path]                  the same without the scheme
//   unix:/path/of/socket[:/path]        a Unix socket, as --listen names it
//
// An IPv6 address stands in brackets. wss:// is refused with a sentence: the broker speaks plain
// TCP, and TLS ends at a proxy in front of it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tools {

inline constexpr std::string_view default_url = "ws://127.0.0.1:7788/ws";
inline constexpr uint16_t default_port = 7788;

struct Url {
    std::string host;  // without brackets; empty for a Unix socket
    uint16_t port = default_port;
    std::string socket_path;  // empty for TCP
    std::string target = "/ws";

    bool is_unix() const { return !socket_path.empty(); }
    // For messages: "127.0.0.1:7788", "[::1]:7788" or "unix:/run/fanfare.sock".
    std::string place() const;
    // The Host field of the request. For a Unix socket "localhost", which every listener takes.
    std::string host_field() const;
};

// Fills `url`. Answers what is wrong, in one sentence; empty when all is well.
[[nodiscard]] std::string parse_url(std::string_view text, Url& url);

}  // namespace tools
