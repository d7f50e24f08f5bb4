// Position: where a message stands in the order of its partition, and Cursor: how far somebody has
// come in each. On the wire a position is "partition:offset" (PROTOCOL.md).
//
// Pure; any thread. Offsets begin at 1; offset 0 stands before the first message.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace codec {

struct Position {
    uint32_t partition = 0;
    uint64_t offset = 0;  // 0: none, the message has no place in a history

    bool is_none() const { return offset == 0; }
    bool operator==(const Position&) const = default;
};

// A cursor as it stands in a command; both views live as long as the command.
struct Cursor {
    std::string_view epoch;
    std::span<const Position> positions;  // partitions rise strictly; offsets may be 0
};

// The longest "partition:offset".
inline constexpr uint32_t position_bytes_max = 10 + 1 + 20;

// Reads "partition:offset": two decimal numbers without sign, space or leading zeros, that fit 32
// and 64 bits. False when it is anything else; `position` is then of no use.
[[nodiscard]] bool parse_position(std::string_view text, Position& position);
void append_position(std::string& out, const Position& position);
// Writes it at `at`, where position_bytes_max bytes must have room, and tells where it ends.
char* write_position(char* at, const Position& position);

}  // namespace codec
