// Place: where a message stands ("partition:offset"), and Cursor: how far somebody has come in each
// partition (PROTOCOL.md), as the simulated peers read and write them.
//
// The readers here are written apart from the product's on purpose: a mistake in codec/ must not
// hide itself. Pure; any thread. Invariant: a cursor holds no offset 0; what is not in it is 0.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "io/base/prng.h"

namespace sim {

struct Place {
    uint32_t partition = 0;
    uint64_t offset = 0;

    auto operator<=>(const Place&) const = default;  // NOLINT(modernize-use-nullptr)
};

std::string describe(const Place& place);
// Nothing when the text is not a place as the broker writes it: decimal, without leading zeros, the
// offset at least 1.
std::optional<Place> read_place(std::string_view text);

class Cursor {
  public:
    uint64_t of(uint32_t partition) const;
    // Forward only.
    void raise(const Place& place);
    void raise(const Cursor& other);
    // To any value.
    void set(uint32_t partition, uint64_t offset);

    const std::map<uint32_t, uint64_t>& offsets() const { return offsets_; }
    bool operator==(const Cursor&) const = default;

  private:
    std::map<uint32_t, uint64_t> offsets_;
};

std::string describe(const Cursor& cursor);

// A cursor as it travels: {"epoch":"…","pos":["0:17","1:4"]}.
struct ToldCursor {
    std::string epoch;
    Cursor cursor;
};
// Nothing when the text is not a cursor as the broker writes it: partitions rise.
std::optional<ToldCursor> read_cursor(std::string_view text);
// Its entries in any order: a client may keep them as it likes.
std::string write_cursor(const ToldCursor& told, base::Prng& prng);

}  // namespace sim
