#include "io/uring/ring.h"

#include <time.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>

#include "io/uring/probe.h"

namespace io {

namespace {

// Completions outnumber submissions, because one multishot receive brings many. What exceeds the
// queue is kept by the kernel (NODROP), at the price of an allocation each.
constexpr uint32_t completions_per_submission = 8;

}  // namespace

uint64_t clock_ns() {
    timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return static_cast<uint64_t>(now.tv_sec) * base::ns_per_s + static_cast<uint64_t>(now.tv_nsec);
}

// --- Set-up ---

Ring::Ring(uint32_t number_given, const UringOptions& options_given, const Share& share)
    : number(number_given),
      options(options_given),
      accepted_max(share.accepted_max),
      buffers(share.recv_buffers_count, options_given.recv_buffer_bytes),
      sockets(size_t{share.accepted_max} + share.adopted_max) {
    for (uint32_t index = share.adopted_max; index-- > 0;) {
        adopted_free.push_back(share.accepted_max + index);
    }
    if (is_direct()) return;
    plain.resize(sockets.size(), -1);
    for (uint32_t index = share.accepted_max; index-- > 0;) accepted_free.push_back(index);
}

Ring::~Ring() {
    if (!is_open) return;
    buffers.close(ring);
    io_uring_queue_exit(&ring);
    for (const int fd : plain) {
        if (fd >= 0) ::close(fd);
    }
}

std::string Ring::open(int event_fd) {
    std::string error = open_queues();
    if (error.empty()) error = open_table();
    if (!error.empty() || number == 0) return error;
    const int result = io_uring_register_eventfd(&ring, event_fd);
    return result < 0 ? setup_error_text(-result) : std::string();
}

std::string Ring::open_queues() {
    io_uring_params params{};
    // Only the shard's thread submits. DEFER_TASKRUN requires that promise.
    params.flags |= IORING_SETUP_SINGLE_ISSUER;
    // Completions are worked out when the shard waits in turn(), not whenever an interrupt or
    // another system call gives the kernel an opportunity. So they come in batches, never in the
    // middle of a request of the shard, and no core is interrupted to deliver them. The price:
    // turn() must always enter the kernel asking for events (GETEVENTS), even when it only looks.
    params.flags |= IORING_SETUP_DEFER_TASKRUN;
    // A further ring is entered only when it has something to say, and this is how it says so.
    if (number > 0) params.flags |= IORING_SETUP_TASKRUN_FLAG;
    // A submission that the kernel refuses becomes a completion like any other and does not hold up
    // those behind it; else every submit would need a look at how far it came.
    params.flags |= IORING_SETUP_SUBMIT_ALL;
    // The default of twice the submissions is too few where one receive completes many times.
    params.flags |= IORING_SETUP_CQSIZE;
    params.cq_entries = options.submissions_max * completions_per_submission;
    // The ring belongs to the thread that enables it. It is built by main, which wants to report
    // errors before it starts threads, and enabled by the shard in its first turn.
    params.flags |= IORING_SETUP_R_DISABLED;
    const int result = io_uring_queue_init_params(options.submissions_max, &ring, &params);
    if (result < 0) return setup_error_text(-result);
    is_open = true;
    if (number > 0) return {};
    const Probe probe = probe_ring(ring);
    can_install = probe.install;
    const std::string missing = probe.missing();
    if (!missing.empty()) {
        return "this kernel's io_uring lacks " + missing + ": Linux 6.1 or newer is needed";
    }
    return {};
}

std::string Ring::open_table() {
    int result = 0;
    if (is_direct()) {
        result = io_uring_register_files_sparse(&ring, static_cast<unsigned>(sockets.size()));
        if (result == 0) result = io_uring_register_file_alloc_range(&ring, 0, accepted_max);
    }
    if (result == 0) result = buffers.open(ring);
    return result < 0 ? setup_error_text(-result) : std::string();
}

void Ring::start() {
    CHECK(enable_ring(ring) == 0);
    is_started = true;
    // Saves the kernel a look-up of the ring per system call. Where it is refused (a thread can
    // have 16 of them), nothing is lost but that.
    static_cast<void>(io_uring_register_ring_fd(&ring));
    // shutdown is the one operation that the kernel always hands to a worker thread (where it
    // cannot be done otherwise, see Reactor::Impl::shutdown). Without a limit a mass of closing
    // connections would start a mass of them.
    unsigned workers[2] = {1, 1};
    static_cast<void>(io_uring_register_iowq_max_workers(&ring, workers));
}

// --- Requests and completions ---

// The next free submission. Requests are never linked, so when the queue is full it can be handed
// over at any moment; that costs a system call beside that of the turn.
io_uring_sqe* Ring::prepare() {
    while (true) {
        io_uring_sqe* const sqe = io_uring_get_sqe(&ring);
        if (sqe != nullptr) return sqe;
        // Before the first turn nothing can be submitted: more requests than the queue holds are an
        // error.
        CHECK(is_started);
        // -EAGAIN (no memory for a request) makes this a loop. The kernel waits for memory this
        // small rather than to refuse it, so it does not spin for long.
        submitted(io_uring_submit(&ring));
    }
}

void Ring::advance() {
    if (io_uring_sq_ready(&ring) > 0 || has_work()) look();
}

void Ring::look() {
    submitted(io_uring_submit_and_get_events(&ring));
}

void Ring::wait(uint64_t deadline_ns) {
    if (deadline_ns == base::never_ns) {
        submitted(io_uring_submit_and_wait(&ring, 1));
        return;
    }
    // Asked here once more, because the shard's work since the last turn has taken time too. It is
    // not published: now_ns() is sampled after the wait.
    const uint64_t now_ns = clock_ns();
    if (deadline_ns <= now_ns) {
        look();
        return;
    }
    const uint64_t left_ns = deadline_ns - now_ns;
    __kernel_timespec timeout{};
    timeout.tv_sec = static_cast<int64_t>(left_ns / base::ns_per_s);
    timeout.tv_nsec = static_cast<int64_t>(left_ns % base::ns_per_s);
    io_uring_cqe* first = nullptr;  // the reactor looks for itself
    submitted(io_uring_submit_and_wait_timeout(&ring, &first, 1, &timeout, nullptr));
}

// io_uring_enter(2): how a submission or a wait can fail.
void Ring::submitted(int result) {
    if (io_uring_sq_ready(&ring) == 0) arena.reset();
    if (result >= 0) return;
    switch (-result) {
        // The deadline came first, or a signal did.
        case ETIME:
        case EINTR:
        // The kernel had no memory for a request, or for its notes on a thread that is new to the
        // ring; or it holds completions that wait for room in the queue, which the reactor makes.
        // What it did not take stays in the ring and goes out with the next submission.
        case EAGAIN:
        case ENOMEM:
        case EBUSY: return;
    }
    // EBADR: the kernel had no memory to keep a completion and has lost it, so that a request would
    // never end; the end of memory is ours too.
    // EBADF, EBADFD, EEXIST, EFAULT, EINVAL, ENXIO, EOPNOTSUPP: the ring is used wrongly, for
    // example from a second thread (EEXIST).
    base::check_failed(__FILE__, __LINE__, std::strerror(-result));
}

}  // namespace io
