#include "broker/shedding.h"

#include <algorithm>

namespace broker {

Shedding::Shedding(io::Reactor& reactor, base::Slab<Connection>& connections, Outbox& outbox,
                   Lifecycle& lifecycle, ShardMetrics& metrics)
    : reactor_(reactor),
      connections_(connections),
      outbox_(outbox),
      lifecycle_(lifecycle),
      metrics_(metrics) {}

void Shedding::begin(Pass pass) {
    pass_ = pass;
    next_index_ = 0;
    if (pass != Pass::looking) return;
    oldest_number_ = UINT64_MAX;
    message_bytes_most_ = 0;
}

void Shedding::advance(MemoryBudget::Level level) {
    if (level == MemoryBudget::Level::calm) {
        if (next_index_ > 0 || pass_ != Pass::looking) begin(Pass::looking);
        return;
    }
    if (reactor_.now_ns() < paused_until_ns_) return;
    next_index_ = connections_.for_some(
        next_index_, connections_per_turn_max,
        [this](base::Slot slot, Connection& connection) { visit(slot, connection); });
    if (next_index_ > 0) return;
    if (pass_ != Pass::looking) paused_until_ns_ = reactor_.now_ns() + pause_ns;
    begin(next_pass());
}

void Shedding::visit(base::Slot slot, Connection& connection) {
    switch (pass_) {
        case Pass::looking: look(connection); return;
        case Pass::shedding_queues: shed_queue(slot, connection); return;
        case Pass::shedding_messages: shed_message(slot, connection); return;
    }
}

Shedding::Pass Shedding::next_pass() {
    if (pass_ != Pass::looking) return Pass::looking;
    const uint64_t messages_bytes = metrics_.get(Metric::reassembly_bytes);
    const uint64_t queues_bytes =
        metrics_.get(Metric::chunk_memory_bytes) + metrics_.get(Metric::held_bytes);
    if (messages_bytes > queues_bytes) {
        shed_message_bytes_ = messages_bytes / 4;
        return Pass::shedding_messages;
    }
    if (oldest_number_ == UINT64_MAX) return Pass::looking;
    shed_until_number_ = oldest_number_ + (outbox_.newest_chunk_number() - oldest_number_) / 4;
    return Pass::shedding_queues;
}

// In whatever state it is: one that is being closed, or reads no HTTP response, holds as much. One
// in joining gives back what it has by itself.
bool Shedding::has_waited(const Connection& connection) const {
    if (connection.state == ConnectionState::joining || connection.queue.is_empty()) return false;
    // 0: it was queued in this turn.
    if (connection.waits_since_ns == 0) return false;
    return reactor_.now_ns() - connection.waits_since_ns >= waited_ns_min;
}

void Shedding::look(const Connection& connection) {
    message_bytes_most_ = std::max(message_bytes_most_, connection.reassembly_bytes);
    if (!has_waited(connection)) return;
    oldest_number_ = std::min(oldest_number_, connection.queue.oldest_chunk_number());
}

void Shedding::shed_queue(base::Slot slot, const Connection& connection) {
    if (!has_waited(connection)) return;
    if (connection.queue.oldest_chunk_number() > shed_until_number_) return;
    lifecycle_.abort(slot);
    metrics_.add(Metric::connections_shed_total);
}

void Shedding::shed_message(base::Slot slot, Connection& connection) {
    if (connection.state != ConnectionState::open || connection.is_doomed) return;
    const uint32_t bytes = connection.reassembly_bytes;
    if (shed_message_bytes_ == 0 || bytes == 0 || bytes < message_bytes_most_ / 2) return;
    shed_message_bytes_ -= std::min<uint64_t>(shed_message_bytes_, bytes);
    outbox_.doom(slot, connection);
    metrics_.add(Metric::connections_shed_total);
}

}  // namespace broker
