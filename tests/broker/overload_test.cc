#include "broker/overload.h"

#include <gtest/gtest.h>

namespace broker {
namespace {

constexpr uint64_t bound_ns = 100 * base::ns_per_ms;

// Turns of this length until so much time has passed.
void run(Overload& overload, uint64_t& now_ns, uint64_t busy_ns, uint64_t duration_ns) {
    for (const uint64_t until_ns = now_ns + duration_ns; now_ns < until_ns;) {
        now_ns += busy_ns;
        overload.turn_began(now_ns, busy_ns);
    }
}

TEST(Overload, NothingForAWhileIsNone) {
    Overload overload(bound_ns);
    uint64_t now_ns = 0;
    run(overload, now_ns, 5 * base::ns_per_ms, 10 * base::ns_per_s);
    EXPECT_FALSE(overload.is_overloaded());
    run(overload, now_ns, bound_ns, 10 * base::ns_per_s);
    EXPECT_FALSE(overload.is_overloaded()) << "as long as the bound, and not longer";
}

TEST(Overload, LongTurnsOneAfterTheOtherAre) {
    Overload overload(bound_ns);
    uint64_t now_ns = 0;
    run(overload, now_ns, bound_ns + 1, 2 * Overload::interval_ns);
    EXPECT_TRUE(overload.is_overloaded());
    run(overload, now_ns, base::ns_per_ms, 2 * Overload::interval_ns);
    EXPECT_FALSE(overload.is_overloaded()) << "it passes by itself";
}

TEST(Overload, OneLongTurnAmongShortOnesIsNone) {
    Overload overload(bound_ns);
    uint64_t now_ns = 0;
    for (int round = 0; round < 20; ++round) {
        run(overload, now_ns, 4 * bound_ns, 4 * bound_ns);
        run(overload, now_ns, base::ns_per_ms, 2 * base::ns_per_ms);
        EXPECT_FALSE(overload.is_overloaded());
    }
}

TEST(Overload, AnIdleShardTurnsSeldomAndIsNone) {
    Overload overload(bound_ns);
    for (uint64_t now_ns = 0; now_ns < 10 * base::ns_per_s; now_ns += base::ns_per_s) {
        overload.turn_began(now_ns, 2 * bound_ns);
        EXPECT_FALSE(overload.is_overloaded()) << "it mostly slept";
    }
}

TEST(Overload, ATurnAsLongAsTheIntervalIs) {
    Overload overload(bound_ns);
    uint64_t now_ns = 0;
    run(overload, now_ns, Overload::interval_ns, 3 * Overload::interval_ns);
    EXPECT_TRUE(overload.is_overloaded());
}

TEST(Overload, WithoutABoundThereIsNone) {
    Overload overload(0);
    uint64_t now_ns = 0;
    run(overload, now_ns, base::ns_per_s, 10 * base::ns_per_s);
    EXPECT_FALSE(overload.is_overloaded());
}

}  // namespace
}  // namespace broker
