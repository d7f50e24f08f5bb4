// Commands of the native dialect fanfare.v1 (PROTOCOL.md): one text frame in, validated commands
// out.
//
// Owner: a shard holds one parser and uses it for all its connections. Thread: its shard's.
// Invariants:
//  1. The whole frame is validated before the first command of it is handed out: RFC 8259 to the
//     letter, depth at most 64, no duplicate keys in any object (compared after unescaping), one
//     object or a flat array of at most commands_per_frame_max objects. A \u escape of a lone
//     surrogate is refused too, in every string of the frame: it is grammar, but no text, and it
//     would break the strict parsers among the subscribers.
//  2. A command that is JSON but not a command of ours (an unknown op or field, a wrong type) is
//     handed out in its place with an error; the others of the frame are not touched by it.
//  3. Nothing is allocated once the scratch buffers have grown to the largest frame seen.
//  4. Views of a Command point into the frame or into the parser's scratch; they die at the next
//     parse() or validate_json().
//
//  5. A batch (the body of POST /api/publish) is validated as a frame is; its messages are handed
//     out as publish commands without id.
//
// Limits: commands_per_frame_max, filters_per_command_max, command_id_bytes_max,
// command_key_bytes_max, command_series_max, json_depth_max (which counts from the outside of the
// frame), and those of start.h.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "codec/errors.h"
#include "codec/json.h"
#include "codec/payload.h"
#include "codec/start.h"

namespace codec {

inline constexpr uint32_t commands_per_frame_max = 1'000;
inline constexpr uint32_t filters_per_command_max = 1'000;
// Of an integer its characters; of a string what stands between its quotes, as it was sent.
inline constexpr uint32_t command_id_bytes_max = 64;
inline constexpr uint32_t command_key_bytes_max = 64;  // unescaped
inline constexpr uint32_t command_series_max = 1'000'000'000;

// X(name): the op's name on the wire too; those that come most often first.
#define FANFARE_COMMAND_OPS(X) X(publish) X(subscribe) X(unsubscribe) X(ping) X(history) X(auth)

enum class CommandOp : uint8_t {
    none,
#define FANFARE_X(name) name,
    FANFARE_COMMAND_OPS(FANFARE_X)
#undef FANFARE_X
};

struct Command {
    CommandOp op = CommandOp::none;
    // The id as its JSON token, quotes included, to be echoed verbatim; empty when there was none.
    std::string_view id;
    // Not none: the command is refused with this code and reason (and id, when that was usable).
    ErrorCode error = ErrorCode::none;
    std::string_view reason;

    std::span<const std::string_view> filters;  // subscribe, unsubscribe: at least one, unescaped
    Start start;             // subscribe; history: last (history_last_default) or after
    std::string_view topic;  // publish, history: unescaped
    Payload payload;         // publish
    bool echo = true;        // publish
    std::string_view key;    // publish; empty: none was given
    uint32_t series = 0;     // publish; 0: of none, else 1 to command_series_max
    // auth is known and refused with not_supported.
};

class CommandParser {
  public:
    // `seed` makes the hashing of keys unpredictable to peers.
    explicit CommandParser(uint64_t seed);
    ~CommandParser();

    struct Result {
        uint32_t commands_count = 0;
        ErrorCode error = ErrorCode::none;  // not none: the frame is refused as a whole
        std::string_view reason;
    };
    // `frame` must be followed by base::readable_padding_bytes readable bytes and be valid UTF-8.
    [[nodiscard]] Result parse(std::string_view frame);

    // `{"messages":[{"topic":…,"data":…,"key":…},…]}`: each message has the fields of a publish but
    // op, id and echo. At most commands_per_frame_max. `body` as `frame` above, but it need not be
    // valid UTF-8: what is not is no JSON.
    [[nodiscard]] Result parse_batch(std::string_view body);

    // The commands of the last frame or batch, in order; index < commands_count.
    const Command& command(uint32_t index) const;

    // Whether `text` is one JSON value by invariant 1, of whatever type (for the HTTP surface and
    // the tools). It must be followed by base::readable_padding_bytes readable bytes. `reason`,
    // when not null, says why not; it lives for ever.
    [[nodiscard]] bool validate_json(std::string_view text, const char** reason = nullptr);

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace codec
