#include "tools/ws_client.h"

#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>

#include "io/base/units.h"
#include "tests/tools/fake_broker.h"
#include "tools/clock.h"

namespace {

using codec::Decoded;
using codec::Opcode;
using tools::ConnectFailure;
using tools::Incoming;
using tools::WsClient;
using tools_test::FakeBroker;
using tools_test::FakeConnection;

uint64_t soon() {
    return tools::monotonic_ns() + 5 * base::ns_per_s;
}

tools::Url url_of(const std::string& text) {
    tools::Url url;
    EXPECT_EQ(tools::parse_url(text, url), "");
    return url;
}

ConnectFailure connect_to_answer(std::string answer) {
    const FakeBroker broker([&answer](FakeConnection& connection, int) {
        static_cast<void>(connection.read_request());
        connection.send_raw(answer);
    });
    WsClient client(1);
    return client.connect(url_of(broker.url()), soon());
}

TEST(WsClient, ReadsFramesThatCameWithTheHandshake) {
    const FakeBroker broker([](FakeConnection& connection, int) {
        connection.accept(FakeConnection::text_frame("one") + FakeConnection::text_frame("two"));
        static_cast<void>(connection.receive());
    });
    WsClient client(1);
    ASSERT_EQ(client.connect(url_of(broker.url()), soon()).message, "");
    Incoming incoming = client.wait(soon(), -1);
    EXPECT_EQ(incoming.kind, Incoming::Kind::text);
    EXPECT_EQ(incoming.payload, "one");
    incoming = client.wait(soon(), -1);
    EXPECT_EQ(incoming.payload, "two");
}

TEST(WsClient, ReadsWhatComesByteByByte) {
    const FakeBroker broker([](FakeConnection& connection, int) {
        connection.accept();
        std::string bytes = FakeConnection::frame(Opcode::ping, "p") +
                            FakeConnection::text_frame("héllo") +
                            FakeConnection::text_frame(std::string(70'000, 'x')).substr(0, 100);
        for (const char byte : bytes) connection.send_raw(std::string_view(&byte, 1));
        connection.send_raw(std::string(70'000 + 10 - 100, 'x'));
        static_cast<void>(connection.receive());
    });
    WsClient client(1);
    ASSERT_EQ(client.connect(url_of(broker.url()), soon()).message, "");
    EXPECT_EQ(client.wait(soon(), -1).payload, "héllo");
    EXPECT_EQ(client.wait(soon(), -1).payload, std::string(70'000, 'x'));
}

TEST(WsClient, SendsMaskedFramesOfEveryLength) {
    constexpr size_t lengths[] = {0, 1, 125, 126, 65'535, 65'536, 300'000};
    for (const size_t bytes : lengths) {
        std::string received;
        {
            const FakeBroker broker([&received](FakeConnection& connection, int) {
                connection.accept();
                received = connection.read_text();
                connection.send_text("done");
                static_cast<void>(connection.receive());
            });
            WsClient client(1);
            ASSERT_EQ(client.connect(url_of(broker.url()), soon()).message, "");
            client.send_text(std::string(bytes, 'y'));
            EXPECT_EQ(client.wait(soon(), -1).payload, "done");
            EXPECT_EQ(client.unsent_bytes(), 0U);
        }
        EXPECT_EQ(received, std::string(bytes, 'y')) << bytes;
    }
}

TEST(WsClient, AnswersPings) {
    FakeConnection::Received answer;
    {
        const FakeBroker broker([&answer](FakeConnection& connection, int) {
            connection.accept(FakeConnection::frame(Opcode::ping, "are you there"));
            answer = connection.receive();
            connection.send_text("thanks");
            static_cast<void>(connection.receive());
        });
        WsClient client(1);
        ASSERT_EQ(client.connect(url_of(broker.url()), soon()).message, "");
        EXPECT_EQ(client.wait(soon(), -1).payload, "thanks");
    }
    EXPECT_EQ(answer.kind, Decoded::Kind::pong);
    EXPECT_EQ(answer.payload, "are you there");
}

// Both ends want to write more than the sockets hold; who would only write could never end.
TEST(WsClient, ReadsWhileItSends) {
    constexpr int messages_count = 200;
    const std::string big(60'000, 'z');
    std::atomic<int> received_count = 0;
    {
        const FakeBroker broker([&](FakeConnection& connection, int) {
            connection.accept();
            for (int index = 0; index < messages_count; ++index) connection.send_text(big);
            while (connection.read_text() == big) received_count += 1;
        });
        WsClient client(1);
        ASSERT_EQ(client.connect(url_of(broker.url()), soon()).message, "");
        for (int index = 0; index < messages_count; ++index) client.send_text(big);
        for (int index = 0; index < messages_count; ++index) {
            ASSERT_EQ(client.wait(soon(), -1).kind, Incoming::Kind::text);
        }
        client.close(soon());
    }
    EXPECT_EQ(received_count, messages_count);
}

TEST(WsClient, ACloseIsAnsweredWithItsCode) {
    constexpr uint16_t codes[] = {1000, 1001, 4100};
    for (const uint16_t code : codes) {
        FakeConnection::Received answer;
        {
            const FakeBroker broker([&](FakeConnection& connection, int) {
                connection.accept();
                connection.send_close(code, "because");
                answer = connection.receive();
            });
            WsClient client(1);
            ASSERT_EQ(client.connect(url_of(broker.url()), soon()).message, "");
            const Incoming incoming = client.wait(soon(), -1);
            EXPECT_EQ(incoming.kind, Incoming::Kind::closed);
            EXPECT_EQ(incoming.close_code, code);
            EXPECT_EQ(incoming.payload, "because");
        }
        EXPECT_EQ(answer.kind, Decoded::Kind::close);
        EXPECT_EQ(answer.close_code, code);
    }
}

TEST(WsClient, ACloseWithoutACodeIsAnsweredToo) {
    FakeConnection::Received answer;
    {
        const FakeBroker broker([&](FakeConnection& connection, int) {
            connection.accept(FakeConnection::frame(Opcode::close, ""));
            answer = connection.receive();
        });
        WsClient client(1);
        ASSERT_EQ(client.connect(url_of(broker.url()), soon()).message, "");
        EXPECT_EQ(client.wait(soon(), -1).close_code, 1005);
    }
    EXPECT_EQ(answer.kind, Decoded::Kind::close);
    EXPECT_EQ(answer.close_code, 1000);
}

TEST(WsClient, AnEndOrAResetIsALostConnection) {
    for (const bool is_reset : {false, true}) {
        const FakeBroker broker([is_reset](FakeConnection& connection, int) {
            connection.accept();
            if (is_reset) connection.reset();
        });
        WsClient client(1);
        ASSERT_EQ(client.connect(url_of(broker.url()), soon()).message, "");
        const Incoming incoming = client.wait(soon(), -1);
        EXPECT_EQ(incoming.kind, Incoming::Kind::lost);
        EXPECT_EQ(incoming.problem, is_reset
                                        ? "connection reset by peer"
                                        : "the broker ended the connection without a close frame");
        EXPECT_EQ(client.wait(soon(), -1).kind, Incoming::Kind::lost);
    }
}

TEST(WsClient, ABrokenProtocolIsAnsweredAndLost) {
    const struct {
        std::string bytes;
        uint16_t close_code;
    } rows[] = {
        {std::string("\xc1\x00", 2), 1002},          // a compressed frame, which was not negotiated
        {std::string("\x81\x80\0\0\0\0", 6), 1002},  // a masked frame from a server
        {FakeConnection::text_frame("\xff"), 1007},  // no UTF-8
        {FakeConnection::frame(Opcode::binary, "x"), 1003},  // fanfare.v1 has none
    };
    for (const auto& row : rows) {
        FakeConnection::Received answer;
        {
            const FakeBroker broker([&](FakeConnection& connection, int) {
                connection.accept(row.bytes);
                answer = connection.receive();
            });
            WsClient client(1);
            ASSERT_EQ(client.connect(url_of(broker.url()), soon()).message, "");
            EXPECT_EQ(client.wait(soon(), -1).kind, Incoming::Kind::lost);
        }
        EXPECT_EQ(answer.kind, Decoded::Kind::close);
        EXPECT_EQ(answer.close_code, row.close_code);
    }
}

TEST(WsClient, AWaitEndsAtItsDeadline) {
    const FakeBroker broker([](FakeConnection& connection, int) {
        connection.accept();
        static_cast<void>(connection.receive());
    });
    WsClient client(1);
    ASSERT_EQ(client.connect(url_of(broker.url()), soon()).message, "");
    const uint64_t begin_ns = tools::monotonic_ns();
    EXPECT_EQ(client.wait(begin_ns + 30 * base::ns_per_ms, -1).kind, Incoming::Kind::timeout);
    EXPECT_GE(tools::monotonic_ns(), begin_ns + 30 * base::ns_per_ms);
}

TEST(WsClient, AWaitEndsAtItsDeadlineAlsoWhilePingsComeWithoutAPause) {
    std::atomic<bool> is_over = false;
    const FakeBroker broker([&](FakeConnection& connection, int) {
        connection.accept();
        std::string pings;
        for (int count = 0; count < 1'000; ++count)
            pings += FakeConnection::frame(Opcode::ping, "");
        while (!is_over) {
            connection.send_raw(pings);
            static_cast<void>(connection.receive(0));
        }
    });
    WsClient client(1);
    ASSERT_EQ(client.connect(url_of(broker.url()), soon()).message, "");
    const uint64_t begin_ns = tools::monotonic_ns();
    std::thread end([&] {
        tools::sleep_until(begin_ns + 3 * base::ns_per_s);
        is_over = true;
    });
    EXPECT_EQ(client.wait(begin_ns + 100 * base::ns_per_ms, -1).kind, Incoming::Kind::timeout);
    EXPECT_LT(tools::monotonic_ns(), begin_ns + 2 * base::ns_per_s);
    is_over = true;
    end.join();
}

TEST(WsClient, ConnectsToAUnixSocket) {
    const std::string path = testing::TempDir() + "fanfare_ws_client_test.sock";
    std::string request;
    {
        const FakeBroker broker(
            [&request](FakeConnection& connection, int) {
                request = connection.read_request();
                connection.send_raw("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
            },
            path);
        WsClient client(1);
        EXPECT_EQ(client.connect(url_of(broker.url()), soon()).message,
                  "unix:" + path + " refused the connection with HTTP 404");
    }
    EXPECT_NE(request.find("\r\nHost: localhost\r\n"), std::string::npos) << request;
    WsClient client(1);
    const std::string gone = client.connect(url_of("unix:" + path + ".not"), soon()).message;
    EXPECT_NE(gone.find("fanfare serve --listen unix:" + path + ".not"), std::string::npos) << gone;
}

TEST(WsClient, SaysThatNobodyListens) {
    WsClient client(1);
    const tools::Url url = url_of(tools_test::closed_url());
    const ConnectFailure failure = client.connect(url, soon());
    EXPECT_EQ(failure.kind, ConnectFailure::Kind::unreachable);
    EXPECT_EQ(failure.message,
              "cannot connect to " + url.place() +
                  ": connection refused. Is the broker running? Start it with 'fanfare serve'");
    const ConnectFailure unknown = client.connect(url_of("ws://fanfare.invalid"), soon());
    EXPECT_EQ(unknown.kind, ConnectFailure::Kind::unreachable);
    EXPECT_NE(unknown.message.find("the name cannot be resolved"), std::string::npos)
        << unknown.message;
}

TEST(WsClient, TellsARefusalFromAMomentOfTrouble) {
    ConnectFailure failure = connect_to_answer(
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 14\r\n\r\nnot \x1b[31m here\n");
    EXPECT_EQ(failure.kind, ConnectFailure::Kind::refused);
    EXPECT_NE(failure.message.find("refused the connection with HTTP 403: not \\u001b[31m here"),
              std::string::npos)
        << failure.message;
    failure = connect_to_answer("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    EXPECT_EQ(failure.kind, ConnectFailure::Kind::unreachable);
    failure = connect_to_answer("HTTP/1.1 429 Slow\r\nContent-Length: 100\r\n\r\ncut short");
    EXPECT_EQ(failure.kind, ConnectFailure::Kind::unreachable);
    EXPECT_NE(failure.message.find("HTTP 429: cut short"), std::string::npos) << failure.message;
}

TEST(WsClient, KnowsAStrangerWhenItMeetsOne) {
    ConnectFailure failure = connect_to_answer("SSH-2.0-OpenSSH_9.2\r\n");
    EXPECT_EQ(failure.kind, ConnectFailure::Kind::foreign);
    EXPECT_NE(failure.message.find("is not a Fanfare broker: the answer is not HTTP/1.1"),
              std::string::npos);
    failure = connect_to_answer(
        "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n");
    EXPECT_EQ(failure.kind, ConnectFailure::Kind::foreign);
    failure = connect_to_answer("HTTP/1.1 10");
    EXPECT_EQ(failure.kind, ConnectFailure::Kind::unreachable);
    EXPECT_NE(failure.message.find("did not answer the handshake"), std::string::npos)
        << failure.message;
}

TEST(WsClient, AHandshakeEndsAtItsDeadline) {
    const FakeBroker broker([](FakeConnection& connection, int) {
        static_cast<void>(connection.read_request());
        static_cast<void>(connection.receive());
    });
    WsClient client(1);
    const ConnectFailure failure =
        client.connect(url_of(broker.url()), tools::monotonic_ns() + 30 * base::ns_per_ms);
    EXPECT_EQ(failure.kind, ConnectFailure::Kind::unreachable);
    EXPECT_NE(failure.message.find("no answer in time"), std::string::npos) << failure.message;
}

TEST(WsClient, ClosesInGoodOrder) {
    FakeConnection::Received text;
    FakeConnection::Received end;
    {
        const FakeBroker broker([&](FakeConnection& connection, int) {
            connection.accept();
            connection.send_text("not read any more");
            text = connection.receive();
            end = connection.receive();
            connection.send_close(1000);
        });
        WsClient client(1);
        ASSERT_EQ(client.connect(url_of(broker.url()), soon()).message, "");
        client.send_text("last words");
        client.close(soon());
    }
    EXPECT_EQ(text.payload, "last words");
    EXPECT_EQ(end.kind, Decoded::Kind::close);
    EXPECT_EQ(end.close_code, 1000);
}

}  // namespace
