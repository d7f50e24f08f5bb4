#include "broker/shedding.h"

#include <algorithm>

namespace broker {

Shedding::Shedding(base::Slab<Connection>& connections, Outbox& outbox,
                   SlowConsumers& slow_consumers, ShardMetrics& metrics)
    : connections_(connections),
      outbox_(outbox),
      slow_consumers_(slow_consumers),
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
        begin(Pass::looking);
    }
}

void Shedding::look(const Connection& connection) {
    if (connection.is_doomed || connection.queue.is_empty()) return;
    oldest_number_ = std::min(oldest_number_, connection.queue.oldest_chunk_number());
}

void Shedding::shed(base::Slot slot, Connection& connection) {
    if (connection.state != ConnectionState::open || connection.is_doomed) return;
    if (connection.queue.is_empty()) return;
    if (connection.queue.oldest_chunk_number() > shed_until_number_) return;
    slow_consumers_.drop_all(connection);
    outbox_.doom(slot, connection);
    metrics_.add(Metric::connections_shed_total);
}

}  // namespace broker
