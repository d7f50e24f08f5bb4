// Start: where a subscription, or a page of history, begins. Pure; any thread.
#pragma once

#include <cstdint>

#include "codec/position.h"

namespace codec {

inline constexpr uint32_t last_max = 1'000'000;
// Of a history command that does not say.
inline constexpr uint32_t history_last_default = 100;
// Positions in one cursor: what a broker with the most partitions can have told.
inline constexpr uint32_t cursor_positions_max = 4'096;
inline constexpr uint32_t cursor_epoch_bytes_max = 64;  // unescaped

struct Start {
    enum class Kind : uint8_t { now, last, after };
    Kind kind = Kind::now;
    uint32_t last = 0;  // of kind last: 1 to last_max
    Cursor after;       // of kind after
};

}  // namespace codec
