#include "io/base/prng.h"

#include <gtest/gtest.h>

#include <array>

namespace {

using base::Prng;

// Computed by an independent implementation of the published algorithms (in Python).
TEST(prng, golden_values) {
    Prng zero(0);
    EXPECT_EQ(zero.next(), 0x99ec5f36cb75f2b4u);
    EXPECT_EQ(zero.next(), 0xbf6e1f784956452au);
    EXPECT_EQ(zero.next(), 0x1a5f849d4933e6e0u);
    Prng other(0x123456789abcdef);
    EXPECT_EQ(other.next(), 0xa2c2a42038d4ec3du);
    EXPECT_EQ(other.next(), 0x05fc25d0738e7b0fu);
    EXPECT_EQ(other.next(), 0x625e7bff938e701eu);
}

TEST(prng, a_seed_reproduces_a_run) {
    Prng first(42);
    Prng second(42);
    Prng different(43);
    bool differs = false;
    for (int round = 0; round < 100; ++round) {
        const uint64_t value = first.next();
        ASSERT_EQ(value, second.next());
        differs = differs || value != different.next();
    }
    EXPECT_TRUE(differs);
}

TEST(prng, below_and_between_reach_both_ends_and_nothing_else) {
    Prng prng(7);
    std::array<uint32_t, 5> counts{};
    for (int round = 0; round < 5'000; ++round) ++counts.at(prng.below(5));
    for (const uint32_t count : counts) {
        EXPECT_GT(count, 800u);
        EXPECT_LT(count, 1'200u);
    }
    std::array<uint32_t, 3> between{};
    for (int round = 0; round < 3'000; ++round) ++between.at(prng.between(10, 12) - 10);
    for (const uint32_t count : between) EXPECT_GT(count, 800u);
    EXPECT_EQ(prng.below(1), 0u);
    EXPECT_EQ(prng.between(9, 9), 9u);
}

TEST(prng, chance_is_the_fraction) {
    Prng prng(9);
    uint32_t hits = 0;
    for (int round = 0; round < 10'000; ++round) hits += prng.chance({1, 10}) ? 1u : 0u;
    EXPECT_GT(hits, 850u);
    EXPECT_LT(hits, 1'150u);
    for (int round = 0; round < 100; ++round) {
        EXPECT_FALSE(prng.chance({0, 1}));
        EXPECT_TRUE(prng.chance({1, 1}));
    }
}

}  // namespace
