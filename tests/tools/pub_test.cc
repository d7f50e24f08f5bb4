#include "tools/pub.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "io/base/units.h"
#include "tests/tools/captured_file.h"
#include "tests/tools/fake_broker.h"
#include "tests/tools/pseudo_terminal.h"
#include "tools/clock.h"
#include "tools/exit_code.h"

namespace {

using tools::PubKind;
using tools::PubOptions;
using tools_test::CapturedFile;
using tools_test::FakeBroker;
using tools_test::FakeConnection;

using Lines = std::vector<std::string>;

std::string command(int id, const std::string& payload) {
    return R"({"op":"publish","id":)" + std::to_string(id) + R"(,"topic":"t",)" + payload + "}";
}

std::string error_for(int id, const std::string& code) {
    return R"({"op":"error","id":)" + std::to_string(id) + R"(,"code":")" + code +
           R"(","reason":"why"})";
}

struct PubRun {
    CapturedFile in;
    CapturedFile status;
    PubOptions options;
    int exit_code = -1;

    explicit PubRun(std::string_view input) : in(input) {
        options.topic = "t";
        options.in_fd = in.fd();
        options.status_fd = status.fd();
        options.seed = 1;
        options.give_up_after_ns = 10 * base::ns_per_s;
    }

    void against(FakeBroker::Script script) {
        const FakeBroker broker(std::move(script));
        options.url = broker.url();
        exit_code = tools::run_pub(options);
    }

    // Confirms everything, and answers what came.
    Lines against_a_good_broker(uint64_t message_bytes_max = 65'536) {
        Lines commands;
        against([&](FakeConnection& connection, int) {
            connection.welcome(25'000, 20'000, message_bytes_max);
            for (std::string text = connection.read_text(); !text.empty();
                 text = connection.read_text()) {
                commands.push_back(text);
                connection.confirm(text);
            }
        });
        return commands;
    }
};

TEST(Pub, PublishesOneMessage) {
    const struct {
        PubKind kind;
        const char* data;
        const char* payload;
    } rows[] = {
        {PubKind::automatic, "{\"a\": 1}", R"("data":{"a": 1})"},
        {PubKind::automatic, "hello", R"("text":"hello")"},
        {PubKind::automatic, "two\nlines", R"("text":"two\nlines")"},
        {PubKind::json, "1", R"("data":1)"},
        {PubKind::text, "1", R"("text":"1")"},
        {PubKind::binary, "ab", R"("base64":"YWI=")"},
    };
    for (const auto& row : rows) {
        PubRun run("not read");
        run.options.kind = row.kind;
        run.options.data = row.data;
        EXPECT_EQ(run.against_a_good_broker(), Lines{command(1, row.payload)});
        EXPECT_EQ(run.exit_code, tools::exit_ok);
        EXPECT_EQ(run.status.text(), "");
    }
}

TEST(Pub, PublishesEachLine) {
    for (const bool has_dash : {false, true}) {
        PubRun run("1\n\nlast");
        if (has_dash) run.options.data = "-";
        EXPECT_EQ(run.against_a_good_broker(),
                  (Lines{command(1, R"("data":1)"), command(2, R"("text":"")"),
                         command(3, R"("text":"last")")}));
        EXPECT_EQ(run.exit_code, tools::exit_ok);
    }
    PubRun nothing("");
    EXPECT_EQ(nothing.against_a_good_broker(), Lines{});
    EXPECT_EQ(nothing.exit_code, tools::exit_ok);
}

TEST(Pub, AKeyIsThatOfTheOneMessageOrOfItsLines) {
    PubRun one("");
    one.options.data = "1";
    one.options.key = "order 7";
    EXPECT_EQ(one.against_a_good_broker(), Lines{command(1, R"("key":"order 7","data":1)")});

    PubRun binary("\x01");
    binary.options.kind = PubKind::binary;
    binary.options.key = std::string(64, 'k');
    EXPECT_EQ(binary.against_a_good_broker(),
              Lines{command(1, R"("key":")" + std::string(64, 'k') + R"(","base64":"AQ==")")});

    PubRun lines("1\n2\n");
    lines.options.key = std::string(43, 'k');
    EXPECT_EQ(lines.against_a_good_broker(),
              (Lines{command(1, R"("key":")" + std::string(43, 'k') + R"(-1","data":1)"),
                     command(2, R"("key":")" + std::string(43, 'k') + R"(-2","data":2)")}));
    EXPECT_EQ(lines.exit_code, tools::exit_ok);
}

