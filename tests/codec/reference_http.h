// A second opinion on the heads of HTTP requests: Node.js' http-parser, which shares no code with
// ours. Two parsers that read the same bytes as different requests are how requests are smuggled
// past a proxy; so what ours accepts the other one must accept too, and as the same request.
//
// Ours may refuse what the other one accepts, but only for a reason of the list in
// reference_http.cc, which says why for each. Four things are the other way around, each allowed by
// the RFCs and stated there: http-parser knows a list of methods and refuses all others, where ours
// takes every token (RFC 9110 §9.1) and leaves the answer to the surface, so that a method that is
// not on its list reaches it as GET; it reads fewer hosts in the target; and it has two mistakes of
// its own.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "codec/http.h"

namespace codec::testing {

struct ReferenceRequest {
    std::string method;
    std::string target;  // as sent
    unsigned major_version = 0;
    unsigned minor_version = 0;
    bool keep_alive = false;
    bool is_chunked = false;
    uint64_t content_bytes = 0;
    std::vector<std::pair<std::string, std::string>> fields;  // without the white space around
    size_t head_bytes = 0;
};

struct ReferenceHttp {
    HttpParse::Kind kind = HttpParse::Kind::need_more;
    const char* reason = "";  // refused
    ReferenceRequest request;
    // Where the first request ended, body and all; 0: not within the bytes.
    size_t message_bytes = 0;
};

// Reads one request and its body.
ReferenceHttp reference_http(std::string_view bytes);

// What our parser and the other one must not disagree about, and do for these bytes; empty when all
// is well.
std::string find_http_disagreement(std::string_view bytes, const HttpLimits& limits);

// Of a request whose Origin was let in although no other origins than its own are: how far
// http-parser's reading of the Origin is from the host that was asked for. Empty when all is well.
std::string find_origin_disagreement(const HttpRequest& request);

}  // namespace codec::testing
