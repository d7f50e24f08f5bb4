// The native dialect's objects from broker to client (PROTOCOL.md), each appended to a scratch
// string as JSON text without a frame header. Pure; any thread. Nothing is allocated once the
// string has grown.
//
// `id` is the raw JSON token of the command's id; empty leaves the member out.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "codec/errors.h"
#include "codec/gap.h"
#include "codec/payload.h"
#include "codec/position.h"
#include "codec/recovery.h"

namespace codec {

struct Welcome {
    std::string_view client;
    std::string_view epoch;
    uint64_t heartbeat_ms;
    uint64_t timeout_ms;
    uint64_t message_bytes_max;
    uint32_t subscriptions_max;
    uint64_t commands_per_second = 0;  // these two are told only where they are limited
    uint64_t publishes_per_second = 0;
};

struct Subscribed {
    Cursor cursor;  // positions with offset 0 are left out
    bool recoverable;
    std::optional<Recovery> recovery;  // of a start after a cursor
};

struct HistoryPage {
    Cursor cursor;  // positions with offset 0 are left out
    bool more;
    std::optional<Recovery> recovery;  // of a page after a cursor
};

void append_welcome(std::string& out, const Welcome& welcome);
void append_subscribed(std::string& out, std::string_view id, const Subscribed& subscribed);
void append_unsubscribed(std::string& out, std::string_view id);
// The position may be none.
void append_published(std::string& out, std::string_view id, const Position& position,
                      bool is_duplicate);
// One of the results of a batch. The position may be none.
void append_result(std::string& out, const Position& position, bool is_duplicate);
void append_pong(std::string& out, std::string_view id);
void append_heartbeat(std::string& out);
// The position may be none.
void append_message(std::string& out, std::string_view topic, const Position& position,
                    const Payload& payload);
// The next messages_count messages belong to the replay of subscription `id`.
void append_replay(std::string& out, std::string_view id, uint32_t messages_count);
void append_live(std::string& out, std::string_view id, const Cursor& cursor);
void append_position_told(std::string& out, const Cursor& cursor);
// `id` empty: of no replay. `topic` empty: more than one, or unknown. `missed` none: it is not
// known how many messages are missing.
void append_gap(std::string& out, std::string_view id, std::string_view filter,
                std::string_view topic, std::optional<uint64_t> missed, GapCode code);
// A history reply in three steps, with nothing in between: the head, its messages one after the
// other (their positions are not none), the end.
void begin_history(std::string& out, std::string_view id, std::string_view topic);
void append_history_message(std::string& out, const Position& position, const Payload& payload);
void end_history(std::string& out, const HistoryPage& page);
void append_error(std::string& out, std::string_view id, ErrorCode code, std::string_view reason);
// The refusal of a command that may be tried again.
void append_rate_limited(std::string& out, std::string_view id, std::string_view reason,
                         uint64_t retry_ms);
void append_goodbye(std::string& out, std::string_view code, std::string_view reason,
                    uint64_t retry_ms);

// Appends `text` (valid UTF-8) as a JSON string with its quotes.
void append_json_string(std::string& out, std::string_view text);

}  // namespace codec