TEST(Pub, ChecksTheKey) {
    const struct {
        std::optional<std::string> data;
        std::string key;
        const char* part;
    } rows[] = {
        {"1", "", "the key is empty"},
        {"1", "\xff", "the key is not UTF-8"},
        {"1", std::string(65, 'k'), "the key is longer than 64 bytes\n"},
        {"-", std::string(44, 'k'), "the key is longer than 43 bytes, which leave room"},
        {std::nullopt, std::string(44, 'k'), "the key is longer than 43 bytes"},
    };
    for (const auto& row : rows) {
        PubRun run("1\n");
        run.options.data = row.data;
        run.options.key = row.key;
        EXPECT_EQ(tools::run_pub(run.options), tools::exit_usage);
        EXPECT_TRUE(run.status.contains(row.part)) << run.status.text();
    }
}

TEST(Pub, BinaryTakesTheWholeInput) {
    PubRun run(std::string_view("\0\n\xff", 3));
    run.options.kind = PubKind::binary;
    EXPECT_EQ(run.against_a_good_broker(), Lines{command(1, R"("base64":"AAr/")")});
    EXPECT_EQ(run.exit_code, tools::exit_ok);
}

TEST(Pub, PublishesALineBeforeTheNextIsThere) {
    int ends[2];
    ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
    ASSERT_EQ(write(ends[1], "1\n", 2), 2);
    PubRun run("");
    run.options.in_fd = ends[0];
    run.against([&](FakeConnection& connection, int) {
        connection.welcome();
        connection.confirm(connection.read_text());
        EXPECT_EQ(write(ends[1], "2\n", 2), 2);
        const std::string second = connection.read_text();
        EXPECT_EQ(second, command(2, R"("data":2)"));
        close(ends[1]);
        connection.confirm(second);
        static_cast<void>(connection.receive());
    });
    close(ends[0]);
    EXPECT_EQ(run.exit_code, tools::exit_ok);
}

TEST(Pub, ItsWindowIsBounded) {
    constexpr int lines_count = 1'000;
    std::string input;
    for (int line = 1; line <= lines_count; ++line) input += std::to_string(line) + "\n";
    PubRun run(input);
    int received_count = 0;
    run.against([&](FakeConnection& connection, int) {
        connection.welcome();
        Lines waiting;
        while (received_count < lines_count) {
            const int wanted_count = std::min(lines_count - received_count,
                                              static_cast<int>(tools::publish_window_count));
            while (static_cast<int>(waiting.size()) < wanted_count)
                waiting.push_back(connection.read_text());
            EXPECT_TRUE(connection.is_quiet_for(30));
            received_count += wanted_count;
            // In no particular order: the protocol promises none.
            for (auto text = waiting.rbegin(); text != waiting.rend(); ++text)
                connection.confirm(*text);
            waiting.clear();
        }
        static_cast<void>(connection.receive());
    });
    EXPECT_EQ(run.exit_code, tools::exit_ok);
    EXPECT_EQ(received_count, lines_count);
}

TEST(Pub, WaitsForTheLastConfirmation) {
    PubRun run("");
    run.options.data = "1";
    bool was_quiet = false;
    run.against([&](FakeConnection& connection, int) {
        connection.welcome();
        const std::string text = connection.read_text();
        was_quiet = connection.is_quiet_for(50);
        connection.confirm(text);
        EXPECT_EQ(connection.receive().close_code, 1000);
    });
    EXPECT_TRUE(was_quiet);
    EXPECT_EQ(run.exit_code, tools::exit_ok);
}

TEST(Pub, ARefusedLineIsNamedAndTheOthersGoOn) {
    PubRun run("1\n2\n3\n");
    run.against([](FakeConnection& connection, int) {
        connection.welcome();
        for (int line = 1; line <= 3; ++line) {
            const std::string text = connection.read_text();
            if (line == 2) {
                connection.send_text(error_for(2, "invalid_payload"));
            } else {
                connection.confirm(text);
            }
        }
        static_cast<void>(connection.receive());
    });
    EXPECT_EQ(run.exit_code, tools::exit_refused);
    EXPECT_EQ(run.status.text(), "fanfare pub: line 2: invalid_payload: why\n");
}

