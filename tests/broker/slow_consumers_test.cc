// Slow consumers: what each policy does with messages for which there is no room, what is told of
// it, and that nothing stays behind.
#include "broker/slow_consumers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/broker/shard_world.h"
#include "tests/broker/stream_reader.h"

namespace broker {
namespace {

using codec::Opcode;
using testing::client_frame;
using testing::Frame;
using testing::last;
using testing::Peer;
using testing::StreamReader;
using testing::subscribe_text;
using testing::subscribed_text;
using testing::World;
using testing::WorldOptions;
using topics::OnSlow;
using Texts = std::vector<std::string>;
using Numbers = std::vector<int>;

constexpr uint64_t soft_bytes = 4 * base::kib;
constexpr uint64_t hard_bytes = 16 * base::kib;
constexpr uint64_t outbound_time_ns = 10 * base::ns_per_s;
constexpr size_t padding_bytes = 400;
// A message with its padding and its frame's header, and what is kept about one that is held.
constexpr uint64_t message_bytes_most = padding_bytes + 200;

// A subscriber on shard 0 whose reading the test doses, and topics of the last shard.
class SlowConsumersTest : public ::testing::TestWithParam<uint32_t> {
  protected:
    SlowConsumersTest()
        : world_(options()), writer_(world_.client(GetParam() - 1)), client_(world_.client(0)) {}

