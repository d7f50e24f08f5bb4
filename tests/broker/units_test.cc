#include "broker/units.h"

#include <gtest/gtest.h>

#include "io/base/prng.h"
#include "io/base/units.h"

namespace broker {
namespace {

TEST(Units, NumbersAreDigitsOnly) {
    EXPECT_EQ(parse_number("0"), 0u);
    EXPECT_EQ(parse_number("007"), 7u);
    EXPECT_EQ(parse_number("18446744073709551615"), UINT64_MAX);
    for (const char* text : {"", "18446744073709551616", "-1", "+1", " 1", "1 ", "1.0", "0x1"}) {
        EXPECT_FALSE(parse_number(text).has_value()) << text;
    }
}

TEST(Units, DurationsAreParsed) {
    EXPECT_EQ(parse_duration_ns("1ns"), 1u);
    EXPECT_EQ(parse_duration_ns("7us"), 7 * base::ns_per_us);
    EXPECT_EQ(parse_duration_ns("10ms"), 10 * base::ns_per_ms);
    EXPECT_EQ(parse_duration_ns("25s"), 25 * base::ns_per_s);
    EXPECT_EQ(parse_duration_ns("5m"), 300 * base::ns_per_s);
    EXPECT_EQ(parse_duration_ns("2h"), 7200 * base::ns_per_s);
    EXPECT_EQ(parse_duration_ns("0s"), 0u);
}

TEST(Units, DurationsNeedAUnitAndNothingElse) {
    for (const char* text : {"", "s", "25", "25 s", " 25s", "25s ", "+25s", "-25s", "2.5s", "25S",
                             "25sec", "1h30m", "0x10s", "1e3s"}) {
        EXPECT_FALSE(parse_duration_ns(text).has_value()) << text;
    }
}

TEST(Units, DurationsEndAt63Bits) {
    EXPECT_EQ(parse_duration_ns("9223372036854775807ns"), static_cast<uint64_t>(INT64_MAX));
    EXPECT_FALSE(parse_duration_ns("9223372036854775808ns").has_value());
    EXPECT_EQ(parse_duration_ns("9223372036s"), 9'223'372'036 * base::ns_per_s);
    EXPECT_FALSE(parse_duration_ns("9223372037s").has_value());
    EXPECT_FALSE(parse_duration_ns("99999999999999999999s").has_value());
}

TEST(Units, SizesAreParsed) {
    EXPECT_EQ(parse_size_bytes("100"), 100u);
    EXPECT_EQ(parse_size_bytes("100B"), 100u);
    EXPECT_EQ(parse_size_bytes("64KB"), 64'000u);
    EXPECT_EQ(parse_size_bytes("64KiB"), 64 * base::kib);
    EXPECT_EQ(parse_size_bytes("1MB"), 1'000'000u);
    EXPECT_EQ(parse_size_bytes("1MiB"), base::mib);
    EXPECT_EQ(parse_size_bytes("3GB"), 3'000'000'000u);
    EXPECT_EQ(parse_size_bytes("2GiB"), 2048 * base::mib);
    EXPECT_EQ(parse_size_bytes("8589934591GiB"), uint64_t{8'589'934'591} << 30);
    EXPECT_FALSE(parse_size_bytes("8589934592GiB").has_value());
}

TEST(Units, SizesAreNotGuessed) {
    for (const char* text : {"", "B", "KiB", "64kib", "64K", "64 KiB", "-1", "1.5MiB", "64KiBx"}) {
        EXPECT_FALSE(parse_size_bytes(text).has_value()) << text;
    }
}

TEST(Units, FormatsTheShortestExactForm) {
    EXPECT_EQ(format_duration(0), "0s");
    EXPECT_EQ(format_duration(25 * base::ns_per_s), "25s");
    EXPECT_EQ(format_duration(60 * base::ns_per_s), "1m");
    EXPECT_EQ(format_duration(90 * base::ns_per_s), "90s");
    EXPECT_EQ(format_duration(7200 * base::ns_per_s), "2h");
    EXPECT_EQ(format_duration(base::ns_per_s / 10), "100ms");
    EXPECT_EQ(format_duration(1'500), "1500ns");
    EXPECT_EQ(format_size(0), "0B");
    EXPECT_EQ(format_size(1023), "1023B");
    EXPECT_EQ(format_size(1024), "1KiB");
    EXPECT_EQ(format_size(64 * base::kib), "64KiB");
    EXPECT_EQ(format_size(1024 * base::mib), "1GiB");
    EXPECT_EQ(format_size(64'000), "64000B");
}

TEST(Units, WhatIsFormattedParsesBack) {
    base::Prng prng(1);
    for (int round = 0; round < 10'000; ++round) {
        const uint64_t value = prng.next() >> prng.between(1, 63);
        const uint64_t rounded = prng.below(2) == 0 ? value : value / 3'600'000 * 3'600'000;
        EXPECT_EQ(parse_duration_ns(format_duration(rounded)), rounded);
        EXPECT_EQ(parse_size_bytes(format_size(rounded)), rounded);
    }
}

}  // namespace
}  // namespace broker
