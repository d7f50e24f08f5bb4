// Publishes with a key: the second one with the same key is answered, and not published again.

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "broker/fanout.h"
#include "tests/broker/shard_world.h"

namespace broker {
namespace {

using testing::array_of;
using testing::message_text;
using testing::Peer;
using testing::World;
using testing::WorldOptions;
using Texts = std::vector<std::string>;

constexpr uint64_t window_ns = 10 * base::ns_per_s;

// Publishers on shard 0; topics of the last shard.
class IdempotencyTest : public ::testing::TestWithParam<uint32_t> {
  protected:
    IdempotencyTest()
        : world_(options()),
          topic_(world_.topic_owned_by(GetParam() - 1)),
          client_(world_.client(0)),
          reader_(world_.client(0)) {
        reader_.subscribe("#");
    }

    static WorldOptions options() {
        WorldOptions options{.shards_count = GetParam()};
        options.settings.topic_rules = {{.match = "topic/#", .history_messages_max = 100}};
        options.settings.idempotency_window_ns = window_ns;
        options.settings.idempotency_keys_max = 3;
        return options;
    }

    static std::string command(const std::string& topic, const std::string& key, int number) {
        return R"({"op":"publish","id":1,"topic":")" + topic + R"(","data":)" +
               std::to_string(number) + R"(,"key":")" + key + "\"}";
    }
    std::string publish(const std::string& topic, const std::string& key, int number) {
        client_.say(command(topic, key, number));
        const Texts texts = client_.take_texts();
        EXPECT_EQ(texts.size(), 1u);
        return texts.empty() ? "" : texts[0];
    }
    std::string publish(const std::string& key, int number) { return publish(topic_, key, number); }
    std::string published(uint64_t offset, bool is_duplicate = false) const {
        return R"({"op":"published","id":1,"pos":")" + world_.position_text(topic_, offset) + "\"" +
               (is_duplicate ? R"(,"duplicate":true})" : "}");
    }

    World world_;
    const std::string topic_;
    const Peer client_;
    const Peer reader_;
};

INSTANTIATE_TEST_SUITE_P(Shards, IdempotencyTest, ::testing::Values(1, 2, 3));

TEST_P(IdempotencyTest, ADuplicateIsAnsweredWithTheFirstPosition) {
    EXPECT_EQ(publish("a", 1), published(1));
    EXPECT_EQ(publish("b", 2), published(2));
    EXPECT_EQ(publish("a", 3), published(1, true));
    EXPECT_EQ(reader_.take_texts(),
              (Texts{message_text(topic_, world_.position_text(topic_, 1), "\"data\":1"),
                     message_text(topic_, world_.position_text(topic_, 2), "\"data\":2")}));
    EXPECT_EQ(world_.metric(Metric::duplicates_total), 1u);
    EXPECT_EQ(world_.metric(Metric::messages_published_total), 2u);
}

TEST_P(IdempotencyTest, AKeyHoldsForWhoeverPublishes) {
    EXPECT_EQ(publish("a", 1), published(1));
    for (io::ShardId shard = 0; shard < GetParam(); ++shard) {
        const Peer other = world_.client(shard);
        other.say(command(topic_, "a", 2));
        EXPECT_EQ(other.take_texts(), Texts{published(1, true)});
    }
    EXPECT_EQ(reader_.take_texts().size(), 1u);
}

TEST_P(IdempotencyTest, AKeyIsOfOneTopic) {
    const std::string other = world_.topic_owned_by(GetParam() - 1, 1);
    EXPECT_EQ(publish("a", 1), published(1));
    EXPECT_EQ(publish(other, "a", 2).find("duplicate"), std::string::npos);
    EXPECT_EQ(reader_.take_texts().size(), 2u);
}

TEST_P(IdempotencyTest, WithoutHistoryThereIsNoPosition) {
    EXPECT_EQ(publish("plain", "a", 1), R"({"op":"published","id":1})");
    EXPECT_EQ(publish("plain", "a", 2), R"({"op":"published","id":1,"duplicate":true})");
    EXPECT_EQ(reader_.take_texts(), Texts{message_text("plain", "\"data\":1")});
}

