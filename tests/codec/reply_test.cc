#include "codec/reply.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

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
    EXPECT_TRUE(built(append_welcome, Welcome{.client = "c1",
                                              .epoch = "e",
                                              .heartbeat_ms = 1,
                                              .timeout_ms = 1,
                                              .message_bytes_max = 1,
                                              .subscriptions_max = 8,
                                              .commands_per_second = 100,
                                              .publishes_per_second = 10})
                    .ends_with(R"("max_subscriptions":8,"max_commands_per_second":100,)"
                               R"("max_publishes_per_second":10})"));
    EXPECT_EQ(built(append_unsubscribed, "\"two\""), R"({"op":"unsubscribed","id":"two"})");
    EXPECT_EQ(built(append_pong, "5"), R"({"op":"pong","id":5})");
    EXPECT_EQ(built(append_heartbeat), R"({"op":"heartbeat"})");
    EXPECT_EQ(built(append_error, "3", ErrorCode::invalid_topic, "empty"),
              R"({"op":"error","id":3,"code":"invalid_topic","reason":"empty"})");
    EXPECT_EQ(built(append_goodbye, "draining", "the broker stops", uint64_t{1500}),
              R"({"op":"goodbye","code":"draining","reason":"the broker stops","retry_ms":1500})");
}

TEST(Reply, AnEmptyIdLeavesTheMemberOut) {
    const Cursor none = {.epoch = "e", .positions = {}};
    EXPECT_EQ(built(append_subscribed, "", Subscribed{none, false, std::nullopt}),
              R"({"op":"subscribed","cursor":{"epoch":"e","pos":[]},"recoverable":false})");
    EXPECT_EQ(built(append_unsubscribed, ""), R"({"op":"unsubscribed"})");
    EXPECT_EQ(built(append_published, "", Position(), true),
              R"({"op":"published","duplicate":true})");
    EXPECT_EQ(built(append_replay, "", 1u), R"({"op":"replay","count":1})");
    EXPECT_EQ(built(append_live, "", none), R"({"op":"live","cursor":{"epoch":"e","pos":[]}})");
    EXPECT_EQ(built(append_gap, "", "a", "a", 17, GapCode::slow_consumer),
              R"({"op":"gap","filter":"a","topic":"a","missed":17,"code":"slow_consumer"})");
    EXPECT_EQ(built(append_pong, ""), R"({"op":"pong"})");
    EXPECT_EQ(
        built(append_rate_limited, "3", "slow down", uint64_t{1'500}),
        R"({"op":"error","id":3,"code":"rate_limited","reason":"slow down","retry_ms":1500})");
    EXPECT_EQ(built(append_error, "", ErrorCode::unknown_op, "r"),
              R"({"op":"error","code":"unknown_op","reason":"r"})");
}

TEST(Reply, MessagesOfEveryKind) {
    const Position none;
    EXPECT_EQ(
        built(append_message, "news/uk", none, Payload{PayloadKind::json, R"({"a": [1e400]})"}),
        R"({"op":"message","topic":"news/uk","data":{"a": [1e400]}})");
    EXPECT_EQ(built(append_message, "a\"b", none, Payload{PayloadKind::text, "two\nlines"}),
              R"({"op":"message","topic":"a\"b","text":"two\nlines"})");
    EXPECT_EQ(built(append_message, "t", none,
                    Payload{PayloadKind::binary, std::string_view("\0\xff", 2)}),
              R"({"op":"message","topic":"t","base64":"AP8="})");
    EXPECT_EQ(built(append_message, "t", none, Payload{PayloadKind::binary, ""}),
              R"({"op":"message","topic":"t","base64":""})");
}

constexpr Position highest = {.partition = UINT32_MAX, .offset = UINT64_MAX};

TEST(Reply, APositionStandsRightAfterTheTopic) {
    EXPECT_EQ(built(append_message, "news/uk", Position{5, 1042}, Payload{PayloadKind::json, "{}"}),
              R"({"op":"message","topic":"news/uk","pos":"5:1042","data":{}})");
    EXPECT_EQ(built(append_message, "t", Position{0, 1}, Payload{PayloadKind::text, ""}),
              R"({"op":"message","topic":"t","pos":"0:1","text":""})");
    EXPECT_EQ(built(append_message, "t", highest, Payload{PayloadKind::binary, "x"}),
              R"({"op":"message","topic":"t","pos":"4294967295:18446744073709551615",)"
              R"("base64":"eA=="})");
}

TEST(Reply, PublishedTellsPositionAndDuplicateOnlyWhereThereAreAny) {
    EXPECT_EQ(built(append_published, "3", Position(), false), R"({"op":"published","id":3})");
    EXPECT_EQ(built(append_published, "3", Position(), true),
              R"({"op":"published","id":3,"duplicate":true})");
    EXPECT_EQ(built(append_published, "3", Position{5, 1042}, false),
              R"({"op":"published","id":3,"pos":"5:1042"})");
    EXPECT_EQ(built(append_published, "3", highest, true),
              R"({"op":"published","id":3,"pos":"4294967295:18446744073709551615",)"
              R"("duplicate":true})");
}

TEST(Reply, AResultOfABatchTellsNoMore) {
    EXPECT_EQ(built(append_result, Position(), false), "{}");
    EXPECT_EQ(built(append_result, Position(), true), R"({"duplicate":true})");
    EXPECT_EQ(built(append_result, Position{5, 1042}, false), R"({"pos":"5:1042"})");
    EXPECT_EQ(built(append_result, Position{5, 1042}, true),
              R"({"pos":"5:1042","duplicate":true})");
}

TEST(Reply, CursorsLeaveOutOffsetZero) {
    const auto told = [](std::vector<Position> positions) {
        return built(append_position_told, Cursor{.epoch = "e", .positions = positions});
    };
    const auto expected = [](const std::string& positions) {
        return R"({"op":"position","cursor":{"epoch":"e","pos":[)" + positions + "]}}";
    };
    EXPECT_EQ(told({}), expected(""));
    EXPECT_EQ(told({{0, 0}}), expected(""));
    EXPECT_EQ(told({{0, 17}}), expected(R"("0:17")"));
    EXPECT_EQ(told({{0, 0}, {1, 4}}), expected(R"("1:4")"));
    EXPECT_EQ(told({{0, 17}, {1, 0}, {2, 0}, {7, 4}, {8, 0}}), expected(R"("0:17","7:4")"));
    EXPECT_EQ(told({highest}), expected(R"("4294967295:18446744073709551615")"));
    EXPECT_EQ(built(append_position_told, Cursor{.epoch = "e\"", .positions = {}}),
              R"({"op":"position","cursor":{"epoch":"e\"","pos":[]}})");
}

