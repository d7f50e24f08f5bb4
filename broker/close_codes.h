// The close codes that the broker sends, in the one table that the code, PROTOCOL.md and the tests
// share.
//
// The range tells a client what to do: 1000 to 1011 as RFC 6455 says; 1001, 1012 and 1013:
// reconnect with jitter; 4000 to 4099: do not reconnect; 4100 to 4199: reconnect after retry_ms;
// 4200 to 4299: at once.
#pragma once

#include <cstdint>
#include <string_view>

namespace broker {

enum class Reconnect : uint8_t { no, with_jitter, after_retry_ms, at_once };

// X(name, code, reconnect, reason)
#define FANFARE_CLOSE_CODES(X)                                                         \
    X(normal, 1000, no, "the client closed the connection")                            \
    X(going_away, 1001, with_jitter, "the broker is stopping")                         \
    X(protocol_error, 1002, no, "a frame broke RFC 6455")                              \
    X(unsupported_data, 1003, no, "a binary frame, which fanfare.v1 does not use")     \
    X(invalid_utf8, 1007, no,                                                          \
      "text that is not UTF-8, or a compressed message that cannot be inflated")       \
    X(policy_violation, 1008, no, "a message in more fragments than the broker takes") \
    X(message_too_big, 1009, no, "a message beyond max_message_bytes")                 \
    X(slow_consumer, 4100, after_retry_ms,                                             \
      "the client reads slower than its topics are published")                         \
    X(rate_limited, 4101, after_retry_ms,                                              \
      "the client went on although it was refused for asking too fast")                \
    X(closed_by_operator, 4102, after_retry_ms, "an operator closed the connection")   \
    X(heartbeat_timeout, 4200, at_once, "no answer to a ping within the timeout")

enum class CloseCode : uint16_t {
#define FANFARE_X(name, code, reconnect, reason) name = (code),
    FANFARE_CLOSE_CODES(FANFARE_X)
#undef FANFARE_X
};

struct CloseCodeRow {
    CloseCode code;
    std::string_view name;
    Reconnect reconnect;
    std::string_view reason;  // what stands in the Close frame unless something more exact is known
};

inline constexpr CloseCodeRow close_codes[] = {
#define FANFARE_X(name, code, reconnect, reason) \
    {CloseCode::name, #name, Reconnect::reconnect, reason},
    FANFARE_CLOSE_CODES(FANFARE_X)
#undef FANFARE_X
};

constexpr const CloseCodeRow& row_of(CloseCode code) {
    for (const CloseCodeRow& row : close_codes) {
        if (row.code == code) return row;
    }
    return close_codes[0];
}

}  // namespace broker
