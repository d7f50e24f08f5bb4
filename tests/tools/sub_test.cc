#include "tools/sub.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>

#include "codec/start.h"
#include "io/base/units.h"
#include "tests/tools/fake_broker.h"
#include "tests/tools/pseudo_terminal.h"
#include "tests/tools/sub_run.h"
#include "tools/clock.h"
#include "tools/exit_code.h"

namespace {

using tools_test::FakeConnection;
using tools_test::Lines;
using tools_test::SubRun;

const std::string subscribe_news = R"({"op":"subscribe","id":1,"filters":["news/#"]})";
constexpr std::string_view subscribed = R"({"op":"subscribed","id":1})";

std::string message(int number) {
    return R"({"op":"message","topic":"news/uk","data":)" + std::to_string(number) + "}";
}

void welcome_and_subscribe(FakeConnection& connection) {
    connection.welcome();
    EXPECT_EQ(connection.read_text(), subscribe_news);
    connection.send_text(subscribed);
}

TEST(Sub, PrintsJsonLinesUpToTheCount) {
    FakeConnection::Received end;
    SubRun run;
    run.options.count = 3;
    run.against([&end](FakeConnection& connection, int) {
        welcome_and_subscribe(connection);
        for (int number = 1; number <= 5; ++number) connection.send_text(message(number));
        end = connection.receive();
    });
    EXPECT_EQ(run.exit_code, tools::exit_ok);
    EXPECT_EQ(run.out.lines(), (Lines{message(1), message(2), message(3)}));
    EXPECT_TRUE(run.status.contains("fanfare sub: connected to 127.0.0.1:")) << run.status.text();
    EXPECT_EQ(end.close_code, 1000);
}

TEST(Sub, SubscribesToAllFiltersAtOnce) {
    SubRun run;
    run.options.filters = {"a/+", "b \"c\""};
    run.options.count = 1;
    run.against([](FakeConnection& connection, int) {
        connection.welcome();
        EXPECT_EQ(connection.read_text(),
                  R"({"op":"subscribe","id":1,"filters":["a/+","b \"c\""]})");
        connection.send_text(message(1));
        static_cast<void>(connection.receive());
    });
    EXPECT_EQ(run.exit_code, tools::exit_ok);
}

TEST(Sub, EveryMessageIsOneLine) {
    SubRun run;
    run.options.count = 2;
    run.against([](FakeConnection& connection, int) {
        welcome_and_subscribe(connection);
        connection.send_text(
            "{\"op\":\"gap\",\n\"filter\":\"news/#\",\"missed\":2,\"code\":\"slow_consumer\"}");
        connection.send_text(
            "{\"op\":\"message\",\"topic\":\"news\",\"data\":{ \"a\":\r\n\t[1, 2 ]}}");
        connection.send_text(R"({"op":"message","topic":"news","text":"two\nlines"})");
        static_cast<void>(connection.receive());
    });
    EXPECT_EQ(run.out.lines(),
              (Lines{R"({"op":"gap","filter":"news/#","missed":2,"code":"slow_consumer"})",
                     R"({"op":"message","topic":"news","data":{"a":[1,2]}})",
                     R"({"op":"message","topic":"news","text":"two\nlines"})"}));
}

TEST(Sub, ReadableLinesForPeople) {
    SubRun run;
    run.options.count = 2;
    run.options.format = tools::FormatChoice::readable;
    run.against([](FakeConnection& connection, int) {
        welcome_and_subscribe(connection);
        connection.send_text(R"({"op":"message","topic":"news/uk","text":"it\nrains"})");
        connection.send_text(message(7));
        static_cast<void>(connection.receive());
    });
    EXPECT_EQ(run.out.text(), "news/uk  it\\nrains\nnews/uk  7\n");
}

