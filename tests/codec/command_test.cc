#include "codec/command.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/prng.h"
#include "tests/codec/parsed.h"
#include "tests/codec/wire.h"

namespace codec {
namespace {

using namespace std::string_literals;

using testing::Parsed;

std::vector<std::string> strings(std::span<const std::string_view> views) {
    return {views.begin(), views.end()};
}

TEST(Command, Subscribe) {
    const Parsed one(R"({"op":"subscribe","id":1,"filter":"news/#"})");
    EXPECT_EQ(one.only().op, CommandOp::subscribe);
    EXPECT_EQ(one.only().error, ErrorCode::none);
    EXPECT_EQ(one.only().id, "1");
    EXPECT_EQ(strings(one.only().filters), std::vector{"news/#"s});
    const Parsed several(R"({"filters":["a/+", "b\n", "é"],"op":"subscribe"})");
    EXPECT_EQ(several.only().error, ErrorCode::none) << several.only().reason;
    EXPECT_EQ(several.only().id, "");
    EXPECT_EQ(strings(several.only().filters), (std::vector{"a/+"s, "b\n"s, "é"s}));
}

TEST(Command, Unsubscribe) {
    const Parsed one(R"({"op":"unsubscribe","id":"two","filter":"a"})");
    EXPECT_EQ(one.only().op, CommandOp::unsubscribe);
    EXPECT_EQ(one.only().id, "\"two\"");
    EXPECT_EQ(strings(one.only().filters), std::vector{"a"s});
}

TEST(Command, PublishOfEveryKind) {
    const Parsed json(R"({"op":"publish","id":3,"topic":"news/uk",)"
                      R"("data": { "a" : [1e400, 12345678901234567890123] } })");
    EXPECT_EQ(json.only().op, CommandOp::publish);
    EXPECT_EQ(json.only().topic, "news/uk");
    EXPECT_EQ(json.only().payload.kind, PayloadKind::json);
    EXPECT_EQ(json.only().payload.bytes, R"({ "a" : [1e400, 12345678901234567890123] })");
    EXPECT_TRUE(json.only().echo);
    EXPECT_EQ(json.only().key, "");

    const Parsed text(
        R"({"op":"publish","topic":"t\u00e9","text":"a\nb\ud83d\ude00","echo":false,"key":"k\t"})");
    EXPECT_EQ(text.only().error, ErrorCode::none) << text.only().reason;
    EXPECT_EQ(text.only().topic, "té");
    EXPECT_EQ(text.only().payload.kind, PayloadKind::text);
    EXPECT_EQ(text.only().payload.bytes, "a\nb😀");
    EXPECT_FALSE(text.only().echo);
    EXPECT_EQ(text.only().key, "k\t");

    const Parsed binary(R"({"op":"publish","topic":"t","base64":"AP+\/","echo":true})");
    EXPECT_EQ(binary.only().error, ErrorCode::none) << binary.only().reason;
    EXPECT_EQ(binary.only().payload.kind, PayloadKind::binary);
    EXPECT_EQ(binary.only().payload.bytes, "\x00\xff\xbf"s);
    EXPECT_EQ(Parsed(R"({"op":"publish","topic":"t","base64":""})").only().payload.bytes, "");

    for (const std::string data : {"null", "true", "-0.5", "\"x\\n\"", "[]", "{}"}) {
        const Parsed scalar(R"({"op":"publish","topic":"t","data":)" + data + "}");
        EXPECT_EQ(scalar.only().error, ErrorCode::none);
        EXPECT_EQ(scalar.only().payload.bytes, data);
    }
}

TEST(Command, PingAndWhatIsNotSupported) {
    EXPECT_EQ(Parsed(R"({"op":"ping","id":5})").only().op, CommandOp::ping);
    EXPECT_EQ(Parsed(R"({"op":"ping"})").only().error, ErrorCode::none);
    EXPECT_EQ(Parsed(R"({"op":"p\u0069ng"})").only().op, CommandOp::ping);
    EXPECT_EQ(Parsed(R"({"\u006fp":"ping"})").only().op, CommandOp::ping);
    const std::string_view unsupported[] = {
        R"({"op":"auth","id":4,"token":"t"})",
        R"({"op":"auth","id":4})",
    };
    for (const std::string_view frame : unsupported) {
        const Parsed parsed(frame);
        EXPECT_EQ(parsed.only().error, ErrorCode::not_supported) << frame;
        EXPECT_EQ(parsed.only().id, "4") << frame;
        EXPECT_FALSE(parsed.only().reason.empty());
    }
}

struct Refused {
    std::string frame;
    ErrorCode code;
    std::string_view in_reason;
};

TEST(Command, WhatIsJsonButNoCommand) {
    const ErrorCode invalid = ErrorCode::invalid_command;
    const Refused table[] = {
        {R"({})", invalid, "op is missing"},
        {R"({"id":1})", invalid, "op is missing"},
        {R"({"op":1})", invalid, "op is not a string"},
        {R"({"op":null})", invalid, "op is not a string"},
        {R"({"op":"shout"})", ErrorCode::unknown_op, "\"shout\""},
        {R"({"op":""})", ErrorCode::unknown_op, "\"\""},
        {R"({"op":"Ping"})", ErrorCode::unknown_op, "\"Ping\""},
        {R"({"op":"none"})", ErrorCode::unknown_op, "\"none\""},
        {R"({"op":"ping\u0000"})", ErrorCode::unknown_op, "\"ping?\""},
        {R"({"op":"subscribe","filter":"a","strat":"now"})", invalid, "\"strat\""},
        {R"({"op":"ping","extra":1})", invalid, "\"extra\""},
        {R"({"op":"ping","OP":1})", invalid, "\"OP\""},
        {R"({"op":"ping","":1})", invalid, "\"\""},
        {R"({"op":"ping","topic":"t"})", invalid, "\"topic\""},
        {R"({"op":"unsubscribe","filter":"a","start":"now"})", invalid, "\"start\""},
        {R"({"op":"publish","topic":"t","data":1,"filter":"a"})", invalid, "\"filter\""},
        {R"({"op":"subscribe"})", invalid, "filter"},
        {R"({"op":"subscribe","filter":"a","filters":["b"]})", invalid, "not both"},
        {R"({"op":"subscribe","filter":1})", invalid, "filter is not a string"},
        {R"({"op":"subscribe","filter":["a"]})", invalid, "filter is not a string"},
        {R"({"op":"subscribe","filters":"a"})", invalid, "filters is not an array"},
        {R"({"op":"subscribe","filters":{}})", invalid, "filters is not an array"},
        {R"({"op":"subscribe","filters":[]})", invalid, "filters is empty"},
        {R"({"op":"subscribe","filters":["a",1]})", invalid, "else than strings"},
        {R"({"op":"subscribe","filters":[["a"],"b"]})", invalid, "else than strings"},
        {R"({"op":"publish","data":1})", invalid, "topic is missing"},
        {R"({"op":"publish","topic":7,"data":1})", invalid, "topic is not a string"},
        {R"({"op":"publish","topic":"t"})", invalid, "exactly one"},
        {R"({"op":"publish","topic":"t","data":1,"text":"a"})", invalid, "exactly one"},
        {R"({"op":"publish","topic":"t","base64":"","text":"a"})", invalid, "exactly one"},
        {R"({"op":"publish","topic":"t","data":1,"text":"a","base64":""})", invalid, "exactly one"},
        {R"({"op":"publish","topic":"t","text":1})", invalid, "text is not a string"},
        {R"({"op":"publish","topic":"t","base64":null})", invalid, "base64 is not a string"},
        {R"({"op":"publish","topic":"t","data":1,"echo":0})", invalid, "echo"},
        {R"({"op":"publish","topic":"t","data":1,"echo":"true"})", invalid, "echo"},
        {R"({"op":"publish","topic":"t","data":1,"key":1})", invalid, "key is not a string"},
        {R"({"op":"publish","topic":"t","data":1,"key":null})", invalid, "key is not a string"},
        {R"({"op":"publish","topic":"t","data":1,"key":""})", invalid, "key is empty"},
        {R"({"op":"publish","topic":"t","data":1,"series":"1"})", invalid, "series"},
        {R"({"op":"publish","topic":"t","data":1,"series":null})", invalid, "series"},
        {R"({"op":"publish","topic":"t","data":1,"series":0})", invalid, "series"},
        {R"({"op":"publish","topic":"t","data":1,"series":-1})", invalid, "series"},
        {R"({"op":"publish","topic":"t","data":1,"series":1.0})", invalid, "series"},
        {R"({"op":"publish","topic":"t","data":1,"series":1e3})", invalid, "series"},
        {R"({"op":"publish","topic":"t","data":1,"series":1000000001})", invalid, "series"},
        {R"({"op":"publish","topic":"t","data":1,"series":99999999999})", invalid, "series"},
        {R"({"op":"publish","topic":"t","base64":"a"})", ErrorCode::invalid_payload, "base64"},
        {R"({"op":"publish","topic":"t","base64":"AAA"})", ErrorCode::invalid_payload, "base64"},
        {R"({"op":"publish","topic":"t","base64":"AA-_"})", ErrorCode::invalid_payload, "base64"},
        {R"({"op":"publish","topic":"t","base64":"AA==\n"})", ErrorCode::invalid_payload, "base64"},
        {R"({"op":"ping","id":1.5})", ErrorCode::invalid_id, "integer"},
        {R"({"op":"ping","id":1e3})", ErrorCode::invalid_id, "integer"},
        {R"({"op":"ping","id":1E3})", ErrorCode::invalid_id, "integer"},
        {R"({"op":"ping","id":null})", ErrorCode::invalid_id, "integer"},
        {R"({"op":"ping","id":true})", ErrorCode::invalid_id, "integer"},
        {R"({"op":"ping","id":[1]})", ErrorCode::invalid_id, "integer"},
        {R"({"op":"ping","id":{}})", ErrorCode::invalid_id, "integer"},
    };
    for (const Refused& row : table) {
        const Parsed parsed(row.frame);
        EXPECT_EQ(parsed.only().error, row.code) << row.frame;
        EXPECT_NE(parsed.only().reason.find(row.in_reason), std::string_view::npos)
            << row.frame << ": " << parsed.only().reason;
    }
}

TEST(Command, FramesThatAreRefusedAsAWhole) {
    const Refused table[] = {
        {"", ErrorCode::invalid_json, "no JSON"},
        {"  ", ErrorCode::invalid_json, "no JSON"},
        {"hello", ErrorCode::invalid_json, ""},
        {R"({"op":"ping"} x)", ErrorCode::invalid_json, ""},
        {R"({"op":"ping"}{"op":"ping"})", ErrorCode::invalid_json, "follows"},
        {R"({"op":"ping"})"
         "\0"s,
         ErrorCode::invalid_json, ""},
        {R"([{"op":"ping"})", ErrorCode::invalid_json, ""},
        {R"([{"op":"ping"},])", ErrorCode::invalid_json, ""},
        {R"({"op":"ping","op":"ping"})", ErrorCode::invalid_json, "twice"},
        {R"({"op":"ping","o\u0070":"ping"})", ErrorCode::invalid_json, "twice"},
        {R"({"op":"ping","x":1,"x":2})", ErrorCode::invalid_json, "twice"},
        {R"({"op":"publish","topic":"t","data":{"a":1,"a":2}})", ErrorCode::invalid_json, "twice"},
        {R"({"op":"publish","topic":"t","data":{"a":tru}})", ErrorCode::invalid_json, ""},
        {R"({"op":"publish","topic":"t","data":[01]})", ErrorCode::invalid_json, "number"},
        {R"({"op":"publish","topic":"t","data":"\ud800"})", ErrorCode::invalid_json, "surrogate"},
        {R"({"op":"publish","topic":"t","data":{"\udc00":1}})", ErrorCode::invalid_json,
         "surrogate"},
        {R"({"op":"publish","topic":"t","text":"\ud800"})", ErrorCode::invalid_json, "surrogate"},
        {R"([{"op":"ping"},{"op":"publish","topic":"t","data":[1,]}])", ErrorCode::invalid_json,
         ""},
        // The JSON comes first: what is not JSON is not told to be a wrong shape.
        {R"([1,{])", ErrorCode::invalid_json, ""},
        {"1", ErrorCode::invalid_command, "neither an object nor an array"},
        {R"("ping")", ErrorCode::invalid_command, "neither an object nor an array"},
        {"null", ErrorCode::invalid_command, "neither an object nor an array"},
        {"[]", ErrorCode::invalid_command, "empty"},
        {"[1]", ErrorCode::invalid_command, "else than objects"},
        {R"([{"op":"ping"},[{"op":"ping"}]])", ErrorCode::invalid_command, "else than objects"},
        {R"([{"op":"ping"},null])", ErrorCode::invalid_command, "else than objects"},
    };
    for (const Refused& row : table) {
        const Parsed parsed(row.frame);
        EXPECT_EQ(parsed.result().error, row.code) << row.frame;
        EXPECT_EQ(parsed.result().commands_count, 0u) << row.frame;
        EXPECT_FALSE(parsed.result().reason.empty());
        EXPECT_NE(parsed.result().reason.find(row.in_reason), std::string_view::npos)
            << row.frame << ": " << parsed.result().reason;
    }
}

TEST(Command, AnArrayKeepsTheOrderAndOneErrorTouchesNoOther) {
    const Parsed parsed(R"([ {"op":"subscribe","id":1,"filters":["a","b"]},
        {"op":"shout","id":2}, {"op":"ping","strange":0,"id":3},
        {"op":"unsubscribe","id":4,"filter":"\u0063"}, {"op":"subscribe","id":5,"filters":["x",1]},
        {"op":"publish","id":6,"topic":"t","base64":"eHl6"} ])");
    ASSERT_EQ(parsed.result().error, ErrorCode::none) << parsed.result().reason;
    ASSERT_EQ(parsed.result().commands_count, 6u);
    for (uint32_t index = 0; index < 6; ++index) {
        EXPECT_EQ(parsed[index].id, std::to_string(index + 1));
    }
    EXPECT_EQ(strings(parsed[0].filters), (std::vector{"a"s, "b"s}));
    EXPECT_EQ(parsed[1].error, ErrorCode::unknown_op);
    EXPECT_NE(parsed[1].reason.find("\"shout\""), std::string_view::npos);
    EXPECT_EQ(parsed[2].error, ErrorCode::invalid_command);
    EXPECT_NE(parsed[2].reason.find("\"strange\""), std::string_view::npos);
    EXPECT_EQ(strings(parsed[3].filters), std::vector{"c"s});
    EXPECT_EQ(parsed[4].error, ErrorCode::invalid_command);
    EXPECT_TRUE(parsed[4].filters.empty());
    EXPECT_EQ(parsed[5].payload.bytes, "xyz");
}

std::string array_of(uint32_t count, std::string_view element) {
    std::string text = "[";
    for (uint32_t index = 0; index < count; ++index) {
        if (index > 0) text += ",";
        text += element;
    }
    return text + "]";
}

TEST(Command, ThousandCommandsAndOneMore) {
    const std::string_view element = R"({"op":"ping","x":1})";
    const Parsed most(array_of(1'000, element));
    EXPECT_EQ(most.result().commands_count, 1'000u);
    EXPECT_NE(most[0].reason.find("\"x\""), std::string_view::npos);
    EXPECT_NE(most[999].reason.find("\"x\""), std::string_view::npos);
    const Parsed too_many(array_of(1'001, element));
    EXPECT_EQ(too_many.result().commands_count, 0u);
    EXPECT_EQ(too_many.result().error, ErrorCode::invalid_command);
}

TEST(Command, ThousandFiltersAndOneMore) {
    const auto frame = [](uint32_t count) {
        return R"({"op":"subscribe","id":1,"filters":)" + array_of(count, "\"a\\u002fb\"") + "}";
    };
    const Parsed most(frame(1'000));
    ASSERT_EQ(most.only().filters.size(), 1'000u) << most.only().reason;
    EXPECT_EQ(most.only().filters[0], "a/b");
    EXPECT_EQ(most.only().filters[999], "a/b");
    const Parsed too_many(frame(1'001));
    EXPECT_EQ(too_many.only().error, ErrorCode::invalid_command);
    EXPECT_EQ(too_many.only().id, "1");
}

TEST(Command, IdsOnBothSidesOfTheLimit) {
    const auto error_of = [](const std::string& id) {
        const Parsed parsed(R"({"op":"ping","id":)" + id + "}");
        const Command& command = parsed.only();
        EXPECT_EQ(command.id, command.error == ErrorCode::none ? id : ""s);
        return command.error;
    };
    const std::string digits(64, '7');
    EXPECT_EQ(error_of(digits), ErrorCode::none);
    EXPECT_EQ(error_of(digits + "7"), ErrorCode::invalid_id);
    EXPECT_EQ(error_of("-" + digits.substr(1)), ErrorCode::none);
    EXPECT_EQ(error_of("-" + digits), ErrorCode::invalid_id);
    EXPECT_EQ(error_of("\"" + digits + "\""), ErrorCode::none);
    EXPECT_EQ(error_of("\"" + digits + "x\""), ErrorCode::invalid_id);
    // What counts of a string is what is echoed: the characters as they were sent.
    EXPECT_EQ(error_of("\"" + digits.substr(2) + "\\n\""), ErrorCode::none);
    EXPECT_EQ(error_of("\"" + digits.substr(1) + "\\n\""), ErrorCode::invalid_id);
    EXPECT_EQ(error_of("\"\""), ErrorCode::none);
    EXPECT_EQ(error_of("0"), ErrorCode::none);
    EXPECT_EQ(error_of("-0"), ErrorCode::none);
}

TEST(Command, SeriesUpToTheLimit) {
    for (const uint32_t series : {1u, 17u, command_series_max}) {
        const Parsed parsed(R"({"op":"publish","topic":"t","data":1,"series":)" +
                            std::to_string(series) + "}");
        EXPECT_EQ(parsed.only().error, ErrorCode::none);
        EXPECT_EQ(parsed.only().series, series);
    }
    EXPECT_EQ(Parsed(R"({"op":"publish","topic":"t","data":1})").only().series, 0u);
}

TEST(Command, KeysOnBothSidesOfTheLimit) {
    const auto error_of = [](const std::string& key) {
        return Parsed(R"({"op":"publish","topic":"t","data":1,"key":")" + key + "\"}").only().error;
    };
    EXPECT_EQ(error_of(""), ErrorCode::invalid_command);
    EXPECT_EQ(error_of("k"), ErrorCode::none);
    EXPECT_EQ(error_of(std::string(64, 'k')), ErrorCode::none);
    EXPECT_EQ(error_of(std::string(65, 'k')), ErrorCode::invalid_command);
    EXPECT_EQ(error_of(std::string(63, 'k') + "\\u0041"), ErrorCode::none);
    EXPECT_EQ(error_of(std::string(64, 'k') + "\\u0041"), ErrorCode::invalid_command);
}

TEST(Command, DepthCountsFromTheOutsideOfTheFrame) {
    const auto error_of = [](size_t depth, bool is_array) {
        const std::string data = std::string(depth, '[') + std::string(depth, ']');
        const std::string object = R"({"op":"publish","topic":"t","data":)" + data + "}";
        return Parsed(is_array ? "[" + object + "]" : object).result().error;
    };
    EXPECT_EQ(error_of(63, false), ErrorCode::none);
    EXPECT_EQ(error_of(64, false), ErrorCode::invalid_json);
    EXPECT_EQ(error_of(62, true), ErrorCode::none);
    EXPECT_EQ(error_of(63, true), ErrorCode::invalid_json);
}

TEST(Command, WhatAPeerSaidIsRepeatedInBounds) {
    std::string name;
    for (uint32_t index = 0; index < 1'000; ++index) name += "é";
    const Parsed parsed("{\"op\":\"ping\",\"x" + name + "\":1}");
    EXPECT_EQ(parsed.only().error, ErrorCode::invalid_command);
    EXPECT_LT(parsed.only().reason.size(), 100u);
    // Cut between characters: 40 bytes would end in the middle of one.
    EXPECT_NE(parsed.only().reason.find("é…\""), std::string_view::npos) << parsed.only().reason;
    const Parsed controls("{\"op\":\"\\u001b[2J\\u007f\\n\"}");
    EXPECT_NE(controls.only().reason.find("\"?[2J??\""), std::string_view::npos)
        << controls.only().reason;
    // Those of C1 too: to a terminal U+009B is ESC and '['. U+00A0 is none, nor is U+00DB.
    const Parsed c1("{\"op\":\"\\u0080\\u009b2J\xc2\x9f\\u00a0\\u00db\"}");
    EXPECT_NE(c1.only().reason.find("\"??2J?\xc2\xa0\xc3\x9b\""), std::string_view::npos)
        << c1.only().reason;
}

TEST(Command, ManyFieldsOfOneCommandAreNotCompared) {
    std::string frame = R"({"op":"ping")";
    for (uint32_t index = 0; index < 5'000; ++index)
        frame += ",\"f" + std::to_string(index) + "\":0";
    EXPECT_EQ(Parsed(frame + "}").only().error, ErrorCode::invalid_command);
    EXPECT_EQ(Parsed(frame + ",\"f4999\":0}").result().error, ErrorCode::invalid_json);
    EXPECT_EQ(Parsed(frame + ",\"op\":\"ping\"}").result().error, ErrorCode::invalid_json);
}

TEST(Command, AParserIsUsedAgainAndAgain) {
    CommandParser parser(1);
    const std::string frames[] = {
        R"({"op":"ping"})", "nonsense",
        "[" + std::string(5'000, ' ') + R"({"op":"subscribe","filters":["a","b"]}])",
        R"({"op":"publish","topic":"t","text":")" + std::string(60'000, 'x') + "\"}",
        R"({"op":"shout"})"};
    for (uint32_t round = 0; round < 50; ++round) {
        const testing::Padded padded(frames[round % std::size(frames)]);
        const CommandParser::Result result = parser.parse(padded.view());
        EXPECT_EQ(result.commands_count, round % 5 == 1 ? 0u : 1u) << round;
    }
}

TEST(Command, ValidateJson) {
    CommandParser parser(1);
    const char* reason = nullptr;
    const auto is_valid = [&](std::string_view text) {
        const testing::Padded padded(text);
        return parser.validate_json(padded.view(), &reason);
    };
    EXPECT_TRUE(is_valid(" {\"a\":[1,2,3]} "));
    EXPECT_TRUE(is_valid("1"));
    EXPECT_EQ(reason, nullptr);
    EXPECT_FALSE(is_valid("1 2"));
    EXPECT_STREQ(reason, "something follows the JSON value");
    EXPECT_FALSE(is_valid("{\"a\":1,\"a\":1}"));
    EXPECT_STREQ(reason, "an object has a key twice");
    EXPECT_FALSE(is_valid(""));
    const testing::Padded padded("[1");
    EXPECT_FALSE(parser.validate_json(padded.view()));
}

TEST(CommandDeathTest, ACommandBeyondTheLastIsAProgrammersError) {
    const Parsed parsed(R"({"op":"ping"})");
    EXPECT_DEATH(static_cast<void>(parsed[1]), "slots_count");
}

// Whatever comes, no view of a command points outside the frame and the parser's memory, and what
// is handed out as data is JSON by itself.
TEST(Command, DamagedFramesNeverHurt) {
    base::Prng prng(10);
    CommandParser parser(1);
    CommandParser second_parser(2);
    const std::string whole =
        R"([{"op":"publish","id":1,"topic":"a\u00e9","data":{"x":[1,{"y":"\n"}]},"key":"k"},)"
        R"({"op":"subscribe","id":"s","filters":["a","\u0062"]},)"
        R"({"op":"publish","topic":"t","base64":"eHl6"}])";
    uint32_t handed_out_count = 0;
    for (uint32_t round = 0; round < 60'000; ++round) {
        std::string frame = whole;
        for (uint64_t count = prng.below(3); count > 0; --count) {
            const size_t at = prng.below(frame.size());
            if (prng.chance({1, 2})) {
                frame[at] = static_cast<char>(prng.below(256));
            } else {
                frame.erase(at, prng.between(1, 8));
            }
        }
        const testing::Padded padded(frame);
        const CommandParser::Result result = parser.parse(padded.view());
        for (uint32_t index = 0; index < result.commands_count; ++index) {
            const Command& command = parser.command(index);
            std::string touched(command.id);
            touched.append(command.reason).append(command.topic).append(command.key);
            for (const std::string_view filter : command.filters) touched.append(filter);
            if (command.error != ErrorCode::none || command.op != CommandOp::publish) continue;
            touched.append(command.payload.bytes);
            if (command.payload.kind != PayloadKind::json) continue;
            const testing::Padded data(command.payload.bytes);
            ASSERT_TRUE(second_parser.validate_json(data.view())) << frame;
            ++handed_out_count;
        }
    }
    EXPECT_GT(handed_out_count, 10'000u);
}

TEST(CommandBatch, MessagesArePublishesWithoutAnOp) {
    CommandParser parser(1);
    const testing::Padded body(
        R"({"messages":[{"topic":"a","data":[1]},{"base64":"AP8=","topic":"b","key":"k"},)"
        R"({"topic":"c"},{"op":"publish","topic":"d","data":1},)"
        R"({"topic":"e","data":1,"echo":true}]})");
    const CommandParser::Result result = parser.parse_batch(body.view());
    ASSERT_EQ(result.error, ErrorCode::none);
    ASSERT_EQ(result.commands_count, 5u);
    EXPECT_EQ(parser.command(0).op, CommandOp::publish);
    EXPECT_EQ(parser.command(0).topic, "a");
    EXPECT_EQ(parser.command(0).payload.bytes, "[1]");
    EXPECT_EQ(parser.command(1).payload.bytes, std::string_view("\0\xff", 2));
    EXPECT_EQ(parser.command(1).key, "k");
    for (const uint32_t index : {2u, 3u, 4u}) {
        EXPECT_EQ(parser.command(index).error, ErrorCode::invalid_command) << index;
    }
    // The next frame is one of commands again.
    const testing::Padded frame(R"({"op":"ping","id":1})");
    ASSERT_EQ(parser.parse(frame.view()).commands_count, 1u);
    EXPECT_EQ(parser.command(0).op, CommandOp::ping);
}

TEST(CommandBatch, IsRefusedAsAWhole) {
    const std::pair<const char*, ErrorCode> bodies[] = {
        {"", ErrorCode::invalid_json},
        {R"({"messages":[{"topic":"a","data":1}]} 1)", ErrorCode::invalid_json},
        {R"({"messages":[{"topic":"a","data":1}],"messages":[]})", ErrorCode::invalid_json},
        {R"({"messages":[{"topic":"a","data":{"x":1,"x":2}}]})", ErrorCode::invalid_json},
        {R"({"other":{"x":1,"x":2},"messages":[]})", ErrorCode::invalid_json},
        {R"([{"topic":"a","data":1}])", ErrorCode::invalid_command},
        {R"({"messages":[]})", ErrorCode::invalid_command},
        {R"({"messages":[[]]})", ErrorCode::invalid_command},
        {R"({"messages":null})", ErrorCode::invalid_command},
        {R"({"messages":[{"topic":"a","data":1}],"more":1})", ErrorCode::invalid_command},
    };
    for (const auto& [text, error] : bodies) {
        CommandParser parser(1);
        const testing::Padded body(text);
        const CommandParser::Result result = parser.parse_batch(body.view());
        EXPECT_EQ(result.error, error) << text;
        EXPECT_NE(result.reason, "") << text;
        EXPECT_EQ(result.commands_count, 0u) << text;
    }
}

}  // namespace
}  // namespace codec
