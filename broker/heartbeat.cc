#include "broker/heartbeat.h"

#include <algorithm>
#include <string>

#include "codec/reply.h"

namespace broker {

Heartbeat::Heartbeat(io::Reactor& reactor, base::Slab<Connection>& connections,
                     io::TimerWheel& timers, Outbox& outbox, Lifecycle& lifecycle, Replays& replays,
                     ShardMetrics& metrics, const Settings& settings)
    : reactor_(reactor),
      connections_(connections),
      timers_(timers),
      outbox_(outbox),
      lifecycle_(lifecycle),
      replays_(replays),
      metrics_(metrics),
      settings_(settings),
      turn_began_ns_(reactor.now_ns()) {}

void Heartbeat::turn_begin(uint64_t asked_ns) {
    const uint64_t now_ns = reactor_.now_ns();
    // A turn that was not to wait at all is late by all that has passed since the last one.
    const uint64_t expected_ns = std::max(asked_ns, turn_began_ns_);
    if (now_ns > expected_ns && now_ns - expected_ns > pause_ns_min) resumed_at_ns_ = now_ns;
    turn_began_ns_ = now_ns;
}

void Heartbeat::timed_out(base::Slot slot) {
    Connection& connection = connections_.at(slot);
    const uint64_t now_ns = reactor_.now_ns();
    // Its answers may stand in the kernel. While there is something to send, its sends tell.
    const bool is_unread = connection.pause == Pause::lanes || connection.pause == Pause::rate ||
                           (connection.pause == Pause::join && connection.queue.is_empty());
    if (is_unread) life(connection);
    if (connection.ping_sent_ns == 0) {
        const uint64_t ping_at_ns = connection.last_life_ns + settings_.heartbeat_interval_ns;
        if (now_ns < ping_at_ns) {
            timers_.arm(slot.index, ping_at_ns);
            return;
        }
        connection.ping_sent_ns = now_ns;
        metrics_.add(Metric::pings_total);
        outbox_.send_control(slot, codec::Opcode::ping, {});
        // Scripts cannot see pings; but on the echo path nothing may come that was not sent there.
        if (connection.is_browser && !connection.is_echo) {
            std::string json;
            codec::append_heartbeat(json);
            outbox_.send_control(slot, codec::Opcode::text, json);
        }
        replays_.tell_position(slot);
        // When the peer answers at once, the next ping is due an interval from now.
        timers_.arm(slot.index, now_ns + std::min(settings_.heartbeat_timeout_ns,
                                                  settings_.heartbeat_interval_ns));
        return;
    }
    const uint64_t counted_from_ns = std::max(connection.ping_sent_ns, resumed_at_ns_);
    const uint64_t evict_at_ns = counted_from_ns + settings_.heartbeat_timeout_ns;
    if (now_ns < evict_at_ns) {
        timers_.arm(slot.index, evict_at_ns);
        return;
    }
    lifecycle_.close_websocket(slot, CloseCode::heartbeat_timeout,
                               row_of(CloseCode::heartbeat_timeout).reason,
                               Lifecycle::Queued::drop);
    timers_.arm(slot.index, now_ns + eviction_grace_ns);
}

}  // namespace broker
