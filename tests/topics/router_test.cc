#include "topics/router.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "topics/name.h"

namespace topics {
namespace {

using Subscribed = Router::Subscribed;
using Unsubscribed = Router::Unsubscribed;

constexpr uint64_t seed = 0x5eed;

std::vector<SubscriberId> match(Router& router, std::string_view topic) {
    // Leftovers, to see that they are cleared.
    std::vector<SubscriberId> subscribers = {1'000'001, 1'000'002};
    router.match(topic, subscribers);
    return subscribers;
}

std::vector<SubscriberId> sorted_match(Router& router, std::string_view topic) {
    std::vector<SubscriberId> subscribers = match(router, topic);
    std::sort(subscribers.begin(), subscribers.end());
    return subscribers;
}

using Ids = std::vector<SubscriberId>;
using Names = std::vector<std::string>;

TEST(Router, filters_of_a_subscriber) {
    Router router(1);
    router.subscribe(3, "a");
    router.subscribe(3, "b/#");
    router.subscribe(4, "c");
    std::vector<std::string_view> filters;
    router.filters_of(3, filters);
    EXPECT_EQ((std::vector<std::string_view>{"a", "b/#"}), filters);
    filters.clear();
    router.filters_of(99, filters);
    EXPECT_TRUE(filters.empty());
}

TEST(Router, an_empty_one_matches_nothing) {
    Router router(seed);
    EXPECT_EQ(Ids{}, match(router, "a"));
    EXPECT_EQ(0u, router.subscriptions_count());
    EXPECT_EQ(0u, router.subscriptions_count(0));
    EXPECT_EQ(0u, router.subscriptions_count(UINT32_MAX - 1));
    EXPECT_EQ(0u, router.filters_count());
    EXPECT_EQ(1u, router.trie_nodes_count());
    EXPECT_FALSE(router.has_filter("a"));
    EXPECT_FALSE(router.is_subscribed(0, "a"));
    EXPECT_EQ(Unsubscribed::was_not, router.unsubscribe(0, "a"));
    Names gone;
    router.unsubscribe_all(0, gone);
    EXPECT_EQ(Names{}, gone);
}

TEST(Router, tells_the_edges_of_an_exact_and_of_a_wildcard_filter) {
    for (const std::string_view filter : {"a/b", "a/+", "a/#", "+", "#"}) {
        Router router(seed);
        EXPECT_EQ(Subscribed::added_first, router.subscribe(4, filter));
        EXPECT_EQ(Subscribed::already, router.subscribe(4, filter));
        EXPECT_EQ(Subscribed::added, router.subscribe(5, filter));
        EXPECT_EQ(Unsubscribed::was_not, router.unsubscribe(6, filter));
        EXPECT_EQ(2u, router.subscriptions_count());
        EXPECT_EQ(1u, router.filters_count());
        EXPECT_EQ(Unsubscribed::removed, router.unsubscribe(4, filter));
        EXPECT_EQ(Unsubscribed::was_not, router.unsubscribe(4, filter));
        EXPECT_TRUE(router.has_filter(filter));
        EXPECT_EQ(Unsubscribed::removed_last, router.unsubscribe(5, filter));
        EXPECT_FALSE(router.has_filter(filter));
        EXPECT_EQ(Subscribed::added_first, router.subscribe(4, filter));
    }
}

TEST(Router, a_wildcard_filter_and_its_prefix_are_different_filters) {
    Router router(seed);
    EXPECT_EQ(Subscribed::added_first, router.subscribe(1, "a"));
    EXPECT_EQ(Subscribed::added_first, router.subscribe(2, "a/#"));
    EXPECT_EQ(Subscribed::added_first, router.subscribe(3, "a/+"));
    EXPECT_EQ(Subscribed::added_first, router.subscribe(4, "a/+/#"));
    EXPECT_EQ((Ids{1, 2}), sorted_match(router, "a"));
    EXPECT_EQ((Ids{2, 3, 4}), sorted_match(router, "a/b"));
    EXPECT_EQ((Ids{2, 4}), sorted_match(router, "a/b/c"));
    EXPECT_EQ(Unsubscribed::removed_last, router.unsubscribe(3, "a/+"));
    EXPECT_EQ((Ids{2, 4}), sorted_match(router, "a/b"));
}

TEST(Router, names_a_subscriber_once_however_many_of_its_filters_match) {
    Router router(seed);
    const std::vector<std::string_view> filters = {"a/b", "a/+", "+/b", "+/+",
                                                   "#",   "a/#", "+/#", "a/b/#"};
    for (const std::string_view filter : filters) {
        router.subscribe(1, filter);
        router.subscribe(2, filter);
    }
    router.subscribe(3, "a/+");
    router.subscribe(4, "x");
    EXPECT_EQ((Ids{1, 2, 3}), sorted_match(router, "a/b"));
    // Again: the stamps of the first match must not hide anybody in the second.
    EXPECT_EQ((Ids{1, 2, 3}), sorted_match(router, "a/b"));
    EXPECT_EQ(2u * filters.size() + 2, router.subscriptions_count());
    EXPECT_EQ(filters.size(), router.subscriptions_count(1));
}

TEST(Router, wildcards_do_not_see_the_topics_of_the_broker) {
    Router router(seed);
    router.subscribe(1, "#");
    router.subscribe(2, "+/a");
    router.subscribe(3, "$SYS/#");
    router.subscribe(4, "$SYS/+");
    router.subscribe(5, "$SYS/a");
    router.subscribe(6, "+/#");
    EXPECT_EQ((Ids{3, 4, 5}), sorted_match(router, "$SYS/a"));
    EXPECT_EQ((Ids{3}), sorted_match(router, "$SYS"));
    EXPECT_EQ((Ids{1, 2, 6}), sorted_match(router, "SYS/a"));
    EXPECT_EQ((Ids{1, 6}), sorted_match(router, "a/$SYS"));
}

TEST(Router, the_longest_and_the_deepest_filters_work) {
    Router router(seed);
    std::string plus = "+";
    std::string word = "w";
    for (uint32_t level = 1; level < topic_levels_max; ++level) {
        plus += "/+";
        word += "/w";
    }
    const std::string hash = plus.substr(0, plus.size() - 1) + "#";
    const std::string wide(topic_bytes_max, 'x');
    const std::string separators(topic_levels_max - 1, '/');
    uint32_t subscriber = 0;
    for (const std::string& filter : {plus, word, hash, wide, separators}) {
        ASSERT_EQ(NameError::none, check_filter(filter));
        EXPECT_EQ(Subscribed::added_first, router.subscribe(subscriber++, filter));
    }
    EXPECT_EQ((Ids{0, 1, 2}), sorted_match(router, word));
    EXPECT_EQ((Ids{0, 2, 4}), sorted_match(router, separators));
    EXPECT_EQ((Ids{3}), sorted_match(router, wide));
    EXPECT_EQ((Ids{2}), sorted_match(router, word.substr(2)));
    EXPECT_EQ(topic_levels_max + 1, router.trie_nodes_count());
}

TEST(Router, every_mix_of_plus_and_word_is_visited_once) {
    // 2^10 filters that match one topic: the widest fan of nodes that ten levels allow.
    Router router(seed);
    constexpr uint32_t levels_count = 10;
    for (uint32_t bits = 0; bits < 1u << levels_count; ++bits) {
        std::string filter;
        for (uint32_t level = 0; level < levels_count; ++level) {
            if (level > 0) filter += "/";
            filter += (bits >> level & 1) != 0 ? "+" : "w";
        }
        EXPECT_EQ(Subscribed::added_first, router.subscribe(bits, filter));
    }
    std::string topic = "w";
    for (uint32_t level = 1; level < levels_count; ++level) topic += "/w";
    const Ids ids = sorted_match(router, topic);
    ASSERT_EQ(1u << levels_count, ids.size());
    for (uint32_t index = 0; index < ids.size(); ++index) EXPECT_EQ(index, ids[index]);
    EXPECT_EQ((Ids{(1u << levels_count) - 1}), match(router, "v/v/v/v/v/v/v/v/v/v"));
}

TEST(Router, unsubscribe_all_names_the_filters_that_are_gone) {
    Router router(seed);
    for (const std::string_view filter : {"mine", "shared", "mine/#", "shared/+"}) {
        router.subscribe(1, filter);
    }
    router.subscribe(2, "shared");
    router.subscribe(2, "shared/+");
    Names gone = {"before"};
    router.unsubscribe_all(1, gone);
    EXPECT_EQ((Names{"before", "mine", "mine/#"}), gone);
    EXPECT_EQ(0u, router.subscriptions_count(1));
    EXPECT_EQ(2u, router.subscriptions_count());
    EXPECT_FALSE(router.is_subscribed(1, "shared"));
    EXPECT_TRUE(router.is_subscribed(2, "shared"));
    router.unsubscribe_all(1, gone);
    EXPECT_EQ(3u, gone.size());
}

TEST(Router, the_id_of_one_that_left_starts_anew) {
    Router router(seed);
    Names gone;
    router.subscribe(9, "old");
    router.subscribe(9, "old/#");
    router.unsubscribe_all(9, gone);
    router.subscribe(9, "new");
    EXPECT_EQ((Ids{}), match(router, "old"));
    EXPECT_EQ((Ids{9}), match(router, "new"));
    EXPECT_EQ(1u, router.subscriptions_count(9));
}

TEST(Router, the_order_is_that_of_subscribing_and_a_hole_is_filled_by_the_last) {
    Router router(seed);
    for (const SubscriberId subscriber : {30u, 10u, 20u, 40u}) router.subscribe(subscriber, "t");
    EXPECT_EQ((Ids{30, 10, 20, 40}), match(router, "t"));
    router.unsubscribe(30, "t");
    EXPECT_EQ((Ids{40, 10, 20}), match(router, "t"));
    // The exact filter's subscribers come first, then '#', then '+'.
    router.subscribe(1, "+");
    router.subscribe(2, "#");
    router.subscribe(10, "#");
    EXPECT_EQ((Ids{40, 10, 20, 2, 1}), match(router, "t"));
}

TEST(Router, a_subscriber_with_all_filters_and_a_filter_with_all_subscribers_find_each_other) {
    // Both scans: of a long list of filters, and of a long list of subscribers.
    Router router(seed);
    constexpr uint32_t count = 1'500;
    for (uint32_t index = 0; index < count; ++index) {
        router.subscribe(0, "t" + std::to_string(index));
        router.subscribe(index, "t0");
    }
    EXPECT_EQ(2 * count - 1, router.subscriptions_count());
    for (uint32_t index = 0; index < count; ++index) {
        ASSERT_TRUE(router.is_subscribed(0, "t" + std::to_string(index)));
        ASSERT_TRUE(router.is_subscribed(index, "t0"));
        ASSERT_EQ(index == 0, router.is_subscribed(index, "t1"));
    }
    for (uint32_t index = 0; index < count; index += 2) {
        ASSERT_EQ(Unsubscribed::removed, router.unsubscribe(index, "t0"));
    }
    EXPECT_EQ(count / 2, match(router, "t0").size());
    EXPECT_FALSE(router.is_subscribed(0, "t0"));
    EXPECT_TRUE(router.is_subscribed(0, "t1"));
}

TEST(Router, what_left_gives_its_memory_back) {
    Router router(seed);
    constexpr uint32_t subscribers_count = 200;
    const auto join_all = [&] {
        for (SubscriberId subscriber = 0; subscriber < subscribers_count; ++subscriber) {
            const std::string own =
                "rooms/of a name that is not short/" + std::to_string(subscriber);
            for (const std::string& filter : {own, own + "/+", own + "/#", std::string("all")}) {
                router.subscribe(subscriber, filter);
            }
        }
    };
    const auto leave_all = [&] {
        Names gone;
        for (SubscriberId subscriber = 0; subscriber < subscribers_count; ++subscriber) {
            router.unsubscribe_all(subscriber, gone);
        }
        EXPECT_EQ(3 * subscribers_count + 1, gone.size());
        EXPECT_EQ(0u, router.filters_count());
        EXPECT_EQ(0u, router.subscriptions_count());
        EXPECT_EQ(1u, router.trie_nodes_count());
    };
    const uint64_t fresh_bytes = router.memory_bytes();
    join_all();
    leave_all();
    EXPECT_LT(fresh_bytes, router.memory_bytes());  // pages of records stay
    // From here on the memory goes up and down between the same two marks.
    join_all();
    const uint64_t full_bytes = router.memory_bytes();
    leave_all();
    const uint64_t left_bytes = router.memory_bytes();
    EXPECT_LT(left_bytes, full_bytes);
    for (uint32_t round = 0; round < 20; ++round) {
        join_all();
        EXPECT_EQ(full_bytes, router.memory_bytes());
        leave_all();
        EXPECT_EQ(left_bytes, router.memory_bytes());
    }
}

TEST(Router, the_tables_shrink_after_many_filters_left) {
    Router router(seed);
    constexpr uint32_t filters_count = 50'000;
    for (uint32_t index = 0; index < filters_count; ++index) {
        router.subscribe(index % 7, "t" + std::to_string(index));
    }
    const uint64_t full_bytes = router.memory_bytes();
    Names gone;
    for (SubscriberId subscriber = 0; subscriber < 7; ++subscriber) {
        router.unsubscribe_all(subscriber, gone);
    }
    EXPECT_EQ(filters_count, gone.size());
    // What may stay are the pages of filters, 40 bytes and a free id each.
    EXPECT_LT(router.memory_bytes(), filters_count * 50);
    EXPECT_GT(full_bytes, filters_count * 60);
}

}  // namespace
}  // namespace topics
