// State transfer: from the shards into a state file at the stop, and back at the next start.
//
// Thread: main's, before the shards' threads begin and after they have ended.
#pragma once

#include <cstdint>
#include <span>

#include "broker/state_file.h"
#include "broker/state_reader.h"
#include "topics/history.h"
#include "topics/key_window.h"
#include "topics/topic_rules.h"

namespace broker {

// What one shard keeps; in a span, the shards stand in the order of their numbers.
struct KeptState {
    topics::History& history;
    topics::KeyWindow& keys;
};

// Writes everything to `fd`. Answers 0 or an errno; the file is then worth nothing.
[[nodiscard]] int save_state(int fd, const StateHead& head, std::span<const KeptState> shards,
                             uint64_t now_ns, StateCounts& counts);

// Whether restore_state() of this file will do. Everything is read, and each partition is restored
// into a history of its own that is thrown away: a history that took half of a damaged file could
// not be emptied again. Positions mean nothing with another number of partitions, so that is
// `unusable`.
[[nodiscard]] StateProblem check_state(StateReader& reader, uint32_t partitions_count,
                                       const topics::TopicRules& rules, StateHead& head);

struct RestoreOptions {
    uint64_t now_ns = 0;            // of the shards' clock
    uint64_t wall_ns = 0;           // of the clock that StateHead::saved_wall_ns is of
    uint64_t memory_bytes_max = 0;  // of all histories together
};
// Into histories and keys without content, each partition to its owner. What was saved has grown
// older by the time between; when the clock was set back, by nothing. A problem means that the file
// is not what check_state() has read: the disk fails, and what was restored must not be used.
[[nodiscard]] StateProblem restore_state(StateReader& reader, const RestoreOptions& options,
                                         std::span<const KeptState> shards);

}  // namespace broker
