#include "tools/url.h"

#include <sys/un.h>

#include <algorithm>
#include <charconv>

namespace tools {
namespace {

// Anything else could break the request line or the Host field.
bool is_visible_ascii(char character) {
    return character > ' ' && character < '\x7f';
}

std::string parse_unix(std::string_view text, Url& url) {
    const size_t colon = text.find(":/");
    if (colon != std::string_view::npos) {
        url.target = text.substr(colon + 1);
        text = text.substr(0, colon);
    }
    if (text.empty()) return "the path of the Unix socket is missing";
    // sun_path ends with a zero (unix(7)).
    if (text.size() >= sizeof(sockaddr_un::sun_path)) {
        return "the path of the Unix socket is longer than 107 bytes";
    }
    url.host.clear();
    url.socket_path = text;
    return "";
}

std::string parse_port(std::string_view text, Url& url) {
    uint16_t port = 0;
    const char* end = text.data() + text.size();
    const auto [parsed, error] = std::from_chars(text.data(), end, port);
    if (error != std::errc{} || parsed != end || port == 0) {
        return "the port '" + std::string(text) + "' is not a number from 1 to 65535";
    }
    url.port = port;
    return "";
}

std::string parse_authority(std::string_view text, Url& url) {
    url.socket_path.clear();
    url.port = default_port;
    std::string_view after_host;
    if (text.starts_with('[')) {
        const size_t bracket = text.find(']');
        if (bracket == std::string_view::npos) return "the ']' after the IPv6 address is missing";
        url.host = text.substr(1, bracket - 1);
        after_host = text.substr(bracket + 1);
        if (!after_host.empty() && after_host[0] != ':') return "after ']' only ':port' may stand";
    } else {
        const size_t colon = text.find(':');
        url.host = text.substr(0, colon);
        if (colon != std::string_view::npos) after_host = text.substr(colon);
        if (after_host.find(':', 1) != std::string_view::npos) {
            return "an IPv6 address must stand in brackets, e.g. ws://[::1]:7788/ws";
        }
    }
    if (url.host.empty()) return "the host is missing";
    if (url.host.find('@') != std::string::npos) return "a user name in the URL is not supported";
    return after_host.empty() ? "" : parse_port(after_host.substr(1), url);
}

std::string with_port(const std::string& host, uint16_t port) {
    const bool is_ipv6 = host.find(':') != std::string::npos;
    return (is_ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

}  // namespace

std::string Url::place() const {
    if (is_unix()) return "unix:" + socket_path;
    return with_port(host, port);
}

std::string Url::host_field() const {
    if (is_unix()) return "localhost";
    // A zone, as in fe80::1%eth0, means something on this machine only (RFC 6874 section 3).
    return with_port(host.substr(0, host.find('%')), port);
}

std::string parse_url(std::string_view text, Url& url) {
    if (!std::ranges::all_of(text, is_visible_ascii)) {
        return "a URL holds no spaces, control characters or bytes beyond ASCII";
    }
    url.target = "/ws";
    if (text.starts_with("unix:")) return parse_unix(text.substr(5), url);
    const size_t scheme_end = text.find("://");
    if (scheme_end != std::string_view::npos) {
        const std::string_view scheme = text.substr(0, scheme_end);
        if (scheme == "wss") {
            return "wss:// is not supported: the broker speaks plain TCP, TLS ends at a proxy "
                   "before it";
        }
        if (scheme != "ws") {
            return "the scheme '" + std::string(scheme) +
                   "' is unknown; write ws://host:port/path or unix:/path";
        }
        text.remove_prefix(scheme_end + 3);
    }
    // A fragment means nothing to a server and may not stand in a WebSocket URL (RFC 6455 §3).
    if (text.find('#') != std::string_view::npos) return "a WebSocket URL has no '#' fragment";
    const size_t slash = text.find_first_of("/?");
    if (slash != std::string_view::npos) {
        url.target = text.substr(slash);
        if (url.target[0] == '?') url.target.insert(0, "/");
        if (url.target == "/") url.target = "/ws";
    }
    return parse_authority(text.substr(0, slash), url);
}

}  // namespace tools
