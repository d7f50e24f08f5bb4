// Shedding: takes memory back when the broker comes near its budget, first from the connections
// that hold the oldest chunks.
//
// A chunk of 64 KiB lives as long as one queue refers to a byte of it, so a few clients that stand
// still hold more than their backlog tells. In one pass over the connections it is found how old
// the oldest chunks in queues are; in the next, whoever refers to the oldest quarter is shed:
// messages that its policies let go (SlowConsumers) are dropped and told by gaps, and the
// connection is closed with 4100, since what stands in a queue cannot be taken back. A client with
// history resumes exactly.
//
// Owner: a shard. Thread: its shard's.
// Invariants:
//  1. A turn looks at connections_per_turn_max connections at most.
//  2. Nobody is shed unless the budget is near its end in that very turn.
//  3. Nobody is shed whose queue was empty within the last waits_min_ns: a client that reads has
//  bytes
//     in its queue for moments, and closing it would free nothing, whatever memory is short for.
#pragma once

#include <cstdint>

#include "broker/connection.h"
#include "broker/memory_budget.h"
#include "broker/metrics.h"
#include "broker/outbox.h"
#include "broker/slow_consumers.h"
#include "io/base/slab.h"
#include "io/base/units.h"

namespace broker {

class Shedding {
  public:
    Shedding(base::Slab<Connection>& connections, Outbox& outbox, SlowConsumers& slow_consumers,
             ShardMetrics& metrics);

    // Once a turn.
    void advance(MemoryBudget::Level level, uint64_t now_ns);

  private:
    static constexpr uint32_t connections_per_turn_max = 4'096;
    // Long for a client that reads, short beside the time in which slow ones fill memory.
    static constexpr uint64_t waits_min_ns = 100 * base::ns_per_ms;

    enum class Pass : uint8_t { looking, shedding };

    void begin(Pass pass);
    static bool is_candidate(const Connection& connection, uint64_t now_ns);
    void look(const Connection& connection, uint64_t now_ns);
    void shed(base::Slot slot, Connection& connection, uint64_t now_ns);

    base::Slab<Connection>& connections_;
    Outbox& outbox_;
    SlowConsumers& slow_consumers_;
    ShardMetrics& metrics_;
    Pass pass_ = Pass::looking;
    uint32_t next_index_ = 0;
    uint64_t oldest_number_ = UINT64_MAX;  // of the chunks that were met in this pass
    uint64_t shed_until_number_ = 0;       // whoever refers to this chunk or an older one is shed
};

}  // namespace broker
