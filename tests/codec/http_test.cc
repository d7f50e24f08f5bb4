#include "codec/http.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>

#include "io/base/prng.h"
#include "tests/codec/wire.h"

namespace codec {
namespace {

using namespace std::string_literals;
using Kind = HttpParse::Kind;

constexpr HttpLimits limits = {.head_bytes_max = 1024, .target_bytes_max = 256};

// A head, what became of it, and the memory that the request points into.
class Parsed {
  public:
    explicit Parsed(std::string_view bytes, const HttpLimits& limits_used = limits)
        : padded_(bytes), parse_(parser_.parse(padded_.span(), limits_used, request_)) {}

    const HttpParse& parse() const { return parse_; }
    const HttpRequest& request() const {
        EXPECT_EQ(parse_.kind, Kind::request) << parse_.status << " " << parse_.reason;
        return request_;
    }

  private:
    testing::Padded padded_;
    HttpHeadParser parser_;
    HttpRequest request_;
    HttpParse parse_;
};

// One parser that sees the bytes come one by one. Answers at the first byte that decides.
HttpParse parse_byte_by_byte(std::string_view bytes, size_t& seen_bytes,
                             const HttpLimits& limits_used = limits) {
    HttpHeadParser parser;
    const auto request = std::make_unique<HttpRequest>();
    HttpParse parse = {.kind = Kind::need_more};
    for (seen_bytes = 0; seen_bytes <= bytes.size(); ++seen_bytes) {
        testing::Padded padded(bytes.substr(0, seen_bytes));
        parse = parser.parse(padded.span(), limits_used, *request);
        if (parse.kind != Kind::need_more) break;
    }
    return parse;
}

TEST(Http, AGet) {
    const std::string head =
        "GET /topics/a%20b?last=5&x HTTP/1.1\r\n"
        "Host: localhost:7788\r\n"
        "User-Agent:curl/7.88 \t\r\n"
        "Accept: */*\r\n"
        "X-Empty:\r\n"
        "X-Text: gr\xc3\xbc\xc3\x9f"
        "e\tand tabs\r\n\r\n";
    const Parsed parsed(head + "body that is not the head's");
    const HttpRequest& request = parsed.request();
    EXPECT_EQ(parsed.parse().head_bytes, head.size());
    EXPECT_EQ(request.method, "GET");
    EXPECT_EQ(request.target, "/topics/a%20b?last=5&x");
    EXPECT_EQ(request.path, "/topics/a%20b");
    EXPECT_EQ(request.query, "last=5&x");
    EXPECT_EQ(request.host, "localhost:7788");
    EXPECT_EQ(request.minor_version, 1);
    EXPECT_TRUE(request.keep_alive);
    EXPECT_FALSE(request.expects_continue);
    EXPECT_EQ(request.content_bytes, 0u);
    EXPECT_EQ(request.fields_count, 5u);
    EXPECT_EQ(request.field("user-agent"), "curl/7.88");
    EXPECT_EQ(request.field("x-EMPTY"), "");
    EXPECT_EQ(request.field("X-Text"),
              "gr\xc3\xbc\xc3\x9f"
              "e\tand tabs");
    EXPECT_EQ(request.field("X-None"), std::nullopt);
}

TEST(Http, APost) {
    const Parsed parsed(
        "POST /topics/a HTTP/1.1\r\nHost: a\r\nContent-Length: 0012\r\nExpect: "
        "100-Continue\r\n\r\n");
    EXPECT_EQ(parsed.request().content_bytes, 12u);
    EXPECT_TRUE(parsed.request().expects_continue);
    EXPECT_EQ(Parsed("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999999999999999\r\n\r\n")
                  .request()
                  .content_bytes,
              999'999'999'999'999'999u);
}

TEST(Http, FormsOfTheTarget) {
    const auto request_of = [](std::string_view line) {
        return std::make_unique<Parsed>(std::string(line) + "\r\nHost: from-field\r\n\r\n");
    };
    const auto absolute = request_of("GET http://example.com:80/a/b?c HTTP/1.1");
    EXPECT_EQ(absolute->request().target, "/a/b?c");
    EXPECT_EQ(absolute->request().path, "/a/b");
    EXPECT_EQ(absolute->request().query, "c");
    EXPECT_EQ(absolute->request().host, "example.com:80");
    const auto bare = request_of("GET HTTPS://example.com HTTP/1.1");
    EXPECT_EQ(bare->request().target, "/");
    EXPECT_EQ(bare->request().path, "/");
    const auto asterisk = request_of("OPTIONS * HTTP/1.1");
    EXPECT_EQ(asterisk->request().path, "*");
    EXPECT_EQ(asterisk->request().host, "from-field");
    const auto questions = request_of("GET /?a?b HTTP/1.1");
    EXPECT_EQ(questions->request().path, "/");
    EXPECT_EQ(questions->request().query, "a?b");
}

TEST(Http, KeepAlive) {
    const auto keeps_alive = [](std::string_view version, std::string_view fields) {
        return Parsed("GET / HTTP/" + std::string(version) + "\r\nHost: a\r\n" +
                      std::string(fields) + "\r\n")
            .request()
            .keep_alive;
    };
    EXPECT_TRUE(keeps_alive("1.1", ""));
    EXPECT_TRUE(keeps_alive("1.1", "Connection: keep-alive\r\n"));
    EXPECT_FALSE(keeps_alive("1.1", "Connection: Close\r\n"));
    EXPECT_FALSE(keeps_alive("1.1", "Connection: x, ,close\r\n"));
    EXPECT_FALSE(keeps_alive("1.1", "Connection: x\r\nconnection: y ,\tclose\r\n"));
    EXPECT_FALSE(keeps_alive("1.0", ""));
    EXPECT_TRUE(keeps_alive("1.0", "Connection: Keep-Alive\r\n"));
    EXPECT_FALSE(keeps_alive("1.0", "Connection: keep-alive, close\r\n"));
}

TEST(Http, OlderAndNewerMinorVersions) {
    const Parsed old("GET / HTTP/1.0\r\n\r\n");
    EXPECT_EQ(old.request().minor_version, 0);
    EXPECT_EQ(old.request().host, "");
    // RFC 9110 §10.1.1: HTTP/1.0 has no expectations.
    const Parsed expecting("GET / HTTP/1.0\r\nExpect: anything\r\n\r\n");
    EXPECT_FALSE(expecting.request().expects_continue);
    EXPECT_EQ(Parsed("GET / HTTP/1.9\r\nHost: a\r\n\r\n").request().minor_version, 9);
}

struct Refused {
    std::string bytes;
    uint16_t status;
};

std::string with_fields(std::string_view fields) {
    return "POST / HTTP/1.1\r\nHost: a\r\n" + std::string(fields) + "\r\n";
}

std::vector<Refused> refused_lines() {
    return {
        // not HTTP at all
        {"\x16\x03\x01\x02\x00\x01"s, 400},
        {"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"\n", 400},
        {" GET / HTTP/1.1\r\n", 400},
        {"\0"s, 400},
        {"{\"op\":\"ping\"}", 400},
        {"\x81\x85", 400},
        {"GET\t/ HTTP/1.1\r\n", 400},
        {"GET\r\n", 400},
        {"G\xc3\x89T / HTTP/1.1", 400},
        {"GET:/", 400},
        // request lines
        {"GET /\r\n\r\n", 400},
        {"GET / \r\n\r\n", 400},
        {"GET  / HTTP/1.1\r\n\r\n", 400},
        {"GET /  HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.1 \r\n\r\n", 400},
        {"GET /a b HTTP/1.1\r\n\r\n", 400},
        {"GET / http/1.1\r\n\r\n", 400},
        {"GET / HTTP/1\r\n\r\n", 400},
        {"GET / HTTP/1.10\r\n\r\n", 400},
        {"GET / HTTP/x.1\r\n\r\n", 400},
        {"GET / HTTPS/1.1\r\n\r\n", 400},
        {"GET / HTTP/1,1\r\n\r\n", 400},
        {"GET / HTTP/1.1\rX: y\r\n\r\n", 400},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
        {"GET / HTTP/3.0\r\n\r\n", 505},
        {"GET / HTTP/0.9\r\n\r\n", 505},
        {std::string(33, 'M'), 501},
        {std::string(33, 'M') + " / HTTP/1.1\r\n\r\n", 501},
        {"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 501},
        // targets
        {"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET ?a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /\t HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n"s, 400},
        {"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET http:/a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET http://a?b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET http:// HTTP/1.1\r\nHost: a\r\n\r\n", 400},
        {"GET /" + std::string(256, 'a'), 414},
        {"GET /" + std::string(256, 'a') + " HTTP/1.1\r\nHost: a\r\n\r\n", 414},
        {"GET /" + std::string(2000, 'a') + " HTTP/1.1\r\nHost: a\r\n\r\n", 414},
    };
}

std::vector<Refused> refused_fields() {
    const std::string long_value(1100, 'v');
    std::string many;
    for (uint32_t index = 0; index < 64; ++index) many += "A: b\r\n";
    return {
        // line ends
        {"GET / HTTP/1.1\nHost: a\n\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\n\n", 400},
        {with_fields("X: a\rb\r\n"), 400},
        {with_fields("X: a\r\r\n"), 400},
        {with_fields("\rX: a\r\n"), 400},
        // names and values
        {with_fields("X : a\r\n"), 400},
        {with_fields("X\r\n"), 400},
        {with_fields(": a\r\n"), 400},
        {with_fields("X Y: a\r\n"), 400},
        {with_fields("X\xc3\xa9: a\r\n"), 400},
        {with_fields("X: a\r\n folded\r\n"), 400},
        {with_fields("X: a\r\n\tfolded\r\n"), 400},
        {with_fields("X: a\0b\r\n"s), 400},
        {with_fields("X: \x01\r\n"), 400},
        {with_fields("X: a\x7f\r\n"), 400},
        {with_fields("X: a\x0b\r\n"), 400},
        {with_fields("X(: a\r\n"), 400},
        {with_fields("X\t: a\r\n"), 400},
        // Host
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400},
        {"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400},
        {"GET http://a/ HTTP/1.1\r\n\r\n", 400},
        // framing
        {with_fields("Content-Length: 1\r\nContent-Length: 1\r\n"), 400},
        {with_fields("Content-Length: 1, 1\r\n"), 400},
        {with_fields("Content-Length: -1\r\n"), 400},
        {with_fields("Content-Length: +1\r\n"), 400},
        {with_fields("Content-Length: 1x\r\n"), 400},
        {with_fields("Content-Length: 0x1\r\n"), 400},
        {with_fields("Content-Length:\r\n"), 400},
        {with_fields("Content-Length: 1 1\r\n"), 400},
        {with_fields("Content-Length: 1000000000000000000\r\n"), 400},
        {with_fields("Content-Length: 18446744073709551617\r\n"), 400},
        {with_fields("Transfer-Encoding: chunked\r\n"), 501},
        {with_fields("transfer-encoding: identity\r\n"), 501},
        {with_fields("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), 400},
        {with_fields("Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n"), 400},
        // expectations
        {with_fields("Expect: 200-ok\r\n"), 417},
        {with_fields("Expect:\r\n"), 417},
        {with_fields("Expect: 100-continue\r\nExpect: 100-continue\r\n"), 417},
        {with_fields("Expect: 100-continue, x\r\n"), 417},
        // too much
        {with_fields(many), 431},
        {with_fields("X: " + long_value + "\r\n"), 431},
        {with_fields("X: " + long_value), 431},
    };
}

TEST(Http, RefusalsAndTheirStatus) {
    for (const std::vector<Refused>& table : {refused_lines(), refused_fields()}) {
        for (const Refused& row : table) {
            const Parsed parsed(row.bytes);
            ASSERT_EQ(parsed.parse().kind, Kind::refused) << row.bytes;
            EXPECT_EQ(parsed.parse().status, row.status) << row.bytes << parsed.parse().reason;
            EXPECT_STRNE(parsed.parse().reason, "");
            size_t seen_bytes = 0;
            const HttpParse slow = parse_byte_by_byte(row.bytes, seen_bytes);
            EXPECT_EQ(slow.status, row.status) << row.bytes;
            EXPECT_STREQ(slow.reason, parsed.parse().reason) << row.bytes;
        }
    }
}

TEST(Http, WhatCannotBecomeARequestIsRefusedAtOnce) {
    const auto decided_after = [](std::string_view bytes) {
        size_t seen_bytes = 0;
        EXPECT_EQ(parse_byte_by_byte(bytes, seen_bytes).kind, Kind::refused);
        return seen_bytes;
    };
    EXPECT_EQ(decided_after("\x16\x03\x01"), 1u);
    EXPECT_NE(std::string_view(Parsed("\x16").parse().reason).find("TLS"), std::string_view::npos);
    EXPECT_EQ(decided_after("{\"op\":1}"), 1u);
    EXPECT_EQ(decided_after("GET\r\n"), 4u);
    EXPECT_EQ(decided_after(std::string(50, 'M')), 33u);
    EXPECT_EQ(decided_after("GET /" + std::string(5000, 'a')), 4u + 257u);
    EXPECT_EQ(decided_after("GET / HTTP/1.1\nHost: a\n"), 15u);
    EXPECT_EQ(decided_after("GET / HTTP/1.1\r\nX: " + std::string(5000, 'a')), 1025u);
}

TEST(Http, EveryPrefixOfARequestNeedsMore) {
    const std::string head =
        "GET /a?b HTTP/1.1\r\nHost: localhost\r\nX: \xff\tz\r\nConnection: close\r\n\r\n";
    for (size_t size = 0; size < head.size(); ++size) {
        EXPECT_EQ(Parsed(std::string_view(head).substr(0, size)).parse().kind, Kind::need_more)
            << size;
    }
    size_t seen_bytes = 0;
    const HttpParse parse = parse_byte_by_byte(head + "rest", seen_bytes);
    EXPECT_EQ(parse.kind, Kind::request);
    EXPECT_EQ(parse.head_bytes, head.size());
    EXPECT_EQ(seen_bytes, head.size());
}

TEST(Http, LimitsOnBothSides) {
    const std::string start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
    const std::string end = "\r\n\r\n";
    const std::string just = start + std::string(1024 - start.size() - end.size(), 'x') + end;
    ASSERT_EQ(just.size(), 1024u);
    EXPECT_EQ(Parsed(just).request().fields_count, 2u);
    EXPECT_EQ(Parsed(just + "body").parse().kind, Kind::request);
    EXPECT_EQ(Parsed(start + "x" + just.substr(start.size())).parse().status, 431);

    const auto target_of = [](size_t size) {
        return "GET /" + std::string(size - 1, 'a') + " HTTP/1.1\r\nHost: a\r\n\r\n";
    };
    EXPECT_EQ(Parsed(target_of(256)).request().target.size(), 256u);
    EXPECT_EQ(Parsed(target_of(257)).parse().status, 414);

    std::string fields;
    for (uint32_t index = 0; index < 63; ++index) fields += "A: b\r\n";
    EXPECT_EQ(Parsed(with_fields(fields)).request().fields_count, 64u);
    EXPECT_EQ(Parsed(with_fields(fields + "A: b\r\n")).parse().status, 431);

    const std::string method(32, 'M');
    EXPECT_EQ(Parsed(method + " / HTTP/1.1\r\nHost: a\r\n\r\n").request().method, method);
}

// As the broker sets it: the target may be as long as the head.
TEST(Http, TheSameStatusWhicheverLimitIsMetFirst) {
    const HttpLimits one_limit = {.head_bytes_max = 300, .target_bytes_max = 300};
    const auto expect_status = [&](const std::string& bytes, uint16_t status) {
        const Parsed whole(bytes, one_limit);
        size_t seen_bytes = 0;
        const HttpParse slow = parse_byte_by_byte(bytes, seen_bytes, one_limit);
        EXPECT_EQ(whole.parse().status, status) << bytes.size();
        EXPECT_EQ(slow.status, status) << bytes.size();
        EXPECT_STREQ(whole.parse().reason, slow.reason) << bytes.size();
    };
    for (const size_t size : {296u, 297u, 299u, 300u, 301u, 400u}) {
        expect_status("GET /" + std::string(size - 1, 'a') + " HTTP/1.1\r\nHost: a\r\n\r\n",
                      size <= 295 ? 431 : 414);
    }
    expect_status("GET /" + std::string(280, 'a') + " HTTP/1.1\r\nHost: a\r\n\r\n", 431);
    expect_status("GET / HTTP/1.1" + std::string(400, 'a'), 431);
}

TEST(Http, AParserIsResetForTheNextHead) {
    HttpHeadParser parser;
    const auto request = std::make_unique<HttpRequest>();
    testing::Padded first("GET /first HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
    ASSERT_EQ(parser.parse(first.span(), limits, *request).kind, Kind::request);
    parser.reset();
    testing::Padded second("GET /second HTTP/1.1\r\nHost: b\r\n\r\n");
    ASSERT_EQ(parser.parse(second.span(), limits, *request).kind, Kind::request);
    EXPECT_EQ(request->path, "/second");
    EXPECT_EQ(request->fields_count, 1u);
    EXPECT_EQ(request->content_bytes, 0u);
}

TEST(Http, TokensInLists) {
    const Parsed parsed(with_fields("X: a, B ,,\tc\r\nx: \"d\"\r\nx:e\r\n"));
    const HttpRequest& request = parsed.request();
    for (const std::string_view token : {"a", "A", "b", "c", "e", "\"D\""}) {
        EXPECT_TRUE(request.has_token("X", token)) << token;
    }
    for (const std::string_view token : {"", "d", "ab", "a, B", "f"}) {
        EXPECT_FALSE(request.has_token("X", token)) << token;
    }
    EXPECT_FALSE(request.has_token("Y", "a"));
    EXPECT_EQ(request.field_count("X"), 3u);
    EXPECT_EQ(request.field_count("Y"), 0u);
}

TEST(Http, NamesIgnoreTheCaseOfAsciiLettersOnly) {
    EXPECT_TRUE(equals_ignoring_case("Host", "hOST"));
    EXPECT_TRUE(equals_ignoring_case("", ""));
    EXPECT_FALSE(equals_ignoring_case("Host", "Hos"));
    EXPECT_FALSE(equals_ignoring_case("@", "`"));
    EXPECT_FALSE(equals_ignoring_case("[", "{"));
    EXPECT_FALSE(equals_ignoring_case("\xc3\x84", "\xc3\xa4"));
    EXPECT_TRUE(is_http_token("fanfare.v1"));
    EXPECT_FALSE(is_http_token(""));
    EXPECT_FALSE(is_http_token("a b"));
    EXPECT_FALSE(is_http_token("a/b"));
}

TEST(Http, PercentDecoding) {
    const auto decode = [](std::string_view encoded) -> std::optional<std::string> {
        std::string out = ">";
        if (!percent_decode(encoded, out)) return std::nullopt;
        return out;
    };
    EXPECT_EQ(decode("a+b/c"), ">a+b/c");
    EXPECT_EQ(decode("%41%2f%2F%00%ff"), ">A//\0\xff"s);
    EXPECT_EQ(decode(""), ">");
    for (const std::string_view bad : {"%", "%4", "%4g", "%g4", "a%", "%%41", "% 4", "%+4"}) {
        EXPECT_EQ(decode(bad), std::nullopt) << bad;
    }
}

TEST(Http, Responses) {
    const auto written = [](const HttpResponse& response) {
        std::string out = ">";
        append_http_response(out, response);
        return out.substr(1);
    };
    EXPECT_EQ(written({.status = 200, .body = "hello"}),
              "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 5\r\n"
              "Connection: keep-alive\r\n\r\nhello");
    EXPECT_EQ(written({.status = 404,
                       .content_type = "application/json",
                       .extra_fields = "X: y\r\n",
                       .body = "{}",
                       .keep_alive = false,
                       .head_only = true}),
              "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
              "Connection: close\r\nX: y\r\n\r\n");
    EXPECT_EQ(written({.status = 202}),
              "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n");
    EXPECT_EQ(written({.status = 204}),
              "HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n");
    EXPECT_EQ(written({.status = 100}), "HTTP/1.1 100 Continue\r\n\r\n");
    for (const uint32_t status : {400u, 403u, 405u, 414u, 417u, 426u, 431u, 501u, 503u, 505u}) {
        EXPECT_STRNE(http_reason_phrase(static_cast<uint16_t>(status)), "Unknown") << status;
    }
    EXPECT_STREQ(http_reason_phrase(799), "Unknown");
}

// However a damaged head arrives, the verdict is the same, and it comes at the same byte or later
// only because the pieces were longer.
TEST(Http, DamagedHeadsMeanTheSameInPieces) {
    base::Prng prng(12);
    const std::string whole =
        "POST /topics/a?b=c HTTP/1.1\r\nHost: localhost:7788\r\nContent-Length: 5\r\nConnection: "
        "keep-alive\r\n\r\n";
    const std::string_view characters =
        "\r\n\t :,/?#%\x01\x7f\xff"
        "1aZ";
    uint32_t refusals_count = 0;
    for (uint32_t round = 0; round < 5'000; ++round) {
        std::string head = whole;
        for (uint64_t count = prng.between(1, 3); count > 0; --count) {
            head[prng.below(head.size())] = characters[prng.below(characters.size())];
        }
        const Parsed parsed(head);
        size_t seen_bytes = 0;
        const HttpParse slow = parse_byte_by_byte(head, seen_bytes);
        ASSERT_EQ(slow.kind, parsed.parse().kind) << head;
        ASSERT_EQ(slow.status, parsed.parse().status) << head;
        ASSERT_EQ(slow.head_bytes, parsed.parse().head_bytes) << head;
        if (slow.kind == Kind::refused) ++refusals_count;
    }
    EXPECT_GT(refusals_count, 1'000u);
}

}  // namespace
}  // namespace codec
