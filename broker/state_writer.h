// StateWriter: writes a state file (broker/state_file.h) while histories and keys are visited.
//
// Owner: save_state(), or a test. Thread: any one.
// Invariants:
//  1. Memory: one block, however much is written.
//  2. After the first failure nothing more is written, and finish() answers it.
//  3. Without finish() the file has no end, and no reader takes it.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>
#include <vector>

#include "broker/state_file.h"
#include "topics/history.h"
#include "topics/key_window.h"

namespace broker {

class StateWriter final : public topics::History::Saver, public topics::KeyWindow::Saver {
  public:
    // To an empty file; the descriptor stays the caller's.
    StateWriter(int fd, const StateHead& head);

    // All partitions of all shards come before the keys of any.
    void partition(uint32_t partition, uint64_t head, uint64_t forgotten_floor) override;
    void topic(uint32_t partition, std::string_view topic, uint64_t floor) override;
    void message(uint32_t partition, const topics::History::Message& message,
                 uint64_t age_ns) override;
    void keys_of(uint32_t shard);
    void key(const topics::KeyWindow::Entry& entry) override;

    // Writes the rest and the end. Answers 0, or the errno of what failed first.
    [[nodiscard]] int finish();
    // Of what was visited; the bytes after finish().
    const StateCounts& counts() const { return counts_; }

  private:
    // Makes room in the block for a record of that size, and begins it.
    void begin_record(RecordTag tag, size_t bytes);
    template <class Number>
    void append_number(Number number) {
        static_assert(std::is_integral_v<Number> || std::is_enum_v<Number>);
        append_bytes(&number, sizeof number);
    }
    void append_name(std::string_view name);
    void append_bytes(const void* bytes, size_t count);

    void seal_block(BlockKind kind);
    void write_bytes(std::span<const uint8_t> bytes);

    const int fd_;
    int error_ = 0;
    uint64_t blocks_count_ = 0;
    std::vector<uint8_t> block_;  // room for the head, then the content
    StateCounts counts_;
};

}  // namespace broker
