// Whatever stands in Sec-WebSocket-Extensions: the answer is a refusal, nothing, or a response that
// the same parser takes for an offer with the same parameters; and the fields mean the same as one
// list.
//
// Input: one byte that chooses the policy, and the values of the fields, each ended by a line feed.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "codec/deflate_offer.h"
#include "io/base/check.h"

namespace {

using codec::DeflateDecision;
using codec::DeflateParameters;
using codec::DeflatePolicy;
using codec::HttpRequest;

void add_field(HttpRequest& request, std::string_view value) {
    if (request.fields_count == codec::http_fields_max) return;
    request.fields[request.fields_count++] = {"Sec-WebSocket-Extensions", value};
}

DeflateDecision decide_one(std::string_view value, const DeflatePolicy& policy) {
    const auto request = std::make_unique<HttpRequest>();
    add_field(*request, value);
    return codec::decide_deflate(*request, policy);
}

void check_accepted(const DeflateParameters& parameters, const DeflatePolicy& policy) {
    CHECK(parameters.server_window_bits >= 9);
    CHECK(parameters.server_window_bits <= policy.server_window_bits_max);
    CHECK(parameters.client_window_bits >= 8 && parameters.client_window_bits <= 15);
    CHECK(parameters.server_no_context_takeover || policy.server_context_takeover);
    CHECK(parameters.client_no_context_takeover || policy.client_context_takeover);
    std::string response;
    codec::append_deflate_response(response, parameters);
    // What is answered can be offered, and a policy that grants all has nothing to change in it.
    const DeflateDecision again =
        decide_one(response, {.server_context_takeover = true, .client_context_takeover = true});
    CHECK(again.is_accepted);
    CHECK(again.parameters.client_window_bits == parameters.client_window_bits);
    CHECK(again.parameters.answers_server_window_bits == parameters.answers_server_window_bits);
    std::string again_response;
    codec::append_deflate_response(again_response, again.parameters);
    CHECK(again_response == response);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0) return 0;
    const DeflatePolicy policy = {
        .server_context_takeover = (data[0] & 1) != 0,
        .client_context_takeover = (data[0] & 2) != 0,
        .server_window_bits_max = static_cast<uint8_t>(9 + (data[0] >> 2) % 7),
        .client_window_bits_max = static_cast<uint8_t>(9 + (data[0] >> 5) % 7)};
    std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
    const auto request = std::make_unique<HttpRequest>();
    std::string joined;
    bool has_bad_field = false;
    while (!rest.empty() && request->fields_count < codec::http_fields_max) {
        const std::string_view value = rest.substr(0, rest.find('\n'));
        rest.remove_prefix(std::min(value.size() + 1, rest.size()));
        add_field(*request, value);
        joined.append(joined.empty() ? "" : ",").append(value);
        has_bad_field |= decide_one(value, policy).refusal.status != 0;
    }
    const DeflateDecision decision = codec::decide_deflate(*request, policy);
    CHECK((decision.refusal.status != 0) == has_bad_field);
    CHECK(decision.refusal.status == 0 || decision.refusal.status == 400);
    CHECK(!decision.is_accepted || !has_bad_field);
    if (decision.is_accepted) check_accepted(decision.parameters, policy);
    if (!has_bad_field && !joined.empty()) {
        const DeflateDecision whole = decide_one(joined, policy);
        CHECK(whole.refusal.status == 0 && whole.is_accepted == decision.is_accepted);
        CHECK(whole.parameters == decision.parameters);
    }
    return 0;
}
