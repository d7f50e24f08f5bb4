// Cursor: how far a subscriber has come in each partition, as the broker told it and as it is told
// back when the subscriber returns (PROTOCOL.md, "Positions, history and resume").
//
// Pure; any thread.
// Invariant: within one epoch an entry only rises. A cursor of another epoch replaces the whole,
// for its numbers mean something else.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "codec/position.h"

namespace tools {

struct Cursor {
    std::string epoch;                     // empty: no broker has told one
    std::map<uint32_t, uint64_t> offsets;  // by partition; a missing one stands for 0

    bool is_none() const { return epoch.empty(); }
    uint64_t offset_of(uint32_t partition) const;
    void raise(const codec::Position& position);
    void merge(const Cursor& other);

    bool operator==(const Cursor&) const = default;
};

// Appends {"epoch":"…","pos":["0:17",…]}.
void append_cursor(std::string& out, const Cursor& cursor);

}  // namespace tools