TEST(Sub, OnATerminalItIsReadableAndColoured) {
    for (const bool no_color : {false, true}) {
        const tools_test::PseudoTerminal terminal;
        if (!terminal.is_there()) GTEST_SKIP() << "there are no pseudo terminals here";
        SubRun run;
        run.options.count = 1;
        run.options.out_fd = terminal.line_fd();
        run.options.no_color = no_color;
        run.against([](FakeConnection& connection, int) {
            welcome_and_subscribe(connection);
            connection.send_text(message(1));
            static_cast<void>(connection.receive());
        });
        EXPECT_EQ(terminal.printed(), no_color ? "news/uk  1\r\n" : "\x1b[1mnews/uk\x1b[0m  1\r\n");
    }
}

TEST(Sub, TheTimeoutEndsWellOnlyWithoutACount) {
    constexpr uint64_t counts[] = {0, 2};
    for (const uint64_t count : counts) {
        SubRun run;
        run.options.count = count;
        run.options.timeout_ns = 100 * base::ns_per_ms;
        run.against([](FakeConnection& connection, int) {
            welcome_and_subscribe(connection);
            connection.send_text(message(1));
            static_cast<void>(connection.receive());
        });
        EXPECT_EQ(run.exit_code, count == 0 ? tools::exit_ok : tools::exit_timeout);
        EXPECT_EQ(run.out.lines(), Lines{message(1)});
    }
}

TEST(Sub, AStreamWithoutPausesDoesNotOutrunTheTimeout) {
    SubRun run;
    run.options.timeout_ns = 100 * base::ns_per_ms;
    const uint64_t begin_ns = tools::monotonic_ns();
    run.against([](FakeConnection& connection, int) {
        welcome_and_subscribe(connection);
        const uint64_t end_ns = tools::monotonic_ns() + 3 * base::ns_per_s;
        while (connection.is_quiet_for(0) && tools::monotonic_ns() < end_ns)
            connection.send_text(message(1));
    });
    EXPECT_EQ(run.exit_code, tools::exit_ok);
    EXPECT_LT(tools::monotonic_ns() - begin_ns, 2 * base::ns_per_s);
}

TEST(Sub, ReconnectsAndSubscribesAgain) {
    SubRun run;
    run.options.count = 3;
    run.against([](FakeConnection& connection, int number) {
        welcome_and_subscribe(connection);
        connection.send_text(message(number));
        switch (number) {
            case 0:
                connection.send_close(1012, "restart");
                static_cast<void>(connection.receive());
                break;
            // A reset could overtake the message; an end cannot.
            case 1: break;
            default: static_cast<void>(connection.receive()); break;
        }
    });
    EXPECT_EQ(run.exit_code, tools::exit_ok);
    EXPECT_EQ(run.out.lines(), (Lines{message(0), message(1), message(2)}));
    EXPECT_TRUE(run.status.contains("closed the connection with 1012: restart; reconnecting in "));
    EXPECT_TRUE(run.status.contains("without a close frame; reconnecting in "));
    EXPECT_TRUE(run.status.contains("connected again")) << run.status.text();
}

TEST(Sub, AConnectionThatWorkedBeginsTheBackoffAgain) {
    constexpr int connections_count = 8;
    SubRun run;
    run.options.count = 1;
    run.against([](FakeConnection& connection, int number) {
        welcome_and_subscribe(connection);
        if (number + 1 < connections_count) return;
        connection.send_text(message(number));
        static_cast<void>(connection.receive());
    });
    EXPECT_EQ(run.exit_code, tools::exit_ok);
    int waits_count = 0;
    for (const std::string& line : run.status.lines()) {
        if (line.find("reconnecting in") == std::string::npos) continue;
        waits_count += 1;
        // The first step of the backoff, 100 ms, every time.
        EXPECT_TRUE(line.ends_with("reconnecting in 0.1 s") ||
                    line.ends_with("reconnecting in 0.0 s"))
            << line;
    }
    EXPECT_EQ(waits_count, connections_count - 1);
}

