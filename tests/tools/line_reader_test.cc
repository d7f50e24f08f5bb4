#include "tools/line_reader.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <vector>

#include "tests/tools/captured_file.h"

namespace {

using tools::LineReader;
using tools_test::CapturedFile;

std::vector<std::string> read_lines(std::string_view input) {
    const CapturedFile file(input);
    LineReader reader(file.fd());
    std::vector<std::string> lines;
    std::string_view line;
    while (true) {
        switch (reader.next(line)) {
            case LineReader::Next::line: lines.emplace_back(line); break;
            case LineReader::Next::too_long: lines.emplace_back("too long"); break;
            case LineReader::Next::empty: reader.read_more(); break;
            case LineReader::Next::end: EXPECT_EQ(reader.lines_count(), lines.size()); return lines;
        }
    }
}

using Lines = std::vector<std::string>;

TEST(LineReader, SplitsAtLineFeeds) {
    EXPECT_EQ(read_lines(""), Lines{});
    EXPECT_EQ(read_lines("\n"), Lines{""});
    EXPECT_EQ(read_lines("a\nb\n"), (Lines{"a", "b"}));
    EXPECT_EQ(read_lines("a\n\nb"), (Lines{"a", "", "b"}));
    EXPECT_EQ(read_lines("a\r\n"), Lines{"a\r"});
    const std::string long_line(200'000, 'x');
    EXPECT_EQ(read_lines(long_line + "\nb"), (Lines{long_line, "b"}));
}

TEST(LineReader, SkipsALineBeyondTheLimit) {
    const std::string at_limit(LineReader::line_bytes_max, 'x');
    EXPECT_EQ(read_lines(at_limit + "\nb\n"), (Lines{at_limit, "b"}));
    EXPECT_EQ(read_lines(at_limit + "x\nb\n"), (Lines{"too long", "b"}));
    EXPECT_EQ(read_lines(at_limit + at_limit + at_limit + "\nb"), (Lines{"too long", "b"}));
    EXPECT_EQ(read_lines("a\n" + at_limit + "x"), (Lines{"a", "too long"}));
    EXPECT_EQ(read_lines(at_limit), Lines{at_limit});
}

TEST(LineReader, HandsOutALineBeforeTheNextHasCome) {
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    LineReader reader(ends[0]);
    std::string_view line;
    ASSERT_EQ(write(ends[1], "a\nb", 3), 3);
    EXPECT_EQ(reader.next(line), LineReader::Next::empty);
    reader.read_more();
    EXPECT_EQ(reader.next(line), LineReader::Next::line);
    EXPECT_EQ(line, "a");
    EXPECT_EQ(reader.next(line), LineReader::Next::empty);
    ASSERT_EQ(write(ends[1], "c\n", 2), 2);
    reader.read_more();
    EXPECT_EQ(reader.next(line), LineReader::Next::line);
    EXPECT_EQ(line, "bc");
    close(ends[1]);
    reader.read_more();
    EXPECT_EQ(reader.next(line), LineReader::Next::end);
    EXPECT_EQ(reader.error(), 0);
    close(ends[0]);
}

TEST(LineReader, AFailedReadIsAnEndWithAnError) {
    LineReader reader(-1);
    std::string_view line;
    EXPECT_EQ(reader.next(line), LineReader::Next::empty);
    reader.read_more();
    EXPECT_EQ(reader.next(line), LineReader::Next::end);
    EXPECT_EQ(reader.error(), EBADF);
}

TEST(LineReader, ReadsAllUpToALimit) {
    const std::string input = std::string(100'000, 'x') + "\ny";
    std::string all;
    {
        const CapturedFile file(input);
        EXPECT_TRUE(LineReader(file.fd()).read_all(input.size(), all));
        EXPECT_EQ(all, input);
    }
    const CapturedFile file(input);
    EXPECT_FALSE(LineReader(file.fd()).read_all(input.size() - 1, all));
}

}  // namespace
