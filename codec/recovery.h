// How exactly a start after a cursor could be obeyed, in the one table that the code, PROTOCOL.md
// and the tests share. Pure; any thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace codec {

// X(name, reason): `name` is what stands on the wire in "code".
#define FANFARE_RECOVERY_CODES(X)                                                      \
    X(epoch_changed, "the cursor is of another epoch: the broker was restarted since") \
    X(evicted, "messages after the cursor may have been evicted from the history")     \
    X(invalid_position, "the cursor has a position that this broker has not given out")

// Why a resume is not exact. `recovered` stands for one that is.
enum class Recovery : uint8_t {
    recovered,
#define FANFARE_X(name, reason) name,
    FANFARE_RECOVERY_CODES(FANFARE_X)
#undef FANFARE_X
};

// The word on the wire; "recovered" for recovered, which never goes there.
std::string_view name_of(Recovery recovery);
// One sentence for a human; empty for recovered.
std::string_view reason_of(Recovery recovery);

}  // namespace codec
