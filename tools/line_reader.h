// LineReader: lines out of a descriptor, read only when asked to, so that a poll(2) loop stays in
// charge.
//
// Owner: `fanfare pub` holds one by value for its input. Thread: one.
// Invariants:
//  1. read_more() makes one read(2), so it does not block when poll(2) said readable.
//  2. A line is what stands before '\n', kept byte for byte ('\r' too); the last one needs no '\n'.
// Limits: a line of at most line_bytes_max; the rest of a longer one is skipped.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tools {

class LineReader {
  public:
    static constexpr uint64_t line_bytes_max = 16 * 1024 * 1024;

    explicit LineReader(int fd) : fd_(fd) {}

    enum class Next : uint8_t {
        line,      // `line` is one; it dies at the next call of anything
        too_long,  // a line beyond the limit; it counts as a line
        empty,     // nothing without read_more()
        end,       // the input has ended, and all of it was handed out
    };
    [[nodiscard]] Next next(std::string_view& line);

    void read_more();

    // The whole input, up to `bytes_max`, as one piece: for binary data. False when there is more.
    // Waits for the end.
    [[nodiscard]] bool read_all(uint64_t bytes_max, std::string& out);

    // The error number of a read(2) that failed; such an input has ended. 0: none.
    int error() const { return error_; }
    // How many lines were handed out, so the number of the last one.
    uint64_t lines_count() const { return lines_count_; }

  private:
    const int fd_;
    std::string buffer_;
    uint64_t begin_ = 0;    // of what was not handed out
    uint64_t scanned_ = 0;  // no '\n' stands between begin_ and here
    bool has_ended_ = false;
    bool is_skipping_ = false;  // while the rest of a line beyond the limit is still to come
    int error_ = 0;
    uint64_t lines_count_ = 0;
};

}  // namespace tools
