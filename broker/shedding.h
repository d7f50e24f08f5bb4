// Shedding: takes memory back when the broker comes near its budget, first from the connections
// that hold the oldest chunks.
//
// A chunk of 64 KiB lives as long as one queue refers to a byte of it, so a few clients that stand
// still hold more than their backlog tells. In one pass over the connections it is found how old
// the oldest chunks in queues are; in the next, whoever refers to the oldest quarter is shed. It is
// cut: a Close frame would have to wait behind what the client does not read, and the memory with
// it. A client with history resumes exactly.
//
// Owner: a shard. Thread: its shard's.
// Invariants:
//  1. A turn looks at connections_per_turn_max connections at most.
//  2. Nobody is shed unless the budget is near its end in that very turn.
//  3. Nobody is shed whose oldest bytes have waited for less than waited_ns_min. What a client
//     holds that reads is gone with the next turns; closing it would free nothing.
//  4. Before others are shed, what the last ones held has had time to come back.
#pragma once

#include <cstdint>

#include "broker/connection.h"
#include "broker/lifecycle.h"
#include "broker/memory_budget.h"
#include "broker/metrics.h"
#include "broker/outbox.h"
#include "io/base/slab.h"
#include "io/base/units.h"
#include "io/reactor.h"

namespace broker {

class Shedding {
  public:
    // Longer than a large fan-out, or a machine with other work, keeps a client waiting that reads.
    static constexpr uint64_t waited_ns_min = base::ns_per_s;
    // After a pass that may have cut somebody: the memory comes back when a send has ended, some
    // turns later. And how often a shard looks that has nothing else to do.
    static constexpr uint64_t pause_ns = 100 * base::ns_per_ms;

    Shedding(io::Reactor& reactor, base::Slab<Connection>& connections, const Outbox& outbox,
             Lifecycle& lifecycle, ShardMetrics& metrics);

    // Once a turn.
    void advance(MemoryBudget::Level level);

  private:
    static constexpr uint32_t connections_per_turn_max = 4'096;

    enum class Pass : uint8_t { looking, shedding };

    void begin(Pass pass);
    bool has_waited(const Connection& connection) const;
    void look(const Connection& connection);
    void shed(base::Slot slot, const Connection& connection);

    io::Reactor& reactor_;
    base::Slab<Connection>& connections_;
    const Outbox& outbox_;
    Lifecycle& lifecycle_;
    ShardMetrics& metrics_;
    Pass pass_ = Pass::looking;
    uint32_t next_index_ = 0;
    uint64_t paused_until_ns_ = 0;
    uint64_t oldest_number_ = UINT64_MAX;  // of the chunks that were met in this pass
    uint64_t shed_until_number_ = 0;       // whoever refers to this chunk or an older one is shed
};

}  // namespace broker
