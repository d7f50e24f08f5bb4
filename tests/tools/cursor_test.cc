#include "tools/cursor.h"

#include <gtest/gtest.h>

namespace {

using tools::Cursor;

std::string json(const Cursor& cursor) {
    std::string out;
    tools::append_cursor(out, cursor);
    return out;
}

TEST(Cursor, IsWrittenAsTheBrokerReadsIt) {
    EXPECT_EQ(json({"e", {}}), R"({"epoch":"e","pos":[]})");
    EXPECT_EQ(json({"a\"b", {{0, 17}, {4'294'967'295, UINT64_MAX}}}),
              R"({"epoch":"a\"b","pos":["0:17","4294967295:18446744073709551615"]})");
}

TEST(Cursor, OnlyRises) {
    Cursor cursor{"e", {}};
    cursor.raise({3, 0});
    EXPECT_TRUE(cursor.offsets.empty());
    cursor.raise({3, 7});
    cursor.raise({3, 5});
    cursor.raise({1, 1});
    EXPECT_EQ(cursor, (Cursor{"e", {{1, 1}, {3, 7}}}));
    EXPECT_EQ(cursor.offset_of(3), 7U);
    EXPECT_EQ(cursor.offset_of(2), 0U);
}

TEST(Cursor, AMergeIsTheMaximumOfEachPartition) {
    Cursor cursor{"e", {{0, 5}, {1, 5}}};
    cursor.merge({"e", {{0, 6}, {1, 4}, {2, 1}}});
    EXPECT_EQ(cursor, (Cursor{"e", {{0, 6}, {1, 5}, {2, 1}}}));
    cursor.merge({});
    EXPECT_EQ(cursor, (Cursor{"e", {{0, 6}, {1, 5}, {2, 1}}}));
}

TEST(Cursor, AnotherEpochReplacesIt) {
    Cursor cursor{"e", {{0, 5}}};
    cursor.merge({"f", {{1, 1}}});
    EXPECT_EQ(cursor, (Cursor{"f", {{1, 1}}}));
}

}  // namespace
