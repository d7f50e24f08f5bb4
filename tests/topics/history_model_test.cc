// The History against its model: random operations with tiny limits, checked after each of them.
#include <gtest/gtest.h>

#include <cstdint>

#include "io/base/prng.h"
#include "tests/topics/history_model.h"

namespace topics {
namespace {

TEST(HistoryModel, random_operations) {
    constexpr uint64_t seeds_count = 400;
    constexpr uint32_t operations_count = 500;
    for (uint64_t seed = 1; seed <= seeds_count; ++seed) {
        base::Prng prng(seed);
        HistoryModel model(prng);
        for (uint32_t operation = 0; operation < operations_count; ++operation) {
            ASSERT_TRUE(model.step(prng))
                << model.failure() << "; seed " << seed << ", operation " << operation;
        }
    }
}

}  // namespace
}  // namespace topics
