// Probe: what the kernel's io_uring can do, asked of the kernel and not concluded from its version.
//
// Owner: whoever asks. Thread: any.
#pragma once

#include <string>

struct io_uring;

namespace io {

struct Probe {
    // Features of the ring (io_uring_setup(2), "features").
    bool keeps_overflow = false;     // NODROP: completions beyond the queue are kept
    bool submit_stable = false;      // what a submission points to may be reused after it
    bool wait_with_timeout = false;  // EXT_ARG: submit, wait and a bound in one system call
    bool silent_success = false;     // CQE_SKIP
    // Operations.
    bool accept = false;
    bool recv = false;
    bool send = false;
    bool sendmsg = false;
    bool shutdown = false;
    bool close = false;
    bool cancel = false;
    bool message_ring = false;
    bool read = false;
    // What it uses where it is there.
    bool install = false;  // Linux 6.8: a shutdown needs no worker thread

    // The names of what the reactor needs and this kernel lacks, separated by commas; empty when it
    // has all.
    std::string missing() const;
    // One line for the log.
    std::string text() const;
};

[[nodiscard]] Probe probe_ring(io_uring& ring);

// /proc/sys/kernel/io_uring_disabled (Linux 6.6): 0 for everybody, 1 for one group, 2 for nobody. 0
// where there is no such file.
[[nodiscard]] int disabled_setting();

// Why io_uring_setup(2) failed, given that setting, and what helps.
[[nodiscard]] std::string setup_error_text(int error_number, int disabled = disabled_setting());

}  // namespace io
