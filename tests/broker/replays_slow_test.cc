// Replays of clients that read slowly: bounded memory, nothing lost, nothing twice, and a gap where
// history went faster than they read.

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "broker/replays.h"
#include "codec/inflater.h"
#include "tests/broker/shard_world.h"
#include "tests/broker/stream_reader.h"

namespace broker {
namespace {

using testing::after;
using testing::Frame;
using testing::last;
using testing::live_text;
using testing::Peer;
using testing::StreamReader;
using testing::subscribe_text;
using testing::World;
using testing::WorldOptions;
using Texts = std::vector<std::string>;

constexpr uint64_t soft_bytes = 4 * base::kib;
constexpr uint64_t hard_bytes = 16 * base::kib;
constexpr size_t padding_bytes = 400;
// A message with its padding and its frame's header, and an announcement.
constexpr uint64_t message_bytes_most = padding_bytes + 200;

// A client on shard 0 whose reading the test doses, and topics of the last shard.
class SlowReplays : public ::testing::TestWithParam<uint32_t> {
  protected:
    SlowReplays()
        : world_(options()),
          topic_(world_.topic_owned_by(GetParam() - 1)),
          writer_(world_.client(GetParam() - 1)),
          client_(world_.client(0)) {}

    static WorldOptions options() {
        WorldOptions options{.shards_count = GetParam()};
        options.settings.topic_rules = {{.match = "topic/#", .history_messages_max = 1'000},
                                        {.match = "tiny/#", .history_messages_max = 20}};
        options.settings.outbound_soft_bytes = soft_bytes;
        options.settings.outbound_hard_bytes = hard_bytes;
        return options;
    }
    // Topics of the tiny rule in one partition of the last shard.
    Texts tiny_topics(size_t count) const {
        Texts topics;
        for (int index = 0; topics.size() < count; ++index) {
            const std::string topic = "tiny/" + std::to_string(index);
            const uint32_t partition = world_.partition_of(topic);
            if (partition % GetParam() != GetParam() - 1) continue;
            if (topics.empty() || world_.partition_of(topics[0]) == partition) {
                topics.push_back(topic);
            }
        }
        return topics;
    }

    void publish(const std::string& topic, int number, size_t bytes = padding_bytes) {
        writer_.say(R"({"op":"publish","topic":")" + topic + R"(","data":[)" +
                    std::to_string(number) + ",\"" + std::string(bytes, 'x') + "\"]}");
        EXPECT_LE(world_.metric(Metric::outbound_bytes), soft_bytes + message_bytes_most);
    }
    void publish_many(const std::string& topic, int first, int last_number) {
        for (int number = first; number <= last_number; ++number) publish(topic, number);
    }
    // What was read a moment ago is not used again.
    void forget_pages() {
        world_.jump(Pages::age_ns_max + 1);
        world_.settle();
    }
    // The client reads so many bytes; what has come is looked at when whole frames are there.
    void dose(uint64_t bytes) {
        client_.socket().send_room_bytes = bytes;
        world_.settle();
        EXPECT_LE(world_.metric(Metric::outbound_bytes), soft_bytes + message_bytes_most);
    }
    void read_all() {
        client_.read_on();
        stream_.read(client_);
    }
    // The numbers of the messages of one topic, in order.
    std::vector<int> numbers_of(const std::string& topic) const {
        std::vector<int> numbers;
        for (const std::string& payload : stream_.payloads_of(topic)) {
            numbers.push_back(std::stoi(payload.substr(payload.find('[') + 1)));
        }
        return numbers;
    }
    static std::vector<int> range(int first, int last_number) {
        std::vector<int> numbers;
        for (int number = first; number <= last_number; ++number) numbers.push_back(number);
        return numbers;
    }

    World world_;
    const std::string topic_;
    const Peer writer_;
    const Peer client_;
    StreamReader stream_;
};

INSTANTIATE_TEST_SUITE_P(Shards, SlowReplays, ::testing::Values(1, 2));

TEST_P(SlowReplays, AReplayNeverQueuesMoreThanTheSoftLimit) {
    publish_many(topic_, 1, 100);
    client_.stall();
    client_.say(subscribe_text("1", {topic_}, last(100)));
    EXPECT_GT(world_.metric(Metric::outbound_bytes), soft_bytes / 2) << "but it fills it";
    for (int count = 0; count < 200; ++count) dose(300);
    read_all();
    EXPECT_EQ(numbers_of(topic_), range(1, 100));
    EXPECT_EQ(stream_.others.back(), live_text("1", {world_.position_text(topic_, 100)}));
    EXPECT_GT(stream_.announcements_count, 10u);
    EXPECT_EQ(world_.closed_count(4100), 0u);
    publish(topic_, 101);
    stream_.read(client_);
    EXPECT_EQ(numbers_of(topic_), range(1, 101));
}

TEST_P(SlowReplays, WhatIsPublishedMeanwhileComesOnceInItsPlace) {
    publish_many(topic_, 1, 50);
    client_.stall();
    client_.say(subscribe_text("1", {"topic/+"}, after({})));
    int number = 50;
    for (int count = 0; count < 100; ++count) {
        dose(700);
        if (count % 2 == 0) publish(topic_, ++number);
    }
    read_all();
    EXPECT_EQ(numbers_of(topic_), range(1, number));
    EXPECT_EQ(stream_.count_of("live"), 1u);
    EXPECT_EQ(stream_.count_of("gap"), 0u);
}

// At its head a replay gets what is published at once; one that finds no room falls behind, and
// reads on from there.
TEST_P(SlowReplays, AReplayThatFallsBehindAgainLosesNothing) {
    const std::string other = world_.topic_owned_by(GetParam() - 1, 1);
    publish_many(topic_, 1, 50);
    client_.stall();
    client_.say(subscribe_text("1", {topic_, other}, last(50)));
    for (int number = 1; number <= 50; ++number) publish(other, number);
    for (int count = 0; count < 20; ++count) dose(500);
    for (int number = 51; number <= 100; ++number) publish(other, number);
    read_all();
    EXPECT_EQ(numbers_of(topic_), range(1, 50));
    EXPECT_EQ(numbers_of(other), range(1, 100));
    EXPECT_EQ(stream_.payloads(false).size(), 0u);
    EXPECT_EQ(stream_.count_of("live"), 1u);
}

TEST_P(SlowReplays, AMessageLargerThanTheLimitPassesAlone) {
    publish(topic_, 1, 3 * soft_bytes);
    publish(topic_, 2, 3 * soft_bytes);
    publish(topic_, 3);
    client_.stall();
    client_.say(subscribe_text("1", {topic_}, last(3)));
    EXPECT_LE(world_.metric(Metric::outbound_bytes), 3 * soft_bytes + 1'000);
    client_.read_on();
    stream_.read(client_);
    EXPECT_EQ(numbers_of(topic_), range(1, 3));
    EXPECT_EQ(stream_.count_of("live"), 1u);
    EXPECT_EQ(world_.closed_count(4100), 0u);
}

TEST_P(SlowReplays, AReaderThatEndsInTheMiddleLeavesNothing) {
    publish_many(topic_, 1, 100);
    for (const bool has_waiting : {false, true}) {
        const Peer peer = world_.client(0);
        peer.stall();
        peer.say(subscribe_text("1", {topic_}, last(100)));
        if (has_waiting) peer.say(subscribe_text("2", {topic_}, last(100)));
        EXPECT_EQ(world_.metric(Metric::subscriptions_catching_up), 1u);
        peer.fail(ECONNRESET);
        EXPECT_EQ(world_.metric(Metric::subscriptions_catching_up), 0u);
        EXPECT_EQ(world_.metric(Metric::outbound_bytes), 0u);
    }
}

// --- giving up

TEST_P(SlowReplays, UnsubscribingInTheMiddleEndsIt) {
    publish_many(topic_, 1, 100);
    client_.stall();
    client_.say(subscribe_text("1", {topic_}, last(100)));
    client_.say(R"({"op":"unsubscribe","id":2,"filter":")" + topic_ + "\"}");
    read_all();
    EXPECT_EQ(stream_.others.back(), R"({"op":"unsubscribed","id":2})");
    EXPECT_EQ(stream_.count_of("live"), 0u);
    EXPECT_GT(stream_.messages.size(), 0u);
    EXPECT_LT(stream_.messages.size(), 20u);
    publish(topic_, 101);
    stream_.read(client_);
    EXPECT_LT(stream_.messages.size(), 20u);
}

TEST_P(SlowReplays, UnsubscribingOneOfSeveralInTheMiddle) {
    const std::string other = world_.topic_owned_by(GetParam() - 1, 1);
    for (int number = 1; number <= 50; ++number) {
        publish(topic_, number);
        publish(other, number);
    }
    client_.stall();
    client_.say(subscribe_text("1", {topic_, other}, last(50)));
    client_.say(R"({"op":"unsubscribe","id":2,"filter":")" + topic_ + "\"}");
    read_all();
    EXPECT_LT(numbers_of(topic_).size(), 20u);
    EXPECT_EQ(numbers_of(other), range(1, 50));
    EXPECT_EQ(stream_.count_of("live"), 1u);
    for (const std::string& topic : {topic_, other}) publish(topic, 51);
    stream_.read(client_);
    EXPECT_LT(numbers_of(topic_).size(), 20u);
    EXPECT_EQ(numbers_of(other), range(1, 51));
}

// Of what lies above the join a live filter delivers until it is given up; the replay brings what
// came later, and not again what came before.
TEST_P(SlowReplays, ALiveFilterThatIsGivenUpInTheMiddle) {
    client_.subscribe("topic/#");
    publish_many(topic_, 1, 60);
    read_all();
    ASSERT_EQ(numbers_of(topic_), range(1, 60));
    stream_ = StreamReader();
    client_.stall();
    client_.say(subscribe_text("1", {topic_}, last(30)));
    dose(1'500);  // so that there is room, but not enough to read on
    for (const int number : {61, 62}) publish(topic_, number, 10);
    client_.say(R"({"op":"unsubscribe","id":2,"filter":"topic/#"})");
    for (const int number : {63, 64}) publish(topic_, number, 10);
    read_all();
    EXPECT_EQ(stream_.payloads(false).size(), 2u);
    std::vector<int> numbers = numbers_of(topic_);
    std::sort(numbers.begin(), numbers.end());
    EXPECT_EQ(numbers, range(31, 64));
    EXPECT_EQ(stream_.count_of("live"), 1u);
    EXPECT_EQ(world_.metric(Metric::subscriptions), 1u);
}

TEST_P(SlowReplays, ALiveFilterInTheMiddleOfAReplayBringsItsMessagesOnce) {
    client_.subscribe("topic/#");
    publish_many(topic_, 1, 50);
    read_all();
    stream_ = StreamReader();
    client_.stall();
    client_.say(subscribe_text("1", {topic_}, last(50)));
    dose(1'500);
    for (int number = 51; number <= 53; ++number) publish(topic_, number, 10);
    read_all();
    EXPECT_EQ(stream_.payloads(false).size(), 3u);
    EXPECT_EQ(stream_.payloads(true).size(), 50u);
    EXPECT_EQ(stream_.count_of("live"), 1u);
}

// --- losses

std::string gap_text(std::string_view filter, std::string_view topic) {
    return R"({"op":"gap","id":1,"filter":")" + std::string(filter) + R"(","topic":)" +
           std::string(topic) + R"(,"missed":null,"code":"evicted"})";
}

// The replay has to read what the stream of the given-up filter had not come to, but for what the
// client itself published there.
TEST_P(SlowReplays, WhatWasPublishedWithoutEchoBehindASlowStreamDoesNotComeByTheReplay) {
    Texts topics;
    for (int index = 0; topics.size() < 2; ++index) {
        const std::string topic = "topic/of/p/" + std::to_string(index);
        const uint32_t partition = world_.partition_of(topic);
        if (partition % GetParam() != GetParam() - 1) continue;
        if (partition == world_.partition_of(topic_)) continue;
        if (topics.empty() || world_.partition_of(topics[0]) == partition) topics.push_back(topic);
    }
    client_.subscribe(topics[0]);
    publish_many(topic_, 1, 100);
    client_.stall();
    client_.say(subscribe_text("1", {"topic/#"}, last(100)));
    publish(topics[0], 1, 2'000);
    publish(topics[0], 2, 2'000);
    EXPECT_EQ(world_.metric(Metric::streams_behind), 1u);
    client_.say(R"({"op":"publish","topic":")" + topics[1] + R"(","data":[7],"echo":false})");
    client_.say(R"({"op":"unsubscribe","id":2,"filter":")" + topics[0] + "\"}");
    EXPECT_EQ(world_.metric(Metric::streams_behind), 0u);
    read_all();
    EXPECT_EQ(numbers_of(topics[0]), range(1, 2));
    EXPECT_EQ(numbers_of(topics[1]), std::vector<int>{});
    EXPECT_EQ(numbers_of(topic_), range(1, 100));
    EXPECT_EQ(stream_.count_of("live"), 1u);
}

TEST_P(SlowReplays, WhatWasEvictedMeanwhileIsAGapInItsPlace) {
    const std::string tiny = tiny_topics(1)[0];
    publish_many(tiny, 1, 20);
    client_.stall();
    client_.say(subscribe_text("1", {tiny}, after({})));
    publish_many(tiny, 21, 60);
    // Read one text after the other, to see where the gap stands.
    client_.read_on();
    std::vector<int> before;
    std::vector<int> behind;
    uint32_t gaps_count = 0;
    for (const std::string& text : client_.take_texts()) {
        stream_.take(text);
        if (text == gap_text(tiny, "\"" + tiny + "\"")) ++gaps_count;
        if (text.starts_with(R"({"op":"message")")) {
            (gaps_count == 0 ? before : behind).push_back(numbers_of(tiny).back());
        }
    }
    EXPECT_EQ(gaps_count, 1u);
    EXPECT_EQ(stream_.count_of("gap"), 1u);
    ASSERT_FALSE(before.empty());
    EXPECT_EQ(before, range(1, static_cast<int>(before.size())));
    EXPECT_LT(before.size(), 20u);
    EXPECT_EQ(behind, range(41, 60)) << "what is kept";
    EXPECT_EQ(world_.gaps_count(), 1u);
    EXPECT_EQ(stream_.others.back(), live_text("1", {world_.position_text(tiny, 60)}));
    EXPECT_TRUE(stream_.others.front().find(R"("recovered":true)") != std::string::npos)
        << "nothing had been evicted when it was decided";
}

TEST_P(SlowReplays, AGapOfAWildcardNamesNoTopic) {
    const std::string tiny = tiny_topics(1)[0];
    publish_many(tiny, 1, 20);
    client_.stall();
    client_.say(subscribe_text("1", {"tiny/+", "topic/+"}, after({})));
    publish_many(tiny, 21, 60);
    read_all();
    uint32_t gaps_count = 0;
    for (const std::string& text : stream_.others) gaps_count += text == gap_text("tiny/+", "null");
    EXPECT_EQ(gaps_count, 1u);
    EXPECT_EQ(stream_.count_of("gap"), 1u) << "the other filter lost nothing";
}

// "The newest 20" has no hole either: what is evicted between two pages is told.
TEST_P(SlowReplays, WhatTheNewestLoseMeanwhileIsAGapToo) {
    const std::string tiny = tiny_topics(1)[0];
    publish_many(tiny, 1, 20);
    client_.stall();
    client_.say(subscribe_text("1", {tiny}, last(20)));
    forget_pages();
    publish_many(tiny, 21, 35);
    read_all();
    const std::vector<int> numbers = numbers_of(tiny);
    ASSERT_FALSE(numbers.empty());
    EXPECT_EQ(numbers.front(), 1);
    EXPECT_EQ(numbers.back(), 35);
    EXPECT_LT(numbers.size(), 35u) << "nothing was evicted: the test shows nothing";
    EXPECT_EQ(stream_.count_of("gap"), 1u);
}

// The same when another topic of the partition has lost something long ago, so that the highest
// loss of all does not move.
TEST_P(SlowReplays, AnOldLossOfAnotherTopicHidesNoNewOne) {
    const Texts tiny = tiny_topics(2);
    publish_many(tiny[0], 1, 20);
    publish_many(tiny[1], 1, 60);  // which loses its first forty
    client_.stall();
    client_.say(subscribe_text("1", {tiny[0], tiny[1]}, last(20)));
    forget_pages();
    publish_many(tiny[0], 21, 35);
    read_all();
    const std::vector<int> numbers = numbers_of(tiny[0]);
    ASSERT_FALSE(numbers.empty());
    EXPECT_EQ(numbers.front(), 1);
    EXPECT_EQ(numbers.back(), 35);
    EXPECT_LT(numbers.size(), 35u) << "nothing was evicted: the test shows nothing";
    EXPECT_GE(stream_.count_of("gap"), 1u);
}

// Two filters of one partition, of which one loses more than the other: each is told.
TEST_P(SlowReplays, EachFilterIsToldOfItsOwnLosses) {
    const Texts tiny = tiny_topics(2);
    for (int number = 1; number <= 20; ++number) {
        publish(tiny[0], number);
        publish(tiny[1], number);
    }
    client_.stall();
    client_.say(subscribe_text("1", {tiny[0], tiny[1]}, after({})));
    forget_pages();
    publish_many(tiny[0], 21, 60);  // evicts all that it had
    for (int count = 0; count < 5; ++count) dose(500);
    forget_pages();
    publish_many(tiny[1], 21, 38);  // evicts less than that
    read_all();
    for (const std::string& topic : tiny) {
        const std::vector<int> numbers = numbers_of(topic);
        const bool has_hole = numbers.size() < (topic == tiny[0] ? 60u : 38u);
        uint32_t gaps_count = 0;
        for (const std::string& text : stream_.others) {
            gaps_count += text == gap_text(topic, "\"" + topic + "\"") ? 1u : 0u;
        }
        EXPECT_TRUE(has_hole) << "nothing was evicted: the test shows nothing";
        EXPECT_GE(gaps_count, 1u) << topic;
    }
}

// `recovered` is told by what is there when it is told, also when somebody read the place a moment
// ago.
TEST_P(SlowReplays, AResumeIsNotProvenByAnOldPage) {
    const std::string tiny = tiny_topics(1)[0];
    publish_many(tiny, 1, 20);
    const Peer early = world_.client(0);
    early.say(subscribe_text("1", {tiny}, after({})));
    EXPECT_NE(early.take_texts().at(0).find(R"("recovered":true)"), std::string::npos);
    early.fail(ECONNRESET);
    publish_many(tiny, 21, 60);
    world_.jump(base::ns_per_ms);
    client_.say(subscribe_text("1", {tiny}, after({})));
    stream_.read(client_);
    EXPECT_NE(stream_.others.front().find(R"("recovered":false,"code":"evicted")"),
              std::string::npos)
        << stream_.others.front();
}

// Gaps count against the limit too: a thousand of them do not stand before a full queue.
TEST_P(SlowReplays, GapsOfManyFiltersKeepTheLimit) {
    const Texts tiny = tiny_topics(20);
    for (int number = 1; number <= 20; ++number) {
        for (const std::string& topic : tiny) publish(topic, number);
    }
    client_.stall();
    client_.say(subscribe_text("1", tiny, after({})));
    for (int number = 21; number <= 45; ++number) {
        for (const std::string& topic : tiny) publish(topic, number);
    }
    for (int count = 0; count < 400; ++count) dose(300);
    read_all();
    EXPECT_GE(stream_.count_of("gap"), tiny.size());
    EXPECT_EQ(stream_.count_of("live"), 1u);
}

// --- compression

constexpr std::string_view offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";

// All texts, inflated where they were compressed.
struct Inflated {
    Texts texts;
    uint32_t compressed_count = 0;
};
Inflated take_inflated(const Peer& peer) {
    Inflated inflated;
    std::string bytes = peer.take_bytes();
    const size_t bytes_count = bytes.size();
    bytes.append(base::readable_padding_bytes, '\0');
    std::span<uint8_t> input(reinterpret_cast<uint8_t*>(bytes.data()), bytes_count);
    codec::FrameDecoder decoder(codec::Role::client);
    codec::Inflater inflater{codec::InflaterSettings{}};
    const codec::FrameLimits limits{.message_bytes_max = base::mib, .allows_compression = true};
    while (true) {
        const codec::Decoded decoded = decoder.next(input, limits);
        if (decoded.kind != codec::Decoded::Kind::text) return inflated;
        std::span<const uint8_t> plain = decoded.payload;
        if (decoded.is_compressed) {
            ++inflated.compressed_count;
            plain = inflater.inflate_message(decoded.payload, {base::mib, true}).plain;
        }
        inflated.texts.emplace_back(reinterpret_cast<const char*>(plain.data()), plain.size());
    }
}

TEST_P(SlowReplays, PagesAreCompressedOnceForThoseWhoWantIt) {
    publish_many(topic_, 1, 40);
    for (int number = 41; number <= 50; ++number) publish(topic_, number, 10);  // not worth it
    world_.client(0).say(subscribe_text("1", {topic_}, last(50)));
    EXPECT_EQ(world_.metric(Metric::messages_compressed_total), 0u) << "nobody wants it";
    for (int count = 0; count < 3; ++count) {
        const Peer peer = world_.client(0, offer);
        if (count == 2) peer.stall();
        peer.say(subscribe_text("1", {topic_}, last(50)));
        if (count == 2) {
            for (int dose_count = 0; dose_count < 100; ++dose_count) {
                peer.socket().send_room_bytes = 37;
                world_.settle();
            }
            peer.read_on();
        }
        const Inflated inflated = take_inflated(peer);
        EXPECT_EQ(inflated.compressed_count, 40u);
        stream_ = StreamReader();
        for (const std::string& text : inflated.texts) stream_.take(text);
        EXPECT_EQ(numbers_of(topic_), range(1, 50));
        EXPECT_EQ(stream_.count_of("live"), 1u);
        EXPECT_EQ(world_.metric(Metric::messages_compressed_total), 40u) << "once for all";
    }
}

// --- the stop

TEST_P(SlowReplays, AStopInTheMiddleOfASlowReplayIsADrain) {
    publish_many(topic_, 1, 100);
    client_.stall();
    client_.say(subscribe_text("1", {topic_}, last(100)));
    world_.request(io::Request::stop);
    world_.settle();
    world_.turn(0);
    EXPECT_GT(world_.kernel(0).deadline_ns, world_.now_ns());
    client_.read_on();
    const std::vector<Frame> frames = client_.take_frames();
    ASSERT_GE(frames.size(), 3u);
    EXPECT_EQ(frames.back().close_code, 1001);
    EXPECT_EQ(std::count_if(frames.begin(), frames.end(),
                            [](const Frame& frame) {
                                return frame.payload.starts_with(R"({"op":"goodbye")");
                            }),
              1);
    for (const Frame& frame : frames) {
        if (frame.kind == codec::Decoded::Kind::text) stream_.take(frame.payload);
    }
    EXPECT_LT(stream_.messages.size(), 20u) << "what was queued";
    EXPECT_EQ(stream_.count_of("live"), 0u);
    client_.finish();
    world_.settle();
    EXPECT_TRUE(client_.is_closed());
}

}  // namespace
}  // namespace broker
