// Reloader: reads the configuration again while the broker runs, from the sources that it was
// started with.
//
// Owner: main. Thread: main's.
// Invariant: an invalid configuration changes nothing.
#pragma once

#include "broker/config.h"
#include "broker/log_writer.h"
#include "broker/settings.h"

namespace broker {

class Reloader {
  public:
    // `configured` is what the sources said at the start, `running` what was made of it: the number
    // of workers is known, and the limits fit the machine.
    Reloader(const ConfigSources& sources, const Settings& configured, const Settings& running)
        : sources_(sources), configured_(configured), running_(running) {}

    // The settings for the shards, which stay valid until the next call; null when nothing changes
    // for them. Logs what does, and what only a restart changes.
    const Settings* reload(const LogWriter& writer);

  private:
    const ConfigSources& sources_;
    Settings configured_;  // what is reloadable in it, as it was last accepted
    Settings running_;
};

}  // namespace broker
