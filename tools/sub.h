// `fanfare sub`: subscribes to filters and prints what arrives, across reconnects.
//
// Thread: the caller's; it blocks until the count, the timeout or the end for good.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/url.h"

namespace tools {

enum class SubFormat : uint8_t {
    automatic,  // readable on a terminal, else JSON
    readable,
    json,
};

struct SubOptions {
    // FILTER…  "Topics or filters to subscribe to; + stands for one level, # for all the rest."
    std::vector<std::string> filters;
    // --url URL (FANFARE_URL)  "The broker: ws://host:port/path or unix:/path;
    // ws://127.0.0.1:7788/ws if left out."
    std::string url = std::string(default_url);
    // --count N  "End with 0 after N messages; 0 means no end."
    uint64_t count = 0;
    // --timeout DURATION  "End after this time: with 0, or with 3 if --count was not reached."; 0
    // means no end
    uint64_t timeout_ns = 0;
    // --no-reconnect  "End with 2 when the connection is lost, instead of connecting again."
    bool reconnect = true;
    // --format automatic|readable|json  "Lines for people or one JSON object per line; by default
    // people on a terminal, JSON in a pipe."
    SubFormat format = SubFormat::automatic;
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
