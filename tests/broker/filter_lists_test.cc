#include "broker/filter_lists.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace broker {
namespace {

using Filters = std::vector<std::string_view>;

Filters filters_of(const FilterLists& lists, FilterLists::Id id) {
    const auto filters = lists.filters(id);
    return {filters.begin(), filters.end()};
}

TEST(FilterLists, EqualListsHaveOneNumber) {
    FilterLists lists;
    const auto first = lists.acquire(Filters{"a", "b/+"});
    const auto again = lists.acquire(Filters{"a", "b/+"});
    EXPECT_EQ(first, again);
    EXPECT_NE(first, FilterLists::none);
    EXPECT_EQ(lists.count(), 1u);
    EXPECT_EQ(filters_of(lists, first), (Filters{"a", "b/+"}));
    lists.release(first);
    EXPECT_EQ(lists.count(), 1u) << "held once more";
    lists.release(again);
    EXPECT_EQ(lists.count(), 0u);
}

TEST(FilterLists, DifferentListsHaveDifferentNumbers) {
    FilterLists lists;
    const std::vector<Filters> different = {{"a", "b"}, {"b", "a"}, {"a"}, {"ab"}, {"a", "a"}};
    std::vector<FilterLists::Id> ids;
    for (const Filters& filters : different) ids.push_back(lists.acquire(filters));
    EXPECT_EQ(lists.count(), different.size());
    for (size_t index = 0; index < ids.size(); ++index) {
        EXPECT_EQ(filters_of(lists, ids[index]), different[index]);
        EXPECT_EQ(lists.acquire(different[index]), ids[index]);
    }
    for (const auto id : ids) {
        lists.release(id);
        lists.release(id);
    }
    EXPECT_EQ(lists.count(), 0u);
}

TEST(FilterLists, NumbersAreGivenAgain) {
    FilterLists lists;
    const auto first = lists.acquire(Filters{"a"});
    const auto second = lists.acquire(Filters{"b"});
    lists.release(first);
    const auto third = lists.acquire(Filters{"c", "d"});
    EXPECT_EQ(third, first);
    EXPECT_EQ(filters_of(lists, third), (Filters{"c", "d"}));
    EXPECT_EQ(filters_of(lists, second), Filters{"b"});
    const auto again = lists.acquire(Filters{"a"});
    EXPECT_EQ(filters_of(lists, again), Filters{"a"});
    for (const auto id : {second, third, again}) lists.release(id);
}

TEST(FilterLists, AHeldListStays) {
    FilterLists lists;
    const auto id = lists.acquire(Filters{"a"});
    lists.retain(id);
    lists.release(id);
    EXPECT_EQ(filters_of(lists, id), Filters{"a"});
    lists.release(id);
    EXPECT_EQ(lists.count(), 0u);
}

// The text of a list must stay where it is, short (inside of the string) or long, whoever comes
// after it.
TEST(FilterLists, ViewsLiveWhileTheListIsHeld) {
    FilterLists lists;
    const std::string filter_longest(512, 'f');
    const auto small = lists.acquire(Filters{"x"});
    const auto large = lists.acquire(Filters{filter_longest, "y"});
    const auto small_views = lists.filters(small);
    const auto large_views = lists.filters(large);
    std::vector<std::string> names;
    for (int index = 0; index < 1'000; ++index) names.push_back(std::to_string(index));
    std::vector<FilterLists::Id> others;
    for (const std::string& name : names) others.push_back(lists.acquire(Filters{name}));
    EXPECT_EQ(small_views[0], "x");
    EXPECT_EQ(large_views[0], filter_longest);
    EXPECT_EQ(large_views[1], "y");
    for (const auto id : others) lists.release(id);
    lists.release(small);
    lists.release(large);
    EXPECT_EQ(lists.count(), 0u);
}

}  // namespace
}  // namespace broker
