#include "broker/history_replies.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <vector>

#include "tests/broker/shard_world.h"

namespace broker {
namespace {

using codec::Opcode;
using testing::array_of;
using testing::client_frame;
using testing::cursor_text;
using testing::error_code;
using testing::Peer;
using testing::World;
using testing::WorldOptions;
using Texts = std::vector<std::string>;

// A client on shard 0, and a topic that the last shard owns: this one, or another one.
class HistoryRepliesTest : public ::testing::TestWithParam<uint32_t> {
  protected:
    explicit HistoryRepliesTest(uint64_t lane_bytes = base::mib)
        : world_(options(lane_bytes)),
          topic_(world_.topic_owned_by(GetParam() - 1)),
          writer_(world_.client(GetParam() - 1)),
          client_(world_.client(0)) {}

    static WorldOptions options(uint64_t lane_bytes) {
        WorldOptions options{.shards_count = GetParam()};
        options.settings.topic_rules = {{.match = "topic/tiny/#", .history_messages_max = 3},
                                        {.match = "topic/#", .history_messages_max = 2'000}};
        options.settings.lane_bytes = lane_bytes;
        return options;
    }

    void publish_many(const std::string& topic, int count, size_t padding = 0) {
        for (int number = 1; number <= count; ++number) {
            writer_.say(R"({"op":"publish","topic":")" + topic + R"(","data":)" +
                        payload(number, padding) + "}");
        }
    }
    static std::string payload(int number, size_t padding = 0) {
        if (padding == 0) return std::to_string(number);
        return "[" + std::to_string(number) + ",\"" + std::string(padding, 'x') + "\"]";
    }
    std::string position(uint64_t offset) const { return world_.position_text(topic_, offset); }

    // One answer to one command.
    std::string ask(std::string_view rest, const std::string& topic) {
        client_.say(R"({"op":"history","id":4,"topic":")" + topic + "\"" + std::string(rest) + "}");
        const Texts texts = client_.take_texts();
        EXPECT_EQ(texts.size(), 1u);
        return texts.empty() ? "" : texts[0];
    }
    std::string ask(std::string_view rest) { return ask(rest, topic_); }
    std::string after(const Texts& positions) const {
        return R"(,"after":)" + cursor_text(positions);
    }
    std::string page(int first, int last, const Texts& cursor, bool more,
                     std::string_view rest = "") const {
        Texts messages;
        for (int number = first; number <= last; ++number) {
            messages.push_back(R"({"pos":")" + position(static_cast<uint64_t>(number)) +
                               R"(","data":)" + payload(number) + "}");
        }
        return R"({"op":"history","id":4,"topic":")" + topic_ + R"(","messages":)" +
               array_of(messages) + R"(,"cursor":)" + cursor_text(cursor) +
               (more ? R"(,"more":true)" : R"(,"more":false)") + std::string(rest) + "}";
    }