TEST(Pub, ABadLineIsNamedAndTheOthersGoOn) {
    PubRun json("1\n{a}\n3\n");
    json.options.kind = PubKind::json;
    EXPECT_EQ(json.against_a_good_broker(),
              (Lines{command(1, R"("data":1)"), command(3, R"("data":3)")}));
    EXPECT_EQ(json.exit_code, tools::exit_usage);
    EXPECT_TRUE(json.status.contains("fanfare pub: line 2: not JSON")) << json.status.text();

    PubRun bytes("\xff\n2\n");
    EXPECT_EQ(bytes.against_a_good_broker(), Lines{command(2, R"("data":2)")});
    EXPECT_EQ(bytes.exit_code, tools::exit_usage);
    EXPECT_TRUE(bytes.status.contains("line 1: not UTF-8"));
}

TEST(Pub, KeepsWithinTheBrokersLimit) {
    const std::string fits = command(1, R"("data":12)");
    PubRun run("12\n123\n45\n");
    EXPECT_EQ(run.against_a_good_broker(fits.size()), (Lines{fits, command(3, R"("data":45)")}));
    EXPECT_EQ(run.exit_code, tools::exit_usage);
    EXPECT_TRUE(
        run.status.contains("line 2: " + std::to_string(fits.size() + 1) + " bytes as a command"))
        << run.status.text();
}

TEST(Pub, SendsAgainWhatWasNotConfirmed) {
    PubRun run("1\n2\n3\n");
    Lines after;
    run.against([&](FakeConnection& connection, int number) {
        connection.welcome();
        if (number == 0) {
            const std::string first = connection.read_text();
            static_cast<void>(connection.read_text());
            static_cast<void>(connection.read_text());
            connection.confirm(first);
            connection.send_close(1012);
            static_cast<void>(connection.receive());
            return;
        }
        for (std::string text = connection.read_text(); !text.empty();
             text = connection.read_text()) {
            after.push_back(text);
            connection.confirm(text);
        }
    });
    EXPECT_EQ(run.exit_code, tools::exit_ok);
    EXPECT_EQ(after, (Lines{command(2, R"("data":2)"), command(3, R"("data":3)")}));
    EXPECT_TRUE(run.status.contains("reconnecting in "));
}

// So the broker, which may have had it, can tell.
TEST(Pub, SendsAgainWithTheSameKey) {
    PubRun run("1\n2\n");
    run.options.key = "k";
    Lines commands;
    run.against([&](FakeConnection& connection, int number) {
        connection.welcome();
        for (int line = 1; line <= 2; ++line) commands.push_back(connection.read_text());
        if (number == 0) return;
        connection.send_text(
            R"({"op":"published","id":1,"pos":"5:1042","duplicate":true,"new":[1]})");
        connection.confirm(commands.back());
        static_cast<void>(connection.receive());
    });
    EXPECT_EQ(run.exit_code, tools::exit_ok);
    const Lines once = {command(1, R"("key":"k-1","data":1)"),
                        command(2, R"("key":"k-2","data":2)")};
    EXPECT_EQ(commands, (Lines{once[0], once[1], once[0], once[1]}));
}

TEST(Pub, ADrainingOrOverloadedBrokerIsAskedAgain) {
    for (const bool is_draining : {true, false}) {
        PubRun run("");
        run.options.data = "1";
        int connections_count = 0;
        run.against([&](FakeConnection& connection, int number) {
            connections_count += 1;
            connection.welcome();
            const std::string text = connection.read_text();
            EXPECT_EQ(text, command(1, R"("data":1)"));
            if (number == 0) {
                connection.send_text(error_for(1, is_draining ? "draining" : "overloaded"));
                if (is_draining) connection.send_close(1001);
            } else {
                connection.confirm(text);
            }
            static_cast<void>(connection.receive());
        });
        EXPECT_EQ(run.exit_code, tools::exit_ok);
        EXPECT_EQ(connections_count, 2);
    }
}

