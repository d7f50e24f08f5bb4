#include "topics/history_read.h"

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <cstddef>

#include "io/base/check.h"
#include "topics/filter_set.h"
#include "topics/history_store.h"
#include "topics/name.h"

namespace topics {

namespace {

using Topic = HistoryStore::Topic;
using Partition = HistoryStore::Partition;

constexpr uint32_t none = HistoryStore::none;

class Reader {
  public:
    Reader(HistoryStore& store, const History::Query& query, uint64_t lost_above,
           History::Page& page)
        : store_(store),
          query_(query),
          lost_above_(std::max(query.after, lost_above)),
          page_(page),
          partition_(*store.partition(query.partition)),
          until_(std::min(query.until, partition_.head)) {}

    // For filters without a wildcard: walks the rings of their topics.
    void read_topics();
    // For any filters: walks the partition.
    void scan();

  private:
    // The messages of one topic that are still to come.
    struct Walk {
        uint64_t offset;  // of the next one
        uint32_t topic;
        uint32_t index;
        uint32_t end;
    };

    bool append(const StoredMessage& message);
    // Ends the page before this message.
    void stop_before(const StoredMessage& message) { page_.upto = message.offset() - 1; }
    // The index of the first message that the query may want, whatever its `after`.
    uint32_t first_wanted(const Topic& topic) const;
    // Whether what was evicted of the topic may have been wanted.
    bool is_loss(const Topic& topic) const;
    // Whether a loss is one that the reader asks to be told.
    bool is_told_loss(const Topic& topic) const {
        return topic.floor > lost_above_ && topic.evicted_at > query_.lost_since;
    }
    void merge(std::vector<Walk>& walks);
    void scan_messages(FilterSet& filters);
    void scan_floors(FilterSet& filters);
    void lose_forgotten();
    void lose_all();

