// Inputs as they are used to smuggle requests past a proxy, and harmless ones, with what ours and
// http-parser each make of them. The last column is what the whole effort is about: nobody who
// reads with the other parser sees another request.

#include <gtest/gtest.h>

#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "codec/http.h"
#include "io/base/prng.h"
#include "tests/codec/reference_http.h"
#include "tests/codec/wire.h"

namespace codec {
namespace {

using namespace std::string_literals;
using Kind = HttpParse::Kind;

constexpr HttpLimits limits = {.head_bytes_max = 2048, .target_bytes_max = 256};

struct Case {
    std::string bytes;
    uint16_t ours;  // 0: accepted, else the status
    bool theirs_accepts;
};

std::ostream& operator<<(std::ostream& out, const Case& tested) {
    return out << ::testing::PrintToString(tested.bytes);
}

uint16_t status_of(std::string_view bytes) {
    testing::Padded padded(bytes);
    HttpHeadParser parser;
    const auto request = std::make_unique<HttpRequest>();
    const HttpParse parse = parser.parse(padded.span(), limits, *request);
    EXPECT_NE(parse.kind, Kind::need_more) << ::testing::PrintToString(bytes);
    return parse.status;
}

void expect(const std::vector<Case>& cases) {
    for (const Case& tested : cases) {
        EXPECT_EQ(status_of(tested.bytes), tested.ours) << tested;
        EXPECT_EQ(testing::reference_http(tested.bytes).kind == Kind::request,
                  tested.theirs_accepts)
            << tested;
        EXPECT_EQ(testing::find_http_disagreement(tested.bytes, limits), "") << tested;
    }
}

// A POST with these fields and a body of five bytes, and then a second request.
std::string post(std::string_view fields) {
    return "POST /topics/a HTTP/1.1\r\nHost: a\r\n" + std::string(fields) +
           "\r\nhelloGET /admin HTTP/1.1\r\nHost: a\r\n\r\n";
}

std::string get(std::string_view line, std::string_view fields = "Host: a\r\n") {
    return std::string(line) + "\r\n" + std::string(fields) + "\r\n";
}

TEST(HttpReference, WhatBothAccept) {
    expect({
        {post("Content-Length: 5\r\n"), 0, true},
        {post("content-length:5\r\n"), 0, true},
        {post("CONTENT-LENGTH: \t 5  \r\n"), 0, true},
        {post("Content-Length: 00000000005\r\n"), 0, true},
        {post("Content-Length: 0\r\n"), 0, true},
        {post(""), 0, true},
        {post("X-Content-Length: 9\r\nContent-Length: 5\r\n"), 0, true},
        {post("Content-Length-X: 9\r\nContent-Length: 5\r\n"), 0, true},
        {post("Content-Length: 5\r\nExpect: 100-continue\r\n"), 0, true},
        {post("Content-Length: 5\r\nConnection: close\r\n"), 0, true},
        {post("Content-Length: 5\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"), 0, true},
        {post("TE: chunked\r\nContent-Length: 5\r\n"), 0, true},
        {post("Trailer: Content-Length\r\nContent-Length: 5\r\n"), 0, true},
        {get("GET / HTTP/1.1"), 0, true},
        {get("GET / HTTP/1.0", ""), 0, true},
        {get("GET / HTTP/1.0", "Connection: keep-alive\r\n"), 0, true},
        {get("GET /a%00b?c=%0d%0a HTTP/1.1"), 0, true},
        {get("GET //a//b HTTP/1.1"), 0, true},
        {get("GET /?http://b/ HTTP/1.1"), 0, true},
        {get("GET /http://b/ HTTP/1.1"), 0, true},
        {get("GET http://b/c?d HTTP/1.1"), 0, true},
        {get("GET http://b:8080 HTTP/1.1"), 0, true},
        {get("GET https://[::1]:80/ HTTP/1.1"), 0, true},
        {get("GET http://[80]/ HTTP/1.1"), 0, true},
        {get("OPTIONS * HTTP/1.1"), 0, true},
        {get("GET / HTTP/1.1", "Host: a\r\nX: \x80\xff\r\n"), 0, true},
        {get("GET / HTTP/1.1", "Host: a\r\nX:\r\n"), 0, true},
        {get("GET / HTTP/1.1", "Host: a\r\nX: \t\r\nY: a\tb\r\n"), 0, true},
        {get("GET / HTTP/1.1", "Host: a\r\n!#$%&'*+-.^_`|~: 1\r\n"), 0, true},
        {get("GET / HTTP/1.1", "Host: a\r\nX: a: b: c\r\n"), 0, true},
    });
}

TEST(HttpReference, LengthsThatTwoCouldReadDifferently) {
    expect({
        {post("Content-Length: 5\r\nContent-Length: 5\r\n"), 400, false},
        {post("Content-Length: 5\r\nContent-Length: 6\r\n"), 400, false},
        {post("Content-Length: 5\r\ncontent-length: 0\r\n"), 400, false},
        {post("Content-Length: 5, 5\r\n"), 400, false},
        {post("Content-Length: 5,\r\n"), 400, false},
        {post("Content-Length: 5 5\r\n"), 400, false},
        {post("Content-Length: +5\r\n"), 400, false},
        {post("Content-Length: -5\r\n"), 400, false},
        {post("Content-Length: 0x5\r\n"), 400, false},
        {post("Content-Length: 5.0\r\n"), 400, false},
        {post("Content-Length: 5e0\r\n"), 400, false},
        {post("Content-Length: 5\0\r\n"s), 400, false},
        {post("Content-Length: \x0b"
              "5\r\n"),
         400, false},
        {post("Content-Length: \"5\"\r\n"), 400, false},
        {post("Content-Length: five\r\n"), 400, false},
        {post("Content-Length: \xef\xbc\x95\r\n"), 400, false},
        {post("Content-Length: 18446744073709551616\r\n"), 400, false},
        {post("Content-Length: 99999999999999999999999999\r\n"), 400, false},
        // It counts to 2^64, and ours ends at 18 digits.
        {post("Content-Length: 9999999999999999999\r\n"), 400, true},
        {post("Content-Length: 1000000000000000000\r\n"), 400, true},
        {post("Content-Length: 0000000000000000005\r\n"), 400, true},
    });
}

TEST(HttpReference, TransferEncoding) {
    expect({
        {post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"), 400, false},
        {post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), 400, false},
        {post("Content-Length: 5\r\ntransfer-encoding:\tchunked\r\n"), 400, false},
        {post("Content-Length: 5\r\nTransfer-Encoding: identity\r\n"), 400, false},
        {post("Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n"), 400, false},
        {post("Content-Length: 5\r\nTransfer-Encoding:\r\n"), 400, false},
        {get("POST / HTTP/1.1", "Host: a\r\nTransfer-Encoding: chunked\r\n"), 501, true},
        {get("POST / HTTP/1.1", "Host: a\r\nTransfer-Encoding: gzip, chunked\r\n"), 501, true},
        {get("POST / HTTP/1.1", "Host: a\r\nTransfer-Encoding: chunked, gzip\r\n"), 501, false},
        {get("POST / HTTP/1.1", "Host: a\r\nTransfer-Encoding: identity\r\n"), 501, false},
        {get("POST / HTTP/1.0", "Transfer-Encoding: chunked\r\n"), 501, true},
        // Names that are not quite it.
        {post("Content-Length: 5\r\nTransfer-Encoding : chunked\r\n"), 400, false},
        {post("Content-Length: 5\r\n Transfer-Encoding: chunked\r\n"), 400, false},
        {post("Content-Length: 5\r\n\tTransfer-Encoding: chunked\r\n"), 400, false},
        {post("Content-Length: 5\r\nTransfer\tEncoding: chunked\r\n"), 400, false},
        {post("Content-Length: 5\r\nTransfer-Encoding\0: chunked\r\n"s), 400, false},
        {post("Content-Length: 5\r\nX: a\rTransfer-Encoding: chunked\r\n"), 400, false},
        {post("Content-Length: 5\r\nX: a\nTransfer-Encoding: chunked\r\n"), 400, false},
        {post("Content-Length: 5\r\nTransfer_Encoding: chunked\r\n"), 0, true},
    });
}

TEST(HttpReference, LinesAndNames) {
    expect({
        {post("Content-Length : 5\r\n"), 400, true},
        {post("Content-Length\t: 5\r\n"), 400, false},
        {post("Content-Length: 5\n"), 400, true},
        {post("X: 1\r\n Content-Length: 5\r\n"), 400, true},
        {post("X: 1\r\n\t5\r\nContent-Length: 5\r\n"), 400, true},
        {post("Content-Length:\r\n 5\r\n"), 400, true},
        {post("Content-Length: 5\r\r\n"), 400, false},
        {post("\rContent-Length: 5\r\n"), 400, true},
        {post("Content-Length\r\n"), 400, false},
        {post(": 5\r\n"), 400, false},
        {post("X\x80: 5\r\n"), 400, false},
        {post("X(: 5\r\n"), 400, false},
        {post("X: \x7f\r\n"), 400, true},
        {post("X: \x01\r\n"), 400, true},
        {post("X: \0\r\n"s), 400, true},
        {post("X: a\rb\r\n"), 400, false},
        {"\r\n" + get("GET / HTTP/1.1"), 400, true},
        {"\n" + get("GET / HTTP/1.1"), 400, true},
        {" " + get("GET / HTTP/1.1"), 400, false},
        {get("GET / HTTP/1.1", "Host: a\n"), 400, true},
        {"GET / HTTP/1.1\nHost: a\n\n", 400, true},
        {"GET / HTTP/1.1\r\nHost: a\r\n\n", 400, true},
        {"GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400, true},
    });
}

TEST(HttpReference, RequestLinesAndHosts) {
    expect({
        {get("GET  / HTTP/1.1"), 400, true},
        {get("GET /  HTTP/1.1"), 400, true},
        {get("GET / HTTP/1.1 "), 400, false},
        {get("GET\t/ HTTP/1.1"), 400, false},
        {get("GET /\tHTTP/1.1"), 400, true},
        {get("GET / HTTP/1.1\r"), 400, false},
        {get("GET /"), 400, true},
        {get("GET / http/1.1"), 400, false},
        {get("GET / HTTP/1"), 400, false},
        {get("GET / HTTP/1.10"), 400, false},
        {get("GET / HTTP/2.0"), 505, true},
        {get("GET / HTTP/0.9"), 505, true},
        {get("GET /a b HTTP/1.1"), 400, false},
        {get("GET /a#b HTTP/1.1"), 400, true},
        {get("GET /\x80 HTTP/1.1"), 400, true},
        {get("GET /\x01 HTTP/1.1"), 400, false},
        {get("GET a HTTP/1.1"), 400, false},
        {get("GET * HTTP/1.1"), 400, true},
        {get("CONNECT a:80 HTTP/1.1"), 501, true},
        {get("GET http:///a HTTP/1.1"), 400, true},
        {get("GET http://b?c HTTP/1.1"), 400, true},
        {get("GET ftp://b/ HTTP/1.1"), 400, true},
        {get("GET / HTTP/1.1", ""), 400, true},
        {get("GET / HTTP/1.1", "Host: a\r\nHost: a\r\n"), 400, true},
        {get("GET / HTTP/1.1", "Host: a\r\nhost: b\r\n"), 400, true},
        {get("GET / HTTP/1.1", "Host : a\r\n"), 400, true},
    });
}

// What is accepted by ours alone, and why that is right, stands in reference_http.h.
TEST(HttpReference, WhatOnlyOursAccepts) {
    expect({
        {get("BREW / HTTP/1.1"), 0, false},
        {get("get / HTTP/1.1"), 0, false},
        {post("Content-Length: 5\t\r\n"), 0, false},
        {post("Content-Length: 5\r\nTransfer-Encoding-X: chunked\r\n"), 0, false},
    });
    // These it reads, but not their hosts.
    expect({
        {get("GET http://a~b/ HTTP/1.1"), 0, true},
        {get("GET http://a:/ HTTP/1.1"), 0, true},
        {get("GET http://http://b/ HTTP/1.1"), 0, true},
    });
}

// The comparison itself: it finds a second parser's other opinion where there is one.
TEST(HttpReference, ReadsBodiesToTheirEnd) {
    const testing::ReferenceHttp parsed = testing::reference_http(post("Content-Length: 5\r\n"));
    ASSERT_EQ(parsed.kind, Kind::request);
    EXPECT_EQ(parsed.request.method, "POST");
    EXPECT_EQ(parsed.request.target, "/topics/a");
    EXPECT_EQ(parsed.request.content_bytes, 5u);
    EXPECT_EQ(parsed.message_bytes, parsed.request.head_bytes + 5);
    ASSERT_EQ(parsed.request.fields.size(), 2u);
    EXPECT_EQ(parsed.request.fields[1].first, "Content-Length");
    EXPECT_EQ(parsed.request.fields[1].second, "5");
}

// Good heads with one to three bytes changed, left out or put in.
TEST(HttpReference, MutationsAreReadAlike) {
    const std::vector<std::string> lines = {
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Connection: keep-alive, Upgrade\r\n",
        "Connection: close\r\n",
        "Upgrade: websocket\r\n",
        "X: a \t\r\n",
        "Y:\r\n",
        "Expect: 100-continue\r\n",
    };
    const std::vector<std::string> starts = {
        "GET / HTTP/1.1\r\n",     "POST /a?b=c HTTP/1.1\r\n", "GET http://a:80/b?c HTTP/1.1\r\n",
        "OPTIONS * HTTP/1.1\r\n", "GET /a HTTP/1.0\r\n",
    };
    constexpr std::string_view bytes("\0\t\r\n :;,/?#[]@*+=%\"aZ059._-\x7f\x80", 29);
    base::Prng prng(7);
    uint32_t accepted_count = 0;
    for (uint32_t round = 0; round < 20'000; ++round) {
        std::string head = starts[prng.below(starts.size())] + "Host: a\r\n";
        for (uint64_t count = prng.below(4); count > 0; --count) {
            head += lines[prng.below(lines.size())];
        }
        head += "\r\n";
        for (uint64_t count = prng.below(4); count > 0; --count) {
            const size_t at = prng.below(head.size());
            const char byte = bytes[prng.below(bytes.size())];
            switch (prng.below(3)) {
                case 0: head[at] = byte; break;
                case 1: head.insert(at, 1, byte); break;
                default: head.erase(at, 1);
            }
        }
        ASSERT_EQ(testing::find_http_disagreement(head, limits), "")
            << ::testing::PrintToString(head);
        testing::Padded padded(head);
        HttpHeadParser parser;
        const auto request = std::make_unique<HttpRequest>();
        if (parser.parse(padded.span(), limits, *request).kind == Kind::request) ++accepted_count;
    }
    EXPECT_GT(accepted_count, 4'000u);
    EXPECT_LT(accepted_count, 16'000u);
}

}  // namespace
}  // namespace codec
