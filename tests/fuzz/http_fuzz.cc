// A head gives the same answer whole and byte by byte, its views lie inside it, a parser that
// somebody else wrote reads it as the same request, and what the upgrade makes of it is an answer.

#include <cstdint>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "codec/http.h"
#include "codec/upgrade.h"
#include "io/base/check.h"
#include "tests/codec/reference_http.h"
#include "tests/codec/wire.h"

namespace {

using codec::HttpParse;

constexpr codec::HttpLimits limits = {.head_bytes_max = 2048, .target_bytes_max = 256};
// As the broker has it, one limit for both; and small, so that inputs reach it.
constexpr codec::HttpLimits one_limit = {.head_bytes_max = 128, .target_bytes_max = 128};

void check_inside(std::string_view part, std::string_view whole) {
    // "/" stands for the missing path of an absolute-form target, and is no part of the head.
    if (part.empty() || part == "/") return;
    CHECK(part.data() >= whole.data() && part.data() + part.size() <= whole.data() + whole.size());
}

void check_request(const codec::HttpRequest& request, std::string_view head) {
    CHECK(codec::is_http_token(request.method));
    for (const std::string_view part :
         {request.method, request.target, request.path, request.query, request.host}) {
        check_inside(part, head);
    }
    for (uint32_t index = 0; index < request.fields_count; ++index) {
        check_inside(request.fields[index].name, head);
        check_inside(request.fields[index].value, head);
        CHECK(request.fields[index].value.find_first_of("\r\n") == std::string_view::npos);
    }
    std::string decoded;
    static_cast<void>(codec::percent_decode(request.path, decoded));
    const bool has_origin = request.field("Origin").has_value();
    if (has_origin && codec::check_access(request, {.loopback_only = false}).status == 0) {
        const std::string disagreement = codec::testing::find_origin_disagreement(request);
        if (!disagreement.empty()) std::fprintf(stderr, "%s\n", disagreement.c_str());
        CHECK(disagreement.empty());
    }
    const std::string allowed[] = {"https://app.example.com"};
    for (const bool loopback_only : {false, true}) {
        const codec::Refusal refusal = codec::check_access(
            request, {.loopback_only = loopback_only, .allowed_origins = allowed});
        CHECK((refusal.status == 0) == refusal.reason.empty());
    }
    const std::string_view known[] = {"fanfare.v1"};
    for (const bool any_subprotocol : {false, true}) {
        const codec::Upgrade upgrade = codec::decide_upgrade(
            request, {.subprotocols = known, .any_subprotocol = any_subprotocol});
        if (upgrade.refusal.status != 0) continue;
        std::string response;
        codec::append_upgrade_response(response, upgrade, "");
        // Nothing that the peer sent can end the head early.
        CHECK(response.find("\r\n\r\n") == response.size() - 4);
    }
}

// Whole, after it was seen to mean the same byte by byte.
HttpParse parse_both_ways(std::span<const uint8_t> bytes, const codec::HttpLimits& used,
                          codec::HttpRequest& request) {
    codec::HttpHeadParser slow_parser;
    HttpParse slow = {.kind = HttpParse::Kind::need_more};
    for (size_t count = 0; count <= bytes.size() && slow.kind == HttpParse::Kind::need_more;
         ++count) {
        slow = slow_parser.parse(bytes.first(count), used, request);
    }
    codec::HttpHeadParser parser;
    const HttpParse parse = parser.parse(bytes, used, request);
    CHECK(parse.kind == slow.kind && parse.status == slow.status);
    CHECK(parse.head_bytes == slow.head_bytes && std::string_view(parse.reason) == slow.reason);
    return parse;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    codec::testing::Padded padded({reinterpret_cast<const char*>(data), size});
    const auto request = std::make_unique<codec::HttpRequest>();
    static_cast<void>(parse_both_ways(padded.span(), one_limit, *request));
    const HttpParse parse = parse_both_ways(padded.span(), limits, *request);
    if (parse.kind == HttpParse::Kind::request) {
        check_request(*request, padded.view().substr(0, parse.head_bytes));
    }
    const std::string disagreement = codec::testing::find_http_disagreement(padded.view(), limits);
    if (!disagreement.empty()) std::fprintf(stderr, "%s\n", disagreement.c_str());
    CHECK(disagreement.empty());
    return 0;
}
