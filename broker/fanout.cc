#include "broker/fanout.h"

#include <algorithm>

#include "codec/reply.h"

namespace broker {

Fanout::Published Fanout::publish(const Publication& publication, PublishResult& result) {
    const uint32_t partition = parts_.partitions.partition_of(publication.topic);
    const io::ShardId owner = parts_.partitions.owner_of(partition);
    if (owner != parts_.courier.self()) {
        return parts_.courier.forward(owner, publication) ? Published::forwarded
                                                          : Published::blocked;
    }
    if (!parts_.courier.has_room_for_results(parts_.courier.publication_cost(publication))) {
        return Published::blocked;
    }
    result = sequence(publication, partition);
    return Published::sequenced;
}

PublishResult Fanout::sequence(const Publication& publication, uint32_t partition) {
    const uint64_t now_ns = parts_.reactor.now_ns();
    if (!publication.key.empty()) {
        const std::optional<uint64_t> known =
            parts_.keys.find(publication.topic, publication.key, now_ns);
        if (known) {
            parts_.metrics.add(Metric::duplicates_total);
            return {.position = {partition, *known}, .is_duplicate = true};
        }
    }
    Publication sequenced = publication;
    sequenced.key = {};
    sequenced.position = {partition,
                          parts_.history.append(partition, publication.topic,
                                                static_cast<uint8_t>(publication.payload.kind),
                                                publication.payload.bytes, now_ns)};
    if (!publication.key.empty()) {
        parts_.keys.remember(publication.topic, publication.key, sequenced.position.offset, now_ns);
    }
    parts_.metrics.add(Metric::messages_published_total);
    deliver(sequenced);
    if (parts_.courier.shards_count() > 1) {
        parts_.interest.match(publication.topic, interested_);
        for (const io::ShardId shard : interested_) {
            parts_.courier.write_message(shard, sequenced);
            if (!sequenced.position.is_none()) parts_.heads.told(shard, sequenced.position);
        }
    }
    return {.position = sequenced.position};
}

void Fanout::deliver(const Publication& publication) {
    if (!publication.position.is_none()) parts_.heads.advance(publication.position);
    parts_.subscriptions.match_live(publication.topic, matched_);
    json_.clear();
    if (parts_.subscriptions.has_catching_up()) deliver_to_replays(publication);
    const Origin& origin = publication.origin;
    if (!origin.echo && origin.shard == parts_.courier.self() &&
        parts_.connections.find(origin.slot) != nullptr) {
        std::erase(matched_, origin.slot.index);
    }
    if (matched_.empty()) return;
    if (json_.empty()) {
        codec::append_message(json_, publication.topic, publication.position, publication.payload);
    }
    OutboundMessage message{.json = json_};
    slow_.clear();
    parts_.outbox.fan_out(message, matched_, slow_);
    if (!slow_.empty()) deliver_to_slow(publication, message);
    parts_.outbox.release(message);
}

void Fanout::deliver_to_slow(const Publication& publication, OutboundMessage& message) {
    const topics::OnSlow policy = parts_.rules.slow_policy_of(publication.topic);
    for (const topics::SubscriberId subscriber : slow_) {
        const base::Slot slot = parts_.connections.slot_of(subscriber);
        Connection& connection = parts_.connections.at(slot);
        if (!publication.position.is_none()) {
            if (Replays::lags(connection, publication.position.partition)) continue;
            const bool waits = SlowConsumers::has_waiting(connection) ||
                               !parts_.outbox.has_room(connection, message);
            if (policy == topics::OnSlow::catch_up && waits) {
                parts_.replays.fall_behind(slot, publication.position);
                continue;
            }
        }
        parts_.slow_consumers.deliver(slot, publication.topic, message, policy);
    }
}

// Subscriptions that are catching up get what has a position announced, in its order among what
// they read; what has none (its topic keeps no history) comes to them as to everybody.
void Fanout::deliver_to_replays(const Publication& publication) {
    parts_.subscriptions.match_catching_up(publication.topic, catching_up_);
    for (const topics::SubscriberId subscriber : catching_up_) {
        const base::Slot slot = parts_.connections.slot_of(subscriber);
        const Connection& connection = parts_.connections.at(slot);
        if (parts_.subscriptions.live().wants(subscriber, publication.topic)) continue;
        const Origin& origin = publication.origin;
        if (!origin.echo && origin.shard == parts_.courier.self() && origin.slot == slot) continue;
        if (publication.position.is_none()) {
            // What is sequenced before `subscribed` is told is before the subscription.
            if (connection.catch_up->is_told()) matched_.push_back(subscriber);
            continue;
        }
        if (json_.empty()) {
            codec::append_message(json_, publication.topic, publication.position,
                                  publication.payload);
        }
        parts_.replays.on_live_message(subscriber, publication.position, json_);
    }
}

}  // namespace broker
