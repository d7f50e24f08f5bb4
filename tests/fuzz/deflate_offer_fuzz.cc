// Whatever stands in Sec-WebSocket-Extensions: the answer is a refusal, nothing, or a response that
// the same parser takes for an offer with the same parameters; and the fields mean the same as one
// list, and what a plainer reading of the RFCs makes of them.
//
// Input: one byte that chooses the policy, and the values of the fields, each ended by a line feed.

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

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

std::string_view trim(std::string_view text) {
    const size_t begin = std::min(text.find_first_not_of(" \t"), text.size());
    return text.substr(begin, text.find_last_not_of(" \t") + 1 - begin);
}

std::vector<std::string_view> split(std::string_view text, char separator) {
    std::vector<std::string_view> parts;
    while (true) {
        const size_t end = std::min(text.find(separator), text.size());
        parts.push_back(trim(text.substr(0, end)));
        if (end == text.size()) return parts;
        text.remove_prefix(end + 1);
    }
}

// A token, or one in quotes; no value when it is neither. No token has a separator in it, so the
// fields can be split before their quotes are looked at.
std::optional<std::string> reference_value(std::string_view text) {
    std::string value(text);
    if (text.starts_with('"')) {
        if (text.size() < 2 || !text.ends_with('"')) return std::nullopt;
        value.clear();
        for (size_t index = 1; index + 1 < text.size(); ++index) {
            if (text[index] == '\\' && ++index + 1 == text.size()) return std::nullopt;
            value.push_back(text[index]);
        }
    }
    return codec::is_http_token(value) ? std::optional(value) : std::nullopt;
}

using Parameters = std::map<std::string, std::optional<std::string>, std::less<>>;

std::optional<uint8_t> reference_bits(const std::optional<std::string>& value) {
    for (uint8_t bits = 8; value && bits <= 15; ++bits) {
        if (*value == std::to_string(bits)) return bits;
    }
    return std::nullopt;
}

// RFC 7692 §7.1; nothing when the offer is declined.
std::optional<DeflateParameters> reference_accept(const Parameters& offer,
                                                  const DeflatePolicy& policy) {
    DeflateParameters agreed{.server_no_context_takeover = !policy.server_context_takeover,
                             .client_no_context_takeover = !policy.client_context_takeover,
                             .server_window_bits = policy.server_window_bits_max};
    for (const auto& [name, value] : offer) {
        const std::optional<uint8_t> bits = reference_bits(value);
        if (name == "server_no_context_takeover" && !value) {
            agreed.server_no_context_takeover = true;
        } else if (name == "client_no_context_takeover" && !value) {
            agreed.client_no_context_takeover = true;
        } else if (name == "server_max_window_bits" && bits && *bits > 8) {
            agreed.server_window_bits = std::min(*bits, policy.server_window_bits_max);
            agreed.answers_server_window_bits = true;
        } else if (name == "client_max_window_bits" && (bits || !value)) {
            agreed.client_window_bits = std::min(bits.value_or(15), policy.client_window_bits_max);
        } else {
            return std::nullopt;
        }
    }
    return agreed;
}

// The decision about one field, which must be a list of extensions (RFC 6455 §9.1).
DeflateDecision reference_decide(std::string_view field, const DeflatePolicy& policy) {
    DeflateDecision decision;
    bool has_extension = false;
    for (const std::string_view element : split(field, ',')) {
        if (element.empty()) continue;
        const std::vector<std::string_view> parts = split(element, ';');
        bool is_repeated = false;
        bool is_list = codec::is_http_token(parts.front());
        Parameters parameters;
        for (size_t index = 1; index < parts.size(); ++index) {
            const size_t equals = std::min(parts[index].find('='), parts[index].size());
            const std::string name(trim(parts[index].substr(0, equals)));
            std::optional<std::string> value;
            if (equals < parts[index].size()) {
                value = reference_value(trim(parts[index].substr(equals + 1)));
                is_list &= value.has_value();
            }
            is_list &= codec::is_http_token(name);
            is_repeated |= !parameters.emplace(name, value).second;
        }
        if (!is_list) return {.refusal = {.status = 400}};
        has_extension = true;
        if (decision.is_accepted || is_repeated || parts.front() != "permessage-deflate") continue;
        const std::optional<DeflateParameters> agreed = reference_accept(parameters, policy);
        decision.is_accepted = agreed.has_value();
        if (agreed) decision.parameters = *agreed;
    }
    if (!has_extension) return {.refusal = {.status = 400}};
    return decision;
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
        const DeflateDecision one = decide_one(value, policy);
        const DeflateDecision reference = reference_decide(value, policy);
        CHECK(one.refusal.status == reference.refusal.status);
        CHECK(one.is_accepted == reference.is_accepted && one.parameters == reference.parameters);
        has_bad_field |= one.refusal.status != 0;
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
