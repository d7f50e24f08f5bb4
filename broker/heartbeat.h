// Heartbeat: finds the peers that do not answer any more, and only those.
//
// An open connection that was silent for the interval gets a ping; one that shows no sign of life
// within the timeout after it is evicted. A sign of life is a received byte, or a send that had to
// wait and then completed: a slow phone behind a full queue lives. A send that completes at once
// only says that the kernel had room, so a dead peer's own ping does not count for it.
//
// Owner: a shard. Thread: its shard's.
// Invariants:
//  1. A peer that stops answering is gone within interval + timeout + eviction_grace_ns and two
//     ticks of the wheel.
//  2. A machine that was paused (suspended, or starved of its processor) evicts nobody for it: a
//     turn that comes much later than it was asked for restarts the timeouts.
//  3. A client that we do not read from (its command waits for another shard) is not blamed for
//     its silence.
//  4. A connection has one timer; a byte received does not touch it, the expiry looks how long it
//     really was silent.
#pragma once

#include <cstdint>

#include "broker/connection.h"
#include "broker/lifecycle.h"
#include "broker/metrics.h"
#include "broker/outbox.h"
#include "broker/replays.h"
#include "broker/settings.h"
#include "io/base/units.h"
#include "io/reactor.h"
#include "io/timer_wheel.h"

namespace broker {

class Heartbeat {
  public:
    // The Close frame of an eviction gets this long to leave; a dead peer takes none of it.
    static constexpr uint64_t eviction_grace_ns = base::ns_per_s;

    Heartbeat(io::Reactor& reactor, base::Slab<Connection>& connections, io::TimerWheel& timers,
              Outbox& outbox, Lifecycle& lifecycle, Replays& replays, ShardMetrics& metrics,
              const Settings& settings);

    // At the beginning of a turn that was to come at `asked_ns` at the latest.
    void turn_begin(uint64_t asked_ns);
    void life(Connection& connection) {
        connection.last_life_ns = reactor_.now_ns();
        connection.ping_sent_ns = 0;
    }
    // After a completed send.
    void sent(Connection& connection) {
        if (reactor_.now_ns() - connection.send_began_ns >= waited_send_ns_min) life(connection);
    }
    // The timer of an open connection.
    void timed_out(base::Slot slot);

    // A send in flight for so long waited for its peer, and not only for the turn to end.
    static constexpr uint64_t waited_send_ns_min = 100 * base::ns_per_ms;

  private:
    // A turn later than this was not late by chance.
    static constexpr uint64_t pause_ns_min = base::ns_per_s;

    io::Reactor& reactor_;
    base::Slab<Connection>& connections_;
    io::TimerWheel& timers_;
    Outbox& outbox_;
    Lifecycle& lifecycle_;
    Replays& replays_;
    ShardMetrics& metrics_;
    const Settings& settings_;
    uint64_t turn_began_ns_;      // the last one
    uint64_t resumed_at_ns_ = 0;  // when a pause of the machine ended last
};

}  // namespace broker
