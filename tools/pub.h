// `fanfare pub`: publishes one message, or each line of its input, and ends when the broker has
// confirmed them all.
//
// Thread: the caller's; it blocks until all is confirmed or lost for good.
// Limits: at most window_count publishes wait for their confirmation at any time. After a lost
// connection those are sent again, in their order; none is lost silently. A line may so be
// published twice, unless it has a key by which the broker knows it again. --help says so.
// Where the broker limits how fast one may publish, it waits, as long as anything is taken at all.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "io/base/units.h"
#include "tools/url.h"

namespace tools {

inline constexpr uint32_t publish_window_count = 256;
// Of the input's lines: what codec::command_key_bytes_max leaves beside the dash and the number.
inline constexpr uint32_t line_key_bytes_max = 43;

enum class PubKind : uint8_t {
    automatic,  // JSON where it is JSON by RFC 8259, else text
    json,
    text,
    binary,
};

struct PubOptions {
    // TOPIC  "The topic to publish to."
    std::string topic;
    // [DATA]  "What to publish; - or nothing publishes each line of the standard input. After a
    // reconnect a line that was not yet confirmed is sent again, so it may be published twice."
    std::optional<std::string> data;
    // --key KEY  "Publish once, however often it is tried: the broker leaves out what it has had
    // with this key. Line N of the input has the key KEY-N."
    std::optional<std::string> key;
    // --url URL (FANFARE_URL)  "The broker: ws://host:port/path or unix:/path;
    // ws://127.0.0.1:7788/ws if left out."
    std::string url = std::string(default_url);
    // --json | --text | --binary (at most one)
    // --json    "Each message is JSON; what is not is an error. By default JSON is published as
    // JSON, all else as text."
    // --text    "Each message is text, even if it looks like JSON."
    // --binary  "DATA, or the whole input, is one binary message."
    PubKind kind = PubKind::automatic;
    // --give-up-after DURATION  "End with 2 after trying to reconnect for this long, and with 4
    // after everything was refused for its rate for this long."
    uint64_t give_up_after_ns = 60 * base::ns_per_s;

    // What is not for the command line: main leaves these alone.
    int in_fd = 0;
    int status_fd = 2;
    uint64_t seed = 0;  // of keys, masks and jitter; 0 draws one with getrandom(2)
};

// Answers the exit code (tools/exit_code.h). With anything but 0 the reason has been printed
// already.
int run_pub(const PubOptions& options);

}  // namespace tools
