// How `fanfare sub` comes back: after a connection that was cut anywhere, and after a run that
// ended.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <map>

#include "codec/command.h"
#include "io/base/units.h"
#include "tests/tools/fake_broker.h"
#include "tests/tools/sub_run.h"
#include "tests/tools/temporary_folder.h"
#include "tools/clock.h"
#include "tools/cursor.h"
#include "tools/exit_code.h"
#include "tools/sub.h"

namespace {

using tools_test::FakeConnection;
using tools_test::Lines;
using tools_test::SubRun;
using tools_test::TemporaryFolder;

// A broker that has published messages 1, 2, 3, …: the odd ones to news/1 in partition 1, the even
// ones to news/0 in partition 0.
struct FakeHistory {
    int published_count = 0;

    static codec::Position position_of(int number) {
        return {static_cast<uint32_t>(number % 2), static_cast<uint64_t>((number + 1) / 2)};
    }
    static std::string message(int number) {
        std::string text =
            R"({"op":"message","topic":"news/)" + std::to_string(number % 2) + R"(","pos":")";
        codec::append_position(text, position_of(number));
        return text + R"(","data":)" + std::to_string(number) + "}";
    }
    std::string heads() const {
        tools::Cursor cursor{"e", {}};
        for (int number = 1; number <= published_count; ++number) cursor.raise(position_of(number));
        return json(cursor);
    }
    static std::string json(const tools::Cursor& cursor) {
        std::string text;
        tools::append_cursor(text, cursor);
        return text;
    }

    // The frames that answer a subscribe command, up to its `live`.
    Lines answer(std::string command_text) const {
        const size_t command_bytes = command_text.size();
        command_text.append(base::readable_padding_bytes, '\0');
        codec::CommandParser parser(1);
        // What the tool sends must be what a broker takes.
        EXPECT_EQ(parser.parse(std::string_view(command_text).substr(0, command_bytes)).error,
                  codec::ErrorCode::none);
        const codec::Command& command = parser.command(0);
        EXPECT_EQ(command.error, codec::ErrorCode::none) << command.reason;
        const codec::Start& start = command.start;
        switch (start.kind) {
            case codec::Start::Kind::now: return {subscribed(heads(), "")};
            case codec::Start::Kind::last: {
                const int first = published_count - 2 * static_cast<int>(start.last) + 1;
                return replay(subscribed(heads(), ""), std::max(first, 1), {});
            }
            case codec::Start::Kind::after: break;
        }
        tools::Cursor after{std::string(start.after.epoch), {}};
        for (const codec::Position& position : start.after.positions) after.raise(position);
        if (after.epoch != "e") {
            return {
                subscribed(heads(), R"(,"recovered":false,"code":"epoch_changed","reason":"r")"),
                live()};
        }
        return replay(subscribed(json(after), R"(,"recovered":true)"), 1, after);
    }

    Lines replay(const std::string& subscribed, int first, const tools::Cursor& after) const {
        Lines wanted;
        for (int number = first; number <= published_count; ++number) {
            const codec::Position position = position_of(number);
            if (position.offset > after.offset_of(position.partition))
                wanted.push_back(message(number));
        }
        constexpr size_t batch_count = 3;
        Lines frames = {subscribed};
        for (size_t index = 0; index < wanted.size(); ++index) {
            if (index % batch_count == 0) {
                const size_t count = std::min(batch_count, wanted.size() - index);
                frames.push_back(R"({"op":"replay","id":1,"count":)" + std::to_string(count) + "}");
            }
            frames.push_back(wanted[index]);
        }
        frames.push_back(live());
        return frames;
    }

    std::string live() const { return R"({"op":"live","id":1,"cursor":)" + heads() + "}"; }
    static std::string subscribed(const std::string& cursor, const std::string& recovery) {
        return R"({"op":"subscribed","id":1,"cursor":)" + cursor + R"(,"recoverable":true)" +
               recovery + "}";
    }
};

std::string subscribe(const std::string& start) {
    return R"({"op":"subscribe","id":1,"filters":["news/#"])" +
           (start.empty() ? "" : R"(,"start":)" + start) + "}";
}

std::string cursor_file_text(const tools::Cursor& cursor) {
    return R"({"cursor":)" + FakeHistory::json(cursor) +
           R"(,"filters":["news/#"],"url":"u","time":"2026-11-21T09:30:00Z"})";
}

constexpr int old_count = 12;
constexpr int all_count = 15;

