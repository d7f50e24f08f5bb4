// StartReader: reads from a command's JSON where a subscription or a page of history begins, and
// says what is wrong and where when it cannot.
//
// Owner: a CommandParser holds one beside its JsonReader. Thread: its shard's.
// Invariants:
//  1. What is read a second time here was walked, and found valid, before; so only meaning is
//     refused, never grammar. Whoever calls must take the JsonReader back to where it stood.
//  2. The positions of all starts of a frame stand in one buffer that may move until the frame has
//     been walked; a start is therefore linked to its positions afterwards.
//  3. Nothing is allocated once the buffers have grown.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "codec/json.h"
#include "codec/start.h"

namespace codec {

class StartReader {
  public:
    // A refusal's reason is appended to `reasons`.
    StartReader(JsonReader& reader, std::string& reasons) : reader_(reader), reasons_(reasons) {}

    // Before the first start of a frame. Kills the positions of the frame before.
    void begin_frame() { positions_.clear(); }

    // Where the positions of the next start will begin.
    uint32_t positions_count() const { return static_cast<uint32_t>(positions_.size()); }
    std::span<const Position> positions() const { return positions_; }

    // The value of `start`. False, here and below: refused.
    [[nodiscard]] bool read_start(const JsonValue& value, Start& start);
    // The value of a `last` that is called `path` in reasons.
    [[nodiscard]] bool read_last(std::string_view path, const JsonValue& value, Start& start);
    // The value of an `after`. Its positions stand at the end of positions(), by rising partition.
    [[nodiscard]] bool read_after(std::string_view path, const JsonValue& value, Start& start);

  private:
    bool read_cursor(std::string_view path, Start& start);
    bool read_epoch(std::string_view path, Start& start);
    bool read_positions(std::string_view path);
    bool sort_positions(std::string_view path, size_t begin);
    bool next_member();
    bool next_key(std::string_view& name);
    bool refuse(std::string_view path, std::string_view what);
    bool refuse_entry(std::string_view path, uint32_t index, std::string_view what);
    bool refuse_unknown(std::string_view path, std::string_view name);

    JsonReader& reader_;
    std::string& reasons_;
    std::vector<Position> positions_;
};

}  // namespace codec
