#include "broker/delayed_slots.h"

#include <gtest/gtest.h>

#include "io/base/prng.h"

namespace broker {
namespace {

TEST(DelayedSlots, TheEarliestComesFirst) {
    DelayedSlots slots;
    EXPECT_EQ(slots.next_ns(), base::never_ns);
    base::Prng prng(3);
    for (uint32_t index = 0; index < 1'000; ++index) {
        slots.push(prng.below(100), base::Slot{index, 1});
    }
    uint64_t last_ns = 0;
    std::vector<bool> seen(1'000);
    for (uint32_t count = 0; count < 1'000; ++count) {
        EXPECT_GE(slots.next_ns(), last_ns);
        last_ns = slots.next_ns();
        const base::Slot slot = slots.pop();
        EXPECT_FALSE(seen[slot.index]);
        seen[slot.index] = true;
    }
    EXPECT_EQ(slots.next_ns(), base::never_ns);
}

}  // namespace
}  // namespace broker
