// Where a subscription or a page of history begins: `start`, `last` and `after`.

#include "codec/start.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/prng.h"
#include "tests/codec/parsed.h"

namespace codec {
namespace {

using testing::Parsed;

std::string subscribe_from(std::string_view start) {
    return R"({"op":"subscribe","id":1,"filter":"news/#","start":)" + std::string(start) + "}";
}

std::string history_of(std::string_view members) {
    return R"({"op":"history","id":4,"topic":"news/uk")" + std::string(members) + "}";
}

std::vector<Position> positions_of(const Command& command) {
    return {command.start.after.positions.begin(), command.start.after.positions.end()};
}

TEST(Start, NowIsTheDefault) {
    const Parsed left_out(R"({"op":"subscribe","filter":"a"})");
    EXPECT_EQ(left_out.only().start.kind, Start::Kind::now);
    for (const std::string_view start : {R"("now")", R"("n\u006fw")", R"( "now" )"}) {
        const Parsed parsed(subscribe_from(start));
        EXPECT_EQ(parsed.only().error, ErrorCode::none) << parsed.only().reason;
        EXPECT_EQ(parsed.only().start.kind, Start::Kind::now);
        ASSERT_EQ(parsed.only().filters.size(), 1u);
        EXPECT_EQ(parsed.only().filters[0], "news/#");
    }
}

TEST(Start, TheLastMessages) {
    const Parsed parsed(subscribe_from(R"({ "last" : 50 })"));
    EXPECT_EQ(parsed.only().error, ErrorCode::none) << parsed.only().reason;
    EXPECT_EQ(parsed.only().start.kind, Start::Kind::last);
    EXPECT_EQ(parsed.only().start.last, 50u);
    // The start may stand before the filters.
    const Parsed before(R"({"start":{"last":7},"filters":["a","b"],"op":"subscribe"})");
    EXPECT_EQ(before.only().error, ErrorCode::none) << before.only().reason;
    EXPECT_EQ(before.only().start.last, 7u);
    EXPECT_EQ(before.only().filters.size(), 2u);
}

TEST(Start, AfterACursor) {
    const Parsed parsed(subscribe_from(R"({"after":{"epoch":"x9","pos":["0:17","1:4"]}})"));
    EXPECT_EQ(parsed.only().error, ErrorCode::none) << parsed.only().reason;
    EXPECT_EQ(parsed.only().start.kind, Start::Kind::after);
    EXPECT_EQ(parsed.only().start.after.epoch, "x9");
    EXPECT_EQ(positions_of(parsed.only()), (std::vector<Position>{{0, 17}, {1, 4}}));
    const Parsed escaped(
        subscribe_from(R"({"\u0061fter":{"po\u0073":["5\u003a1042"],"epoch":"\u00e9"}})"));
    EXPECT_EQ(escaped.only().error, ErrorCode::none) << escaped.only().reason;
    EXPECT_EQ(escaped.only().start.after.epoch, "é");
    EXPECT_EQ(positions_of(escaped.only()), (std::vector<Position>{{5, 1042}}));
    const Parsed empty(subscribe_from(R"({"after":{"epoch":"x","pos":[]}})"));
    EXPECT_EQ(empty.only().error, ErrorCode::none) << empty.only().reason;
    EXPECT_EQ(empty.only().start.kind, Start::Kind::after);
    EXPECT_TRUE(empty.only().start.after.positions.empty());
}

TEST(Start, PositionsAreHandedOutByRisingPartition) {
    const Parsed parsed(subscribe_from(
        R"({"after":{"epoch":"x","pos":["4294967295:1","7:18446744073709551615","0:0","12:3"]}})"));
    EXPECT_EQ(parsed.only().error, ErrorCode::none) << parsed.only().reason;
    EXPECT_EQ(positions_of(parsed.only()),
              (std::vector<Position>{{0, 0}, {7, UINT64_MAX}, {12, 3}, {UINT32_MAX, 1}}));
}

TEST(History, OfATopic) {
    const Parsed plain(history_of(""));
    EXPECT_EQ(plain.only().op, CommandOp::history);
    EXPECT_EQ(plain.only().error, ErrorCode::none) << plain.only().reason;
    EXPECT_EQ(plain.only().id, "4");
    EXPECT_EQ(plain.only().topic, "news/uk");
    EXPECT_EQ(plain.only().start.kind, Start::Kind::last);
    EXPECT_EQ(plain.only().start.last, 100u);
    const Parsed last(history_of(R"(,"last":50)"));
    EXPECT_EQ(last.only().error, ErrorCode::none) << last.only().reason;
    EXPECT_EQ(last.only().start.kind, Start::Kind::last);
    EXPECT_EQ(last.only().start.last, 50u);
    const Parsed after(history_of(R"(,"after":{"epoch":"x","pos":["3:9","1:2"]})"));
    EXPECT_EQ(after.only().error, ErrorCode::none) << after.only().reason;
    EXPECT_EQ(after.only().start.kind, Start::Kind::after);
    EXPECT_EQ(after.only().start.after.epoch, "x");
    EXPECT_EQ(positions_of(after.only()), (std::vector<Position>{{1, 2}, {3, 9}}));
}

// What is wrong with the member called `path`, and what the reason must say behind that name.
struct Wrong {
    std::string_view value;
    std::string_view reason;
};

void expect_refused(const std::string& frame, const std::string& reason) {
    const Parsed parsed(frame);
    const Command& command = parsed.only();
    EXPECT_EQ(command.error, ErrorCode::invalid_command) << frame;
    EXPECT_EQ(command.reason, reason) << frame;
    EXPECT_FALSE(command.id.empty()) << frame;
    EXPECT_TRUE(command.start.after.positions.empty()) << frame;
}

TEST(Start, WhatIsNoStart) {
    const std::string_view neither = "start is neither \"now\" nor an object with last or after";
    const Wrong table[] = {
        {R"("")", neither},
        {R"("Now")", neither},
        {R"("now\u0000")", neither},
        {R"("last")", neither},
        {"null", neither},
        {"true", neither},
        {"5", neither},
        {"[]", neither},
        {R"(["now"])", neither},
        {R"([{"last":1}])", neither},
        {"{}", "start has neither last nor after"},
        {R"({"last":1,"after":{"epoch":"x","pos":[]}})", "start has both last and after"},
        {R"({"after":{"epoch":"x","pos":["1:2"]},"last":1})", "start has both last and after"},
        {R"({"now":true})", "start has no field \"now\""},
        {R"({"last":1,"Last":1})", "start has no field \"Last\""},
        {R"({"":[1,{"a":2}],"last":1})", "start has no field \"\""},
        {R"({"epoch":"x","pos":[]})", "start has no field \"epoch\""},
        {R"({"\u001b":1})", "start has no field \"?\""},
    };
    for (const Wrong& row : table) {
        expect_refused(subscribe_from(row.value), std::string(row.reason));
    }
}

TEST(Start, WhatIsNoLast) {
    const std::string_view values[] = {"0",
                                       "-1",
                                       "-0",
                                       "1.0",
                                       "1e3",
                                       "1E3",
                                       "0.5",
                                       "null",
                                       "true",
                                       R"("50")",
                                       "[50]",
                                       "{}",
                                       R"({"\u0061":[{"\u0061":1}]})",
                                       "1000001",
                                       "4294967297",
                                       "18446744073709551617",
                                       "100000000000000000000000000000"};
    for (const std::string_view value : values) {
        const std::string text(value);
        const std::string reason = "last is not an integer from 1 to 1,000,000";
        expect_refused(subscribe_from("{\"last\":" + text + "}"), "start." + reason);
        expect_refused(history_of(",\"last\":" + text), reason);
    }
    for (const uint32_t last : {1u, 2u, 999'999u, last_max}) {
        const std::string text = std::to_string(last);
        const Parsed subscribe(subscribe_from("{\"last\":" + text + "}"));
        EXPECT_EQ(subscribe.only().error, ErrorCode::none) << subscribe.only().reason;
        EXPECT_EQ(subscribe.only().start.last, last);
        const Parsed history(history_of(",\"last\":" + text));
        EXPECT_EQ(history.only().error, ErrorCode::none) << history.only().reason;
        EXPECT_EQ(history.only().start.last, last);
    }
}

TEST(Start, WhatIsNoCursor) {
    const Wrong table[] = {
        {"null", " is not an object with epoch and pos"},
        {"1", " is not an object with epoch and pos"},
        {R"("x")", " is not an object with epoch and pos"},
        {R"(["1:2"])", " is not an object with epoch and pos"},
        {"{}", ".epoch is missing"},
        {R"({"pos":["1:2"]})", ".epoch is missing"},
        {R"({"epoch":"x"})", ".pos is missing"},
        {R"({"epoch":1,"pos":[]})", ".epoch is not a string"},
        {R"({"epoch":null,"pos":[]})", ".epoch is not a string"},
        {R"({"epoch":{"a":["x"]},"pos":[]})", ".epoch is not a string"},
        {R"({"epoch":"","pos":[]})", ".epoch is empty"},
        {R"({"epoch":"x","pos":null})", ".pos is not an array"},
        {R"({"epoch":"x","pos":"1:2"})", ".pos is not an array"},
        {R"({"epoch":"x","pos":{"1":2}})", ".pos is not an array"},
        {R"({"epoch":"x","pos":[12]})", ".pos[0] is not a string"},
        {R"({"epoch":"x","pos":["1:2",null]})", ".pos[1] is not a string"},
        {R"({"epoch":"x","pos":["1:2","2:3",["3:4"]]})", ".pos[2] is not a string"},
        {R"({"epoch":"x","pos":[{"1":2}]})", ".pos[0] is not a string"},
        {R"({"epoch":"x","pos":["1"]})", R"(.pos[0] is not "partition:offset" but "1")"},
        {R"({"epoch":"x","pos":["1:2",""]})", R"(.pos[1] is not "partition:offset" but "")"},
        {R"({"epoch":"x","pos":["01:2"]})", R"(.pos[0] is not "partition:offset" but "01:2")"},
        {R"({"epoch":"x","pos":["1:-2\n"]})", R"(.pos[0] is not "partition:offset" but "1:-2?")"},
        {R"({"epoch":"x","pos":["4294967296:1"]})",
         R"(.pos[0] is not "partition:offset" but "4294967296:1")"},
        {R"({"epoch":"x","pos":["1:18446744073709551616"]})",
         R"(.pos[0] is not "partition:offset" but "1:18446744073709551616")"},
        {R"({"epoch":"x","pos":["1:2","1:2"]})", ".pos has partition 1 twice"},
        {R"({"epoch":"x","pos":["7:1","3:2","5:3","3:4","9:9"]})", ".pos has partition 3 twice"},
        {R"({"epoch":"x","pos":["0:0","0:1"]})", ".pos has partition 0 twice"},
        {R"({"epoch":"x","pos":[],"more":1})", R"( has no field "more")"},
        {R"({"Epoch":"x","pos":[]})", R"( has no field "Epoch")"},
        {R"({"position":["1:2"],"epoch":"x"})", R"( has no field "position")"},
    };
    for (const Wrong& row : table) {
        const std::string value(row.value);
        const std::string reason(row.reason);
        expect_refused(subscribe_from("{\"after\":" + value + "}"), "start.after" + reason);
        expect_refused(history_of(",\"after\":" + value), "after" + reason);
    }
}

TEST(History, WhatIsNoHistory) {
    const auto refused = [](std::string_view frame, std::string_view reason) {
        const Parsed parsed(frame);
        EXPECT_EQ(parsed.only().error, ErrorCode::invalid_command) << frame;
        EXPECT_EQ(parsed.only().reason, reason) << frame;
    };
    refused(R"({"op":"history"})", "topic is missing");
    refused(R"({"op":"history","topic":1})", "topic is not a string");
    refused(history_of(R"(,"last":1,"after":{"epoch":"x","pos":[]})"),
            "there must not be both last and after");
    refused(history_of(R"(,"start":"now")"), "this op has no field \"start\"");
    refused(history_of(R"(,"filter":"a")"), "this op has no field \"filter\"");
    refused(history_of(R"(,"first":1)"), "no command has a field \"first\"");
    refused(R"({"op":"subscribe","filter":"a","last":1})", "this op has no field \"last\"");
    refused(R"({"op":"subscribe","filter":"a","after":1})", "this op has no field \"after\"");
    refused(R"({"op":"subscribe","start":{"last":1}})",
            "there must be either filter or filters, and not both");
    // Of the members of a cursor none is one of a command.
    refused(R"({"op":"subscribe","filter":"a","epoch":"x"})", "no command has a field \"epoch\"");
    refused(R"({"op":"subscribe","filter":"a","pos":[]})", "no command has a field \"pos\"");
}

TEST(Start, EpochsOnBothSidesOfTheLimit) {
    const auto error_of = [](const std::string& epoch) {
        const std::string cursor = R"({"epoch":")" + epoch + R"(","pos":[]})";
        const Parsed parsed(subscribe_from("{\"after\":" + cursor + "}"));
        if (parsed.only().error != ErrorCode::none) {
            EXPECT_EQ(parsed.only().reason, "start.after.epoch is longer than 64 bytes");
        }
        return parsed.only().error;
    };
    EXPECT_EQ(error_of("e"), ErrorCode::none);
    EXPECT_EQ(error_of(std::string(64, 'e')), ErrorCode::none);
    EXPECT_EQ(error_of(std::string(65, 'e')), ErrorCode::invalid_command);
    EXPECT_EQ(error_of(std::string(63, 'e') + "\\u0041"), ErrorCode::none);
    EXPECT_EQ(error_of(std::string(63, 'e') + "\\u00e9"), ErrorCode::invalid_command);
}

// So many positions, of falling partitions.
std::string cursor_of(uint32_t positions_count) {
    std::string cursor = R"({"epoch":"x","pos":[)";
    for (uint32_t count = positions_count; count > 0; --count) {
        cursor += '"' + std::to_string(count - 1) + ":" + std::to_string(count) + "\",";
    }
    if (positions_count > 0) cursor.pop_back();
    return cursor + "]}";
}

TEST(Start, PositionsOnBothSidesOfTheLimit) {
    const Parsed most(subscribe_from("{\"after\":" + cursor_of(cursor_positions_max) + "}"));
    ASSERT_EQ(most.only().error, ErrorCode::none) << most.only().reason;
    const std::vector<Position> positions = positions_of(most.only());
    ASSERT_EQ(positions.size(), cursor_positions_max);
    for (uint32_t partition = 0; partition < cursor_positions_max; ++partition) {
        ASSERT_EQ(positions[partition], (Position{partition, partition + 1}));
    }
    expect_refused(subscribe_from("{\"after\":" + cursor_of(cursor_positions_max + 1) + "}"),
                   "start.after.pos has more than 4,096 entries");
    expect_refused(history_of(",\"after\":" + cursor_of(cursor_positions_max + 1)),
                   "after.pos has more than 4,096 entries");
}

// A refusal leaves the walk somewhere inside the start; the frame goes on behind it as if nothing
// had been, and everything keeps to its own positions.
TEST(Start, OneErrorTouchesNoOtherCommand) {
    const Parsed parsed(R"([ {"op":"subscribe","id":1,"filter":"a","start":{"after":)"
                        R"({"epoch":"one","pos":["2:2","1:1"]}}},)"
                        R"({"op":"subscribe","id":2,"filter":"a","start":{"after":)"
                        R"({"epoch":"two","pos":["3:3",[{"a":[1]}],"4:4"],"epoch2":{}},"last":1}},)"
                        R"({"op":"history","id":3,"topic":"t","after":)"
                        R"({"pos":["2:9","0:8"],"epoch":"three"}},)"
                        R"({"op":"subscribe","id":4,"filters":["b",[[{}]],"c"],"start":"now"},)"
                        R"({"op":"history","id":5,"topic":"t","last":3},)"
                        R"({"op":"subscribe","id":6,"filters":["d","e"],"start":{"last":6}} ])");
    ASSERT_EQ(parsed.result().error, ErrorCode::none) << parsed.result().reason;
    ASSERT_EQ(parsed.result().commands_count, 6u);
    for (uint32_t index = 0; index < 6; ++index) {
        EXPECT_EQ(parsed[index].id, std::to_string(index + 1));
    }
    EXPECT_EQ(positions_of(parsed[0]), (std::vector<Position>{{1, 1}, {2, 2}}));
    EXPECT_EQ(parsed[0].start.after.epoch, "one");
    EXPECT_EQ(parsed[1].reason, "start.after.pos[1] is not a string");
    EXPECT_TRUE(parsed[1].start.after.positions.empty());
    EXPECT_EQ(positions_of(parsed[2]), (std::vector<Position>{{0, 8}, {2, 9}}));
    EXPECT_EQ(parsed[2].start.after.epoch, "three");
    EXPECT_EQ(parsed[3].reason, "filters has something else than strings");
    EXPECT_EQ(parsed[4].start.last, 3u);
    EXPECT_TRUE(parsed[4].start.after.positions.empty());
    EXPECT_EQ(parsed[5].start.last, 6u);
    EXPECT_EQ(parsed[5].filters.size(), 2u);
}

TEST(Start, AsManyErrorsAsAFrameHasRoomFor) {
    // Each is left at another depth.
    const std::string_view refused[] = {
        R"({"op":"subscribe","filter":"a","start":{"x":1}})",
        R"({"op":"subscribe","filter":"a","start":{"after":{"epoch":{"x":1}}}})",
        R"({"op":"subscribe","filter":"a","start":{"after":{"pos":["1:2",[0]]}}})",
        R"({"op":"history","topic":"t","after":{"x":[[[1]]]}})",
    };
    std::string frame = "[";
    for (uint32_t index = 0; index < commands_per_frame_max; ++index) {
        frame.append(index == 0 ? "" : ",").append(refused[index % std::size(refused)]);
    }
    const Parsed parsed(frame + "]");
    ASSERT_EQ(parsed.result().error, ErrorCode::none) << parsed.result().reason;
    ASSERT_EQ(parsed.result().commands_count, commands_per_frame_max);
    const std::string_view reasons[] = {
        "start has no field \"x\"", "start.after.epoch is not a string",
        "start.after.pos[1] is not a string", "after has no field \"x\""};
    for (uint32_t index = 0; index < commands_per_frame_max; ++index) {
        ASSERT_EQ(parsed[index].reason, reasons[index % std::size(reasons)]) << index;
    }
}

// JSON's own rules come before ours, also deep inside a start.
TEST(Start, WhatIsNoJsonRefusesTheFrame) {
    for (const std::string_view start :
         {R"({"last":1,"last":2})", R"({"last":01})", R"({"after":{"epoch":"x","pos":[]})",
          R"({"after":{"epoch":"x","ep\u006fch":"x","pos":[]}})", R"({"after":{"epoch":"\ud800"}})",
          R"({"after":{"epoch":"x","pos":["1:2",]}})", R"({"x":{"a":1,"a":1}})"}) {
        EXPECT_EQ(Parsed(subscribe_from(start)).result().error, ErrorCode::invalid_json) << start;
    }
}

// Keys are unescaped when a frame is walked and once more when a start is read. There is scratch
// for that, even if a frame of the largest size that a buffer is made for is nothing but one key.
TEST(Start, LongKeysAreReadTwiceAndNotMore) {
    constexpr size_t frame_bytes = 4'096;
    const std::string_view shapes[] = {
        R"({"op":"history","id":1,"topic":"t","after":{"@":1}})",
        R"({"op":"history","id":1,"topic":"t","last":{"@":1}})",
        R"({"op":"subscribe","id":1,"filter":"a","start":{"@":1}})",
        R"({"op":"subscribe","id":1,"filter":"a","start":{"last":{"@":1}}})",
        R"({"op":"subscribe","id":1,"filter":"a","start":{"after":{"@":1}}})",
        R"({"op":"subscribe","id":1,"filter":"a","start":{"after":{"epoch":{"@":1}}}})",
        R"({"op":"subscribe","id":1,"filter":"a","start":{"after":{"pos":[{"@":1}]}}})",
        R"({"op":"subscribe","id":1,"filter":"a","start":["@"]})",
        R"({"op":"subscribe","id":1,"filter":"a","start":"@"})",
    };
    for (const std::string_view shape : shapes) {
        std::string frame(shape);
        std::string key = "\\n";
        key.append(frame_bytes - (frame.size() - 1) - key.size(), 'k');
        frame.replace(frame.find('@'), 1, key);
        ASSERT_EQ(frame.size(), frame_bytes);
        const Parsed parsed(frame);
        EXPECT_EQ(parsed.only().error, ErrorCode::invalid_command) << shape;
        EXPECT_LT(parsed.only().reason.size(), 120u) << shape;
    }
}

// Whatever comes, what is accepted is what was promised.
TEST(Start, DamagedStartsNeverHurt) {
    base::Prng prng(11);
    CommandParser parser(1);
    const std::string whole =
        "[" + subscribe_from(R"({"after":{"epoch":"x9","pos":["0:17","1:4"]}})") + "," +
        history_of(R"(,"after":{"pos":["12:345"],"epoch":"\u00e9"})") + "," +
        subscribe_from(R"({"last":10})") + "," + history_of(R"(,"last":5)") + "]";
    constexpr std::string_view parts[] = {"\"", ":", ",", "{",  "}",    "[",  "]",
                                          "0",  "9", "-", "\\", "null", "{}", "\"last\":1,"};
    uint32_t accepted_count = 0;
    uint32_t refused_count = 0;
    for (uint32_t round = 0; round < 60'000; ++round) {
        std::string frame = whole;
        for (uint64_t count = prng.below(3); count > 0; --count) {
            const size_t at = prng.below(frame.size());
            switch (prng.below(3)) {
                case 0: frame[at] = static_cast<char>(prng.between(' ', '~')); break;
                case 1: frame.erase(at, prng.between(1, 8)); break;
                default: frame.insert(at, parts[prng.below(std::size(parts))]); break;
            }
        }
        const testing::Padded padded(frame);
        const CommandParser::Result result = parser.parse(padded.view());
        for (uint32_t index = 0; index < result.commands_count; ++index) {
            const Command& command = parser.command(index);
            const Start& start = command.start;
            if (command.error != ErrorCode::none) {
                ASSERT_FALSE(command.reason.empty()) << frame;
                ASSERT_TRUE(start.after.positions.empty()) << frame;
                ++refused_count;
                continue;
            }
            ++accepted_count;
            ASSERT_TRUE(command.op == CommandOp::subscribe || start.kind != Start::Kind::now)
                << frame;
            if (start.kind == Start::Kind::last) {
                ASSERT_TRUE(start.last >= 1 && start.last <= last_max) << frame;
            }
            if (start.kind != Start::Kind::after) continue;
            ASSERT_TRUE(!start.after.epoch.empty() &&
                        start.after.epoch.size() <= cursor_epoch_bytes_max)
                << frame;
            const auto does_not_rise = [](const Position& left, const Position& right) {
                return left.partition >= right.partition;
            };
            const std::span<const Position> positions = start.after.positions;
            ASSERT_EQ(std::adjacent_find(positions.begin(), positions.end(), does_not_rise),
                      positions.end())
                << frame;
        }
    }
    EXPECT_GT(accepted_count, 60'000u);
    EXPECT_GT(refused_count, 5'000u);
}

}  // namespace
}  // namespace codec
