#include "broker/shedding.h"

#include <algorithm>

namespace broker {

Shedding::Shedding(io::Reactor& reactor, base::Slab<Connection>& connections, const Outbox& outbox,
                   Lifecycle& lifecycle, ShardMetrics& metrics)
    : reactor_(reactor),
      connections_(connections),
      outbox_(outbox),
      lifecycle_(lifecycle),
      metrics_(metrics) {}

void Shedding::begin(Pass pass) {
    pass_ = pass;
    next_index_ = 0;
    if (pass == Pass::looking) oldest_number_ = UINT64_MAX;
}

void Shedding::advance(MemoryBudget::Level level) {
    if (level == MemoryBudget::Level::calm) {
        if (next_index_ > 0 || pass_ == Pass::shedding) begin(Pass::looking);
        return;
    }
    if (reactor_.now_ns() < paused_until_ns_) return;
    next_index_ = connections_.for_some(next_index_, connections_per_turn_max,
                                        [this](base::Slot slot, Connection& connection) {
                                            if (pass_ == Pass::looking) {
                                                look(connection);
                                            } else {
                                                shed(slot, connection);
                                            }
                                        });
    if (next_index_ > 0) return;
    if (pass_ == Pass::looking && oldest_number_ != UINT64_MAX) {
        const uint64_t newest = outbox_.newest_chunk_number();
        shed_until_number_ = oldest_number_ + (newest - oldest_number_) / 4;
        begin(Pass::shedding);
    } else {
        if (pass_ == Pass::shedding) paused_until_ns_ = reactor_.now_ns() + pause_ns;
        begin(Pass::looking);
    }
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
    if (!has_waited(connection)) return;
    oldest_number_ = std::min(oldest_number_, connection.queue.oldest_chunk_number());
}

void Shedding::shed(base::Slot slot, const Connection& connection) {
    if (!has_waited(connection)) return;
    if (connection.queue.oldest_chunk_number() > shed_until_number_) return;
    lifecycle_.abort(slot);
    metrics_.add(Metric::connections_shed_total);
}

}  // namespace broker
