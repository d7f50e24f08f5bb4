#include "tools/message_format.h"

#include <gtest/gtest.h>

namespace {

using tools::BrokerMessage;
using tools::MessageFormat;

std::string line(MessageFormat format, const BrokerMessage& message, std::string_view frame = "") {
    std::string out;
    tools::append_line(out, format, message, frame);
    return out;
}

BrokerMessage message(BrokerMessage::PayloadKind kind, std::string payload) {
    BrokerMessage result;
    result.op = BrokerMessage::Op::message;
    result.topic = "news/uk";
    result.payload_kind = kind;
    result.payload = std::move(payload);
    return result;
}

TEST(MessageFormat, AJsonLineIsOneLine) {
    EXPECT_EQ(line(MessageFormat::json_line, {}, "{\"op\":\"message\",\n \"data\": [1,\n2]}"),
              "{\"op\":\"message\",\"data\":[1,2]}\n");
}

TEST(MessageFormat, ReadableIsOneLineToo) {
    const auto readable = MessageFormat::readable;
    EXPECT_EQ(line(readable, message(BrokerMessage::PayloadKind::json, "{ \"a\":\n1 }")),
              "news/uk  {\"a\":1}\n");
    EXPECT_EQ(line(readable, message(BrokerMessage::PayloadKind::text, "two\nlines \x1b[31m")),
              "news/uk  two\\nlines \\u001b[31m\n");
    EXPECT_EQ(line(readable, message(BrokerMessage::PayloadKind::binary, "AAE=")),
              "news/uk  (2 bytes) AAE=\n");
    EXPECT_EQ(line(readable, message(BrokerMessage::PayloadKind::binary, "AAEC")),
              "news/uk  (3 bytes) AAEC\n");
    EXPECT_EQ(line(readable, message(BrokerMessage::PayloadKind::binary, "")),
              "news/uk  (0 bytes) \n");
}

TEST(MessageFormat, ColourSetsTheTopicOff) {
    EXPECT_EQ(
        line(MessageFormat::readable_coloured, message(BrokerMessage::PayloadKind::text, "x")),
        "\x1b[1mnews/uk\x1b[0m  x\n");
}

TEST(MessageFormat, AGapIsPlainToSee) {
    BrokerMessage gap;
    gap.op = BrokerMessage::Op::gap;
    gap.filter = "news/#";
    gap.code = "evicted";
    EXPECT_EQ(line(MessageFormat::readable, gap),
              "(gap: news/#: some messages were evicted before they could be read (evicted))\n");
    gap.missed = 1;
    gap.topic = "news/\x1b";
    EXPECT_EQ(line(MessageFormat::readable, gap),
              "(gap: news/#: 1 message of news/\\u001b was evicted before it could be read "
              "(evicted))\n");
    gap.missed = 17;
    gap.code = "slow_consumer";
    EXPECT_NE(line(MessageFormat::readable_coloured, gap)
                  .find("\x1b[33m(gap: news/#: 17 messages of news/\\u001b were dropped"),
              std::string::npos);
}

TEST(MessageFormat, AResumeThatIsNotExactIsMarked) {
    BrokerMessage subscribed;
    subscribed.op = BrokerMessage::Op::subscribed;
    subscribed.recovered = false;
    EXPECT_EQ(line(MessageFormat::readable, subscribed), "(cannot resume exactly)\n");
    subscribed.code = "evicted";
    subscribed.reason = "too long ago";
    EXPECT_EQ(line(MessageFormat::readable, subscribed),
              "(cannot resume exactly: too long ago (evicted))\n");
}

}  // namespace
