// The Router against models, operation by operation.
//
// The first test draws from all filters of at most three levels over a tiny alphabet, so that nodes
// of the trie are shared, pruned and built again all the time; its model is a table of bits, fast
// enough for millions of operations. The second one draws deep and odd names and asks
// topics::matches().
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/prng.h"
#include "tests/topics/all_names.h"
#include "tests/topics/naive_router.h"
#include "topics/name.h"
#include "topics/router.h"

namespace topics {
namespace {

using Subscribed = Router::Subscribed;
using Unsubscribed = Router::Unsubscribed;

// Subscribers are bits: at most 16.
class BitModel {
  public:
    static constexpr uint32_t subscribers_count = 16;

    BitModel()
        : filters(all_names({"a", "b", "$", "", "+", "#"}, 3, check_filter)),
          topics(all_names({"a", "b", "$", ""}, 3, check_topic)),
          wanting(filters.size()) {
        for (const std::string& topic : topics) {
            std::vector<uint32_t> indices;
            for (uint32_t index = 0; index < filters.size(); ++index) {
                if (matches(filters[index], topic)) indices.push_back(index);
            }
            matching.push_back(indices);
        }
    }

    uint32_t match(uint32_t topic) const {
        uint32_t bits = 0;
        for (const uint32_t index : matching[topic]) bits |= wanting[index];
        return bits;
    }

    const std::vector<std::string> filters;
    const std::vector<std::string> topics;
    std::vector<std::vector<uint32_t>> matching;  // by topic: the filters that match it
    std::vector<uint32_t> wanting;                // by filter: a bit for each of its subscribers
};

class ModelRun {
  public:
    explicit ModelRun(uint64_t seed) : prng_(seed), router_(prng_.next()) {}

    void run(uint32_t operations_count) {
        for (uint32_t operation = 0; operation < operations_count; ++operation) {
            // Crowded and empty times take turns: nearly all filters stand, then nearly none.
            const uint64_t joins_of_8 = (operation >> 12) % 2 == 0 ? 6 : 1;
            if (prng_.chance({1, 64})) {
                leave();
            } else if (prng_.below(8) < joins_of_8) {
                subscribe();
            } else {
                unsubscribe();
            }
            match();
            if (operation % 1024 == 0) compare_counts();
            if (testing::Test::HasFailure()) return;
        }
    }

  private:
    SubscriberId any_subscriber() {
        return static_cast<SubscriberId>(prng_.below(BitModel::subscribers_count));
    }
    uint32_t any_filter() { return static_cast<uint32_t>(prng_.below(model_.filters.size())); }

    void subscribe() {
        const SubscriberId subscriber = any_subscriber();
        const uint32_t filter = any_filter();
        const uint32_t before = model_.wanting[filter];
        model_.wanting[filter] |= 1u << subscriber;
        const Subscribed expected = before == 0                        ? Subscribed::added_first
                                    : before == model_.wanting[filter] ? Subscribed::already
                                                                       : Subscribed::added;
        ASSERT_EQ(expected, router_.subscribe(subscriber, model_.filters[filter]));
    }

    void unsubscribe() {
        const SubscriberId subscriber = any_subscriber();
        const uint32_t filter = any_filter();
        const uint32_t before = model_.wanting[filter];
        model_.wanting[filter] &= ~(1u << subscriber);
        const Unsubscribed expected = before == model_.wanting[filter] ? Unsubscribed::was_not
                                      : model_.wanting[filter] == 0    ? Unsubscribed::removed_last
                                                                       : Unsubscribed::removed;
        ASSERT_EQ(expected, router_.unsubscribe(subscriber, model_.filters[filter]));
    }

    void leave() {
        const SubscriberId subscriber = any_subscriber();
        std::vector<std::string> expected;
        for (uint32_t filter = 0; filter < model_.filters.size(); ++filter) {
            const uint32_t before = model_.wanting[filter];
            model_.wanting[filter] &= ~(1u << subscriber);
            if (before != 0 && model_.wanting[filter] == 0) {
                expected.push_back(model_.filters[filter]);
            }
        }
        std::vector<std::string> gone;
        router_.unsubscribe_all(subscriber, gone);
        std::sort(gone.begin(), gone.end());
        std::sort(expected.begin(), expected.end());
        ASSERT_EQ(expected, gone);
    }

    void match() {
        const uint32_t topic = static_cast<uint32_t>(prng_.below(model_.topics.size()));
        router_.match(model_.topics[topic], matched_);
        uint32_t bits = 0;
        for (const SubscriberId subscriber : matched_) {
            ASSERT_LT(subscriber, BitModel::subscribers_count);
            ASSERT_EQ(0u, bits >> subscriber & 1) << "named twice: " << subscriber;
            bits |= 1u << subscriber;
        }
        ASSERT_EQ(model_.match(topic), bits) << model_.topics[topic];
        const uint32_t filter = any_filter();
        const SubscriberId subscriber = any_subscriber();
        ASSERT_EQ((model_.wanting[filter] >> subscriber & 1) != 0,
                  router_.is_subscribed(subscriber, model_.filters[filter]));
        ASSERT_EQ((bits >> subscriber & 1) != 0, router_.wants(subscriber, model_.topics[topic]));
    }

