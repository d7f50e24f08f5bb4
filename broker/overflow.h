// Overflow: what waits for one slow subscriber behind its full queue, and what it has lost.
//
// Owner: the connection, filled and emptied by SlowConsumers. Thread: its shard's.
// Invariants:
//  1. Messages stand in the order in which they were sequenced, each with a copy of its frame that
//     slow subscribers share; so their memory is their bytes, whatever chunks they came from.
//  2. `held_bytes` is the cost of all messages in `held`, their records included. A message that
//     was taken out of the middle leaves an entry without a frame, which costs nothing.
//  3. A topic stands in `newest` exactly while a message of it waits that a newer one may replace.
//  4. Everything lost since the last gaps were told is counted in `losses`, or `losses_are_many`.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>

#include "broker/chunk.h"
#include "codec/gap.h"
#include "topics/topic_rules.h"

namespace broker {

struct Overflow {
    struct Message {
        std::string topic;
        Range frame;  // with a reference; a null chunk: it was taken out
        uint64_t since_ns = 0;
        topics::OnSlow policy = topics::OnSlow::disconnect;

        bool is_there() const { return frame.chunk != nullptr; }
        uint64_t cost_bytes() const { return frame.size() + topic.size() + sizeof(Message); }
    };
    // How many messages of a topic were lost, by the code of the gap.
    using Losses = std::array<uint64_t, static_cast<size_t>(codec::GapCode::count)>;
    // Topics with losses that are told apart.
    static constexpr size_t losses_max = 256;

    std::deque<Message> held;
    uint64_t first_number = 0;  // of held.front(); numbers rise by one
    uint32_t held_count = 0;    // those that are there
    uint64_t held_bytes = 0;
    absl::flat_hash_map<std::string, uint64_t> newest;  // number by topic
    absl::flat_hash_map<std::string, Losses> losses;    // by topic
    bool losses_are_many = false;                       // more topics than losses has room for
    uint64_t above_soft_since_ns = 0;  // with messages that must not be dropped; 0: it is not

    bool has_losses() const { return !losses.empty() || losses_are_many; }
    bool is_idle() const { return held_count == 0 && !has_losses(); }
};

}  // namespace broker
