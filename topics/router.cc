#include "topics/router.h"

#include <xxhash.h>

#include <algorithm>
#include <cstddef>

#include "io/base/check.h"
#include "topics/directory.h"
#include "topics/filter_trie.h"
#include "topics/link_array.h"
#include "topics/name.h"
#include "topics/paged_array.h"
#include "topics/pool.h"

namespace topics {

namespace {

constexpr uint32_t none = UINT32_MAX;

// Filters of one subscriber that are compared with a topic one by one; from more of them on it
// costs less to look for all filters that match.
constexpr uint32_t compared_count_max = 4;

struct Filter {
    std::string_view name() const { return {name_begin.get(), name_bytes}; }

    // Not a std::string: a million of them stand here, most too long to fit inside of one.
    std::unique_ptr<char[]> name_begin;
    uint16_t name_bytes = 0;
    LinkArray subscribers;
};
static_assert(sizeof(Filter) == 40);
static_assert(topic_bytes_max <= UINT16_MAX);

}  // namespace

struct Router::Impl {
    explicit Impl(uint64_t seed) : hash_seed(seed), trie(seed) {}

    uint64_t hash_of(std::string_view name) const;
    uint32_t find_filter(std::string_view name, uint64_t hash);
    uint32_t add_filter(std::string_view name, uint64_t hash);
    // Requires that nobody is subscribed to it.
    void remove_filter(uint32_t filter_id);
    // Where the filter stands among the subscriber's, or none.
    uint32_t find_link(SubscriberId subscriber, uint32_t filter_id);
    // Takes an entry out of the filter's subscribers and keeps the moved one's back reference true.
    void leave(uint32_t filter_id, uint32_t place);
    void append(LinkArray& links, uint32_t other, uint32_t back);
    void remove(LinkArray& links, uint32_t index);
    void merge(std::vector<SubscriberId>& subscribers);
    // Fills `matched` with the filters that match.
    void collect(std::string_view topic);
    bool has_match(const LinkArray& wanted, std::string_view topic);

    const uint64_t hash_seed;
    Directory names;  // of all filters
    Pool<Filter> filters;
    FilterTrie trie;                           // of the wildcard filters
    PagedArray<LinkArray> subscriber_filters;  // by subscriber id
    uint32_t subscriptions_count = 0;
    uint64_t outside_bytes = 0;  // names and blocks of links, which stand outside of the tables

