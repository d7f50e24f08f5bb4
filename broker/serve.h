// `fanfare serve`: opens the listeners, builds a shard per worker on io_uring, restores what the
// last run left, runs until a signal, drains, and saves.
//
// Thread: main's, which from then on only waits for signals, writes the log, and reads the
// configuration again when it is told to.
#pragma once

#include <string>

#include "broker/config.h"
#include "broker/settings.h"

namespace broker {

// Answers the exit code: 0 after an orderly stop, even if its deadline cut slow clients (logged:
// they are no failure of the broker, which a service manager would mend by a restart); 1 when it
// could not start (the reason has been printed), could not save what --state-dir is to keep
// (logged), or was ended by a second signal.
// `sources` are where `settings` come from, to be read again by SIGHUP.
int run_serve(Settings settings, const ConfigSources& sources, const std::string& version);

}  // namespace broker
