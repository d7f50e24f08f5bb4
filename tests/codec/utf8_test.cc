#include "codec/utf8.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "io/base/prng.h"
#include "tests/codec/reference_utf8.h"

namespace codec {
namespace {

std::span<const uint8_t> bytes_of(std::string_view text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

bool is_utf8_by_definition(std::string_view text) {
    return testing::utf8_of(text) == testing::Utf8::complete;
}

// Whether the text is the beginning of some well-formed text.
bool is_viable_by_definition(std::string_view text) {
    return testing::utf8_of(text) != testing::Utf8::invalid;
}

bool check_in_pieces(std::string_view text, size_t piece_bytes) {
    Utf8Check check;
    for (size_t at = 0; at < text.size(); at += piece_bytes) {
        if (!check.feed(bytes_of(text.substr(at, piece_bytes)))) return false;
    }
    return check.is_complete();
}

TEST(Utf8, EveryPairOfBytesWithTheEdgesOfTheThirdAndFourth) {
    const uint8_t edges[] = {0x00, 0x7f, 0x80, 0xbf, 0xc0, 0xff};
    std::string text(4, '\0');
    for (uint32_t pair = 0; pair < 0x1'0000; ++pair) {
        text[0] = static_cast<char>(pair >> 8);
        text[1] = static_cast<char>(pair);
        for (const uint8_t third : edges) {
            text[2] = static_cast<char>(third);
            for (const uint8_t fourth : {edges[1], edges[2], edges[4]}) {
                text[3] = static_cast<char>(fourth);
                const bool expected = is_utf8_by_definition(text);
                ASSERT_EQ(is_utf8(bytes_of(text)), expected)
                    << pair << " " << third << " " << fourth;
                ASSERT_EQ(check_in_pieces(text, 1), expected)
                    << pair << " " << third << " " << fourth;
                ASSERT_EQ(check_in_pieces(text, 3), expected)
                    << pair << " " << third << " " << fourth;
            }
        }
    }
}

TEST(Utf8, TheFirstImpossibleByteFailsAtOnce) {
    std::string text(3, '\0');
    for (uint32_t pair = 0; pair < 0x1'0000; ++pair) {
        text[0] = static_cast<char>(pair >> 8);
        text[1] = static_cast<char>(pair);
        for (const char third : {'\x00', '\x80', '\xbf', '\xc2'}) {
            text[2] = third;
            Utf8Check check;
            Utf8Check bulk;
            bool is_alive = true;
            for (size_t count = 1; count <= text.size() && is_alive; ++count) {
                const std::string_view prefix = std::string_view(text).substr(0, count);
                is_alive = check.feed(bytes_of(prefix.substr(count - 1)));
                ASSERT_EQ(is_alive, is_viable_by_definition(prefix)) << pair << " " << third;
            }
            ASSERT_EQ(bulk.feed(bytes_of(text)), is_viable_by_definition(text))
                << pair << " " << third;
        }
    }
}

TEST(Utf8, AnyDivisionGivesTheSameVerdict) {
    base::Prng prng(3);
    const std::string_view parts[] = {
        "a", "é", "€", "\U0001F600", "plain text of some length ", "\xc3", "\x80", "\xed\xa0\x80"};
    for (uint32_t round = 0; round < 20'000; ++round) {
        std::string text;
        const uint64_t parts_count = prng.below(12);
        // Bad parts are rare, so that long good texts occur.
        for (uint64_t index = 0; index < parts_count; ++index) {
            text.append(parts[prng.below(prng.chance({1, 8}) ? std::size(parts) : 5)]);
        }
        const bool expected = is_utf8_by_definition(text);
        ASSERT_EQ(is_utf8(bytes_of(text)), expected);
        Utf8Check check;
        std::string_view rest = text;
        bool is_alive = true;
        while (!rest.empty() && is_alive) {
            const uint64_t piece = prng.between(1, rest.size());
            is_alive = check.feed(bytes_of(rest.substr(0, piece)));
            rest.remove_prefix(piece);
        }
        ASSERT_EQ(is_alive && check.is_complete(), expected) << round;
    }
}

TEST(Utf8, OneBadByteIsFoundAnywhere) {
    for (size_t size = 1; size <= 300; ++size) {
        std::string text(size, 'x');
        EXPECT_TRUE(is_utf8(bytes_of(text)));
        for (size_t at = 0; at<size; at += size> 140 ? 17 : 1) {
            text[at] = static_cast<char>(0xff);
            ASSERT_FALSE(is_utf8(bytes_of(text))) << size << " " << at;
            Utf8Check check;
            ASSERT_FALSE(check.feed(bytes_of(text))) << size << " " << at;
            text[at] = 'x';
        }
    }
}

TEST(Utf8, NothingIsComplete) {
    Utf8Check check;
    EXPECT_TRUE(check.is_complete());
    EXPECT_TRUE(check.feed({}));
    EXPECT_TRUE(check.is_complete());
    EXPECT_TRUE(is_utf8({}));
}

}  // namespace
}  // namespace codec