    HistoryStore& store_;
    const History::Query& query_;
    const uint64_t lost_above_;
    History::Page& page_;
    const Partition& partition_;
    const uint64_t until_;
    uint64_t page_bytes_ = 0;
};

bool Reader::append(const StoredMessage& message) {
    const std::string_view topic = store_.topic(message.topic()).name();
    const uint64_t bytes = topic.size() + message.payload_bytes();
    if (!page_.messages.empty() && (page_.messages.size() >= query_.messages_max ||
                                    page_bytes_ + bytes > query_.payload_bytes_max)) {
        return false;
    }
    page_bytes_ += bytes;
    page_.messages.push_back({.offset = message.offset(),
                              .topic = topic,
                              .kind = message.kind(),
                              .payload = message.payload()});
    return true;
}

uint32_t Reader::first_wanted(const Topic& topic) const {
    if (query_.last == 0) return 0;
    const uint32_t count = topic.ring.count_upto(query_.until);
    return count - std::min(count, query_.last);
}

bool Reader::is_loss(const Topic& topic) const {
    if (topic.floor <= query_.after) return false;
    // Who wants the newest n and finds n has lost nothing.
    return query_.last == 0 || topic.ring.count_upto(query_.until) < query_.last;
}

void Reader::lose_forgotten() {
    if (partition_.forgotten_floor > lost_above_ && partition_.forgotten_at > query_.lost_since) {
        lose_all();
    }
}

void Reader::lose_all() {
    page_.filters_lost.resize(query_.filters.size());
    for (uint32_t index = 0; index < query_.filters.size(); ++index) {
        page_.filters_lost[index] = index;
    }
}

void Reader::read_topics() {
    std::vector<Walk> walks;
    for (uint32_t index = 0; index < query_.filters.size(); ++index) {
        const uint32_t id = store_.find_topic(query_.partition, query_.filters[index]);
        if (id == none) continue;
        const Topic& topic = store_.topic(id);
        if (is_loss(topic)) {
            page_.floor = std::max(page_.floor, topic.floor);
            if (is_told_loss(topic)) page_.filters_lost.push_back(index);
        }
        const uint32_t begin = std::max(first_wanted(topic), topic.ring.count_upto(query_.after));
        const uint32_t end = topic.ring.count_upto(until_);
        if (begin < end) walks.push_back({topic.ring[begin]->offset(), id, begin, end});
    }
    lose_forgotten();
    merge(walks);
}

void Reader::merge(std::vector<Walk>& walks) {
    // A topic that is named twice is walked once. Different topics have different offsets.
    std::sort(walks.begin(), walks.end(),
              [](const Walk& left, const Walk& right) { return left.offset > right.offset; });
    const auto is_same = [](const Walk& left, const Walk& right) {
        return left.topic == right.topic;
    };
    walks.erase(std::unique(walks.begin(), walks.end(), is_same), walks.end());
    // Falling offsets are a heap already, but with the largest in front.
    const auto is_later = [](const Walk& left, const Walk& right) {
        return left.offset > right.offset;
    };
    std::make_heap(walks.begin(), walks.end(), is_later);
    for (uint32_t steps = 0; !walks.empty(); ++steps) {
        std::pop_heap(walks.begin(), walks.end(), is_later);
        Walk& walk = walks.back();
        const MessageRing& ring = store_.topic(walk.topic).ring;
        const StoredMessage& message = *ring[walk.index];
        if (steps == store_.options().scan_steps_max || !append(message)) {
            return stop_before(message);
        }
        if (++walk.index == walk.end) {
            walks.pop_back();
        } else {
            walk.offset = ring[walk.index]->offset();
            std::push_heap(walks.begin(), walks.end(), is_later);
        }
    }
}

void Reader::scan() {
    FilterSet filters(query_.filters, store_.options().hash_seed);
    scan_messages(filters);
    scan_floors(filters);
}

void Reader::scan_messages(FilterSet& filters) {
    constexpr uint64_t unwanted = UINT64_MAX;
    // By topic: the offset from which on its messages are wanted.
    absl::flat_hash_map<uint32_t, uint64_t> wanted_from;
    uint32_t steps = 0;
    for (auto cursor = partition_.order.above(query_.after); cursor.message() != nullptr;
         cursor.next()) {
        const StoredMessage& message = *cursor.message();
        if (message.offset() > until_) return;
        if (steps++ == store_.options().scan_steps_max) return stop_before(message);
        const auto [entry, is_new] = wanted_from.try_emplace(message.topic(), unwanted);
        if (is_new) {
            const Topic& topic = store_.topic(message.topic());
            if (!filters.matching(topic.name()).empty()) {
                entry->second = topic.ring[first_wanted(topic)]->offset();
            }
        }
        if (message.offset() < entry->second) continue;
        if (!append(message)) return stop_before(message);
    }
}

void Reader::scan_floors(FilterSet& filters) {
    lose_forgotten();
    std::vector<bool> is_lost(query_.filters.size());
    size_t lost_count = page_.filters_lost.size();
    const bool has_new_losses = partition_.evictions > query_.lost_since;
    uint32_t steps = 0;
    for (auto entry = partition_.floors.rbegin(); entry != partition_.floors.rend(); ++entry) {
        const auto [bound, id] = *entry;
        // No floor from here on is above the bound.
        if (bound <= page_.floor &&
            (bound <= lost_above_ || lost_count == is_lost.size() || !has_new_losses)) {
            break;
        }
        if (steps++ == store_.options().scan_steps_max) {
            page_.floor = std::max(page_.floor, bound);
            if (bound > lost_above_ && has_new_losses) lose_all();
            break;
        }
        const Topic& topic = store_.topic(id);
        if (!is_loss(topic)) continue;
        const auto indices = filters.matching(topic.name());
        if (indices.empty()) continue;
        page_.floor = std::max(page_.floor, topic.floor);
        if (!is_told_loss(topic)) continue;
        for (const uint32_t index : indices) {
            lost_count += is_lost[index] ? 0u : 1u;
            is_lost[index] = true;
        }
    }
    if (!page_.filters_lost.empty()) return;
    for (uint32_t index = 0; index < is_lost.size(); ++index) {
        if (is_lost[index]) page_.filters_lost.push_back(index);
    }
}

}  // namespace

void read_page(HistoryStore& store, const History::Query& query, uint64_t lost_above,
               History::Page& page) {
    CHECK(query.messages_max > 0);
    page.messages.clear();
    page.filters_lost.clear();
    page.upto = query.after;
    page.head = 0;
    page.floor = 0;
    page.evictions = 0;
    const Partition* partition = store.partition(query.partition);
    if (partition == nullptr) return;
    page.head = partition->head;
    page.evictions = partition->evictions;
    page.upto = std::max(query.after, std::min(query.until, partition->head));
    // What was lost above `after` raises it.
    page.floor =
        std::max(partition->forgotten_floor, std::min(query.after, partition->evicted_most));
    const bool is_exact = std::none_of(query.filters.begin(), query.filters.end(), has_wildcard);
    Reader reader(store, query, lost_above, page);
    if (is_exact) {
        reader.read_topics();
    } else {
        reader.scan();
    }
}

}  // namespace topics
