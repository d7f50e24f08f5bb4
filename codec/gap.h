// Why messages are missing from a subscriber's stream, in the one table that the code, PROTOCOL.md
// and the tests share. Pure; any thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace codec {

// X(name, reason): `name` is what stands on the wire in "code".
#define FANFARE_GAP_CODES(X)                                                                  \
    X(evicted, "they left the history before the replay had come to them")                    \
    X(slow_consumer, "the client did not keep up, and they were dropped or left the history") \
    X(conflated, "the client did not keep up, and newer messages of their topics took their " \
                 "place")

enum class GapCode : uint8_t {
#define FANFARE_X(name, reason) name,
    FANFARE_GAP_CODES(FANFARE_X)
#undef FANFARE_X
        count,
};

// The word on the wire.
std::string_view name_of(GapCode code);

}  // namespace codec
