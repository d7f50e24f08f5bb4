#include "tools/handshake.h"

#include <charconv>
#include <optional>

#include "codec/http.h"
#include "codec/upgrade.h"

namespace tools {
namespace {

constexpr std::string_view version_prefix = "HTTP/1.1 ";

std::string_view trimmed(std::string_view text) {
    const size_t begin = text.find_first_not_of(" \t");
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

// The value of the first field with that name; `lines` are the head's lines after the status line.
std::optional<std::string_view> field_of(std::string_view lines, std::string_view name) {
    while (!lines.empty()) {
        const size_t line_end = lines.find("\r\n");
        const std::string_view line = lines.substr(0, line_end);
        const size_t colon = line.find(':');
        if (colon != std::string_view::npos &&
            codec::equals_ignoring_case(line.substr(0, colon), name)) {
            return trimmed(line.substr(colon + 1));
        }
        if (line_end == std::string_view::npos) break;
        lines.remove_prefix(line_end + 2);
    }
    return std::nullopt;
}

bool list_has(std::string_view list, std::string_view token) {
    while (true) {
        const size_t comma = list.find(',');
        if (codec::equals_ignoring_case(trimmed(list.substr(0, comma)), token)) return true;
        if (comma == std::string_view::npos) return false;
        list.remove_prefix(comma + 1);
    }
}

HandshakeAnswer not_a_websocket(std::string_view problem) {
    return {.kind = HandshakeAnswer::Kind::not_a_websocket, .problem = problem};
}

HandshakeAnswer read_refusal(uint16_t status, uint32_t head_bytes, std::string_view lines) {
    uint64_t body_bytes = 0;
    if (const auto length = field_of(lines, "Content-Length")) {
        const char* end = length->data() + length->size();
        // A length that is no number leaves the body out: it is only shown to a person.
        if (std::from_chars(length->data(), end, body_bytes).ptr != end) body_bytes = 0;
    }
    return {.kind = HandshakeAnswer::Kind::refused,
            .head_bytes = head_bytes,
            .status = status,
            .body_bytes = body_bytes};
}

}  // namespace

void append_handshake_request(std::string& out, const Url& url, std::string_view key,
                              std::string_view subprotocol) {
    out += "GET ";
    out += url.target;
    out += " HTTP/1.1\r\nHost: ";
    out += url.host_field();
    out += "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n";
    if (!subprotocol.empty()) {
        out += "Sec-WebSocket-Protocol: ";
        out += subprotocol;
        out += "\r\n";
    }
    out += "Sec-WebSocket-Key: ";
    out += key;
    out += "\r\n\r\n";
}

HandshakeAnswer read_handshake_answer(std::string_view bytes, std::string_view key,
                                      std::string_view subprotocol) {
    const std::string_view begin = bytes.substr(0, version_prefix.size());
    if (!version_prefix.starts_with(begin)) return not_a_websocket("the answer is not HTTP/1.1");
    const size_t head_end = bytes.find("\r\n\r\n");
    if (head_end == std::string_view::npos) {
        if (bytes.size() >= handshake_answer_bytes_max) {
            return not_a_websocket("the head of the answer is too long");
        }
        return {.kind = HandshakeAnswer::Kind::need_more};
    }
    const std::string_view head = bytes.substr(0, head_end);
    const size_t status_line_end = head.find("\r\n");
    const std::string_view lines =
        status_line_end == std::string_view::npos ? "" : head.substr(status_line_end + 2);
    uint16_t status = 0;
    const char* status_begin = head.data() + version_prefix.size();
    const auto [status_end, error] =
        std::from_chars(status_begin, head.data() + head.size(), status);
    if (error != std::errc{} || status_end - status_begin != 3) {
        return not_a_websocket("the answer has no HTTP status");
    }
    const auto head_bytes = static_cast<uint32_t>(head_end + 4);
    if (status != 101) return read_refusal(status, head_bytes, lines);

    // RFC 6455 §4.1: a client must fail the connection unless all four of these are right.
    char expected[28];
    codec::accept_of_key(key, expected);
    if (!list_has(field_of(lines, "Upgrade").value_or(""), "websocket")) {
        return not_a_websocket("the answer upgrades to something else");
    }
    if (!list_has(field_of(lines, "Connection").value_or(""), "upgrade")) {
        return not_a_websocket("the answer has no 'Connection: Upgrade'");
    }
    if (field_of(lines, "Sec-WebSocket-Accept") != std::string_view(expected, sizeof expected)) {
        return not_a_websocket("the answer's Sec-WebSocket-Accept is wrong");
    }
    if (!field_of(lines, "Sec-WebSocket-Extensions").value_or("").empty()) {
        return not_a_websocket("the answer uses an extension that was not offered");
    }
    const std::string_view chosen = field_of(lines, "Sec-WebSocket-Protocol").value_or("");
    if (!chosen.empty() && chosen != subprotocol) {
        return not_a_websocket("the answer chooses a subprotocol that was not offered");
    }
    return {.kind = HandshakeAnswer::Kind::accepted, .head_bytes = head_bytes};
}

}  // namespace tools
