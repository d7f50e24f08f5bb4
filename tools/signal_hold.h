// SignalHold: while it lives, SIGINT and SIGTERM do not end the process but make a descriptor
// readable, so that what must not be lost is written first. The signal stays pending: with the end
// of the hold the process ends by it, as its parent expects.
//
// Owner: whoever has something to save. Thread: the only one of the process that takes signals.
#pragma once

#include <csignal>

namespace tools {

class SignalHold {
  public:
    SignalHold();
    ~SignalHold();
    SignalHold(const SignalHold&) = delete;
    SignalHold& operator=(const SignalHold&) = delete;

    // Readable once a signal came; -1 when the kernel gave none, and then nothing is held.
    int fd() const { return fd_; }

    // Around what may block for long: there a signal ends the process at once. Must be called in
    // turns.
    void pause();
    void resume();

  private:
    sigset_t signals_;
    int fd_ = -1;
};

}  // namespace tools
