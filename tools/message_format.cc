#include "tools/message_format.h"

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

std::string gap_sentence(const BrokerMessage& gap) {
    std::string text = "(gap: ";
    text += gap.missed.has_value() ? std::to_string(*gap.missed) : "an unknown number of";
    text += gap.missed == 1 ? " message" : " messages";
    if (!gap.topic.empty()) text += " of " + gap.topic;
    text += " missed";
    if (!gap.filter.empty()) text += " by " + gap.filter;
    if (!gap.code.empty()) text += ": " + gap.code;
    return text + ")";
}

}  // namespace

void append_line(std::string& out, MessageFormat format, const BrokerMessage& message,
                 std::string_view frame) {
    if (format == MessageFormat::json_line) {
        out += minified(frame);
    } else if (message.op == BrokerMessage::Op::gap) {
        append_styled(out, format, yellow, gap_sentence(message));
    } else {
        append_styled(out, format, bold, message.topic);
        out += "  ";
        append_payload(out, message);
    }
    out += '\n';
}

}  // namespace tools
