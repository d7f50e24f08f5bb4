#include "tools/history.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>

#include "tests/tools/captured_file.h"
#include "tests/tools/fake_broker.h"
#include "tools/exit_code.h"

namespace {

using tools::HistoryOptions;
using tools_test::CapturedFile;
using tools_test::FakeBroker;
using tools_test::FakeConnection;

using Lines = std::vector<std::string>;

std::string page(const std::string& messages, const std::string& position, bool has_more,
                 const std::string& recovery = "") {
    return R"({"op":"history","id":1,"topic":"a\"b","messages":[)" + messages +
           R"(],"cursor":{"epoch":"e","pos":[")" + position + R"("]},"more":)" +
           (has_more ? "true" : "false") + recovery + "}";
}

struct HistoryRun {
    CapturedFile out;
    CapturedFile status;
    HistoryOptions options;
    int exit_code = -1;
    Lines commands;

    HistoryRun() {
        options.topic = "a\"b";
        options.out_fd = out.fd();
        options.status_fd = status.fd();
        options.seed = 1;
    }

    // Each command is answered by the next frame.
    void against(const Lines& answers) {
        const FakeBroker broker([&](FakeConnection& connection, int) {
            connection.welcome();
            for (const std::string& answer : answers) {
                commands.push_back(connection.read_text());
                connection.send_text(R"({"op":"weather"})");
                connection.send_text(answer);
            }
            EXPECT_EQ(connection.receive().close_code, 1000);
        });
        options.url = broker.url();
        exit_code = tools::run_history(options);
    }
};

const Lines two_pages = {page(R"({"pos":"5:7","data":{ "x":1}},{"pos":"5:8","text":"it\nrains"})",
                              "5:8", true, R"(,"recovered":true)"),
                         page(R"({"pos":"5:9","base64":"AAE="})", "5:9", false)};

TEST(History, WhatIsNoMessageIsLeftOut) {
    for (const std::string nonsense : {"#", "5", "\"\"", "[]", "{}", "null"}) {
        HistoryRun run;
        run.against({page(nonsense, "5:9", false)});
        EXPECT_EQ(run.exit_code, tools::exit_ok) << nonsense;
        EXPECT_EQ(run.out.lines(), Lines{}) << nonsense;
    }
}

TEST(History, AFullDiskIsAnError) {
    HistoryRun run;
    run.options.out_fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    ASSERT_GE(run.options.out_fd, 0);
    run.against({two_pages[0]});
    close(run.options.out_fd);
    EXPECT_EQ(run.exit_code, tools::exit_usage);
    EXPECT_EQ(run.status.text(),
              "fanfare history: cannot write the output: No space left on device\n");
}

TEST(History, PrintsPageByPageWhatSubWouldPrint) {
    HistoryRun run;
    run.against(two_pages);
    EXPECT_EQ(run.exit_code, tools::exit_ok);
    EXPECT_EQ(run.out.lines(),
              (Lines{R"({"op":"message","topic":"a\"b","pos":"5:7","data":{"x":1}})",
                     R"({"op":"message","topic":"a\"b","pos":"5:8","text":"it\nrains"})",
                     R"({"op":"message","topic":"a\"b","pos":"5:9","base64":"AAE="})"}));
    EXPECT_EQ(
        run.commands,
        (Lines{R"({"op":"history","id":1,"topic":"a\"b","last":100})",
               R"({"op":"history","id":1,"topic":"a\"b","after":{"epoch":"e","pos":["5:8"]}})"}));
    EXPECT_EQ(run.status.text(), "");
}

TEST(History, ReadableLinesForPeople) {
    HistoryRun run;
    run.options.format = tools::FormatChoice::readable;
    run.options.last_count = 3;
    run.against(two_pages);
    EXPECT_EQ(run.out.text(), "a\"b  {\"x\":1}\na\"b  it\\nrains\na\"b  (2 bytes) AAE=\n");
    EXPECT_EQ(run.commands[0], R"({"op":"history","id":1,"topic":"a\"b","last":3})");
}

TEST(History, ATopicWithoutMessagesPrintsNothing) {
    HistoryRun run;
    run.against({page("", "5:9", false)});
    EXPECT_EQ(run.exit_code, tools::exit_ok);
    EXPECT_EQ(run.out.text(), "");
}

TEST(History, WhatIsEvictedBetweenPagesIsTold) {
    HistoryRun run;
    run.against({two_pages[0], page(R"({"pos":"5:19","data":1})", "5:19", false,
                                    R"(,"recovered":false,"code":"evicted","reason":"gone")")});
    EXPECT_EQ(run.exit_code, tools::exit_ok);
    EXPECT_EQ(run.out.lines().size(), 3U);
    EXPECT_EQ(run.status.text(), "fanfare history: some messages are missing: gone (evicted)\n");
}

TEST(History, ARefusalIsTheEnd) {
    HistoryRun run;
    run.against({R"({"op":"error","id":1,"code":"no_history","reason":"none \u001b kept"})"});
    EXPECT_EQ(run.exit_code, tools::exit_refused);
    EXPECT_EQ(run.status.text(),
              "fanfare history: the broker refused: no_history: none \\u001b kept\n");
}

TEST(History, ALostConnectionIsTheEnd) {
    HistoryRun run;
    const FakeBroker broker([](FakeConnection& connection, int) {
        connection.welcome();
        static_cast<void>(connection.read_text());
        connection.send_text(two_pages[0]);
        static_cast<void>(connection.read_text());
    });
    run.options.url = broker.url();
    EXPECT_EQ(tools::run_history(run.options), tools::exit_cannot_connect);
    EXPECT_EQ(run.out.lines().size(), 2U);
    EXPECT_TRUE(run.status.contains("connection lost")) << run.status.text();

    HistoryRun nobody;
    nobody.options.url = tools_test::closed_url();
    EXPECT_EQ(tools::run_history(nobody.options), tools::exit_cannot_connect);
    EXPECT_TRUE(nobody.status.contains("Is the broker running?"));
}

TEST(History, AReaderThatIsGoneIsAGoodEnd) {
    ASSERT_NE(std::signal(SIGPIPE, SIG_IGN), SIG_ERR);
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    close(ends[0]);
    HistoryRun run;
    run.options.out_fd = ends[1];
    run.against({two_pages[0]});
    close(ends[1]);
    EXPECT_EQ(run.exit_code, tools::exit_ok);
}

TEST(History, ChecksItsArguments) {
    const struct {
        std::string topic;
        std::string url;
        uint64_t last_count;
        const char* part;
    } rows[] = {
        {"a/+", "ws://x", 1, "the topic 'a/+': "},
        {"", "ws://x", 1, "the topic '': "},
        {"a", "http://x", 1, "--url http://x: "},
        {"a", "ws://x", 0, "--last takes 1 to 1,000,000"},
        {"a", "ws://x", codec::last_max + 1, "--last takes 1 to 1,000,000"},
    };
    for (const auto& row : rows) {
        HistoryRun run;
        run.options.topic = row.topic;
        run.options.url = row.url;
        run.options.last_count = row.last_count;
        EXPECT_EQ(tools::run_history(run.options), tools::exit_usage);
        EXPECT_TRUE(run.status.contains(row.part)) << run.status.text();
    }
}

}  // namespace
