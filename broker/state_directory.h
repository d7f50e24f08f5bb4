// StateDirectory: the directory in which a broker leaves its state at a clean stop, for the next
// start.
//
//     lock                      held while a broker uses the directory, so that no two do
//     fanfare.state             the state; not there while a broker runs
//     fanfare.state.tmp         the state while it is being written
//     fanfare.state.damaged-1   states that could not be read, or not by a broker with these
//     fanfare.state.unusable-1  settings; 1 is the youngest, 3 the oldest that is kept
//
// The state is removed before the first connection is served. It is true only for the moment at
// which it was saved: a broker that went on from it, gave positions to further messages and crashed
// must not be resumed from it, or it would give the same positions to other messages. After a
// crash there is no state, so the epoch is new and clients are told so.
//
// Whatever is written is complete and on the disk (fsync) before it gets the name that counts
// (rename), and names are on the disk (fsync of the directory) before anybody relies on them.
//
// Owner: main. Thread: main's. Errors are answered as text for people, empty when all is well; what
// fails leaves no half of a state under the name that counts.
#pragma once

#include <string>
#include <string_view>

#include "broker/owned_fd.h"

namespace broker {

inline constexpr uint32_t states_set_aside_max = 3;  // of each kind

class StateDirectory {
  public:
    struct Opened {
        OwnedFd fd;
        std::string error;
    };

    StateDirectory() = default;
    StateDirectory(const StateDirectory&) = delete;
    StateDirectory& operator=(const StateDirectory&) = delete;

    // Takes the lock for as long as this object lives. Makes the directory when only its parent
    // exists. Finds out whether it can be written, so that this is not learnt at the stop.
    [[nodiscard]] std::string open(const std::string& path);
    bool is_open() const { return lock_.is_open(); }

    // The state, for reading. Not open and no error: there is none.
    Opened open_state() const;
    // Takes the state out of the way, under the name that `name` then is.
    [[nodiscard]] std::string set_aside(std::string_view kind, std::string& name) const;
    [[nodiscard]] std::string remove_state() const;

    // For a new state: an empty file, which commit() makes the state and discard() removes.
    Opened create() const;
    [[nodiscard]] std::string commit(const OwnedFd& fd) const;
    void discard() const;

  private:
    std::string failed(std::string_view what, int error_number) const;
    std::string sync() const;

    std::string path_;
    OwnedFd directory_;
    OwnedFd lock_;
};

}  // namespace broker
