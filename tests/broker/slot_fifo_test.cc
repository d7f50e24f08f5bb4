#include "broker/slot_fifo.h"

#include <gtest/gtest.h>

#include <deque>

#include "io/base/prng.h"

namespace broker {
namespace {

// Against the standard's queue: many sizes, so that it grows and wraps at every place.
TEST(SlotFifo, FirstComeFirstServed) {
    base::Prng prng(1);
    SlotFifo fifo;
    std::deque<base::Slot> expected;
    uint32_t number = 0;
    for (int step = 0; step < 20'000; ++step) {
        ASSERT_EQ(fifo.count(), expected.size());
        ASSERT_EQ(fifo.is_empty(), expected.empty());
        const bool grows = step / 1'000 % 2 == 0;
        if (expected.empty() || prng.below(10) < (grows ? 6u : 4u)) {
            const base::Slot slot{++number, number * 7};
            fifo.push(slot);
            expected.push_back(slot);
        } else {
            ASSERT_EQ(fifo.pop(), expected.front());
            expected.pop_front();
        }
    }
}

TEST(SlotFifo, GrowsAndKeepsItsOrder) {
    // Around the first two capacities, from every place of the head.
    for (uint32_t head = 0; head < 17; ++head) {
        SlotFifo fifo;
        for (uint32_t number = 0; number < head; ++number) {
            fifo.push({number, 1});
            EXPECT_EQ(fifo.pop(), (base::Slot{number, 1}));
        }
        for (uint32_t number = 0; number < 33; ++number) fifo.push({number, 3});
        for (uint32_t number = 0; number < 33; ++number) {
            EXPECT_EQ(fifo.pop(), (base::Slot{number, 3}));
        }
        EXPECT_TRUE(fifo.is_empty());
    }
}

}  // namespace
}  // namespace broker
