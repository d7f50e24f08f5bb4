// How `fanfare sub` and `fanfare history` show messages: for people, or for the next program in a
// pipe. Pure but for choose_format(); any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "tools/broker_message.h"

namespace tools {

enum class MessageFormat : uint8_t {
    json_line,          // the broker's own object, as one line
    readable,           // "topic  payload"
    readable_coloured,  // the same with the topic set off
};

// What --format says.
enum class FormatChoice : uint8_t {
    automatic,  // readable on a terminal, else JSON
    readable,
    json,
};
MessageFormat choose_format(FormatChoice choice, int out_fd, bool no_color);

// Appends one line with its end; `frame` is the text that `message` was read from. Only for
// Op::message, Op::gap, and an Op::subscribed that is not recovered, which marks a loss like a gap.
void append_line(std::string& out, MessageFormat format, const BrokerMessage& message,
                 std::string_view frame);

// What a gap, or a subscribed that is not recovered, means, in one sentence without a full stop. It
// holds the broker's words as they came, to be escaped for a terminal.
std::string loss_sentence(const BrokerMessage& message);

}  // namespace tools
