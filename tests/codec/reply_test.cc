#include "codec/reply.h"

#include <gtest/gtest.h>

#include "codec/command.h"
#include "io/base/prng.h"
#include "tests/codec/wire.h"

namespace codec {
namespace {

template <class Append, class... Arguments>
std::string built(Append append, const Arguments&... arguments) {
    std::string out = "kept";
    append(out, arguments...);
    EXPECT_EQ(out.substr(0, 4), "kept");
    out.erase(0, 4);
    CommandParser parser(1);
    const testing::Padded padded(out);
    EXPECT_TRUE(parser.validate_json(padded.view())) << out;
    return out;
}

TEST(Reply, EveryObjectIsExactlyWhatTheProtocolSays) {
    EXPECT_EQ(built(append_welcome, Welcome{.client = "c1",
                                            .epoch = "e\"2",
                                            .heartbeat_ms = 25000,
                                            .timeout_ms = 20000,
                                            .message_bytes_max = 65536,
                                            .subscriptions_max = 1024}),
              R"({"op":"welcome","client":"c1","epoch":"e\"2","heartbeat_ms":25000,)"
              R"("timeout_ms":20000,"max_message_bytes":65536,"max_subscriptions":1024})");
    EXPECT_EQ(built(append_subscribed, "1"), R"({"op":"subscribed","id":1})");
    EXPECT_EQ(built(append_unsubscribed, "\"two\""), R"({"op":"unsubscribed","id":"two"})");
    EXPECT_EQ(built(append_published, "3"), R"({"op":"published","id":3})");
    EXPECT_EQ(built(append_pong, "5"), R"({"op":"pong","id":5})");
    EXPECT_EQ(built(append_heartbeat), R"({"op":"heartbeat"})");
    EXPECT_EQ(built(append_error, "3", ErrorCode::invalid_topic, "empty"),
              R"({"op":"error","id":3,"code":"invalid_topic","reason":"empty"})");
    EXPECT_EQ(built(append_goodbye, "draining", "the broker stops", uint64_t{1500}),
              R"({"op":"goodbye","code":"draining","reason":"the broker stops","retry_ms":1500})");
}

TEST(Reply, AnEmptyIdLeavesTheMemberOut) {
    EXPECT_EQ(built(append_subscribed, ""), R"({"op":"subscribed"})");
    EXPECT_EQ(built(append_unsubscribed, ""), R"({"op":"unsubscribed"})");
    EXPECT_EQ(built(append_pong, ""), R"({"op":"pong"})");
    EXPECT_EQ(built(append_error, "", ErrorCode::unknown_op, "r"),
              R"({"op":"error","code":"unknown_op","reason":"r"})");
}

TEST(Reply, MessagesOfEveryKind) {
    EXPECT_EQ(built(append_message, "news/uk", Payload{PayloadKind::json, R"({"a": [1e400]})"}),
              R"({"op":"message","topic":"news/uk","data":{"a": [1e400]}})");
    EXPECT_EQ(built(append_message, "a\"b", Payload{PayloadKind::text, "two\nlines"}),
              R"({"op":"message","topic":"a\"b","text":"two\nlines"})");
    EXPECT_EQ(
        built(append_message, "t", Payload{PayloadKind::binary, std::string_view("\0\xff", 2)}),
        R"({"op":"message","topic":"t","base64":"AP8="})");
    EXPECT_EQ(built(append_message, "t", Payload{PayloadKind::binary, ""}),
              R"({"op":"message","topic":"t","base64":""})");
}

TEST(Reply, StringsEscapeWhatTheyMustAndNothingElse) {
    for (uint32_t code = 0; code < 0x80; ++code) {
        const char character = static_cast<char>(code);
        const std::string text = built(append_json_string, std::string_view(&character, 1));
        if (code < 0x20 || character == '"' || character == '\\') {
            EXPECT_EQ(text[1], '\\') << code;
        } else {
            EXPECT_EQ(text, std::string("\"") + character + "\"") << code;
        }
    }
    EXPECT_EQ(built(append_json_string, "\b\f\n\r\t\x01\x1f\x7f/é\"\\"),
              "\"\\b\\f\\n\\r\\t\\u0001\\u001f\x7f/é\\\"\\\\\"");
    EXPECT_EQ(built(append_json_string, ""), "\"\"");
}

// Eight bytes are looked at together: one that wants an escape is found in every place, among
// neighbours of every value.
TEST(Reply, EscapesAreFoundInEveryPlace) {
    for (size_t size = 1; size <= 20; ++size) {
        for (size_t at = 0; at < size; ++at) {
            for (const char neighbour : {' ', '!', '#', '[', ']', '\x7f', '\x20'}) {
                std::string text(size, neighbour);
                EXPECT_EQ(built(append_json_string, text), '"' + text + '"');
                std::string expected = text;
                text[at] = '\n';
                expected.replace(at, 1, "\\n");
                EXPECT_EQ(built(append_json_string, text), '"' + expected + '"');
                text[at] = '"';
                expected.replace(at, 2, "\\\"");
                EXPECT_EQ(built(append_json_string, text), '"' + expected + '"');
            }
        }
    }
}

// What the broker writes is read back unchanged by the parser that reads what clients write.
TEST(Reply, TextComesBackAsItWent) {
    base::Prng prng(4);
    CommandParser parser(1);
    const std::string_view parts[] = {
        "a", "\"", "\\", "\n", "é", "\\u0041", "longer text of no interest", "😀"};
    for (uint32_t round = 0; round < 2'000; ++round) {
        std::string text;
        for (uint64_t count = prng.below(20); count > 0; --count) {
            text.append(parts[prng.below(std::size(parts))]);
            if (prng.chance({1, 4})) text.push_back(static_cast<char>(prng.below(0x80)));
        }
        std::string frame = R"({"op":"publish","topic":"t","text":)";
        append_json_string(frame, text);
        frame.push_back('}');
        const testing::Padded padded(frame);
        ASSERT_EQ(parser.parse(padded.view()).commands_count, 1u) << frame;
        ASSERT_EQ(parser.command(0).error, ErrorCode::none) << frame;
        ASSERT_EQ(parser.command(0).payload.bytes, text);
    }
}

TEST(ReplyDeathTest, AnErrorWithoutACodeIsAProgrammersError) {
    std::string out;
    EXPECT_DEATH(append_error(out, "", ErrorCode::none, ""), "code");
}

}  // namespace
}  // namespace codec
