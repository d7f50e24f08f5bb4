#include "broker/courier.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "io/base/prng.h"
#include "io/base/units.h"
#include "tests/broker/reactor_fake.h"

namespace broker {
namespace {

constexpr uint64_t lane_bytes = 8 * base::kib;
// As many partitions as lanes of this size allow.
constexpr uint32_t heads_max = 128;

// Shard 0's courier among several shards; the test plays the others.
class CourierTest : public ::testing::Test {
  protected:
    explicit CourierTest(uint32_t shards_count = 3)
        : mesh_({.shards_count = shards_count,
                 .deliver_bytes = lane_bytes,
                 .forward_bytes = lane_bytes}),
          reactor_(testing::make_fake_reactor()),
          courier_(0, mesh_, *reactor_, lane_bytes, heads_max) {}

    ~CourierTest() override {
        for (io::ShardId to = 1; to < mesh_.shards_count(); ++to) {
            mesh_.forward(0, to).commit();
            mesh_.deliver(0, to).commit();
            take_all(mesh_.forward(0, to));
            take_all(mesh_.deliver(0, to));
        }
    }

    // What stands in the lane, one word for each record.
    static std::vector<std::string> take_all(io::Lane& lane) {
        std::vector<std::string> words;
        while (!lane.front().empty()) words.push_back(take_one(lane));
        return words;
    }
    static std::string take_one(io::Lane& lane) {
        const Record record = CrossCore::decode(lane.front());
        std::string word = word_of(record);
        lane.pop();
        return word;
    }
    static std::string word_of(const Record& record) {
        switch (record.type) {
            case RecordType::publish: return "publish " + std::string(record.publication.topic);
            case RecordType::interest_add: return "add " + std::string(record.filter);
            case RecordType::interest_remove: return "remove " + std::string(record.filter);
            case RecordType::history_read:
                return "read " + std::to_string(record.request.partition);
            case RecordType::quiesced: return "quiesced";
            case RecordType::message: return "message " + std::string(record.publication.topic);
            case RecordType::published:
                return "published " + std::string(record.publication.origin.id);
            case RecordType::heads: return "heads " + std::to_string(record.heads.size());
            case RecordType::interest_ack: return "ack " + std::to_string(record.token);
            case RecordType::history_message:
                return "page message " + std::string(record.publication.topic);
            case RecordType::history_end: return "page end " + std::to_string(record.extent.upto);
            case RecordType::connections_read: return "connections read";
            case RecordType::connection_close: return "connection close";
            case RecordType::connection_rows: return "rows " + std::to_string(record.rows.size());
            case RecordType::connections_end: return "connections end";
            case RecordType::connection_closed: return "connection closed";
            case RecordType::drained: return "drained";
            case RecordType::caught_up: return "caught_up";
        }
        return {};
    }

