// StateReader: reads a state file (broker/state_file.h), trusting nothing of it.
//
// Owner: whoever restores, or a test. Thread: any one.
// Invariants:
//  1. Memory: one block, and never more than what the file holds.
//  2. A visitor is shown only records of blocks whose checksum is right; whether the file is whole
//     is known when read_records() has answered. So it is read twice: by a visitor that only
//     tries, then by the one that restores (broker/state_transfer.h).
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "broker/state_file.h"
#include "topics/history.h"
#include "topics/key_window.h"

namespace broker {

enum class StateFault : uint8_t {
    none,
    unreadable,  // the operating system refuses to read it
    damaged,     // it is not what a StateWriter wrote
    unusable,    // it is, but for other settings or another version
};

struct StateProblem {
    StateFault fault = StateFault::none;
    std::string reason;  // for people

    bool is_none() const { return fault == StateFault::none; }
};

// What a reader meets, in the order of the file. Answers false to what contradicts what came
// before; the file then counts as damaged, and nothing more is shown.
class StateVisitor {
  public:
    virtual ~StateVisitor() = default;
    virtual bool partition(uint32_t partition, uint64_t head, uint64_t forgotten_floor) = 0;
    virtual bool topic(uint32_t partition, std::string_view topic, uint64_t floor) = 0;
    virtual bool message(uint32_t partition, const topics::History::Message& message,
                         uint64_t age_ns) = 0;
    virtual bool keys_of(uint32_t shard) = 0;
    virtual bool key(const topics::KeyWindow::Entry& entry) = 0;
};

class StateReader {
  public:
    // The descriptor stays the caller's; its position does not matter.
    explicit StateReader(int fd) : fd_(fd) {}

    // From the beginning, as often as one likes.
    [[nodiscard]] StateProblem read_head(StateHead& head);
    // What follows the head, which must have been read right before.
    [[nodiscard]] StateProblem read_records(StateVisitor& visitor);
    // Of what was shown by read_records().
    const StateCounts& counts() const { return counts_; }

  private:
    StateProblem next_block(BlockHead& head);
    StateProblem read_bytes(std::span<uint8_t> bytes);
    StateProblem damaged(std::string_view what) const;
    // Shows all records of the block. False: one of them makes no sense.
    bool show_block(StateVisitor& visitor);
    bool has_counts_right() const;

    const int fd_;
    uint64_t position_ = 0;
    uint64_t bytes_left_ = 0;  // of the file, behind the position
    uint64_t blocks_count_ = 0;
    std::vector<uint8_t> content_;  // of the current block
    bool has_partition_ = false;
    uint32_t partition_ = 0;  // that of topics and messages
    bool has_keys_ = false;
    StateCounts counts_;
};

}  // namespace broker
