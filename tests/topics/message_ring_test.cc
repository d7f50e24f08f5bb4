#include "topics/message_ring.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <deque>
#include <utility>
#include <vector>

#include "io/base/prng.h"

namespace topics {
namespace {

class MessageRingTest : public testing::Test {
  protected:
    ~MessageRingTest() override {
        for (StoredMessage* message : messages_) StoredMessage::destroy(message);
    }
    StoredMessage* create(uint64_t offset) {
        messages_.push_back(StoredMessage::create({.offset = offset}, ""));
        return messages_.back();
    }

  private:
    std::vector<StoredMessage*> messages_;
};

TEST_F(MessageRingTest, one_message_needs_no_block) {
    StoredMessage* first = create(1);
    StoredMessage* second = create(2);
    MessageRing ring;
    ring.push(first, 1);
    EXPECT_EQ(0u, ring.memory_bytes());
    EXPECT_EQ(first, ring.oldest());
    EXPECT_EQ(first, ring.newest());
    ring.pop_oldest();
    ring.push(second, 1);
    EXPECT_EQ(second, ring.oldest());
    EXPECT_EQ(0u, ring.memory_bytes());
}

TEST_F(MessageRingTest, a_block_stops_at_the_limit) {
    StoredMessage* message = create(1);
    MessageRing limited;
    MessageRing free;
    for (uint32_t count = 0; count < 100; ++count) {
        limited.push(message, 100);
        free.push(message, UINT64_MAX);
    }
    EXPECT_EQ(heap_bytes(100 * 8), limited.memory_bytes());
    EXPECT_EQ(heap_bytes(128 * 8), free.memory_bytes());
}

TEST_F(MessageRingTest, moving_leaves_an_empty_ring_behind) {
    StoredMessage* message = create(1);
    MessageRing ring;
    for (uint32_t count = 0; count < 10; ++count) ring.push(message, 10);
    MessageRing moved = std::move(ring);
    EXPECT_EQ(10u, moved.count());
    ring = MessageRing();
    EXPECT_EQ(0u, ring.count());
    EXPECT_EQ(0u, ring.memory_bytes());
}

TEST_F(MessageRingTest, model) {
    for (uint64_t seed = 1; seed <= 20; ++seed) {
        base::Prng prng(seed);
        const uint64_t limit = prng.chance({1, 2}) ? prng.between(1, 50) : UINT64_MAX;
        std::deque<StoredMessage*> model;
        MessageRing ring;
        uint64_t offset = 0;
        for (uint32_t operation = 0; operation < 3'000; ++operation) {
            const bool is_growing = operation / 500 % 2 == 0;
            if (model.size() == limit ||
                (!model.empty() && prng.chance({is_growing ? 1u : 3u, 4}))) {
                ring.pop_oldest();
                model.pop_front();
            } else {
                offset += prng.between(1, 3);
                model.push_back(create(offset));
                ring.push(model.back(), limit);
            }
            ASSERT_EQ(model.size(), ring.count());
            const uint64_t asked = prng.below(offset + 2);
            uint32_t upto_count = 0;
            for (uint32_t index = 0; index < ring.count(); ++index) {
                ASSERT_EQ(model[index], ring[index]) << "seed " << seed;
                upto_count += model[index]->offset() <= asked;
            }
            ASSERT_EQ(upto_count, ring.count_upto(asked));
            ASSERT_LE(ring.memory_bytes(), 64 + model.size() * 8 * 4);
        }
    }
}

}  // namespace
}  // namespace topics