    io::Mesh mesh_;
    std::unique_ptr<io::Reactor> reactor_;
    Courier courier_;
};

TEST_F(CourierTest, RecordsAreVisibleAfterTheFlush) {
    const Publication publication{.topic = "t", .payload = {codec::PayloadKind::json, "1"}};
    ASSERT_TRUE(courier_.forward(1, publication));
    courier_.write_message(2, publication);
    courier_.write_published({.shard = 2, .id = "5"}, {});
    courier_.write_interest_ack(2, 9);
    const codec::Position head{3, 4};
    courier_.write_heads(2, {&head, 1});
    ASSERT_TRUE(courier_.write_history_message(2, 1, publication, true));
    courier_.write_history_end(2, 1, {.upto = 8});
    ASSERT_TRUE(courier_.ask_history(1, 1, {.partition = 7}));
    EXPECT_TRUE(mesh_.forward(0, 1).front().empty());
    EXPECT_TRUE(mesh_.deliver(0, 2).front().empty());
    courier_.flush();
    EXPECT_EQ(take_all(mesh_.forward(0, 1)), (std::vector<std::string>{"publish t", "read 7"}));
    EXPECT_EQ(take_all(mesh_.deliver(0, 2)),
              (std::vector<std::string>{"message t", "published 5", "ack 9", "heads 1",
                                        "page message t", "page end 8"}));
}

TEST_F(CourierTest, WakesWhoSleepsAndOnlyWhomItConcerns) {
    ASSERT_TRUE(mesh_.sleep_begin(1));
    ASSERT_TRUE(mesh_.sleep_begin(2));
    courier_.flush();
    EXPECT_TRUE(reactor_->impl().wakes.empty()) << "nothing was written";
    courier_.tell_interest(1, RecordType::interest_add, "a", 1);
    courier_.tell_interest(1, RecordType::interest_add, "b", 2);
    courier_.flush();
    EXPECT_EQ(reactor_->impl().wakes, std::vector<io::ShardId>{1});
    courier_.tell_interest(1, RecordType::interest_add, "c", 3);
    courier_.flush();
    EXPECT_EQ(reactor_->impl().wakes, std::vector<io::ShardId>{1}) << "one wake per sleep";
}

TEST_F(CourierTest, WhatIsOwedKeepsItsOrder) {
    std::vector<std::string> expected;
    for (int index = 0; index < 1'000; ++index) {
        const std::string filter = "filter/" + std::to_string(index);
        const bool is_add = index % 3 != 0;
        courier_.tell_interest(1, is_add ? RecordType::interest_add : RecordType::interest_remove,
                               filter, 1);
        expected.push_back((is_add ? "add " : "remove ") + filter);
    }
    courier_.tell_quiesced(1);
    expected.emplace_back("quiesced");
    EXPECT_TRUE(courier_.owes());
    std::vector<std::string> got;
    for (int round = 0; round < 2'000 && got.size() < expected.size(); ++round) {
        courier_.flush();
        io::Lane& lane = mesh_.forward(0, 1);
        for (int count = 0; count < 3 && !lane.front().empty(); ++count)
            got.push_back(take_one(lane));
    }
    EXPECT_EQ(got, expected);
    EXPECT_FALSE(courier_.owes());
}

TEST_F(CourierTest, AFullLaneToOneShardDelaysNoOther) {
    for (int index = 0; index < 1'000; ++index)
        courier_.tell_interest(1, RecordType::interest_add, "f", 1);
    courier_.tell_interest(2, RecordType::interest_add, "g", 1);
    courier_.flush();
    EXPECT_EQ(take_all(mesh_.forward(0, 2)), std::vector<std::string>{"add g"});
    EXPECT_TRUE(courier_.owes());
}

TEST_F(CourierTest, PublishesDoNotTakeTheRoomOfWhatIsOwed) {
    const Publication small{.topic = "t", .payload = {codec::PayloadKind::json, "1"}};
    while (courier_.forward(1, small)) {
    }
    const std::string filter(512, 'f');
    courier_.tell_interest(1, RecordType::interest_add, filter, 1);
    ASSERT_TRUE(courier_.owes());
    courier_.flush();
    // A publisher that tries again every turn would take each piece of room as it becomes free.
    std::vector<std::string> got;
    io::Lane& lane = mesh_.forward(0, 1);
    for (int round = 0; round < 20 && courier_.owes(); ++round) {
        got.push_back(take_one(lane));
        EXPECT_FALSE(courier_.forward(1, small));
        EXPECT_FALSE(courier_.ask_history(1, 1, {}));
        courier_.flush();
    }
    EXPECT_FALSE(courier_.owes());
    got = take_all(lane);
    EXPECT_EQ(got.back(), "add " + filter);
}

TEST_F(CourierTest, DrainedIsOwedToo) {
    const std::string payload(1'000, 'p');
    const Publication publication{.topic = "t", .payload = {codec::PayloadKind::text, payload}};
    while (courier_.has_room_for_results(courier_.publication_cost(publication))) {
        courier_.write_message(1, publication);
    }
    while (CrossCore::write_marker(mesh_.deliver(0, 1), RecordType::interest_ack, 1)) {
    }
    courier_.tell_drained(1);
    courier_.tell_caught_up(1);
    EXPECT_TRUE(courier_.owes());
    courier_.flush();
    take_all(mesh_.deliver(0, 1));
    courier_.flush();
    EXPECT_FALSE(courier_.owes());
    EXPECT_EQ(take_all(mesh_.deliver(0, 1)), (std::vector<std::string>{"drained", "caught_up"}));
}

// The promise that keeps the shards from waiting for each other: after "there is room", all that
// one record brings forth can be written, wherever the ring stands.
TEST_F(CourierTest, RoomForResultsIsSufficient) {
    base::Prng prng(11);
    const std::string id = "\"" + std::string(64, 'i') + "\"";
    for (int round = 0; round < 20'000; ++round) {
        const std::string topic(prng.below(4) == 0 ? 512 : prng.between(1, 512), 't');
        // Up to the largest that travels inline, and gifts above.
        const std::string payload(prng.below(4) == 0 ? 1'024 : prng.between(0, 1'300), 'p');
        const Publication publication{
            .origin = {.shard = static_cast<io::ShardId>(prng.between(1, 2)),
                       .wants_answer = true,
                       .id = id},
            .topic = topic,
            .payload = {codec::PayloadKind::text, payload}};
        if (courier_.has_room_for_results(courier_.publication_cost(publication))) {
            // CHECKs inside when it does not fit.
            courier_.write_message(1, publication);
            courier_.write_message(2, publication);
            courier_.write_published(publication.origin, {.position = {63, UINT64_MAX}});
        } else {
            courier_.flush();
            ASSERT_FALSE(mesh_.deliver(0, 1).front().empty() && mesh_.deliver(0, 2).front().empty())
                << "no room although nothing waits";
            for (const io::ShardId to : {1u, 2u}) {
                io::Lane& lane = mesh_.deliver(0, to);
                for (uint64_t count = prng.between(0, 4); count > 0 && !lane.front().empty();
                     --count) {
                    take_one(lane);
                }
            }
        }
    }
}

// The same for requests as another shard wrote them, by the size of their record.
TEST_F(CourierTest, RoomForTheResultsOfARecordIsSufficient) {
    const CrossCore cross_core(lane_bytes);
    base::Prng prng(12);
    const std::vector<codec::Position> heads(heads_max, codec::Position{1, 1});
    // As many as travel inline.
    const std::vector<uint32_t> filters_lost(cross_core.inline_bytes_max() / sizeof(uint32_t));
    for (int round = 0; round < 5'000; ++round) {
        const std::string topic(prng.between(1, 512), 't');
        const std::string payload(prng.between(0, 1'300), 'p');
        const std::string id(prng.between(0, 66), '1');
        const Publication publication{.origin = {.shard = 1, .wants_answer = true, .id = id},
                                      .topic = topic,
                                      .payload = {codec::PayloadKind::text, payload}};
        io::Lane request(lane_bytes);
        const uint64_t kind = prng.below(4);
        if (kind == 0) {
            ASSERT_TRUE(CrossCore::write_filter(request, RecordType::interest_add, topic, 1));
        } else if (kind == 1) {
            ASSERT_TRUE(cross_core.write_history_read(request, 1, {.filters = {topic}}));
        } else {
            ASSERT_TRUE(cross_core.write_publication(request, RecordType::publish, publication));
        }
        request.commit();
        if (courier_.has_room_for_results(io::Lane::record_cost(request.front().size()))) {
            if (kind == 0) {
                courier_.write_heads(1, heads);
                courier_.write_interest_ack(1, 1);
            } else if (kind == 1) {
                // At least one message of a page, as many as fit, and always the end.
                const Publication found{.topic = topic, .payload = publication.payload};
                ASSERT_TRUE(courier_.write_history_message(1, 1, found, true));
                for (uint64_t count = prng.below(4); count > 0; --count) {
                    if (!courier_.write_history_message(1, 1, found, false)) break;
                }
                courier_.write_history_end(1, 1, {.filters_lost = filters_lost});
            } else {
                courier_.write_message(1, publication);
                courier_.write_message(2, publication);
                courier_.write_published(publication.origin, {});
            }
        } else {
            courier_.flush();
            take_one(mesh_.deliver(
                0, prng.below(2) == 0 || mesh_.deliver(0, 2).front().empty() ? 1 : 2));
        }
        static_cast<void>(CrossCore::decode(request.front()));
    }
}

// Heads that nobody waits for never take what requests need, and come after what is owed.
TEST_F(CourierTest, OfferedHeadsLeaveRoom) {
    const std::vector<codec::Position> heads(heads_max, codec::Position{1, 1});
    int offers_count = 0;
    for (; courier_.has_room_for_heads(1); ++offers_count) courier_.write_heads(1, heads);
    EXPECT_GT(offers_count, 0);
    EXPECT_TRUE(courier_.has_room_for_results(0)) << "a request finds its room";
    while (CrossCore::write_marker(mesh_.deliver(0, 1), RecordType::interest_ack, 1)) {
    }
    courier_.tell_drained(1);
    EXPECT_TRUE(courier_.owes());
    courier_.flush();
    io::Lane& lane = mesh_.deliver(0, 1);
    while (courier_.owes()) {
        EXPECT_FALSE(courier_.has_room_for_heads(1));
        take_one(lane);
        courier_.flush();
    }
    take_all(lane);
    EXPECT_TRUE(courier_.has_room_for_heads(1));
}

// Or a shard of which nothing is wanted would never hear of them.
TEST_F(CourierTest, AnEmptyLaneHasRoomForHeadsWhereverItStands) {
    const uint32_t shards_count = mesh_.shards_count();
    Courier courier(0, mesh_, *reactor_, lane_bytes, (heads_max + shards_count - 1) / shards_count);
    io::Lane& lane = mesh_.deliver(0, 1);
    for (uint64_t moved_bytes = 0; moved_bytes < lane_bytes; moved_bytes += 64) {
        ASSERT_TRUE(courier.has_room_for_heads(1)) << moved_bytes;
        ASSERT_TRUE(CrossCore::write_marker(lane, RecordType::interest_ack, 1));
        lane.commit();
        take_all(lane);
    }
}

class CourierAloneTest : public CourierTest {
  protected:
    CourierAloneTest() : CourierTest(1) {}
};

TEST_F(CourierAloneTest, OneShardHasAlwaysRoom) {
    EXPECT_TRUE(courier_.has_room_for_results(1 << 20));
    courier_.flush();
    EXPECT_TRUE(reactor_->impl().wakes.empty());
}

}  // namespace
}  // namespace broker
