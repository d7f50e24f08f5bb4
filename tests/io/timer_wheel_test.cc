#include "io/timer_wheel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <map>
#include <vector>

#include "io/base/prng.h"
#include "io/base/units.h"

namespace {

using io::TimerWheel;

constexpr uint64_t tick = TimerWheel::tick_ns;
constexpr uint64_t start_ns = 1'000 * base::ns_per_s + 1;

std::vector<uint32_t> expire_all(TimerWheel& wheel, uint64_t now_ns) {
    std::vector<uint32_t> all;
    std::array<uint32_t, 7> some;
    uint32_t count = 0;
    do {
        count = wheel.expire(now_ns, some);
        all.insert(all.end(), some.begin(), some.begin() + count);
    } while (count == some.size());
    return all;
}

TEST(timer_wheel, an_empty_wheel_never_needs_a_look) {
    TimerWheel wheel(start_ns);
    EXPECT_EQ(wheel.next_deadline_ns(), base::never_ns);
    EXPECT_TRUE(expire_all(wheel, start_ns + 100 * tick).empty());
    EXPECT_FALSE(wheel.is_armed(0));
    wheel.cancel(12'345);
    EXPECT_EQ(wheel.armed_count(), 0u);
}

TEST(timer_wheel, never_early_and_at_most_one_tick_late) {
    TimerWheel wheel(start_ns);
    const uint64_t deadline = start_ns + 10 * base::ns_per_s;
    wheel.arm(3, deadline);
    EXPECT_TRUE(wheel.is_armed(3));
    EXPECT_FALSE(wheel.is_armed(2));
    EXPECT_LT(wheel.next_deadline_ns(), deadline + tick);
    EXPECT_TRUE(expire_all(wheel, deadline - 1).empty());
    EXPECT_EQ(expire_all(wheel, deadline + tick), std::vector<uint32_t>{3});
    EXPECT_FALSE(wheel.is_armed(3));
    EXPECT_EQ(wheel.next_deadline_ns(), base::never_ns);
}

TEST(timer_wheel, a_deadline_on_a_tick_expires_on_it) {
    TimerWheel wheel(start_ns);
    const uint64_t deadline = base::align_up<uint64_t>(start_ns / tick + 50, 1) * tick;
    wheel.arm(0, deadline);
    EXPECT_EQ(wheel.next_deadline_ns(), deadline);
    EXPECT_TRUE(expire_all(wheel, deadline - 1).empty());
    EXPECT_EQ(expire_all(wheel, deadline), std::vector<uint32_t>{0});
}

TEST(timer_wheel, arming_again_replaces_and_cancel_disarms) {
    TimerWheel wheel(start_ns);
    wheel.arm(1, start_ns + tick);
    wheel.arm(1, start_ns + 20 * tick);
    EXPECT_EQ(wheel.armed_count(), 1u);
    EXPECT_TRUE(expire_all(wheel, start_ns + 19 * tick).empty());
    wheel.cancel(1);
    wheel.cancel(1);
    EXPECT_EQ(wheel.armed_count(), 0u);
    EXPECT_TRUE(expire_all(wheel, start_ns + 50 * tick).empty());
}

TEST(timer_wheel, what_is_overdue_at_arming_expires_with_the_next_tick) {
    TimerWheel wheel(start_ns);
    EXPECT_TRUE(expire_all(wheel, start_ns).empty());
    wheel.arm(4, 5);
    EXPECT_LE(wheel.next_deadline_ns(), start_ns + tick);
    EXPECT_EQ(expire_all(wheel, start_ns + tick), std::vector<uint32_t>{4});
}

TEST(timer_wheel, order_is_that_of_ticks_then_of_arming) {
    TimerWheel wheel(0);
    wheel.arm(1, 5 * tick);
    wheel.arm(2, 3 * tick);
    wheel.arm(3, 5 * tick - 1);
    wheel.arm(4, 3 * tick + 1024 * tick);  // the same bucket as 2, one turn of the wheel later
    wheel.arm(5, 3 * tick - tick / 2);
    wheel.arm(2, 3 * tick);  // armed anew: behind 5
    EXPECT_EQ(expire_all(wheel, 5'000 * tick), (std::vector<uint32_t>{5, 2, 1, 3, 4}));
}

TEST(timer_wheel, a_full_span_leaves_the_rest_for_the_next_call) {
    TimerWheel wheel(0);
    for (uint32_t index = 0; index < 10; ++index) wheel.arm(index, 2 * tick);
    std::array<uint32_t, 4> some;
    EXPECT_EQ(wheel.expire(2 * tick, {}), 0u);
    EXPECT_EQ(wheel.expire(2 * tick, some), 4u);
    EXPECT_EQ(wheel.armed_count(), 6u);
    EXPECT_LE(wheel.next_deadline_ns(), 2 * tick);
    EXPECT_EQ(wheel.expire(2 * tick, some), 4u);
    EXPECT_EQ(wheel.expire(2 * tick, some), 2u);
    EXPECT_EQ(wheel.expire(2 * tick, some), 0u);
}

TEST(timer_wheel, a_jump_of_a_century_costs_little) {
    TimerWheel wheel(0);
    const uint64_t century_ns = 100ull * 365 * 86'400 * base::ns_per_s;
    wheel.arm(0, century_ns);
    wheel.arm(1, base::never_ns);
    EXPECT_TRUE(expire_all(wheel, century_ns - 1).empty());
    EXPECT_EQ(expire_all(wheel, century_ns + tick), std::vector<uint32_t>{0});
    EXPECT_TRUE(wheel.is_armed(1));
}

TEST(timer_wheel, time_that_stands_still_or_runs_back_expires_nothing) {
    TimerWheel wheel(start_ns);
    wheel.arm(0, start_ns + 10 * tick);
    EXPECT_TRUE(expire_all(wheel, start_ns + 5 * tick).empty());
    EXPECT_TRUE(expire_all(wheel, start_ns).empty());
    EXPECT_EQ(expire_all(wheel, start_ns + 11 * tick), std::vector<uint32_t>{0});
}

uint64_t random_duration(base::Prng& prng) {
    switch (prng.below(5)) {
        case 0: return prng.below(2 * tick);
        case 1: return prng.below(60) * tick;
        case 2: return prng.below(70 * base::ns_per_s);
        case 3: return prng.below(1'024) * tick * prng.below(4);
        default: return prng.below(3'600 * base::ns_per_s);
    }
}

// The model: the tick of expiry and the order of arming of each armed index. What the wheel hands
// out must be exactly what is due, in exactly that order.
TEST(timer_wheel, behaves_like_a_sorted_map) {
    for (uint64_t seed = 0; seed < 60; ++seed) {
        base::Prng prng(seed);
        uint64_t now_ns = prng.below(100 * base::ns_per_s);
        TimerWheel wheel(now_ns);
        uint64_t tick_now = now_ns / tick;  // the first tick that was not looked at
        uint64_t armings = 0;
        std::map<std::pair<uint64_t, uint64_t>, uint32_t> due;  // (tick, arming) → index
        std::map<uint32_t, std::pair<uint64_t, uint64_t>> armed;
        const uint32_t indices_count = static_cast<uint32_t>(prng.between(1, 200));
        for (int round = 0; round < 2'000; ++round) {
            const uint32_t index = static_cast<uint32_t>(prng.below(indices_count));
            const uint64_t choice = prng.below(10);
            if (choice < 6) {
                const uint64_t past = prng.chance({1, 10}) ? prng.below(now_ns + 1) : 0;
                const uint64_t deadline = now_ns - past + (past > 0 ? 0 : random_duration(prng));
                wheel.arm(index, deadline);
                if (armed.contains(index)) due.erase(armed[index]);
                armed[index] = {std::max(base::div_ceil(deadline, tick), tick_now), armings++};
                due[armed[index]] = index;
            } else if (choice < 7) {
                wheel.cancel(index);
                if (armed.contains(index)) due.erase(armed[index]);
                armed.erase(index);
            } else {
                now_ns += prng.chance({1, 20}) ? random_duration(prng) : prng.below(3 * tick);
                std::vector<uint32_t> expected;
                while (!due.empty() && due.begin()->first.first <= now_ns / tick) {
                    expected.push_back(due.begin()->second);
                    armed.erase(due.begin()->second);
                    due.erase(due.begin());
                }
                tick_now = std::max(tick_now, now_ns / tick + 1);
                ASSERT_EQ(expire_all(wheel, now_ns), expected) << "seed " << seed;
            }
            ASSERT_EQ(wheel.armed_count(), armed.size());
            ASSERT_EQ(wheel.is_armed(index), armed.contains(index));
            if (due.empty()) {
                ASSERT_EQ(wheel.next_deadline_ns(), base::never_ns);
            } else {
                ASSERT_LE(wheel.next_deadline_ns(), due.begin()->first.first * tick);
            }
        }
    }
}

}  // namespace
