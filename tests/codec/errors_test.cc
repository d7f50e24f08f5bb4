#include "codec/errors.h"

#include <gtest/gtest.h>

#include <set>

namespace codec {
namespace {

TEST(Errors, EveryCodeHasItsOwnWordAndAMeaning) {
    std::set<std::string_view> names;
    const ErrorCode codes[] = {
#define FANFARE_X(name, meaning) ErrorCode::name,
        FANFARE_ERROR_CODES(FANFARE_X)
#undef FANFARE_X
    };
    for (const ErrorCode code : codes) {
        EXPECT_TRUE(names.insert(name_of(code)).second) << name_of(code);
        EXPECT_FALSE(meaning_of(code).empty()) << name_of(code);
        // The word stands on the wire between quotes without escapes.
        EXPECT_EQ(name_of(code).find_first_not_of("abcdefghijklmnopqrstuvwxyz_"),
                  std::string_view::npos);
    }
    EXPECT_EQ(name_of(ErrorCode::invalid_json), "invalid_json");
    EXPECT_EQ(name_of(ErrorCode::forbidden), "forbidden");
    EXPECT_EQ(name_of(ErrorCode::none), "none");
    EXPECT_EQ(meaning_of(ErrorCode::none), "");
}

}  // namespace
}  // namespace codec
