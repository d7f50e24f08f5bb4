// The negotiation of permessage-deflate in the opening handshake (RFC 6455 §9.1, RFC 7692 §5, §7).
// Pure; any thread. Nothing is allocated, but the words of a refusal.
//
// Invariants:
//  1. The first offer of permessage-deflate that can be accepted is; the others and unknown
//     extensions are passed over (RFC 7692 §5). Without one the connection goes on uncompressed.
//  2. An offer is declined, never repaired, when one of its parameters is unknown, comes twice, has
//     a value that its grammar does not allow, or asks for what we cannot do (RFC 7692 §7).
//  3. A field that breaks the grammar of RFC 6455 §9.1 refuses the handshake, wherever it does, so
//     also after an offer that was accepted.
//
// Names are compared with case: who writes them otherwise is not understood, and not compressed.
#pragma once

#include <cstdint>
#include <string>

#include "codec/http.h"
#include "codec/upgrade.h"

namespace codec {

// What we grant and ask for. A window costs memory for as long as the connection lives, so the
// default is that no message depends on another one, in either direction.
struct DeflatePolicy {
    // True: we keep our window from message to message, unless the client forbids it.
    bool server_context_takeover = false;
    // True: the client may keep its window, unless it says that it does not want to.
    bool client_context_takeover = false;
    uint8_t server_window_bits_max = 15;  // 9 to 15: what zlib can do; of our messages
    uint8_t client_window_bits_max = 15;  // 9 to 15; a client that does not offer it cannot be told
};

// What both sides agreed on.
struct DeflateParameters {
    bool server_no_context_takeover = true;
    bool client_no_context_takeover = true;
    // Our messages refer back no further: 9 to 15.
    uint8_t server_window_bits = 15;
    // The client's refer back no further: 8 to 15. 8 only for a client that offered it; Inflater
    // takes it as it is.
    uint8_t client_window_bits = 15;
    // Whether the answer names server_max_window_bits: it must when the offer did (RFC 7692
    // §7.1.2.1).
    bool answers_server_window_bits = false;

    friend bool operator==(const DeflateParameters&, const DeflateParameters&) = default;
};

struct DeflateDecision {
    Refusal refusal;           // status 0: nothing to refuse
    bool is_accepted = false;  // false: uncompressed; the response has no Sec-WebSocket-Extensions
    DeflateParameters parameters;
};

// Looks at all Sec-WebSocket-Extensions fields of the request, in their order.
DeflateDecision decide_deflate(const HttpRequest& request, const DeflatePolicy& policy);

// Appends the value of Sec-WebSocket-Extensions that answers the accepted offer, as
// append_upgrade_response takes it.
void append_deflate_response(std::string& out, const DeflateParameters& parameters);

}  // namespace codec