std::string welcome_with_rate(int publishes_per_second) {
    return R"({"op":"welcome","heartbeat_ms":25000,"timeout_ms":20000,)"
           R"("max_message_bytes":200,"max_publishes_per_second":)" +
           std::to_string(publishes_per_second) + "}";
}

std::string in_series(std::string command, int series) {
    command.pop_back();
    return command + ",\"series\":" + std::to_string(series) + "}";
}

std::string rate_limited(int id, int retry_ms) {
    std::string error = error_for(id, "rate_limited");
    error.pop_back();
    return error + ",\"retry_ms\":" + std::to_string(retry_ms) + "}";
}

TEST(Pub, WaitsAndKeepsTheOrderWhereItsRateIsRefused) {
    PubRun run("1\n2\n3\n4\n");
    Lines again;
    uint64_t waited_ns = 0;
    run.against([&](FakeConnection& connection, int) {
        connection.accept(FakeConnection::text_frame(welcome_with_rate(1'000)));
        Lines first;
        for (int line = 1; line <= 4; ++line) first.push_back(connection.read_text());
        EXPECT_EQ(first[3], in_series(command(4, R"("data":4)"), 1));
        connection.confirm(first[0]);
        connection.send_text(rate_limited(2, 120));
        const uint64_t refused_ns = tools::monotonic_ns();
        connection.send_text(rate_limited(3, 1));
        EXPECT_TRUE(connection.is_quiet_for(200)) << "one of them is not answered yet";
        connection.send_text(rate_limited(4, 1));
        for (int line = 2; line <= 4; ++line) {
            again.push_back(connection.read_text());
            if (line == 2) waited_ns = tools::monotonic_ns() - refused_ns;
            connection.confirm(again.back());
        }
        static_cast<void>(connection.receive());
    });
    EXPECT_EQ(run.exit_code, tools::exit_ok);
    EXPECT_EQ(again, (Lines{in_series(command(2, R"("data":2)"), 2),
                            in_series(command(3, R"("data":3)"), 2),
                            in_series(command(4, R"("data":4)"), 2)}));
    EXPECT_GE(waited_ns, 120 * base::ns_per_ms);
}

TEST(Pub, KeepsBelowTheRateThatItIsTold) {
    PubRun run("1\n2\n3\n4\n5\n6\n");
    const uint64_t began_ns = tools::monotonic_ns();
    run.against([&](FakeConnection& connection, int) {
        connection.accept(FakeConnection::text_frame(welcome_with_rate(8)));
        for (int line = 1; line <= 4; ++line) connection.confirm(connection.read_text());
        EXPECT_TRUE(connection.is_quiet_for(60)) << "half a burst, and then one every 125 ms";
        for (int line = 5; line <= 6; ++line) connection.confirm(connection.read_text());
        static_cast<void>(connection.receive());
    });
    EXPECT_EQ(run.exit_code, tools::exit_ok);
    EXPECT_GE(tools::monotonic_ns() - began_ns, 250 * base::ns_per_ms);
}

TEST(Pub, GivesUpOnARateThatLetsNothingThrough) {
    PubRun run("1\n2\n");
    run.options.give_up_after_ns = 300 * base::ns_per_ms;
    int refusals_count = 0;
    run.against([&](FakeConnection& connection, int) {
        connection.accept(FakeConnection::text_frame(welcome_with_rate(1'000)));
        for (std::string text = connection.read_text(); !text.empty();
             text = connection.read_text()) {
            connection.send_text(
                rate_limited(text.find("\"id\":1,") != std::string::npos ? 1 : 2, 50));
            ++refusals_count;
        }
    });
    EXPECT_EQ(run.exit_code, tools::exit_refused);
    EXPECT_TRUE(run.status.contains("rate_limited: the broker has refused everything for "));
    EXPECT_TRUE(run.status.contains("not confirmed: 2 of the messages"));
    EXPECT_GE(refusals_count, 4);
    EXPECT_LE(refusals_count, 14);
}

TEST(Pub, CountsTheSeriesIntoTheLargestFrame) {
    const std::string fits(200 - command(1, R"("text":"")").size() - 20, 'x');
    PubRun run(fits + "\n" + fits + "x\n");
    Lines commands;
    run.against([&](FakeConnection& connection, int) {
        connection.accept(FakeConnection::text_frame(welcome_with_rate(10)));
        commands.push_back(connection.read_text());
        connection.confirm(commands.back());
        static_cast<void>(connection.receive());
    });
    EXPECT_EQ(run.exit_code, tools::exit_usage);
    EXPECT_TRUE(
        run.status.contains("line 2: 201 bytes as a command; this broker takes at most 200"));
}

TEST(Pub, AnErrorWithoutAnIdIsTheEnd) {
    PubRun run("");
    run.options.data = "1";
    run.against([](FakeConnection& connection, int) {
        connection.welcome();
        static_cast<void>(connection.read_text());
        connection.send_text(R"({"op":"error","code":"invalid_json","reason":"why"})");
        static_cast<void>(connection.receive());
    });
    EXPECT_EQ(run.exit_code, tools::exit_refused);
    EXPECT_TRUE(run.status.contains("refused a command: invalid_json: why")) << run.status.text();
}

TEST(Pub, ACloseThatForbidsToComeBackIsTheEnd) {
    PubRun run("");
    run.options.data = "1";
    run.against([](FakeConnection& connection, int) {
        connection.welcome();
        static_cast<void>(connection.read_text());
        connection.send_close(1009, "too big");
        static_cast<void>(connection.receive());
    });
    EXPECT_EQ(run.exit_code, tools::exit_refused);
    EXPECT_TRUE(run.status.contains("1009: too big"));
    EXPECT_TRUE(run.status.contains("fanfare pub: not confirmed: 1 of the messages"))
        << run.status.text();
}

TEST(Pub, GivesUpWhenTheBrokerStaysAway) {
    PubRun run("");
    run.options.data = "1";
    run.options.give_up_after_ns = 300 * base::ns_per_ms;
    run.against([](FakeConnection& connection, int number) {
        if (number > 0) return;
        connection.welcome();
        static_cast<void>(connection.read_text());
    });
    EXPECT_EQ(run.exit_code, tools::exit_cannot_connect);
    EXPECT_TRUE(run.status.contains("reconnecting in ")) << run.status.text();
    EXPECT_TRUE(run.status.contains("fanfare pub: not confirmed: 1 of the messages"));
}

// Trouble that is over must not count when the next one comes.
TEST(Pub, AConfirmationEndsTheTrouble) {
    PubRun run("1\n2\n");
    run.options.give_up_after_ns = 400 * base::ns_per_ms;
    run.against([](FakeConnection& connection, int number) {
        connection.welcome();
        const std::string text = connection.read_text();
        if (number == 0) return;
        connection.confirm(text);
        if (number == 1) {
            tools::sleep_until(tools::monotonic_ns() + 500 * base::ns_per_ms);
            return;
        }
        for (std::string more = connection.read_text(); !more.empty();
             more = connection.read_text()) {
            connection.confirm(more);
        }
    });
    EXPECT_EQ(run.exit_code, tools::exit_ok) << run.status.text();
}

TEST(Pub, NobodyThere) {
    PubRun run("");
    run.options.data = "1";
    run.options.url = tools_test::closed_url();
    EXPECT_EQ(tools::run_pub(run.options), tools::exit_cannot_connect);
    EXPECT_TRUE(run.status.contains("Is the broker running?"));
}

TEST(Pub, ChecksItsArguments) {
    for (const char* topic : {"", "a/+", "a/#", "$SYS", "a\x01"}) {
        PubRun run("");
        run.options.topic = topic;
        run.options.data = "1";
        EXPECT_EQ(tools::run_pub(run.options), tools::exit_usage) << topic;
        EXPECT_TRUE(run.status.contains("fanfare pub: the topic '")) << run.status.text();
    }
    PubRun url("");
    url.options.url = "wss://x";
    EXPECT_EQ(tools::run_pub(url.options), tools::exit_usage);
    EXPECT_TRUE(url.status.contains("TLS"));
}

TEST(Pub, WithoutDataATerminalIsNotRead) {
    const tools_test::PseudoTerminal terminal;
    if (!terminal.is_there()) GTEST_SKIP() << "there are no pseudo terminals here";
    PubRun run("");
    run.options.in_fd = terminal.line_fd();
    EXPECT_EQ(tools::run_pub(run.options), tools::exit_usage);
    EXPECT_TRUE(run.status.contains("give DATA, or -")) << run.status.text();
}

}  // namespace
