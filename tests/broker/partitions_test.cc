#include "broker/partitions.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace broker {
namespace {

std::vector<uint32_t> visited(const Partitions& partitions,
                              const std::vector<std::string_view>& filters) {
    std::vector<uint32_t> numbers;
    partitions.for_each_of(filters, [&](uint32_t partition) { numbers.push_back(partition); });
    return numbers;
}

TEST(Partitions, ATopicsPartitionIsTheSameForAnyNumberOfShards) {
    const Partitions one(64, 1, 42);
    const Partitions seven(64, 7, 42);
    const Partitions other_seed(64, 7, 43);
    uint32_t moved_count = 0;
    for (int index = 0; index < 100; ++index) {
        const std::string topic = "topic/" + std::to_string(index);
        const uint32_t partition = one.partition_of(topic);
        EXPECT_LT(partition, 64u);
        EXPECT_EQ(seven.partition_of(topic), partition);
        EXPECT_EQ(one.owner_of(topic), 0u);
        EXPECT_EQ(seven.owner_of(topic), seven.owner_of(partition));
        moved_count += other_seed.partition_of(topic) != partition ? 1u : 0u;
    }
    EXPECT_GT(moved_count, 50u) << "the seed makes it unpredictable";
}

TEST(Partitions, TopicsSpreadOverAllOfThem) {
    const Partitions partitions(64, 3, 42);
    std::vector<uint32_t> topics_count(64);
    for (int index = 0; index < 6'400; ++index) {
        ++topics_count[partitions.partition_of("topic/" + std::to_string(index))];
    }
    for (const uint32_t count : topics_count) {
        EXPECT_GT(count, 50u);
        EXPECT_LT(count, 150u);
    }
}

TEST(Partitions, NoShardOwnsMoreThanItsShare) {
    for (const uint32_t shards_count : {1u, 2u, 3u, 64u, 100u}) {
        const Partitions partitions(64, shards_count, 42);
        std::vector<uint32_t> owned_count(shards_count);
        for (uint32_t partition = 0; partition < 64; ++partition) {
            ++owned_count[partitions.owner_of(partition)];
        }
        EXPECT_EQ(*std::max_element(owned_count.begin(), owned_count.end()),
                  partitions.owned_count_max());
    }
}

TEST(Partitions, AWildcardCanMatchInAllOfThem) {
    const Partitions partitions(5, 2, 42);
    const std::vector<uint32_t> all = {0, 1, 2, 3, 4};
    EXPECT_EQ(visited(partitions, {}), all);
    EXPECT_EQ(visited(partitions, {"#"}), all);
    EXPECT_EQ(visited(partitions, {"a", "b/+"}), all);
}

TEST(Partitions, TopicsAreVisitedByRisingPartitionEachOnce) {
    const Partitions partitions(64, 2, 42);
    const std::vector<std::string_view> topics = {"g", "f", "e", "d", "c", "b", "a", "a", "g"};
    const std::vector<uint32_t> numbers = visited(partitions, topics);
    for (size_t index = 1; index < numbers.size(); ++index) {
        EXPECT_LT(numbers[index - 1], numbers[index]);
    }
    for (const std::string_view topic : topics) {
        const uint32_t partition = partitions.partition_of(topic);
        EXPECT_NE(std::find(numbers.begin(), numbers.end(), partition), numbers.end()) << topic;
    }
    for (const uint32_t number : numbers) {
        EXPECT_TRUE(std::any_of(topics.begin(), topics.end(), [&](std::string_view topic) {
            return partitions.partition_of(topic) == number;
        }));
    }
}

}  // namespace
}  // namespace broker