    World world_;
    const std::string topic_;
    const Peer writer_;
    const Peer client_;
};

INSTANTIATE_TEST_SUITE_P(Shards, HistoryRepliesTest, ::testing::Values(1, 2));

TEST_P(HistoryRepliesTest, TheNewestMessages) {
    publish_many(topic_, 5);
    EXPECT_EQ(ask(R"(,"last":2)"), page(4, 5, {position(5)}, false));
    EXPECT_EQ(ask(R"(,"last":5)"), page(1, 5, {position(5)}, false));
    EXPECT_EQ(ask(R"(,"last":1000000)"), page(1, 5, {position(5)}, false));
    EXPECT_EQ(world_.metric(Metric::errors_total), 0u);
}

TEST_P(HistoryRepliesTest, AHundredWhenNothingIsSaid) {
    publish_many(topic_, 101);
    EXPECT_EQ(ask(""), page(2, 101, {position(101)}, false));
}

TEST_P(HistoryRepliesTest, ATopicWithoutMessages) {
    EXPECT_EQ(ask(R"(,"last":2)"), page(1, 0, {}, false));
    EXPECT_EQ(ask(after({})), page(1, 0, {}, false, R"(,"recovered":true)"));
}

TEST_P(HistoryRepliesTest, AfterACursor) {
    publish_many(topic_, 5);
    const std::string recovered = R"(,"recovered":true)";
    EXPECT_EQ(ask(after({position(3)})), page(4, 5, {position(5)}, false, recovered));
    EXPECT_EQ(ask(after({position(5)})), page(1, 0, {position(5)}, false, recovered));
    EXPECT_EQ(ask(after({})), page(1, 5, {position(5)}, false, recovered))
        << "a missing entry stands for the beginning";
}

TEST_P(HistoryRepliesTest, WhatCannotBeExactSaysWhy) {
    publish_many(topic_, 5);
    const auto refusal = [](std::string_view code) {
        return R"(,"recovered":false,"code":")" + std::string(code) + "\",\"reason\":\"";
    };
    const std::string foreign = ask(R"(,"after":{"epoch":"other","pos":[")" + position(3) + "\"]}");
    const std::string all = page(1, 5, {position(5)}, false);
    EXPECT_TRUE(foreign.starts_with(all.substr(0, all.size() - 1) + refusal("epoch_changed")))
        << foreign;
    const std::string beyond = ask(after({position(6)}));
    const std::string none = page(1, 0, {position(5)}, false);
    EXPECT_TRUE(beyond.starts_with(none.substr(0, none.size() - 1) + refusal("invalid_position")))
        << beyond << "\nand the cursor does not follow the client's mistake";
    std::string tiny;
    for (int index = 0; tiny.empty(); ++index) {
        const std::string name = "topic/tiny/" + std::to_string(index);
        if (world_.partition_of(name) != world_.partition_of(topic_) &&
            world_.partition_of(name) % GetParam() == GetParam() - 1) {
            tiny = name;
        }
    }
    publish_many(tiny, 5);
    const std::string evicted = ask(after({world_.position_text(tiny, 1)}), tiny);
    EXPECT_NE(evicted.find(refusal("evicted")), std::string::npos) << evicted;
    EXPECT_NE(evicted.find(R"([{"pos":")" + world_.position_text(tiny, 3)), std::string::npos)
        << "the page has what is left";
    const std::string exact = ask(after({world_.position_text(tiny, 2)}), tiny);
    EXPECT_NE(exact.find(R"("recovered":true)"), std::string::npos) << exact;
}

