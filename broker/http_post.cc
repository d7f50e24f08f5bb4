#include "broker/http_post.h"

#include "codec/reply.h"
#include "codec/utf8.h"
#include "topics/name.h"

namespace broker {
namespace {

using codec::ErrorCode;

PostRefusal refuse_topic(topics::NameError error) {
    const bool is_reserved = error == topics::NameError::reserved;
    return {.status = static_cast<uint16_t>(is_reserved ? 403 : 400),
            .code = is_reserved ? ErrorCode::forbidden : ErrorCode::invalid_topic,
            .reason = std::string(topics::describe(error))};
}

// Structured syntax suffix (RFC 6839 §3.1). Media types ignore case (RFC 9110 §8.3.1).
bool is_json_type(std::string_view type) {
    constexpr std::string_view suffix = "+json";
    if (codec::equals_ignoring_case(type, "application/json")) return true;
    return type.size() >= suffix.size() &&
           codec::equals_ignoring_case(type.substr(type.size() - suffix.size()), suffix);
}

// The media type without its parameters.
std::string_view media_type(std::string_view content_type) {
    const size_t end = content_type.find_first_of("; \t");
    return end == std::string_view::npos ? content_type : content_type.substr(0, end);
}

std::span<const uint8_t> bytes_of(std::string_view text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

PostRefusal read_key(const codec::HttpRequest& request, std::string_view& key) {
    constexpr std::string_view name = "Idempotency-Key";
    const uint32_t keys_count = request.field_count(name);
    if (keys_count == 0) return {};
    if (keys_count > 1) {
        return {400, ErrorCode::invalid_command, "there is more than one Idempotency-Key"};
    }
    key = *request.field(name);
    if (key.empty()) return {400, ErrorCode::invalid_command, "Idempotency-Key is empty"};
    if (key.size() > codec::command_key_bytes_max) {
        return {400, ErrorCode::invalid_command, "Idempotency-Key is longer than 64 bytes"};
    }
    return {};
}

// Says which message it is that is refused.
PostRefusal refuse_message(uint32_t index, PostRefusal refusal) {
    refusal.reason.insert(0, "messages[" + std::to_string(index) + "]: ");
    return refusal;
}

}  // namespace

PostRefusal HttpPost::read_message(const codec::HttpRequest& request, std::string_view topic,
                                   std::string_view body, PostedMessage& message) {
    topic_.clear();
    if (!codec::percent_decode(topic, topic_)) {
        return {400, ErrorCode::invalid_topic, "the path has a malformed %-escape"};
    }
    const topics::NameError error = topics::check_publishable(topic_);
    if (error != topics::NameError::none) return refuse_topic(error);
    message.topic = topic_;
    PostRefusal refusal = read_key(request, message.key);
    if (refusal.status != 0) return refusal;
    return read_payload(request, body, message.payload);
}

PostRefusal HttpPost::read_payload(const codec::HttpRequest& request, std::string_view body,
                                   codec::Payload& payload) {
    const std::string_view type = media_type(request.field("Content-Type").value_or(""));
    payload.bytes = body;
    if (is_json_type(type)) {
        payload.kind = codec::PayloadKind::json;
        const char* reason = "";
        if (parser_.validate_json(body, &reason)) return {};
        return {400, ErrorCode::invalid_json, std::string("the body is no JSON: ").append(reason)};
    }
    // What curl -d sends unless told otherwise, and no type at all: JSON if it is, else text.
    const bool is_guess =
        type.empty() || codec::equals_ignoring_case(type, "application/x-www-form-urlencoded");
    if (is_guess && parser_.validate_json(body)) {
        payload.kind = codec::PayloadKind::json;
        return {};
    }
    if (is_guess || codec::equals_ignoring_case(type.substr(0, 5), "text/")) {
        payload.kind = codec::PayloadKind::text;
        if (codec::is_utf8(bytes_of(body))) return {};
        return {400, ErrorCode::invalid_payload,
                "the body is not UTF-8; send other bytes as application/octet-stream"};
    }
    payload.kind = codec::PayloadKind::binary;
    return {};
}

PostRefusal HttpPost::read_batch(std::string_view body, uint32_t& messages_count) {
    const codec::CommandParser::Result result = parser_.parse_batch(body);
    if (result.error != ErrorCode::none) return {400, result.error, std::string(result.reason)};
    for (uint32_t index = 0; index < result.commands_count; ++index) {
        const codec::Command& command = parser_.command(index);
        if (command.error != ErrorCode::none) {
            return refuse_message(index, {400, command.error, std::string(command.reason)});
        }
        const topics::NameError error = topics::check_publishable(command.topic);
        if (error != topics::NameError::none) return refuse_message(index, refuse_topic(error));
    }
    messages_count = result.commands_count;
    return {};
}

PostedMessage HttpPost::message(uint32_t index) const {
    const codec::Command& command = parser_.command(index);
    return {.topic = command.topic, .payload = command.payload, .key = command.key};
}

void HttpPost::append_results(std::string& out, std::span<const PublishResult> results) {
    out.append("{\"results\":[");
    bool is_first = true;
    for (const PublishResult& result : results) {
        if (!is_first) out.push_back(',');
        is_first = false;
        codec::append_result(out, result.position, result.is_duplicate);
    }
    out.append("]}\n");
}

}  // namespace broker
