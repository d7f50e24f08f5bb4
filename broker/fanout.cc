#include "broker/fanout.h"

#include <algorithm>

#include "codec/reply.h"

namespace broker {

Fanout::Fanout(Courier& courier, const Partitions& partitions, topics::Router& router,
               topics::Router& interest, Outbox& outbox, base::Slab<Connection>& connections,
               ShardMetrics& metrics)
    : courier_(courier),
      partitions_(partitions),
      router_(router),
      interest_(interest),
      outbox_(outbox),
      connections_(connections),
      metrics_(metrics) {}

Fanout::Published Fanout::publish(const Publication& publication) {
    const io::ShardId owner = partitions_.owner_of(publication.topic);
    if (owner != courier_.self()) {
        return courier_.forward(owner, publication) ? Published::forwarded : Published::blocked;
    }
    if (!courier_.has_room_for_results(courier_.record_bytes(publication)))
        return Published::blocked;
    sequence(publication);
    return Published::sequenced;
}

void Fanout::sequence(const Publication& publication) {
    metrics_.add(Metric::messages_published_total);
    deliver(publication);
    if (courier_.shards_count() == 1) return;
    interest_.match(publication.topic, interested_);
    for (const io::ShardId shard : interested_) courier_.write_message(shard, publication);
}

void Fanout::deliver(const Publication& publication) {
    router_.match(publication.topic, matched_);
    const Origin& origin = publication.origin;
    if (!origin.echo && origin.shard == courier_.self() &&
        connections_.find(origin.slot) != nullptr) {
        std::erase(matched_, origin.slot.index);
    }
    if (matched_.empty()) return;
    json_.clear();
    codec::append_message(json_, publication.topic, publication.payload);
    outbox_.fan_out(json_, matched_);
}

}  // namespace broker
