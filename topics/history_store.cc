#include "topics/history_store.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstddef>

#include "io/base/check.h"
#include "topics/heap_bytes.h"
#include "topics/name.h"

namespace topics {

namespace {

// More than a lifetime; it keeps sums from overflowing.
constexpr uint64_t ttl_ns_max = uint64_t{1} << 62;
// Messages of one topic that expire in one step, so that a topic of a million is no pause.
constexpr uint32_t expired_step_max = 64;
// Evictions of one topic for which its place in the index of floors is good. Few make changes of
// the index dear, many make readers look at topics whose floors are not in their way.
constexpr uint32_t floor_step = 8;
// What a topic takes but for its name: its record, and its place in the directory, as measured.
constexpr uint64_t topic_memory_bytes = sizeof(HistoryStore::Topic) + 14;
// What topics without messages may take of a budget: an eighth, also of the least that can be set.
constexpr uint64_t tombstones_share = 8;
constexpr uint64_t tombstones_bytes_least = 8 * 1024;
// A place in an ordered set, whose nodes are filled to about two thirds.
constexpr uint64_t index_entry_bytes = 24;

}  // namespace

HistoryStore::HistoryStore(const TopicRules& rules, const History::Options& options)
    : rules_(rules), options_(options), partitions_(options.partitions_count) {
    CHECK(options.scan_steps_max > 0);
}

HistoryStore::~HistoryStore() {
    for (const auto& partition : partitions_) {
        if (partition == nullptr) continue;
        for (auto cursor = partition->order.above(0); cursor.message() != nullptr; cursor.next()) {
            StoredMessage::destroy(cursor.message());
        }
    }
}

HistoryStore::Partition* HistoryStore::partition(uint32_t index) const {
    CHECK(index < partitions_.size());
    return partitions_[index].get();
}

HistoryStore::Partition& HistoryStore::ensure_partition(uint32_t index) {
    CHECK(index < partitions_.size());
    if (partitions_[index] == nullptr) partitions_[index] = std::make_unique<Partition>();
    return *partitions_[index];
}

uint64_t HistoryStore::hash_of(std::string_view name) const {
    return XXH3_64bits_withSeed(name.data(), name.size(), options_.hash_seed);
}

uint32_t HistoryStore::find_topic(uint32_t partition, std::string_view name) {
    return names_.find(hash_of(name), [&](uint32_t id) {
        return topics_[id].partition == partition && topics_[id].name() == name;
    });
}

uint32_t HistoryStore::add_topic(uint32_t partition, std::string_view name, uint32_t rule) {
    CHECK(!name.empty() && name.size() <= topic_bytes_max);
    const uint32_t id = topics_.take();
    Topic& topic = topics_[id];
    topic.name_begin = std::make_unique_for_overwrite<char[]>(name.size());
    topic.name_bytes = static_cast<uint16_t>(name.size());
    std::copy(name.begin(), name.end(), topic.name_begin.get());
    topic.partition = partition;
    topic.rule = rule;
    names_.insert(hash_of(name), id);
    memory_bytes_ += record_bytes(topic);
    return id;
}

uint64_t HistoryStore::record_bytes(const Topic& topic) {
    return topic_memory_bytes + heap_bytes(topic.name_bytes);
}

int64_t HistoryStore::ttl_ns(const Topic& topic) const {
    const uint64_t ttl_ns = rules_.all()[topic.rule].history_ttl_ns;
    return ttl_ns >= ttl_ns_max ? never_ns : static_cast<int64_t>(ttl_ns);
}

void HistoryStore::add_message(const StoredMessage::Head& head, std::string_view payload) {
    Topic& topic = topics_[head.topic];
    Partition& partition = *partitions_[topic.partition];
    const TopicRule& rule = rules_.all()[topic.rule];
    const uint64_t count_max =
        std::min<uint64_t>(rule.history_messages_max, MessageRing::count_max);
    while (topic.ring.count() > 0 &&
           (topic.ring.count() >= count_max ||
            topic.payload_bytes + payload.size() > rule.history_bytes_max)) {
        drop_oldest(head.topic);
    }
    if (payload.size() > rule.history_bytes_max) {
        // It is evicted before it is kept.
        raise_floor(head.topic, head.offset);
    } else {
        StoredMessage* message = StoredMessage::create(head, payload);
        memory_bytes_ -= partition.order.memory_bytes() + topic.ring.memory_bytes();
        partition.order.append(message);
        topic.ring.push(message, count_max);
        memory_bytes_ += partition.order.memory_bytes() + topic.ring.memory_bytes();
        memory_bytes_ += message->memory_bytes();
        topic.payload_bytes += payload.size();
        ++messages_count_;
    }
    settle(head.topic);
}

void HistoryStore::drop_oldest(uint32_t id) {
    Topic& topic = topics_[id];
    Partition& partition = *partitions_[topic.partition];
    StoredMessage* message = topic.ring.oldest();
    memory_bytes_ -= partition.order.memory_bytes() + topic.ring.memory_bytes();
    partition.order.remove(message);
    topic.ring.pop_oldest();
    memory_bytes_ += partition.order.memory_bytes() + topic.ring.memory_bytes();
    memory_bytes_ -= message->memory_bytes();
    topic.payload_bytes -= message->payload_bytes();
    --messages_count_;
    raise_floor(id, message->offset());
    StoredMessage::destroy(message);
}

void HistoryStore::raise_floor(uint32_t id, uint64_t offset) {
    Topic& topic = topics_[id];
    Partition& partition = *partitions_[topic.partition];
    topic.floor = std::max(topic.floor, offset);
    topic.evicted_at = ++partition.evictions;
    partition.evicted_most = std::max(partition.evicted_most, offset);
}

void HistoryStore::raise_forgotten_floor(Partition& partition, uint64_t offset,
                                         uint64_t evicted_at) {
    partition.forgotten_floor = std::max(partition.forgotten_floor, offset);
    partition.forgotten_at = std::max(partition.forgotten_at, evicted_at);
    partition.evicted_most = std::max(partition.evicted_most, offset);
}

void HistoryStore::settle(uint32_t id) {
    const Topic& topic = topics_[id];
    index_floor(id);
    index_due(id);
    move_to_list(id, topic.ring.count() == 0
                         ? tombstones_list
                         : static_cast<uint8_t>(std::bit_width(topic.weight_bytes()) - 1));
}

void HistoryStore::index_floor(uint32_t id) {
    Topic& topic = topics_[id];
    if (topic.floor <= topic.floor_bound) return;
    auto& floors = partitions_[topic.partition]->floors;
    if (topic.floor_bound > 0) {
        floors.erase({topic.floor_bound, id});
    } else {
        memory_bytes_ += index_entry_bytes;
    }
    // The floor does not pass this message before all that are older are gone too.
    const uint32_t count = topic.ring.count();
    topic.floor_bound =
        count == 0 ? topic.floor : topic.ring[std::min(count, floor_step) - 1]->offset();
    floors.insert({topic.floor_bound, id});
}

void HistoryStore::index_due(uint32_t id) {
    Topic& topic = topics_[id];
    if (topic.ring.count() == 0) {
        if (topic.due_ns == never_ns) return;
        dues_.erase({topic.due_ns, id});
        memory_bytes_ -= index_entry_bytes;
        topic.due_ns = never_ns;
    } else if (topic.due_ns == never_ns) {
        const int64_t ttl = ttl_ns(topic);
        if (ttl == never_ns) return;
        topic.due_ns = topic.ring.oldest()->time_ns() + ttl;
        dues_.insert({topic.due_ns, id});
        memory_bytes_ += index_entry_bytes;
    }
}

void HistoryStore::move_to_list(uint32_t id, uint8_t list) {
    const Topic& topic = topics_[id];
    if (topic.is_listed) {
        // A topic that is settled though it keeps nothing was just emptied once more.
        if (topic.list == list && list != tombstones_list) return;
        unlink(id);
    }
    link_last(id, list);
}

void HistoryStore::unlink(uint32_t id) {
    Topic& topic = topics_[id];
    List& list = lists_[topic.list];
    (topic.previous == none ? list.first : topics_[topic.previous].next) = topic.next;
    (topic.next == none ? list.last : topics_[topic.next].previous) = topic.previous;
    topic.is_listed = false;
    if (topic.list == tombstones_list) {
        --tombstones_count_;
        tombstones_bytes_ -= record_bytes(topic);
    } else if (list.first == none) {
        lists_used_ &= ~(uint64_t{1} << topic.list);
    }
}

void HistoryStore::link_last(uint32_t id, uint8_t list_index) {
    Topic& topic = topics_[id];
    List& list = lists_[list_index];
    topic.previous = list.last;
    topic.next = none;
    topic.list = list_index;
    topic.is_listed = true;
    (list.last == none ? list.first : topics_[list.last].next) = id;
    list.last = id;
    if (list_index == tombstones_list) {
        ++tombstones_count_;
        tombstones_bytes_ += record_bytes(topic);
    } else {
        lists_used_ |= uint64_t{1} << list_index;
    }
}

void HistoryStore::trim_tombstones() {
    while (tombstones_count_ > options_.tombstones_max) forget(lists_[tombstones_list].first);
}

void HistoryStore::forget(uint32_t id) {
    const Topic& topic = topics_[id];
    Partition& partition = *partitions_[topic.partition];
    CHECK(topic.ring.count() == 0 && topic.due_ns == never_ns);
    raise_forgotten_floor(partition, topic.floor, topic.evicted_at);
    if (topic.floor_bound > 0) {
        partition.floors.erase({topic.floor_bound, id});
        memory_bytes_ -= index_entry_bytes;
    }
    unlink(id);
    names_.erase(hash_of(topic.name()), id);
    memory_bytes_ -= record_bytes(topic);
    topics_.release(id);
}

void HistoryStore::expire(int64_t now_ns, uint32_t topics_max) {
    for (uint32_t count = 0; count < topics_max && next_due_ns() <= now_ns; ++count) {
        const uint32_t id = dues_.begin()->second;
        dues_.erase(dues_.begin());
        memory_bytes_ -= index_entry_bytes;
        Topic& topic = topics_[id];
        topic.due_ns = never_ns;
        const int64_t ttl = ttl_ns(topic);
        for (uint32_t step = 0; step < expired_step_max && topic.ring.count() > 0; ++step) {
            if (topic.ring.oldest()->time_ns() + ttl > now_ns) break;
            drop_oldest(id);
        }
        settle(id);
    }
}

void HistoryStore::shorten(uint64_t bytes, uint32_t messages_max) {
    const uint64_t tombstones_bytes_max =
        std::max(bytes / tombstones_share, tombstones_bytes_least);
    // These first, or what is gone would leave no room for what is kept.
    for (uint32_t count = 0; memory_bytes_ > bytes && tombstones_bytes_ > tombstones_bytes_max;
         ++count) {
        if (count == messages_max) return;
        forget(lists_[tombstones_list].first);
    }
    for (uint32_t count = 0; count < messages_max && memory_bytes_ > bytes; ++count) {
        if (lists_used_ == 0) return;
        const uint8_t list = static_cast<uint8_t>(std::bit_width(lists_used_) - 1);
        const uint32_t id = lists_[list].first;
        // To the end, so that the others of its size come first.
        unlink(id);
        link_last(id, list);
        drop_oldest(id);
        settle(id);
    }
}

std::vector<std::vector<uint32_t>> HistoryStore::topics_by_partition() {
    std::vector<std::vector<uint32_t>> ids(partitions_.size());
    const auto append = [&](const List& list) {
        for (uint32_t id = list.first; id != none; id = topics_[id].next) {
            ids[topics_[id].partition].push_back(id);
        }
    };
    append(lists_[tombstones_list]);
    for (uint32_t list = 0; list < tombstones_list; ++list) append(lists_[list]);
    return ids;
}

}  // namespace topics