// Every message at most once, those of one topic in order; answers their numbers.
std::map<int, int> check_lines(const Lines& lines) {
    std::map<int, int> times;
    int newest[2] = {0, 0};
    for (const std::string& line : lines) {
        const int number = std::stoi(line.substr(line.rfind(':') + 1));
        EXPECT_EQ(line, FakeHistory::message(number));
        EXPECT_GT(number, newest[number % 2]) << "in order, and once";
        newest[number % 2] = number;
        times[number] += 1;
    }
    return times;
}

// The first two connections end after so many frames each; the third goes through. On each of them
// one more message is published once it is live, or would have been.
void cut_after(size_t cut, uint32_t last_count) {
    SCOPED_TRACE("cut after " + std::to_string(cut) + " frames");
    const TemporaryFolder folder;
    SubRun run;
    const tools::Cursor seen{"e", {{0, 1}, {1, 1}}};
    run.options.last_count = last_count;
    if (last_count == 0) run.options.cursor_file = folder.write("f", cursor_file_text(seen));
    FakeHistory history{.published_count = old_count};
    run.against([&](FakeConnection& connection, int number) {
        const bool is_cut = number < 2;
        connection.welcome();
        Lines frames = history.answer(connection.read_text());
        frames.push_back(FakeHistory::message(++history.published_count));
        if (is_cut) frames.resize(std::min(frames.size(), cut));
        for (const std::string& frame : frames) connection.send_text(frame);
        // A client that was never told that it is subscribed would not come back.
        if (is_cut && cut > 0) return;
        connection.send_text(R"({"op":"position","cursor":)" + history.heads() + "}");
        connection.send_close(4000);
        static_cast<void>(connection.receive());
    });
    EXPECT_EQ(run.exit_code, tools::exit_refused);
    const std::map<int, int> times = check_lines(run.out.lines());
    if (cut == 0) {
        EXPECT_TRUE(times.empty());
        return;
    }
    EXPECT_EQ(history.published_count, all_count);
    // All since the cursor, or the last of each topic when the third connection asked for them.
    const int first = last_count == 0 ? 3 : all_count - 2 * static_cast<int>(last_count);
    for (int number = first; number <= all_count; ++number)
        EXPECT_EQ(times.count(number), 1U) << number;
    if (last_count > 0) return;
    EXPECT_EQ(times.size(), static_cast<size_t>(all_count) - 2);
    const std::string file = folder.read("f");
    EXPECT_TRUE(file.starts_with(R"({"cursor":{"epoch":"e","pos":["0:7","1:8"]},)")) << file;
}

// subscribed, 10 messages in 4 batches, live, a live message; and one more than there are.
constexpr size_t cuts_count = 1 + 10 + 4 + 1 + 1 + 1;

TEST(SubResume, AReplayThatIsCutAnywhereIsContinued) {
    for (size_t cut = 0; cut <= cuts_count; ++cut) cut_after(cut, 0);
}

TEST(SubResume, TheLastThatAreCutAnywhereAreShownOnce) {
    for (size_t cut = 0; cut <= cuts_count; ++cut) cut_after(cut, 5);
}

TEST(SubResume, ALiveStreamIsResumedAfterItsCursor) {
    FakeHistory history{.published_count = 4};
    const Lines joined = history.answer(subscribe(""));
    SubRun run;
    run.against(
        {{joined[0], FakeHistory::message(5), FakeHistory::message(6)},
         {FakeHistory::subscribed(R"({"epoch":"e","pos":["0:3","1:3"]})", R"(,"recovered":true)"),
          R"({"op":"replay","id":1,"count":1})", FakeHistory::message(7),
          R"({"op":"live","id":1,"cursor":{"epoch":"e","pos":["0:3","1:4"]}})"}});
    EXPECT_EQ(run.commands,
              (Lines{subscribe(""), subscribe(R"({"after":{"epoch":"e","pos":["0:3","1:3"]}})")}));
    check_lines(run.out.lines());
    EXPECT_EQ(run.out.lines().size(), 3U);
    EXPECT_TRUE(run.status.contains("connected again to 127.0.0.1:")) << run.status.text();
    EXPECT_TRUE(run.status.contains("fanfare sub: resumed, 1 message caught up\n"));
    EXPECT_FALSE(run.status.contains("missing"));
}

