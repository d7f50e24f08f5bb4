#include "codec/deflater.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <utility>

#include "codec/inflater.h"
#include "io/base/prng.h"
#include "io/base/units.h"
#include "tests/codec/reference_zlib.h"

namespace codec {
namespace {

using namespace std::string_literals;
using testing::reference_inflate;
using testing::ReferencePlain;

std::string compress(Deflater& deflater, std::string_view message) {
    const std::span<const uint8_t> payload = deflater.compress(message);
    return {reinterpret_cast<const char*>(payload.data()), payload.size()};
}

std::string random_text(base::Prng& prng, size_t bytes_count) {
    static constexpr std::string_view words[] = {R"({"symbol":")", "price", "12.5", "},", "true,"};
    std::string text;
    while (text.size() < bytes_count) text += words[prng.below(std::size(words))];
    text.resize(bytes_count);
    return text;
}

std::string random_bytes(base::Prng& prng, size_t bytes_count) {
    std::string bytes(bytes_count, '\0');
    for (char& byte : bytes) byte = static_cast<char>(prng.below(256));
    return bytes;
}

// Bytes of four bits of noise, so that codes are shorter than bytes and no block is stored.
std::string random_letters(base::Prng& prng, size_t bytes_count) {
    std::string letters(bytes_count, '\0');
    for (char& letter : letters) letter = static_cast<char>('a' + prng.below(16));
    return letters;
}

// zlib inflates it with nothing but a window of that size.
void expect_inflates(std::string_view payload, std::string_view message, uint8_t window_bits) {
    const ReferencePlain reference = reference_inflate(payload, message.size(), window_bits);
    EXPECT_TRUE(reference.is_valid);
    EXPECT_EQ(reference.plain, message);
}

TEST(Deflater, TheExamplesOfTheRfc) {
    // RFC 7692 §7.2.3.1, §7.2.3.2 and §7.2.3.6.
    Deflater shared({});
    EXPECT_EQ(compress(shared, "Hello"), "\xf2\x48\xcd\xc9\xc9\x07\x00"s);
    EXPECT_EQ(compress(shared, "Hello"), "\xf2\x48\xcd\xc9\xc9\x07\x00"s);
    EXPECT_EQ(compress(shared, ""), "\x00"s);
    Deflater taking({.has_context_takeover = true});
    EXPECT_EQ(compress(taking, "Hello"), "\xf2\x48\xcd\xc9\xc9\x07\x00"s);
    EXPECT_EQ(compress(taking, "Hello"), "\xf2\x00\x11\x00\x00"s);
}

TEST(Deflater, ZlibUnderstandsItAtEveryWindowAndLevel) {
    base::Prng prng(21);
    for (uint8_t window_bits = deflate_window_bits_min; window_bits <= deflate_window_bits_max;
         ++window_bits) {
        const size_t window = size_t{1} << window_bits;
        for (uint8_t level = deflate_level_min; level <= deflate_level_max; ++level) {
            Deflater deflater({.window_bits = window_bits, .level = level});
            for (const size_t size : {size_t{1}, size_t{700}, window, 2 * window + 1}) {
                const std::string message = random_text(prng, size);
                const std::string payload = compress(deflater, message);
                expect_inflates(payload, message, window_bits);
                if (size >= 700) {
                    EXPECT_LT(payload.size() * 2, size);
                }
                const std::string noise = random_bytes(prng, size);
                expect_inflates(compress(deflater, noise), noise, window_bits);
            }
        }
    }
}

TEST(Deflater, EveryMemoryLevel) {
    base::Prng prng(26);
    for (uint8_t memory_level = deflate_memory_level_min; memory_level <= deflate_memory_level_max;
         ++memory_level) {
        Deflater deflater({.memory_level = memory_level});
        for (const size_t size : {size_t{10}, size_t{1'000}, size_t{40'000}}) {
            for (const std::string& message : {random_text(prng, size), random_bytes(prng, size)}) {
                expect_inflates(compress(deflater, message), message, deflate_window_bits_max);
            }
        }
    }
}

TEST(Deflater, TakeoverRefersToEarlierMessages) {
    base::Prng prng(22);
    for (uint8_t window_bits = deflate_window_bits_min; window_bits <= deflate_window_bits_max;
         ++window_bits) {
        Deflater taking({.window_bits = window_bits, .has_context_takeover = true});
        Deflater forgetting({.window_bits = window_bits});
        Inflater inflater({.window_bits = window_bits, .has_context_takeover = true});
        const std::string common = random_bytes(prng, 100);
        for (uint32_t round = 0; round < 50; ++round) {
            // Empty messages stand between the others, and each kind of end of a stream.
            const std::string message = round % 5 == 4 ? "" : common + random_text(prng, round);
            const std::string payload = compress(taking, message);
            if (round > 0 && !message.empty()) {
                EXPECT_LT(payload.size() + 50, compress(forgetting, message).size());
            }
            const Inflated inflated = inflater.inflate_message(
                {reinterpret_cast<const uint8_t*>(payload.data()), payload.size()},
                {.message_bytes_max = 1'000});
            ASSERT_EQ(inflated.violation, Violation::none);
            ASSERT_EQ(std::string(inflated.plain.begin(), inflated.plain.end()), message);
        }
    }
}

TEST(Deflater, WithoutTakeoverNothingRemains) {
    base::Prng prng(23);
    Deflater deflater({});
    const std::string message = random_text(prng, 5'000);
    const std::string payload = compress(deflater, message);
    static_cast<void>(compress(deflater, random_bytes(prng, 70'000)));
    static_cast<void>(compress(deflater, ""));
    EXPECT_EQ(compress(deflater, message), payload);
}

TEST(Deflater, AMessageThatFitsTheWindowSuitsIt) {
    EXPECT_TRUE(fits_window(0, 8));
    EXPECT_TRUE(fits_window(256, 8));
    EXPECT_FALSE(fits_window(257, 8));
    EXPECT_TRUE(fits_window(32'768, 15));
    EXPECT_FALSE(fits_window(32'769, 15));
    base::Prng prng(24);
    Deflater deflater({.window_bits = 15, .level = 9});
    for (uint8_t window_bits = 8; window_bits <= 14; ++window_bits) {
        // The end repeats the beginning, so that the reference is as far as it can be.
        const size_t window = size_t{1} << window_bits;
        const std::string first = random_letters(prng, 64);
        const std::string fitting = first + random_letters(prng, window - 128) + first;
        ASSERT_TRUE(fits_window(fitting.size(), window_bits));
        const std::string payload = compress(deflater, fitting);
        EXPECT_LT(payload.size(), fitting.size());
        expect_inflates(payload, fitting, window_bits);
        // And further than the window when it does not fit.
        const std::string too_large = first + random_letters(prng, window) + first;
        ASSERT_FALSE(fits_window(too_large.size(), window_bits));
        EXPECT_FALSE(
            reference_inflate(compress(deflater, too_large), 2 * window, window_bits).is_valid);
    }
}

TEST(Deflater, WhatDoesNotCompressGrowsALittle) {
    base::Prng prng(25);
    for (uint8_t level = deflate_level_min; level <= deflate_level_max; ++level) {
        Deflater deflater({.level = level});
        for (const size_t size : {size_t{1}, size_t{2}, size_t{100}, size_t{2'047}, size_t{2'048},
                                  size_t{65'536}, size_t{1'000'000}}) {
            const std::string noise = random_bytes(prng, size);
            const std::string payload = compress(deflater, noise);
            EXPECT_LE(payload.size(), size + 6 + 6 * (size / 2'000)) << size;
            if (size <= 65'536) expect_inflates(payload, noise, 15);
        }
    }
}

TEST(Deflater, MemoryIsStatedAndGivenBack) {
    constexpr uint64_t state_bytes_max = 7 * base::kib;
    for (uint8_t window_bits = deflate_window_bits_min; window_bits <= deflate_window_bits_max;
         ++window_bits) {
        const Deflater deflater({.window_bits = window_bits});
        const uint64_t promised = (uint64_t{1} << (window_bits + 2)) +
                                  (uint64_t{1} << (deflate_memory_level_default + 9));
        EXPECT_GE(deflater.memory_bytes(), promised);
        EXPECT_LE(deflater.memory_bytes(), promised + state_bytes_max);
    }
    Deflater deflater({});
    const uint64_t empty_bytes = deflater.memory_bytes();
    static_cast<void>(compress(deflater, std::string(base::mib, 'x')));
    EXPECT_GE(deflater.memory_bytes(), base::mib);
    static_cast<void>(compress(deflater, "small"));
    EXPECT_LE(deflater.memory_bytes(), empty_bytes + 200);
}

TEST(Deflater, MovesWithItsContext) {
    Deflater deflater({.has_context_takeover = true});
    static_cast<void>(compress(deflater, "Hello"));
    Deflater moved(std::move(deflater));
    Deflater assigned({});
    assigned = std::move(moved);
    EXPECT_EQ(compress(assigned, "Hello"), "\xf2\x00\x11\x00\x00"s);
}

TEST(DeflaterDeathTest, SettingsOutOfRange) {
    EXPECT_DEATH(Deflater({.window_bits = 8}), "window_bits");
    EXPECT_DEATH(Deflater({.window_bits = 16}), "window_bits");
    EXPECT_DEATH(Deflater({.level = 0}), "level");
    EXPECT_DEATH(Deflater({.level = 10}), "level");
    EXPECT_DEATH(Deflater({.memory_level = 0}), "memory_level");
    EXPECT_DEATH(Deflater({.memory_level = 10}), "memory_level");
}

}  // namespace
}  // namespace codec
