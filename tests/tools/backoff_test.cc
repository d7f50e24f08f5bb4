#include "tools/backoff.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace {

using tools::Backoff;
using tools::may_reconnect;

TEST(Reconnect, FollowsTheRangesOfTheProtocol) {
    for (uint32_t code = 4000; code <= 4099; ++code)
        EXPECT_FALSE(may_reconnect(static_cast<uint16_t>(code)));
    for (uint32_t code = 4100; code <= 4999; ++code)
        EXPECT_TRUE(may_reconnect(static_cast<uint16_t>(code)));
    constexpr uint16_t final_codes[] = {1000, 1002, 1003, 1007, 1008, 1009, 1010};
    for (const uint16_t code : final_codes) EXPECT_FALSE(may_reconnect(code)) << code;
    constexpr uint16_t passing_codes[] = {1001, 1005, 1006, 1011, 1012, 1013, 1014, 3000, 3999};
    for (const uint16_t code : passing_codes) EXPECT_TRUE(may_reconnect(code)) << code;
}

TEST(Backoff, ItsBoundDoublesUpToTenSeconds) {
    uint64_t bound_ns = Backoff::first_bound_ns;
    // The largest of many draws comes close to the bound and never passes it.
    for (int step = 0; step < 12; ++step) {
        uint64_t largest_ns = 0;
        uint64_t smallest_ns = UINT64_MAX;
        for (uint64_t seed = 0; seed < 200; ++seed) {
            Backoff backoff(seed);
            uint64_t wait_ns = 0;
            for (int attempt = 0; attempt <= step; ++attempt) wait_ns = backoff.next_ns(0);
            largest_ns = std::max(largest_ns, wait_ns);
            smallest_ns = std::min(smallest_ns, wait_ns);
        }
        EXPECT_LE(largest_ns, bound_ns);
        EXPECT_GT(largest_ns, bound_ns / 10 * 9);
        EXPECT_LT(smallest_ns, bound_ns / 10);
        bound_ns = std::min(2 * bound_ns, Backoff::last_bound_ns);
    }
    EXPECT_EQ(bound_ns, 10 * base::ns_per_s);
}

TEST(Backoff, ResetBeginsAgain) {
    for (uint64_t seed = 0; seed < 50; ++seed) {
        Backoff backoff(seed);
        for (int attempt = 0; attempt < 10; ++attempt) static_cast<void>(backoff.next_ns(0));
        backoff.reset();
        EXPECT_LE(backoff.next_ns(0), Backoff::first_bound_ns);
    }
}

TEST(Backoff, WaitsAtLeastAsLongAsAsked) {
    Backoff backoff(7);
    const uint64_t wait_ns = backoff.next_ns(base::ns_per_s);
    EXPECT_GE(wait_ns, base::ns_per_s);
    EXPECT_LE(wait_ns, base::ns_per_s + Backoff::first_bound_ns);
}

}  // namespace
