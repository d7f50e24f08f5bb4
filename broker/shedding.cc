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

void Shedding::advance(MemoryBudget::Level level, uint64_t now_ns) {
    if (level == MemoryBudget::Level::calm) {
        if (next_index_ > 0 || pass_ == Pass::shedding) begin(Pass::looking);
        return;
    }
    next_index_ = connections_.for_some(next_index_, connections_per_turn_max,
                                        [&](base::Slot slot, Connection& connection) {
                                            if (pass_ == Pass::looking) {
                                                look(connection, now_ns);
                                            } else {
                                                shed(slot, connection, now_ns);
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

bool Shedding::is_candidate(const Connection& connection, uint64_t now_ns) {
    if (connection.is_doomed || connection.queue.is_empty()) return false;
    if (connection.waits_since_ns == 0) return false;
    return now_ns - connection.waits_since_ns >= waits_min_ns;
}

void Shedding::look(const Connection& connection, uint64_t now_ns) {
    if (!is_candidate(connection, now_ns)) return;
    oldest_number_ = std::min(oldest_number_, connection.queue.oldest_chunk_number());
}

void Shedding::shed(base::Slot slot, Connection& connection, uint64_t now_ns) {
    if (connection.state != ConnectionState::open || !is_candidate(connection, now_ns)) return;
    if (connection.queue.oldest_chunk_number() > shed_until_number_) return;
    slow_consumers_.drop_all(connection);
    outbox_.doom(slot, connection);
    metrics_.add(Metric::connections_shed_total);
}

}  // namespace broker
