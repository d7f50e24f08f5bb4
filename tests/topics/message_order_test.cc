#include "topics/message_order.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <vector>

#include "io/base/prng.h"

namespace topics {
namespace {

class Messages {
  public:
    Messages() = default;
    Messages(const Messages&) = delete;
    Messages& operator=(const Messages&) = delete;
    StoredMessage* add(uint64_t offset) {
        messages_.push_back(StoredMessage::create({.offset = offset}, ""));
        return messages_.back();
    }
    ~Messages() {
        for (StoredMessage* message : messages_) StoredMessage::destroy(message);
    }

  private:
    std::vector<StoredMessage*> messages_;
};

std::vector<uint64_t> offsets_above(const MessageOrder& order, uint64_t after) {
    std::vector<uint64_t> offsets;
    for (auto cursor = order.above(after); cursor.message() != nullptr; cursor.next()) {
        offsets.push_back(cursor.message()->offset());
    }
    return offsets;
}

TEST(MessageOrder, empty) {
    const MessageOrder order;
    EXPECT_TRUE(order.is_empty());
    EXPECT_EQ(nullptr, order.above(0).message());
    EXPECT_EQ(0u, order.memory_bytes());
}

TEST(MessageOrder, begins_above_and_not_at) {
    Messages messages;
    MessageOrder order;
    for (const uint64_t offset : {5u, 7u, 1'000'000u}) order.append(messages.add(offset));
    EXPECT_EQ((std::vector<uint64_t>{5, 7, 1'000'000}), offsets_above(order, 0));
    EXPECT_EQ((std::vector<uint64_t>{5, 7, 1'000'000}), offsets_above(order, 4));
    EXPECT_EQ((std::vector<uint64_t>{7, 1'000'000}), offsets_above(order, 5));
    EXPECT_EQ((std::vector<uint64_t>{1'000'000}), offsets_above(order, 7));
    EXPECT_EQ((std::vector<uint64_t>{1'000'000}), offsets_above(order, 999'999));
    EXPECT_EQ((std::vector<uint64_t>{}), offsets_above(order, 1'000'000));
}

TEST(MessageOrder, dense_messages_take_little_more_than_their_pointers) {
    Messages messages;
    MessageOrder order;
    for (uint64_t offset = 1; offset <= 63'000; ++offset) order.append(messages.add(offset));
    EXPECT_EQ(1'000 * MessageOrder::chunk_memory_bytes, order.memory_bytes());
    EXPECT_LT(order.memory_bytes(), 63'000u * 9);
}

TEST(MessageOrder, chunks_are_merged_when_messages_go) {
    Messages messages;
    MessageOrder order;
    std::vector<StoredMessage*> all;
    for (uint64_t offset = 1; offset <= 63'000; ++offset) {
        all.push_back(messages.add(offset));
        order.append(all.back());
    }
    // Nine of ten, from the back.
    for (size_t index = all.size(); index-- > 0;) {
        if (index % 10 != 0) order.remove(all[index]);
    }
    EXPECT_EQ(6'300u, offsets_above(order, 0).size());
    EXPECT_LT(order.memory_bytes(), 6'300u * 18);
    for (size_t index = 0; index < all.size(); index += 10) order.remove(all[index]);
    EXPECT_TRUE(order.is_empty());
    EXPECT_EQ(0u, order.memory_bytes());
}

TEST(MessageOrder, the_last_chunk_is_left_alone) {
    Messages messages;
    MessageOrder order;
    StoredMessage* first = messages.add(1);
    order.append(first);
    for (uint64_t offset = 2; offset <= 64; ++offset) order.append(messages.add(offset));
    EXPECT_EQ(2 * MessageOrder::chunk_memory_bytes, order.memory_bytes());
    order.remove(first);
    EXPECT_EQ(2 * MessageOrder::chunk_memory_bytes, order.memory_bytes());
    EXPECT_EQ(63u, offsets_above(order, 0).size());
}

TEST(MessageOrder, model) {
    for (uint64_t seed = 1; seed <= 20; ++seed) {
        base::Prng prng(seed);
        Messages messages;
        MessageOrder order;
        std::map<uint64_t, StoredMessage*> model;
        uint64_t head = 0;
        // What stands grows and shrinks in waves, which makes and merges chunks.
        for (uint32_t operation = 0; operation < 4'000; ++operation) {
            const bool is_growing = operation / 1'000 % 2 == 0;
            if (model.empty() || prng.chance({is_growing ? 3u : 1u, 4})) {
                head += prng.chance({1, 10}) ? prng.between(1, 1'000'000) : 1;
                model[head] = messages.add(head);
                order.append(model[head]);
            } else {
                auto victim = model.lower_bound(prng.below(head + 1));
                if (victim == model.end()) victim = model.begin();
                order.remove(victim->second);
                model.erase(victim);
            }
            if (operation % 16 != 0) continue;
            const uint64_t after = prng.below(head + 2);
            std::vector<uint64_t> expected;
            for (auto at = model.upper_bound(after); at != model.end(); ++at) {
                expected.push_back(at->first);
            }
            ASSERT_EQ(expected, offsets_above(order, after)) << "seed " << seed;
            // Neighbours that do not fit into one, but for the last.
            ASSERT_LE(order.memory_bytes() / MessageOrder::chunk_memory_bytes,
                      model.size() * 2 / 63 + 3);
        }
    }
}

}  // namespace
}  // namespace topics
