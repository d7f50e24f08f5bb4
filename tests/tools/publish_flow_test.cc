#include "tools/publish_flow.h"

#include <gtest/gtest.h>

#include <string>

namespace {

using base::ns_per_ms;
using base::ns_per_s;
using tools::PublishFlow;

constexpr uint64_t start_ns = 1'000 * ns_per_s;

std::string command(uint64_t id) {
    return "{" + std::to_string(id) + "}";
}

void add_many(PublishFlow& flow, uint64_t first, uint64_t last) {
    for (uint64_t id = first; id <= last; ++id) flow.add(id, command(id));
}

// What is sent now, as the text of all of it.
std::string sent_at(PublishFlow& flow, uint64_t now_ns) {
    std::string text;
    while (const std::optional<std::string> next = flow.next(now_ns)) text += *next;
    return text;
}

TEST(PublishFlow, WithoutARateAllGoesOutAtOnceAsItIs) {
    PublishFlow flow(1);
    flow.connected(0);
    EXPECT_EQ(flow.next_at_ns(), base::never_ns);
    add_many(flow, 1, 3);
    EXPECT_LE(flow.next_at_ns(), start_ns);
    EXPECT_EQ(sent_at(flow, start_ns), "{1}{2}{3}");
    EXPECT_EQ(flow.added_bytes_max(), 0U);
    EXPECT_EQ(flow.count(), 3U);
    flow.confirmed(2);
    flow.given_up(3);
    EXPECT_EQ(flow.count(), 1U);
    flow.connected(0);
    EXPECT_EQ(sent_at(flow, start_ns), "{1}") << "once more, over the next connection";
    flow.confirmed(1);
    EXPECT_TRUE(flow.is_empty());
}

TEST(PublishFlow, KeepsHalfOfTheBurstAndTheRate) {
    PublishFlow flow(1);
    flow.connected(10);
    EXPECT_EQ(flow.added_bytes_max(), 20U);
    add_many(flow, 1, 9);
    EXPECT_EQ(sent_at(flow, start_ns), R"({1,"series":1}{2,"series":1}{3,"series":1})"
                                       R"({4,"series":1}{5,"series":1})");
    EXPECT_EQ(flow.next_at_ns(), start_ns + 100 * ns_per_ms);
    EXPECT_EQ(sent_at(flow, start_ns + 100 * ns_per_ms - 1), "");
    EXPECT_EQ(sent_at(flow, start_ns + 100 * ns_per_ms), R"({6,"series":1})");
    EXPECT_EQ(sent_at(flow, start_ns + ns_per_s), R"({7,"series":1}{8,"series":1}{9,"series":1})");
}

TEST(PublishFlow, ARateOfOneIsOneASecond) {
    PublishFlow flow(1);
    flow.connected(1);
    add_many(flow, 1, 2);
    EXPECT_EQ(sent_at(flow, start_ns), R"({1,"series":1})");
    EXPECT_EQ(flow.next_at_ns(), start_ns + ns_per_s);
}

TEST(PublishFlow, AfterARefusalItWaitsForAllAnswersAndForTheTime) {
    PublishFlow flow(1);
    flow.connected(100);
    add_many(flow, 1, 4);
    sent_at(flow, start_ns);
    flow.confirmed(1);
    EXPECT_EQ(flow.refused_since_ns(), 0U);
    flow.rate_limited(2, 10 * ns_per_ms, start_ns);
    EXPECT_EQ(flow.refused_since_ns(), start_ns);
    flow.add(5, command(5));
    EXPECT_EQ(flow.next_at_ns(), base::never_ns) << "two are not answered";
    EXPECT_EQ(sent_at(flow, start_ns + ns_per_s), "");
    flow.rate_limited(3, 30 * ns_per_ms, start_ns + 1);
    flow.rate_limited(4, 30 * ns_per_ms, start_ns + 2);
    EXPECT_EQ(flow.next_at_ns(), start_ns + 10 * ns_per_ms);
    EXPECT_EQ(sent_at(flow, start_ns + 10 * ns_per_ms), R"({2,"series":2})");
    EXPECT_EQ(sent_at(flow, start_ns + 30 * ns_per_ms), R"({3,"series":2}{4,"series":2})");
    flow.confirmed(2);
    EXPECT_EQ(flow.refused_since_ns(), 0U);
    EXPECT_EQ(sent_at(flow, start_ns + 40 * ns_per_ms), R"({5,"series":2})");
}

TEST(PublishFlow, WhereTheRateIsNotToldTheRefusalSetsThePace) {
    PublishFlow flow(1);
    flow.connected(0);
    add_many(flow, 1, 3);
    sent_at(flow, start_ns);
    for (uint64_t id = 1; id <= 3; ++id) flow.rate_limited(id, 50 * ns_per_ms, start_ns);
    EXPECT_EQ(sent_at(flow, start_ns + 49 * ns_per_ms), "");
    EXPECT_EQ(sent_at(flow, start_ns + 50 * ns_per_ms), "{1}") << "no series: it may not know them";
    EXPECT_EQ(sent_at(flow, start_ns + 99 * ns_per_ms), "");
    EXPECT_EQ(sent_at(flow, start_ns + 100 * ns_per_ms), "{2}");
}

TEST(PublishFlow, WhereNoTimeIsToldTheWaitIsRandomAndGrows) {
    PublishFlow flow(1);
    flow.connected(100);
    flow.add(1, command(1));
    uint64_t now_ns = start_ns;
    uint64_t longest_ns = 0;
    for (int count = 0; count < 20; ++count) {
        EXPECT_NE(sent_at(flow, now_ns), "");
        flow.rate_limited(1, 0, now_ns);
        const uint64_t wait_ns = flow.next_at_ns() - now_ns;
        EXPECT_LE(wait_ns, 10 * ns_per_s);
        longest_ns = std::max(longest_ns, wait_ns);
        now_ns += wait_ns;
    }
    EXPECT_GT(longest_ns, ns_per_s);
    EXPECT_EQ(flow.refused_since_ns(), start_ns);
}

TEST(PublishFlow, TheTimeWithoutAConnectionIsNoTimeOfRefusals) {
    PublishFlow flow(1);
    flow.connected(100);
    flow.add(1, command(1));
    EXPECT_NE(sent_at(flow, start_ns), "");
    flow.rate_limited(1, 10 * ns_per_ms, start_ns);
    ASSERT_EQ(flow.refused_since_ns(), start_ns);
    flow.connected(100);
    EXPECT_EQ(flow.refused_since_ns(), 0U);
    const uint64_t later_ns = start_ns + 60 * ns_per_s;
    EXPECT_NE(sent_at(flow, later_ns), "");
    flow.rate_limited(1, 10 * ns_per_ms, later_ns);
    EXPECT_EQ(flow.refused_since_ns(), later_ns);
}

TEST(PublishFlow, ARefusalOfSomethingElseChangesNothing) {
    PublishFlow flow(1);
    flow.connected(10);
    flow.rate_limited(7, ns_per_s, start_ns);
    flow.add(8, command(8));
    EXPECT_EQ(sent_at(flow, start_ns), R"({8,"series":1})");
}

}  // namespace
