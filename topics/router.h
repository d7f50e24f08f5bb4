// Router: who wants a topic. Subscribers are 32-bit ids; what they stand for (a connection's slot,
// another shard) is the caller's business.
//
// Every filter stands in a hash table by its whole name, wildcard filters also in a trie by level.
// A filter exists exactly while it has a subscriber.
//
// Owner: a shard holds one for its connections and one for the interest of other shards.
// Thread: its owner's.
// Invariants:
//  1. match() names every subscriber with at least one matching filter exactly once.
//  2. The order of match() depends on the history of calls alone (never on addresses), so a seed
//     reproduces it.
//  3. subscribe, unsubscribe cost O(levels), unsubscribe_all O(subscriptions of the subscriber),
//     whatever the number of subscribers of a filter. Leaving frees what nobody needs any more.
//  4. Hashing is XXH3 with the seed given at construction, so that peers cannot aim at one bucket.
// Limits:
//  - Subscriber ids are indices into tables, so keep them dense: the tables take 28 bytes for
//    every id up to the highest that was ever used.
//  - To know whether a subscriber has a filter, the shorter of the subscriber's filters and the
//    filter's subscribers is scanned, 4 bytes each. The longest scan is of one connection's limit
//    of subscriptions, 4 KiB for 1,024, which takes less than 0.1 µs; a shard's interest is long,
//    but its filters have no more subscribers than there are shards. A hash table of pairs would
//    not be faster at that size and would cost each of a million subscriptions 20 bytes.
//  - match() costs one lookup for the exact filter, what topics/filter_trie.h says for the others,
//    and the copy of the ids. Only when several filters match are subscribers told apart, by a
//    stamp each.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace topics {

using SubscriberId = uint32_t;

class Router {
  public:
    explicit Router(uint64_t hash_seed);
    ~Router();
    Router(const Router&) = delete;
    Router& operator=(const Router&) = delete;

    enum class Subscribed : uint8_t {
        already,      // the subscriber had this filter; nothing changed
        added,        // the filter had other subscribers
        added_first,  // the filter is new: the edge 0 → 1
    };
    enum class Unsubscribed : uint8_t {
        was_not,
        removed,
        removed_last,  // the filter is gone: the edge 1 → 0
    };

    // Filters must have passed check_filter.
    Subscribed subscribe(SubscriberId subscriber, std::string_view filter);
    Unsubscribed unsubscribe(SubscriberId subscriber, std::string_view filter);
    // Removes all of a subscriber's subscriptions. The names of the filters that lost their last
    // subscriber are appended to `gone`.
    void unsubscribe_all(SubscriberId subscriber, std::vector<std::string>& gone);

    bool is_subscribed(SubscriberId subscriber, std::string_view filter) const;
    // Whether one of the subscriber's filters matches. Costs about a match(), however many the
    // subscriber has.
    bool wants(SubscriberId subscriber, std::string_view topic) const;
    bool has_filter(std::string_view filter) const;
    // Appends the subscriber's filters; the views live until it leaves one of them.
    void filters_of(SubscriberId subscriber, std::vector<std::string_view>& filters) const;

    // Clears `subscribers` and fills it with those that want the topic, each once. The topic must
    // have passed check_topic.
    void match(std::string_view topic, std::vector<SubscriberId>& subscribers);

    uint32_t subscriptions_count() const;
    uint32_t subscriptions_count(SubscriberId subscriber) const;
    uint32_t filters_count() const;
    // Nodes of the trie of wildcard filters, its root included: 1 when no wildcard filter stands.
    uint32_t trie_nodes_count() const;
    // What the tables hold, without the allocator's own overhead; for metrics.
    uint64_t memory_bytes() const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace topics
