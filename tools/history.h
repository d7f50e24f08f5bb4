// `fanfare history`: prints what the broker keeps of one topic, oldest first, page by page.
//
// Thread: the caller's; it blocks until all is printed or the connection has ended. It asks one
// broker once: a lost connection is the end, since what was printed cannot be taken back.
#pragma once

#include <cstdint>
#include <string>

#include "codec/start.h"
#include "tools/message_format.h"
#include "tools/url.h"

namespace tools {

struct HistoryOptions {
    // TOPIC  "The topic whose messages to print."
    std::string topic;
    // --url URL (FANFARE_URL)
    std::string url = std::string(default_url);
    // --last N  "Only the last N messages. Default: 100."
    uint64_t last_count = codec::history_last_default;
    // --format automatic|readable|json, as for `fanfare sub`. A JSON line is the one that `fanfare
    // sub` would have printed for the message.
    FormatChoice format = FormatChoice::automatic;
    // The NO_COLOR environment variable is set and not empty (https://no-color.org).
    bool no_color = false;

    // What is not for the command line: main leaves these alone.
    int out_fd = 1;
    int status_fd = 2;
    uint64_t seed = 0;  // of keys and masks; 0 draws one with getrandom(2)
};

// Answers the exit code (tools/exit_code.h). With anything but 0 the reason has been printed
// already.
int run_history(const HistoryOptions& options);

}  // namespace tools