// A replay in two parts is one thing to whoever reads; and topics without history are not in it.
TEST(SubResume, SaysHowMuchWasCaughtUpAndWhatMayBeMissing) {
    const std::string resumed =
        R"({"op":"subscribed","id":1,"cursor":{"epoch":"e","pos":[]},"recoverable":false,)"
        R"("recovered":true})";
    SubRun run;
    run.against({{R"({"op":"subscribed","id":1,"cursor":{"epoch":"e","pos":[]}})"},
                 {resumed, R"({"op":"replay","id":1,"count":2})", FakeHistory::message(1)},
                 {resumed, R"({"op":"replay","id":1,"count":1})", FakeHistory::message(2),
                  R"({"op":"live","id":1,"cursor":{"epoch":"e","pos":["0:1","1:1"]}})"}});
    EXPECT_TRUE(
        run.status.contains("resumed, 2 messages caught up; of topics without history "
                            "some may be missing\n"))
        << run.status.text();
}

TEST(SubResume, AResumeThatIsNotExactIsToldAndMarked) {
    const std::string refusal =
        R"({"op":"subscribed","id":1,"cursor":{"epoch":"f","pos":["0:2"]},"recoverable":true,)"
        R"("recovered":false,"code":"epoch_changed","reason":"restarted"})";
    const std::string live = R"({"op":"live","id":1,"cursor":{"epoch":"f","pos":["0:2"]}})";
    for (const bool is_readable : {false, true}) {
        SubRun run;
        if (is_readable) run.options.format = tools::FormatChoice::readable;
        run.against({{R"({"op":"subscribed","id":1,"cursor":{"epoch":"e","pos":["0:70"]}})",
                      R"({"op":"message","topic":"t","pos":"0:71","data":1})"},
                     {refusal},
                     {refusal, live, R"({"op":"message","topic":"t","pos":"0:3","data":2})"}});
        EXPECT_EQ(run.commands[1], subscribe(R"({"after":{"epoch":"e","pos":["0:71"]}})"));
        // Also when the cut comes before `live`.
        EXPECT_EQ(run.commands[2], subscribe(R"({"after":{"epoch":"f","pos":["0:2"]}})"));
        if (is_readable) {
            const std::string mark = "(cannot resume exactly: restarted (epoch_changed))";
            EXPECT_EQ(run.out.lines(), (Lines{"t  1", mark, mark, "t  2"}));
        } else {
            EXPECT_EQ(run.out.lines(),
                      (Lines{R"({"op":"message","topic":"t","pos":"0:71","data":1})", refusal,
                             refusal, R"({"op":"message","topic":"t","pos":"0:3","data":2})"}));
        }
        EXPECT_TRUE(
            run.status.contains("cannot resume exactly: restarted (epoch_changed); "
                                "messages may be missing since 2"))
            << run.status.text();
        EXPECT_FALSE(run.status.contains("caught up"));
    }
}

TEST(SubResume, AGapIsToldAndMarkedInItsPlace) {
    const std::string gap =
        R"({"op":"gap","id":1,"filter":"news/#","topic":null,"missed":null,"code":"evicted"})";
    for (const bool is_readable : {false, true}) {
        SubRun run;
        run.options.last_count = 5;
        if (is_readable) run.options.format = tools::FormatChoice::readable;
        run.against({{R"({"op":"subscribed","id":1,"cursor":{"epoch":"e","pos":["0:9"]}})",
                      R"({"op":"replay","id":1,"count":1})",
                      R"({"op":"message","topic":"t","pos":"0:1","data":1})", gap,
                      R"({"op":"replay","id":1,"count":1})",
                      R"({"op":"message","topic":"t","pos":"0:9","data":9})",
                      R"({"op":"live","id":1,"cursor":{"epoch":"e","pos":["0:9"]}})"}});
        const Lines lines = run.out.lines();
        ASSERT_EQ(lines.size(), 3U);
        EXPECT_EQ(lines[1], is_readable ? "(gap: news/#: some messages were evicted before they "
                                          "could be read (evicted))"
                                        : gap);
        EXPECT_TRUE(
            run.status.contains("fanfare sub: gap: news/#: some messages were evicted "
                                "before they could be read (evicted)\n"))
            << run.status.text();
    }
}

