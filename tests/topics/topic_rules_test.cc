#include "topics/topic_rules.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "io/base/prng.h"
#include "topics/name.h"

namespace topics {
namespace {

TopicRule keep(const char* match) {
    return {.match = match, .history_messages_max = 1};
}

TopicRule nothing(const char* match) {
    return {.match = match};
}

TEST(TopicRules, without_rules_nothing_is_kept) {
    const TopicRules rules;
    EXPECT_FALSE(rules.keep_anything());
    EXPECT_EQ(TopicRules::none, rules.history_rule_of("a"));
    EXPECT_FALSE(rules.keep_all_of("a"));
    EXPECT_FALSE(TopicRules({nothing("#"), nothing("a")}).keep_anything());
    EXPECT_TRUE(TopicRules({nothing("#"), keep("a")}).keep_anything());
}

TEST(TopicRules, the_first_rule_that_matches_decides_about_slow_consumers) {
    TopicRule ticker = nothing("ticker/#");
    ticker.on_slow = OnSlow::conflate;
    const TopicRules rules({ticker, keep("chat/#"), nothing("#")});
    EXPECT_EQ(OnSlow::conflate, rules.slow_policy_of("ticker/a"));
    EXPECT_EQ(OnSlow::catch_up, rules.slow_policy_of("chat/a"));
    EXPECT_EQ(OnSlow::disconnect, rules.slow_policy_of("else"));
    EXPECT_EQ(OnSlow::disconnect, TopicRules().slow_policy_of("a"));
}

TEST(TopicRules, the_first_rule_that_matches_decides) {
    const TopicRules rules({keep("chat/vip"), nothing("chat/+"), keep("chat/#"), keep("news/#")});
    EXPECT_EQ(0u, rules.history_rule_of("chat/vip"));
    EXPECT_EQ(TopicRules::none, rules.history_rule_of("chat/other"));
    EXPECT_EQ(2u, rules.history_rule_of("chat"));
    EXPECT_EQ(2u, rules.history_rule_of("chat/a/b"));
    EXPECT_EQ(3u, rules.history_rule_of("news"));
    EXPECT_EQ(TopicRules::none, rules.history_rule_of("else"));
}

TEST(TopicRules, what_is_surely_kept_is_what_the_strictest_rule_keeps) {
    constexpr uint64_t age_ns = 1'000;
    constexpr uint64_t payload_bytes = 100;
    const auto kept = [](std::vector<TopicRule> rules) {
        return TopicRules(std::move(rules)).messages_surely_kept(payload_bytes, age_ns);
    };
    const TopicRule by_number{.match = "a/#", .history_messages_max = 7};
    const TopicRule by_bytes{
        .match = "b/#", .history_messages_max = 7, .history_bytes_max = 5 * payload_bytes + 99};
    const TopicRule too_small{
        .match = "c/#", .history_messages_max = 7, .history_bytes_max = payload_bytes - 1};
    const TopicRule too_short{.match = "d/#", .history_messages_max = 7, .history_ttl_ns = age_ns};
    const TopicRule long_enough{
        .match = "d/#", .history_messages_max = 7, .history_ttl_ns = age_ns + 1};
    EXPECT_EQ(0u, kept({}));
    EXPECT_EQ(0u, kept({nothing("#")}));
    EXPECT_EQ(7u, kept({nothing("#"), by_number}));
    EXPECT_EQ(5u, kept({by_number, by_bytes}));
    EXPECT_EQ(1u, kept({by_number, by_bytes, keep("#")}));
    EXPECT_EQ(0u, kept({by_number, too_small}));
    EXPECT_EQ(0u, kept({by_number, too_short}));
    EXPECT_EQ(7u, kept({long_enough}));
}

TEST(TopicRules, keep_all_of_wants_one_rule_for_all) {
    const TopicRules rules({keep("chat/#"), nothing("news/secret"), keep("news/#")});
    EXPECT_TRUE(rules.keep_all_of("chat"));
    EXPECT_TRUE(rules.keep_all_of("chat/+/x"));
    EXPECT_TRUE(rules.keep_all_of("news/uk"));
    EXPECT_TRUE(rules.keep_all_of("news/uk/#"));
    EXPECT_FALSE(rules.keep_all_of("news/secret"));
    EXPECT_FALSE(rules.keep_all_of("news/+"));
    EXPECT_FALSE(rules.keep_all_of("news/#"));
    EXPECT_FALSE(rules.keep_all_of("#"));
    EXPECT_FALSE(rules.keep_all_of("+/uk"));
}

TEST(TopicRules, an_exception_that_never_decides_is_in_nobodys_way) {
    const TopicRules rules({keep("news/+"), nothing("news/secret"), keep("news/#")});
    EXPECT_TRUE(rules.keep_all_of("news/+"));
    EXPECT_TRUE(rules.keep_all_of("news/secret"));
    EXPECT_TRUE(rules.keep_all_of("news/#"));
}

TEST(TopicRules, an_exception_for_the_brokers_topics_is_in_nobodys_way) {
    const TopicRules rules({nothing("$broker/#"), keep("#")});
    EXPECT_TRUE(rules.keep_all_of("#"));
    EXPECT_FALSE(rules.keep_all_of("$broker/up"));
    EXPECT_FALSE(rules.keep_all_of("$other"));
}

// keep_all_of() may be too careful, but what it promises must hold for every topic.
TEST(TopicRules, keep_all_of_never_says_yes_wrongly) {
    const std::vector<std::string> filters = {"a",   "b",     "a/a", "a/b", "+",   "#",
                                              "a/+", "+/a",   "a/#", "+/+", "b/#", "a/+/#",
                                              "$x",  "+/b/#", "b/+", "$x/#"};
    std::vector<std::string> topics;
    for (const char* first : {"a", "b", "c", "$x", "$c"}) {
        topics.emplace_back(first);
        for (const char* second : {"a", "b", "c"}) {
            topics.push_back(std::string(first) + "/" + second);
            for (const char* third : {"a", "c"}) {
                topics.push_back(std::string(first) + "/" + second + "/" + third);
            }
        }
    }
    base::Prng prng(1);
    uint32_t yes_count = 0;
    uint32_t careful_count = 0;
    for (uint32_t round = 0; round < 20'000; ++round) {
        std::vector<TopicRule> list(prng.between(1, 5));
        for (TopicRule& rule : list) {
            rule.match = filters[prng.below(filters.size())];
            rule.history_messages_max = prng.below(3);
        }
        const TopicRules rules(list);
        const std::string& filter = filters[prng.below(filters.size())];
        bool are_all_kept = true;
        for (const std::string& topic : topics) {
            if (!matches(filter, topic)) continue;
            are_all_kept &= rules.history_rule_of(topic) != TopicRules::none;
        }
        const bool is_promised = rules.keep_all_of(filter);
        ASSERT_TRUE(are_all_kept || !is_promised) << filter;
        // Without a wildcard there is one topic, and no reason to be careful.
        ASSERT_TRUE(has_wildcard(filter) || are_all_kept == is_promised) << filter;
        yes_count += is_promised;
        careful_count += are_all_kept && !is_promised;
    }
    EXPECT_GT(yes_count, 5'000u);
    EXPECT_LT(careful_count, 400u);
}

}  // namespace
}  // namespace topics
