// SequenceCheck: whether a subscriber gets every message of each publisher in each topic once, in
// order, and byte for byte.
//
// Owner: a subscriber's connection, over its reconnects. Thread: its shard's.
// Limits: 16 bytes and some for each pair of a publisher and a topic.
#pragma once

#include <cstdint>
#include <string_view>

#include <absl/container/flat_hash_map.h>

#include "tools/bench/payload.h"

namespace bench {

struct CheckSums {
    uint64_t checked = 0;
    uint64_t skipped = 0;   // messages that are missing before one that came
    uint64_t repeated = 0;  // messages that came again, or after a later one
    uint64_t damaged = 0;   // messages whose bytes are not what was published

    bool is_clean() const { return skipped == 0 && repeated == 0 && damaged == 0; }
    void add(const CheckSums& other) {
        checked += other.checked;
        skipped += other.skipped;
        repeated += other.repeated;
        damaged += other.damaged;
    }
};

class SequenceCheck {
  public:
    void take(std::string_view payload, const Stamp& stamp, uint32_t payload_bytes,
              CheckSums& sums) {
        ++sums.checked;
        if (!is_payload_intact(payload, stamp, payload_bytes)) ++sums.damaged;
        const uint64_t key = uint64_t{stamp.publisher} << Stamp::topic_bits | stamp.topic;
        uint64_t& next = next_[key];
        if (stamp.sequence < next) {
            ++sums.repeated;
            return;
        }
        sums.skipped += stamp.sequence - next;
        next = stamp.sequence + 1;
    }

  private:
    absl::flat_hash_map<uint64_t, uint64_t> next_;  // the sequence number that comes next
};

}  // namespace bench
