#include "broker/courier.h"

#include <utility>

#include "io/base/check.h"

namespace broker {

Courier::Courier(io::ShardId self, io::Mesh& mesh, io::Reactor& reactor, uint64_t lane_bytes)
    : self_(self),
      mesh_(mesh),
      reactor_(reactor),
      cross_core_(lane_bytes),
      destinations_(mesh.shards_count()) {}

bool Courier::has_room_for_results(uint64_t record_bytes) {
    const uint64_t wanted = 2 * io::Lane::record_cost(record_bytes);
    for (io::ShardId to = 0; to < shards_count(); ++to) {
        if (to != self_ && mesh_.deliver(self_, to).room_bytes() < wanted) return false;
    }
    return true;
}

uint64_t Courier::record_bytes(const Publication& publication) const {
    return cross_core_.publication_cost(publication);
}

void Courier::write_message(io::ShardId to, const Publication& publication) {
    destinations_[to].is_touched = true;
    CHECK(
        cross_core_.write_publication(mesh_.deliver(self_, to), RecordType::message, publication));
}

void Courier::write_published(const Origin& origin) {
    destinations_[origin.shard].is_touched = true;
    CHECK(CrossCore::write_published(mesh_.deliver(self_, origin.shard), origin));
}

void Courier::write_interest_ack(io::ShardId to, uint32_t token) {
    destinations_[to].is_touched = true;
    CHECK(CrossCore::write_marker(mesh_.deliver(self_, to), RecordType::interest_ack, token));
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

bool Courier::write(io::Lane& lane, const Owed& owed) {
    switch (owed.type) {
        case RecordType::interest_add:
        case RecordType::interest_remove:
            return CrossCore::write_filter(lane, owed.type, owed.filter, owed.token);
        case RecordType::quiesced:
        case RecordType::drained: return CrossCore::write_marker(lane, owed.type, owed.token);
        case RecordType::publish:
        case RecordType::message:
        case RecordType::published:
        case RecordType::interest_ack: break;
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
