#include "broker/pages.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "tests/broker/reactor_fake.h"
#include "tests/broker/shard_world.h"

namespace broker {
namespace {

using testing::message_text;
using Asked = Pages::Asked;

constexpr uint64_t lane_bytes = 64 * base::kib;
constexpr uint32_t own = 0;  // a partition of this shard
constexpr uint32_t far = 1;  // of the other one
constexpr uint32_t bytes_max = Pages::payload_bytes_max;
constexpr uint64_t newest_lag_max = 5;

// Shard 0's pages; the test plays shard 1.
class PagesTest : public ::testing::Test {
  protected:
    PagesTest()
        : mesh_({.shards_count = 2, .deliver_bytes = lane_bytes, .forward_bytes = lane_bytes}),
          reactor_(testing::make_fake_reactor()),
          courier_(0, mesh_, *reactor_, lane_bytes, 64),
          rules_({{.match = "#", .history_messages_max = 1'000'000}}),
          history_(rules_, {}),
          compression_(settings_, 2, metrics()),
          outbox_(*reactor_, connections_, compression_, metrics(), settings_),
          pages_(std::make_unique<Pages>(courier_, partitions_, heads_, history_, lists_, outbox_,
                                         metrics(), newest_lag_max)),
          list_(acquire({"a", "b"})) {}
    ~PagesTest() override {
        pages_.reset();
        EXPECT_EQ(lists_.count(), 1u) << "what pages held is given back";
        lists_.release(list_);
        asked();  // a long list of filters travels as a gift
    }

    FilterLists::Id acquire(const std::vector<std::string_view>& filters) {
        return lists_.acquire(filters);
    }
    ShardMetrics& metrics() { return registry_.shard(0); }
    Pages::Key key(uint32_t partition) const { return {.list = list_, .partition = partition}; }
    void append(std::string_view topic, std::string_view payload) {
        history_.append(own, topic, static_cast<uint8_t>(codec::PayloadKind::json), payload,
                        now_ns_);
    }
    Pages::Page* find(const Pages::Key& key, uint64_t after) {
        return pages_->find(key, {.after = after});
    }
    Asked ask(const Pages::Key& key, uint64_t after, uint32_t waiter = 0) {
        return pages_->ask(key, {.after = after}, bytes_max, {{waiter, 1}, 1, key.partition},
                           now_ns_);
    }
    static std::string bytes_of(const Range& range) {
        return {reinterpret_cast<const char*>(range.data()), range.size()};
    }

    struct Request {
        uint32_t number;
        uint64_t after;
        uint32_t last;
        uint64_t until;
        uint64_t lost_above;
        uint64_t lost_since;
        uint32_t payload_bytes_max;
        std::vector<std::string> filters;
    };
    // What the other shard was asked since the last call.
    std::vector<Request> asked() {
        courier_.flush();
        std::vector<Request> requests;
        io::Lane& lane = mesh_.forward(0, 1);
        while (!lane.front().empty()) {
            const Record record = CrossCore::decode(lane.front());
            EXPECT_EQ(record.type, RecordType::history_read);
            EXPECT_FALSE(HistoryTokens::is_reply(record.token));
            const HistoryRequest& request = record.request;
            requests.push_back({HistoryTokens::number_of(record.token),
                                request.after,
                                request.last,
                                request.until,
                                request.lost_above,
                                request.lost_since,
                                request.payload_bytes_max,
                                {request.filters.begin(), request.filters.end()}});
            lane.pop();
        }
        return requests;
    }
    // A page of the other shard, with these offsets of topic "a"; the waiters.
    std::vector<uint32_t> answer(uint32_t number, const std::vector<uint64_t>& offsets,
                                 uint64_t upto, uint64_t head) {
        for (const uint64_t offset : offsets) {
            pages_->on_message(number, {.topic = "a",
                                        .payload = {codec::PayloadKind::json, "1"},
                                        .position = {far, offset}});
        }
        std::vector<Pages::Waiter> waiters;
        pages_->on_end(number,
                       {.partition = far,
                        .upto = upto,
                        .head = head,
                        .floor = 7,
                        .evictions = 9,
                        .filters_lost = {1}},
                       now_ns_, waiters);
        std::vector<uint32_t> indices;
        for (const Pages::Waiter& waiter : waiters) {
            EXPECT_EQ(waiter.partition, far);
            indices.push_back(waiter.slot.index);
        }
        return indices;
    }

