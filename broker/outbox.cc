#include "broker/outbox.h"

#include <utility>

namespace broker {

namespace {

std::span<const uint8_t> bytes_of(std::string_view text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

}  // namespace

Outbox::Outbox(io::Reactor& reactor, base::Slab<Connection>& connections, Compression& compression,
               ShardMetrics& metrics, const Settings& settings)
    : reactor_(reactor),
      connections_(connections),
      compression_(compression),
      metrics_(metrics),
      settings_(settings) {}

Outbox::~Outbox() {
    CHECK(outbound_bytes_ == 0);
}

Range Outbox::append_frame(codec::Opcode opcode, std::string_view payload) {
    uint8_t header[codec::frame_header_bytes_max];
    const uint32_t header_bytes =
        codec::encode_frame_header({.opcode = opcode, .payload_bytes = payload.size()}, header);
    return chunks_.append({header, header_bytes}, bytes_of(payload));
}

bool Outbox::admit(base::Slot slot, Connection& connection, const Range& range) {
    if (connection.is_doomed) return false;
    const uint64_t backlog = connection.queue.backlog_bytes();
    // An empty queue takes any message, or one message larger than the limit would doom all its
    // subscribers.
    if (backlog == 0 || backlog + range.size() <= settings_.outbound_hard_bytes) return true;
    doom(slot, connection);
    return false;
}

void Outbox::doom(base::Slot slot, Connection& connection) {
    if (connection.is_doomed) return;
    connection.is_doomed = true;
    connection.is_slow = true;
    doomed_.push_back(slot);
}

void Outbox::account(Connection& connection, uint32_t before_bytes) {
    outbound_bytes_ = outbound_bytes_ - before_bytes + connection.queue.backlog_bytes();
}

void Outbox::mark_dirty(base::Slot slot, Connection& connection) {
    if (connection.queue.is_in_flight()) return;
    bool& is_listed = connection.is_prompt ? connection.is_prompt_dirty : connection.is_dirty;
    if (is_listed) return;
    is_listed = true;
    if (connection.waits_since_ns == 0) connection.waits_since_ns = reactor_.now_ns();
    (connection.is_prompt ? prompt_ : bulk_).push(slot);
}

Range Outbox::append_compressed(std::string_view json) {
    const std::span<const uint8_t> payload = compression_.compress_shared(json);
    if (payload.empty()) return Range{};
    return append_compressed_frame(codec::Opcode::text, payload);
}

Range Outbox::append_compressed_frame(codec::Opcode opcode, std::span<const uint8_t> payload) {
    uint8_t header[codec::frame_header_bytes_max];
    const uint32_t header_bytes = codec::encode_frame_header(
        {.opcode = opcode, .rsv1 = true, .payload_bytes = payload.size()}, header);
    return chunks_.append({header, header_bytes}, payload, ChunkStream::compressed);
}

bool Outbox::wants_compressed(const Connection& connection, const OutboundMessage& message) const {
    return connection.deflate_window_bits != 0 &&
           codec::fits_window(message.json.size(), connection.deflate_window_bits);
}

const Range& Outbox::frame_of(const Connection& connection, OutboundMessage& message) {
    if (wants_compressed(connection, message)) {
        if (!message.compression_was_tried) message.compressed = append_compressed(message.json);
        message.compression_was_tried = true;
        if (message.compressed.chunk != nullptr) return message.compressed;
    }
    if (message.plain.chunk == nullptr) {
        message.plain = append_frame(codec::Opcode::text, message.json);
    }
    return message.plain;
}

const Range& Outbox::frame_alone(const Connection& connection, OutboundMessage& message) {
    const Range& frame = frame_of(connection, message);
    Range& alone = &frame == &message.compressed ? message.compressed_alone : message.plain_alone;
    if (alone.chunk == nullptr) alone = chunks_.append_alone({frame.data(), frame.size()});
    return alone;
}

void Outbox::release(OutboundMessage& message) {
    for (Range* range :
         {&message.plain, &message.compressed, &message.plain_alone, &message.compressed_alone}) {
        if (range->chunk != nullptr) chunks_.release(*range);
        *range = Range{};
    }
}

void Outbox::fan_out(OutboundMessage& message, std::span<const uint32_t> subscribers,
                     std::vector<uint32_t>& slow) {
    const Urgency urgency =
        subscribers.size() > prompt_subscribers_max ? Urgency::bulk : Urgency::prompt;
    const uint64_t soft_bytes = settings_.outbound_soft_bytes;
    uint64_t deliveries = 0;
    uint64_t extended_count = 0;
    for (const uint32_t subscriber : subscribers) {
        Connection& connection = connections_.at_index(subscriber);
        // The short way: one frame more behind those that wait. So the connection is listed or has
        // a send in flight already (invariant 2), or it is tried again after a failed one.
        if (connection.deflate_window_bits == 0 && !connection.is_slow &&
            (urgency == Urgency::bulk || connection.is_prompt) &&
            connection.queue.extend(message.plain, soft_bytes)) {
            ++extended_count;
            continue;
        }
        const Range& frame = frame_of(connection, message);
        const uint64_t backlog = connection.queue.backlog_bytes();
        const bool is_full = backlog > 0 && backlog + frame.size() > soft_bytes;
        if (is_full || connection.is_slow) {
            slow.push_back(subscriber);
            continue;
        }
        connection.queue.push(frame);
        pushed(connections_.slot_of(subscriber), connection, frame, urgency);
        ++deliveries;
    }
    outbound_bytes_ += extended_count * message.plain.size();
    metrics_.add(Metric::deliveries_total, deliveries + extended_count);
}

bool Outbox::has_room(const Connection& connection, OutboundMessage& message) {
    const uint64_t backlog = connection.queue.backlog_bytes();
    return backlog == 0 ||
           backlog + frame_of(connection, message).size() <= settings_.outbound_soft_bytes;
}

void Outbox::push(base::Slot slot, Connection& connection, OutboundMessage& message) {
    push_frame(slot, connection, frame_of(connection, message));
    metrics_.add(Metric::deliveries_total);
}

void Outbox::push_or_doom(base::Slot slot, Connection& connection, OutboundMessage& message) {
    if (admit(slot, connection, frame_of(connection, message))) push(slot, connection, message);
}

void Outbox::push_frame(base::Slot slot, Connection& connection, const Range& frame) {
    connection.queue.push(frame);
    pushed(slot, connection, frame, Urgency::bulk);
}

void Outbox::pushed(base::Slot slot, Connection& connection, const Range& range, Urgency urgency) {
    outbound_bytes_ += range.size();
    if (urgency == Urgency::prompt) connection.is_prompt = true;
    mark_dirty(slot, connection);
}

void Outbox::send_ordered(base::Slot slot, std::string_view json) {
    Connection& connection = connections_.at(slot);
    const Range range = append_frame(codec::Opcode::text, json);
    if (admit(slot, connection, range)) {
        connection.queue.push(range);
        pushed(slot, connection, range);
    }
    chunks_.release(range);
}

void Outbox::send_control(base::Slot slot, codec::Opcode opcode, std::string_view payload) {
    Connection& connection = connections_.at(slot);
    const Range range = append_frame(opcode, payload);
    if (admit(slot, connection, range)) {
        connection.queue.push_control(range);
        pushed(slot, connection, range);
    }
    chunks_.release(range);
}

void Outbox::send_control_unlimited(base::Slot slot, std::string_view json) {
    Connection& connection = connections_.at(slot);
    if (connection.is_doomed) return;
    const Range range = append_frame(codec::Opcode::text, json);
    connection.queue.push_control(range);
    pushed(slot, connection, range);
    chunks_.release(range);
}

bool Outbox::send_control_watched(base::Slot slot, const Range& frames) {
    Connection& connection = connections_.at(slot);
    if (!admit(slot, connection, frames)) return false;
    connection.queue.push_control(frames);
    connection.queue.watch_control();
    pushed(slot, connection, frames);
    return true;
}

void Outbox::send_unlimited(base::Slot slot, codec::Opcode opcode, std::string_view payload) {
    Connection& connection = connections_.at(slot);
    const Range range = append_frame(opcode, payload);
    connection.queue.push(range);
    pushed(slot, connection, range);
    chunks_.release(range);
}

void Outbox::send_echo(base::Slot slot, codec::Opcode opcode, std::string_view payload) {
    Connection& connection = connections_.at(slot);
    if (connection.deflate_window_bits == 0) {
        send_unlimited(slot, opcode, payload);
        return;
    }
    const Range range = append_compressed_frame(
        opcode, compression_.compress_for(connection.deflate.get(), payload));
    connection.queue.push(range);
    pushed(slot, connection, range);
    chunks_.release(range);
}

void Outbox::send_announced(base::Slot slot, std::string_view announcement,
                            std::span<const Range> frames) {
    Connection& connection = connections_.at(slot);
    if (connection.is_doomed) return;
    send_unlimited(slot, codec::Opcode::text, announcement);
    send_stored(slot, frames);
}

void Outbox::send_stored(base::Slot slot, std::span<const Range> frames) {
    Connection& connection = connections_.at(slot);
    if (connection.is_doomed) return;
    for (const Range& frame : frames) push_frame(slot, connection, frame);
}

void Outbox::send_announced_text(base::Slot slot, std::string_view announcement,
                                 std::string_view json) {
    if (connections_.at(slot).is_doomed) return;
    send_unlimited(slot, codec::Opcode::text, announcement);
    send_unlimited(slot, codec::Opcode::text, json);
}

Range Outbox::store(std::string_view frames) {
    return chunks_.append_alone(bytes_of(frames));
}

bool Outbox::append_compressed_text(std::string& frames, std::string_view json) {
    const std::span<const uint8_t> payload = compression_.compress_shared(json);
    if (payload.empty()) return false;
    uint8_t header[codec::frame_header_bytes_max];
    const uint32_t header_bytes = codec::encode_frame_header(
        {.opcode = codec::Opcode::text, .rsv1 = true, .payload_bytes = payload.size()}, header);
    frames.append(reinterpret_cast<const char*>(header), header_bytes);
    frames.append(reinterpret_cast<const char*>(payload.data()), payload.size());
    return true;
}

void Outbox::send_raw(base::Slot slot, std::string_view bytes) {
    Connection& connection = connections_.at(slot);
    const Range range = chunks_.append(bytes_of(bytes), {});
    connection.queue.push_raw(range);
    pushed(slot, connection, range);
    chunks_.release(range);
}

void Outbox::sent(base::Slot slot, Connection& connection, int32_t result) {
    const uint32_t bytes = result > 0 ? static_cast<uint32_t>(result) : 0;
    const uint32_t gathered_bytes = connection.queue.in_flight_bytes();
    connection.queue.sent(bytes, chunks_);
    outbound_bytes_ -= bytes;
    metrics_.add(Metric::sends_total);
    metrics_.add(Metric::sent_bytes_total, bytes);
    if (result <= 0) return;
    if (connection.was_upgraded) {
        metrics_.observe(Distribution::delivery_delay_seconds,
                         reactor_.now_ns() - connection.waits_since_ns);
    }
    if (bytes == gathered_bytes) connection.waits_since_ns = connection.send_began_ns;
    if (connection.queue.is_empty()) {
        connection.waits_since_ns = 0;
    } else {
        mark_dirty(slot, connection);
    }
}

void Outbox::send_again(base::Slot slot) {
    Connection& connection = connections_.at(slot);
    if (!connection.queue.is_empty()) mark_dirty(slot, connection);
}

void Outbox::drop_to_boundary(Connection& connection) {
    const uint32_t before_bytes = connection.queue.backlog_bytes();
    connection.queue.drop_to_boundary(chunks_);
    account(connection, before_bytes);
}

void Outbox::drop_all(Connection& connection) {
    const uint32_t before_bytes = connection.queue.backlog_bytes();
    connection.queue.drop_all(chunks_);
    account(connection, before_bytes);
}

bool Outbox::send(base::Slot slot, Connection& connection) {
    const bool may_send =
        connection.state != ConnectionState::joining && connection.state != ConnectionState::closed;
    if (!may_send || connection.queue.is_empty() || connection.queue.is_in_flight()) return false;
    iovec parts[io::iovecs_per_send_max];
    const uint32_t count = connection.queue.gather(parts, chunks_);
    connection.send_began_ns = reactor_.now_ns();
    // It stood in a list since an earlier send took what it was listed for.
    if (connection.waits_since_ns == 0) connection.waits_since_ns = connection.send_began_ns;
    connection.is_prompt = false;
    reactor_.send(connection.socket, slot, {parts, count});
    return true;
}

void Outbox::flush() {
    uint32_t sends = 0;
    while (!prompt_.is_empty() && sends < sends_per_turn_max - bulk_sends_per_turn_min) {
        const base::Slot slot = prompt_.pop();
        Connection* connection = connections_.find(slot);
        if (connection == nullptr) continue;
        connection->is_prompt_dirty = false;
        if (send(slot, *connection)) ++sends;
    }
    while (!bulk_.is_empty() && sends < sends_per_turn_max) {
        const base::Slot slot = bulk_.pop();
        Connection* connection = connections_.find(slot);
        if (connection == nullptr) continue;
        connection->is_dirty = false;
        if (send(slot, *connection)) ++sends;
    }
    metrics_.set(Metric::outbound_bytes, outbound_bytes_);
    metrics_.set(Metric::chunk_memory_bytes, chunks_.alive_bytes());
}

std::vector<base::Slot> Outbox::take_doomed() {
    return std::exchange(doomed_, {});
}

}  // namespace broker
