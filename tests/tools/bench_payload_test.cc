#include "tools/bench/payload.h"

#include <gtest/gtest.h>

#include <optional>
#include <set>

#include "tools/bench/sequence_check.h"

namespace {

using bench::PayloadSizes;
using bench::Stamp;

const Stamp largest{.time_ns = (uint64_t{1} << Stamp::time_bits) - 1,
                    .publisher = (1U << Stamp::publisher_bits) - 1,
                    .topic = (1U << Stamp::topic_bits) - 1,
                    .sequence = (uint64_t{1} << Stamp::sequence_bits) - 1};

std::string payload_of(const Stamp& stamp, uint32_t bytes) {
    std::string payload;
    bench::append_payload(payload, stamp, bytes);
    return payload;
}

TEST(Payload, TheStampComesBack) {
    for (const Stamp& stamp : {Stamp{}, largest, Stamp{.time_ns = 1}, Stamp{.publisher = 0x12345},
                               Stamp{.topic = 0xabcdef}, Stamp{.sequence = 0x987654321}}) {
        for (const uint32_t bytes : {34U, 35U, 64U, 1'043U, 1'044U, 100'000U}) {
            const std::string payload = payload_of(stamp, bytes);
            EXPECT_EQ(payload.size(), bytes);
            EXPECT_EQ(bench::read_stamp(payload), stamp);
            EXPECT_TRUE(bench::is_payload_intact(payload, stamp, bytes));
        }
    }
}

TEST(Payload, WhatIsNoStampIsNotRead) {
    const std::string good = payload_of(largest, 64);
    EXPECT_FALSE(bench::read_stamp("").has_value());
    EXPECT_FALSE(bench::read_stamp(good.substr(0, 63)).has_value());
    EXPECT_FALSE(bench::read_stamp(good.substr(31)).has_value());  // 33 bytes
    // Every place of the digits, and the neighbours of the digits in ASCII.
    for (size_t at = 31; at < 63; ++at) {
        for (const char letter : {'/', ':', '`', 'g', 'G', 'A', ' ', '\xff', '\0'}) {
            std::string bad = good;
            bad[at] = letter;
            EXPECT_FALSE(bench::read_stamp(bad).has_value()) << at << letter;
        }
    }
}

TEST(Payload, EveryChangedByteIsFound) {
    const Stamp stamp{.publisher = 3, .topic = 5, .sequence = 7};
    const std::string good = payload_of(stamp, 1'200);
    for (size_t at = 0; at < good.size() - 33; ++at) {
        std::string bad = good;
        bad[at] = static_cast<char>(bad[at] ^ 1);
        EXPECT_FALSE(bench::is_payload_intact(bad, stamp, 1'200)) << at;
    }
    EXPECT_FALSE(bench::is_payload_intact(good, stamp, 1'199));
    // Another message's filler: the bytes belong to the message, not just to its length.
    const Stamp next{.publisher = 3, .topic = 5, .sequence = 8};
    EXPECT_FALSE(bench::is_payload_intact(good, next, 1'200));
}

// A stamp that another load reads says nothing that it could take for one of its own.
TEST(Payload, AnotherLoadReadsNonsense) {
    const Stamp stamp{.time_ns = 1'000'000, .publisher = 0, .topic = 0, .sequence = 3};
    for (uint64_t load = 1; load < 1'000; ++load) {
        std::string payload;
        bench::append_payload(payload, stamp, 64, load);
        EXPECT_EQ(bench::read_stamp(payload, load), stamp);
        EXPECT_TRUE(bench::is_payload_intact(payload, stamp, 64));
        const std::optional<Stamp> read = bench::read_stamp(payload, load + 1);
        ASSERT_TRUE(read.has_value());
        EXPECT_TRUE(read->publisher > 0 || read->topic > 0);
    }
}

TEST(Payload, AgeSurvivesTheClocksWrap) {
    const uint64_t wrap = uint64_t{1} << Stamp::time_bits;
    EXPECT_EQ(bench::age_ns({.time_ns = 100}, 175), 75U);
    EXPECT_EQ(bench::age_ns({.time_ns = wrap - 5}, wrap + 10), 15U);
    EXPECT_EQ(bench::age_ns({.time_ns = 200}, 175), 0U);  // two clocks disagree
}

TEST(PayloadSizes, OneRangeAndChoice) {
    PayloadSizes sizes;
    EXPECT_EQ(PayloadSizes::parse("64", sizes), "");
    EXPECT_EQ(sizes.size_of({}), 64U);
    EXPECT_EQ(PayloadSizes::parse("34..1048576", sizes), "");
    EXPECT_EQ(sizes.size_max(), 1'048'576U);

    ASSERT_EQ(PayloadSizes::parse("40..42", sizes), "");
    std::set<uint32_t> seen;
    for (uint64_t sequence = 0; sequence < 100; ++sequence) {
        seen.insert(sizes.size_of({.sequence = sequence}));
    }
    EXPECT_EQ(seen, (std::set<uint32_t>{40, 41, 42}));
    EXPECT_EQ(sizes.size_mean(), 41);

    ASSERT_EQ(PayloadSizes::parse("64:90,1000:10", sizes), "");
    uint32_t large_count = 0;
    for (uint64_t sequence = 0; sequence < 10'000; ++sequence) {
        large_count += sizes.size_of({.sequence = sequence}) == 1'000 ? 1U : 0U;
    }
    EXPECT_NEAR(large_count, 1'000, 150);
    EXPECT_NEAR(sizes.size_mean(), 157.6, 0.01);
}

TEST(PayloadSizes, SaysWhatIsWrong) {
    PayloadSizes sizes;
    for (const char* text : {"", "33", "1048577", "64..63", "64..", "..64", "64:0", "64:x", "64,",
                             "-64", "64B", "64..1000..2000", "99999999999"}) {
        EXPECT_NE(PayloadSizes::parse(text, sizes), "") << text;
    }
}

TEST(SequenceCheck, CountsWhatIsSkippedRepeatedAndDamaged) {
    bench::SequenceCheck check;
    bench::CheckSums sums;
    const auto take = [&](uint32_t publisher, uint64_t sequence) {
        const Stamp stamp{.publisher = publisher, .topic = 1, .sequence = sequence};
        check.take(payload_of(stamp, 64), stamp, 64, sums);
    };
    take(1, 0);
    take(2, 0);
    take(1, 1);
    EXPECT_TRUE(sums.is_clean());
    take(1, 4);
    EXPECT_EQ(sums.skipped, 2U);
    take(1, 2);
    take(1, 4);
    EXPECT_EQ(sums.repeated, 2U);
    take(2, 1);
    const Stamp stamp{.publisher = 2, .topic = 1, .sequence = 2};
    check.take(payload_of(stamp, 65), stamp, 64, sums);
    EXPECT_EQ(sums.damaged, 1U);
    EXPECT_EQ(sums.checked, 8U);
}

}  // namespace
