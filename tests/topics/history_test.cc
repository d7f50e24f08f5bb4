#include "topics/history.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace topics {
namespace {

using Offsets = std::vector<uint64_t>;
using Indices = std::vector<uint32_t>;

constexpr uint64_t unlimited = UINT64_MAX;

class HistoryTest : public testing::Test {
  protected:
    // The rules and limits; whatever was kept is gone.
    void begin(std::vector<TopicRule> rules, History::Options options = {}) {
        history.reset();
        rules_ = TopicRules(std::move(rules));
        history = std::make_unique<History>(rules_, options);
    }
    void begin_with(uint64_t messages_max, uint64_t bytes_max = unlimited,
                    uint64_t ttl_ns = unlimited, History::Options options = {}) {
        begin({{"#", messages_max, bytes_max, ttl_ns}}, options);
    }

    uint64_t append(std::string_view topic, std::string_view payload = "x", uint64_t now_ns = 0) {
        return history->append(0, topic, 0, payload, now_ns);
    }

    // Reads with a query that says only what is not the default.
    const History::Page& read(std::vector<std::string_view> filters, History::Query query = {},
                              uint64_t lost_above = 0) {
        query.filters = filters;
        history->read(query, lost_above, page);
        return page;
    }
    Offsets offsets(std::vector<std::string_view> filters, History::Query query = {}) {
        Offsets found;
        for (const History::Message& message : read(std::move(filters), query).messages) {
            found.push_back(message.offset);
        }
        return found;
    }

    std::unique_ptr<History> history;
    History::Page page;