TEST_P(IdempotencyTest, WithoutAnIdADuplicateIsSilent) {
    client_.say(R"({"op":"publish","topic":")" + topic_ + R"(","data":1,"key":"a"})");
    client_.say(R"({"op":"publish","topic":")" + topic_ + R"(","data":2,"key":"a"})");
    EXPECT_EQ(client_.take_texts(), Texts{});
    EXPECT_EQ(reader_.take_texts().size(), 1u);
}

TEST_P(IdempotencyTest, WithoutAKeyNothingIsRemembered) {
    for (uint64_t offset = 1; offset <= 3; ++offset) {
        client_.say(R"({"op":"publish","id":1,"topic":")" + topic_ + R"(","data":1})");
        EXPECT_EQ(client_.take_texts(), Texts{published(offset)});
    }
}

TEST_P(IdempotencyTest, AKeyIsForgottenAfterTheWindow) {
    EXPECT_EQ(publish("a", 1), published(1));
    world_.jump(window_ns - 1);
    EXPECT_EQ(publish("a", 2), published(1, true)) << "and a repetition does not prolong it";
    world_.jump(1);
    EXPECT_EQ(publish("a", 3), published(2));
    EXPECT_EQ(publish("a", 4), published(2, true));
}

TEST_P(IdempotencyTest, TheOldestKeyGoesWhenThereAreTooMany) {
    EXPECT_EQ(publish("a", 1), published(1));
    EXPECT_EQ(publish("b", 2), published(2));
    EXPECT_EQ(publish("c", 3), published(3));
    EXPECT_EQ(publish("a", 4), published(1, true)) << "three are remembered";
    EXPECT_EQ(publish("d", 5), published(4));
    EXPECT_EQ(publish("b", 6), published(2, true));
    EXPECT_EQ(publish("a", 7), published(5)) << "it was the oldest";
}

TEST_P(IdempotencyTest, TheLongestKeyCrosses) {
    const std::string longest(64, 'k');
    EXPECT_EQ(publish(longest, 1), published(1));
    EXPECT_EQ(publish(longest, 2), published(1, true));
    EXPECT_EQ(publish(std::string(63, 'k'), 3), published(2));
    EXPECT_EQ(testing::error_code(publish(longest + "k", 4)), "invalid_command");
}

TEST_P(IdempotencyTest, DuplicatesInOneFrameAreRecognised) {
    client_.say(array_of({command(topic_, "a", 1), command(topic_, "a", 2)}));
    EXPECT_EQ(client_.take_texts(), (Texts{published(1), published(1, true)}));
    EXPECT_EQ(reader_.take_texts().size(), 1u);
}

TEST_P(IdempotencyTest, HttpTellsThePositionAndKnowsNoKeys) {
    const Peer http = world_.connect(0);
    for (uint64_t offset = 1; offset <= 2; ++offset) {
        http.send("POST /topics/" + topic_ +
                  "?key=a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1");
        const std::string response = http.take_response();
        EXPECT_TRUE(response.starts_with("HTTP/1.1 200 ")) << response;
        EXPECT_TRUE(response.ends_with(R"({"op":"published","pos":")" +
                                       world_.position_text(topic_, offset) + "\"}\n"))
            << response;
    }
    http.send("POST /topics/plain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1");
    EXPECT_TRUE(http.take_response().ends_with("\r\n\r\n{\"op\":\"published\"}\n"));
}

TEST(Idempotency, NoKeysAreRememberedWhenTheLimitIsZero) {
    WorldOptions options;
    options.settings.idempotency_keys_max = 0;
    World world(options);
    const Peer client = world.client();
    client.subscribe("a");
    for (int count = 0; count < 2; ++count) {
        client.say(R"({"op":"publish","topic":"a","data":1,"key":"k"})");
        EXPECT_EQ(client.take_texts().size(), 1u);
    }
}

}  // namespace
}  // namespace broker
