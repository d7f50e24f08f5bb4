// `fanfare serve`: opens the listeners, builds a shard per worker on io_uring, restores what the
// last run left, runs until a signal, drains, and saves.
//
// Thread: main's, which from then on only waits for signals and writes the log.
#pragma once

#include <string>

#include "broker/settings.h"

namespace broker {

// Answers the exit code: 0 after an orderly stop; 1 when it could not start (the reason has been
// printed), or stopped in good order but could not save what --state-dir is to keep (logged).
int run_serve(Settings settings, const std::string& version);

}  // namespace broker
