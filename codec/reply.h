// The native dialect's objects from broker to client (PROTOCOL.md), each appended to a scratch
// string as JSON text without a frame header. Pure; any thread. Nothing is allocated once the
// string has grown.
//
// `id` is the raw JSON token of the command's id; empty leaves the member out.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "codec/errors.h"
#include "codec/payload.h"

namespace codec {

struct Welcome {
    std::string_view client;
    std::string_view epoch;
    uint64_t heartbeat_ms;
    uint64_t timeout_ms;
    uint64_t message_bytes_max;
    uint32_t subscriptions_max;
};

void append_welcome(std::string& out, const Welcome& welcome);
void append_subscribed(std::string& out, std::string_view id);
void append_unsubscribed(std::string& out, std::string_view id);
void append_published(std::string& out, std::string_view id);
void append_pong(std::string& out, std::string_view id);
void append_heartbeat(std::string& out);
void append_message(std::string& out, std::string_view topic, const Payload& payload);
void append_error(std::string& out, std::string_view id, ErrorCode code, std::string_view reason);
void append_goodbye(std::string& out, std::string_view code, std::string_view reason,
                    uint64_t retry_ms);

// Appends `text` (valid UTF-8) as a JSON string with its quotes.
void append_json_string(std::string& out, std::string_view text);

}  // namespace codec
