// Which kind of descriptors the kernel is fit for.

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include "io/uring/reactor_uring.h"
#include "io/uring/uring_compat.h"

namespace io {

namespace {

// Two ends of a connection, of which one goes into a table.
struct Pair {
    Pair() { is_open = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0; }
    ~Pair() {
        for (const int end : ends) {
            if (end >= 0) ::close(end);
        }
    }
    Pair(const Pair&) = delete;
    Pair& operator=(const Pair&) = delete;
    void close_ours() {
        ::close(ends[0]);
        ends[0] = -1;
    }

    std::array<int, 2> ends{-1, -1};
    bool is_open;
};

// Closes the second entry of the table while a receive waits at the first one; whether the other
// end notices.
bool closes_while_another_waits(io_uring& ring) {
    Pair waiting;
    Pair closing;
    if (!waiting.is_open || !closing.is_open) return false;
    const int table[] = {waiting.ends[0], closing.ends[0]};
    if (io_uring_register_files(&ring, table, 2) < 0) return false;
    waiting.close_ours();  // the table has references of its own
    closing.close_ours();
    static char unused;  // nothing is ever received
    io_uring_sqe* sqe = io_uring_get_sqe(&ring);
    io_uring_prep_recv(sqe, 0, &unused, sizeof unused, 0);
    sqe->flags |= IOSQE_FIXED_FILE;
    sqe = io_uring_get_sqe(&ring);
    io_uring_prep_close_direct(sqe, 1);
    if (io_uring_submit_and_wait(&ring, 1) != 2) return false;
    // It takes no time where it works; waiting is for a machine that is very busy.
    constexpr int patience_ms = 50;
    pollfd other_end{.fd = closing.ends[1], .events = POLLIN, .revents = 0};
    return poll(&other_end, 1, patience_ms) == 1;
}

Descriptors find_usable_descriptors() {
    io_uring ring{};
    constexpr unsigned submissions_max = 4;
    if (io_uring_queue_init(submissions_max, &ring, 0) < 0) return Descriptors::plain;
    const bool is_fit = closes_while_another_waits(ring);
    io_uring_queue_exit(&ring);
    return is_fit ? Descriptors::direct : Descriptors::plain;
}

}  // namespace

Descriptors usable_descriptors() {
    static const Descriptors usable = find_usable_descriptors();
    return usable;
}

}  // namespace io