TEST(Sub, WaitsAsLongAsTheGoodbyeAsks) {
    SubRun run;
    run.options.count = 1;
    uint64_t goodbye_ns = 0;
    uint64_t back_ns = 0;
    run.against([&](FakeConnection& connection, int number) {
        if (number == 1) back_ns = tools::monotonic_ns();
        welcome_and_subscribe(connection);
        if (number == 0) {
            goodbye_ns = tools::monotonic_ns();
            connection.send_text(
                R"({"op":"goodbye","code":"slow_consumer","reason":"too slow","retry_ms":200})");
            connection.send_close(4100);
        } else {
            connection.send_text(message(1));
        }
        static_cast<void>(connection.receive());
    });
    EXPECT_EQ(run.exit_code, tools::exit_ok);
    EXPECT_GE(back_ns - goodbye_ns, 200 * base::ns_per_ms);
    EXPECT_TRUE(run.status.contains("said goodbye: slow_consumer: too slow; reconnecting in 0."))
        << run.status.text();
}

TEST(Sub, HonoursCodesThatForbidToComeBack) {
    constexpr uint16_t codes[] = {4000, 4099, 1003};
    for (const uint16_t code : codes) {
        int connections_count = 0;
        SubRun run;
        run.against([&](FakeConnection& connection, int) {
            connections_count += 1;
            welcome_and_subscribe(connection);
            connection.send_close(code, "go away");
            static_cast<void>(connection.receive());
        });
        EXPECT_EQ(run.exit_code, tools::exit_refused);
        EXPECT_EQ(connections_count, 1);
        EXPECT_TRUE(run.status.contains(std::to_string(code) + ": go away")) << run.status.text();
    }
}

TEST(Sub, WithoutReconnectALostConnectionIsTheEnd) {
    SubRun run;
    run.options.reconnect = false;
    run.against([](FakeConnection& connection, int) { welcome_and_subscribe(connection); });
    EXPECT_EQ(run.exit_code, tools::exit_cannot_connect);
    EXPECT_FALSE(run.status.contains("reconnecting"));
}

TEST(Sub, ASilentBrokerIsLeft) {
    SubRun run;
    run.options.count = 1;
    run.against([](FakeConnection& connection, int number) {
        connection.welcome(30, 20);
        EXPECT_EQ(connection.read_text(), subscribe_news);
        connection.send_text(subscribed);
        // The second broker is slow as well, but pings; so it is not left.
        for (int ping = 0; number == 1 && ping < 4; ++ping) {
            tools::sleep_until(tools::monotonic_ns() + 20 * base::ns_per_ms);
            connection.send_raw(FakeConnection::frame(codec::Opcode::ping, ""));
        }
        if (number == 1) connection.send_text(message(1));
        while (connection.receive().kind == codec::Decoded::Kind::pong) {
        }
    });
    EXPECT_EQ(run.exit_code, tools::exit_ok);
    EXPECT_TRUE(run.status.contains("no sign of life from the broker for 50 ms; reconnecting"))
        << run.status.text();
    EXPECT_EQ(run.out.lines(), Lines{message(1)});
}

TEST(Sub, ARefusedSubscriptionIsTheEnd) {
    SubRun run;
    run.against([](FakeConnection& connection, int) {
        connection.welcome();
        static_cast<void>(connection.read_text());
        connection.send_text(
            R"({"op":"error","id":1,"code":"forbidden","reason":"not for \u001b you"})");
        static_cast<void>(connection.receive());
    });
    EXPECT_EQ(run.exit_code, tools::exit_refused);
    EXPECT_TRUE(run.status.contains("refused the subscription: forbidden: not for \\u001b you"))
        << run.status.text();
}

TEST(Sub, AnOverloadedBrokerIsAskedAgain) {
    SubRun run;
    run.options.count = 1;
    run.against([](FakeConnection& connection, int number) {
        connection.welcome();
        static_cast<void>(connection.read_text());
        connection.send_text(number == 1
                                 ? R"({"op":"error","id":1,"code":"overloaded","reason":"later"})"
                                 : std::string(subscribed));
        if (number == 0) return;
        if (number == 2) connection.send_text(message(1));
        static_cast<void>(connection.receive());
    });
    EXPECT_EQ(run.exit_code, tools::exit_ok);
    EXPECT_TRUE(run.status.contains("overloaded: later; reconnecting")) << run.status.text();
}

