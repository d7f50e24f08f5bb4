#include "tools/handshake.h"

#include <gtest/gtest.h>

namespace {

using tools::handshake_answer_bytes_max;
using tools::HandshakeAnswer;
using tools::read_handshake_answer;

// The example of RFC 6455 §1.3.
constexpr std::string_view key = "dGhlIHNhbXBsZSBub25jZQ==";
const std::string good =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

std::string replaced(std::string_view from, std::string_view to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    return text;
}

TEST(Handshake, TheRequestIsOneOfRfc6455) {
    tools::Url url;
    ASSERT_EQ(tools::parse_url("ws://[::1]:9000/chat?room=1", url), "");
    std::string request;
    tools::append_handshake_request(request, url, key);
    EXPECT_EQ(request,
              "GET /chat?room=1 HTTP/1.1\r\nHost: [::1]:9000\r\nUpgrade: websocket\r\nConnection: "
              "Upgrade\r\n"
              "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: fanfare.v1\r\n"
              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
}

TEST(Handshake, EveryPrefixNeedsMore) {
    for (size_t bytes = 0; bytes < good.size(); ++bytes) {
        EXPECT_EQ(read_handshake_answer(good.substr(0, bytes), key).kind,
                  HandshakeAnswer::Kind::need_more)
            << bytes;
    }
    const HandshakeAnswer answer = read_handshake_answer(good + "frames", key);
    EXPECT_EQ(answer.kind, HandshakeAnswer::Kind::accepted);
    EXPECT_EQ(answer.head_bytes, good.size());
}

TEST(Handshake, NamesAndTokensIgnoreCase) {
    const std::string answer = replaced("Upgrade: websocket\r\nConnection: Upgrade",
                                        "UPGRADE:WebSocket\r\nconnection: keep-alive ,upgrade");
    EXPECT_EQ(read_handshake_answer(answer, key).kind, HandshakeAnswer::Kind::accepted);
    EXPECT_EQ(read_handshake_answer(
                  replaced("\r\n\r\n", "\r\nSec-WebSocket-Protocol: fanfare.v1\r\n\r\n"), key)
                  .kind,
              HandshakeAnswer::Kind::accepted);
}

TEST(Handshake, RefusesWhatIsNoAnswerToOurRequest) {
    const std::string rows[] = {
        "SSH-2.0-OpenSSH_9\r\n",
        "HTTP/1.0 101 x\r\n\r\n",
        "HTTP/1.1 1x1 x\r\n\r\n",
        "HTTP/1.1 1010 x\r\n\r\n",
        replaced("Upgrade: websocket", "Upgrade: h2c"),
        replaced("Connection: Upgrade", "Connection: close"),
        replaced("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "s3pPLMBiTxaQ9kYGzzhZRbK+xOO="),
        replaced("Sec-WebSocket-Accept", "X-WebSocket-Accept"),
        replaced("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"),
        replaced("\r\n\r\n", "\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"),
    };
    for (const std::string& answer : rows) {
        const HandshakeAnswer read = read_handshake_answer(answer, key);
        EXPECT_EQ(read.kind, HandshakeAnswer::Kind::not_a_websocket) << answer;
        EXPECT_FALSE(read.problem.empty());
    }
}

TEST(Handshake, ReadsARefusal) {
    const HandshakeAnswer answer =
        read_handshake_answer("HTTP/1.1 403 Forbidden\r\ncontent-length: 12\r\n\r\nbody", key);
    EXPECT_EQ(answer.kind, HandshakeAnswer::Kind::refused);
    EXPECT_EQ(answer.status, 403);
    EXPECT_EQ(answer.body_bytes, 12U);
    EXPECT_EQ(read_handshake_answer("HTTP/1.1 503 x\r\nContent-Length: x\r\n\r\n", key).body_bytes,
              0U);
}

TEST(Handshake, AHeadHasALimit) {
    std::string answer = "HTTP/1.1 101 ";
    answer.resize(handshake_answer_bytes_max - 1, 'x');
    EXPECT_EQ(read_handshake_answer(answer, key).kind, HandshakeAnswer::Kind::need_more);
    answer += 'x';
    EXPECT_EQ(read_handshake_answer(answer, key).kind, HandshakeAnswer::Kind::not_a_websocket);
}

}  // namespace
