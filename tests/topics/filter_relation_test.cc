// covers() and overlaps() against their definitions: what matches() says of all topics over a small
// alphabet. The topics have a word that no filter has, which stands for all the words there are,
// and one level more than the filters.
#include "topics/filter_relation.h"

#include <gtest/gtest.h>

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/topics/all_names.h"
#include "topics/name.h"

namespace topics {
namespace {

TEST(FilterRelation, all_pairs_of_short_filters) {
    constexpr size_t topics_count_max = 4'000;
    const auto filters = all_names({"a", "b", "", "+", "#", "$x"}, 4, check_filter);
    const auto topics = all_names({"a", "c", "", "b", "$x"}, 5, check_topic);
    ASSERT_EQ(935u, filters.size());
    ASSERT_EQ(3'904u, topics.size());
    std::vector<std::bitset<topics_count_max>> matched(filters.size());
    for (size_t filter = 0; filter < filters.size(); ++filter) {
        for (size_t topic = 0; topic < topics.size(); ++topic) {
            matched[filter][topic] = matches(filters[filter], topics[topic]);
        }
        ASSERT_TRUE(matched[filter].any()) << filters[filter];
    }
    uint32_t covered_count = 0;
    uint32_t overlapping_count = 0;
    for (size_t left = 0; left < filters.size(); ++left) {
        for (size_t right = 0; right < filters.size(); ++right) {
            const bool is_covered = (matched[right] & ~matched[left]).none();
            const bool is_overlapping = (matched[left] & matched[right]).any();
            ASSERT_EQ(is_covered, covers(filters[left], filters[right]))
                << filters[left] << " and " << filters[right];
            ASSERT_EQ(is_overlapping, overlaps(filters[left], filters[right]))
                << filters[left] << " and " << filters[right];
            covered_count += is_covered;
            overlapping_count += is_overlapping;
        }
    }
    EXPECT_GT(covered_count, filters.size());
    EXPECT_GT(overlapping_count, covered_count);
}

TEST(FilterRelation, everything_is_the_same_as_a_level_and_everything) {
    EXPECT_TRUE(covers("#", "+/#"));
    EXPECT_TRUE(covers("+/#", "#"));
    EXPECT_TRUE(covers("+/#", "+"));
    EXPECT_FALSE(covers("+/+/#", "#"));
    EXPECT_FALSE(covers("a/+/#", "a/#"));
}

TEST(FilterRelation, no_topic_is_empty) {
    EXPECT_FALSE(overlaps("+", "/#"));
    EXPECT_TRUE(covers("/+/#", "/#"));
    EXPECT_TRUE(covers("+/+/#", "/#"));
    EXPECT_TRUE(overlaps("+", "+/#"));
}

TEST(FilterRelation, wildcards_in_front_keep_away_from_the_brokers_topics) {
    EXPECT_FALSE(covers("#", "$broker/#"));
    EXPECT_FALSE(overlaps("#", "$broker/#"));
    EXPECT_FALSE(overlaps("$broker/up", "+/up"));
    EXPECT_TRUE(covers("$broker/#", "$broker/up"));
    EXPECT_TRUE(covers("a/+", "a/$b"));
    EXPECT_TRUE(overlaps("a/$b", "+/+"));
}

TEST(FilterRelation, as_many_levels_as_there_can_be) {
    std::string deep = "a";
    for (uint32_t level = 1; level < topic_levels_max - 1; ++level) deep += "/a";
    ASSERT_EQ(NameError::none, check_filter(deep + "/#"));
    EXPECT_TRUE(covers(deep + "/#", deep));
    EXPECT_TRUE(covers(deep + "/#", deep + "/+"));
    EXPECT_FALSE(covers(deep + "/+", deep + "/#"));
    EXPECT_TRUE(overlaps(deep + "/+", deep + "/#"));
    EXPECT_FALSE(overlaps(deep + "/+", deep));
}

}  // namespace
}  // namespace topics