    Settings settings_;
    MetricsRegistry registry_{2, "test"};
    io::Mesh mesh_;
    std::unique_ptr<io::Reactor> reactor_;
    Courier courier_;
    const Partitions partitions_{64, 2, 42};
    Heads heads_{partitions_, 0};
    const topics::TopicRules rules_;
    topics::History history_;
    FilterLists lists_;
    base::Slab<Connection> connections_{16};
    Compression compression_;
    Outbox outbox_;
    std::unique_ptr<Pages> pages_;
    const FilterLists::Id list_;
    uint64_t now_ns_ = 1'000 * base::ns_per_s;
};

// --- of our own history

TEST_F(PagesTest, APageHoldsTheFramesOfItsMessages) {
    append("a", "1");
    append("other", "2");
    append("b", "\"" + std::string(200, 'x') + "\"");
    EXPECT_EQ(find(key(own), 0), nullptr);
    ASSERT_EQ(ask(key(own), 0), Asked::read);
    Pages::Page* const page = find(key(own), 0);
    ASSERT_NE(page, nullptr);
    EXPECT_EQ(page->upto, 3u);
    EXPECT_EQ(page->head, 3u);
    EXPECT_EQ(page->floor, 0u);
    ASSERT_EQ(page->entries.size(), 2u);
    EXPECT_EQ(page->entries[0].offset, 1u);
    EXPECT_EQ(page->entries[1].offset, 3u);
    EXPECT_EQ(page->topic(0), "a");
    EXPECT_EQ(page->topic(1), "b");
    const std::string first = message_text("a", "0:1", "\"data\":1");
    const std::string second =
        message_text("b", "0:3", "\"data\":\"" + std::string(200, 'x') + "\"");
    const std::string plain = bytes_of(page->plain);
    ASSERT_EQ(plain.size(), 2 + first.size() + 4 + second.size()) << "short and long headers";
    EXPECT_EQ(plain.substr(2, first.size()), first);
    EXPECT_EQ(page->entries[0].json_begin, 2u);
    EXPECT_EQ(page->entries[0].plain_end, 2 + first.size());
    EXPECT_EQ(plain.substr(page->entries[1].json_begin), second);
    EXPECT_EQ(page->entries[1].plain_end, plain.size());
    EXPECT_EQ(page->message_bytes_most, second.size());
    EXPECT_EQ(metrics().get(Metric::history_pages_total), 1u);
    EXPECT_TRUE(asked().empty()) << "nobody else was asked";
}

TEST_F(PagesTest, APageServesWhoeverStandsInItsInterval) {
    for (int count = 0; count < 10; ++count) append("a", "1");
    ASSERT_EQ(ask(key(own), 4), Asked::read);
    EXPECT_EQ(find(key(own), 3), nullptr) << "the fourth is not in it";
    EXPECT_NE(find(key(own), 4), nullptr);
    EXPECT_NE(find(key(own), 9), nullptr);
    EXPECT_EQ(find(key(own), 10), nullptr) << "it says nothing of what follows";
    append("a", "1");
    EXPECT_EQ(find(key(own), 10), nullptr);
}

TEST_F(PagesTest, APageWithoutMatchesSaysThatThereAreNone) {
    append("other", "1");
    ASSERT_EQ(ask(key(own), 0), Asked::read);
    Pages::Page* const page = find(key(own), 0);
    ASSERT_NE(page, nullptr);
    EXPECT_TRUE(page->entries.empty());
    EXPECT_EQ(page->plain.chunk, nullptr);
    EXPECT_EQ(page->upto, 1u);
    pages_->compress(*page);
    EXPECT_EQ(page->compressed.chunk, nullptr);
}

TEST_F(PagesTest, PagesAreOfOneListPartitionAndNumberOfNewest) {
    for (int count = 0; count < 4; ++count) append("a", "1");
    ASSERT_EQ(ask(key(own), 0), Asked::read);
    const auto other = acquire({"b", "a"});
    EXPECT_EQ(find({.list = other, .partition = own}, 0), nullptr);
    EXPECT_EQ(find({.list = list_, .partition = 2}, 0), nullptr);
    EXPECT_EQ(find({.list = list_, .partition = own, .last = 1, .until = 4}, 0), nullptr);
    EXPECT_NE(find(key(own), 0), nullptr);
    lists_.release(other);
}

TEST_F(PagesTest, TheNewestAreSharedByThoseWhoBeginALittleLater) {
    for (int count = 0; count < 4; ++count) append("a", "1");
    const Pages::Key early{.list = list_, .partition = own, .last = 2, .until = 4};
    ASSERT_EQ(ask(early, 0), Asked::read);
    Pages::Page* const page = find(early, 0);
    ASSERT_NE(page, nullptr);
    ASSERT_EQ(page->entries.size(), 2u);
    EXPECT_EQ(page->entries[0].offset, 3u);
    const auto with = [&](uint32_t last, uint64_t until) {
        return Pages::Key{.list = list_, .partition = own, .last = last, .until = until};
    };
    EXPECT_EQ(find(with(2, 9), 0), page) << "who begins goes on from its end";
    EXPECT_EQ(find(with(2, 10), 0), nullptr) << "some that came since may be lost already";
    EXPECT_EQ(find(with(2, 9), 3), nullptr) << "who is in the middle of something else cannot";
    EXPECT_EQ(find(with(2, 4), 3), page) << "nothing was lost";
    EXPECT_EQ(find(with(2, 4), 0), page);
    EXPECT_EQ(find(with(2, 3), 0), nullptr) << "it would get more than it asked for";
    EXPECT_EQ(find(with(3, 9), 0), nullptr);
}

TEST_F(PagesTest, ThePageOfABeginningIsSilentAboutWhatWasLostBefore) {
    for (int count = 0; count < 4; ++count) append("a", "1");
    history_.shorten(0, 1);
    const Pages::Key newest{.list = list_, .partition = own, .last = 3, .until = 4};
    ASSERT_EQ(ask(newest, 0), Asked::read);
    Pages::Page* const page = pages_->find(newest, {});
    ASSERT_NE(page, nullptr);
    EXPECT_GT(page->evictions, 0u);
    EXPECT_EQ(pages_->find(newest, {.after = 2}), nullptr);
    EXPECT_EQ(pages_->find(newest, {.after = 2, .lost_since = page->evictions}), page);
}

TEST_F(PagesTest, APageThatIsSilentAboutLossesIsForThoseWhoKnowOfThem) {
    ASSERT_EQ(
        pages_->ask(key(far), {.after = 1, .lost_since = 5}, bytes_max, {{0, 1}, 1, far}, now_ns_),
        Asked::pending);
    answer(asked().at(0).number, {2, 3}, 3, 3);
    EXPECT_EQ(pages_->find(key(far), {.after = 1, .lost_since = 4}), nullptr);
    EXPECT_NE(pages_->find(key(far), {.after = 1, .lost_since = 5}), nullptr);
    EXPECT_NE(pages_->find(key(far), {.after = 1, .lost_since = 9}), nullptr);
}

// Seed 8660 of the simulator: the reader got a message from before the loss that it had been told
// of, and then missed others without a word.
TEST_F(PagesTest, WhoWasToldOfALossDoesNotGoBackToBeforeIt) {
    ASSERT_EQ(ask(key(far), 1), Asked::pending);
    answer(asked().at(0).number, {2, 3}, 3, 3);
    ASSERT_NE(find(key(far), 1), nullptr);
    const uint64_t evictions = find(key(far), 1)->evictions;
    EXPECT_NE(pages_->find(key(far), {.after = 1, .lost_since = evictions}), nullptr);
    EXPECT_EQ(pages_->find(key(far), {.after = 1, .lost_since = evictions + 1}), nullptr);
}

TEST_F(PagesTest, TheLastPageOfAPlaceIsPreferred) {
    append("a", "1");
    ASSERT_EQ(ask(key(own), 0), Asked::read);
    append("a", "2");
    ASSERT_EQ(ask(key(own), 0), Asked::read);
    EXPECT_EQ(find(key(own), 0)->entries.size(), 2u);
}

TEST_F(PagesTest, AsMuchAsWasAskedForAndAtLeastOneMessage) {
    for (int count = 0; count < 4; ++count) append("a", "\"" + std::string(100, 'x') + "\"");
    ASSERT_EQ(pages_->ask(key(own), {}, 1, {}, now_ns_), Asked::read);
    Pages::Page* const page = find(key(own), 0);
    ASSERT_NE(page, nullptr);
    EXPECT_EQ(page->entries.size(), 1u);
    EXPECT_EQ(page->upto, 1u);
    EXPECT_EQ(page->head, 4u);
}

// --- how long they stay

TEST_F(PagesTest, AnOldPageGoes) {
    append("a", "1");
    ASSERT_EQ(ask(key(own), 0), Asked::read);
    now_ns_ += Pages::age_ns_max;
    pages_->trim(now_ns_);
    EXPECT_FALSE(pages_->is_empty());
    EXPECT_NE(find(key(own), 0), nullptr);
    now_ns_ += 1;
    pages_->trim(now_ns_);
    EXPECT_EQ(find(key(own), 0), nullptr);
    EXPECT_TRUE(pages_->is_empty());
    EXPECT_EQ(lists_.count(), 1u);
}

TEST_F(PagesTest, TheOldestGoWhenTheyAreTooMuch) {
    const std::string payload = "\"" + std::string(30'000, 'x') + "\"";
    constexpr uint64_t fitting = Pages::memory_bytes_max / 30'500;
    for (uint64_t offset = 1; offset <= fitting + 20; ++offset) {
        append("a", payload);
        ASSERT_EQ(ask(key(own), offset - 1), Asked::read);
        pages_->trim(now_ns_);
    }
    EXPECT_EQ(find(key(own), 0), nullptr);
    EXPECT_EQ(find(key(own), 9), nullptr);
    EXPECT_NE(find(key(own), 30), nullptr);
    EXPECT_NE(find(key(own), fitting + 19), nullptr);
}

TEST_F(PagesTest, ARangeInAQueueOutlivesItsPage) {
    append("a", "1");
    ASSERT_EQ(ask(key(own), 0), Asked::read);
    const Range range = find(key(own), 0)->plain;
    ChunkPool::retain(range);
    const std::string before = bytes_of(range);
    pages_->trim(now_ns_ + Pages::age_ns_max + 1);
    ASSERT_TRUE(pages_->is_empty());
    EXPECT_EQ(bytes_of(range), before);
    outbox_.release(range);
}

// --- compressed

TEST_F(PagesTest, WhatIsWorthItIsCompressedOnce) {
    append("a", "\"" + std::string(1'000, 'x') + "\"");
    append("a", "1");
    append("b", "\"" + std::string(2'000, 'y') + "\"");
    ASSERT_EQ(ask(key(own), 0), Asked::read);
    Pages::Page* const page = find(key(own), 0);
    const uint64_t before = page->memory_bytes();
    pages_->compress(*page);
    EXPECT_EQ(metrics().get(Metric::messages_compressed_total), 2u);
    EXPECT_GT(page->memory_bytes(), before) << "it counts";
    const std::string compressed = bytes_of(page->compressed);
    const std::string plain = bytes_of(page->plain);
    EXPECT_LT(compressed.size(), 300u);
    ASSERT_EQ(page->entries.size(), 3u);
    EXPECT_EQ(page->entries[2].compressed_end, compressed.size());
    EXPECT_EQ(compressed[0] & 0x40, 0x40) << "RSV1";
    const auto& entries = page->entries;
    EXPECT_EQ(compressed.substr(entries[0].compressed_end,
                                entries[1].compressed_end - entries[0].compressed_end),
              plain.substr(entries[0].plain_end, entries[1].plain_end - entries[0].plain_end))
        << "the short one stays as it is";
    pages_->compress(*page);
    EXPECT_EQ(metrics().get(Metric::messages_compressed_total), 2u);
}

// --- of another shard

TEST_F(PagesTest, AnotherShardIsAskedAndItsAnswerIsAPage) {
    const Pages::Key newest{.list = list_, .partition = far, .last = 5, .until = 40};
    ASSERT_EQ(pages_->ask(newest, {.after = 10, .lost_since = 8}, 1'234, {{3, 1}, 1, far}, now_ns_),
              Asked::pending);
    const std::vector<Request> requests = asked();
    ASSERT_EQ(requests.size(), 1u);
    EXPECT_EQ(requests[0].after, 10u);
    EXPECT_EQ(requests[0].last, 5u);
    EXPECT_EQ(requests[0].until, 40u);
    EXPECT_EQ(requests[0].lost_above, 10u);
    EXPECT_EQ(requests[0].lost_since, 8u);
    EXPECT_EQ(requests[0].payload_bytes_max, 1'234u);
    EXPECT_EQ(requests[0].filters, (std::vector<std::string>{"a", "b"}));
    const Pages::Place place{.after = 10, .lost_since = 8};
    EXPECT_EQ(pages_->find(newest, place), nullptr);
    EXPECT_EQ(answer(requests[0].number, {12, 15}, 40, 50), std::vector<uint32_t>{3});
    EXPECT_EQ(heads_.of(far), 50u);
    Pages::Page* const page = pages_->find(newest, place);
    ASSERT_NE(page, nullptr);
    EXPECT_EQ(page->upto, 40u);
    EXPECT_EQ(page->head, 50u);
    EXPECT_EQ(page->floor, 7u);
    EXPECT_EQ(page->evictions, 9u);
    EXPECT_EQ(page->filters_lost, std::vector<uint32_t>{1});
    ASSERT_EQ(page->entries.size(), 2u);
    EXPECT_EQ(bytes_of(page->plain).substr(2, page->entries[0].plain_end - 2),
              message_text("a", "1:12", "\"data\":1"));
}

TEST_F(PagesTest, ReadersNearEachOtherWaitForOneAnswer) {
    EXPECT_EQ(ask(key(far), 100, 1), Asked::pending);
    EXPECT_EQ(ask(key(far), 100, 2), Asked::pending);
    EXPECT_EQ(ask(key(far), 356, 3), Asked::pending);
    EXPECT_EQ(asked().size(), 1u);
    EXPECT_EQ(ask(key(far), 357, 4), Asked::pending) << "too far behind it";
    EXPECT_EQ(ask(key(far), 99, 5), Asked::pending) << "the answer would begin too late";
    EXPECT_EQ(ask({.list = list_, .partition = far + 2}, 100, 6), Asked::pending);
    EXPECT_EQ(ask({.list = list_, .partition = far, .last = 1, .until = 400}, 100, 7),
              Asked::pending);
    EXPECT_EQ(ask({.list = list_, .partition = far, .last = 1, .until = 401}, 100, 8),
              Asked::pending);
    const std::vector<Request> requests = asked();
    EXPECT_EQ(requests.size(), 5u);
    EXPECT_EQ(answer(0, {}, 400, 400), (std::vector<uint32_t>{1, 2, 3}));
    EXPECT_EQ(answer(requests[0].number, {}, 400, 400), std::vector<uint32_t>{4});
    EXPECT_EQ(answer(requests[1].number, {}, 400, 400), std::vector<uint32_t>{5});
}

TEST_F(PagesTest, AFullLaneTakesNoRequest) {
    std::string name(500, 'f');
    std::vector<std::string_view> filters(10, name);
    const auto large = lists_.acquire(filters);
    uint32_t count = 0;
    while (ask({.list = large, .partition = far}, 1'000 * uint64_t{count}) == Asked::pending) {
        ++count;
        ASSERT_LT(count, Pages::reads_in_flight_max) << "the lane was never full";
    }
    EXPECT_GT(count, 5u);
    EXPECT_EQ(asked().size(), count);
    EXPECT_EQ(ask({.list = large, .partition = far}, 1'000'000), Asked::pending) << "room again";
    lists_.release(large);
}

TEST_F(PagesTest, ReadsInFlightAreLimited) {
    for (uint32_t count = 0; count < Pages::reads_in_flight_max; ++count) {
        ASSERT_EQ(ask(key(far), 1'000 * uint64_t{count}, count), Asked::pending);
    }
    EXPECT_EQ(ask(key(far), 1'000'000), Asked::no_room);
    EXPECT_EQ(ask(key(far), 0, 99), Asked::pending) << "who can wait for one of them may";
    append("a", "1");
    EXPECT_EQ(ask(key(own), 0), Asked::read) << "our own history is not concerned";
    const std::vector<Request> requests = asked();
    ASSERT_EQ(requests.size(), Pages::reads_in_flight_max);
    EXPECT_EQ(answer(requests[0].number, {1}, 9, 9), (std::vector<uint32_t>{0, 99}));
    EXPECT_EQ(ask(key(far), 1'000'000), Asked::pending);
}

// The test's end sees that the list of a read in flight is given back.
TEST_F(PagesTest, TheEndComesBeforeAnAnswer) {
    EXPECT_EQ(ask(key(far), 0), Asked::pending);
}

}  // namespace
}  // namespace broker