    static WorldOptions options() {
        WorldOptions options{.shards_count = GetParam()};
        options.settings.topic_rules = {
            {.match = "keep/#", .history_messages_max = 1'000},
            {.match = "short/#", .history_messages_max = 5},
            {.match = "newest/kept/#", .history_messages_max = 1'000, .on_slow = OnSlow::conflate},
            {.match = "newest/#", .on_slow = OnSlow::conflate},
            {.match = "drop/#", .on_slow = OnSlow::drop_oldest}};  // the others: disconnect
        options.settings.outbound_soft_bytes = soft_bytes;
        options.settings.outbound_hard_bytes = hard_bytes;
        options.settings.outbound_time_ns = outbound_time_ns;
        return options;
    }

    // "keep/3", owned by the last shard.
    std::string topic(const std::string& family, uint32_t number = 0) const {
        for (uint32_t index = 0;; ++index) {
            std::string name = family + "/" + std::to_string(index);
            if (world_.partition_of(name) % GetParam() != GetParam() - 1) continue;
            if (number-- == 0) return name;
        }
    }
    void publish(const std::string& topic, int number, size_t bytes = padding_bytes) {
        writer_.say(R"({"op":"publish","topic":")" + topic + R"(","data":[)" +
                    std::to_string(number) + ",\"" + std::string(bytes, 'x') + "\"]}");
    }
    void publish_many(const std::string& topic, int first, int last_number) {
        for (int number = first; number <= last_number; ++number) publish(topic, number);
    }
    // The client reads so many bytes.
    void dose(uint64_t bytes) {
        client_.socket().send_room_bytes = bytes;
        world_.settle();
    }
    void read_all() {
        client_.read_on();
        stream_.read(client_);
    }
    uint64_t waiting_bytes() const {
        return world_.metric(Metric::outbound_bytes) + world_.metric(Metric::held_bytes);
    }
    bool is_cut() const { return world_.metric(Metric::websockets) == 1; }
    // The Close frame behind the last message that had begun to leave.
    void expect_slow_consumer_close() {
        EXPECT_TRUE(is_cut());
        EXPECT_EQ(world_.metric(Metric::slow_consumers), 0u) << "it is closed, not slow";
        client_.read_on();
        const std::vector<Frame> frames = client_.take_frames();
        ASSERT_GE(frames.size(), 2u);
        EXPECT_EQ(frames.back().close_code, 4100u);
        const std::string& goodbye = frames[frames.size() - 2].payload;
        EXPECT_TRUE(goodbye.starts_with(R"({"op":"goodbye","code":"slow_consumer",)")) << goodbye;
        const int retry_ms = std::stoi(goodbye.substr(goodbye.find("retry_ms\":") + 10));
        EXPECT_GE(retry_ms, 1'000);
        EXPECT_LE(retry_ms, 5'000);
    }
    // Nothing is slow any more, and nothing is kept for anybody.
    void expect_rest() {
        world_.run_for(base::ns_per_s);
        EXPECT_EQ(world_.metric(Metric::outbound_bytes), 0u);
        EXPECT_EQ(world_.metric(Metric::held_bytes), 0u);
        EXPECT_EQ(world_.metric(Metric::slow_consumers), 0u);
        EXPECT_EQ(world_.metric(Metric::streams_behind), 0u);
    }

    Numbers numbers_of(const std::string& topic) const {
        Numbers numbers;
        for (const std::string& payload : stream_.payloads_of(topic)) {
            numbers.push_back(std::stoi(payload.substr(payload.find('[') + 1)));
        }
        return numbers;
    }
    static Numbers range(int first, int last_number) {
        Numbers numbers(static_cast<size_t>(last_number - first + 1));
        std::iota(numbers.begin(), numbers.end(), first);
        return numbers;
    }
    // What all gaps together say.
    uint64_t missed_in_gaps() {
        uint64_t missed = 0;
        for (const std::string& text : gaps()) {
            const size_t at = text.find(R"("missed":)") + 9;
            EXPECT_NE(text.substr(at, 4), "null") << text;
            missed += std::stoull(text.substr(at));
        }
        return missed;
    }
    static std::string gap_text(const std::string& filter, const std::string& topic,
                                std::optional<uint64_t> missed, const std::string& code) {
        return R"({"op":"gap","filter":")" + filter + R"(","topic":)" +
               (topic.empty() ? "null" : "\"" + topic + "\"") + R"(,"missed":)" +
               (missed ? std::to_string(*missed) : "null") + R"(,"code":")" + code + "\"}";
    }
    Texts gaps() const {
        Texts found;
        for (const std::string& text : stream_.others) {
            if (text.starts_with(R"({"op":"gap")")) found.push_back(text);
        }
        return found;
    }

    World world_;
    const Peer writer_;
    const Peer client_;
    StreamReader stream_;
};

INSTANTIATE_TEST_SUITE_P(Shards, SlowConsumersTest, ::testing::Values(1, 3));

// --- catch_up

TEST_P(SlowConsumersTest, WhatIsKeptIsReadWhenThereIsRoom) {
    const std::string keep = topic("keep");
    client_.subscribe("keep/#");
    client_.stall();
    for (int number = 1; number <= 200; ++number) {
        publish(keep, number);
        EXPECT_LE(waiting_bytes(), soft_bytes + message_bytes_most);
    }
    EXPECT_EQ(world_.metric(Metric::streams_behind), 1u);
    for (int count = 0; count < 20; ++count) {
        dose(700);
        publish(keep, 201 + count);
    }
    read_all();
    EXPECT_EQ(numbers_of(keep), range(1, 220));
    EXPECT_EQ(stream_.payloads(true).size(), 0u) << "it is no replay";
    EXPECT_EQ(gaps(), Texts{});
    publish(keep, 221);
    stream_.read(client_);
    EXPECT_EQ(numbers_of(keep), range(1, 221));
    EXPECT_FALSE(is_cut());
    expect_rest();
}

TEST_P(SlowConsumersTest, WhatLeftTheHistoryMeanwhileIsAGapForEachFilter) {
    const std::string name = topic("short");
    client_.subscribe("short/#");
    client_.subscribe(name);
    client_.subscribe("keep/#");
    client_.stall();
    publish_many(name, 1, 100);
    read_all();
    const Numbers numbers = numbers_of(name);
    EXPECT_EQ(Numbers(numbers.end() - 5, numbers.end()), range(96, 100));
    EXPECT_EQ(Numbers(numbers.begin(), numbers.end() - 5),
              range(1, static_cast<int>(numbers.size()) - 5));
    Texts told = gaps();
    std::sort(told.begin(), told.end());
    Texts expected{gap_text("short/#", "", {}, "slow_consumer"),
                   gap_text(name, name, {}, "slow_consumer")};
    std::sort(expected.begin(), expected.end());
    EXPECT_EQ(told, expected);
    expect_rest();
}

TEST_P(SlowConsumersTest, WhoSubscribesWhileBehindIsToldTheStreamsPlace) {
    const std::string keep = topic("keep");
    client_.subscribe(keep);
    client_.stall();
    publish_many(keep, 1, 50);
    client_.say(subscribe_text("1", {"keep/#"}, "\"now\""));
    client_.read_on();
    // What the cursor covers has come before it; the rest comes once, behind it.
    const Texts texts = client_.take_texts();
    const auto answer = std::find_if(texts.begin(), texts.end(), [](const std::string& text) {
        return text.starts_with(R"({"op":"subscribed")");
    });
    ASSERT_NE(answer, texts.end());
    const size_t before_count = static_cast<size_t>(answer - texts.begin());
    EXPECT_LT(before_count, 20u);
    EXPECT_EQ(*answer, subscribed_text("1", {world_.position_text(keep, before_count)}, true));
    for (const std::string& text : texts) stream_.take(text);
    EXPECT_EQ(numbers_of(keep), range(1, 50));
    expect_rest();
}

TEST_P(SlowConsumersTest, TheNewestAreThoseOfTheJoinWhileTheStreamIsBehind) {
    const std::string keep = topic("keep");
    client_.subscribe(keep);
    client_.stall();
    publish_many(keep, 1, 50);
    client_.say(subscribe_text("1", {"keep/#"}, last(3)));
    // Without the live filter the rest is the replay's alone: three, and what comes later.
    client_.say(R"({"op":"unsubscribe","id":2,"filter":")" + keep + "\"}");
    publish(keep, 51);
    read_all();
    EXPECT_EQ(stream_.count_of("subscribed"), 1u);
    EXPECT_NE(std::find(stream_.others.begin(), stream_.others.end(),
                        subscribed_text("1", {world_.position_text(keep, 50)}, true)),
              stream_.others.end());
    const Numbers numbers = numbers_of(keep);
    ASSERT_GE(numbers.size(), 4u);
    EXPECT_EQ(Numbers(numbers.end() - 4, numbers.end()), range(48, 51));
    EXPECT_LT(numbers.size(), 20u);
    expect_rest();
}

// A replay leaves to the live filters what they deliver; one that is given up while the stream is
// behind leaves it to the replay again, also where that had nothing to read any more.
TEST_P(SlowConsumersTest, AReplayTakesOverWhatAStreamThatEndsHadNotRead) {
    const std::string old = topic("keep", 0);
    const std::string fresh = topic("keep", 1);
    publish_many(old, 1, 50);
    client_.subscribe("keep/+");
    client_.stall();
    client_.say(subscribe_text("1", {old, fresh}, last(50)));
    publish_many(fresh, 1, 3);
    EXPECT_EQ(world_.metric(Metric::streams_behind), 1u);
    client_.say(R"({"op":"unsubscribe","id":2,"filter":"keep/+"})");
    EXPECT_EQ(world_.metric(Metric::streams_behind), 0u);
    publish(fresh, 4);
    read_all();
    EXPECT_EQ(numbers_of(old), range(1, 50));
    EXPECT_EQ(numbers_of(fresh), range(1, 4));
    EXPECT_EQ(stream_.count_of("live"), 1u);
    expect_rest();
}

TEST_P(SlowConsumersTest, WhatANewFilterLostIsToldAlthoughAnotherWasTold) {
    const std::string name = topic("short");
    client_.subscribe("short/+");
    client_.stall();
    publish_many(name, 1, 60);
    // The first gap fills the queue again, so that the stream stays behind.
    dose(soft_bytes);
    client_.say(subscribe_text("1", {"short/#"}, "\"now\""));
    publish_many(name, 61, 100);
    read_all();
    const Texts told = gaps();
    EXPECT_NE(std::find(told.begin(), told.end(), gap_text("short/#", "", {}, "slow_consumer")),
              told.end());
    const Numbers numbers = numbers_of(name);
    EXPECT_EQ(Numbers(numbers.end() - 5, numbers.end()), range(96, 100));
    expect_rest();
}

TEST_P(SlowConsumersTest, WithoutAnEchoItDoesNotComeFromHistoryEither) {
    const std::string keep = topic("keep");
    client_.subscribe(keep);
    client_.stall();
    publish_many(keep, 1, 20);
    client_.say(R"({"op":"publish","echo":false,"topic":")" + keep + R"(","data":[999]})");
    read_all();
    // A client whose queue is full is not read from before it reads.
    publish(keep, 21);
    stream_.read(client_);
    EXPECT_EQ(numbers_of(keep), range(1, 21));
    expect_rest();
}

TEST_P(SlowConsumersTest, ACrowdThatFallsBehindReadsEachPageOnce) {
    const std::string keep = topic("keep");
    constexpr uint64_t readers_count = 1'000;
    std::vector<Peer> readers;
    for (uint64_t count = 0; count < readers_count; ++count) {
        readers.push_back(world_.client(0));
        readers.back().subscribe("keep/#");
        readers.back().stall();
    }
    publish_many(keep, 1, 30);
    EXPECT_EQ(world_.metric(Metric::streams_behind), readers_count);
    for (const Peer& reader : readers) reader.socket().send_room_bytes = UINT64_MAX;
    world_.settle();
    for (const Peer& reader : readers) {
        StreamReader stream;
        stream.read(reader);
        ASSERT_EQ(stream.messages.size(), 30u);
    }
    EXPECT_LT(world_.metric(Metric::history_pages_total), 20u);
    expect_rest();
}

// --- conflate

TEST_P(SlowConsumersTest, TheNewestOfATopicTakesThePlaceOfThoseThatWait) {
    for (const std::string family : {"newest", "newest/kept"}) {
        const Peer client = world_.client(0);
        StreamReader stream;
        const std::string one = topic(family, 0);
        const std::string other = topic(family, 1);
        client.subscribe(one);
        client.subscribe(other);
        client.stall();
        for (int number = 1; number <= 100; ++number) {
            publish(one, number);
            if (number <= 50) publish(other, number);
            EXPECT_LE(waiting_bytes(), soft_bytes + 3 * message_bytes_most);
        }
        client.read_on();
        stream.read(client);
        std::swap(stream, stream_);
        for (const auto& [name, count] : {std::pair{one, 100}, std::pair{other, 50}}) {
            const Numbers numbers = numbers_of(name);
            const int came = static_cast<int>(numbers.size());
            ASSERT_GT(came, 1);
            EXPECT_EQ(numbers.back(), count);
            EXPECT_EQ(Numbers(numbers.begin(), numbers.end() - 1), range(1, came - 1));
            const uint64_t missed = static_cast<uint64_t>(count - came);
            const Texts told = gaps();
            EXPECT_EQ(
                std::count(told.begin(), told.end(), gap_text(name, name, missed, "conflated")), 1);
        }
        EXPECT_EQ(gaps().size(), 2u);
        stream_ = StreamReader();
        expect_rest();
    }
}

TEST_P(SlowConsumersTest, BeyondTheHardLimitTheOldestOfManyTopicsAreDropped) {
    client_.subscribe("newest/#");
    client_.stall();
    constexpr uint32_t topics_count = 60;
    std::vector<std::string> names;
    for (uint32_t number = 0; number < topics_count; ++number) {
        names.push_back(topic("newest", number));
    }
    // Entries of topics that are replaced again and again must not pile up.
    for (int round = 1; round <= 20; ++round) {
        for (const std::string& name : names) publish(name, round, 300);
        EXPECT_LE(waiting_bytes(), hard_bytes + message_bytes_most);
    }
    read_all();
    uint32_t newest_count = 0;
    for (const std::string& name : names) {
        const Numbers numbers = numbers_of(name);
        if (!numbers.empty() && numbers.back() == 20) ++newest_count;
        EXPECT_TRUE(std::is_sorted(numbers.begin(), numbers.end()));
    }
    EXPECT_GT(newest_count, 20u);
    EXPECT_LT(newest_count, topics_count);
    EXPECT_EQ(numbers_of(names.back()).back(), 20);
    uint64_t received = 0;
    for (const std::string& name : names) received += numbers_of(name).size();
    EXPECT_EQ(received + missed_in_gaps(), 20u * topics_count) << "every message is accounted for";
    EXPECT_FALSE(is_cut());
    expect_rest();
}

TEST_P(SlowConsumersTest, LossesOfMoreTopicsThanAreRememberedAreNotCounted) {
    client_.subscribe("newest/#");
    client_.stall();
    for (int round = 1; round <= 3; ++round) {
        for (uint32_t number = 0; number <= Overflow::losses_max; ++number) {
            publish(topic("newest", number), round, 300);
        }
    }
    read_all();
    const Texts told = gaps();
    EXPECT_NE(std::find(told.begin(), told.end(), gap_text("newest/#", "", {}, "slow_consumer")),
              told.end());
    EXPECT_FALSE(is_cut());
    expect_rest();
}

// --- drop_oldest

TEST_P(SlowConsumersTest, TheOldestMakeRoomAndAreCountedForEachFilter) {
    const std::string one = topic("drop", 0);
    const std::string other = topic("drop", 1);
    client_.subscribe(one);
    client_.subscribe("drop/#");
    client_.stall();
    for (int number = 1; number <= 100; ++number) {
        publish(one, number);
        publish(other, number);
        EXPECT_LE(waiting_bytes(), hard_bytes + message_bytes_most);
    }
    read_all();
    uint64_t missed_one = 0;
    uint64_t missed = 0;
    for (const std::string& name : {one, other}) {
        const Numbers numbers = numbers_of(name);
        EXPECT_EQ(numbers.back(), 100);
        missed += 100 - numbers.size();
        if (name == one) missed_one = 100 - numbers.size();
    }
    Texts told = gaps();
    std::sort(told.begin(), told.end());
    Texts expected{gap_text(one, one, missed_one, "slow_consumer"),
                   gap_text("drop/#", "", missed, "slow_consumer")};
    std::sort(expected.begin(), expected.end());
    EXPECT_EQ(told, expected);
    EXPECT_EQ(world_.metric(Metric::messages_dropped_total), missed);
    expect_rest();
}

TEST_P(SlowConsumersTest, WhatWaitsTooLongIsDropped) {
    const std::string name = topic("drop");
    client_.subscribe(name);
    client_.stall();
    publish_many(name, 1, 20);
    world_.run_for(outbound_time_ns - base::ns_per_s);
    EXPECT_EQ(world_.metric(Metric::messages_dropped_total), 0u);
    publish(name, 21);
    world_.run_for(2 * base::ns_per_s);
    const uint64_t dropped = world_.metric(Metric::messages_dropped_total);
    EXPECT_GT(dropped, 5u);
    read_all();
    Numbers numbers = range(1, 20 - static_cast<int>(dropped));
    numbers.push_back(21);
    EXPECT_EQ(numbers_of(name), numbers);
    EXPECT_EQ(gaps(), Texts{gap_text(name, name, dropped, "slow_consumer")});
    expect_rest();
}

// An empty queue takes any message; what does not fit behind it is dropped, and nobody is closed.
TEST_P(SlowConsumersTest, AMessageAboveTheHardLimitDoesNotCloseWhoDrops) {
    const std::string name = topic("drop");
    client_.subscribe(name);
    client_.stall();
    publish(name, 1, 3 * hard_bytes);
    publish(name, 2);
    publish(name, 3, 3 * hard_bytes);
    EXPECT_FALSE(is_cut());
    read_all();
    EXPECT_EQ(numbers_of(name), range(1, 1));
    EXPECT_EQ(gaps(), Texts{gap_text(name, name, 2, "slow_consumer")});
    publish(name, 4);
    stream_.read(client_);
    EXPECT_EQ(numbers_of(name), (Numbers{1, 4}));
    expect_rest();
}

// --- disconnect

TEST_P(SlowConsumersTest, UpToTheHardLimitNobodyIsClosed) {
    const std::string name = topic("cut");
    client_.subscribe(name);
    client_.stall();
    int number = 0;
    while (world_.metric(Metric::outbound_bytes) + message_bytes_most < hard_bytes) {
        publish(name, ++number);
    }
    EXPECT_FALSE(is_cut());
    read_all();
    EXPECT_EQ(numbers_of(name), range(1, number));
    client_.stall();
    while (!is_cut() && number < 200) {
        EXPECT_LE(waiting_bytes(), hard_bytes);
        publish(name, ++number);
    }
    publish(name, ++number);
    expect_slow_consumer_close();
    expect_rest();
}

TEST_P(SlowConsumersTest, WhoStaysAboveTheSoftLimitIsClosed) {
    const std::string name = topic("cut");
    client_.subscribe(name);
    for (int round = 0; round < 2; ++round) {
        client_.stall();
        publish_many(name, 1, 15);
        world_.run_for(outbound_time_ns - base::ns_per_s);
        EXPECT_FALSE(is_cut());
        if (round == 0) client_.read_on();  // the time begins anew
    }
    world_.run_for(2 * base::ns_per_s);
    expect_slow_consumer_close();
}

TEST_P(SlowConsumersTest, BelowTheSoftLimitItMayTakeItsTime) {
    const std::string name = topic("cut");
    client_.subscribe(name);
    client_.stall();
    publish_many(name, 1, 5);
    world_.run_for(2 * outbound_time_ns);
    EXPECT_FALSE(is_cut());
}

// --- together

TEST_P(SlowConsumersTest, WhatMustNotBeDroppedIsClosedWhoeverStandsBeforeIt) {
    const std::string newest = topic("newest");
    const std::string cut = topic("cut");
    client_.subscribe("#");
    client_.stall();
    publish_many(newest, 1, 15);
    publish(newest, 16);  // replaced again and again, it would stand in front for ever
    publish(cut, 1);
    world_.run_for(outbound_time_ns - base::ns_per_s);
    EXPECT_FALSE(is_cut());
    world_.run_for(2 * base::ns_per_s);
    expect_slow_consumer_close();
}

TEST_P(SlowConsumersTest, AllPoliciesOnOneConnectionKeepTheirOrder) {
    const Texts names{topic("keep"), topic("newest/kept"), topic("newest"), topic("drop")};
    client_.subscribe("#");
    client_.stall();
    for (int number = 1; number <= 60; ++number) {
        for (const std::string& name : names) publish(name, number);
        if (number % 10 == 0) dose(1'000);
    }
    read_all();
    EXPECT_EQ(numbers_of(names[0]), range(1, 60));
    for (const std::string& name : names) {
        const Numbers numbers = numbers_of(name);
        EXPECT_TRUE(std::is_sorted(numbers.begin(), numbers.end()));
        EXPECT_EQ(numbers.back(), 60);
    }
    EXPECT_FALSE(is_cut());
    expect_rest();
}

TEST_P(SlowConsumersTest, AfterUnsubscribedNothingThatWaitedComes) {
    const std::string one = topic("drop", 0);
    const std::string other = topic("drop", 1);
    client_.subscribe(one);
    client_.subscribe(other);
    client_.stall();
    publish_many(one, 1, 9);
    for (int number = 1; number <= 60; ++number) publish(other, number);
    client_.socket().send_room_bytes = 2 * soft_bytes;
    client_.say(R"({"op":"unsubscribe","id":2,"filter":")" + other + "\"}");
    client_.read_on();
    const Texts texts = client_.take_texts();
    ASSERT_EQ(texts.back(), R"({"op":"unsubscribed","id":2})");
    for (const std::string& text : texts) stream_.take(text);
    const Numbers numbers = numbers_of(other);
    EXPECT_EQ(gaps(), Texts{gap_text(other, other, 60 - numbers.size(), "slow_consumer")});
    expect_rest();
}

// It gets messages without positions as they come, although it is not live yet.
TEST_P(SlowConsumersTest, ASubscriptionThatCatchesUpIsToldOfWhatItLost) {
    const std::string keep = topic("keep");
    const std::string drop = topic("drop");
    publish_many(keep, 1, 50);
    client_.stall();
    client_.say(subscribe_text("1", {"#"}, last(50)));
    publish_many(drop, 1, 60);
    for (int count = 0; count < 300; ++count) dose(200);
    read_all();
    EXPECT_EQ(numbers_of(keep), range(1, 50));
    const uint64_t missed = 60 - numbers_of(drop).size();
    EXPECT_GT(missed, 0u);
    EXPECT_EQ(gaps(), Texts{gap_text("#", drop, missed, "slow_consumer")});
    expect_rest();
}

// What was lost before a subscription began is not its loss.
TEST_P(SlowConsumersTest, ANewFilterIsNotToldOfWhatWasLostBefore) {
    const std::string drop = topic("drop");
    client_.subscribe(drop);
    client_.stall();
    publish_many(drop, 1, 60);
    client_.socket().send_room_bytes = soft_bytes;
    client_.say(subscribe_text("1", {"drop/#"}, "\"now\""));
    read_all();
    EXPECT_EQ(gaps(), Texts{gap_text(drop, drop, 60 - numbers_of(drop).size(), "slow_consumer")});
    expect_rest();
}

TEST_P(SlowConsumersTest, WhoClosesGetsWhatWaits) {
    const std::string name = topic("drop");
    client_.subscribe(name);
    client_.stall();
    publish_many(name, 1, 20);
    // Its Close is read only when it reads again itself: so much is queued for it.
    client_.send(client_frame(Opcode::close, testing::close_payload(1000, "")));
    client_.read_on();
    const std::vector<Frame> frames = client_.take_frames();
    ASSERT_EQ(frames.size(), 21u);
    EXPECT_EQ(frames.back().kind, codec::Decoded::Kind::close);
    client_.finish();
    expect_rest();
}

TEST_P(SlowConsumersTest, WhoVanishesLeavesNothing) {
    for (const std::string family : {"keep", "newest", "drop"}) {
        const Peer client = world_.client(0);
        client.subscribe(family + "/#");
        client.stall();
        publish_many(topic(family, 0), 1, 60);
        publish_many(topic(family, 1), 1, 60);
        EXPECT_EQ(world_.metric(Metric::slow_consumers) + world_.metric(Metric::streams_behind),
                  1u);
        client.fail(ECONNRESET);
        expect_rest();
    }
}

TEST_P(SlowConsumersTest, CompressedMessagesWaitCompressed) {
    const Peer packed = world_.client(0, "Sec-WebSocket-Extensions: permessage-deflate\r\n");
    const std::string name = topic("drop");
    const std::string keep = topic("keep");
    packed.subscribe("#");
    packed.stall();
    publish_many(name, 1, 100);
    publish_many(keep, 1, 100);
    // 400 equal bytes become some tens: nothing of the first was dropped.
    EXPECT_EQ(world_.metric(Metric::messages_dropped_total), 0u);
    const uint64_t before = world_.metric(Metric::deliveries_total);
    packed.read_on();
    EXPECT_EQ(world_.gaps_count(), 0u);
    EXPECT_GT(world_.metric(Metric::deliveries_total), before);
    EXPECT_EQ(world_.metric(Metric::deliveries_total), 200u);
    static_cast<void>(packed.take_bytes());
    expect_rest();
}

// --- the two lists of the outbox

TEST(SlowConsumersOutbox, ASmallRoomDoesNotWaitForAFanOutToThousands) {
    World world;
    constexpr size_t crowd_count = 1'200;
    std::vector<Peer> crowd;
    for (size_t count = 0; count < crowd_count; ++count) {
        crowd.push_back(world.client());
        crowd.back().subscribe("crowd");
    }
    const Peer member = world.client();
    member.subscribe("room");
    const Peer writer = world.client();
    writer.socket().inbound.append(client_frame(Opcode::text,
                                                R"([{"op":"publish","topic":"crowd","data":1},)"
                                                R"({"op":"publish","topic":"room","data":2}])"));
    for (int turns = 0; member.socket().outbound.empty() && turns < 10; ++turns) world.turn(0);
    ASSERT_FALSE(member.socket().outbound.empty());
    const auto waiting_count = std::count_if(crowd.begin(), crowd.end(), [](const Peer& peer) {
        return peer.socket().outbound.empty();
    });
    EXPECT_GT(waiting_count, 0) << "some of the crowd come in the next turn";
    world.settle();
    for (const Peer& peer : crowd) EXPECT_EQ(peer.take_texts().size(), 1u);
}

}  // namespace
}  // namespace broker
