#include "broker/courier.h"

#include <algorithm>
#include <utility>

#include "io/base/check.h"

namespace broker {

namespace {

uint64_t results_cost_min(const CrossCore& cross_core, uint32_t heads_max) {
    const uint64_t joining = CrossCore::heads_cost(heads_max) + CrossCore::marker_cost();
    const uint64_t reading = cross_core.publication_cost_max() + cross_core.history_end_cost_max();
    return std::max(joining, reading);
}

}  // namespace

Courier::Courier(io::ShardId self, io::Mesh& mesh, io::Reactor& reactor, uint64_t lane_bytes,
                 uint32_t heads_max)
    : self_(self),
      mesh_(mesh),
      reactor_(reactor),
      cross_core_(lane_bytes),
      heads_cost_max_(CrossCore::heads_cost(heads_max)),
      results_cost_min_(results_cost_min(cross_core_, heads_max)),
      live_room_bytes_(lane_bytes / 2),
      destinations_(mesh.shards_count()) {}

bool Courier::has_room_for_results(uint64_t record_cost) {
    const uint64_t wanted = std::max(2 * record_cost, results_cost_min_);
    for (io::ShardId to = 0; to < shards_count(); ++to) {
        if (to != self_ && mesh_.deliver(self_, to).room_bytes() < wanted) return false;
    }
    return true;
}

void Courier::write_message(io::ShardId to, const Publication& publication) {
    destinations_[to].is_touched = true;
    CHECK(
        cross_core_.write_publication(mesh_.deliver(self_, to), RecordType::message, publication));
}

void Courier::write_published(const Origin& origin, const PublishResult& result) {
    destinations_[origin.shard].is_touched = true;
    CHECK(CrossCore::write_published(mesh_.deliver(self_, origin.shard), origin, result));
}

void Courier::write_heads(io::ShardId to, std::span<const codec::Position> heads) {
    destinations_[to].is_touched = true;
    CHECK(CrossCore::write_heads(mesh_.deliver(self_, to), heads));
}

bool Courier::has_room_for_heads(io::ShardId to) {
    return has_room_beside_results(to, heads_cost_max_);
}

bool Courier::has_room_beside_results(io::ShardId to, uint64_t cost) {
    // What is owed there comes first.
    return destinations_[to].deliver.empty() &&
           mesh_.deliver(self_, to).room_bytes() >= results_cost_min_ + cost;
}

void Courier::write_interest_ack(io::ShardId to, uint32_t token) {
    destinations_[to].is_touched = true;
    CHECK(CrossCore::write_marker(mesh_.deliver(self_, to), RecordType::interest_ack, token));
}

bool Courier::write_history_message(io::ShardId to, uint32_t token, const Publication& publication,
                                    bool is_first) {
    io::Lane& lane = mesh_.deliver(self_, to);
    const uint64_t wanted =
        cross_core_.publication_cost(publication) + cross_core_.history_end_cost_max();
    if (!is_first && lane.room_bytes() < live_room_bytes_ + wanted) return false;
    destinations_[to].is_touched = true;
    CHECK(cross_core_.write_publication(lane, RecordType::history_message, publication, token));
    return true;
}

void Courier::write_history_end(io::ShardId to, uint32_t token, const HistoryExtent& extent) {
    destinations_[to].is_touched = true;
    CHECK(cross_core_.write_history_end(mesh_.deliver(self_, to), token, extent));
}

bool Courier::forward(io::ShardId to, const Publication& publication) {
    // Publishes queue behind what is owed, or small ones would take every bit of room before it.
    if (!destinations_[to].forward.empty()) return false;
    if (!cross_core_.write_publication(mesh_.forward(self_, to), RecordType::publish,
                                       publication)) {
        return false;
    }
    destinations_[to].is_touched = true;
    return true;
}

bool Courier::ask_history(io::ShardId to, uint32_t token, const HistoryRequest& request) {
    if (!destinations_[to].forward.empty()) return false;
    if (!cross_core_.write_history_read(mesh_.forward(self_, to), token, request)) return false;
    destinations_[to].is_touched = true;
    return true;
}

bool Courier::ask_connections(io::ShardId to, uint32_t token, const ConnectionsQuestion& question) {
    if (!destinations_[to].forward.empty()) return false;
    if (!CrossCore::write_connections_read(mesh_.forward(self_, to), token, question)) return false;
    destinations_[to].is_touched = true;
    return true;
}

bool Courier::ask_close(io::ShardId to, base::Slot asker, base::Slot target) {
    if (!destinations_[to].forward.empty()) return false;
    const Origin origin{.shard = self_, .slot = asker};
    if (!CrossCore::write_connection_close(mesh_.forward(self_, to), origin, target)) return false;
    destinations_[to].is_touched = true;
    return true;
}

bool Courier::write_connection_rows(io::ShardId to, uint32_t token,
                                    std::span<const ConnectionRow> rows) {
    CHECK(rows.size() <= rows_per_record_max);
    if (!has_room_beside_results(to, CrossCore::connection_rows_cost(rows.size()))) return false;
    destinations_[to].is_touched = true;
    CHECK(CrossCore::write_connection_rows(mesh_.deliver(self_, to), token, rows));
    return true;
}

bool Courier::write_connections_end(io::ShardId to, uint32_t token, uint64_t connections_count) {
    if (!has_room_beside_results(to, CrossCore::marker_cost())) return false;
    destinations_[to].is_touched = true;
    CHECK(CrossCore::write_connections_end(mesh_.deliver(self_, to), token, connections_count));
    return true;
}

void Courier::write_connection_closed(io::ShardId to, base::Slot asker, bool was_there) {
    destinations_[to].is_touched = true;
    const Origin origin{.shard = to, .slot = asker};
    CHECK(CrossCore::write_connection_closed(mesh_.deliver(self_, to), origin, was_there));
}

bool Courier::write(io::Lane& lane, const Owed& owed) {
    switch (owed.type) {
        case RecordType::interest_add:
        case RecordType::interest_remove:
            return CrossCore::write_filter(lane, owed.type, owed.filter, owed.token);
        case RecordType::quiesced:
        case RecordType::drained:
        case RecordType::caught_up: return CrossCore::write_marker(lane, owed.type, owed.token);
        case RecordType::publish:
        case RecordType::history_read:
        case RecordType::message:
        case RecordType::published:
        case RecordType::heads:
        case RecordType::interest_ack:
        case RecordType::history_message:
        case RecordType::history_end:
        case RecordType::connections_read:
        case RecordType::connection_close:
        case RecordType::connection_rows:
        case RecordType::connections_end:
        case RecordType::connection_closed: break;
    }
    UNREACHABLE();
}

void Courier::tell(io::ShardId to, std::deque<Owed>& queue, io::Lane& lane, Owed owed) {
    destinations_[to].is_touched = true;
    if (queue.empty() && write(lane, owed)) return;
    queue.push_back(std::move(owed));
    ++owed_count_;
}

void Courier::tell_interest(io::ShardId to, RecordType type, std::string_view filter,
                            uint32_t token) {
    tell(to, destinations_[to].forward, mesh_.forward(self_, to),
         {type, std::string(filter), token});
}

void Courier::tell_quiesced(io::ShardId to) {
    tell(to, destinations_[to].forward, mesh_.forward(self_, to), {RecordType::quiesced, {}, 0});
}

void Courier::tell_drained(io::ShardId to) {
    tell(to, destinations_[to].deliver, mesh_.deliver(self_, to), {RecordType::drained, {}, 0});
}

void Courier::tell_caught_up(io::ShardId to) {
    tell(to, destinations_[to].deliver, mesh_.deliver(self_, to), {RecordType::caught_up, {}, 0});
}

void Courier::settle(std::deque<Owed>& queue, io::Lane& lane, Destination& destination) {
    while (!queue.empty() && write(lane, queue.front())) {
        queue.pop_front();
        --owed_count_;
        destination.is_touched = true;
    }
}

void Courier::flush() {
    for (io::ShardId to = 0; to < shards_count(); ++to) {
        if (to == self_) continue;
        Destination& destination = destinations_[to];
        settle(destination.forward, mesh_.forward(self_, to), destination);
        settle(destination.deliver, mesh_.deliver(self_, to), destination);
        if (!std::exchange(destination.is_touched, false)) continue;
        mesh_.forward(self_, to).commit();
        mesh_.deliver(self_, to).commit();
        if (mesh_.wake_claim(to)) reactor_.wake(to);
    }
}

}  // namespace broker
