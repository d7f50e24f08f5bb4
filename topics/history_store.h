// HistoryStore: what a History keeps, and the rules by which it lets go. History is the face of it;
// read_page() (topics/history_read.h) reads it.
//
// A message stands in three places: in its block, in the order of its partition, and in the ring of
// its topic. A topic stands in the directory by its name; in exactly one of the lists, by the size
// of what it keeps, or among those that keep nothing (tombstones); by its floor in its partition;
// and, if its rule has a time limit, by the time when its oldest message is due.
//
// Owner: a History. Thread: its shard's.
// Invariants:
//  1. A topic's `floor` is the highest offset that was evicted of it. Everything it keeps lies
//     above.
//  2. It stands in `Partition::floors` under `floor_bound`, which is never below its floor, and not
//     above its newest message. So the topics with a floor above X are found among those with a
//     bound above X, while the index changes only once in many evictions.
//  3. In `dues` it stands under a time that is never later than its oldest message is due.
//  4. settle() makes 2, 3 and the lists true again after messages came or went.
#pragma once

#include <absl/container/btree_set.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "topics/directory.h"
#include "topics/history.h"
#include "topics/message_order.h"
#include "topics/message_ring.h"
#include "topics/pool.h"
#include "topics/topic_rules.h"

namespace topics {

class HistoryStore {
  public:
    static constexpr uint32_t none = UINT32_MAX;
    static constexpr int64_t never_ns = INT64_MAX;

    struct Topic {
        std::string_view name() const { return {name_begin.get(), name_bytes}; }
        // What the topic is measured by when memory is short; small messages count for what they
        // cost.
        uint64_t weight_bytes() const { return payload_bytes + uint64_t{ring.count()} * 64; }

        std::unique_ptr<char[]> name_begin;
        MessageRing ring;
        uint64_t payload_bytes = 0;
        uint64_t floor = 0;
        uint64_t floor_bound = 0;   // 0: not in the index
        uint64_t evicted_at = 0;    // the partition's `evictions` when the floor rose last
        int64_t due_ns = never_ns;  // never_ns: not in the index
        uint32_t partition = 0;
        uint32_t rule = 0;
        uint32_t previous = none;  // in its list
        uint32_t next = none;
        uint16_t name_bytes = 0;
        uint8_t list = 0;
        bool is_listed = false;
    };

    struct Partition {
        uint64_t head = 0;
        uint64_t forgotten_floor = 0;  // the highest floor of a topic that was forgotten
        uint64_t forgotten_at = 0;     // `evictions` when that floor rose, or the topic's had
        uint64_t evicted_most = 0;     // the highest offset that was ever evicted
        uint64_t evictions = 0;        // how often a floor has risen
        uint64_t restored_upto = 0;
        MessageOrder order;
        absl::btree_set<std::pair<uint64_t, uint32_t>> floors;  // (bound, topic)
    };

    HistoryStore(const TopicRules& rules, const History::Options& options);
    ~HistoryStore();
    HistoryStore(const HistoryStore&) = delete;
    HistoryStore& operator=(const HistoryStore&) = delete;

    // Null for one that was never appended to.
    Partition* partition(uint32_t index) const;
    Partition& ensure_partition(uint32_t index);

    // Or none.
    uint32_t find_topic(uint32_t partition, std::string_view name);
    // Must not be there. The caller gives it a message or a floor and settles it.
    uint32_t add_topic(uint32_t partition, std::string_view name, uint32_t rule);
    Topic& topic(uint32_t id) { return topics_[id]; }

    // Keeps the message, which must be the partition's newest, and evicts what the rule says: the
    // message itself when the rule does not allow it even alone.
    void add_message(const StoredMessage::Head& head, std::string_view payload);
    void raise_forgotten_floor(Partition& partition, uint64_t offset, uint64_t evicted_at);
    void raise_floor(uint32_t id, uint64_t offset);
    void settle(uint32_t id);
    // Forgets tombstones until there are no more than allowed.
    void trim_tombstones();

    void expire(int64_t now_ns, uint32_t topics_max);
    int64_t next_due_ns() const { return dues_.empty() ? never_ns : dues_.begin()->first; }
    void shorten(uint64_t bytes, uint32_t messages_max);

    // Those that keep nothing first, emptied longest ago first of all.
    std::vector<std::vector<uint32_t>> topics_by_partition();

    const TopicRules& rules() const { return rules_; }
    const History::Options& options() const { return options_; }
    uint64_t memory_bytes() const { return memory_bytes_; }
    uint64_t messages_count() const { return messages_count_; }
    uint32_t topics_count() const { return topics_.count() - tombstones_count_; }

  private:
    // By the power of two of what they keep, and one for those that keep nothing.
    static constexpr uint8_t tombstones_list = 64;
    static constexpr uint32_t lists_count = 65;
    struct List {
        uint32_t first = none;
        uint32_t last = none;
    };

    uint64_t hash_of(std::string_view name) const;
    void drop_oldest(uint32_t id);
    void index_floor(uint32_t id);
    void index_due(uint32_t id);
    void move_to_list(uint32_t id, uint8_t list);
    void unlink(uint32_t id);
    void link_last(uint32_t id, uint8_t list);
    void forget(uint32_t id);
    int64_t ttl_ns(const Topic& topic) const;
    static uint64_t record_bytes(const Topic& topic);

    const TopicRules& rules_;
    const History::Options options_;
    std::vector<std::unique_ptr<Partition>> partitions_;
    Pool<Topic> topics_;
    Directory names_;
    std::array<List, lists_count> lists_;
    uint64_t lists_used_ = 0;  // a bit for each list by size that is not empty
    uint32_t tombstones_count_ = 0;
    uint64_t tombstones_bytes_ = 0;  // of memory_bytes_, but for their places in `floors`
    absl::btree_set<std::pair<int64_t, uint32_t>> dues_;  // (due, topic)
    uint64_t memory_bytes_ = 0;
    uint64_t messages_count_ = 0;
};

}  // namespace topics