TEST(SubResume, WhatIsNewInTheProtocolDoesNotDisturbAReplay) {
    SubRun run;
    run.options.last_count = 5;
    run.against(
        {{R"({"op":"subscribed","new":{"op":"live"},"id":1,"cursor":{"epoch":"e","pos":[],"x":1}})",
          R"({"op":"replay","id":1,"count":2,"x":[]})", R"({"op":"heartbeat"})",
          FakeHistory::message(1), R"({"op":"weather","pos":"0:9"})", FakeHistory::message(3)},
         {R"({"op":"subscribed","id":1,"cursor":{"epoch":"e","pos":[]}})",
          R"({"op":"replay","id":1,"count":2})", FakeHistory::message(1), FakeHistory::message(3),
          // Of a topic without history, in the middle.
          R"({"op":"message","topic":"plain","data":0})", R"({"op":"replay","id":1,"count":1})",
          FakeHistory::message(2),
          R"({"op":"live","id":1,"cursor":{"epoch":"e","pos":["0:1"]}})"}});
    EXPECT_EQ(run.commands, Lines(2, subscribe(R"({"last":5})")));
    EXPECT_EQ(run.out.lines(),
              (Lines{FakeHistory::message(1), FakeHistory::message(3),
                     R"({"op":"message","topic":"plain","data":0})", FakeHistory::message(2)}));
    EXPECT_FALSE(run.status.contains("missing")) << run.status.text();
}

TEST(SubResume, ABrokerWithoutPositionsIsSubscribedAnew) {
    SubRun run;
    run.against({{R"({"op":"subscribed","id":1})"}, {R"({"op":"subscribed","id":1})"}});
    EXPECT_EQ(run.commands, Lines(2, subscribe("")));
    EXPECT_TRUE(run.status.contains("; what was published meanwhile may be missing"))
        << run.status.text();
}

TEST(SubResume, TheCursorFileLeadsFromRunToRun) {
    const TemporaryFolder folder;
    FakeHistory history{.published_count = 4};
    SubRun first;
    first.options.cursor_file = folder.path("f");
    first.options.count = 2;
    first.against([&](FakeConnection& connection, int) {
        connection.welcome();
        connection.send_text(history.answer(connection.read_text())[0]);
        for (int number = 5; number <= 8; ++number)
            connection.send_text(FakeHistory::message(number));
        static_cast<void>(connection.receive());
    });
    EXPECT_EQ(first.exit_code, tools::exit_ok);
    history.published_count = 8;

    SubRun second;
    second.options.cursor_file = folder.path("f");
    second.options.last_count = 3;
    second.against({history.answer(subscribe(R"({"after":{"epoch":"e","pos":["0:3","1:3"]}})"))});
    EXPECT_EQ(second.commands, Lines{subscribe(R"({"after":{"epoch":"e","pos":["0:3","1:3"]}})")});
    EXPECT_EQ(second.out.lines(), (Lines{FakeHistory::message(7), FakeHistory::message(8)}));
    EXPECT_TRUE(second.status.contains("--last is not used, since " + folder.path("f") +
                                       " tells where to continue"))
        << second.status.text();
    EXPECT_TRUE(second.status.contains("resumed, 2 messages caught up"));
    EXPECT_TRUE(folder.read("f").starts_with(R"({"cursor":{"epoch":"e","pos":["0:4","1:4"]})"));
}

TEST(SubResume, ACursorFileOfAnotherBrokerIsTold) {
    const TemporaryFolder folder;
    SubRun run;
    run.options.cursor_file = folder.write("f", cursor_file_text({"other", {{0, 99}}}));
    const FakeHistory history{.published_count = 4};
    run.against({history.answer(subscribe(R"({"after":{"epoch":"other","pos":["0:99"]}})"))});
    EXPECT_TRUE(run.status.contains(
        "cannot resume exactly: r (epoch_changed); messages may be missing since "
        "2026-11-21T09:30:00Z\n"))
        << run.status.text();
    EXPECT_TRUE(folder.read("f").starts_with(R"({"cursor":{"epoch":"e","pos":["0:2","1:2"]})"));
}

TEST(SubResume, TheCursorFileIsWrittenWhileMessagesFlow) {
    const TemporaryFolder folder;
    SubRun run;
    run.options.cursor_file = folder.path("f");
    run.options.count = 3;
    const auto wait_for = [&folder](const std::string& part) {
        for (int times = 0; times < 500; ++times) {
            if (folder.read("f").find(part) != std::string::npos) return true;
            tools::sleep_until(tools::monotonic_ns() + 10 * base::ns_per_ms);
        }
        return false;
    };
    run.against([&](FakeConnection& connection, int) {
        connection.welcome();
        connection.send_text(FakeHistory{.published_count = 4}.answer(connection.read_text())[0]);
        // The place is safe before the first message, then a second after it has moved.
        EXPECT_TRUE(wait_for(R"(["0:2","1:2"])"));
        connection.send_text(FakeHistory::message(5));
        connection.send_text(FakeHistory::message(6));
        EXPECT_TRUE(wait_for(R"(["0:3","1:3"])"));
        EXPECT_EQ(run.out.lines().size(), 2U);
        // The others' messages move it as well.
        connection.send_text(R"({"op":"position","cursor":{"epoch":"e","pos":["0:9","1:3"]}})");
        EXPECT_TRUE(wait_for(R"(["0:9","1:3"])"));
        connection.send_text(FakeHistory::message(7));
        static_cast<void>(connection.receive());
    });
    EXPECT_EQ(run.exit_code, tools::exit_ok);
    EXPECT_TRUE(wait_for(R"(["0:9","1:4"])"));
}

