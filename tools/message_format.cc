#include "tools/message_format.h"

#include <unistd.h>

#include "io/base/check.h"
#include "tools/terminal.h"

namespace tools {
namespace {

constexpr std::string_view bold = "\x1b[1m";
constexpr std::string_view yellow = "\x1b[33m";
constexpr std::string_view plain = "\x1b[0m";

void append_styled(std::string& out, MessageFormat format, std::string_view style,
                   std::string_view text) {
    const bool has_colour = format == MessageFormat::readable_coloured;
    if (has_colour) out += style;
    out += escaped_for_terminal(text);
    if (has_colour) out += plain;
}

// Base64 stands for three bytes in four digits; padding takes its part away.
uint64_t decoded_bytes(std::string_view base64) {
    const size_t last_digit = base64.find_last_not_of('=');
    return last_digit == std::string_view::npos ? 0 : (last_digit + 1) * 3 / 4;
}

void append_payload(std::string& out, const BrokerMessage& message) {
    switch (message.payload_kind) {
        case BrokerMessage::PayloadKind::none: return;
        case BrokerMessage::PayloadKind::json:
            out += escaped_for_terminal(minified(message.payload));
            return;
        case BrokerMessage::PayloadKind::text: out += escaped_for_terminal(message.payload); return;
        case BrokerMessage::PayloadKind::binary:
            out += "(" + std::to_string(decoded_bytes(message.payload)) + " bytes) ";
            out += escaped_for_terminal(message.payload);
            return;
    }
}

void append_code(std::string& out, const BrokerMessage& message) {
    if (message.code.empty()) return;
    out += " (";
    out += message.code;
    out += ')';
}

}  // namespace

MessageFormat choose_format(FormatChoice choice, int out_fd, bool no_color) {
    const bool is_terminal = isatty(out_fd) == 1;
    const MessageFormat readable =
        is_terminal && !no_color ? MessageFormat::readable_coloured : MessageFormat::readable;
    switch (choice) {
        case FormatChoice::automatic: return is_terminal ? readable : MessageFormat::json_line;
        case FormatChoice::readable: return readable;
        case FormatChoice::json: return MessageFormat::json_line;
    }
    UNREACHABLE();
}

std::string loss_sentence(const BrokerMessage& message) {
    if (message.op != BrokerMessage::Op::gap) {
        std::string text = "cannot resume exactly";
        if (!message.reason.empty()) text += ": " + message.reason;
        append_code(text, message);
        return text;
    }
    const bool is_one = message.missed == 1;
    std::string text = "gap: ";
    if (!message.filter.empty()) text += message.filter + ": ";
    text += message.missed.has_value() ? std::to_string(*message.missed) : "some";
    text += is_one ? " message" : " messages";
    if (!message.topic.empty()) text += " of " + message.topic;
    text += is_one ? " was" : " were";
    text += message.code == "evicted" ? " evicted" : " dropped";
    text += is_one ? " before it" : " before they";
    text += " could be read";
    append_code(text, message);
    return text;
}

void append_line(std::string& out, MessageFormat format, const BrokerMessage& message,
                 std::string_view frame) {
    if (format == MessageFormat::json_line) {
        out += minified(frame);
    } else if (message.op != BrokerMessage::Op::message) {
        std::string mark = "(";
        mark += loss_sentence(message);
        mark += ')';
        append_styled(out, format, yellow, mark);
    } else {
        append_styled(out, format, bold, message.topic);
        out += "  ";
        append_payload(out, message);
    }
    out += '\n';
}

}  // namespace tools
