#include "codec/reply.h"

#include <charconv>
#include <cstring>

#include "codec/base64.h"
#include "io/base/check.h"

namespace codec {
namespace {

void append_number(std::string& out, uint64_t number) {
    char digits[20];
    const std::to_chars_result end = std::to_chars(digits, digits + sizeof digits, number);
    out.append(digits, end.ptr);
}

// Ends the opening {"op":"…" of an answer with its id, if the command had one.
void append_id(std::string& out, std::string_view id) {
    if (id.empty()) return;
    out.append(",\"id\":");
    out.append(id);
}

void append_answer(std::string& out, std::string_view opening, std::string_view id) {
    out.append(opening);
    append_id(out, id);
    out.push_back('}');
}

// What RFC 8259 §7 demands to be escaped, and nothing else: everything further would make payloads
// longer.
bool wants_escape(char character) {
    return static_cast<uint8_t>(character) < 0x20 || character == '"' || character == '\\';
}

// Whether any of eight bytes wants an escape. (A byte below n, and a zero byte, show in the highest
// bit of their byte when n, or one, is subtracted; borrows only reach further than the first that
// shows.)
bool any_wants_escape(const char* bytes) {
    constexpr uint64_t ones = 0x0101'0101'0101'0101;
    uint64_t word = 0;
    std::memcpy(&word, bytes, sizeof word);
    const uint64_t quotes = word ^ ones * '"';
    const uint64_t backslashes = word ^ ones * '\\';
    const uint64_t shown = ((word - ones * 0x20) & ~word) | ((quotes - ones) & ~quotes) |
                           ((backslashes - ones) & ~backslashes);
    return (shown & ones << 7) != 0;
}

// The first place at or after `at` that wants an escape; the size when there is none.
size_t find_escape(std::string_view text, size_t at) {
    while (at + 8 <= text.size() && !any_wants_escape(text.data() + at)) at += 8;
    while (at < text.size() && !wants_escape(text[at])) ++at;
    return at;
}

void append_escaped(std::string& out, char character) {
    constexpr std::string_view hex = "0123456789abcdef";
    switch (character) {
        case '"': out.append("\\\""); return;
        case '\\': out.append("\\\\"); return;
        case '\b': out.append("\\b"); return;
        case '\f': out.append("\\f"); return;
        case '\n': out.append("\\n"); return;
        case '\r': out.append("\\r"); return;
        case '\t': out.append("\\t"); return;
        default: break;
    }
    const uint8_t byte = static_cast<uint8_t>(character);
    out.append("\\u00");
    out.push_back(hex[byte >> 4]);
    out.push_back(hex[byte & 15]);
}

// One append, and no part of its caller: messages without a position shall not pay for it.
[[gnu::noinline]] void append_known_position(std::string& out, const Position& position) {
    constexpr std::string_view opening = ",\"pos\":\"";
    char member[opening.size() + position_bytes_max + 1];
    std::memcpy(member, opening.data(), opening.size());
    char* const end = write_position(member + opening.size(), position);
    *end = '"';
    out.append(member, end + 1);
}

// Like all members below, with the comma before it.
void append_position_member(std::string& out, const Position& position) {
    if (!position.is_none()) append_known_position(out, position);
}

void append_payload_member(std::string& out, const Payload& payload) {
    switch (payload.kind) {
        case PayloadKind::json:
            out.append(",\"data\":");
            out.append(payload.bytes);
            return;
        case PayloadKind::text:
            out.append(",\"text\":");
            append_json_string(out, payload.bytes);
            return;
        case PayloadKind::binary:
            out.append(",\"base64\":\"");
            append_base64(out, payload.bytes);
            out.push_back('"');
            return;
    }
    UNREACHABLE();
}

void append_cursor(std::string& out, const Cursor& cursor) {
    out.append(",\"cursor\":{\"epoch\":");
    append_json_string(out, cursor.epoch);
    out.append(",\"pos\":[");
    bool is_first = true;
    for (const Position& position : cursor.positions) {
        if (position.is_none()) continue;
        out.append(is_first ? "\"" : ",\"");
        append_position(out, position);
        out.push_back('"');
        is_first = false;
    }
    out.append("]}");
}

void append_recovery(std::string& out, std::optional<Recovery> recovery) {
    if (!recovery) return;
    if (*recovery == Recovery::recovered) {
        out.append(",\"recovered\":true");
        return;
    }
    out.append(",\"recovered\":false,\"code\":\"");
    out.append(name_of(*recovery));
    out.append("\",\"reason\":");
    append_json_string(out, reason_of(*recovery));
}

}  // namespace

void append_json_string(std::string& out, std::string_view text) {
    out.push_back('"');
    size_t clean_begin = 0;
    while (true) {
        const size_t escape = find_escape(text, clean_begin);
        out.append(text.substr(clean_begin, escape - clean_begin));
        if (escape == text.size()) break;
        append_escaped(out, text[escape]);
        clean_begin = escape + 1;
    }
    out.push_back('"');
}

void append_welcome(std::string& out, const Welcome& welcome) {
    out.append("{\"op\":\"welcome\",\"client\":");
    append_json_string(out, welcome.client);
    out.append(",\"epoch\":");
    append_json_string(out, welcome.epoch);
    out.append(",\"heartbeat_ms\":");
    append_number(out, welcome.heartbeat_ms);
    out.append(",\"timeout_ms\":");
    append_number(out, welcome.timeout_ms);
    out.append(",\"max_message_bytes\":");
    append_number(out, welcome.message_bytes_max);
    out.append(",\"max_subscriptions\":");
    append_number(out, welcome.subscriptions_max);
    if (welcome.commands_per_second > 0) {
        out.append(",\"max_commands_per_second\":");
        append_number(out, welcome.commands_per_second);
    }
    if (welcome.publishes_per_second > 0) {
        out.append(",\"max_publishes_per_second\":");
        append_number(out, welcome.publishes_per_second);
    }
    out.push_back('}');
}

void append_subscribed(std::string& out, std::string_view id, const Subscribed& subscribed) {
    out.append("{\"op\":\"subscribed\"");
    append_id(out, id);
    append_cursor(out, subscribed.cursor);
    out.append(subscribed.recoverable ? ",\"recoverable\":true" : ",\"recoverable\":false");
    append_recovery(out, subscribed.recovery);
    out.push_back('}');
}

void append_unsubscribed(std::string& out, std::string_view id) {
    append_answer(out, "{\"op\":\"unsubscribed\"", id);
}

void append_published(std::string& out, std::string_view id, const Position& position,
                      bool is_duplicate) {
    out.append("{\"op\":\"published\"");
    append_id(out, id);
    append_position_member(out, position);
    out.append(is_duplicate ? ",\"duplicate\":true}" : "}");
}

void append_result(std::string& out, const Position& position, bool is_duplicate) {
    const size_t begin = out.size();
    append_position_member(out, position);
    if (is_duplicate) out.append(",\"duplicate\":true");
    if (out.size() == begin) {
        out.push_back('{');
    } else {
        out[begin] = '{';  // in the place of the first member's comma
    }
    out.push_back('}');
}

void append_pong(std::string& out, std::string_view id) {
    append_answer(out, "{\"op\":\"pong\"", id);
}

void append_heartbeat(std::string& out) {
    out.append("{\"op\":\"heartbeat\"}");
}

void append_message(std::string& out, std::string_view topic, const Position& position,
                    const Payload& payload) {
    out.append("{\"op\":\"message\",\"topic\":");
    append_json_string(out, topic);
    append_position_member(out, position);
    append_payload_member(out, payload);
    out.push_back('}');
}

void append_replay(std::string& out, std::string_view id, uint32_t messages_count) {
    out.append("{\"op\":\"replay\"");
    append_id(out, id);
    out.append(",\"count\":");
    append_number(out, messages_count);
    out.push_back('}');
}

void append_live(std::string& out, std::string_view id, const Cursor& cursor) {
    out.append("{\"op\":\"live\"");
    append_id(out, id);
    append_cursor(out, cursor);
    out.push_back('}');
}

void append_position_told(std::string& out, const Cursor& cursor) {
    out.append("{\"op\":\"position\"");
    append_cursor(out, cursor);
    out.push_back('}');
}

void append_gap(std::string& out, std::string_view id, std::string_view filter,
                std::string_view topic, std::optional<uint64_t> missed, GapCode code) {
    out.append("{\"op\":\"gap\"");
    append_id(out, id);
    out.append(",\"filter\":");
    append_json_string(out, filter);
    out.append(",\"topic\":");
    if (topic.empty()) {
        out.append("null");
    } else {
        append_json_string(out, topic);
    }
    out.append(",\"missed\":");
    out.append(missed ? std::to_string(*missed) : "null");
    out.append(",\"code\":");
    append_json_string(out, name_of(code));
    out.push_back('}');
}

void begin_history(std::string& out, std::string_view id, std::string_view topic) {
    out.append("{\"op\":\"history\"");
    append_id(out, id);
    out.append(",\"topic\":");
    append_json_string(out, topic);
    out.append(",\"messages\":[");
}

void append_history_message(std::string& out, const Position& position, const Payload& payload) {
    CHECK(!position.is_none());
    // A message ends with a brace, so a bracket is that of the head.
    const bool is_first = out.ends_with('[');
    out.append(is_first ? "{\"pos\":\"" : ",{\"pos\":\"");
    append_position(out, position);
    out.push_back('"');
    append_payload_member(out, payload);
    out.push_back('}');
}

void end_history(std::string& out, const HistoryPage& page) {
    out.push_back(']');
    append_cursor(out, page.cursor);
    out.append(page.more ? ",\"more\":true" : ",\"more\":false");
    append_recovery(out, page.recovery);
    out.push_back('}');
}

void append_error(std::string& out, std::string_view id, ErrorCode code, std::string_view reason) {
    CHECK(code != ErrorCode::none);
    out.append("{\"op\":\"error\"");
    append_id(out, id);
    out.append(",\"code\":\"");
    out.append(name_of(code));
    out.append("\",\"reason\":");
    append_json_string(out, reason);
    out.push_back('}');
}

void append_rate_limited(std::string& out, std::string_view id, std::string_view reason,
                         uint64_t retry_ms) {
    append_error(out, id, ErrorCode::rate_limited, reason);
    out.back() = ',';
    out.append("\"retry_ms\":").append(std::to_string(retry_ms)).push_back('}');
}

void append_goodbye(std::string& out, std::string_view code, std::string_view reason,
                    uint64_t retry_ms) {
    out.append("{\"op\":\"goodbye\",\"code\":");
    append_json_string(out, code);
    out.append(",\"reason\":");
    append_json_string(out, reason);
    out.append(",\"retry_ms\":");
    append_number(out, retry_ms);
    out.push_back('}');
}

}  // namespace codec
