#include "codec/position.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "io/base/prng.h"

namespace codec {
namespace {

using namespace std::string_view_literals;

std::string written(const Position& position) {
    std::string out = "kept";
    append_position(out, position);
    EXPECT_EQ(out.substr(0, 4), "kept");
    EXPECT_LE(out.size() - 4, position_bytes_max);
    return out.substr(4);
}

TEST(Position, NoneIsOffsetZero) {
    EXPECT_TRUE(Position().is_none());
    EXPECT_TRUE((Position{5, 0}).is_none());
    EXPECT_FALSE((Position{0, 1}).is_none());
}

TEST(Position, WrittenAndReadBack) {
    const struct {
        Position position;
        std::string_view text;
    } table[] = {
        {{0, 0}, "0:0"},
        {{0, 1}, "0:1"},
        {{5, 1042}, "5:1042"},
        {{10, 100}, "10:100"},
        {{UINT32_MAX, 9}, "4294967295:9"},
        {{9, UINT64_MAX}, "9:18446744073709551615"},
        {{UINT32_MAX, UINT64_MAX}, "4294967295:18446744073709551615"},
    };
    for (const auto& row : table) {
        EXPECT_EQ(written(row.position), row.text);
        Position read;
        EXPECT_TRUE(parse_position(row.text, read)) << row.text;
        EXPECT_EQ(read, row.position) << row.text;
    }
    EXPECT_EQ(written({UINT32_MAX, UINT64_MAX}).size(), position_bytes_max);
}

TEST(Position, WhatIsNoneIsRefused) {
    const std::string_view table[] = {
        "", ":", "5", "5:", ":5", "5:5:5", "5::5", "5;5", "a:5", "5:a",
        // No other way to write a number than the one.
        "05:5", "5:05", "00:5", "5:00", "+5:5", "5:+5", "-5:5", "5:-5", "-0:5", " 5:5", "5:5 ",
        "5 :5", "5: 5", "5:5\n", "5.0:5", "5:1e3", "0x5:5", "5:0x5", "\xd9\xa5:5", "5:5\0"sv,
        "5\0:5"sv,
        // One beyond 32 and 64 bits, ten times as much, and much too long.
        "4294967296:1", "42949672950:1", "1:18446744073709551616", "1:184467440737095516150",
        "1:99999999999999999999999999999999999999999999"};
    for (const std::string_view text : table) {
        Position position;
        EXPECT_FALSE(parse_position(text, position)) << text;
    }
}

// What is accepted is exactly what would be written: reading and writing are each other's reverse.
TEST(Position, OnlyWhatWouldBeWrittenIsRead) {
    base::Prng prng(3);
    constexpr std::string_view alphabet = "00112:::459+ -x";
    uint32_t accepted_count = 0;
    for (uint32_t round = 0; round < 200'000; ++round) {
        std::string text;
        for (uint64_t count = prng.below(7); count > 0; --count) {
            text.push_back(alphabet[prng.below(alphabet.size())]);
        }
        Position position;
        if (!parse_position(text, position)) continue;
        ASSERT_EQ(written(position), text);
        ++accepted_count;
    }
    EXPECT_GT(accepted_count, 1'000u);
    for (uint32_t round = 0; round < 20'000; ++round) {
        // Numbers of every length.
        const Position position = {static_cast<uint32_t>(prng.next() >> (32 + prng.below(32))),
                                   prng.next() >> prng.below(64)};
        Position read;
        ASSERT_TRUE(parse_position(written(position), read));
        ASSERT_EQ(read, position);
    }
}

}  // namespace
}  // namespace codec
