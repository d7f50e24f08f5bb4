#include "broker/shutdown.h"

#include <algorithm>

#include "codec/reply.h"

namespace broker {

using State = ConnectionState;

Shutdown::Shutdown(const Parts& parts, uint16_t listeners_count)
    : parts_(parts),
      listeners_count_(listeners_count),
      others_count_(parts.courier.shards_count() - 1),
      listeners_open_(listeners_count) {}

void Shutdown::begin() {
    if (has_begun()) return;
    phase_ = Phase::delaying;
    delay_until_ns_ = parts_.reactor.now_ns() + parts_.settings.drain_delay_ns;
    parts_.http.drain();
}

void Shutdown::cut() {
    begin();
    delay_until_ns_ = 0;
    if (phase_ == Phase::delaying) begin_emptying();
    deadline_ns_ = 0;
}

void Shutdown::accepted(base::Slot slot) {
    if (phase_ < Phase::parting) return;  // found with all the others when it begins
    if (is_late()) {
        parts_.lifecycle.abort(slot);
    } else {
        unclosed_.push(slot);
    }
}

void Shutdown::advance() {
    has_told_ = false;
    const uint64_t now_ns = parts_.reactor.now_ns();
    if (phase_ == Phase::delaying && now_ns >= delay_until_ns_) begin_emptying();
    const bool is_late = this->is_late();
    if (phase_ == Phase::emptying &&
        (is_late || listeners_open_ == 0 || now_ns >= emptying_until_ns_)) {
        begin_parting();
    }
    if (phase_ == Phase::parting) {
        say_goodbyes();
        if (is_late || untold_.is_empty()) begin_quiescing();
    }
    if (phase_ == Phase::quiescing && (is_late || quiesced_count_ == others_count_)) {
        begin_draining();
    }
    if (phase_ == Phase::draining && (is_late || drained_count_ == others_count_)) begin_closing();
    if (phase_ != Phase::closing) return;
    if (is_late) {
        cut_rest();
    } else {
        close_some();
    }
    const bool is_busy =
        parts_.replays.is_reading_streams() || parts_.connections_query.is_answering();
    if (!caught_up_was_told_ && !is_busy) tell_caught_up();
    if (parts_.connections.size() > 0 || listeners_open_ > 0) return;
    const bool is_heard = caught_up_was_told_ && caught_up_count_ == others_count_;
    if (!is_late && (parts_.courier.owes() || !is_heard)) return;
    // What was told in this turn wakes the others only with the next one.
    if (has_told_) return;
    phase_ = Phase::stopped;
    report_.flushed_bytes = waiting_bytes_ - std::min(waiting_bytes_, report_.unsent_bytes);
}

uint64_t Shutdown::next_deadline_ns() const {
    switch (phase_) {
        case Phase::running: return base::never_ns;
        case Phase::delaying: return delay_until_ns_;
        case Phase::parting: return untold_.is_empty() ? parts_.reactor.now_ns() : 0;
        case Phase::emptying:
        case Phase::quiescing:
        case Phase::draining:
        case Phase::closing:
        case Phase::stopped: return parts_.reactor.now_ns() + look_interval_ns;
    }
    UNREACHABLE();
}

void Shutdown::begin_emptying() {
    phase_ = Phase::emptying;
    const uint64_t now_ns = parts_.reactor.now_ns();
    deadline_ns_ = now_ns + parts_.settings.drain_timeout_ns;
    emptying_until_ns_ = now_ns + emptying_ns_max;
    for (uint16_t listener = 0; listener < listeners_count_; ++listener) {
        parts_.reactor.accept_stop(listener);
    }
}

void Shutdown::begin_parting() {
    phase_ = Phase::parting;
    parts_.connections.for_each([this](base::Slot slot, Connection&) { untold_.push(slot); });
}

void Shutdown::say_goodbyes() {
    for (uint32_t count = 0; count < goodbyes_per_turn_max && !untold_.is_empty(); ++count) {
        const base::Slot slot = untold_.pop();
        const Connection* connection = parts_.connections.find(slot);
        if (connection == nullptr) continue;
        if (connection->state == State::open) say_goodbye(slot, *connection);
        unclosed_.push(slot);
    }
}

void Shutdown::say_goodbye(base::Slot slot, const Connection& connection) {
    if (connection.is_echo) return;  // whose clients speak no dialect
    const uint64_t spread_ms = parts_.settings.drain_spread_ns / base::ns_per_ms;
    const uint64_t retry_ms = retry_ms_min + parts_.prng.below(spread_ms + 1);
    json_.clear();
    codec::append_goodbye(json_, "draining", "the broker is stopping", retry_ms);
    parts_.outbox.send_control_unlimited(slot, json_);
    ++report_.told_count;
}

void Shutdown::begin_quiescing() {
    has_told_ = true;
    phase_ = Phase::quiescing;
    parts_.session.drain();
    parts_.replays.drain();
    parts_.joins.stop();
    parts_.connections_query.drain();
    const io::ShardId self = parts_.courier.self();
    for (io::ShardId shard = 0; shard <= others_count_; ++shard) {
        if (shard != self) parts_.courier.tell_quiesced(shard);
    }
}

void Shutdown::begin_draining() {
    has_told_ = true;
    phase_ = Phase::draining;
    const io::ShardId self = parts_.courier.self();
    for (io::ShardId shard = 0; shard <= others_count_; ++shard) {
        if (shard != self) parts_.courier.tell_drained(shard);
    }
}

// Nothing is sequenced any more, so no stream can fall behind again; this shard will ask no other
// one for history, and has answered what others asked it.
void Shutdown::tell_caught_up() {
    caught_up_was_told_ = true;
    has_told_ = true;
    const io::ShardId self = parts_.courier.self();
    for (io::ShardId shard = 0; shard <= others_count_; ++shard) {
        if (shard != self) parts_.courier.tell_caught_up(shard);
    }
}

void Shutdown::begin_closing() {
    phase_ = Phase::closing;
    waiting_bytes_ = parts_.outbox.outbound_bytes();
    const uint64_t now_ns = parts_.reactor.now_ns();
    const uint64_t left_ns = deadline_ns_ - std::min(deadline_ns_, now_ns);
    const uint64_t easy_ns = base::ns_per_s * (others_count_ + 1) / closes_per_second;
    // Half of the time that is left must suffice for all; the rest is for those who read slowly.
    close_interval_ns_ = std::min(easy_ns, left_ns / 2 / std::max<uint64_t>(unclosed_.count(), 1));
}

void Shutdown::close_some() {
    const uint64_t now_ns = parts_.reactor.now_ns();
    const uint64_t burst_ns = closes_burst * close_interval_ns_;
    close_due_ns_ = std::max(close_due_ns_, now_ns - std::min(now_ns, burst_ns));
    const size_t looks_count = std::min<size_t>(unclosed_.count(), looks_per_turn_max);
    for (size_t count = 0; count < looks_count && close_due_ns_ <= now_ns; ++count) {
        const base::Slot slot = unclosed_.pop();
        Connection* connection = parts_.connections.find(slot);
        if (connection == nullptr) continue;
        const bool was_open = connection->state == State::open;
        if (!close_one(slot, *connection)) {
            unclosed_.push(slot);
        } else if (was_open) {
            close_due_ns_ += close_interval_ns_;
        }
    }
}

bool Shutdown::close_one(base::Slot slot, Connection& connection) {
    if (connection.state == State::http) return parts_.http.end(slot);
    if (connection.state != State::open) return true;  // ends by itself
    if (!connection.queue.is_empty() || connection.is_slow) return false;
    parts_.lifecycle.close_websocket(slot, CloseCode::going_away,
                                     row_of(CloseCode::going_away).reason,
                                     Lifecycle::Queued::flush);
    return true;
}

void Shutdown::cut_rest() {
    if (listeners_open_ > 0) {
        for (uint16_t listener = 0; listener < listeners_count_; ++listener) {
            parts_.reactor.accept_stop(listener);
        }
    }
    parts_.connections.for_each([this](base::Slot slot, Connection& connection) {
        if (connection.state == State::joining || connection.state == State::closed) return;
        if (!connection.queue.is_empty()) {
            ++report_.cut_count;
            report_.unsent_bytes += connection.queue.backlog_bytes();
        }
        parts_.lifecycle.abort(slot);
    });
}

}  // namespace broker
