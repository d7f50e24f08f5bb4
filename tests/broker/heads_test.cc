#include "broker/heads.h"

#include <gtest/gtest.h>

#include <string_view>
#include <vector>

namespace broker {
namespace {

using codec::Position;
using Positions = std::vector<Position>;

// Shard 1 of 3; it owns 1, 4 and 7 of 8 partitions.
class HeadsTest : public ::testing::Test {
  protected:
    Positions cursor(const std::vector<std::string_view>& filters) const {
        Positions positions;
        heads_.append_cursor(filters, positions);
        return positions;
    }
    Positions untold(io::ShardId shard) {
        Positions positions;
        heads_.take_untold(shard, positions);
        return positions;
    }

    const Partitions partitions_{8, 3, 42};
    Heads heads_{partitions_, 1};
};

TEST_F(HeadsTest, HeadsRiseOnly) {
    EXPECT_EQ(heads_.of(5), 0u);
    heads_.advance({5, 10});
    EXPECT_EQ(heads_.of(5), 10u);
    heads_.advance({5, 9});
    EXPECT_EQ(heads_.of(5), 10u);
    EXPECT_EQ(heads_.all().size(), 8u);
    EXPECT_EQ(heads_.all()[5], 10u);
    EXPECT_EQ(heads_.all()[4], 0u);
}

TEST_F(HeadsTest, TheVersionTellsThatSomethingMoved) {
    const uint32_t before = heads_.version();
    heads_.advance({5, 10});
    const uint32_t after = heads_.version();
    EXPECT_NE(after, before);
    heads_.advance({5, 10});
    heads_.advance({5, 3});
    heads_.advance({6, 0});
    EXPECT_EQ(heads_.version(), after) << "nothing moved";
}

TEST_F(HeadsTest, ACursorHasThePartitionsThatTheFiltersCanMatch) {
    for (const uint32_t partition : {7u, 0u, 3u}) heads_.advance({partition, 10 + partition});
    const Positions all = {{0, 10}, {3, 13}, {7, 17}};
    EXPECT_EQ(cursor({}), all) << "no filter stands for all";
    EXPECT_EQ(cursor({"a/+"}), all);
    EXPECT_EQ(cursor({"a", "#"}), all);
    for (const std::string_view topic : {"a", "b", "c", "d", "e", "f"}) {
        const uint32_t partition = partitions_.partition_of(topic);
        const uint64_t head = heads_.of(partition);
        Positions expected;
        if (head > 0) expected.push_back({partition, head});
        EXPECT_EQ(cursor({topic, topic}), expected);
    }
}

TEST_F(HeadsTest, ACursorIsAppended) {
    heads_.advance({2, 1});
    Positions positions = {{9, 9}};
    heads_.append_cursor({}, positions);
    EXPECT_EQ(positions, (Positions{{9, 9}, {2, 1}}));
}

TEST_F(HeadsTest, AnOwnerTellsItsOwnHeadsOnceToEachShard) {
    for (uint32_t partition = 0; partition < 8; ++partition) heads_.advance({partition, 5});
    const Positions own = {{1, 5}, {4, 5}, {7, 5}};
    EXPECT_EQ(untold(0), own);
    EXPECT_EQ(untold(0), Positions{});
    EXPECT_EQ(untold(2), own) << "each shard is told by itself";
    heads_.advance({4, 6});
    EXPECT_EQ(untold(0), (Positions{{4, 6}}));
}

TEST_F(HeadsTest, AMessageThatWentThereTellsTheHeadToo) {
    heads_.advance({4, 1});
    heads_.told(0, {4, 1});
    EXPECT_EQ(untold(0), Positions{});
    EXPECT_EQ(untold(2), (Positions{{4, 1}}));
    heads_.advance({4, 2});
    EXPECT_EQ(untold(0), (Positions{{4, 2}}));
}

}  // namespace
}  // namespace broker