TEST(Sub, AFirstAttemptThatFailsIsSaidAtOnce) {
    SubRun nobody;
    nobody.options.url = tools_test::closed_url();
    EXPECT_EQ(tools::run_sub(nobody.options), tools::exit_cannot_connect);
    EXPECT_TRUE(nobody.status.contains("connection refused. Is the broker running?"))
        << nobody.status.text();

    SubRun refused;
    refused.against([](FakeConnection& connection, int) {
        static_cast<void>(connection.read_request());
        connection.send_raw("HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nno\n");
    });
    EXPECT_EQ(refused.exit_code, tools::exit_refused);

    SubRun stranger;
    stranger.against([](FakeConnection& connection, int) {
        connection.accept(FakeConnection::text_frame(R"({"op":"hello"})"));
        static_cast<void>(connection.receive());
    });
    EXPECT_EQ(stranger.exit_code, tools::exit_cannot_connect);
    EXPECT_TRUE(stranger.status.contains("not a Fanfare broker")) << stranger.status.text();

    SubRun full;
    full.against([](FakeConnection& connection, int) {
        connection.accept(FakeConnection::text_frame(
            R"({"op":"goodbye","code":"overloaded","reason":"full","retry_ms":1})"));
        connection.send_close(1013);
        static_cast<void>(connection.receive());
    });
    EXPECT_EQ(full.exit_code, tools::exit_cannot_connect);
    EXPECT_TRUE(full.status.contains("goodbye: overloaded: full")) << full.status.text();
}

TEST(Sub, AReaderThatIsGoneIsAGoodEnd) {
    ASSERT_NE(std::signal(SIGPIPE, SIG_IGN), SIG_ERR);
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    close(ends[0]);
    SubRun run;
    run.options.out_fd = ends[1];
    run.options.timeout_ns = 0;
    run.against([](FakeConnection& connection, int) {
        welcome_and_subscribe(connection);
        connection.send_text(message(1));
        static_cast<void>(connection.receive());
    });
    close(ends[1]);
    EXPECT_EQ(run.exit_code, tools::exit_ok);
}

TEST(Sub, AFullDiskIsAnError) {
    // Also for the last message of a count, which is printed on the way out.
    constexpr uint64_t counts[] = {0, 1};
    for (const uint64_t count : counts) {
        SubRun run;
        run.options.out_fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
        ASSERT_GE(run.options.out_fd, 0);
        run.options.count = count;
        run.against([](FakeConnection& connection, int) {
            welcome_and_subscribe(connection);
            connection.send_text(message(1));
            static_cast<void>(connection.receive());
        });
        close(run.options.out_fd);
        EXPECT_EQ(run.exit_code, tools::exit_usage);
        EXPECT_TRUE(run.status.contains("cannot write the output: No space left on device"));
    }
}

TEST(Sub, ChecksItsArguments) {
    const struct {
        Lines filters;
        std::string url;
        const char* part;
    } rows[] = {
        {{}, "ws://x", "at least one filter"},
        {{"a", "b+"}, "ws://x", "the filter 'b+': "},
        {{""}, "ws://x", "the filter ''"},
        {{"a"}, "http://x", "--url http://x: the scheme"},
        {Lines(1'001, "a"), "ws://x", "at most 1,000"},
    };
    for (const auto& row : rows) {
        SubRun run;
        run.options.filters = row.filters;
        run.options.url = row.url;
        EXPECT_EQ(tools::run_sub(run.options), tools::exit_usage);
        EXPECT_TRUE(run.status.contains(row.part)) << run.status.text();
    }
    SubRun last;
    last.options.last_count = codec::last_max + 1;
    EXPECT_EQ(tools::run_sub(last.options), tools::exit_usage);
    EXPECT_TRUE(last.status.contains("--last takes at most 1,000,000")) << last.status.text();
}

}  // namespace
