#include "broker/lifecycle.h"

#include <cstring>

#include "codec/reply.h"

namespace broker {

using State = ConnectionState;

Lifecycle::Lifecycle(io::Reactor& reactor, base::Slab<Connection>& connections,
                     io::TimerWheel& timers, Outbox& outbox, Subscriptions& subscriptions,
                     Replays& replays, SlowConsumers& slow_consumers, Joins& joins,
                     Compression& compression, base::Prng& prng, ShardMetrics& metrics,
                     const Settings& settings)
    : reactor_(reactor),
      connections_(connections),
      timers_(timers),
      outbox_(outbox),
      subscriptions_(subscriptions),
      replays_(replays),
      slow_consumers_(slow_consumers),
      joins_(joins),
      compression_(compression),
      prng_(prng),
      metrics_(metrics),
      settings_(settings) {}

base::Slot Lifecycle::accept(io::Socket socket, uint16_t listener) {
    const base::Slot slot = connections_.take(socket, listener, reactor_.now_ns());
    // The slab has twice the slots that the reactor has sockets: closed ones may still wait for
    // their last event.
    CHECK(!slot.is_none());
    read_on(slot);
    timers_.arm(slot.index, reactor_.now_ns() + settings_.handshake_timeout_ns);
    metrics_.set(Metric::connections, connections_.size());
    return slot;
}

void Lifecycle::read_on(base::Slot slot) {
    Connection& connection = connections_.at(slot);
    if (!connection.wants_bytes() || connection.recv_armed || connection.recv_starved) return;
    connection.recv_armed = true;
    reactor_.recv_start(connection.socket, slot);
}

void Lifecycle::leave_open(base::Slot slot, Connection& connection) {
    metrics_.subtract(Metric::websockets);
    gone_.clear();
    replays_.forget(connection);
    slow_consumers_.forget(connection);
    subscriptions_.unsubscribe_all(slot.index, gone_);
    for (const std::string& filter : gone_) joins_.filter_gone(filter);
    connection.decoder = codec::FrameDecoder(codec::Role::server);
    compression_.context_gone(connection.deflate.get());
    connection.deflate.reset();
}

void Lifecycle::account_reassembly(Connection& connection) {
    // Capacities: what a large request or message has left behind is not given back at once.
    uint64_t bytes = connection.decoder.buffered_bytes();
    if (connection.http != nullptr) bytes += connection.http->bytes.capacity();
    if (connection.stash != nullptr) {
        bytes += connection.stash->frame.capacity() + connection.stash->input.capacity();
    }
    metrics_.add(Metric::reassembly_bytes, bytes - connection.reassembly_bytes);
    connection.reassembly_bytes = static_cast<uint32_t>(bytes);
}

void Lifecycle::begin_closing(base::Slot slot, Connection& connection) {
    if (connection.state == State::open) leave_open(slot, connection);
    connection.state = State::closing;
    connection.http.reset();
    connection.stash.reset();
    account_reassembly(connection);
    // Read on, to discard what the peer still says and to see its end of stream.
    connection.pause = Pause::none;
    read_on(slot);
    timers_.arm(slot.index, reactor_.now_ns() + settings_.close_timeout_ns);
}

void Lifecycle::append_goodbye(base::Slot slot, const Connection& connection) {
    const CloseCodeRow& row = row_of(static_cast<CloseCode>(connection.close_code));
    if (row.reconnect != Reconnect::after_retry_ms || connection.is_echo) return;
    json_.clear();
    codec::append_goodbye(json_, row.name, row.reason, prng_.between(return_ms_min, return_ms_max));
    outbox_.send_unlimited(slot, codec::Opcode::text, json_);
}

void Lifecycle::append_close_frame(base::Slot slot, Connection& connection) {
    char payload[codec::control_payload_bytes_max];
    size_t bytes = 0;
    if (connection.close_code != 1005) {  // 1005 stands for a Close frame without a code
        payload[0] = static_cast<char>(connection.close_code >> 8);
        payload[1] = static_cast<char>(connection.close_code & 0xff);
        bytes = 2 + connection.close_reason.copy(payload + 2, sizeof payload - 2);
    }
    outbox_.send_unlimited(slot, codec::Opcode::close, {payload, bytes});
}

void Lifecycle::drop_and_append_close_frame(base::Slot slot, Connection& connection) {
    connection.close_frame_owed = connection.queue.is_in_flight();
    if (connection.close_frame_owed) return;
    outbox_.drop_to_boundary(connection);
    append_goodbye(slot, connection);
    append_close_frame(slot, connection);
}

void Lifecycle::close_websocket(base::Slot slot, CloseCode code, std::string_view reason,
                                Queued queued) {
    Connection& connection = connections_.at(slot);
    CHECK(connection.state == State::open);
    connection.close_code = static_cast<uint16_t>(code);
    connection.close_reason = reason;
    if (queued == Queued::flush) slow_consumers_.settle(slot);
    begin_closing(slot, connection);
    if (queued == Queued::flush) {
        append_close_frame(slot, connection);
    } else {
        drop_and_append_close_frame(slot, connection);
    }
}

void Lifecycle::close_answered(base::Slot slot, uint16_t code) {
    Connection& connection = connections_.at(slot);
    CHECK(connection.state == State::open);
    connection.close_code = code;
    slow_consumers_.settle(slot);
    begin_closing(slot, connection);
    // What was queued before goes first: the peer may read on until our Close (RFC 6455 §1.4).
    append_close_frame(slot, connection);
}

void Lifecycle::close_http(base::Slot slot) {
    Connection& connection = connections_.at(slot);
    CHECK(connection.state == State::http);
    begin_closing(slot, connection);
    advance(slot);
}

void Lifecycle::abort(base::Slot slot) {
    Connection& connection = connections_.at(slot);
    if (connection.state == State::joining || connection.state == State::closed) return;
    if (connection.state == State::open) leave_open(slot, connection);
    join(slot, connection);
}

void Lifecycle::join(base::Slot slot, Connection& connection) {
    connection.state = State::joining;
    connection.http.reset();
    connection.stash.reset();
    account_reassembly(connection);
    timers_.cancel(slot.index);
    if (connection.recv_armed || connection.queue.is_in_flight()) {
        reactor_.shutdown(connection.socket, io::Direction::both);
    }
    advance(slot);
}

void Lifecycle::peer_ended(base::Slot slot) {
    Connection& connection = connections_.at(slot);
    connection.peer_ended = true;
    switch (connection.state) {
        case State::http:
            // A client may end its side after its last request and still wait for the answers.
            if (connection.http->awaits_answer || connection.pause != Pause::none) return;
            if (connection.queue.is_empty()) {
                abort(slot);
            } else {
                close_http(slot);
            }
            return;
        case State::open:
            // What is stashed was said before the end, and is still to be done.
            if (connection.stash == nullptr) abort(slot);
            return;
        case State::closing: advance(slot); return;
        case State::lingering: join(slot, connection); return;
        case State::joining: advance(slot); return;
        case State::closed: break;
    }
    UNREACHABLE();
}

void Lifecycle::discarded(base::Slot slot, uint32_t bytes) {
    Connection& connection = connections_.at(slot);
    connection.discarded_bytes += bytes;
    const bool may_discard =
        connection.state == State::closing || connection.state == State::lingering;
    if (may_discard && connection.discarded_bytes > discarded_bytes_max) join(slot, connection);
}

void Lifecycle::advance(base::Slot slot) {
    Connection& connection = connections_.at(slot);
    switch (connection.state) {
        case State::http:
        case State::open:
        case State::lingering:
        case State::closed: return;
        case State::closing:
            if (connection.queue.is_in_flight()) return;
            if (connection.close_frame_owed) {
                drop_and_append_close_frame(slot, connection);
                return;
            }
            if (!connection.queue.is_empty()) return;
            if (connection.peer_ended) {
                join(slot, connection);
                return;
            }
            connection.state = State::lingering;
            reactor_.shutdown(connection.socket, io::Direction::write);
            // A peer that was evicted for its silence will not answer its Close frame either: the
            // grace that the heartbeat gave it goes on.
            if (connection.close_code != static_cast<uint16_t>(CloseCode::heartbeat_timeout)) {
                timers_.arm(slot.index, reactor_.now_ns() + settings_.close_timeout_ns);
            }
            return;
        case State::joining:
            if (connection.recv_armed || connection.queue.is_in_flight()) return;
            outbox_.drop_all(connection);
            connection.state = State::closed;
            if (connection.was_upgraded) {
                metrics_.count_closed(connection.close_code == 0 ? 1006 : connection.close_code);
            }
            reactor_.close(connection.socket, slot);
            return;
    }
    UNREACHABLE();
}

void Lifecycle::closed(base::Slot slot) {
    const Connection& connection = connections_.at(slot);
    CHECK(connection.state == State::closed);
    if (connection.is_over_limit) metrics_.subtract(Metric::connections_refused);
    connections_.release(slot);
    metrics_.set(Metric::connections, connections_.size());
}

void Lifecycle::timed_out(base::Slot slot) {
    join(slot, connections_.at(slot));
}

}  // namespace broker
