#include "topics/filter_set.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "topics/name.h"

namespace topics {
namespace {

// Few are tried one after the other, many by a router; both must say the same.
TEST(FilterSet, few_and_many_find_what_matches) {
    const std::vector<std::string_view> all = {"a",   "a/b", "+/b", "#", "$x/#", "a",
                                               "a/#", "b",   "c/+", "+", "+/+/#"};
    ASSERT_GT(all.size(), FilterSet::linear_count_max + 1);
    for (size_t count = 0; count <= all.size(); ++count) {
        const std::span<const std::string_view> filters(all.data(), count);
        FilterSet set(filters, 1);
        for (const std::string_view topic : {"a", "a/b", "b", "c", "c/d", "$x", "$x/y", "d/e/f"}) {
            std::vector<uint32_t> expected;
            for (uint32_t index = 0; index < count; ++index) {
                if (matches(filters[index], topic)) expected.push_back(index);
            }
            const auto found = set.matching(topic);
            std::vector<uint32_t> sorted(found.begin(), found.end());
            std::sort(sorted.begin(), sorted.end());
            ASSERT_EQ(expected, sorted) << topic << " among " << count;
        }
    }
}

}  // namespace
}  // namespace topics
