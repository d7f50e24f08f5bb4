#include "tools/signal_hold.h"

#include <sys/signalfd.h>
#include <unistd.h>

#include <initializer_list>

namespace tools {

SignalHold::SignalHold() {
    sigemptyset(&signals_);
    for (const int number : {SIGINT, SIGTERM}) {
        // Who ignores a signal, as nohup(1) does for others, goes on ignoring it.
        struct sigaction action {};
        if (sigaction(number, nullptr, &action) == 0 && action.sa_handler != SIG_IGN)
            sigaddset(&signals_, number);
    }
    fd_ = signalfd(-1, &signals_, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd_ >= 0) resume();
}

SignalHold::~SignalHold() {
    if (fd_ < 0) return;
    close(fd_);
    pause();
}

void SignalHold::pause() {
    if (fd_ >= 0) pthread_sigmask(SIG_UNBLOCK, &signals_, nullptr);
}

void SignalHold::resume() {
    if (fd_ >= 0) pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
}

}  // namespace tools
