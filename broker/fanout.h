// Fanout: the way of a published message, from the shard that received it through the owner of its
// partition to the queues of its subscribers on every shard.
//
// Owner: a shard. Thread: its shard's.
// Invariants:
//  1. All messages of a topic pass through one shard, the owner of its partition, which sequences
//     them: so all subscribers see them in one order (P2).
//  2. Messages of one connection to one topic take one way, in order.
//  3. A message is encoded once per shard, and only where somebody wants it.
//  4. A message whose topic keeps history gets its position and its place in the history in the
//     same call, before anybody is told.
//  5. Nothing is taken over unless there is room for all that follows from it; otherwise the caller
//     keeps it and tries again.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "broker/courier.h"
#include "broker/heads.h"
#include "broker/metrics.h"
#include "broker/outbox.h"
#include "broker/partitions.h"
#include "broker/replays.h"
#include "broker/slow_consumers.h"
#include "broker/subscriptions.h"
#include "topics/history.h"
#include "topics/key_window.h"
#include "topics/router.h"

namespace broker {

class Fanout {
  public:
    struct Parts {
        io::Reactor& reactor;
        base::Slab<Connection>& connections;
        Courier& courier;
        const Partitions& partitions;
        Heads& heads;
        topics::History& history;
        topics::KeyWindow& keys;
        Subscriptions& subscriptions;
        topics::Router& interest;
        Replays& replays;
        SlowConsumers& slow_consumers;
        Outbox& outbox;
        const topics::TopicRules& rules;
        ShardMetrics& metrics;
    };
    explicit Fanout(const Parts& parts) : parts_(parts) {}

    enum class Published : uint8_t {
        sequenced,  // queued to every subscriber's shard; the caller answers the client
        forwarded,  // on its way to the owner, whose answer comes through the lane
        blocked,    // no room; nothing happened
    };
    // A publish by a client of this shard. The topic has been checked. `result` is set when the
    // message was sequenced.
    [[nodiscard]] Published publish(const Publication& publication, PublishResult& result);

    // As the owner: gives the message its place in the order, unless its key is known. There must
    // be room for the results.
    PublishResult sequence(const Publication& publication) {
        return sequence(publication, parts_.partitions.partition_of(publication.topic));
    }
    // Queues a sequenced message to the subscribers on this shard.
    void deliver(const Publication& publication);

  private:
    PublishResult sequence(const Publication& publication, uint32_t partition);
    void deliver_to_replays(const Publication& publication);
    void deliver_to_slow(const Publication& publication, OutboundMessage& message);

    Parts parts_;
    // Scratch, kept for its memory.
    std::vector<topics::SubscriberId> matched_;
    std::vector<topics::SubscriberId> catching_up_;
    std::vector<topics::SubscriberId> interested_;
    std::vector<topics::SubscriberId> slow_;
    std::string json_;
};

}  // namespace broker