    void compare_counts() {
        uint32_t filters_count = 0;
        uint32_t subscriptions_count = 0;
        for (uint32_t filter = 0; filter < model_.filters.size(); ++filter) {
            filters_count += model_.wanting[filter] != 0;
            subscriptions_count += static_cast<uint32_t>(std::popcount(model_.wanting[filter]));
            ASSERT_EQ(model_.wanting[filter] != 0, router_.has_filter(model_.filters[filter]));
        }
        ASSERT_EQ(filters_count, router_.filters_count());
        ASSERT_EQ(subscriptions_count, router_.subscriptions_count());
        for (SubscriberId subscriber = 0; subscriber < BitModel::subscribers_count; ++subscriber) {
            uint32_t own_count = 0;
            for (const uint32_t bits : model_.wanting) own_count += bits >> subscriber & 1;
            ASSERT_EQ(own_count, router_.subscriptions_count(subscriber));
        }
    }

    base::Prng prng_;
    BitModel model_;
    Router router_;
    std::vector<SubscriberId> matched_;
};

TEST(RouterModel, two_million_operations_over_a_tiny_alphabet) {
    constexpr uint32_t operations_count = 500'000;
    for (uint64_t seed = 1; seed <= 4; ++seed) {
        ModelRun(seed).run(operations_count);
        ASSERT_FALSE(HasFailure()) << "seed " << seed;
    }
}

std::string any_name(base::Prng& prng, bool is_filter) {
    static const std::vector<std::string> words = {
        "a", "b", "", "$", "é", "a word that is longer than a string holds inside"};
    const uint64_t levels_count =
        prng.chance({1, 8}) ? prng.between(1, topic_levels_max) : prng.between(1, 4);
    std::string name;
    for (uint64_t level = 0; level < levels_count; ++level) {
        if (level > 0) name += "/";
        const uint64_t choice = is_filter ? prng.below(words.size() + 3) : prng.below(words.size());
        if (choice < words.size()) {
            name += words[choice];
        } else {
            name += level + 1 == levels_count && choice == words.size() ? "#" : "+";
        }
    }
    return name;
}

TEST(RouterModel, odd_and_deep_names) {
    base::Prng prng(5);
    Router router(prng.next());
    NaiveRouter naive;
    std::vector<std::string> recent(64);
    std::vector<SubscriberId> matched;
    for (uint32_t operation = 0; operation < 12'000; ++operation) {
        std::string& filter = recent[prng.below(recent.size())];
        const SubscriberId subscriber = static_cast<SubscriberId>(prng.below(40));
        if (filter.empty() || prng.chance({1, 16})) filter = any_name(prng, true);
        if (check_filter(filter) != NameError::none) {
            filter.clear();
            continue;
        }
        if (prng.chance({1, 32})) {
            std::vector<std::string> gone;
            router.unsubscribe_all(subscriber, gone);
            std::sort(gone.begin(), gone.end());
            ASSERT_EQ(naive.unsubscribe_all(subscriber), gone);
        } else if (prng.chance({1, 2})) {
            ASSERT_EQ(naive.subscribe(subscriber, filter), router.subscribe(subscriber, filter));
        } else {
            ASSERT_EQ(naive.unsubscribe(subscriber, filter),
                      router.unsubscribe(subscriber, filter));
        }
        const std::string topic = any_name(prng, false);
        if (check_topic(topic) == NameError::none) {
            router.match(topic, matched);
            std::sort(matched.begin(), matched.end());
            ASSERT_EQ(naive.match(topic), matched) << topic;
        }
        ASSERT_EQ(naive.filters_count(), router.filters_count());
        if (operation % 32 == 0) {
            ASSERT_EQ(naive.trie_nodes_count(), router.trie_nodes_count());
            ASSERT_EQ(naive.subscriptions_count(), router.subscriptions_count());
        }
    }
    for (SubscriberId subscriber = 0; subscriber < 40; ++subscriber) {
        std::vector<std::string> gone;
        router.unsubscribe_all(subscriber, gone);
    }
    EXPECT_EQ(0u, router.filters_count());
    EXPECT_EQ(0u, router.subscriptions_count());
    EXPECT_EQ(1u, router.trie_nodes_count());
}

TEST(RouterModel, the_same_history_gives_the_same_order_whatever_the_hash_seed) {
    const BitModel names;
    base::Prng prng(6);
    Router first(1);
    Router second(2);
    std::vector<SubscriberId> matched_first;
    std::vector<SubscriberId> matched_second;
    std::vector<std::string> gone_first;
    std::vector<std::string> gone_second;
    for (uint32_t operation = 0; operation < 50'000; ++operation) {
        const SubscriberId subscriber = static_cast<SubscriberId>(prng.below(300));
        const std::string& filter = names.filters[prng.below(names.filters.size())];
        const uint64_t choice = prng.below(64);
        if (choice == 0) {
            first.unsubscribe_all(subscriber, gone_first);
            second.unsubscribe_all(subscriber, gone_second);
        } else if (choice < 40) {
            first.subscribe(subscriber, filter);
            second.subscribe(subscriber, filter);
        } else {
            first.unsubscribe(subscriber, filter);
            second.unsubscribe(subscriber, filter);
        }
        const std::string& topic = names.topics[prng.below(names.topics.size())];
        first.match(topic, matched_first);
        second.match(topic, matched_second);
        ASSERT_EQ(matched_first, matched_second);
    }
    EXPECT_EQ(gone_first, gone_second);
    EXPECT_FALSE(gone_first.empty());
}

}  // namespace
}  // namespace topics
