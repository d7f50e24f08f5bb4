// How `fanfare sub` shows what arrives: for people, or for the next program in a pipe. Pure; any
// thread.
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

// Appends one line with its end; `frame` is the text that `message` was read from. Only for
// Op::message and Op::gap.
void append_line(std::string& out, MessageFormat format, const BrokerMessage& message,
                 std::string_view frame);

}  // namespace tools
