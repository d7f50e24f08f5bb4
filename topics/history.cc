#include "topics/history.h"

#include <algorithm>

#include "io/base/check.h"
#include "topics/history_read.h"
#include "topics/history_store.h"
#include "topics/name.h"

namespace topics {

namespace {

// More than a lifetime; it keeps sums and differences from overflowing.
constexpr uint64_t time_ns_max = uint64_t{1} << 62;

// Twice as much can be stored, so no file leads to where offsets end.
constexpr uint64_t head_restored_max = StoredMessage::offset_max / 2;

int64_t signed_ns(uint64_t time_ns) {
    return static_cast<int64_t>(std::min(time_ns, time_ns_max));
}

}  // namespace

struct History::Impl {
    Impl(const TopicRules& rules, const Options& options)
        : store(rules, options), keeps_anything(rules.keep_anything()) {}

    HistoryStore store;
    const bool keeps_anything;
};

History::History(const TopicRules& rules, const Options& options)
    : impl_(std::make_unique<Impl>(rules, options)) {}

History::~History() = default;

uint64_t History::append(uint32_t partition_index, std::string_view topic, uint8_t kind,
                         std::string_view payload, uint64_t now_ns) {
    if (!impl_->keeps_anything) return 0;
    HistoryStore& store = impl_->store;
    uint32_t id = store.find_topic(partition_index, topic);
    if (id == HistoryStore::none) {
        const uint32_t rule = store.rules().history_rule_of(topic);
        if (rule == TopicRules::none) return 0;
        id = store.add_topic(partition_index, topic, rule);
    }
    HistoryStore::Partition& partition = store.ensure_partition(partition_index);
    const uint64_t offset = ++partition.head;
    store.add_message({.offset = offset, .kind = kind, .time_ns = signed_ns(now_ns), .topic = id},
                      payload);
    store.trim_tombstones();
    return offset;
}

uint64_t History::head(uint32_t partition) const {
    const HistoryStore::Partition* found = impl_->store.partition(partition);
    return found == nullptr ? 0 : found->head;
}

uint64_t History::evictions(uint32_t partition) const {
    const HistoryStore::Partition* found = impl_->store.partition(partition);
    return found == nullptr ? 0 : found->evictions;
}

bool History::keeps(std::string_view topic) const {
    return impl_->keeps_anything && impl_->store.rules().history_rule_of(topic) != TopicRules::none;
}

void History::read(const Query& query, uint64_t lost_above, Page& page) const {
    read_page(impl_->store, query, lost_above, page);
}

void History::expire(uint64_t now_ns, uint32_t topics_max) {
    impl_->store.expire(signed_ns(now_ns), topics_max);
    impl_->store.trim_tombstones();
}

uint64_t History::next_expiry_ns() const {
    const int64_t due_ns = impl_->store.next_due_ns();
    if (due_ns == HistoryStore::never_ns) return UINT64_MAX;
    return static_cast<uint64_t>(std::max<int64_t>(0, due_ns));
}

uint64_t History::memory_bytes() const {
    return impl_->store.memory_bytes();
}

uint64_t History::messages_count() const {
    return impl_->store.messages_count();
}

uint32_t History::topics_count() const {
    return impl_->store.topics_count();
}

void History::shorten(uint64_t bytes, uint32_t messages_max) {
    impl_->store.shorten(bytes, messages_max);
    impl_->store.trim_tombstones();
}

void History::save(Saver& saver, uint64_t now_ns) const {
    HistoryStore& store = impl_->store;
    const auto topics = store.topics_by_partition();
    for (uint32_t index = 0; index < topics.size(); ++index) {
        const HistoryStore::Partition* partition = store.partition(index);
        if (partition == nullptr) continue;
        saver.partition(index, partition->head, partition->forgotten_floor);
        for (const uint32_t id : topics[index]) {
            const HistoryStore::Topic& topic = store.topic(id);
            if (topic.ring.count() == 0 && topic.floor <= partition->forgotten_floor) continue;
            saver.topic(index, topic.name(), topic.floor);
        }
        for (auto cursor = partition->order.above(0); cursor.message() != nullptr; cursor.next()) {
            const StoredMessage& message = *cursor.message();
            const int64_t age_ns = std::max<int64_t>(0, signed_ns(now_ns) - message.time_ns());
            saver.message(index,
                          {.offset = message.offset(),
                           .topic = store.topic(message.topic()).name(),
                           .kind = message.kind(),
                           .payload = message.payload()},
                          static_cast<uint64_t>(age_ns));
        }
    }
}

bool History::restore_partition(uint32_t partition, uint64_t head, uint64_t forgotten_floor) {
    HistoryStore& store = impl_->store;
    if (partition >= store.options().partitions_count || store.partition(partition) != nullptr ||
        head > head_restored_max || forgotten_floor > head) {
        return false;
    }
    HistoryStore::Partition& restored = store.ensure_partition(partition);
    restored.head = head;
    store.raise_forgotten_floor(restored, forgotten_floor, ++restored.evictions);
    return true;
}

bool History::restore_topic(uint32_t partition_index, std::string_view topic, uint64_t floor) {
    HistoryStore& store = impl_->store;
    if (partition_index >= store.options().partitions_count) return false;
    HistoryStore::Partition* partition = store.partition(partition_index);
    if (partition == nullptr || floor > partition->head) return false;
    if (check_topic(topic) != NameError::none) return false;
    if (store.find_topic(partition_index, topic) != HistoryStore::none) return false;
    const uint32_t rule = store.rules().history_rule_of(topic);
    if (rule == TopicRules::none) {
        store.raise_forgotten_floor(*partition, floor, ++partition->evictions);
        return true;
    }
    const uint32_t id = store.add_topic(partition_index, topic, rule);
    store.raise_floor(id, floor);
    store.settle(id);
    return true;
}

bool History::restore_message(uint32_t partition_index, const Message& message, uint64_t age_ns,
                              uint64_t now_ns) {
    HistoryStore& store = impl_->store;
    if (partition_index >= store.options().partitions_count) return false;
    HistoryStore::Partition* partition = store.partition(partition_index);
    if (partition == nullptr || message.offset <= partition->restored_upto ||
        message.offset > partition->head) {
        return false;
    }
    partition->restored_upto = message.offset;
    const uint32_t id = store.find_topic(partition_index, message.topic);
    if (id == HistoryStore::none) {
        if (check_topic(message.topic) != NameError::none || keeps(message.topic)) return false;
        store.raise_forgotten_floor(*partition, message.offset, ++partition->evictions);
        return true;
    }
    if (message.offset <= store.topic(id).floor || message.payload.size() > UINT32_MAX)
        return false;
    store.add_message({.offset = message.offset,
                       .kind = message.kind,
                       .time_ns = signed_ns(now_ns) - signed_ns(age_ns),
                       .topic = id},
                      message.payload);
    return true;
}

}  // namespace topics
