// The opening handshake of RFC 6455 §4.2, and the rules of who may speak to us: Host and Origin.
// Pure; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "codec/http.h"

namespace codec {

struct AccessPolicy {
    // True for listeners on loopback: then only loopback names are accepted in Host, so that a
    // foreign web page that rebinds its own name to 127.0.0.1 does not get in.
    bool loopback_only;
    // Origins accepted besides the one whose host:port equals Host. Each "scheme://host[:port]", or
    // "*".
    std::span<const std::string> allowed_origins;
};

struct Refusal {
    uint16_t status = 0;  // 0: nothing to refuse
    // One sentence for the body. Nothing that the peer sent is in it.
    std::string reason;
    const char* extra_fields = "";  // e.g. "Sec-WebSocket-Version: 13\r\n"
};

// Host and Origin, for every request (not only upgrades): 400 for an unusable Host, also one that
// absolute-form replaces; 403 for a foreign name on a loopback listener and for a foreign Origin.
// No Origin is not a browser, and is accepted. "null", which browsers send for sandboxed frames and
// files, is foreign. Ports that a scheme implies may be left out on either side.
Refusal check_access(const HttpRequest& request, const AccessPolicy& policy);

// Whether it is "host[:port]" by RFC 3986 §3.2.2 and §3.2.3: a name, an IPv4 address or a bracketed
// IPv6 one, without user information.
bool is_host(std::string_view host);

// Whether "host[:port]" names this machine's loopback: localhost, *.localhost, 127.0.0.0/8, [::1].
bool is_loopback_host(std::string_view host);

struct UpgradePolicy {
    std::span<const std::string_view> subprotocols;  // the known ones, in the order of preference
    bool any_subprotocol = false;  // accept the first offered, or none (the echo path)
};

struct Upgrade {
    Refusal refusal;               // status 0: accepted
    std::string_view subprotocol;  // empty: none was offered; the default dialect
    char accept[28] = {};          // Sec-WebSocket-Accept, not terminated
};

// Whether the request asks for an upgrade to WebSocket at all (then decide_upgrade gives the
// answer): it names websocket in Upgrade or carries a Sec-WebSocket-Key.
bool wants_upgrade(const HttpRequest& request);

// RFC 6455 §4.2.1 and §4.2.2: 405 for other methods than GET, 400 for HTTP/1.0, a body, or a bad
// Connection, Upgrade, key, version or protocol field, 426 with Sec-WebSocket-Version: 13 for
// another version or for a plain GET of the path, 400 naming the known ones when only unknown
// subprotocols are offered.
Upgrade decide_upgrade(const HttpRequest& request, const UpgradePolicy& policy);

// Appends the 101 response. `extensions` is the value of Sec-WebSocket-Extensions, empty for none.
void append_upgrade_response(std::string& out, const Upgrade& upgrade, std::string_view extensions);

// Client's side, for the tools and the tests: the Sec-WebSocket-Accept that answers a key of 24
// characters.
void accept_of_key(std::string_view key, char (&accept)[28]);

}  // namespace codec
