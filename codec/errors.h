// The error codes of the native dialect, in the one table that the code, PROTOCOL.md and the tests
// share. Pure; any thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace codec {

// X(name, meaning): `name` is what stands on the wire in "code".
#define FANFARE_ERROR_CODES(X)                                                                    \
    X(invalid_json,                                                                               \
      "the frame is not one JSON text by RFC 8259, is nested deeper than 64, or has duplicate "   \
      "keys")                                                                                     \
    X(invalid_command,                                                                            \
      "the frame is not an object or a flat array of at most 1,000 objects; or a field is "       \
      "missing, unknown or of the wrong type")                                                    \
    X(unknown_op, "no such op")                                                                   \
    X(invalid_id, "the id is neither an integer nor a string of at most 64 bytes")                \
    X(invalid_topic, "the topic breaks a rule for topics; the reason says which")                 \
    X(invalid_filter, "the filter breaks a rule for filters; the reason says which")              \
    X(invalid_payload, "the payload is not what its field promises, e.g. bad base64")             \
    X(not_subscribed, "unsubscribe from a filter that this connection has not subscribed")        \
    X(too_many_subscriptions, "the connection has as many subscriptions as the limit allows")     \
    X(overloaded, "the broker is short of memory; nothing was published, try again later")        \
    X(rate_limited, "commands or publishes come faster than allowed; try again after retry_ms")   \
    X(no_history, "the rules keep no history for this topic")                                     \
    X(not_supported, "a part of the protocol that this broker does not have (yet)")               \
    X(forbidden, "not allowed")                                                                   \
    X(invalid_request, "over HTTP: the request is not one that is answered here; see the status") \
    X(too_large, "over HTTP: the body is larger than the limit for messages")                     \
    X(unavailable, "over HTTP: the broker is stopping or full; come back later")

enum class ErrorCode : uint8_t {
    none,
#define FANFARE_X(name, meaning) name,
    FANFARE_ERROR_CODES(FANFARE_X)
#undef FANFARE_X
};

// The word on the wire; "none" for none, which never goes there.
std::string_view name_of(ErrorCode code);
// What the documents say about it; empty for none.
std::string_view meaning_of(ErrorCode code);

}  // namespace codec