TEST(SubResume, WhatNobodyReadIsNotSaved) {
    ASSERT_NE(std::signal(SIGPIPE, SIG_IGN), SIG_ERR);
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    close(ends[0]);
    const TemporaryFolder folder;
    const std::string before = cursor_file_text({"e", {{0, 2}, {1, 2}}});
    SubRun run;
    run.options.cursor_file = folder.write("f", before);
    run.options.out_fd = ends[1];
    run.against([](FakeConnection& connection, int) {
        connection.welcome();
        for (const std::string& frame :
             FakeHistory{.published_count = 8}.answer(connection.read_text()))
            connection.send_text(frame);
        static_cast<void>(connection.receive());
    });
    close(ends[1]);
    EXPECT_EQ(run.exit_code, tools::exit_ok);
    EXPECT_EQ(folder.read("f"), before);
}

// Where the replay of the last messages stands cannot be said as a cursor.
TEST(SubResume, TheMiddleOfTheLastIsNoPlace) {
    const TemporaryFolder folder;
    SubRun run;
    run.options.cursor_file = folder.path("f");
    run.options.last_count = 3;
    run.options.count = 2;
    run.against([](FakeConnection& connection, int) {
        connection.welcome();
        for (const std::string& frame :
             FakeHistory{.published_count = 8}.answer(connection.read_text()))
            connection.send_text(frame);
        static_cast<void>(connection.receive());
    });
    EXPECT_EQ(run.exit_code, tools::exit_ok);
    EXPECT_EQ(folder.files_count(), 0);
    EXPECT_TRUE(run.status.contains(folder.path("f") +
                                    " was not written, for there is no place yet to continue at"))
        << run.status.text();
}

TEST(SubResume, AFileThatCannotBeWrittenIsToldOnce) {
    const TemporaryFolder folder;
    SubRun run;
    run.options.cursor_file = folder.path("no/f");
    run.options.count = 1;
    run.against([](FakeConnection& connection, int) {
        connection.welcome();
        connection.send_text(FakeHistory{.published_count = 4}.answer(connection.read_text())[0]);
        connection.send_text(FakeHistory::message(5));
        static_cast<void>(connection.receive());
    });
    EXPECT_EQ(run.exit_code, tools::exit_usage);
    EXPECT_EQ(run.out.lines(), Lines{FakeHistory::message(5)});
    const std::string sentence = "fanfare sub: the place cannot be kept: cannot create ";
    const std::string text = run.status.text();
    EXPECT_NE(text.find(sentence), std::string::npos) << text;
    EXPECT_EQ(text.find(sentence), text.rfind(sentence)) << text;
}

TEST(SubResume, AFileThatIsNotUnderstoodIsRefused) {
    const TemporaryFolder folder;
    for (const auto& [text, part] :
         {std::pair<std::string, std::string>{"hello", "damaged, or no cursor file"},
          {R"({"cursor":{"epoch":"e","pos":[]},"filters":["b"]})", R"(of other filters ("b"))"}}) {
        SubRun run;
        run.options.cursor_file = folder.write("f", text);
        EXPECT_EQ(tools::run_sub(run.options), tools::exit_usage);
        EXPECT_TRUE(run.status.contains("--cursor-file " + folder.path("f") + ": it is " + part))
            << run.status.text();
        EXPECT_EQ(folder.read("f"), text);
    }
}

TEST(SubResume, ARefusedStartIsTheEnd) {
    SubRun run;
    run.options.last_count = 5;
    run.against([](FakeConnection& connection, int) {
        connection.welcome();
        static_cast<void>(connection.read_text());
        connection.send_text(
            R"({"op":"error","id":1,"code":"not_supported","reason":"start is not there yet"})");
        static_cast<void>(connection.receive());
    });
    EXPECT_EQ(run.exit_code, tools::exit_refused);
    EXPECT_TRUE(run.status.contains("refused the subscription: not_supported: start is not"))
        << run.status.text();
}

}  // namespace
