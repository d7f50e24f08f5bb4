// BrokerMessage: what the broker said, read from one text frame of fanfare.v1 (PROTOCOL.md).
//
// Owner: a Session holds one reader. Thread: one.
// The broker's JSON is taken to be JSON: it is read, not validated. Fields and ops that are not
// known are left out, as the protocol demands of its clients.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "codec/position.h"
#include "tools/cursor.h"

namespace tools {

struct BrokerMessage {
    enum class Op : uint8_t {
        welcome,
        subscribed,
        published,
        message,
        replay,
        live,
        position,
        gap,
        history,
        error,
        goodbye,
        other,
    };
    enum class PayloadKind : uint8_t { none, json, text, binary };

    Op op = Op::other;
    std::optional<uint64_t> id;  // ours are all numbers
    std::string topic;           // message, gap
    std::string filter;          // gap
    std::string code;            // error, goodbye, gap, and what is not recovered
    std::string reason;          // error, goodbye, and what is not recovered

    PayloadKind payload_kind = PayloadKind::none;
    std::string payload;  // message: the JSON as it stood there, the text unescaped, or the base64

    codec::Position position;           // message; none for a topic without history
    Cursor cursor;                      // subscribed, live, position, history
    bool is_recoverable = false;        // subscribed
    std::optional<bool> recovered;      // subscribed and history, of a start after a cursor
    uint64_t messages_count = 0;        // replay
    bool has_more = false;              // history
    std::vector<std::string> messages;  // history: each one's JSON object as it stood there

    std::optional<uint64_t> missed;  // gap; nothing when unknown
    uint64_t retry_ms = 0;           // goodbye, and the error rate_limited
    uint64_t heartbeat_ms = 0;       // welcome
    uint64_t timeout_ms = 0;         // welcome
    uint64_t message_bytes_max = 0;  // welcome
    // These two of the welcome as well; 0: any number.
    uint64_t commands_per_second = 0;
    uint64_t publishes_per_second = 0;
};

class BrokerMessageReader {
  public:
    BrokerMessageReader();
    ~BrokerMessageReader();

    // Fills `message`. False when the frame is not a JSON object with an "op". `frame` must be
    // followed by base::readable_padding_bytes readable bytes.
    [[nodiscard]] bool read(std::string_view frame, BrokerMessage& message);

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

// The same JSON text without the white space outside its strings, hence one line.
std::string minified(std::string_view json);

}  // namespace tools
