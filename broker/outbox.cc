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
      hard_bytes_(settings.outbound_hard_bytes) {}

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
    if (backlog == 0 || backlog + range.size() <= hard_bytes_) return true;
    connection.is_doomed = true;
    doomed_.push_back(slot);
    return false;
}

void Outbox::account(Connection& connection, uint32_t before_bytes) {
    outbound_bytes_ = outbound_bytes_ - before_bytes + connection.queue.backlog_bytes();
}

void Outbox::mark_dirty(base::Slot slot, Connection& connection) {
    if (connection.is_dirty || connection.queue.is_in_flight()) return;
    connection.is_dirty = true;
    dirty_.push(slot);
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

void Outbox::fan_out(std::string_view json, std::span<const uint32_t> subscribers) {
    // Each form is made when the first subscriber needs it.
    Range plain;
    Range compressed;
    bool compression_tried = false;
    uint64_t deliveries = 0;
    for (const uint32_t subscriber : subscribers) {
        Connection& connection = connections_.at_index(subscriber);
        const base::Slot slot = connections_.slot_of(subscriber);
        const Range* range = &plain;
        if (connection.deflate_window_bits != 0 &&
            codec::fits_window(json.size(), connection.deflate_window_bits)) {
            if (!compression_tried) compressed = append_compressed(json);
            compression_tried = true;
            if (compressed.chunk != nullptr) range = &compressed;
        }
        if (range->chunk == nullptr) plain = append_frame(codec::Opcode::text, json);
        if (!admit(slot, connection, *range)) continue;
        connection.queue.push(*range);
        pushed(slot, connection, *range);
        ++deliveries;
    }
    if (plain.chunk != nullptr) chunks_.release(plain);
    if (compressed.chunk != nullptr) chunks_.release(compressed);
    metrics_.add(Metric::deliveries_total, deliveries);
}

void Outbox::pushed(base::Slot slot, Connection& connection, const Range& range) {
    outbound_bytes_ += range.size();
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
    for (const Range& range : frames) {
        connection.queue.push(range);
        pushed(slot, connection, range);
    }
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

void Outbox::sent(base::Slot slot, int32_t result) {
    Connection& connection = connections_.at(slot);
    const uint32_t before_bytes = connection.queue.backlog_bytes();
    const uint32_t bytes = result > 0 ? static_cast<uint32_t>(result) : 0;
    connection.queue.sent(bytes, chunks_);
    account(connection, before_bytes);
    metrics_.add(Metric::sends_total);
    metrics_.add(Metric::sent_bytes_total, bytes);
    if (result > 0 && !connection.queue.is_empty()) mark_dirty(slot, connection);
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

void Outbox::send(base::Slot slot, Connection& connection) {
    iovec parts[io::iovecs_per_send_max];
    const uint32_t before_bytes = connection.queue.backlog_bytes();
    const uint32_t count = connection.queue.gather(parts, chunks_);
    account(connection, before_bytes);
    connection.send_began_ns = reactor_.now_ns();
    reactor_.send(connection.socket, slot, {parts, count});
}

void Outbox::flush() {
    for (uint32_t sends = 0; sends < sends_per_turn_max && !dirty_.is_empty();) {
        const base::Slot slot = dirty_.pop();
        Connection* connection = connections_.find(slot);
        if (connection == nullptr) continue;
        connection->is_dirty = false;
        const bool may_send = connection->state != ConnectionState::joining &&
                              connection->state != ConnectionState::closed;
        if (!may_send || connection->queue.is_empty() || connection->queue.is_in_flight()) continue;
        send(slot, *connection);
        ++sends;
    }
    metrics_.set(Metric::outbound_bytes, outbound_bytes_);
    metrics_.set(Metric::chunk_memory_bytes, chunks_.held_bytes());
}

std::vector<base::Slot> Outbox::take_doomed() {
    return std::exchange(doomed_, {});
}

}  // namespace broker
