#include "codec/upgrade.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tests/codec/wire.h"

namespace codec {
namespace {

constexpr HttpLimits limits = {.head_bytes_max = 8192, .target_bytes_max = 1024};
constexpr std::string_view known[] = {"fanfare.v1", "fanfare.v0"};

// A request that was parsed from its head.
class Request {
  public:
    explicit Request(std::string_view head) : padded_(head) {
        HttpHeadParser parser;
        const HttpParse parse = parser.parse(padded_.span(), limits, request_);
        EXPECT_EQ(parse.kind, HttpParse::Kind::request) << head << parse.reason;
    }
    const HttpRequest& operator*() const { return request_; }

  private:
    testing::Padded padded_;
    HttpRequest request_;
};

std::string handshake(std::string_view line, const std::vector<std::string>& fields) {
    std::string head(line);
    head += "\r\n";
    for (const std::string& field : fields) head += field + "\r\n";
    return head + "\r\n";
}

// The fields of a handshake that is accepted; tests replace one.
const std::vector<std::string> good_fields = {
    "Host: server.example.com", "Upgrade: websocket", "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"};

std::string handshake_with(size_t replaced, std::string_view field) {
    std::vector<std::string> fields = good_fields;
    if (replaced == fields.size()) {
        fields.emplace_back(field);
    } else {
        fields[replaced] = field;
    }
    return handshake("GET /ws HTTP/1.1", fields);
}

TEST(Upgrade, TheExampleOfTheRfc) {
    // RFC 6455 §1.3.
    const Request request(
        handshake("GET /chat HTTP/1.1",
                  {"Host: server.example.com", "Upgrade: websocket", "Connection: Upgrade",
                   "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Origin: http://example.com",
                   "Sec-WebSocket-Protocol: chat, superchat", "Sec-WebSocket-Version: 13"}));
    EXPECT_TRUE(wants_upgrade(*request));
    const std::string_view chat[] = {"chat"};
    const Upgrade upgrade = decide_upgrade(*request, {.subprotocols = chat});
    ASSERT_EQ(upgrade.refusal.status, 0) << upgrade.refusal.reason;
    EXPECT_EQ(upgrade.subprotocol, "chat");
    std::string response;
    append_upgrade_response(response, upgrade, "");
    EXPECT_EQ(response,
              "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
              "Sec-WebSocket-Protocol: chat\r\n\r\n");
    char accept[28];
    accept_of_key("dGhlIHNhbXBsZSBub25jZQ==", accept);
    EXPECT_EQ(std::string_view(accept, 28), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

TEST(Upgrade, ResponsesWithExtensionsAndWithoutSubprotocol) {
    const Request request(handshake("GET /ws HTTP/1.1", good_fields));
    const Upgrade upgrade = decide_upgrade(*request, {.subprotocols = known});
    ASSERT_EQ(upgrade.refusal.status, 0);
    EXPECT_EQ(upgrade.subprotocol, "");
    std::string response = "kept";
    append_upgrade_response(response, upgrade, "permessage-deflate");
    EXPECT_EQ(
        response,
        "keptHTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
        "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
}

TEST(Upgrade, AcceptedSpellings) {
    const std::pair<size_t, std::string_view> accepted[] = {
        {1, "upgrade: WebSocket"},
        {1, "Upgrade: h2c, websocket"},
        {2, "Connection: keep-alive, upgrade"},
        {2, "Connection: keep-alive\r\nConnection: UPGRADE"},
        {3, "sec-websocket-key:   AAAAAAAAAAAAAAAAAAAAAA==  "},
        {4, "Sec-WebSocket-Version:13"},
    };
    for (const auto& [replaced, field] : accepted) {
        const Request request(handshake_with(replaced, field));
        const Upgrade upgrade = decide_upgrade(*request, {.subprotocols = known});
        EXPECT_EQ(upgrade.refusal.status, 0) << field << upgrade.refusal.reason;
    }
}

TEST(Upgrade, RefusalsAndTheirStatus) {
    struct Row {
        size_t replaced;
        std::string_view field;
        uint16_t status;
    };
    const Row table[] = {
        {1, "Upgrade: h2c", 400},
        {1, "Upgrade: websocket/13", 400},
        {1, "X: y", 400},
        {2, "Connection: keep-alive", 400},
        {2, "Connection: upgraded", 400},
        {2, "X: y", 400},
        {3, "X: y", 400},
        {3, "Sec-WebSocket-Key:", 400},
        {3, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=", 400},   // 23 characters
        {3, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQAA", 400},  // 18 bytes
        {3, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQA=", 400},  // 17 bytes
        {3, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==", 400},  // not canonical
        {3, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j!Q==", 400},
        {3,
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: "
         "dGhlIHNhbXBsZSBub25jZQ==",
         400},
        {4, "X: y", 400},
        {4, "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 13", 400},
        {4, "Sec-WebSocket-Version: 8", 426},
        {4, "Sec-WebSocket-Version: 013", 426},
        {4, "Sec-WebSocket-Version:", 426},
        {5, "Content-Length: 1", 400},
        {5, "Sec-WebSocket-Protocol: mqtt", 400},
        {5, "Sec-WebSocket-Protocol: FANFARE.V1", 400},
        {5, "Sec-WebSocket-Protocol:", 400},
        {5, "Sec-WebSocket-Protocol: ,", 400},
        {5, "Sec-WebSocket-Protocol: fanfare.v1, a b", 400},
    };
    for (const Row& row : table) {
        const Request request(handshake_with(row.replaced, row.field));
        EXPECT_TRUE(wants_upgrade(*request)) << row.field;
        const Upgrade upgrade = decide_upgrade(*request, {.subprotocols = known});
        EXPECT_EQ(upgrade.refusal.status, row.status) << row.field << upgrade.refusal.reason;
        EXPECT_FALSE(upgrade.refusal.reason.empty());
        if (row.status == 426) {
            // RFC 6455 §4.4; and RFC 9110 §15.5.22 wants Upgrade with every 426, and §7.8
            // Connection with that.
            EXPECT_STREQ(
                upgrade.refusal.extra_fields,
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n");
        }
    }
}

TEST(Upgrade, WrongMethodsVersionsAndPlainRequests) {
    const auto refusal_of = [](std::string_view line, const std::vector<std::string>& fields) {
        const Request request(handshake(line, fields));
        return decide_upgrade(*request, {.subprotocols = known}).refusal;
    };
    const Refusal post = refusal_of("POST /ws HTTP/1.1", good_fields);
    EXPECT_EQ(post.status, 405);
    EXPECT_STREQ(post.extra_fields, "Allow: GET\r\n");
    EXPECT_EQ(refusal_of("get /ws HTTP/1.1", good_fields).status, 405);
    EXPECT_EQ(refusal_of("GET /ws HTTP/1.0", good_fields).status, 400);
    const Refusal plain = refusal_of("GET /ws HTTP/1.1", {"Host: a"});
    EXPECT_EQ(plain.status, 426);
    EXPECT_NE(std::string_view(plain.extra_fields).find("Sec-WebSocket-Version: 13\r\n"),
              std::string_view::npos);
    EXPECT_NE(std::string_view(plain.extra_fields).find("Upgrade: websocket\r\n"),
              std::string_view::npos);
    const Request plain_request(handshake("GET /ws HTTP/1.1", {"Host: a"}));
    EXPECT_FALSE(wants_upgrade(*plain_request));
}

TEST(Upgrade, Subprotocols) {
    const auto decide = [](std::string_view field, bool any) {
        const auto request = std::make_unique<Request>(handshake_with(5, field));
        Upgrade upgrade =
            decide_upgrade(**request, {.subprotocols = known, .any_subprotocol = any});
        return std::pair(upgrade.refusal.status, std::string(upgrade.subprotocol));
    };
    using Answer = std::pair<uint16_t, std::string>;
    EXPECT_EQ(decide("X: y", false), Answer(0, ""));
    EXPECT_EQ(decide("Sec-WebSocket-Protocol: mqtt, fanfare.v1", false), Answer(0, "fanfare.v1"));
    // The broker's preference counts, not the order of the offers.
    EXPECT_EQ(decide("Sec-WebSocket-Protocol: fanfare.v0, fanfare.v1", false),
              Answer(0, "fanfare.v1"));
    EXPECT_EQ(decide("Sec-WebSocket-Protocol: x\r\nSec-WebSocket-Protocol: fanfare.v0", false),
              Answer(0, "fanfare.v0"));
    EXPECT_EQ(decide("Sec-WebSocket-Protocol: first, second", true), Answer(0, "first"));
    EXPECT_EQ(decide("Sec-WebSocket-Protocol: first, fanfare.v0", true), Answer(0, "fanfare.v0"));
    EXPECT_EQ(decide("X: y", true), Answer(0, ""));
    EXPECT_EQ(decide("Sec-WebSocket-Protocol: a(b", true), Answer(400, ""));
}

TEST(Upgrade, TheRefusalOfUnknownSubprotocolsNamesTheKnown) {
    const Request request(handshake_with(5, "Sec-WebSocket-Protocol: mqtt, wamp"));
    const Upgrade upgrade = decide_upgrade(*request, {.subprotocols = known});
    EXPECT_EQ(upgrade.refusal.status, 400);
    EXPECT_NE(upgrade.refusal.reason.find("fanfare.v1, fanfare.v0"), std::string::npos)
        << upgrade.refusal.reason;
    // What the client said is not repeated.
    EXPECT_EQ(upgrade.refusal.reason.find("wamp"), std::string::npos);
}

TEST(UpgradeDeathTest, ARefusedUpgradeHasNoResponse) {
    const Request request(handshake("GET / HTTP/1.1", {"Host: a"}));
    const Upgrade upgrade = decide_upgrade(*request, {});
    std::string out;
    EXPECT_DEATH(append_upgrade_response(out, upgrade, ""), "refusal");
}

TEST(Access, HostGrammar) {
    for (const std::string_view host :
         {"a", "a.b-c", "localhost:7788", "127.0.0.1", "127.0.0.1:0", "a:65535", "[::1]",
          "[::1]:80", "[2001:db8::1.2.3.4]", "a_b", "a:", "[::1]:", "xn--bcher-kva.example"}) {
        EXPECT_TRUE(is_host(host)) << host;
    }
    for (const std::string_view host : {"",
                                        ":80",
                                        "a:65536",
                                        "a:123456",
                                        "a:x",
                                        "a:-1",
                                        "a:80:80",
                                        "a b",
                                        "a/b",
                                        "user@a",
                                        "[",
                                        "[]",
                                        "[:]",
                                        "[::1",
                                        "::1",
                                        "[::1]x",
                                        "[80]",
                                        "[127.0.0.1]",
                                        "[1:2:3:4:5:6:7]",
                                        "[1::2::3]",
                                        "[12345::]",
                                        "[::1%lo]",
                                        "[::g]",
                                        "a,b:1/",
                                        "a\"",
                                        "b\xc3\xbc",
                                        "a?b",
                                        "a#b",
                                        "a%41",
                                        "http://a"}) {
        EXPECT_FALSE(is_host(host)) << host;
    }
}

TEST(Access, LoopbackNames) {
    for (const std::string_view host :
         {"localhost", "LocalHost", "localhost:80", "a.localhost", "a.b.LOCALHOST:1", "127.0.0.1",
          "127.0.0.1:7788", "127.255.255.255", "127.1.2.3", "[::1]", "[::1]:7788"}) {
        EXPECT_TRUE(is_loopback_host(host)) << host;
    }
    for (const std::string_view host : {"",
                                        "example.com",
                                        "localhost.example.com",
                                        "notlocalhost",
                                        "127.0.0.1.example.com",
                                        "127.0.0",
                                        "127.0.0.1.1",
                                        "127.0.0.256",
                                        "128.0.0.1",
                                        "0.0.0.0",
                                        "127.0.0.",
                                        "127..0.1",
                                        "127.0.0.01",
                                        "0127.0.0.1",
                                        "127.0.0.1x",
                                        "[::2]",
                                        "[::]",
                                        "[::ffff:127.0.0.1]",
                                        "127.0.0.1:x",
                                        "1270.0.0.1",
                                        "localhost@example.com",
                                        "127"}) {
        EXPECT_FALSE(is_loopback_host(host)) << host;
    }
}

uint16_t access_status(const std::vector<std::string>& fields, bool loopback_only,
                       std::span<const std::string> allowed = {},
                       std::string_view line = "GET / HTTP/1.1") {
    const Request request(handshake(line, fields));
    const Refusal refusal =
        check_access(*request, {.loopback_only = loopback_only, .allowed_origins = allowed});
    EXPECT_EQ(refusal.status == 0, refusal.reason.empty());
    return refusal.status;
}

TEST(Access, Hosts) {
    EXPECT_EQ(access_status({"Host: localhost:7788"}, true), 0);
    EXPECT_EQ(access_status({"Host: example.com"}, true), 403);
    EXPECT_EQ(access_status({"Host: example.com"}, false), 0);
    EXPECT_EQ(access_status({"Host:"}, false), 400);
    EXPECT_EQ(access_status({"Host: a b"}, false), 400);
    EXPECT_EQ(access_status({"Host: a, b"}, false), 400);
    EXPECT_EQ(access_status({"Host: user@a"}, false), 400);
    EXPECT_EQ(access_status({}, true, {}, "GET / HTTP/1.0"), 0);
    EXPECT_EQ(access_status({"Origin: http://a"}, true, {}, "GET / HTTP/1.0"), 403);
    // RFC 9112 §3.2: a Host that is none is refused, also where absolute-form takes its place.
    EXPECT_EQ(access_status({"Host: a b"}, false, {}, "GET http://example.com/ HTTP/1.1"), 400);
    EXPECT_EQ(access_status({"Host: user@a"}, false, {}, "GET http://example.com/ HTTP/1.1"), 400);
    EXPECT_EQ(access_status({"Host:"}, false, {}, "GET http://example.com/ HTTP/1.1"), 0);
    EXPECT_EQ(access_status({"Host: b"}, false, {}, "GET http://example.com/ HTTP/1.1"), 0);
    // Absolute-form counts, whatever Host says.
    EXPECT_EQ(access_status({"Host: localhost"}, true, {}, "GET http://example.com/ HTTP/1.1"),
              403);
}

TEST(Access, Origins) {
    const auto status_of = [](std::string_view host, std::string_view origin) {
        return access_status({"Host: " + std::string(host), "Origin: " + std::string(origin)},
                             false);
    };
    EXPECT_EQ(status_of("example.com", "http://example.com"), 0);
    EXPECT_EQ(status_of("example.com", "https://example.com"), 0);
    EXPECT_EQ(status_of("EXAMPLE.com", "HTTP://example.COM"), 0);
    EXPECT_EQ(status_of("example.com:80", "http://example.com"), 0);
    EXPECT_EQ(status_of("example.com", "http://example.com:80"), 0);
    EXPECT_EQ(status_of("example.com:443", "https://example.com"), 0);
    EXPECT_EQ(status_of("localhost:7788", "http://localhost:7788"), 0);
    EXPECT_EQ(status_of("[::1]:7788", "http://[::1]:7788"), 0);

    EXPECT_EQ(status_of("example.com:80", "https://example.com"), 403);
    EXPECT_EQ(status_of("example.com", "http://example.com:8080"), 403);
    EXPECT_EQ(status_of("localhost:7788", "http://localhost"), 403);
    EXPECT_EQ(status_of("localhost:7788", "http://127.0.0.1:7788"), 403);
    EXPECT_EQ(status_of("example.com", "http://www.example.com"), 403);
    EXPECT_EQ(status_of("example.com", "http://example.com.evil.org"), 403);
    EXPECT_EQ(status_of("example.com", "null"), 403);
    EXPECT_EQ(status_of("example.com", ""), 403);
    EXPECT_EQ(status_of("example.com", "example.com"), 403);
    EXPECT_EQ(status_of("example.com", "://example.com"), 403);
    EXPECT_EQ(status_of("example.com", "http://example.com/"), 403);
    EXPECT_EQ(status_of("example.com", "http://evil.org@example.com"), 403);
    EXPECT_EQ(access_status({"Host: a", "Origin: http://a", "Origin: http://a"}, false), 400);
}

TEST(Access, AllowedOrigins) {
    const auto status_of = [](const std::vector<std::string>& allowed, std::string_view origin) {
        return access_status({"Host: broker.example.com", "Origin: " + std::string(origin)}, false,
                             allowed);
    };
    const std::vector<std::string> some = {"https://app.example.com", "http://localhost:3000"};
    EXPECT_EQ(status_of(some, "https://app.example.com"), 0);
    EXPECT_EQ(status_of(some, "https://APP.example.com:443"), 0);
    EXPECT_EQ(status_of(some, "http://localhost:3000"), 0);
    EXPECT_EQ(status_of(some, "https://broker.example.com"), 0);
    EXPECT_EQ(status_of(some, "http://app.example.com"), 403);
    EXPECT_EQ(status_of(some, "https://app.example.com:8443"), 403);
    EXPECT_EQ(status_of(some, "http://localhost:3001"), 403);
    EXPECT_EQ(status_of(some, "null"), 403);
    EXPECT_EQ(status_of({"*"}, "https://anything.example"), 0);
    EXPECT_EQ(status_of({"*"}, "null"), 0);
    EXPECT_EQ(status_of({"null"}, "null"), 0);
    // An entry never opens the way for a foreign name in Host on a loopback listener.
    EXPECT_EQ(access_status({"Host: example.com", "Origin: https://a"}, true,
                            std::vector<std::string>{"*"}),
              403);
}

}  // namespace
}  // namespace codec
