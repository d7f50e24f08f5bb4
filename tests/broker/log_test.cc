#include "broker/log.h"

#include <gtest/gtest.h>

namespace broker {
namespace {

std::string field_of(std::string_view value) {
    std::string line;
    append_log_field(line, "k", value);
    return line;
}

TEST(Log, FieldsAreQuotedWhenTheyNeedIt) {
    EXPECT_EQ(field_of("plain"), " k=plain");
    EXPECT_EQ(field_of("a/b:c-d"), " k=a/b:c-d");
    EXPECT_EQ(field_of(""), " k=\"\"");
    EXPECT_EQ(field_of("two words"), " k=\"two words\"");
    EXPECT_EQ(field_of("a=b"), " k=\"a=b\"");
    EXPECT_EQ(field_of("say \"no\""), " k=\"say \\\"no\\\"\"");
    EXPECT_EQ(field_of("back\\slash"), " k=\"back\\\\slash\"");
}

TEST(Log, ControlCharactersNeverReachTheTerminal) {
    for (int byte = 0; byte < 0x20; ++byte) {
        const std::string line = field_of(std::string("a") + static_cast<char>(byte) + "b");
        EXPECT_EQ(line, " k=\"a b\"") << byte;
    }
    EXPECT_EQ(field_of("a\x7f"), " k=\"a \"");
}

TEST(Log, LinesArriveInOrderWithTheirTime) {
    Log log(2, LogLevel::info);
    EXPECT_TRUE(log.write(1, LogLevel::warn, 5, "first", {{"errno", "24"}}));
    EXPECT_TRUE(log.write(1, LogLevel::error, 6, "second one"));
    uint64_t now_ns = 0;
    std::string line;
    ASSERT_TRUE(log.read(now_ns, line));
    EXPECT_EQ(now_ns, 5u);
    EXPECT_EQ(line, "level=warn shard=1 msg=first errno=24");
    ASSERT_TRUE(log.read(now_ns, line));
    EXPECT_EQ(now_ns, 6u);
    EXPECT_EQ(line, "level=error shard=1 msg=\"second one\"");
    EXPECT_FALSE(log.read(now_ns, line));
}

TEST(Log, LevelsBelowTheThresholdAreNotWritten) {
    const LogLevel levels[] = {LogLevel::error, LogLevel::warn, LogLevel::info, LogLevel::debug};
    for (const LogLevel threshold : levels) {
        Log log(1, threshold);
        for (const LogLevel level : levels) {
            EXPECT_TRUE(log.write(0, level, 0, "line"));
            uint64_t now_ns = 0;
            std::string line;
            EXPECT_EQ(log.read(now_ns, line), level <= threshold) << name_of(level);
            EXPECT_EQ(log.wants(level), level <= threshold);
        }
    }
}

TEST(Log, EachShardHasItsLevelAndMainHasItsOwn) {
    Log log(2, LogLevel::info);
    log.set_level(1, LogLevel::debug);
    log.set_level(LogLevel::error);
    EXPECT_TRUE(log.write(0, LogLevel::debug, 0, "zero"));
    EXPECT_TRUE(log.write(1, LogLevel::debug, 0, "one"));
    uint64_t now_ns = 0;
    std::string line;
    ASSERT_TRUE(log.read(now_ns, line));
    EXPECT_EQ(line, "level=debug shard=1 msg=one");
    EXPECT_FALSE(log.read(now_ns, line));
    EXPECT_FALSE(log.wants(LogLevel::warn));
}

TEST(Log, AFullLogDropsAndSaysSo) {
    Log log(1, LogLevel::info);
    int written = 0;
    while (log.write(0, LogLevel::info, 0, "a line that nobody reads")) ++written;
    EXPECT_GT(written, 500);
    uint64_t now_ns = 0;
    std::string line;
    for (int index = 0; index < written; ++index) ASSERT_TRUE(log.read(now_ns, line));
    EXPECT_FALSE(log.read(now_ns, line));
    EXPECT_TRUE(log.write(0, LogLevel::info, 0, "room again"));
}

TEST(Log, LongLinesAreCut) {
    Log log(1, LogLevel::info);
    EXPECT_TRUE(log.write(0, LogLevel::info, 0, std::string(100'000, 'x')));
    uint64_t now_ns = 0;
    std::string line;
    ASSERT_TRUE(log.read(now_ns, line));
    EXPECT_EQ(line.size(), 4'096u);
}

}  // namespace
}  // namespace broker
