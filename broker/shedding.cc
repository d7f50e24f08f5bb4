#include "broker/shedding.h"

#include <algorithm>

#include "io/base/check.h"

namespace broker {

Shedding::Shedding(io::Reactor& reactor, base::Slab<Connection>& connections, Outbox& outbox,
                   Lifecycle& lifecycle, HttpSurface& http, Shortages& shortages,
                   ShardMetrics& metrics)
    : reactor_(reactor),
      connections_(connections),
      outbox_(outbox),
      lifecycle_(lifecycle),
      http_(http),
      shortages_(shortages),
      metrics_(metrics) {}

void Shedding::begin(Pass pass) {
    pass_ = pass;
    next_index_ = 0;
    if (pass != Pass::looking) return;
    oldest_number_ = UINT64_MAX;
    input_bytes_most_ = 0;
}

void Shedding::advance(MemoryBudget::Level level) {
    if (level == MemoryBudget::Level::calm) {
        if (next_index_ > 0 || pass_ != Pass::looking) begin(Pass::looking);
        return;
    }
    outbox_.drop_spare_memory();
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
        case Pass::shedding_inputs: shed_input(slot, connection); return;
    }
}

Shedding::Pass Shedding::next_pass() {
    if (pass_ != Pass::looking) return Pass::looking;
    const uint64_t inputs_bytes = metrics_.get(Metric::reassembly_bytes);
    const uint64_t queues_bytes =
        metrics_.get(Metric::chunk_memory_bytes) + metrics_.get(Metric::held_bytes);
    if (inputs_bytes > queues_bytes) {
        shed_input_bytes_ = inputs_bytes / 4;
        return Pass::shedding_inputs;
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

// What a connection keeps of its input, if closing it gives that back and nobody else is to blame.
uint32_t Shedding::input_bytes(const Connection& connection) {
    switch (connection.state) {
        case ConnectionState::http: return HttpSurface::unfinished_bytes(connection);
        case ConnectionState::open: return connection.is_doomed ? 0 : connection.reassembly_bytes;
        case ConnectionState::closing:
        case ConnectionState::lingering:
        case ConnectionState::joining:
        case ConnectionState::closed: return 0;
    }
    UNREACHABLE();
}

void Shedding::look(const Connection& connection) {
    input_bytes_most_ = std::max(input_bytes_most_, input_bytes(connection));
    if (!has_waited(connection)) return;
    oldest_number_ = std::min(oldest_number_, connection.queue.oldest_chunk_number());
}

void Shedding::shed_queue(base::Slot slot, const Connection& connection) {
    if (!has_waited(connection)) return;
    if (connection.queue.oldest_chunk_number() > shed_until_number_) return;
    count_shed(connection);
    lifecycle_.abort(slot);
}

void Shedding::shed_input(base::Slot slot, Connection& connection) {
    const uint32_t bytes = input_bytes(connection);
    if (shed_input_bytes_ == 0 || bytes == 0 || bytes < input_bytes_most_ / 2) return;
    shed_input_bytes_ -= std::min<uint64_t>(shed_input_bytes_, bytes);
    count_shed(connection);
    if (connection.state == ConnectionState::http) {
        http_.shed(slot);
    } else {
        outbox_.doom(slot, connection);
    }
}

// Before it is closed, which gives back what it holds.
void Shedding::count_shed(const Connection& connection) {
    metrics_.add(Metric::connections_shed_total);
    shortages_.shed(connection.queue.backlog_bytes() + connection.reassembly_bytes);
}

}  // namespace broker
