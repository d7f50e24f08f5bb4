#include "io/base/slab.h"

#include <gtest/gtest.h>

#include <map>
#include <vector>

#include "io/base/prng.h"

namespace {

using base::Slab;
using base::Slot;

TEST(Slab, VisitsSomeAndGoesOn) {
    Slab<int> slab(1'000);
    std::vector<Slot> slots;
    for (int value = 0; value < 300; ++value) slots.push_back(slab.take(value));
    slab.release(slots[1]);
    std::vector<int> seen;
    const auto visit = [&](Slot, int& value) { seen.push_back(value); };
    EXPECT_EQ(slab.for_some(0, 3, visit), 3u);
    EXPECT_EQ(seen, (std::vector<int>{0, 2}));
    uint32_t next = 3;
    while (next > 0) next = slab.for_some(next, 100, visit);
    EXPECT_EQ(seen.size(), 299u);
    for (const Slot slot : slots) {
        if (slot != slots[1]) slab.release(slot);
    }
}

TEST(slab, full_is_a_return_value) {
    Slab<int> slab(2);
    const Slot first = slab.take(1);
    const Slot second = slab.take(2);
    EXPECT_TRUE(slab.is_full());
    EXPECT_TRUE(slab.take(3).is_none());
    slab.release(first);
    EXPECT_FALSE(slab.is_full());
    const Slot third = slab.take(3);
    EXPECT_FALSE(third.is_none());
    slab.release(second);
    slab.release(third);
    EXPECT_EQ(slab.size(), 0u);
}

TEST(slab, a_stale_slot_finds_nothing) {
    Slab<int> slab(4);
    const Slot stale = slab.take(7);
    slab.release(stale);
    EXPECT_EQ(slab.find(stale), nullptr);
    const Slot fresh = slab.take(8);
    EXPECT_EQ(fresh.index, stale.index);
    EXPECT_NE(fresh.generation, stale.generation);
    EXPECT_EQ(slab.find(stale), nullptr);
    ASSERT_NE(slab.find(fresh), nullptr);
    EXPECT_EQ(*slab.find(fresh), 8);
    EXPECT_EQ(slab.find(Slot{}), nullptr);
    EXPECT_EQ(slab.find(Slot{1000, 1}), nullptr);
    slab.release(fresh);
}

TEST(slab, the_slot_used_last_is_taken_first) {
    Slab<int> slab(1000);
    std::vector<Slot> slots;
    for (int value = 0; value < 600; ++value) slots.push_back(slab.take(value));
    for (uint32_t index = 0; index < slots.size(); ++index) EXPECT_EQ(slots[index].index, index);
    slab.release(slots[5]);
    slab.release(slots[300]);
    const Slot first = slab.take(0);
    const Slot second = slab.take(0);
    EXPECT_EQ(first.index, 300u);
    EXPECT_EQ(second.index, 5u);
    slab.for_each([&](Slot slot, int&) { slab.release(slot); });
    EXPECT_EQ(slab.size(), 0u);
}

TEST(slab, the_generation_wraps_at_24_bits_and_stays_odd_while_taken) {
    Slab<int> slab(1);
    for (uint32_t round = 0; round <= (base::generation_mask >> 1) + 3; ++round) {
        const Slot slot = slab.take(1);
        ASSERT_EQ(slot.generation & 1, 1u);
        ASSERT_LE(slot.generation, base::generation_mask);
        slab.release(slot);
    }
}

TEST(slab, misuse_ends_the_process) {
    Slab<int> slab(2);
    const Slot slot = slab.take(1);
    slab.release(slot);
    EXPECT_DEATH(slab.release(slot), "CHECK failed");
    EXPECT_DEATH(slab.at(slot), "CHECK failed");
    EXPECT_DEATH(
        {
            Slab<int> leaking(1);
            static_cast<void>(leaking.take(1));
        },
        "CHECK failed");
}

TEST(slab, behaves_like_a_map) {
    base::Prng prng(1);
    Slab<uint64_t> slab(300);
    std::map<uint32_t, std::pair<Slot, uint64_t>> model;  // by index
    std::vector<const uint64_t*> addresses(300, nullptr);
    for (uint32_t round = 0; round < 100'000; ++round) {
        if (prng.chance({11, 20})) {
            const uint64_t value = prng.next();
            const Slot slot = slab.take(value);
            ASSERT_EQ(slot.is_none(), model.size() == 300);
            if (slot.is_none()) continue;
            ASSERT_TRUE(model.emplace(slot.index, std::pair(slot, value)).second);
            // Objects never move.
            const uint64_t* const address = &slab.at(slot);
            if (addresses[slot.index] != nullptr) {
                ASSERT_EQ(addresses[slot.index], address);
            }
            addresses[slot.index] = address;
        } else if (!model.empty()) {
            auto victim = model.lower_bound(static_cast<uint32_t>(prng.below(300)));
            if (victim == model.end()) victim = model.begin();
            const auto [slot, value] = victim->second;
            ASSERT_EQ(slab.at(slot), value);
            ASSERT_EQ(slab.at_index(slot.index), value);
            ASSERT_EQ(slab.slot_of(slot.index), slot);
            slab.release(slot);
            ASSERT_EQ(slab.find(slot), nullptr);
            model.erase(victim);
        }
        ASSERT_EQ(slab.size(), model.size());
    }
    uint32_t visited_count = 0;
    slab.for_each([&](Slot slot, uint64_t& value) {
        ASSERT_EQ(model.at(slot.index).second, value);
        ++visited_count;
        slab.release(slot);
    });
    EXPECT_EQ(visited_count, model.size());
}

}  // namespace
