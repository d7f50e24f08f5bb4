// Sessions whose commands and messages travel through the lanes between shards.

#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <vector>

#include "broker/session.h"
#include "tests/broker/shard_world.h"

namespace broker {
namespace {

using codec::Opcode;
using testing::array_of;
using testing::client_frame;
using testing::error_code;
using testing::message_text;
using testing::Peer;
using testing::subscribed_text;
using testing::World;
using testing::WorldOptions;
using Texts = std::vector<std::string>;

class TwoShards : public ::testing::Test {
  protected:
    explicit TwoShards(uint64_t lane_bytes = base::mib) : world_(options_of(lane_bytes)) {}

    static WorldOptions options_of(uint64_t lane_bytes) {
        WorldOptions options{.shards_count = 2};
        options.settings.lane_bytes = lane_bytes;
        return options;
    }
    static std::string publish(std::string_view topic, int number, std::string_view padding = "") {
        return R"({"op":"publish","id":)" + std::to_string(number) + R"(,"topic":")" +
               std::string(topic) + R"(","data":[)" + std::to_string(number) + ",\"" +
               std::string(padding) + "\"]}";
    }
    void turn_alone(io::ShardId shard, int count = 5) {
        for (; count > 0; --count) world_.turn(shard);
    }

    World world_;
};

TEST_F(TwoShards, MessagesReachEveryShardWhoeverOwnsThem) {
    const Peer readers[] = {world_.client(0), world_.client(1)};
    for (const Peer& reader : readers) reader.subscribe("#");
    for (const io::ShardId from : {0u, 1u}) {
        const Peer writer = world_.client(from);
        for (const io::ShardId owner : {0u, 1u}) {
            const std::string topic = world_.topic_owned_by(owner);
            writer.say(publish(topic, 7));
            EXPECT_EQ(writer.take_texts(), Texts{R"({"op":"published","id":7})"});
            for (const Peer& reader : readers)
                EXPECT_EQ(reader.take_texts(), Texts{message_text(topic, R"("data":[7,""])")});
        }
    }
    EXPECT_EQ(world_.metric(Metric::messages_published_total), 4u);
    EXPECT_EQ(world_.metric(Metric::deliveries_total), 8u);
}

TEST_F(TwoShards, EchoFalseIsKeptAcrossShards) {
    const std::string topic = world_.topic_owned_by(1);
    const Peer writer = world_.client(0);
    const Peer reader = world_.client(0);
    for (const Peer& peer : {writer, reader}) peer.subscribe(topic);
    writer.say(R"({"op":"publish","topic":")" + topic + R"(","data":1,"echo":false})");
    EXPECT_EQ(writer.take_texts(), Texts{});
    EXPECT_EQ(reader.take_texts().size(), 1u);
}

TEST_F(TwoShards, LargePayloadsCross) {
    const std::string topic = world_.topic_owned_by(1);
    const Peer peer = world_.client(0);
    peer.subscribe(topic);
    const std::string text(60'000, 'x');
    peer.say(R"({"op":"publish","topic":")" + topic + R"(","text":")" + text + "\"}");
    EXPECT_EQ(peer.take_texts(), Texts{message_text(topic, "\"text\":\"" + text + "\"")});
}

// Each of them takes memory that no ring has.
TEST_F(TwoShards, AnOwnerThatIsBehindIsSentSoManyLargePayloads) {
    const Peer peer = world_.client(0);
    const std::string topic = world_.topic_owned_by(1);
    constexpr int messages_count = 100;
    for (int number = 0; number < messages_count; ++number) {
        peer.socket().inbound +=
            client_frame(Opcode::text, publish(topic, number, std::string(60'000, 'x')));
    }
    turn_alone(0, 5 * messages_count);
    EXPECT_GT(world_.metric(Metric::pauses_total), 0u);
    EXPECT_LE(world_.metric(Metric::commands_total), 64u);
    world_.settle();
    EXPECT_EQ(peer.take_texts().size(), static_cast<size_t>(messages_count));
}

TEST_F(TwoShards, SubscribedComesWithTheLastAcknowledgement) {
    const Peer peer = world_.client(0);
    peer.socket().inbound = client_frame(Opcode::text, R"({"op":"subscribe","id":1,"filter":"#"})");
    turn_alone(0);
    EXPECT_EQ(peer.take_texts(), Texts{});
    world_.settle();
    EXPECT_EQ(peer.take_texts(), Texts{subscribed_text("1")});
}

TEST_F(TwoShards, APublishWaitsForTheSubscribeBeforeIt) {
    const Peer peer = world_.client(0);
    const std::string topic = world_.topic_owned_by(0);
    peer.socket().inbound +=
        client_frame(Opcode::text, R"({"op":"subscribe","id":1,"filter":"#"})") +
        client_frame(Opcode::text, publish(topic, 7));
    turn_alone(0);
    EXPECT_EQ(peer.take_texts(), Texts{}) << "the other shard does not know of the filter";
    EXPECT_EQ(world_.metric(Metric::messages_published_total), 0u);
    world_.settle();
    EXPECT_EQ(peer.take_texts(), (Texts{R"({"op":"published","id":7})", subscribed_text("1"),
                                        message_text(topic, R"("data":[7,""])")}));
}

TEST_F(TwoShards, UnsubscribeWaitsForTheJoin) {
    const std::string topic = world_.topic_owned_by(1);
    const Peer peer = world_.client(0);
    peer.socket().inbound = client_frame(
        Opcode::text, R"([{"op":"subscribe","id":1,"filter":")" + topic +
                          R"("},{"op":"ping","id":2},{"op":"unsubscribe","id":3,"filter":")" +
                          topic + R"("},{"op":"ping","id":4}])");
    turn_alone(0);
    EXPECT_EQ(peer.take_texts(), Texts{R"({"op":"pong","id":2})"});
    world_.settle();
    EXPECT_EQ(peer.take_texts(), (Texts{R"({"op":"pong","id":4})", subscribed_text("1"),
                                        R"({"op":"unsubscribed","id":3})"}));
    EXPECT_EQ(world_.metric(Metric::subscriptions), 0u);
}

TEST_F(TwoShards, JoiningFiltersCountAgainstTheLimit) {
    const std::string topic = world_.topic_owned_by(1);
    const Peer peer = world_.client(0);
    Texts filters;
    for (int index = 0; index < 1'024; ++index)
        filters.push_back("\"x/" + std::to_string(index) + "\"");
    peer.socket().inbound =
        client_frame(Opcode::text, R"({"op":"subscribe","id":1,"filters":)" +
                                       array_of({filters.begin(), filters.begin() + 1'000}) + "}") +
        client_frame(Opcode::text, R"({"op":"subscribe","id":2,"filters":)" +
                                       array_of({filters.begin() + 1'000, filters.end()}) + "}") +
        client_frame(Opcode::text, R"({"op":"subscribe","id":3,"filter":"#"})");
    world_.settle();
    const Texts texts = peer.take_texts();
    ASSERT_EQ(texts.size(), 3u);
    EXPECT_EQ(error_code(texts[0]), "too_many_subscriptions");
    EXPECT_EQ(world_.metric(Metric::subscriptions), 1'024u);
}

TEST_F(TwoShards, AConnectionThatEndsWhileItJoinsLeavesNothingBehind) {
    const std::string topic = world_.topic_owned_by(1);
    const Peer peer = world_.client(0);
    peer.socket().inbound =
        client_frame(Opcode::text, R"({"op":"subscribe","id":1,"filter":")" + topic + "\"}");
    turn_alone(0);
    peer.socket().error = ECONNRESET;
    turn_alone(0);
    EXPECT_TRUE(peer.is_closed());
    world_.settle();
    EXPECT_EQ(world_.metric(Metric::subscriptions), 0u);
    // The owner sends nothing to a shard that wants nothing: one delivery, to the local subscriber.
    const Peer reader = world_.client(1);
    reader.subscribe(topic);
    reader.say(publish(topic, 1));
    EXPECT_EQ(reader.take_texts().size(), 2u);
    EXPECT_EQ(world_.metric(Metric::deliveries_total), 1u);
}

// The answers to what is on its way to other shards when the client stops reading.
TEST(ForwardingSession, WhoDoesNotReadWhatOtherShardsAnswerIsNotReadFrom) {
    World world({.shards_count = 3});
    const Peer peer = world.client(0);
    peer.stall();
    const std::string id_end(58, 'x');
    constexpr uint32_t publishes_count = 30'000;
    for (uint32_t number = 0; number < publishes_count; ++number) {
        peer.socket().inbound += client_frame(
            Opcode::text, R"({"op":"publish","id":")" + std::to_string(100'000 + number) + id_end +
                              R"(","topic":")" + world.topic_owned_by(1 + number % 2) +
                              R"(","data":0})");
    }
    for (int count = 0; count < 300; ++count) world.turn(0);
    world.settle();
    EXPECT_GT(world.metric(Metric::outbound_bytes), world.settings.outbound_hard_bytes);
    EXPECT_FALSE(peer.socket().inbound.empty()) << "the rest stays in the kernel";
    peer.read_on();
    EXPECT_EQ(peer.take_texts().size(), publishes_count);
}

// Each answer has the heads of all partitions.
TEST(JoiningSession, WhoSubscribesOneByOneIsNotClosedForTheAnswers) {
    WorldOptions options{.shards_count = 2};
    options.settings.partitions = 512;
    options.settings.topic_rules = {{.match = "#", .history_messages_max = 1}};
    World world(options);
    const Peer writer = world.client(1);
    for (int thousand = 0; thousand < 4; ++thousand) {
        Texts publishes;
        for (int number = 0; number < 1'000; ++number) {
            publishes.push_back(R"({"op":"publish","topic":")" +
                                std::to_string(1'000 * thousand + number) + R"(","data":0})");
        }
        writer.say(array_of(publishes));
    }
    const Peer peer = world.client(0);
    Texts commands;
    for (int number = 0; number < 1'000; ++number) {
        commands.push_back(R"({"op":"subscribe","id":)" + std::to_string(number) +
                           R"(,"filter":")" + std::to_string(number) + R"(/#"})");
    }
    peer.say(array_of(commands));
    EXPECT_EQ(peer.take_texts().size(), 1'000u);
    EXPECT_EQ(world.metric(Metric::subscriptions), 1'000u);
}

// An owner reads so many pages of history in a turn, and no more requests behind them.
TEST(ForwardingSession, ACrowdThatReadsHistoryDoesNotHoldUpThePublishersOfOtherShards) {
    WorldOptions options{.shards_count = 3};
    options.settings.topic_rules = {{.match = "#", .history_messages_max = 1}};
    for (const io::ShardId reading : {1u, 2u}) {
        World world(options);
        const std::string topic = world.topic_owned_by(0);
        const Peer writer = world.client(3 - reading);
        std::vector<Peer> readers;
        readers.reserve(64);
        while (readers.size() < 64) readers.push_back(world.client(reading));
        for (const Peer& reader : readers) {
            reader.socket().inbound = client_frame(
                Opcode::text,
                array_of(Texts(30, R"({"op":"history","id":1,"topic":")" + topic + "\"}")));
        }
        for (int count = 0; count < 5; ++count) world.turn_all();
        writer.socket().inbound = client_frame(
            Opcode::text, R"({"op":"publish","id":1,"topic":")" + topic + R"(","data":0})");
        for (int count = 0; count < 10; ++count) world.turn_all();
        EXPECT_NE(writer.socket().outbound, "") << "readers on shard " << reading;
        world.settle();
        for (const Peer& reader : readers) EXPECT_EQ(reader.take_texts().size(), 30u);
    }
}

class TinyLanes : public TwoShards {
  protected:
    TinyLanes() : TwoShards(8 * base::kib) {}
};

TEST_F(TinyLanes, AFullLanePausesThePublisherAndNothingIsLost) {
    const std::string topic = world_.topic_owned_by(1);
    const Peer writer = world_.client(0);
    const Peer reader = world_.client(0);
    reader.subscribe(topic);
    constexpr int messages_count = 300;
    const std::string padding(700, 'x');
    for (int number = 0; number < messages_count; ++number) {
        writer.socket().inbound += client_frame(Opcode::text, publish(topic, number, padding));
    }
    turn_alone(0);
    EXPECT_GT(world_.metric(Metric::pauses_total), 0u);
    EXPECT_FALSE(writer.socket().recv_armed);
    EXPECT_EQ(world_.kernel(0).deadline_ns, world_.now_ns() + base::ns_per_ms)
        << "tried again soon";
    world_.settle();
    const Texts answers = writer.take_texts();
    const Texts texts = reader.take_texts();
    ASSERT_EQ(texts.size(), static_cast<size_t>(messages_count));
    ASSERT_EQ(answers.size(), static_cast<size_t>(messages_count));
    for (int number = 0; number < messages_count; ++number) {
        const std::string text = std::to_string(number);
        EXPECT_EQ(texts[static_cast<size_t>(number)],
                  message_text(topic, "\"data\":[" + text + ",\"" + padding + "\"]"));
        EXPECT_EQ(answers[static_cast<size_t>(number)], R"({"op":"published","id":)" + text + "}");
    }
    EXPECT_TRUE(writer.socket().recv_armed);
}

TEST_F(TinyLanes, AFullDeliverLanePausesTheOwnersOwnPublishers) {
    const std::string topic = world_.topic_owned_by(0);
    const Peer reader = world_.client(1);
    reader.subscribe(topic);
    const Peer writer = world_.client(0);
    constexpr int messages_count = 100;
    for (int number = 0; number < messages_count; ++number) {
        writer.socket().inbound +=
            client_frame(Opcode::text, publish(topic, number, std::string(700, 'x')));
    }
    turn_alone(0);
    EXPECT_GT(world_.metric(Metric::pauses_total), 0u);
    world_.settle();
    EXPECT_EQ(reader.take_texts().size(), static_cast<size_t>(messages_count));
    EXPECT_EQ(writer.take_texts().size(), static_cast<size_t>(messages_count));
}

TEST_F(TinyLanes, FloodsInBothDirectionsPassEachOther) {
    std::vector<Peer> writers;
    std::vector<Peer> readers;
    for (const io::ShardId shard : {0u, 1u}) {
        readers.push_back(world_.client(shard));
        readers.back().subscribe("#");
        for (int count = 0; count < 10; ++count) writers.push_back(world_.client(shard));
    }
    constexpr int messages_count = 40;
    for (const Peer& writer : writers) {
        for (int number = 0; number < messages_count; ++number) {
            const std::string topic = world_.topic_owned_by(number % 2 == 0 ? 0 : 1);
            writer.socket().inbound +=
                client_frame(Opcode::text, publish(topic, number, std::string(600, 'x')));
        }
    }
    world_.settle();
    const size_t all = writers.size() * messages_count;
    const Texts first = readers[0].take_texts();
    const Texts second = readers[1].take_texts();
    EXPECT_EQ(first.size(), all);
    EXPECT_EQ(second.size(), all);
    // One order per topic for all subscribers.
    for (const io::ShardId owner : {0u, 1u}) {
        const std::string begin =
            "{\"op\":\"message\",\"topic\":\"" + world_.topic_owned_by(owner) + "\"";
        const auto of_topic = [&begin](const Texts& texts) {
            Texts found;
            for (const std::string& text : texts) {
                if (text.starts_with(begin)) found.push_back(text);
            }
            return found;
        };
        EXPECT_EQ(of_topic(first), of_topic(second));
    }
}

TEST_F(TinyLanes, ManySubscriptionsAtOnceAreOwedAndJoined) {
    const Peer peer = world_.client(0);
    Texts filters;
    for (int index = 0; index < 1'000; ++index) {
        filters.push_back("\"" + std::to_string(index) + "/+\"");
    }
    peer.say(R"({"op":"subscribe","id":1,"filters":)" + array_of(filters) + "}");
    EXPECT_EQ(peer.take_texts(), Texts{subscribed_text("1")});
    const Peer writer = world_.client(1);
    writer.say(publish("999/x", 1));
    EXPECT_EQ(peer.take_texts().size(), 1u);
    peer.fail(ECONNRESET);
    EXPECT_EQ(world_.metric(Metric::subscriptions), 0u);
}

}  // namespace
}  // namespace broker
