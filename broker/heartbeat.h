// Heartbeat: finds the peers that do not answer any more, and only those.
//
// An open connection that was silent for almost the interval (see spread_ns) gets a ping; one that
// shows no sign of life within the timeout after the ping has left is evicted. A sign of life is a
// received byte, or a send that had to wait and then completed: a slow phone behind a full queue
// lives. A send that completes at once only says that the kernel had room, so a dead peer's own
// ping does not count for it.
//
//   ping                  is_ping_queued  is_ping_awaited  ping_sent_ns
//   none, or answered     false           false            0
//   in our queue          true            true             when it was queued
//   left                  false           true             when it had left
//   left, and some byte   false           false            when it had left
//   came, but not its pong
//
// Owner: a shard. Thread: its shard's.
// Invariants:
//  1. A peer that stops answering is gone within interval + timeout + eviction_grace_ns and two
//     ticks of the wheel; and later by at most the timeout, if the ping had to wait for a frame
//     that had begun to leave and that the kernel still took.
//  2. A machine that was paused (suspended, or starved of its processor) evicts nobody for it: a
//     turn that comes much later than it was asked for restarts the timeouts.
//  3. A client that we do not read from (its command waits for another shard) is not blamed for
//     its silence.
//  4. A connection has one timer; a byte received does not touch it, the expiry looks how long it
//     really was silent.
//  5. Pings are encoded once a second at most, for all connections of the shard.
// Limit: a peer whose own kernel buffers so much that it reads the ping only after the timeout is
// taken for dead, unless it sends something. What it has not read looks from here as if it had.
#pragma once

#include <cstdint>
#include <span>

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
    ~Heartbeat();

    // At the beginning of a turn that was to come at `asked_ns` at the latest.
    void turn_begin(uint64_t asked_ns);
    void life(Connection& connection) {
        connection.last_life_ns = reactor_.now_ns();
        connection.is_ping_awaited = false;
    }
    // After a completed send.
    void sent(Connection& connection) {
        if (connection.is_ping_queued && connection.queue.has_watched_left()) {
            connection.is_ping_queued = false;
            connection.ping_sent_ns = reactor_.now_ns();
        }
        if (reactor_.now_ns() - connection.send_began_ns >= waited_send_ns_min) life(connection);
    }
    // A pong has come: the one that repeats our last ping tells the round trip. Answers whether it
    // was that one, and the first of its kind.
    static bool on_pong(Connection& connection, std::span<const uint8_t> payload, uint64_t now_ns,
                        ShardMetrics& metrics);
    // When a connection that shows no life after `life_ns` is pinged: up to a fifth of the interval
    // early, by its slot. So a crowd that came in one second is not pinged in one second for ever;
    // neighbours lie as far apart as can be (multiples of the golden ratio).
    static uint64_t ping_at_ns(const Settings& settings, uint32_t index, uint64_t life_ns) {
        return life_ns + settings.heartbeat_interval_ns - spread_ns(settings, index);
    }
    // The timer of an open connection.
    void timed_out(base::Slot slot);

    // A send in flight for so long waited for its peer, and not only for the turn to end.
    static constexpr uint64_t waited_send_ns_min = 100 * base::ns_per_ms;

  private:
    // A turn later than this was not late by chance.
    static constexpr uint64_t pause_ns_min = base::ns_per_s;
    static constexpr uint64_t spread_divisor = 5;
    // How long the same frames are sent: within it, pings have one number.
    static constexpr uint64_t frames_age_ns_max = base::ns_per_s;

    static uint64_t spread_ns(const Settings& settings, uint32_t index) {
        const uint32_t fraction = (index * 0x9e37'79b9u) >> 16;  // of 2^16
        return (settings.heartbeat_interval_ns / spread_divisor >> 16) * fraction;
    }
    void ping(base::Slot slot, Connection& connection);
    void evict(base::Slot slot);
    void encode_frames();

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

    // A ping, and behind it the message for browsers, whose scripts cannot see pings. Null before
    // the first one.
    Range frames_;
    uint32_t ping_bytes_ = 0;  // of frames_
    uint16_t ping_number_ = 0;
    uint64_t frames_made_ns_ = 0;
};

}  // namespace broker
