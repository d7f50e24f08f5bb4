#include "broker/token_bucket.h"

#include <gtest/gtest.h>

#include "io/base/prng.h"

namespace broker {
namespace {

constexpr uint64_t second = base::ns_per_s;
constexpr uint64_t start_ns = 1'000 * second;

uint64_t taken_at(TokenBucket& bucket, const TokenRate& rate, uint64_t now_ns) {
    uint64_t count = 0;
    while (bucket.take(rate, 1, now_ns)) ++count;
    return count;
}

TEST(TokenBucket, IsEightBytes) {
    EXPECT_EQ(sizeof(TokenBucket), 8U);
}

TEST(TokenBucket, BeginsFullAndIsEmptyAfterItsBurst) {
    TokenBucket bucket;
    EXPECT_EQ(taken_at(bucket, {10, 25}, start_ns), 25U);
    EXPECT_EQ(taken_at(bucket, {10, 25}, start_ns), 0U);
    TokenBucket at_zero;
    EXPECT_EQ(taken_at(at_zero, {10, 25}, 0), 25U);
}

TEST(TokenBucket, FillsAtItsRate) {
    const TokenRate rate(10, 25);
    TokenBucket bucket;
    taken_at(bucket, rate, start_ns);
    EXPECT_EQ(bucket.wait_ns(rate, 1, start_ns), second / 10);
    EXPECT_EQ(taken_at(bucket, rate, start_ns + second / 10 - 1), 0U);
    EXPECT_EQ(taken_at(bucket, rate, start_ns + second / 10), 1U);
    EXPECT_EQ(taken_at(bucket, rate, start_ns + second), 9U);
}

TEST(TokenBucket, HoldsNoMoreThanItsBurstAfterAnyTime) {
    const TokenRate rate(10, 25);
    for (const uint64_t gap_ns : {3 * second, 1'000'000 * second, UINT64_MAX / 2}) {
        TokenBucket bucket;
        taken_at(bucket, rate, start_ns);
        EXPECT_EQ(taken_at(bucket, rate, start_ns + gap_ns), 25U) << gap_ns;
    }
}

TEST(TokenBucket, TimeThatGoesBackGivesNothing) {
    const TokenRate rate(10, 25);
    TokenBucket bucket;
    taken_at(bucket, rate, start_ns);
    EXPECT_EQ(taken_at(bucket, rate, start_ns - second), 0U);
    EXPECT_EQ(taken_at(bucket, rate, start_ns + second), 10U);
}

TEST(TokenBucket, DoesNotDrift) {
    // Rates that do not divide a second: a take costs at most 1 ns too much, and never too little.
    for (const uint64_t per_second : {1ULL, 3ULL, 7ULL, 999ULL, 1'000'000ULL}) {
        const TokenRate rate(per_second, 1);
        TokenBucket bucket;
        base::Prng prng(per_second);
        uint64_t now_ns = start_ns;
        uint64_t count = 0;
        for (int step = 0; step < 200'000; ++step) {
            count += taken_at(bucket, rate, now_ns);
            // Most often before the next one is there, so that every one is taken in time.
            now_ns += prng.below(second / per_second / 4 + 1);
        }
        const uint64_t cost_ns = rate.cost_ns(1);
        const uint64_t most = 1 + (now_ns - start_ns) / (second / per_second);
        EXPECT_LE(count, most) << per_second;
        // Each take comes up to a step too late, which is given back only within the burst.
        EXPECT_GE(count * cost_ns * 5 / 4 + cost_ns, now_ns - start_ns - cost_ns) << per_second;
    }
    // With some burst nothing is lost between the steps: the count is exact.
    const TokenRate rate(7, 14);
    TokenBucket bucket;
    uint64_t count = 0;
    for (uint64_t ms = 0; ms <= 1'000'000; ms += 250) {
        count += taken_at(bucket, rate, start_ns + ms * base::ns_per_ms);
    }
    EXPECT_GE(count, 14 + 7'000 - 1);
    EXPECT_LE(count, 14 + 7'000);
}

TEST(TokenBucket, ABurstPassesInOneMomentAtAnyRate) {
    for (const uint64_t per_second : {1ULL, 3ULL, 7ULL, 999ULL, 999'999ULL}) {
        TokenBucket bucket;
        const TokenRate rate = TokenRate::one_by_one(per_second, per_second);
        EXPECT_EQ(taken_at(bucket, rate, start_ns), per_second);
        EXPECT_EQ(taken_at(bucket, rate, start_ns + rate.cost_ns(1) - 1), 0U);
        EXPECT_EQ(taken_at(bucket, rate, start_ns + rate.cost_ns(1)), 1U);
    }
    TokenBucket bucket;
    EXPECT_EQ(taken_at(bucket, TokenRate::one_by_one(7, 0), start_ns), 1U);
    EXPECT_TRUE(TokenRate::one_by_one(0, 7).is_off());
}

TEST(TokenBucket, ADebtIsPaidInTime) {
    const TokenRate rate(1'000, 1'000);
    TokenBucket bucket;
    bucket.charge(rate, 1'000, start_ns);
    EXPECT_EQ(bucket.wait_ns(rate, 0, start_ns), 0U) << "empty is no debt";
    bucket.charge(rate, 500, start_ns);
    EXPECT_EQ(bucket.wait_ns(rate, 0, start_ns), second / 2);
    EXPECT_EQ(bucket.wait_ns(rate, 0, start_ns + second / 2 - 1), 1U);
    EXPECT_EQ(bucket.wait_ns(rate, 0, start_ns + second / 2), 0U);
}

TEST(TokenBucket, MoreThanABurstIsThereWhenTheBucketIsFull) {
    const TokenRate rate(10, 5);
    TokenBucket bucket;
    EXPECT_TRUE(bucket.take(rate, 20, start_ns));
    EXPECT_EQ(bucket.wait_ns(rate, 0, start_ns), 3 * second / 2);
    EXPECT_FALSE(bucket.take(rate, 20, start_ns + 2 * second - 1));
    EXPECT_TRUE(bucket.take(rate, 20, start_ns + 2 * second));
}

TEST(TokenBucket, ARateOfNothingIsOff) {
    const TokenRate off(0, 5);
    EXPECT_TRUE(off.is_off());
    EXPECT_TRUE(TokenRate().is_off());
    EXPECT_FALSE(TokenRate(1, 0).is_off());
    TokenBucket bucket;
    for (int count = 0; count < 1'000; ++count) EXPECT_TRUE(bucket.take(off, UINT64_MAX, start_ns));
    EXPECT_EQ(bucket.wait_ns(off, 1, start_ns), 0U);
}

TEST(TokenBucket, TheHighestRateIsExact) {
    const TokenRate rate(TokenRate::per_second_max, TokenRate::per_second_max);
    EXPECT_EQ(rate.cost_ns(TokenRate::per_second_max), second);
    EXPECT_EQ(rate.cost_ns(TokenRate::per_second_max - 1), second);  // rounded up
    EXPECT_EQ(rate.cost_ns(TokenRate::per_second_max / 2), second / 2);
    EXPECT_EQ(rate.cost_ns(1), 1U);
    EXPECT_EQ(TokenRate(1, 1).cost_ns(3), 3 * second);
}

}  // namespace
}  // namespace broker
