#include "codec/recovery.h"

#include <gtest/gtest.h>

#include <set>

namespace codec {
namespace {

TEST(Recovery, EveryCodeHasItsOwnWordAndAReason) {
    std::set<std::string_view> names;
    std::set<std::string_view> reasons;
    const Recovery codes[] = {
#define FANFARE_X(name, reason) Recovery::name,
        FANFARE_RECOVERY_CODES(FANFARE_X)
#undef FANFARE_X
    };
    for (const Recovery code : codes) {
        EXPECT_TRUE(names.insert(name_of(code)).second) << name_of(code);
        EXPECT_TRUE(reasons.insert(reason_of(code)).second) << name_of(code);
        EXPECT_FALSE(reason_of(code).empty()) << name_of(code);
        // The word stands on the wire between quotes without escapes.
        EXPECT_EQ(name_of(code).find_first_not_of("abcdefghijklmnopqrstuvwxyz_"),
                  std::string_view::npos);
    }
    EXPECT_EQ(name_of(Recovery::epoch_changed), "epoch_changed");
    EXPECT_EQ(name_of(Recovery::evicted), "evicted");
    EXPECT_EQ(name_of(Recovery::invalid_position), "invalid_position");
    EXPECT_EQ(name_of(Recovery::recovered), "recovered");
    EXPECT_EQ(reason_of(Recovery::recovered), "");
}

}  // namespace
}  // namespace codec
