// Subscriptions: what the connections of a shard want, each filter of each of them either live
// (what is sequenced is pushed) or catching up (Replays reads it from history).
//
// A filter can be both for one connection: when it is live and is asked for again with a start.
//
// Owner: a shard. Thread: its shard's.
// Invariants:
//  1. Other shards know a filter (or are about to) exactly while it stands here or a join waits
//     with it: whoever takes the last one away tells them (Joins::filter_gone).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "topics/router.h"

namespace broker {

class Subscriptions {
  public:
    explicit Subscriptions(uint64_t hash_seed) : live_(hash_seed), catching_up_(hash_seed) {}

    bool has_filter(std::string_view filter) const {
        return live_.has_filter(filter) || catching_up_.has_filter(filter);
    }
    bool is_subscribed(uint32_t subscriber, std::string_view filter) const {
        return live_.is_subscribed(subscriber, filter) ||
               catching_up_.is_subscribed(subscriber, filter);
    }
    uint32_t count(uint32_t subscriber) const {
        return live_.subscriptions_count(subscriber) + catching_up_.subscriptions_count(subscriber);
    }

    void go_live(uint32_t subscriber, std::string_view filter) {
        live_.subscribe(subscriber, filter);
        catching_up_.unsubscribe(subscriber, filter);
    }
    void catch_up(uint32_t subscriber, std::string_view filter) {
        catching_up_.subscribe(subscriber, filter);
    }
    // True: nobody on the shard has this filter any more.
    [[nodiscard]] bool unsubscribe(uint32_t subscriber, std::string_view filter) {
        live_.unsubscribe(subscriber, filter);
        catching_up_.unsubscribe(subscriber, filter);
        return !has_filter(filter);
    }
    // Appends the filters that nobody on the shard has any more.
    void unsubscribe_all(uint32_t subscriber, std::vector<std::string>& gone);

    // Who gets a message of this topic at once, and whose replays it concerns; a connection can be
    // in both. Each clears what it fills.
    void match_live(std::string_view topic, std::vector<uint32_t>& subscribers) {
        live_.match(topic, subscribers);
    }
    void match_catching_up(std::string_view topic, std::vector<uint32_t>& subscribers) {
        catching_up_.match(topic, subscribers);
    }
    bool has_catching_up() const { return catching_up_.subscriptions_count() > 0; }

    // The live filters alone.
    const topics::Router& live() const { return live_; }
    const topics::Router& catching_up() const { return catching_up_; }

  private:
    topics::Router live_;
    topics::Router catching_up_;
};

}  // namespace broker
