#include "tools/bench/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "io/base/prng.h"

namespace {

using bench::Histogram;

TEST(Histogram, IsEmptyAtFirst) {
    const Histogram histogram;
    EXPECT_EQ(histogram.count(), 0U);
    EXPECT_EQ(histogram.at(0.5), 0U);
    EXPECT_EQ(histogram.min(), 0U);
    EXPECT_EQ(histogram.max(), 0U);
    EXPECT_EQ(histogram.mean(), 0);
}

TEST(Histogram, SmallValuesAreExact) {
    Histogram histogram;
    for (uint64_t value = 1; value <= 255; ++value) histogram.record(value);
    for (uint64_t value = 1; value <= 255; ++value) {
        EXPECT_EQ(histogram.at((static_cast<double>(value) - 0.5) / 255), value);
    }
    EXPECT_EQ(histogram.mean(), 128);
}

// Around every power of two, where the width of the buckets changes.
TEST(Histogram, AValueIsKnownToWithinItsBucket) {
    for (uint32_t bit = 8; bit < 42; ++bit) {
        for (const uint64_t value :
             {(uint64_t{1} << bit) - 1, uint64_t{1} << bit, (uint64_t{1} << bit) + 1}) {
            Histogram histogram;
            histogram.record(value);
            histogram.record(Histogram::value_max);  // so that the largest does not answer for it
            const uint64_t told = histogram.at(0.5);
            EXPECT_GE(told, std::min(value, Histogram::value_max));
            EXPECT_LE(static_cast<double>(told - value), static_cast<double>(value) / 128);
        }
    }
}

TEST(Histogram, TheLargestIsTheLargest) {
    Histogram histogram;
    histogram.record(1'000'000);
    histogram.record(1'000'003);
    EXPECT_EQ(histogram.at(1), 1'000'003U);
    EXPECT_EQ(histogram.max(), 1'000'003U);
    EXPECT_EQ(histogram.min(), 1'000'000U);
    histogram.record(UINT64_MAX);
    EXPECT_EQ(histogram.max(), Histogram::value_max);
    EXPECT_EQ(histogram.at(1), Histogram::value_max);
}

TEST(Histogram, QuantilesAgreeWithASortedListAndMergingLosesNothing) {
    base::Prng prng(7);
    std::vector<uint64_t> values;
    Histogram parts[3];
    for (uint32_t index = 0; index < 30'000; ++index) {
        const uint64_t value = prng.next() >> prng.between(24, 60);
        values.push_back(value);
        parts[index % 3].record(value);
    }
    Histogram whole;
    for (const Histogram& part : parts) whole.merge(part);
    std::sort(values.begin(), values.end());
    EXPECT_EQ(whole.count(), values.size());
    EXPECT_EQ(whole.max(), values.back());
    EXPECT_EQ(whole.min(), values.front());
    for (const double quantile : {0.0, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0}) {
        const auto rank = static_cast<size_t>(quantile * static_cast<double>(values.size()));
        const uint64_t exact = values[rank == 0 ? 0 : rank - 1];
        const uint64_t told = whole.at(quantile);
        EXPECT_GE(told, exact);
        EXPECT_LE(static_cast<double>(told - exact), static_cast<double>(exact) / 128 + 1);
    }
}

}  // namespace