TEST_P(HistoryRepliesTest, LongHistoriesComeInPages) {
    publish_many(topic_, 300, 1'000);
    uint64_t offset = 0;
    std::string rest = R"(,"last":300)";
    int pages_count = 0;
    for (bool has_more = true; has_more && pages_count < 100; ++pages_count) {
        const std::string text = ask(rest);
        ASSERT_LT(text.size(), 64u * 1'024 + 300 * 40);
        for (size_t at = 0; (at = text.find("{\"pos\":\"", at)) != std::string::npos; ++at) {
            ++offset;
            EXPECT_EQ(text.substr(at + 8, position(offset).size()), position(offset));
        }
        has_more = text.find(R"("more":true)") != std::string::npos;
        EXPECT_NE(text.find(R"("cursor":)" + cursor_text({position(offset)})), std::string::npos)
            << text.substr(text.size() - 200);
        rest = after({position(offset)});
    }
    EXPECT_EQ(offset, 300u);
    EXPECT_EQ(pages_count, 5) << "of 64 KiB each";
}

TEST_P(HistoryRepliesTest, APageHasAThousandMessagesAtMost) {
    publish_many(topic_, 1'001);
    const std::string first = ask(R"(,"last":1001)");
    EXPECT_NE(first.find(R"("cursor":)" + cursor_text({position(1'000)}) + R"(,"more":true)"),
              std::string::npos);
    EXPECT_EQ(ask(R"(,"last":1000)").find(R"("more":true)"), std::string::npos);
}

TEST_P(HistoryRepliesTest, AMessageLargerThanAPageComesAlone) {
    publish_many(topic_, 2, 65'000);
    const std::string first = ask("");
    EXPECT_GT(first.size(), 65'000u);
    EXPECT_LT(first.size(), 130'000u);
    EXPECT_NE(first.find(R"("cursor":)" + cursor_text({position(1)}) + R"(,"more":true)"),
              std::string::npos);
}

TEST_P(HistoryRepliesTest, EveryKindOfPayload) {
    writer_.say(R"({"op":"publish","topic":")" + topic_ + R"(","text":"a\"b"})");
    writer_.say(R"({"op":"publish","topic":")" + topic_ + R"(","base64":"AP8Q"})");
    const std::string text = ask("");
    EXPECT_NE(text.find(R"("text":"a\"b"})"), std::string::npos) << text;
    EXPECT_NE(text.find(R"("base64":"AP8Q"})"), std::string::npos) << text;
}

TEST_P(HistoryRepliesTest, WithoutARuleThereIsNone) {
    EXPECT_EQ(error_code(ask("", "plain")), "no_history");
    EXPECT_EQ(error_code(ask("", "topic/+")), "invalid_topic");
    EXPECT_EQ(error_code(ask("", "$SYS/x")), "no_history") << "the broker's own are no secret";
    EXPECT_EQ(error_code(ask(R"(,"last":0)")), "invalid_command");
    EXPECT_EQ(error_code(ask(R"(,"last":1,"after":{"epoch":"epoch","pos":[]})")),
              "invalid_command");
}

TEST_P(HistoryRepliesTest, WhoAsksForMuchAtOnceIsNoSlowConsumer) {
    publish_many(topic_, 60, 1'000);
    Texts commands;
    for (int count = 0; count < 100; ++count) {
        commands.push_back(R"({"op":"history","id":4,"topic":")" + topic_ + "\"}");
    }
    client_.say(array_of(commands));
    EXPECT_EQ(client_.take_texts().size(), 100u);
    EXPECT_EQ(world_.closed_count(4100), 0u);
}

TEST_P(HistoryRepliesTest, WhoDoesNotReadItsRepliesIsNotReadFrom) {
    publish_many(topic_, 60, 1'000);
    Texts commands;
    for (int count = 0; count < 100; ++count) {
        commands.push_back(R"({"op":"history","id":4,"topic":")" + topic_ + "\"}");
    }
    const Peer patient = world_.client(0);
    for (const Peer& peer : {client_, patient}) peer.stall();
    client_.say(array_of(commands));
    for (const std::string& command : commands) patient.say(command);
    EXPECT_LT(world_.metric(Metric::outbound_bytes), 2 * world_.settings.outbound_hard_bytes);
    for (const Peer& peer : {client_, patient}) peer.read_on();
    EXPECT_EQ(client_.take_texts().size(), 100u);
    EXPECT_EQ(patient.take_texts().size(), 100u);
    EXPECT_EQ(world_.closed_count(4100), 0u);
}

// --- over the lanes

class HistoryRepliesLanes : public HistoryRepliesTest {
  protected:
    HistoryRepliesLanes() : HistoryRepliesTest(8 * base::kib) {}

    void turn_alone(io::ShardId shard, int count = 4) {
        for (; count > 0; --count) world_.turn(shard);
    }
};

INSTANTIATE_TEST_SUITE_P(Shards, HistoryRepliesLanes, ::testing::Values(2, 3));

TEST_P(HistoryRepliesLanes, APageEndsWhereTheLaneIsFull) {
    publish_many(topic_, 40, 900);
    uint64_t offset = 0;
    std::string rest = R"(,"last":40)";
    int pages_count = 0;
    for (bool has_more = true; has_more && pages_count < 100; ++pages_count) {
        const std::string text = ask(rest);
        const uint64_t before = offset;
        for (size_t at = 0; (at = text.find("{\"pos\":\"", at)) != std::string::npos; ++at)
            ++offset;
        EXPECT_GT(offset, before) << "at least one message";
        has_more = text.find(R"("more":true)") != std::string::npos;
        EXPECT_NE(text.find(cursor_text({position(offset)})), std::string::npos);
        rest = after({position(offset)});
    }
    EXPECT_EQ(offset, 40u);
    EXPECT_GT(pages_count, 5);
}

TEST_P(HistoryRepliesLanes, PayloadsBeyondTheInlineSizeCross) {
    publish_many(topic_, 5, 5'000);
    // Half of the lane is left to others, so they come in several pages.
    uint64_t offset = 0;
    while (offset < 5) {
        const std::string text = ask(after({position(offset)}));
        const uint64_t messages_count = text.size() / 5'000;
        ASSERT_GT(messages_count, 0u);
        offset += messages_count;
        EXPECT_NE(text.find(cursor_text({position(offset)})), std::string::npos);
        EXPECT_EQ(text.find(R"("more":true)") != std::string::npos, offset < 5);
    }
}

TEST_P(HistoryRepliesLanes, AFullLanePausesWhoAsks) {
    // The owner does not turn, so publishes fill the lane.
    const Peer flood = world_.client(0);
    for (int count = 0; count < 300; ++count) {
        flood.socket().inbound +=
            client_frame(Opcode::text, R"({"op":"publish","topic":")" + topic_ + R"(","data":1})");
    }
    turn_alone(0);
    client_.socket().inbound =
        client_frame(Opcode::text, R"({"op":"history","id":4,"topic":")" + topic_ + "\"}");
    turn_alone(0);
    for (const Peer& peer : {flood, client_}) EXPECT_FALSE(peer.socket().recv_armed);
    EXPECT_EQ(client_.take_texts(), Texts{});
    EXPECT_EQ(world_.kernel(0).deadline_ns, world_.now_ns() + base::ns_per_ms);
    world_.settle();
    EXPECT_EQ(client_.take_texts().size(), 1u);
}

TEST_P(HistoryRepliesLanes, OneQuestionAtATimeGoesToAnotherShard) {
    publish_many(topic_, 1);
    const std::string question = R"({"op":"history","id":4,"topic":")" + topic_ + "\"}";
    client_.socket().inbound = client_frame(
        Opcode::text,
        array_of({question, R"({"op":"ping","id":1})", question, R"({"op":"ping","id":2})"}));
    turn_alone(0);
    EXPECT_EQ(client_.take_texts(), Texts{R"({"op":"pong","id":1})"}) << "the second one waits";
    world_.settle();
    const Texts texts = client_.take_texts();
    ASSERT_EQ(texts.size(), 3u);
    EXPECT_EQ(texts.back(), page(1, 1, {position(1)}, false));
}

TEST_P(HistoryRepliesLanes, MoreQuestionsThanMayBeInFlightTakeTurns) {
    publish_many(topic_, 1);
    std::vector<Peer> peers;
    for (uint32_t count = 0; count < HistoryReplies::reads_in_flight_max + 10; ++count) {
        peers.push_back(world_.client(0));
        peers.back().socket().inbound =
            client_frame(Opcode::text, R"({"op":"history","id":4,"topic":")" + topic_ + "\"}");
    }
    turn_alone(0);
    world_.settle();
    for (const Peer& peer : peers) {
        EXPECT_EQ(peer.take_texts(), Texts{page(1, 1, {position(1)}, false)});
    }
}

TEST_P(HistoryRepliesLanes, AnAnswerForNobodyIsDropped) {
    publish_many(topic_, 3);
    for (const int error : {ECONNRESET, 0}) {
        const Peer peer = world_.client(0);
        peer.socket().inbound =
            client_frame(Opcode::text, R"({"op":"history","id":4,"topic":")" + topic_ + "\"}");
        turn_alone(0);
        if (error != 0) {
            peer.fail(error);
        } else {
            peer.send(client_frame(Opcode::close, ""));
            const auto frames = peer.take_frames();
            EXPECT_EQ(frames.back().close_code, 1005) << "nothing after the Close";
            peer.finish();
        }
        EXPECT_TRUE(peer.is_closed());
    }
    EXPECT_EQ(ask(R"(,"last":1)"), page(3, 3, {position(3)}, false));
}

TEST_P(HistoryRepliesLanes, AStopComesBeforeTheAnswer) {
    publish_many(topic_, 3);
    client_.socket().inbound =
        client_frame(Opcode::text, R"({"op":"history","id":4,"topic":")" + topic_ + "\"}");
    turn_alone(0);
    world_.request(io::Request::stop_now);
    for (int count = 0; count < 10; ++count) world_.turn(0);
    EXPECT_TRUE(client_.is_closed());
}

}  // namespace
}  // namespace broker
