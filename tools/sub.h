// `fanfare sub`: subscribes to filters and prints what arrives, across reconnects, and with a
// cursor file across runs.
//
// Thread: the caller's; it blocks until the count, the timeout or the end for good.
// Invariants:
//  1. After a lost connection it continues where it stood, as far as the broker's history reaches;
//     what the broker tells to be missing is told on, in the stream and on the status descriptor.
//  2. The cursor file never tells of a message that was not written to out_fd before: a crash
//     repeats what came since the last save, and loses nothing.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/message_format.h"
#include "tools/url.h"

namespace tools {

struct SubOptions {
    // FILTER…  "Topics or filters to subscribe to; + stands for one level, # for all the rest."
    std::vector<std::string> filters;
    // --url URL (FANFARE_URL)  "The broker: ws://host:port/path or unix:/path;
    // ws://127.0.0.1:7788/ws if left out."
    std::string url = std::string(default_url);
    // --count N  "End with 0 after N messages; 0 means no end."
    uint64_t count = 0;
    // --last N  "Begin with the last N messages of each topic, as far as the broker keeps them."; 0
    // means none
    uint64_t last_count = 0;
    // --cursor-file FILE  "Keep the place in FILE, and continue there when it exists."
    std::string cursor_file;
    // --timeout DURATION  "End after this time: with 0, or with 3 if --count was not reached."; 0
    // means no end
    uint64_t timeout_ns = 0;
    // --no-reconnect  "End with 2 when the connection is lost, instead of connecting again."
    bool reconnect = true;
    // --format automatic|readable|json  "Lines for people or one JSON object per line; by default
    // people on a terminal, JSON in a pipe."
    FormatChoice format = FormatChoice::automatic;
    // The NO_COLOR environment variable is set and not empty (https://no-color.org).
    bool no_color = false;

    // What is not for the command line: main leaves these alone.
    int out_fd = 1;
    int status_fd = 2;
    uint64_t seed = 0;  // of keys, masks and jitter; 0 draws one with getrandom(2)
};

// Answers the exit code (tools/exit_code.h). With exit_usage the reason has been printed already.
int run_sub(const SubOptions& options);

}  // namespace tools
