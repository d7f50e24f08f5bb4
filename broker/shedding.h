// Shedding: takes memory back when the broker comes near its budget, from whichever holds more of
// the shard's: queues, or what has begun to arrive. What is kept for use again, which the budget
// does not count, goes back at once.
//
// Queues: a chunk of 64 KiB lives as long as one queue refers to a byte of it, so a few clients
// that stand still hold more than their backlog tells. In one pass over the connections it is found
// how old the oldest chunks in queues are; in the next, whoever refers to the oldest quarter is
// shed. It is cut: a Close frame would have to wait behind what the client does not read, and the
// memory with it. A client with history resumes exactly.
//
// What has begun to arrive: messages in pieces, which nothing else ends while their senders answer
// pings, HTTP requests that are not complete, and what waits behind a pause. A pass finds who holds
// the most; the next one closes the connections that hold half as much or more (4100, or 503 over
// HTTP), up to a quarter of the bytes.
//
// Owner: a shard. Thread: its shard's.
// Invariants:
//  1. A turn looks at connections_per_turn_max connections at most.
//  2. Nobody is shed unless the budget is near its end in that very turn.
//  3. Nobody is shed for its queue whose oldest bytes have waited for less than waited_ns_min. What
//     a client holds that reads is gone with the next turns; closing it would free nothing.
//  4. Before others are shed, what the last ones held has had time to come back.
#pragma once

#include <cstdint>

#include "broker/connection.h"
#include "broker/http_surface.h"
#include "broker/lifecycle.h"
#include "broker/memory_budget.h"
#include "broker/metrics.h"
#include "broker/outbox.h"
#include "broker/shortages.h"
#include "io/base/slab.h"
#include "io/base/units.h"
#include "io/reactor.h"

namespace broker {

class Shedding {
  public:
    // Longer than a large fan-out, or a machine with other work, keeps a client waiting that reads.
    static constexpr uint64_t waited_ns_min = base::ns_per_s;
    // After a pass that may have shed somebody: the memory comes back when a send has ended, some
    // turns later. And how often a shard looks that has nothing else to do.
    static constexpr uint64_t pause_ns = 100 * base::ns_per_ms;

    Shedding(io::Reactor& reactor, base::Slab<Connection>& connections, Outbox& outbox,
             Lifecycle& lifecycle, HttpSurface& http, Shortages& shortages, ShardMetrics& metrics);

    // Once a turn.
    void advance(MemoryBudget::Level level);

  private:
    static constexpr uint32_t connections_per_turn_max = 4'096;

    enum class Pass : uint8_t { looking, shedding_queues, shedding_inputs };

    void begin(Pass pass);
    void visit(base::Slot slot, Connection& connection);
    Pass next_pass();
    bool has_waited(const Connection& connection) const;
    static uint32_t input_bytes(const Connection& connection);
    void look(const Connection& connection);
    void shed_queue(base::Slot slot, const Connection& connection);
    void shed_input(base::Slot slot, Connection& connection);
    void count_shed(const Connection& connection);

    io::Reactor& reactor_;
    base::Slab<Connection>& connections_;
    Outbox& outbox_;
    Lifecycle& lifecycle_;
    HttpSurface& http_;
    Shortages& shortages_;
    ShardMetrics& metrics_;
    Pass pass_ = Pass::looking;
    uint32_t next_index_ = 0;
    uint64_t paused_until_ns_ = 0;
    // Of what the pass that looks has met.
    uint64_t oldest_number_ = UINT64_MAX;
    uint32_t input_bytes_most_ = 0;
    // For the pass that sheds: whoever refers to this chunk or an older one; bytes still to free.
    uint64_t shed_until_number_ = 0;
    uint64_t shed_input_bytes_ = 0;
};

}  // namespace broker
