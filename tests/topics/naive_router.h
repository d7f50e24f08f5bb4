// NaiveRouter: what topics::Router must do, said in the plainest way: a set of pairs and matches().
// The model tests and the fuzzer compare the Router with it after every operation.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "topics/name.h"
#include "topics/router.h"

namespace topics {

class NaiveRouter {
  public:
    Router::Subscribed subscribe(SubscriberId subscriber, const std::string& filter) {
        std::set<SubscriberId>& subscribers = filters_[filter];
        const bool is_first = subscribers.empty();
        if (!subscribers.insert(subscriber).second) return Router::Subscribed::already;
        if (!is_first) return Router::Subscribed::added;
        for (const std::string& prefix : trie_prefixes_of(filter)) ++prefixes_[prefix];
        return Router::Subscribed::added_first;
    }

    Router::Unsubscribed unsubscribe(SubscriberId subscriber, const std::string& filter) {
        const auto found = filters_.find(filter);
        if (found == filters_.end() || found->second.erase(subscriber) == 0) {
            return Router::Unsubscribed::was_not;
        }
        if (!found->second.empty()) return Router::Unsubscribed::removed;
        for (const std::string& prefix : trie_prefixes_of(filter)) {
            if (--prefixes_[prefix] == 0) prefixes_.erase(prefix);
        }
        filters_.erase(found);
        return Router::Unsubscribed::removed_last;
    }

    // Sorted.
    std::vector<std::string> unsubscribe_all(SubscriberId subscriber) {
        std::vector<std::string> gone;
        for (const std::string& filter : filters_of(subscriber)) {
            const Router::Unsubscribed result = unsubscribe(subscriber, filter);
            if (result == Router::Unsubscribed::removed_last) gone.push_back(filter);
        }
        return gone;
    }

    bool is_subscribed(SubscriberId subscriber, const std::string& filter) const {
        const auto found = filters_.find(filter);
        return found != filters_.end() && found->second.contains(subscriber);
    }

    // Sorted.
    std::vector<SubscriberId> match(std::string_view topic) const {
        std::set<SubscriberId> met;
        for (const auto& [filter, subscribers] : filters_) {
            if (matches(filter, topic)) met.insert(subscribers.begin(), subscribers.end());
        }
        return {met.begin(), met.end()};
    }

    std::vector<std::string> filters_of(SubscriberId subscriber) const {
        std::vector<std::string> names;
        for (const auto& [filter, subscribers] : filters_) {
            if (subscribers.contains(subscriber)) names.push_back(filter);
        }
        return names;
    }

    uint32_t subscriptions_count() const {
        size_t count = 0;
        for (const auto& [filter, subscribers] : filters_) count += subscribers.size();
        return static_cast<uint32_t>(count);
    }

    uint32_t filters_count() const { return static_cast<uint32_t>(filters_.size()); }

    // The prefixes of the wildcard filters (without a last '#'), and the root.
    uint32_t trie_nodes_count() const { return static_cast<uint32_t>(prefixes_.size()) + 1; }

  private:
    // Each once. With a '/' after every level, so that an empty level is a prefix too.
    static std::vector<std::string> trie_prefixes_of(const std::string& filter) {
        std::vector<std::string> prefixes;
        if (!has_wildcard(filter)) return prefixes;
        const std::string levels = filter + "/";
        for (size_t end = levels.find('/'); end != std::string::npos;
             end = levels.find('/', end + 1)) {
            const std::string prefix = levels.substr(0, end + 1);
            if (!prefix.ends_with("#/")) prefixes.push_back(prefix);
        }
        return prefixes;
    }

    std::map<std::string, std::set<SubscriberId>> filters_;
    // How many filters have each prefix: counted as they come and go, because the fuzzer asks after
    // every operation.
    std::map<std::string, uint32_t> prefixes_;
};

}  // namespace topics
