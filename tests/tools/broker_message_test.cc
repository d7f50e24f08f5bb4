#include "tools/broker_message.h"

#include <gtest/gtest.h>

#include "io/base/units.h"

namespace {

using tools::BrokerMessage;
using tools::BrokerMessageReader;

bool read(std::string frame, BrokerMessage& message) {
    BrokerMessageReader reader;
    const size_t frame_bytes = frame.size();
    frame.append(base::readable_padding_bytes, '\0');
    return reader.read(std::string_view(frame).substr(0, frame_bytes), message);
}

TEST(BrokerMessage, ReadsTheWelcome) {
    BrokerMessage message;
    ASSERT_TRUE(
        read(R"({"op":"welcome","client":"c","epoch":"e","heartbeat_ms":25000,"timeout_ms":20000,)"
             R"("max_message_bytes":65536,"max_subscriptions":1024})",
             message));
    EXPECT_EQ(message.op, BrokerMessage::Op::welcome);
    EXPECT_EQ(message.heartbeat_ms, 25'000U);
    EXPECT_EQ(message.timeout_ms, 20'000U);
    EXPECT_EQ(message.message_bytes_max, 65'536U);
}

TEST(BrokerMessage, KeepsDataVerbatim) {
    for (const char* data : {"1e400", "-0.0", "123456789012345678901234567890", "\"a\\u0041\"",
                             "true", "null", "{\"a\": [1,  2]}", "[]", "{}", "\"\""}) {
        BrokerMessage message;
        ASSERT_TRUE(
            read(std::string(R"({"op":"message","topic":"t","data": )") + data + " }", message))
            << data;
        EXPECT_EQ(message.payload_kind, BrokerMessage::PayloadKind::json);
        EXPECT_EQ(message.payload, data);
    }
}

TEST(BrokerMessage, UnescapesTextAndTopic) {
    BrokerMessage message;
    ASSERT_TRUE(read(R"({"op":"message","topic":"a\/b","text":"x\n\"y\""})", message));
    EXPECT_EQ(message.topic, "a/b");
    EXPECT_EQ(message.payload_kind, BrokerMessage::PayloadKind::text);
    EXPECT_EQ(message.payload, "x\n\"y\"");
    ASSERT_TRUE(read(R"({"op":"message","topic":"t","base64":"AAE="})", message));
    EXPECT_EQ(message.payload_kind, BrokerMessage::PayloadKind::binary);
    EXPECT_EQ(message.payload, "AAE=");
}

TEST(BrokerMessage, ReadsErrorsGapsAndGoodbyes) {
    BrokerMessage message;
    ASSERT_TRUE(read(R"({"op":"error","id":3,"code":"invalid_topic","reason":"no"})", message));
    EXPECT_EQ(message.op, BrokerMessage::Op::error);
    EXPECT_EQ(message.id, 3U);
    EXPECT_EQ(message.code, "invalid_topic");
    EXPECT_EQ(message.reason, "no");
    ASSERT_TRUE(read(R"({"op":"error","code":"invalid_json","reason":"no"})", message));
    EXPECT_FALSE(message.id.has_value());
    ASSERT_TRUE(
        read(R"({"op":"gap","filter":"a/#","topic":"a/b","missed":17,"code":"slow_consumer"})",
             message));
    EXPECT_EQ(message.op, BrokerMessage::Op::gap);
    EXPECT_EQ(message.filter, "a/#");
    EXPECT_EQ(message.missed, 17U);
    ASSERT_TRUE(
        read(R"({"op":"gap","filter":"a/#","missed":null,"code":"slow_consumer"})", message));
    EXPECT_FALSE(message.missed.has_value());
    ASSERT_TRUE(read(R"({"op":"goodbye","code":"draining","reason":"r","retry_ms":250})", message));
    EXPECT_EQ(message.op, BrokerMessage::Op::goodbye);
    EXPECT_EQ(message.retry_ms, 250U);
}

TEST(BrokerMessage, ReadsWhatAResumeIsMadeOf) {
    BrokerMessage message;
    ASSERT_TRUE(
        read(R"({"op":"subscribed","id":1,"cursor":{"epoch":"e\u0031","pos":["0:17","5:2"]},)"
             R"("recoverable":true,"recovered":false,"code":"evicted","reason":"r"})",
             message));
    EXPECT_EQ(message.cursor, (tools::Cursor{"e1", {{0, 17}, {5, 2}}}));
    EXPECT_TRUE(message.is_recoverable);
    EXPECT_EQ(message.recovered, false);
    EXPECT_EQ(message.code, "evicted");
    ASSERT_TRUE(read(R"({"op":"subscribed","id":1,"cursor":{"epoch":"e","pos":[]},)"
                     R"("recoverable":false})",
                     message));
    EXPECT_EQ(message.cursor, (tools::Cursor{"e", {}}));
    EXPECT_FALSE(message.is_recoverable);
    EXPECT_FALSE(message.recovered.has_value());

    ASSERT_TRUE(read(R"({"op":"replay","id":1,"count":20})", message));
    EXPECT_EQ(message.op, BrokerMessage::Op::replay);
    EXPECT_EQ(message.messages_count, 20U);
    ASSERT_TRUE(read(R"({"op":"live","id":1,"cursor":{"pos":["1:1"],"epoch":"e"}})", message));
    EXPECT_EQ(message.op, BrokerMessage::Op::live);
    EXPECT_EQ(message.cursor, (tools::Cursor{"e", {{1, 1}}}));
    ASSERT_TRUE(read(R"({"op":"position","cursor":{"epoch":"e","pos":["1:2"]}})", message));
    EXPECT_EQ(message.op, BrokerMessage::Op::position);
    ASSERT_TRUE(read(R"({"op":"message","topic":"t","pos":"5:1042","data":1})", message));
    EXPECT_EQ(message.position, (codec::Position{5, 1042}));
    ASSERT_TRUE(read(R"({"op":"message","topic":"t","data":{"pos":"5:1"}})", message));
    EXPECT_TRUE(message.position.is_none());
}

TEST(BrokerMessage, ReadsAPageOfHistory) {
    BrokerMessage message;
    ASSERT_TRUE(
        read(R"({"op":"history","id":1,"topic":"t","messages":[{"pos":"5:7","data": {"a":1}})"
             R"( ,{"pos":"5:8","text":"x"}],"cursor":{"epoch":"e","pos":["5:8"]},"more":true})",
             message));
    EXPECT_EQ(message.op, BrokerMessage::Op::history);
    EXPECT_EQ(message.messages, (std::vector<std::string>{R"({"pos":"5:7","data": {"a":1}})",
                                                          R"({"pos":"5:8","text":"x"})"}));
    EXPECT_TRUE(message.has_more);
    EXPECT_EQ(message.cursor.offset_of(5), 8U);
}

// An entry that is no position is left out, which may make the broker repeat; nothing else is.
TEST(BrokerMessage, APositionThatIsNoneIsLeftOut) {
    for (const char* position : {"", ":", "5", "5:", ":5", "5:-1", "05:1", "5:1 ", "5:1:1",
                                 "4294967296:1", "1:18446744073709551616"}) {
        BrokerMessage message;
        ASSERT_TRUE(read(
            std::string(R"({"op":"message","topic":"t","pos":")") + position + R"(","data":1})",
            message));
        EXPECT_TRUE(message.position.is_none()) << position;
        EXPECT_EQ(message.payload, "1");
        ASSERT_TRUE(read(std::string(R"({"op":"live","cursor":{"epoch":"e","pos":["1:1",")") +
                             position + R"(",7,["2:2"],"3:3"]},"id":4})",
                         message));
        EXPECT_EQ(message.cursor, (tools::Cursor{"e", {{1, 1}, {3, 3}}})) << position;
        EXPECT_EQ(message.id, 4U);
    }
}

TEST(BrokerMessage, LeavesOutWhatItDoesNotKnow) {
    BrokerMessage message;
    ASSERT_TRUE(
        read(R"({"new":{"op":1},"op":"subscribed","cursor":{"pos":["0:1"]},"id":1})", message));
    EXPECT_EQ(message.op, BrokerMessage::Op::subscribed);
    EXPECT_EQ(message.id, 1U);
    ASSERT_TRUE(read(R"({"op":"weather"})", message));
    EXPECT_EQ(message.op, BrokerMessage::Op::other);
    EXPECT_FALSE(message.id.has_value());
}

TEST(BrokerMessage, RefusesWhatIsNoObjectWithAnOp) {
    BrokerMessage message;
    for (const char* frame :
         {"", " ", "x", "[]", "1", "{}", R"({"id":1})", R"({"op":"pong")", R"({"op" "pong"})"}) {
        EXPECT_FALSE(read(frame, message)) << frame;
    }
}

TEST(BrokerMessage, MinifiesOutsideOfStrings) {
    EXPECT_EQ(tools::minified("{ \"a b\" :\n [ 1 , \" \\\" \" ] }\r\n"),
              "{\"a b\":[1,\" \\\" \"]}");
    EXPECT_EQ(tools::minified("1"), "1");
    EXPECT_EQ(tools::minified(std::string(1000, ' ') + "[1]"), "[1]");
}

}  // namespace