TEST(Reply, SubscribedSaysWhatBecameOfACursor) {
    const Position positions[] = {{0, 17}, {1, 4}};
    const Cursor cursor = {.epoch = "e", .positions = positions};
    const auto subscribed = [&](bool recoverable, std::optional<Recovery> recovery) {
        return built(append_subscribed, "1", Subscribed{cursor, recoverable, recovery});
    };
    const std::string begin =
        R"({"op":"subscribed","id":1,"cursor":{"epoch":"e","pos":["0:17","1:4"]},"recoverable":)";
    EXPECT_EQ(subscribed(true, std::nullopt), begin + "true}");
    EXPECT_EQ(subscribed(false, std::nullopt), begin + "false}");
    EXPECT_EQ(subscribed(true, Recovery::recovered), begin + R"(true,"recovered":true})");
    for (const Recovery recovery :
         {Recovery::epoch_changed, Recovery::evicted, Recovery::invalid_position}) {
        EXPECT_EQ(subscribed(true, recovery),
                  begin + R"(true,"recovered":false,"code":")" + std::string(name_of(recovery)) +
                      R"(","reason":")" + std::string(reason_of(recovery)) + "\"}");
    }
}

TEST(Reply, WhatAReplaySays) {
    const Position positions[] = {{3, 9}};
    const Cursor cursor = {.epoch = "e", .positions = positions};
    EXPECT_EQ(built(append_replay, "1", 0u), R"({"op":"replay","id":1,"count":0})");
    EXPECT_EQ(built(append_replay, "\"r\"", UINT32_MAX),
              R"({"op":"replay","id":"r","count":4294967295})");
    EXPECT_EQ(built(append_live, "1", cursor),
              R"({"op":"live","id":1,"cursor":{"epoch":"e","pos":["3:9"]}})");
    EXPECT_EQ(built(append_gap, "1", "news/#", "", std::nullopt, GapCode::evicted),
              R"({"op":"gap","id":1,"filter":"news/#","topic":null,"missed":null,)"
              R"("code":"evicted"})");
    EXPECT_EQ(built(append_gap, "1", "a\"b", "a\"b", std::nullopt, GapCode::evicted),
              R"({"op":"gap","id":1,"filter":"a\"b","topic":"a\"b","missed":null,)"
              R"("code":"evicted"})");
}

// The messages of a page, and how it ends.
std::string history(const std::vector<Payload>& payloads, bool more,
                    std::optional<Recovery> recovery) {
    const Position reached[] = {{5, 99}};
    const auto append = [&](std::string& out) {
        begin_history(out, "4", "a\"b");
        uint64_t offset = 7;
        for (const Payload& payload : payloads) {
            append_history_message(out, {.partition = 5, .offset = offset++}, payload);
        }
        end_history(
            out,
            {.cursor = {.epoch = "e", .positions = reached}, .more = more, .recovery = recovery});
    };
    return built(append);
}

TEST(Reply, HistoryInThreeSteps) {
    const std::string begin = R"({"op":"history","id":4,"topic":"a\"b","messages":[)";
    const std::string end = R"(],"cursor":{"epoch":"e","pos":["5:99"]},"more":)";
    EXPECT_EQ(history({}, false, std::nullopt), begin + end + "false}");
    EXPECT_EQ(history({{PayloadKind::json, "[1]"}}, true, std::nullopt),
              begin + R"({"pos":"5:7","data":[1]})" + end + "true}");
    // A bracket at the end of a payload is not that of the head.
    EXPECT_EQ(
        history({{PayloadKind::text, "["}, {PayloadKind::binary, "x"}, {PayloadKind::json, "{}"}},
                false, Recovery::recovered),
        begin +
            R"({"pos":"5:7","text":"["},{"pos":"5:8","base64":"eA=="},)"
            R"({"pos":"5:9","data":{}})" +
            end + R"(false,"recovered":true})");
    EXPECT_EQ(history({}, true, Recovery::epoch_changed),
              begin + end + R"(true,"recovered":false,"code":"epoch_changed","reason":")" +
                  std::string(reason_of(Recovery::epoch_changed)) + "\"}");
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

TEST(ReplyDeathTest, AHistoryMessageWithoutAPositionIsAProgrammersError) {
    std::string out;
    begin_history(out, "", "t");
    EXPECT_DEATH(append_history_message(out, Position(), {}), "is_none");
}

TEST(ReplyDeathTest, AnErrorWithoutACodeIsAProgrammersError) {
    std::string out;
    EXPECT_DEATH(append_error(out, "", ErrorCode::none, ""), "code");
}

}  // namespace
}  // namespace codec
