#include "tools/terminal.h"

#include <gtest/gtest.h>

namespace {

using tools::escaped_for_terminal;

TEST(Terminal, LeavesTextAlone) {
    EXPECT_EQ(escaped_for_terminal(""), "");
    EXPECT_EQ(escaped_for_terminal("Grüße, 世界 🎺 \\n"), "Grüße, 世界 🎺 \\n");
    EXPECT_EQ(escaped_for_terminal("\xc2\xa0"), "\xc2\xa0");  // U+00A0 is the first after C1
}

TEST(Terminal, EscapesWhatMovesTheCursor) {
    EXPECT_EQ(escaped_for_terminal("\x1b[2J"), "\\u001b[2J");
    EXPECT_EQ(escaped_for_terminal("a\nb\rc\td"), "a\\nb\\rc\\td");
    EXPECT_EQ(escaped_for_terminal(std::string_view("\0\x1f\x7f", 3)), "\\u0000\\u001f\\u007f");
    EXPECT_EQ(escaped_for_terminal("\xc2\x9b"
                                   "2J\xc2\x80\xc2\x9f"),
              "\\u009b2J\\u0080\\u009f");
    EXPECT_EQ(escaped_for_terminal("\xe2\x80\xa8|\xe2\x80\xa9"), "\\u2028|\\u2029");
}

TEST(Terminal, ReadsNotBeyondACutCharacter) {
    EXPECT_EQ(escaped_for_terminal("\xc2"), "\xc2");
    EXPECT_EQ(escaped_for_terminal("\xe2\x80"), "\xe2\x80");
}

}  // namespace
