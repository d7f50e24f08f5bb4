#include "tools/cursor_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/tools/temporary_folder.h"

namespace {

using tools::Cursor;
using tools::CursorFile;
using tools_test::TemporaryFolder;

const Cursor some_cursor{"e", {{0, 17}, {5, 2}}};

TEST(CursorFile, WhatIsSavedIsLoaded) {
    const TemporaryFolder folder;
    CursorFile file(folder.path("f"), {"b/#", "a \"x\""}, "ws://h");
    EXPECT_EQ(file.load(), "");
    EXPECT_TRUE(file.cursor().is_none());
    EXPECT_EQ(file.save({"e", {{0, 1}}}), "");
    EXPECT_EQ(file.save(some_cursor), "");
    EXPECT_EQ(folder.files_count(), 1);
    const std::string text = folder.read("f");
    EXPECT_TRUE(text.starts_with(R"({"cursor":{"epoch":"e","pos":["0:17","5:2"]},)"
                                 R"("filters":["a \"x\"","b/#"],"url":"ws://h","time":"2)"))
        << text;
    EXPECT_TRUE(text.ends_with("Z\"}\n")) << text;

    // In another order and with one twice they are the same filters; another way to the broker may
    // lead to the same broker.
    CursorFile again(folder.path("f"), {"a \"x\"", "b/#", "b/#"}, "unix:/s");
    EXPECT_EQ(again.load(), "");
    EXPECT_EQ(again.cursor(), some_cursor);
    EXPECT_EQ(again.time().size(), std::string("2026-11-21T09:30:00Z").size());
}

TEST(CursorFile, AnEmptyFileIsANewOne) {
    const TemporaryFolder folder;
    CursorFile file(folder.write("f", ""), {"a"}, "u");
    EXPECT_EQ(file.load(), "");
    EXPECT_TRUE(file.cursor().is_none());
}

TEST(CursorFile, WithoutAPathThereIsNone) {
    CursorFile file("", {"a"}, "u");
    EXPECT_FALSE(file.is_used());
    EXPECT_EQ(file.load(), "");
}

TEST(CursorFile, OtherFiltersAreRefused) {
    const TemporaryFolder folder;
    CursorFile file(folder.path("f"), {"a", "b"}, "u");
    ASSERT_EQ(file.save(some_cursor), "");
    for (const std::vector<std::string>& filters :
         {std::vector<std::string>{"a"}, {"a", "c"}, {"a", "b", "c"}}) {
        CursorFile other(folder.path("f"), filters, "u");
        EXPECT_EQ(other.load(), R"(it is of other filters ("a","b"); give these, or another file)");
    }
}

TEST(CursorFile, ADamagedFileIsRefusedAndKept) {
    const std::string cursor = R"("cursor":{"epoch":"e","pos":["0:17"]})";
    const std::string filters = R"("filters":["a"])";
    for (const std::string& text :
         {std::string("\n"),
          std::string("hello"),
          std::string("[]"),
          std::string("1"),
          std::string("{}"),
          "{" + cursor + "}",
          "{" + filters + "}",
          "{" + cursor + "," + filters,
          "{" + cursor + "," + filters + "}x",
          "{" + cursor + "," + cursor + "," + filters + "}",
          "{" + cursor + R"(,"filters":"a"})",
          "{" + cursor + R"(,"filters":["a",1]})",
          "{" + filters + R"(,"cursor":1})",
          "{" + filters + R"(,"cursor":{"epoch":"","pos":[]}})",
          "{" + filters + R"(,"cursor":{"epoch":1,"pos":[]}})",
          "{" + filters + R"(,"cursor":{"epoch":"e"}})",
          "{" + filters + R"(,"cursor":{"pos":[]}})",
          "{" + filters + R"(,"cursor":{"epoch":"e","pos":{}}})",
          "{" + filters + R"(,"cursor":{"epoch":"e","pos":["0:17","x"]}})",
          "{" + filters + R"(,"cursor":{"epoch":"e","pos":[17]}})"}) {
        const TemporaryFolder folder;
        CursorFile file(folder.write("f", text), {"a"}, "u");
        EXPECT_TRUE(file.load().starts_with("it is damaged, or no cursor file: ")) << text;
        EXPECT_EQ(folder.read("f"), text);
    }
}

TEST(CursorFile, WhatIsNewInItIsIgnored) {
    const TemporaryFolder folder;
    CursorFile file(
        folder.write(
            "f",
            R"({"new":[{}],"filters":["a"],"cursor":{"new":1,"pos":["0:17","5:2"],"epoch":"e"}})"),
        {"a"}, "u");
    EXPECT_EQ(file.load(), "");
    EXPECT_EQ(file.cursor(), some_cursor);
    EXPECT_EQ(file.time(), "");
}

TEST(CursorFile, AHugeFileIsNotRead) {
    const TemporaryFolder folder;
    const std::string text = R"({"filters":["a"],"cursor":{"pos":["0:17","5:2"],"epoch":"e"}})";
    const std::string spaces(CursorFile::file_bytes_max - text.size(), ' ');
    CursorFile fits(folder.write("fits", text + spaces), {"a"}, "u");
    EXPECT_EQ(fits.load(), "");
    CursorFile huge(folder.write("huge", text + spaces + " "), {"a"}, "u");
    EXPECT_EQ(huge.load(), "it is larger than 4 MiB, so it is no cursor file");
}

TEST(CursorFile, SaysWhyItCannotBeReadOrWritten) {
    const TemporaryFolder folder;
    ASSERT_EQ(mkdir(folder.path("d").c_str(), 0700), 0);
    CursorFile directory(folder.path("d"), {"a"}, "u");
    EXPECT_EQ(directory.load(), "cannot read it: Is a directory");
    EXPECT_EQ(directory.save(some_cursor),
              "cannot replace " + folder.path("d") + ": Is a directory");
    EXPECT_EQ(folder.files_count(), 1);

    CursorFile nowhere(folder.path("no/f"), {"a"}, "u");
    EXPECT_EQ(nowhere.load(), "");
    const std::string problem = nowhere.save(some_cursor);
    EXPECT_TRUE(problem.starts_with("cannot create " + folder.path("no/f"))) << problem;
    EXPECT_TRUE(problem.ends_with("No such file or directory")) << problem;
}

}  // namespace
