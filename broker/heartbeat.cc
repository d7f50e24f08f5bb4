#include "broker/heartbeat.h"

#include <algorithm>
#include <string>

#include "codec/frame.h"
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

Heartbeat::~Heartbeat() {
    if (frames_.chunk != nullptr) outbox_.release(frames_);
}

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
    if (!connection.is_ping_awaited) {
        const uint64_t due_ns = ping_at_ns(settings_, slot.index, connection.last_life_ns);
        if (now_ns < due_ns) {
            timers_.arm(slot.index, due_ns);
        } else {
            ping(slot, connection);
        }
        return;
    }
    // While the ping has not left, nothing has, since it was queued: then that counts.
    const uint64_t counted_from_ns = std::max(connection.ping_sent_ns, resumed_at_ns_);
    const uint64_t evict_at_ns = counted_from_ns + settings_.heartbeat_timeout_ns;
    if (now_ns < evict_at_ns) {
        timers_.arm(slot.index, evict_at_ns);
    } else {
        evict(slot);
    }
}

void Heartbeat::ping(base::Slot slot, Connection& connection) {
    const uint64_t now_ns = reactor_.now_ns();
    // When the peer answers at once, the next ping is due about an interval from now.
    timers_.arm(slot.index, std::min(now_ns + settings_.heartbeat_timeout_ns,
                                     ping_at_ns(settings_, slot.index, now_ns)));
    if (frames_.chunk == nullptr || now_ns >= frames_made_ns_ + frames_age_ns_max) encode_frames();
    Range frames = frames_;
    // On the echo path nothing may come that was not sent there.
    const bool wants_message = connection.is_browser && !connection.is_echo;
    if (!wants_message) frames.end = frames.begin + ping_bytes_;
    if (!outbox_.send_control_watched(slot, frames)) return;  // it is doomed
    metrics_.add(Metric::pings_total);
    connection.is_ping_awaited = true;
    connection.is_ping_queued = true;
    connection.ping_number = ping_number_;
    connection.ping_sent_ns = now_ns;
    replays_.tell_position(slot);
}

void Heartbeat::evict(base::Slot slot) {
    lifecycle_.close_websocket(slot, CloseCode::heartbeat_timeout,
                               row_of(CloseCode::heartbeat_timeout).reason,
                               Lifecycle::Queued::drop);
    timers_.arm(slot.index, reactor_.now_ns() + eviction_grace_ns);
}

void Heartbeat::encode_frames() {
    if (frames_.chunk != nullptr) outbox_.release(frames_);
    ++ping_number_;
    std::string frames;
    const auto append_frame = [&frames](codec::Opcode opcode, std::string_view payload) {
        uint8_t header[codec::frame_header_bytes_max];
        const uint32_t header_bytes =
            codec::encode_frame_header({.opcode = opcode, .payload_bytes = payload.size()}, header);
        frames.append(reinterpret_cast<const char*>(header), header_bytes).append(payload);
    };
    const char number[] = {static_cast<char>(ping_number_ >> 8),
                           static_cast<char>(ping_number_ & 0xff)};
    append_frame(codec::Opcode::ping, {number, sizeof number});
    ping_bytes_ = static_cast<uint32_t>(frames.size());
    std::string json;
    codec::append_heartbeat(json);
    append_frame(codec::Opcode::text, json);
    frames_ = outbox_.store(frames);
    frames_made_ns_ = reactor_.now_ns();
}

bool Heartbeat::on_pong(Connection& connection, std::span<const uint8_t> payload, uint64_t now_ns,
                        ShardMetrics& metrics) {
    const bool is_awaited = connection.ping_sent_ns != 0 && !connection.is_ping_queued;
    if (!is_awaited || payload.size() != 2) return false;
    if ((payload[0] << 8 | payload[1]) != connection.ping_number) return false;
    metrics.observe(Distribution::heartbeat_rtt_seconds, now_ns - connection.ping_sent_ns);
    connection.ping_sent_ns = 0;
    return true;
}

}  // namespace broker
