#include "broker/replays.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/broker/shard_world.h"
#include "tests/broker/stream_reader.h"

namespace broker {
namespace {

using testing::after;
using testing::array_of;
using testing::cursor_text;
using testing::last;
using testing::live_text;
using testing::message_text;
using testing::Peer;
using testing::replay_text;
using testing::StreamReader;
using testing::subscribe_text;
using testing::subscribed_text;
using testing::World;
using testing::WorldOptions;
using Texts = std::vector<std::string>;

std::string refused(std::string_view code) {
    return R"(,"recovered":false,"code":")" + std::string(code) + "\"";
}

constexpr std::string_view recovered = R"(,"recovered":true)";

// A client on shard 0 of so many shards, and topics of the last one: of its own shard when there is
// one, else of another.
class ReplaysTest : public ::testing::TestWithParam<uint32_t> {
  protected:
    ReplaysTest()
        : world_(options()),
          far_(GetParam() - 1),
          topic_(world_.topic_owned_by(far_)),
          writer_(world_.client(far_)),
          client_(world_.client(0)) {}

    static WorldOptions options() {
        WorldOptions options{.shards_count = GetParam()};
        options.settings.topic_rules = {{.match = "topic/#", .history_messages_max = 1'000},
                                        {.match = "tiny/#", .history_messages_max = 3}};
        return options;
    }

    // A topic of the tiny rule, on the same shard as topic_.
    std::string tiny_topic() const {
        for (int index = 0;; ++index) {
            const std::string topic = "tiny/" + std::to_string(index);
            if (world_.partition_of(topic) % GetParam() == far_) return topic;
        }
    }

    // Publishes one number; answers its position.
    std::string publish(const std::string& topic, int number) {
        writer_.say(R"({"op":"publish","id":0,"topic":")" + topic + R"(","data":)" +
                    std::to_string(number) + "}");
        const Texts answers = writer_.take_texts();
        EXPECT_EQ(answers.size(), 1u);
        if (answers.size() != 1) return {};
        const size_t begin = answers[0].find("\"pos\":\"");
        EXPECT_NE(begin, std::string::npos) << answers[0];
        return answers[0].substr(begin + 7, answers[0].size() - begin - 9);
    }
    void publish_many(const std::string& topic, int count) {
        for (int number = 1; number <= count; ++number) publish(topic, number);
    }
    std::string position(uint64_t offset) const { return world_.position_text(topic_, offset); }
    std::string message(uint64_t offset) const {
        return message_text(topic_, position(offset), "\"data\":" + std::to_string(offset));
    }

    Texts ask(std::string_view id, const Texts& filters, std::string_view start) {
        client_.say(subscribe_text(id, filters, start));
        return client_.take_texts();
    }
    // What begins right after `subscribed` was refused with this code.
    void expect_refused(const Texts& texts, std::string_view code, const Texts& heads,
                        bool is_recoverable = true) {
        ASSERT_EQ(texts.size(), 2u) << (texts.empty() ? "" : texts.back());
        std::string expected = subscribed_text("1", heads, is_recoverable, refused(code));
        expected.pop_back();  // a reason follows
        EXPECT_TRUE(texts[0].starts_with(expected + ",\"reason\":\"")) << texts[0];
        EXPECT_EQ(texts[1], live_text("1", heads));
    }

    World world_;
    const io::ShardId far_;
    const std::string topic_;
    const Peer writer_;
    const Peer client_;
};

INSTANTIATE_TEST_SUITE_P(Shards, ReplaysTest, ::testing::Values(1, 2, 3));

// --- last

TEST_P(ReplaysTest, LastBringsTheNewestAndGoesLive) {
    publish_many(topic_, 5);
    EXPECT_EQ(ask("1", {topic_}, last(3)),
              (Texts{subscribed_text("1", {position(5)}, true), replay_text("1", 3), message(3),
                     message(4), message(5), live_text("1", {position(5)})}));
    publish(topic_, 6);
    EXPECT_EQ(client_.take_texts(), Texts{message(6)}) << "what is live is not announced";
    EXPECT_EQ(world_.metric(Metric::replayed_messages_total), 3u);
    EXPECT_EQ(world_.metric(Metric::subscriptions), 1u);
    EXPECT_EQ(world_.metric(Metric::subscriptions_catching_up), 0u);
}

TEST_P(ReplaysTest, LastOfLessThanThatIsAll) {
    publish_many(topic_, 2);
    EXPECT_EQ(ask("1", {topic_}, last(1'000'000)),
              (Texts{subscribed_text("1", {position(2)}, true), replay_text("1", 2), message(1),
                     message(2), live_text("1", {position(2)})}));
}

TEST_P(ReplaysTest, LastOfNothingIsLiveAtOnce) {
    EXPECT_EQ(ask("1", {topic_}, last(3)),
              (Texts{subscribed_text("1", {}, true), live_text("1", {})}));
    publish(topic_, 1);
    EXPECT_EQ(client_.take_texts(), Texts{message(1)});
}

TEST_P(ReplaysTest, LastOfAWildcardIsTheNewestOfEachTopic) {
    Texts topics;
    for (io::ShardId shard = 0; shard < GetParam(); ++shard) {
        for (uint32_t number = 0; number < 4; ++number) {
            topics.push_back(world_.topic_owned_by(shard, number));
        }
    }
    for (int number = 1; number <= 5; ++number) {
        for (const std::string& topic : topics) publish(topic, number);
    }
    client_.say(subscribe_text("1", {"topic/+"}, last(2)));
    StreamReader stream;
    stream.read(client_);
    EXPECT_EQ(stream.messages.size(), 2 * topics.size());
    for (const std::string& topic : topics) {
        EXPECT_EQ(stream.payloads_of(topic), (Texts{"\"data\":4", "\"data\":5"})) << topic;
    }
    EXPECT_EQ(stream.payloads(false), Texts{});
    EXPECT_EQ(stream.count_of("live"), 1u);
    EXPECT_EQ(stream.count_of("gap"), 0u) << "what was not asked for is no loss";
    for (const std::string& topic : topics) publish(topic, 6);
    stream.read(client_);
    for (const std::string& topic : topics) {
        EXPECT_EQ(stream.payloads_of(topic), (Texts{"\"data\":4", "\"data\":5", "\"data\":6"}));
    }
}

TEST_P(ReplaysTest, LastOfMoreThanTheRulesKeepIsNoLoss) {
    const std::string tiny = tiny_topic();
    for (int number = 1; number <= 10; ++number) publish(tiny, number);
    client_.say(subscribe_text("1", {tiny}, last(50)));
    StreamReader stream;
    stream.read(client_);
    EXPECT_EQ(stream.payloads(true), (Texts{"\"data\":8", "\"data\":9", "\"data\":10"}));
    EXPECT_EQ(stream.count_of("gap"), 0u);
    EXPECT_EQ(stream.count_of("live"), 1u);
}

TEST_P(ReplaysTest, LastIsToldOfNoLossBeforeItWasAsked) {
    const std::string tiny = tiny_topic();
    publish_many(tiny, 2);
    client_.say(subscribe_text("1", {tiny}, last(1)));
    StreamReader first;
    first.read(client_);
    EXPECT_EQ(first.payloads(true), Texts{"\"data\":2"});
    // As many as the rule keeps: none of them can be lost behind what the first one got.
    for (int number = 3; number <= 5; ++number) publish(tiny, number);
    const Peer second = world_.client(0);
    second.say(subscribe_text("1", {tiny}, last(1)));
    StreamReader shared;
    shared.read(second);
    EXPECT_EQ(shared.payloads(true),
              (Texts{"\"data\":2", "\"data\":3", "\"data\":4", "\"data\":5"}));
    EXPECT_EQ(shared.count_of("gap"), 0u);
    // With one more the third message is.
    publish(tiny, 6);
    const Peer third = world_.client(0);
    third.say(subscribe_text("1", {tiny}, last(1)));
    StreamReader own;
    own.read(third);
    EXPECT_EQ(own.payloads(true), Texts{"\"data\":6"});
    EXPECT_EQ(own.count_of("gap"), 0u);
    EXPECT_EQ(own.count_of("live"), 1u);
}

TEST_P(ReplaysTest, ManyPagesAreOneReplay) {
    // Far more than one page holds.
    const std::string text(1'000, 'x');
    for (int number = 0; number < 200; ++number) {
        writer_.say(R"({"op":"publish","topic":")" + topic_ + R"(","text":")" + text + "\"}");
    }
    client_.say(subscribe_text("1", {topic_}, last(150)));
    StreamReader stream;
    stream.read(client_);
    ASSERT_EQ(stream.messages.size(), 150u);
    EXPECT_EQ(stream.messages.front().position, position(51));
    EXPECT_EQ(stream.messages.back().position, position(200));
    EXPECT_EQ(stream.others.back(), live_text("1", {position(200)}));
    EXPECT_GT(world_.metric(Metric::history_pages_total), 3u);
    EXPECT_LT(stream.announcements_count, 10u) << "a page is one announcement";
}

// --- after

TEST_P(ReplaysTest, AfterBringsWhatWasMissed) {
    publish_many(topic_, 5);
    EXPECT_EQ(ask("1", {topic_}, after({position(2)})),
              (Texts{subscribed_text("1", {position(2)}, true, recovered), replay_text("1", 3),
                     message(3), message(4), message(5), live_text("1", {position(5)})}));
    publish(topic_, 6);
    EXPECT_EQ(client_.take_texts(), Texts{message(6)});
    EXPECT_EQ(world_.metric(Metric::resumes_total), 1u);
    EXPECT_EQ(world_.metric(Metric::resumes_refused_total), 0u);
}

TEST_P(ReplaysTest, AfterTheHeadIsLiveAtOnce) {
    publish_many(topic_, 5);
    EXPECT_EQ(ask("1", {topic_}, after({position(5)})),
              (Texts{subscribed_text("1", {position(5)}, true, recovered),
                     live_text("1", {position(5)})}));
}

TEST_P(ReplaysTest, AMissingEntryStandsForTheBeginning) {
    publish_many(topic_, 2);
    const Texts expected = {subscribed_text("1", {}, true, recovered), replay_text("1", 2),
                            message(1), message(2), live_text("1", {position(2)})};
    EXPECT_EQ(ask("1", {topic_}, after({})), expected);
    const Peer other = world_.client(0);
    other.say(subscribe_text("1", {topic_}, after({position(0)})));
    EXPECT_EQ(other.take_texts(), expected) << "and so does offset 0";
}

TEST_P(ReplaysTest, AWildcardResumesInEveryPartition) {
    Texts topics;
    for (io::ShardId shard = 0; shard < GetParam(); ++shard) {
        for (uint32_t number = 0; number < 10; ++number) {
            topics.push_back(world_.topic_owned_by(shard, number));
        }
    }
    client_.subscribe("topic/#");
    for (const std::string& topic : topics) publish(topic, 1);
    StreamReader first;
    first.read(client_);
    ASSERT_EQ(first.messages.size(), topics.size());
    // The cursor that a client would have: the newest position of each partition.
    std::map<uint32_t, std::string> newest;
    for (const StreamReader::Message& message : first.messages) {
        newest[world_.partition_of(message.topic)] = message.position;
    }
    Texts cursor;
    for (const auto& [partition, text] : newest) cursor.push_back(text);
    client_.fail(ECONNRESET);
    for (const std::string& topic : topics) publish(topic, 2);
    const Peer again = world_.client(0);
    again.say(subscribe_text("1", {"topic/#"}, after(cursor)));
    StreamReader second;
    second.read(again);
    ASSERT_FALSE(second.others.empty());
    EXPECT_EQ(second.others.front(), subscribed_text("1", cursor, true, recovered));
    EXPECT_EQ(second.messages.size(), topics.size());
    for (const std::string& topic : topics) {
        EXPECT_EQ(second.payloads_of(topic), Texts{"\"data\":2"}) << topic;
    }
    EXPECT_EQ(second.payloads(false), Texts{});
    EXPECT_EQ(second.count_of("live"), 1u);
}

TEST_P(ReplaysTest, TheCursorIsOfThePartitionsThatTheFiltersCanMatch) {
    publish_many(topic_, 2);
    const uint32_t own = world_.partition_of(topic_);
    const uint32_t other = (own + 1) % 64;
    Texts cursor = {position(2), std::to_string(other) + ":999"};
    if (other < own) std::swap(cursor[0], cursor[1]);
    EXPECT_EQ(ask("1", {topic_}, after(cursor)),
              (Texts{subscribed_text("1", {position(2)}, true, recovered),
                     live_text("1", {position(2)})}))
        << "what the client says of others is nobody's business";
}

// --- when it cannot be exact

TEST_P(ReplaysTest, ACursorOfAnotherEpochIsRefused) {
    publish_many(topic_, 2);
    const std::string start = R"({"after":{"epoch":"other","pos":[")" + position(1) + "\"]}}";
    expect_refused(ask("1", {topic_}, start), "epoch_changed", {position(2)});
    publish(topic_, 3);
    EXPECT_EQ(client_.take_texts(), Texts{message(3)}) << "it is live";
    EXPECT_EQ(world_.metric(Metric::resumes_refused_total), 1u);
    EXPECT_EQ(world_.metric(Metric::resumes_total), 0u);
}

TEST_P(ReplaysTest, APositionBeyondTheHeadIsRefused) {
    publish_many(topic_, 2);
    expect_refused(ask("1", {topic_}, after({position(3)})), "invalid_position", {position(2)});
    publish(topic_, 3);
    EXPECT_EQ(client_.take_texts(), Texts{message(3)});
}

TEST_P(ReplaysTest, APositionOfAPartitionWithoutMessagesIsRefused) {
    expect_refused(ask("1", {topic_}, after({position(1)})), "invalid_position", {});
}

TEST_P(ReplaysTest, APartitionThatDoesNotExistIsRefused) {
    publish_many(topic_, 1);
    expect_refused(ask("1", {topic_}, after({position(1), "64:1"})), "invalid_position",
                   {position(1)});
}

TEST_P(ReplaysTest, WhatWasEvictedIsRefused) {
    const std::string tiny = tiny_topic();
    std::string newest;
    for (int number = 1; number <= 5; ++number) newest = publish(tiny, number);
    expect_refused(ask("1", {tiny}, after({world_.position_text(tiny, 1)})), "evicted", {newest});
    const Peer exact = world_.client(0);
    exact.say(subscribe_text("1", {tiny}, after({world_.position_text(tiny, 2)})));
    StreamReader stream;
    stream.read(exact);
    EXPECT_EQ(stream.others.front(),
              subscribed_text("1", {world_.position_text(tiny, 2)}, true, recovered))
        << "3, 4 and 5 are there: the other side of the limit";
    EXPECT_EQ(stream.payloads(true), (Texts{"\"data\":3", "\"data\":4", "\"data\":5"}));
}

TEST_P(ReplaysTest, ARefusalAfterAReplayOfOthersTellsOnlyItsOwnConnection) {
    const std::string tiny = tiny_topic();
    for (int number = 1; number <= 5; ++number) publish(tiny, number);
    const Peer other = world_.client(0);
    other.say(subscribe_text("1", {tiny}, last(3)));
    EXPECT_EQ(other.take_texts().size(), 6u);
    ask("1", {tiny}, after({world_.position_text(tiny, 1)}));
    EXPECT_EQ(other.take_texts(), Texts{});
}

TEST_P(ReplaysTest, WithoutHistoryThereIsNothingToRecover) {
    expect_refused(ask("1", {"plain"}, R"({"after":{"epoch":"other","pos":[]}})"), "epoch_changed",
                   {}, false);
    const Peer other = world_.client(0);
    other.say(subscribe_text("2", {"plain"}, after({})));
    EXPECT_EQ(other.take_texts(),
              (Texts{subscribed_text("2", {}, false, recovered), live_text("2", {})}));
    const Peer third = world_.client(0);
    third.say(subscribe_text("3", {"plain"}, last(5)));
    EXPECT_EQ(third.take_texts(), (Texts{subscribed_text("3", {}, false), live_text("3", {})}));
    writer_.say(R"({"op":"publish","topic":"plain","data":1})");
    for (const Peer& peer : {client_, other, third}) {
        EXPECT_EQ(peer.take_texts(), Texts{message_text("plain", "\"data\":1")});
    }
}

TEST_P(ReplaysTest, RecoverableIsDecidedFromRulesAndFilters) {
    struct Case {
        Texts filters;
        bool is_recoverable;
    };
    const Case cases[] = {{{"topic/a"}, true},
                          {{"topic/#"}, true},
                          {{"topic/+/x"}, true},
                          {{"topic"}, true},
                          {{"#"}, false},
                          {{"+/a"}, false},
                          {{"plain"}, false},
                          {{"topic/a", "tiny/b"}, true},
                          {{"topic/a", "plain"}, false},
                          {{"tiny/+"}, true}};
    for (const Case& one : cases) {
        for (const std::string& start :
             {std::string("\"now\""), last(1), after({}), after({"64:1"})}) {
            const Peer peer = world_.client(0);
            peer.say(subscribe_text("1", one.filters, start));
            const Texts texts = peer.take_texts();
            ASSERT_FALSE(texts.empty());
            const std::string member =
                one.is_recoverable ? "\"recoverable\":true" : "\"recoverable\":false";
            EXPECT_NE(texts[0].find(member), std::string::npos) << texts[0];
        }
    }
}

// --- now

TEST_P(ReplaysTest, NowTellsWhereItStandsAndNothingElse) {
    publish_many(topic_, 2);
    EXPECT_EQ(ask("1", {topic_}, "\"now\""), Texts{subscribed_text("1", {position(2)}, true)});
    publish(topic_, 3);
    EXPECT_EQ(client_.take_texts(), Texts{message(3)});
}

// --- several replays

TEST_P(ReplaysTest, OneReplayAtATime) {
    publish_many(topic_, 2);
    const std::string frame =
        array_of({subscribe_text("1", {topic_}, last(1)), subscribe_text("2", {"b"}, "\"now\""),
                  subscribe_text("3", {topic_}, last(2)), subscribe_text("4", {"c"}, last(1))});
    client_.say(frame);
    EXPECT_EQ(client_.take_texts(),
              (Texts{subscribed_text("1", {position(2)}, true), replay_text("1", 1), message(2),
                     live_text("1", {position(2)}), subscribed_text("2"),
                     subscribed_text("3", {position(2)}, true), replay_text("3", 2), message(1),
                     message(2), live_text("3", {position(2)}), subscribed_text("4"),
                     live_text("4", {})}))
        << "answered in order, and what was asked for is repeated";
    EXPECT_EQ(world_.metric(Metric::subscriptions), 3u);
    publish(topic_, 3);
    EXPECT_EQ(client_.take_texts(), Texts{message(3)});
}

TEST_P(ReplaysTest, OtherCommandsGoOnBeforeAReplayThatWaits) {
    publish_many(topic_, 1);
    client_.say(
        array_of({subscribe_text("1", {topic_}, last(1)), subscribe_text("2", {"b"}, last(1)),
                  R"({"op":"ping","id":3})", R"({"op":"unsubscribe","id":4,"filter":"b"})"}));
    const Texts texts = client_.take_texts();
    ASSERT_EQ(texts.size(), 7u);
    EXPECT_EQ(texts.front(), R"({"op":"pong","id":3})");
    EXPECT_EQ(Texts(texts.end() - 3, texts.end()),
              (Texts{live_text("1", {position(1)}), subscribed_text("2"),
                     R"({"op":"unsubscribed","id":4})"}))
        << "what waits is given up when it has begun, and then there is no live";
    EXPECT_EQ(world_.metric(Metric::subscriptions), 1u);
}

TEST_P(ReplaysTest, ReplaysThatWaitCountAgainstTheLimit) {
    Texts many;
    for (int index = 0; index < 1'000; ++index) many.push_back("x/" + std::to_string(index));
    Texts some(many.begin(), many.begin() + 25);
    for (std::string& filter : some) filter += "/y";
    client_.say(array_of({subscribe_text("1", many, last(1)), subscribe_text("2", some, last(1)),
                          subscribe_text("3", {"a"}, last(1))}));
    const Texts texts = client_.take_texts();
    ASSERT_EQ(texts.size(), 5u);
    EXPECT_EQ(testing::error_code(texts[0]), "too_many_subscriptions");
    EXPECT_TRUE(texts[0].find("\"id\":2") != std::string::npos) << texts[0];
    EXPECT_EQ(world_.metric(Metric::subscriptions), 1'001u);
}

TEST_P(ReplaysTest, AFilterThatIsLiveCanBeAskedForAgain) {
    client_.subscribe(topic_);
    publish_many(topic_, 3);
    client_.take_texts();
    EXPECT_EQ(ask("1", {topic_}, last(2)),
              (Texts{subscribed_text("1", {position(3)}, true), replay_text("1", 2), message(2),
                     message(3), live_text("1", {position(3)})}));
    publish(topic_, 4);
    EXPECT_EQ(client_.take_texts(), Texts{message(4)}) << "once";
    EXPECT_EQ(world_.metric(Metric::subscriptions), 1u);
}

// --- the position with the heartbeat

TEST_P(ReplaysTest, ThePositionComesWithThePing) {
    client_.subscribe(topic_);
    const Peer idle = world_.client(0);  // without a subscription
    const std::string other = world_.topic_owned_by(far_, 1);
    const std::string moved = publish(other, 1);
    world_.run_for(26 * base::ns_per_s);
    const auto texts_of = [](const Peer& peer) {
        Texts texts;
        for (const testing::Frame& frame : peer.take_frames()) {
            if (frame.kind == codec::Decoded::Kind::text) texts.push_back(frame.payload);
        }
        return texts;
    };
    EXPECT_EQ(texts_of(client_),
              Texts{R"({"op":"position","cursor":)" + cursor_text({moved}) + "}"})
        << "although nothing matched";
    EXPECT_EQ(texts_of(idle), Texts{});
    client_.send(testing::client_frame(codec::Opcode::pong, ""));
    world_.run_for(26 * base::ns_per_s);
    EXPECT_EQ(texts_of(client_), Texts{}) << "nothing moved since";
}

// --- sharing

TEST_P(ReplaysTest, ReadersAtOnePlaceShareTheirPages) {
    publish_many(topic_, 100);
    constexpr int readers_count = 1'000;
    std::vector<Peer> readers;
    for (int index = 0; index < readers_count; ++index) readers.push_back(world_.connect(0));
    for (const Peer& reader : readers) {
        reader.socket().inbound =
            Peer::upgrade_request() +
            testing::client_frame(codec::Opcode::text, subscribe_text("1", {topic_}, last(100)));
    }
    world_.settle();
    for (const Peer& reader : readers) {
        EXPECT_TRUE(reader.take_response().starts_with("HTTP/1.1 101 "));
        StreamReader stream;
        stream.read(reader);
        EXPECT_EQ(stream.messages.size(), 100u);
        EXPECT_EQ(stream.count_of("live"), 1u);
    }
    EXPECT_LE(world_.metric(Metric::history_pages_total), 3u);
    EXPECT_EQ(world_.metric(Metric::replayed_messages_total), 100u * readers_count);
}

}  // namespace
}  // namespace broker
