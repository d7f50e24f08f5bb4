// The client's half of the opening handshake (RFC 6455 §4.1): the request, and the judgement of the
// answer. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tools/url.h"

namespace tools {

// An answer beyond this is not one of a broker.
inline constexpr uint32_t handshake_answer_bytes_max = 16 * 1024;

inline constexpr std::string_view native_subprotocol = "fanfare.v1";

// Appends the upgrade request. `key` is the base64 of 16 random bytes. An empty `subprotocol`
// offers none.
void append_handshake_request(std::string& out, const Url& url, std::string_view key,
                              std::string_view subprotocol = native_subprotocol);

struct HandshakeAnswer {
    enum class Kind : uint8_t {
        need_more,
        accepted,
        refused,          // an HTTP answer other than 101
        not_a_websocket,  // not HTTP, or a 101 that is not the answer to our request
    };
    Kind kind;
    uint32_t head_bytes = 0;        // accepted, refused: what follows is frames, or the body
    uint16_t status = 0;            // refused
    uint64_t body_bytes = 0;        // refused: Content-Length, 0 without one
    std::string_view problem = {};  // not_a_websocket: what is wrong, in a few words
};

// Reads the answer to the request with `key` and `subprotocol`. `bytes` holds all that arrived so
// far.
HandshakeAnswer read_handshake_answer(std::string_view bytes, std::string_view key,
                                      std::string_view subprotocol = native_subprotocol);

}  // namespace tools
