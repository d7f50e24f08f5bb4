// CursorFile: where `fanfare sub --cursor-file` keeps its place between two runs.
//
// Owner: `fanfare sub` holds one by value. Thread: one; calls block on the disk.
// Format: one JSON object on one line,
//   {"cursor":{"epoch":"…","pos":["0:17"]},"filters":["news/#"],"url":"ws://…","time":"2026-11-21T09:30:00Z"}
// of which url and time are for people: the epoch tells whether the broker is the same.
// Invariants:
//  1. The file is replaced as a whole, and only when the new one is on the disk; a crash at any
//     moment leaves the old one or the new one.
//  2. What is not understood is never overwritten: load() refuses it.
// Limits: file_bytes_max.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tools/cursor.h"

namespace tools {

class CursorFile {
  public:
    // The most positions and filters that a subscription can have, with room to spare.
    static constexpr uint64_t file_bytes_max = 4 * 1024 * 1024;

    // Two runs may name their filters in another order, and twice. An empty path: there is no file.
    CursorFile(std::string path, std::vector<std::string> filters, std::string url);

    bool is_used() const { return !path_.empty(); }
    const std::string& path() const { return path_; }

    // Reads the file if there is one; an empty one is as good as none. Answers what is wrong, in a
    // sentence; empty when all is well.
    [[nodiscard]] std::string load();
    // What load() found: none when there was no file.
    const Cursor& cursor() const { return cursor_; }
    // When that was written, as it stands in the file; may be empty.
    const std::string& time() const { return time_; }

    // Answers what is wrong, in a sentence; empty when all is well.
    [[nodiscard]] std::string save(const Cursor& cursor);

  private:
    std::string read(std::string_view text, std::vector<std::string>& filters);

    const std::string path_;
    const std::vector<std::string> filters_;  // sorted, each once
    const std::string url_;
    Cursor cursor_;
    std::string time_;
};

}  // namespace tools