    // Of one match() or wants(); kept for their capacity.
    std::vector<uint32_t> matched;
    // By subscriber id: the last match with several filters that named the subscriber.
    std::vector<uint32_t> stamps;
    uint32_t stamp = 0;
};

uint64_t Router::Impl::hash_of(std::string_view name) const {
    return XXH3_64bits_withSeed(name.data(), name.size(), hash_seed);
}

uint32_t Router::Impl::find_filter(std::string_view name, uint64_t hash) {
    return names.find(hash, [&](uint32_t id) { return filters[id].name() == name; });
}

uint32_t Router::Impl::add_filter(std::string_view name, uint64_t hash) {
    CHECK(!name.empty() && name.size() <= topic_bytes_max);
    const uint32_t id = filters.take();
    Filter& filter = filters[id];
    filter.name_begin = std::make_unique_for_overwrite<char[]>(name.size());
    filter.name_bytes = static_cast<uint16_t>(name.size());
    std::copy(name.begin(), name.end(), filter.name_begin.get());
    outside_bytes += filter.name_bytes;
    names.insert(hash, id);
    if (has_wildcard(name)) trie.insert(name, id);
    return id;
}

void Router::Impl::remove_filter(uint32_t filter_id) {
    const Filter& filter = filters[filter_id];
    CHECK(filter.subscribers.count() == 0);
    if (has_wildcard(filter.name())) trie.erase(filter.name());
    names.erase(hash_of(filter.name()), filter_id);
    outside_bytes -= filter.name_bytes;
    filters.release(filter_id);
}

uint32_t Router::Impl::find_link(SubscriberId subscriber, uint32_t filter_id) {
    if (subscriber >= subscriber_filters.size()) return none;
    const LinkArray& wanted = subscriber_filters[subscriber];
    const LinkArray& wanting = filters[filter_id].subscribers;
    if (wanted.count() <= wanting.count()) return wanted.find(filter_id);
    const uint32_t place = wanting.find(subscriber);
    return place == none ? none : wanting.back(place);
}

void Router::Impl::leave(uint32_t filter_id, uint32_t place) {
    LinkArray& subscribers = filters[filter_id].subscribers;
    remove(subscribers, place);
    if (place == subscribers.count()) return;
    subscriber_filters[subscribers.other(place)].set_back(subscribers.back(place), place);
}

void Router::Impl::append(LinkArray& links, uint32_t other, uint32_t back) {
    outside_bytes -= links.block_bytes();
    links.append(other, back);
    outside_bytes += links.block_bytes();
}

void Router::Impl::remove(LinkArray& links, uint32_t index) {
    outside_bytes -= links.block_bytes();
    links.remove(index);
    outside_bytes += links.block_bytes();
}

// The subscribers of all matched filters, each where it is met first.
void Router::Impl::merge(std::vector<SubscriberId>& subscribers) {
    if (++stamp == 0) {
        // After 2^32 merges the numbers start again, and old stamps would look like new ones.
        std::fill(stamps.begin(), stamps.end(), 0);
        stamp = 1;
    }
    size_t met_max = 0;
    for (const uint32_t id : matched) met_max += filters[id].subscribers.count();
    subscribers.resize(met_max);
    size_t count = 0;
    for (const uint32_t id : matched) {
        for (const SubscriberId subscriber : filters[id].subscribers.others()) {
            // Without a branch: whether a subscriber was met already is anybody's guess.
            subscribers[count] = subscriber;
            count += stamps[subscriber] != stamp;
            stamps[subscriber] = stamp;
        }
    }
    subscribers.resize(count);
}

void Router::Impl::collect(std::string_view topic) {
    matched.clear();
    // Wildcard filters stand among the names too, but a topic has no '+' or '#', so it finds none
    // of them.
    const uint32_t exact = find_filter(topic, hash_of(topic));
    if (exact != none) matched.push_back(exact);
    if (!trie.is_empty()) trie.collect(topic, matched);
}

bool Router::Impl::has_match(const LinkArray& wanted, std::string_view topic) {
    const auto others = wanted.others();
    return std::any_of(others.begin(), others.end(),
                       [&](uint32_t id) { return matches(filters[id].name(), topic); });
}

Router::Router(uint64_t hash_seed) : impl_(std::make_unique<Impl>(hash_seed)) {}
Router::~Router() = default;

Router::Subscribed Router::subscribe(SubscriberId subscriber, std::string_view filter) {
    CHECK(subscriber != none);
    const uint64_t hash = impl_->hash_of(filter);
    uint32_t filter_id = impl_->find_filter(filter, hash);
    const bool is_first = filter_id == none;
    if (is_first) {
        filter_id = impl_->add_filter(filter, hash);
    } else if (impl_->find_link(subscriber, filter_id) != none) {
        return Subscribed::already;
    }
    impl_->subscriber_filters.grow_to(subscriber + 1);
    if (impl_->stamps.size() <= subscriber) impl_->stamps.resize(size_t{subscriber} + 1);
    LinkArray& wanted = impl_->subscriber_filters[subscriber];
    LinkArray& wanting = impl_->filters[filter_id].subscribers;
    const uint32_t wanted_index = wanted.count();
    impl_->append(wanted, filter_id, wanting.count());
    impl_->append(wanting, subscriber, wanted_index);
    ++impl_->subscriptions_count;
    return is_first ? Subscribed::added_first : Subscribed::added;
}

Router::Unsubscribed Router::unsubscribe(SubscriberId subscriber, std::string_view filter) {
    const uint32_t filter_id = impl_->find_filter(filter, impl_->hash_of(filter));
    if (filter_id == none) return Unsubscribed::was_not;
    const uint32_t index = impl_->find_link(subscriber, filter_id);
    if (index == none) return Unsubscribed::was_not;

    LinkArray& wanted = impl_->subscriber_filters[subscriber];
    impl_->leave(filter_id, wanted.back(index));
    impl_->remove(wanted, index);
    if (index < wanted.count()) {
        impl_->filters[wanted.other(index)].subscribers.set_back(wanted.back(index), index);
    }
    --impl_->subscriptions_count;
    if (impl_->filters[filter_id].subscribers.count() > 0) return Unsubscribed::removed;
    impl_->remove_filter(filter_id);
    return Unsubscribed::removed_last;
}

void Router::unsubscribe_all(SubscriberId subscriber, std::vector<std::string>& gone) {
    if (subscriber >= impl_->subscriber_filters.size()) return;
    LinkArray& wanted = impl_->subscriber_filters[subscriber];
    for (uint32_t index = 0; index < wanted.count(); ++index) {
        const uint32_t filter_id = wanted.other(index);
        impl_->leave(filter_id, wanted.back(index));
        const Filter& filter = impl_->filters[filter_id];
        if (filter.subscribers.count() > 0) continue;
        gone.emplace_back(filter.name());
        impl_->remove_filter(filter_id);
    }
    impl_->subscriptions_count -= wanted.count();
    impl_->outside_bytes -= wanted.block_bytes();
    wanted.clear();
}

bool Router::is_subscribed(SubscriberId subscriber, std::string_view filter) const {
    const uint32_t filter_id = impl_->find_filter(filter, impl_->hash_of(filter));
    return filter_id != none && impl_->find_link(subscriber, filter_id) != none;
}

bool Router::wants(SubscriberId subscriber, std::string_view topic) const {
    if (subscriber >= impl_->subscriber_filters.size()) return false;
    const LinkArray& wanted = impl_->subscriber_filters[subscriber];
    if (wanted.count() <= compared_count_max) return impl_->has_match(wanted, topic);
    impl_->collect(topic);
    // Others may have more filters that match than the subscriber has at all.
    if (impl_->matched.size() > wanted.count()) return impl_->has_match(wanted, topic);
    return std::any_of(impl_->matched.begin(), impl_->matched.end(),
                       [&](uint32_t id) { return impl_->find_link(subscriber, id) != none; });
}

void Router::filters_of(SubscriberId subscriber, std::vector<std::string_view>& filters) const {
    if (subscriber >= impl_->subscriber_filters.size()) return;
    for (const uint32_t id : impl_->subscriber_filters[subscriber].others()) {
        filters.push_back(impl_->filters[id].name());
    }
}

bool Router::has_filter(std::string_view filter) const {
    return impl_->find_filter(filter, impl_->hash_of(filter)) != none;
}

void Router::match(std::string_view topic, std::vector<SubscriberId>& subscribers) {
    subscribers.clear();
    impl_->collect(topic);
    if (impl_->matched.empty()) return;
    if (impl_->matched.size() > 1) return impl_->merge(subscribers);
    const auto others = impl_->filters[impl_->matched.front()].subscribers.others();
    subscribers.assign(others.begin(), others.end());
}

uint32_t Router::subscriptions_count() const {
    return impl_->subscriptions_count;
}

uint32_t Router::subscriptions_count(SubscriberId subscriber) const {
    if (subscriber >= impl_->subscriber_filters.size()) return 0;
    return impl_->subscriber_filters[subscriber].count();
}

uint32_t Router::filters_count() const {
    return impl_->filters.count();
}

uint32_t Router::trie_nodes_count() const {
    return impl_->trie.nodes_count();
}

uint64_t Router::memory_bytes() const {
    return sizeof(Impl) + impl_->names.memory_bytes() + impl_->filters.memory_bytes() +
           impl_->trie.memory_bytes() + impl_->subscriber_filters.memory_bytes() +
           impl_->outside_bytes +
           (impl_->matched.capacity() + impl_->stamps.capacity()) * sizeof(uint32_t);
}

}  // namespace topics