  private:
    TopicRules rules_;
};

TEST_F(HistoryTest, without_a_rule_nothing_happens) {
    begin({{"a", 1}, {"b", 0}});
    EXPECT_EQ(0u, append("b"));
    EXPECT_EQ(0u, append("other"));
    EXPECT_EQ(0u, history->head(0));
    EXPECT_EQ(0u, history->memory_bytes());
    EXPECT_FALSE(history->keeps("b"));
    EXPECT_TRUE(history->keeps("a"));
    begin({});
    EXPECT_EQ(0u, append("a"));
    EXPECT_FALSE(history->keeps("a"));
}

TEST_F(HistoryTest, offsets_count_in_each_partition) {
    begin_with(10);
    EXPECT_EQ(1u, history->append(0, "a", 0, "", 0));
    EXPECT_EQ(2u, history->append(0, "b", 0, "", 0));
    EXPECT_EQ(1u, history->append(7, "a", 0, "", 0));
    EXPECT_EQ(2u, history->head(0));
    EXPECT_EQ(1u, history->head(7));
    EXPECT_EQ(0u, history->head(63));
    EXPECT_EQ((Offsets{1}), offsets({"#"}, {.partition = 7}));
    EXPECT_EQ((Offsets{1}), offsets({"a"}, {.partition = 7}));
    EXPECT_EQ((Offsets{1}), offsets({"a"}));
    EXPECT_EQ((Offsets{}), offsets({"#"}, {.partition = 63}));
}

TEST_F(HistoryTest, messages_come_back_as_they_were_given) {
    begin_with(10);
    history->append(0, "a/b", 3, std::string_view("nul \0 inside", 12), 0);
    history->append(0, "a/b", 255, "", 0);
    const std::string large(100'000, 'l');
    history->append(0, "c", 0, large, 0);
    read({"#"}, {.payload_bytes_max = unlimited});
    ASSERT_EQ(3u, page.messages.size());
    EXPECT_EQ("a/b", page.messages[0].topic);
    EXPECT_EQ(3u, page.messages[0].kind);
    EXPECT_EQ(std::string_view("nul \0 inside", 12), page.messages[0].payload);
    EXPECT_EQ(255u, page.messages[1].kind);
    EXPECT_EQ("", page.messages[1].payload);
    EXPECT_EQ(large, page.messages[2].payload);
}

TEST_F(HistoryTest, a_topic_keeps_as_many_messages_as_its_rule_says) {
    begin_with(3);
    for (uint32_t count = 0; count < 3; ++count) append("a");
    EXPECT_EQ((Offsets{1, 2, 3}), offsets({"a"}));
    append("b");
    append("a");
    EXPECT_EQ((Offsets{2, 3, 5}), offsets({"a"}));
    EXPECT_EQ((Offsets{2, 3, 4, 5}), offsets({"#"}));
    EXPECT_EQ(4u, history->messages_count());
    EXPECT_EQ(2u, history->topics_count());
}

TEST_F(HistoryTest, a_topic_keeps_as_many_bytes_as_its_rule_says) {
    begin_with(unlimited, 10);
    append("a", "12345");
    append("a", "12345");
    EXPECT_EQ((Offsets{1, 2}), offsets({"a"}));
    append("a", "1");
    EXPECT_EQ((Offsets{2, 3}), offsets({"a"}));
    append("a", "1234567890");
    EXPECT_EQ((Offsets{4}), offsets({"a"}));
}

TEST_F(HistoryTest, what_is_larger_than_its_rule_allows_takes_an_offset_and_everything_with_it) {
    begin_with(unlimited, 10);
    append("a", "1");
    EXPECT_EQ(2u, append("a", "12345678901"));
    EXPECT_EQ((Offsets{}), offsets({"a"}));
    EXPECT_EQ(2u, page.floor);
    EXPECT_EQ(2u, page.upto);
    EXPECT_EQ(0u, history->topics_count());
    append("a", "1");
    EXPECT_EQ((Offsets{3}), offsets({"a"}));
}

TEST_F(HistoryTest, time_evicts_when_it_is_over_and_not_before) {
    begin_with(unlimited, unlimited, 100);
    EXPECT_EQ(unlimited, history->next_expiry_ns());
    append("a", "x", 1'000);
    append("b", "x", 1'050);
    append("a", "x", 1'060);
    EXPECT_EQ(1'100u, history->next_expiry_ns());
    history->expire(1'099, 10);
    EXPECT_EQ((Offsets{1, 2, 3}), offsets({"#"}));
    history->expire(1'100, 10);
    EXPECT_EQ((Offsets{2, 3}), offsets({"#"}));
    EXPECT_EQ(1'150u, history->next_expiry_ns());
    history->expire(5'000, 10);
    EXPECT_EQ((Offsets{}), offsets({"#"}));
    EXPECT_EQ(unlimited, history->next_expiry_ns());
    EXPECT_EQ(3u, page.floor);
}

TEST_F(HistoryTest, expire_does_no_more_than_it_may) {
    begin_with(unlimited, unlimited, 100);
    append("a");
    append("b");
    append("c");
    history->expire(100, 0);
    EXPECT_EQ(3u, history->messages_count());
    history->expire(100, 2);
    EXPECT_EQ(1u, history->messages_count());
    history->expire(100, 2);
    EXPECT_EQ(0u, history->messages_count());
    // A topic with many messages goes in steps too.
    for (uint32_t count = 0; count < 1'000; ++count) append("a", "x", 200);
    history->expire(300, 1);
    EXPECT_GT(history->messages_count(), 900u);
    for (uint32_t call = 0; call < 1'000 / 64; ++call) history->expire(300, 1);
    EXPECT_EQ(0u, history->messages_count());
}

TEST_F(HistoryTest, a_page_ends_at_its_limits) {
    begin_with(unlimited);
    for (uint32_t count = 0; count < 5; ++count) append("ab", "12345678");  // 10 bytes each
    append("c");
    EXPECT_EQ((Offsets{1, 2}), offsets({"+"}, {.messages_max = 2}));
    EXPECT_EQ(2u, page.upto);
    EXPECT_EQ((Offsets{1, 2, 3}), offsets({"+"}, {.payload_bytes_max = 30}));
    EXPECT_EQ(3u, page.upto);
    EXPECT_EQ((Offsets{1, 2}), offsets({"+"}, {.payload_bytes_max = 29}));
    EXPECT_EQ((Offsets{1}), offsets({"ab"}, {.payload_bytes_max = 0}));
    EXPECT_EQ(1u, page.upto);
    // Nothing of "ab" is left behind the fifth, so the page reaches to the head.
    EXPECT_EQ((Offsets{4, 5}), offsets({"ab"}, {.after = 3, .messages_max = 2}));
    EXPECT_EQ(6u, page.upto);
    EXPECT_EQ(6u, page.head);
}

TEST_F(HistoryTest, a_page_ends_at_until) {
    begin_with(unlimited);
    for (uint32_t count = 0; count < 5; ++count) append("a");
    for (const char* filter : {"a", "#"}) {
        EXPECT_EQ((Offsets{2, 3}), offsets({filter}, {.after = 1, .until = 3}));
        EXPECT_EQ(3u, page.upto);
        EXPECT_EQ((Offsets{}), offsets({filter}, {.after = 3, .until = 3}));
        EXPECT_EQ(3u, page.upto);
        EXPECT_EQ((Offsets{}), offsets({filter}, {.after = 4, .until = 3}));
        EXPECT_EQ(4u, page.upto);
        EXPECT_EQ((Offsets{}), offsets({filter}, {.after = 9}));
        EXPECT_EQ(9u, page.upto);
        EXPECT_EQ((Offsets{5}), offsets({filter}, {.after = 4, .until = 5}));
        EXPECT_EQ(5u, page.upto);
    }
}

TEST_F(HistoryTest, a_page_ends_when_it_has_looked_at_enough) {
    begin_with(unlimited, unlimited, unlimited, {.scan_steps_max = 3});
    for (uint32_t count = 0; count < 7; ++count) append("noise");
    append("a");
    EXPECT_EQ((Offsets{}), offsets({"a/#"}));
    EXPECT_EQ(3u, page.upto);
    EXPECT_EQ((Offsets{}), offsets({"a/#"}, {.after = 3}));
    EXPECT_EQ(6u, page.upto);
    EXPECT_EQ((Offsets{8}), offsets({"a/#"}, {.after = 6}));
    EXPECT_EQ(8u, page.upto);
    // A topic that is named is found without looking at others.
    EXPECT_EQ((Offsets{8}), offsets({"a"}));
    EXPECT_EQ((Offsets{1, 2, 3}), offsets({"noise", "a"}));
    EXPECT_EQ(3u, page.upto);
}

TEST_F(HistoryTest, named_topics_are_merged_by_offset_and_told_once) {
    begin_with(unlimited);
    for (const char* topic : {"c", "a", "b", "a", "c", "d", "a"}) append(topic);
    EXPECT_EQ((Offsets{1, 2, 4, 5, 7}), offsets({"a", "c", "a", "unheard"}));
    EXPECT_EQ((Offsets{1, 2, 4, 5, 7}), offsets({"a", "c", "a/#", "c"}));
    EXPECT_EQ((Offsets{}), offsets({"unheard"}));
    EXPECT_EQ(7u, page.upto);
}

TEST_F(HistoryTest, the_last_messages_of_each_topic) {
    begin_with(unlimited);
    for (const char* topic : {"a", "a", "b", "a", "c", "c", "a"}) append(topic);
    for (const char* filter : {"#", "+"}) {
        EXPECT_EQ((Offsets{3, 6, 7}), offsets({filter}, {.last = 1}));
        EXPECT_EQ((Offsets{3, 4, 5, 6, 7}), offsets({filter}, {.last = 2}));
        EXPECT_EQ((Offsets{5, 6, 7}), offsets({filter}, {.after = 4, .last = 2}));
    }
    EXPECT_EQ((Offsets{6, 7}), offsets({"a", "c"}, {.last = 1}));
    EXPECT_EQ((Offsets{2, 4, 7}), offsets({"a"}, {.last = 3}));
}

TEST_F(HistoryTest, the_last_messages_do_not_move_while_until_does_not) {
    begin_with(unlimited);
    for (uint32_t count = 0; count < 4; ++count) append("a");
    const History::Query newest = {.until = 4, .last = 3, .messages_max = 1};
    for (const char* filter : {"a", "#"}) {
        EXPECT_EQ((Offsets{2}), offsets({filter}, newest));
        append("a");
        append("a");
        History::Query next = newest;
        next.after = 2;
        EXPECT_EQ((Offsets{3}), offsets({filter}, next));
        next.after = 3;
        EXPECT_EQ((Offsets{4}), offsets({filter}, next));
        EXPECT_EQ(4u, page.upto);
    }
}

TEST_F(HistoryTest, a_floor_tells_what_was_lost) {
    begin_with(2);
    append("a");      // 1
    append("b");      // 2
    append("a");      // 3
    append("a");      // 4, evicts 1
    append("quiet");  // 5
    for (const char* filter : {"a", "a/#"}) {
        EXPECT_EQ(1u, read({filter}).floor);
        EXPECT_EQ((Indices{0}), page.filters_lost);
        EXPECT_LE(read({filter}, {.after = 1}).floor, 1u);
        EXPECT_EQ((Indices{}), page.filters_lost);
    }
    for (const char* filter : {"b", "b/#", "quiet/+", "unheard"}) {
        EXPECT_EQ(0u, read({filter}).floor);
        EXPECT_EQ((Indices{}), page.filters_lost);
    }
    EXPECT_EQ((Indices{1, 3}), read({"b", "a", "quiet", "+"}).filters_lost);
}

TEST_F(HistoryTest, a_loss_that_was_told_is_not_told_again) {
    begin_with(1);
    append("a");
    append("b");
    append("b");  // evicts 2
    append("a");  // evicts 1
    for (const char* other : {"b", "b/#"}) {
        EXPECT_EQ((Indices{0, 1}), read({"a", other}, {}, 0).filters_lost);
        EXPECT_EQ((Indices{1}), read({"a", other}, {}, 1).filters_lost);
        EXPECT_EQ((Indices{}), read({"a", other}, {}, 2).filters_lost);
        EXPECT_EQ(2u, page.floor);
        EXPECT_EQ((Indices{1}), read({"a", other}, {.after = 1}, 0).filters_lost);
    }
}

TEST_F(HistoryTest, only_losses_since_a_page_are_told_to_who_asks_so) {
    begin_with(1, unlimited, unlimited, {.tombstones_max = 1});
    EXPECT_EQ(0u, read({"#"}).evictions);
    append("a");
    append("a");  // evicts 1
    append("b");
    for (const char* filter : {"a", "a/#"}) {
        const uint64_t seen = read({filter}).evictions;
        EXPECT_GT(seen, 0u);
        EXPECT_EQ((Indices{0}), read({filter}, {.lost_since = seen - 1}).filters_lost);
        EXPECT_EQ((Indices{}), read({filter}, {.lost_since = seen}).filters_lost);
        EXPECT_EQ(1u, page.floor);
    }
    const uint64_t seen = page.evictions;
    append("b");  // evicts 3
    for (const char* b : {"b", "b/#"}) {
        EXPECT_EQ((Indices{1}), read({"a", b}, {.lost_since = seen}).filters_lost);
    }
    history->shorten(0, 1);  // "a" has gone, and is forgotten after "b"
    const uint64_t emptied = read({"#"}).evictions;
    history->shorten(0, 1);
    for (const char* other : {"unheard", "unheard/#"}) {
        EXPECT_EQ((Indices{0}), read({other}, {.lost_since = seen}).filters_lost);
        EXPECT_EQ((Indices{}), read({other}, {.lost_since = emptied}).filters_lost);
        EXPECT_EQ(2u, page.floor);
    }
}

// The topic's next message lies beyond the page, its loss inside of it.
TEST_F(HistoryTest, a_floor_is_seen_though_its_topic_comes_later) {
    begin_with(1);
    append("noise1");
    append("a");
    append("noise2");
    append("noise3");
    append("a");  // evicts 2
    EXPECT_EQ((Offsets{1}), offsets({"+"}, {.messages_max = 1}));
    EXPECT_EQ(2u, page.floor);
    EXPECT_EQ((Offsets{3}), offsets({"+", "x"}, {.after = 1, .messages_max = 1}));
    EXPECT_EQ(2u, page.floor);
    EXPECT_EQ((Indices{0}), page.filters_lost);
}

TEST_F(HistoryTest, floors_are_exact_however_many_were_evicted) {
    begin_with(20);
    for (uint32_t count = 0; count < 100; ++count) {
        append("a");
        append("b");
        if (count >= 20) {
            // The twenty newest are kept of each: every second offset.
            const uint64_t floor = 2 * (count - 19) - 1;
            EXPECT_EQ(floor, read({"a/#"}).floor);
            EXPECT_EQ(floor + 1, read({"#"}).floor);
            EXPECT_EQ(floor + 1, read({"#"}, {.after = floor}).floor);
            EXPECT_EQ((Indices{0}), page.filters_lost);
            EXPECT_LE(read({"a/#"}, {.after = floor}).floor, floor);
            EXPECT_EQ((Indices{}), page.filters_lost);
        }
    }
}

TEST_F(HistoryTest, who_wants_the_newest_and_gets_them_has_lost_nothing) {
    begin_with(2);
    for (uint32_t count = 0; count < 5; ++count) append("a");  // keeps 4 and 5
    for (const char* filter : {"a", "#"}) {
        EXPECT_EQ(0u, read({filter}, {.last = 2}).floor);
        EXPECT_EQ((Indices{}), page.filters_lost);
        EXPECT_EQ(3u, read({filter}, {.last = 3}).floor);
        EXPECT_EQ((Indices{0}), page.filters_lost);
        EXPECT_EQ(3u, read({filter}, {.until = 4, .last = 2}).floor);
    }
}

TEST_F(HistoryTest, a_floor_that_takes_too_long_to_know_may_be_too_high) {
    History::Options options = {.scan_steps_max = 3};
    begin_with(1, unlimited, unlimited, options);
    append("a");
    append("a");  // evicts 1
    for (const char* topic : {"b", "c"}) {
        append(topic);
        append(topic);
    }
    EXPECT_EQ(1u, read({"a/#"}).floor);
    EXPECT_EQ((Indices{0}), page.filters_lost);
    append("d");
    append("d");
    EXPECT_GE(read({"a/#"}).floor, 1u);
    EXPECT_EQ((Indices{0, 1}), read({"a/#", "unheard/#"}).filters_lost);
    EXPECT_EQ((Indices{}), read({"unheard/#"}, {.after = 7}).filters_lost);
    // A topic that is named is always known.
    EXPECT_EQ(1u, read({"a"}).floor);
    EXPECT_EQ(0u, read({"unheard"}).floor);
}

TEST_F(HistoryTest, topics_without_messages_are_remembered_until_they_are_too_many) {
    begin_with(unlimited, 0, unlimited, {.tombstones_max = 2});
    append("a");  // every message is too large, so it leaves a tombstone
    append("b");
    EXPECT_EQ(1u, read({"a"}).floor);
    EXPECT_EQ(0u, read({"unheard"}).floor);
    append("a");  // now emptied later than "b"
    append("c");  // pushes out "b", whose floor is 2
    EXPECT_EQ(2u, read({"unheard"}).floor);
    EXPECT_EQ((Indices{0, 1}), read({"unheard", "x/#"}).filters_lost);
    EXPECT_EQ((Indices{}), read({"unheard", "x/#"}, {.after = 2}).filters_lost);
    EXPECT_EQ(3u, read({"a"}).floor);
    // What is forgotten in one partition is nothing to another one.
    history->append(1, "d", 0, "", 0);
    EXPECT_EQ(0u, read({"unheard"}, {.partition = 1}).floor);
}

TEST_F(HistoryTest, a_topic_that_comes_back_is_no_tombstone) {
    begin_with(unlimited, unlimited, 100, {.tombstones_max = 1});
    append("a", "x", 0);
    history->expire(100, 10);
    append("a", "x", 100);
    append("b", "x", 100);
    history->expire(150, 10);
    EXPECT_EQ((Offsets{2, 3}), offsets({"#"}));
    EXPECT_EQ(1u, read({"a"}).floor);
    EXPECT_EQ(0u, read({"b"}).floor);
    EXPECT_EQ(0u, read({"unheard"}).floor);
}

TEST_F(HistoryTest, shorten_takes_the_oldest_of_the_largest_in_turn) {
    begin_with(unlimited);
    const std::string large(1'000, 'l');
    append("small", "s");
    for (uint32_t count = 0; count < 4; ++count) {
        append("a", large);
        append("b", large);
    }
    EXPECT_EQ((Offsets{1, 2, 3, 4, 5, 6, 7, 8, 9}), offsets({"#"}));
    history->shorten(0, 1);
    EXPECT_EQ((Offsets{1, 3, 4, 5, 6, 7, 8, 9}), offsets({"#"}));
    history->shorten(0, 1);
    EXPECT_EQ((Offsets{1, 4, 5, 6, 7, 8, 9}), offsets({"#"}));
    history->shorten(0, 2);
    EXPECT_EQ((Offsets{1, 6, 7, 8, 9}), offsets({"#"}));
    history->shorten(0, 2);
    EXPECT_EQ((Offsets{1, 8, 9}), offsets({"#"}));
    EXPECT_EQ(7u, read({"b"}).floor);
    EXPECT_EQ(0u, read({"small"}).floor);
}

TEST_F(HistoryTest, shorten_stops_when_the_budget_is_kept) {
    begin_with(unlimited);
    for (uint32_t count = 0; count < 100; ++count) append("a", "0123456789");
    const uint64_t bytes = history->memory_bytes();
    history->shorten(bytes, 100);
    EXPECT_EQ(100u, history->messages_count());
    history->shorten(bytes - 1, 100);
    EXPECT_EQ(99u, history->messages_count());
    EXPECT_LT(history->memory_bytes(), bytes);
    history->shorten(bytes - 1, 0);
    EXPECT_EQ(99u, history->messages_count());
    history->shorten(0, 1'000);
    EXPECT_EQ(0u, history->messages_count());
}

TEST_F(HistoryTest, topics_without_messages_leave_the_budget_to_others) {
    begin_with(unlimited, unlimited, 100);
    const std::string end(80, 't');
    for (uint32_t count = 0; count < 70'000; ++count) append(std::to_string(count) + end, "", 0);
    history->expire(100, UINT32_MAX);
    EXPECT_EQ(0u, history->messages_count());
    constexpr uint64_t budget_bytes = 8 * 1024 * 1024;
    EXPECT_GT(history->memory_bytes(), budget_bytes);
    for (uint32_t count = 0; count < 1'000; ++count) {
        append("kept", std::string(1'000, 'x'), 100);
        history->shorten(budget_bytes, 4'096);
    }
    EXPECT_EQ(1'000u, history->messages_count());
    EXPECT_LE(history->memory_bytes(), budget_bytes);
}

TEST_F(HistoryTest, memory_is_given_back) {
    begin_with(50, unlimited, 1'000, {.tombstones_max = 0});
    for (uint32_t count = 0; count < 10'000; ++count) {
        const std::string topic = "topic/" + std::to_string(count % 97);
        history->append(count % 64, topic, 0, std::string(count % 301, 'x'), 0);
    }
    EXPECT_GT(history->memory_bytes(), 10'000u * 150);
    history->shorten(0, 10'000);
    EXPECT_EQ(0u, history->messages_count());
    EXPECT_EQ(0u, history->memory_bytes());
}

// What a clean stop writes, and what a start makes of it.
struct State : History::Saver {
    void partition(uint32_t index, uint64_t head, uint64_t forgotten_floor) override {
        text += "p" + std::to_string(index) + ":" + std::to_string(head) + ":" +
                std::to_string(forgotten_floor) + " ";
    }
    void topic(uint32_t index, std::string_view topic, uint64_t floor) override {
        text += "t" + std::to_string(index) + ":" + std::string(topic) + ":" +
                std::to_string(floor) + " ";
    }
    void message(uint32_t index, const History::Message& message, uint64_t age_ns) override {
        text += "m" + std::to_string(index) + ":" + std::to_string(message.offset) + ":" +
                std::string(message.topic) + ":" + std::to_string(message.kind) + ":" +
                std::string(message.payload) + ":" + std::to_string(age_ns) + " ";
    }
    std::string text;
};

TEST_F(HistoryTest, saves_heads_then_topics_then_messages) {
    begin({{"ttl", 10, unlimited, 50}, {"#", 2}}, {.tombstones_max = 1});
    append("ttl", "gone", 0);
    append("a", "1", 10);
    append("b", "2", 20);
    append("a", "3", 30);
    append("a", "4", 40);
    history->append(5, "c", 9, "5", 60);
    history->expire(60, 10);
    State state;
    history->save(state, 100);
    EXPECT_EQ(
        "p0:5:0 t0:ttl:1 t0:b:0 t0:a:2 m0:3:b:0:2:80 m0:4:a:0:3:70 m0:5:a:0:4:60 "
        "p5:1:0 t5:c:0 m5:1:c:9:5:40 ",
        state.text);
}

TEST_F(HistoryTest, goes_on_after_a_restart) {
    begin({{"#", 2, unlimited, 100}});
    ASSERT_TRUE(history->restore_partition(0, 10, 3));
    ASSERT_TRUE(history->restore_topic(0, "a", 5));
    ASSERT_TRUE(history->restore_topic(0, "gone", 8));
    ASSERT_TRUE(history->restore_topic(0, "b", 0));
    ASSERT_TRUE(history->restore_message(0, {6, "a", 1, "six"}, 90, 20));
    ASSERT_TRUE(history->restore_message(0, {7, "b", 0, "seven"}, 30, 20));
    ASSERT_TRUE(history->restore_message(0, {10, "a", 0, "ten"}, 0, 20));
    EXPECT_EQ(10u, history->head(0));
    EXPECT_EQ((Offsets{6, 7, 10}), offsets({"#"}));
    EXPECT_EQ("six", page.messages[0].payload);
    EXPECT_EQ(1u, page.messages[0].kind);
    EXPECT_EQ(8u, page.floor);
    EXPECT_EQ(5u, read({"a"}).floor);
    EXPECT_EQ(3u, read({"b"}).floor);
    // Its age goes on: 90 of 100 were over.
    history->expire(29, 10);
    EXPECT_EQ(3u, history->messages_count());
    history->expire(30, 10);
    EXPECT_EQ((Offsets{7, 10}), offsets({"#"}));
    EXPECT_EQ(11u, append("a", "x", 30));
    EXPECT_EQ(12u, append("a", "x", 30));
    EXPECT_EQ((Offsets{7, 11, 12}), offsets({"#"}));
    EXPECT_EQ(1u, history->append(1, "c", 0, "", 30));
}

TEST_F(HistoryTest, what_no_rule_keeps_any_more_is_dropped_and_the_floors_tell) {
    begin({{"few", 1}, {"dropped", 0}, {"#", 10}});
    ASSERT_TRUE(history->restore_partition(0, 10, 0));
    ASSERT_TRUE(history->restore_topic(0, "dropped", 2));
    EXPECT_EQ(2u, read({"other"}).floor);
    ASSERT_TRUE(history->restore_topic(0, "few", 0));
    ASSERT_TRUE(history->restore_message(0, {4, "few", 0, ""}, 0, 0));
    ASSERT_TRUE(history->restore_message(0, {5, "dropped", 0, ""}, 0, 0));
    ASSERT_TRUE(history->restore_message(0, {6, "few", 0, ""}, 0, 0));
    EXPECT_EQ((Offsets{6}), offsets({"#"}));
    EXPECT_EQ(5u, page.floor);
    EXPECT_EQ(5u, read({"other"}).floor);
    EXPECT_EQ(5u, read({"few"}).floor);
}

TEST_F(HistoryTest, data_that_contradict_themselves_are_refused) {
    const History::Options options = {.partitions_count = 2};
    begin({{"#", 10}}, options);
    EXPECT_FALSE(history->restore_partition(2, 10, 0));
    EXPECT_FALSE(history->restore_partition(0, 10, 11));
    EXPECT_FALSE(history->restore_partition(0, uint64_t{1} << 55, 0));
    EXPECT_TRUE(history->restore_partition(1, (uint64_t{1} << 55) - 1, 0));
    EXPECT_FALSE(history->restore_topic(0, "a", 0)) << "no such partition";
    EXPECT_FALSE(history->restore_message(0, {1, "a", 0, ""}, 0, 0));
    ASSERT_TRUE(history->restore_partition(0, 10, 10));
    EXPECT_FALSE(history->restore_partition(0, 10, 10)) << "twice";
    EXPECT_FALSE(history->restore_topic(2, "a", 0));
    EXPECT_FALSE(history->restore_topic(0, "a", 11)) << "a floor above the head";
    EXPECT_FALSE(history->restore_topic(0, "a/+", 0)) << "no topic";
    EXPECT_FALSE(history->restore_topic(0, "", 0));
    ASSERT_TRUE(history->restore_topic(0, "a", 3));
    EXPECT_FALSE(history->restore_topic(0, "a", 3)) << "twice";
    EXPECT_FALSE(history->restore_message(2, {4, "a", 0, ""}, 0, 0));
    EXPECT_FALSE(history->restore_message(0, {3, "a", 0, ""}, 0, 0)) << "at its floor";
    ASSERT_TRUE(history->restore_message(0, {4, "a", 0, ""}, 0, 0));
    EXPECT_FALSE(history->restore_message(0, {4, "a", 0, ""}, 0, 0)) << "not rising";
    EXPECT_FALSE(history->restore_message(0, {5, "b", 0, ""}, 0, 0)) << "an unknown topic";
    EXPECT_FALSE(history->restore_message(0, {11, "a", 0, ""}, 0, 0)) << "above the head";
    ASSERT_TRUE(history->restore_message(0, {10, "a", 0, ""}, 0, 0));
    begin({{"a", 10}}, options);
    ASSERT_TRUE(history->restore_partition(1, 10, 0));
    EXPECT_FALSE(history->restore_message(1, {1, "no/+", 0, ""}, 0, 0)) << "no topic";
    EXPECT_TRUE(history->restore_message(1, {2, "other", 0, ""}, 0, 0));
}

TEST_F(HistoryTest, ages_beyond_all_measure_do_not_overflow) {
    begin({{"old", 10, unlimited, 1'000}, {"#", 10, unlimited, unlimited - 1}});
    ASSERT_TRUE(history->restore_partition(0, 10, 0));
    ASSERT_TRUE(history->restore_topic(0, "old", 0));
    ASSERT_TRUE(history->restore_topic(0, "ever", 0));
    ASSERT_TRUE(history->restore_message(0, {1, "old", 0, ""}, unlimited, 0));
    ASSERT_TRUE(history->restore_message(0, {2, "ever", 0, ""}, unlimited, 0));
    EXPECT_EQ(0u, history->next_expiry_ns());
    history->expire(unlimited, 10);
    EXPECT_EQ((Offsets{2}), offsets({"#"}));
    EXPECT_EQ(unlimited, history->next_expiry_ns());
}

}  // namespace
}  // namespace topics
