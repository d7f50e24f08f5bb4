// How the io_uring reactor comes to be: the ring, its tables, and what the reactors share.

#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <utility>

#include "io/uring/probe.h"
#include "io/uring/reactor_impl.h"

namespace io {

namespace {

// Completions outnumber submissions, because one multishot receive brings many. What exceeds the
// queue is kept by the kernel (NODROP), at the price of an allocation each.
constexpr uint32_t completions_per_submission = 8;

}  // namespace

Reactor::Impl::Impl(UringGroup& group_given, ShardId self_given, const UringOptions& options_given)
    : group(group_given),
      self(self_given),
      options(options_given),
      buffers(options_given.recv_buffers_count, options_given.recv_buffer_bytes),
      sockets(size_t{options_given.sockets_max} + options_given.adopted_max),
      is_wake_sent(group_given.members_.size(), false) {
    CHECK(self < group.members_.size());
    CHECK(group.members_[self].ring_fd.load() < 0);  // one reactor per shard
    CHECK(options.sockets_max >= 1 && options.events_per_turn_max >= 1);
    CHECK(options.accepts_per_listener >= 1);
    CHECK(std::has_single_bit(options.submissions_max));
    events.reserve(options.events_per_turn_max);
    for (uint32_t index = options.adopted_max; index-- > 0;) {
        adopted_free.push_back(options.sockets_max + index);
    }
}

std::string Reactor::Impl::open() {
    std::string error = open_ring();
    if (error.empty()) error = open_tables();
    if (!error.empty()) return error;

    UringGroup::Member& member = group.members_[self];
    if (member.event_fd.load() < 0) {
        const int fd = eventfd(0, EFD_CLOEXEC);
        if (fd < 0) return setup_error_text(errno);
        member.event_fd.store(fd);
    }
    member.ring_fd.store(ring.ring_fd);
    return {};
}

std::string Reactor::Impl::open_ring() {
    io_uring_params params{};
    // Only the shard's thread submits. DEFER_TASKRUN requires that promise.
    params.flags |= IORING_SETUP_SINGLE_ISSUER;
    // Completions are worked out when the shard waits in turn(), not whenever an interrupt or
    // another system call gives the kernel an opportunity. So they come in batches, never in the
    // middle of a request of the shard, and no core is interrupted to deliver them. The price:
    // turn() must always enter the kernel asking for events (GETEVENTS), even when it only looks.
    params.flags |= IORING_SETUP_DEFER_TASKRUN;
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
    is_ring_open = true;
    const std::string missing = probe_ring(ring).missing();
    if (!missing.empty()) {
        return "this kernel's io_uring lacks " + missing + ": Linux 6.1 or newer is needed";
    }
    return {};
}

std::string Reactor::Impl::open_tables() {
    const uint64_t entries = sockets.size();
    rlimit limit{};
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    const std::string advice =
        std::to_string(entries) + " sockets per shard are more than the limit on open files (" +
        std::to_string(limit.rlim_cur) +
        ") allows: raise it (ulimit -n; systemd: LimitNOFILE=), or allow fewer connections";
    if (entries > limit.rlim_cur) return advice;
    int result = io_uring_register_files_sparse(&ring, static_cast<unsigned>(entries));
    if (result == -EMFILE) return advice;
    if (result < 0) return setup_error_text(-result);
    // The kernel chooses among the entries for accepted connections; those for adopted ones are
    // ours to give.
    result = io_uring_register_file_alloc_range(&ring, 0, options.sockets_max);
    if (result < 0) return setup_error_text(-result);
    result = buffers.open(ring);
    if (result < 0) return setup_error_text(-result);
    return {};
}

// In the first turn, on the shard's thread.
void Reactor::Impl::start() {
    CHECK(enable_ring(ring) == 0);
    issuer = std::this_thread::get_id();
    is_started = true;
    // Saves the kernel a look-up of the ring per system call. Where it is refused, nothing is lost
    // but that.
    static_cast<void>(io_uring_register_ring_fd(&ring));
    // shutdown is the one operation that the kernel always hands to a worker thread. Without a
    // limit a mass of closing connections would start a mass of them.
    unsigned workers[2] = {1, 1};
    static_cast<void>(io_uring_register_iowq_max_workers(&ring, workers));
}

UringGroup::UringGroup(uint32_t shards_count) : members_(shards_count) {}

UringGroup::~UringGroup() {
    for (const Member& member : members_) {
        CHECK(member.ring_fd.load() < 0);  // the group outlives its reactors
        const int fd = member.event_fd.load();
        if (fd >= 0) ::close(fd);
    }
}

void UringGroup::wake_from_outside(ShardId shard) {
    CHECK(shard < members_.size());
    const int fd = members_[shard].event_fd.load();
    const uint64_t one = 1;
    // It can fail only with -EAGAIN or wait when the counter is full, 2^64 unread wakes later.
    if (fd >= 0) static_cast<void>(!write(fd, &one, sizeof one));
}

std::unique_ptr<Reactor> make_reactor(UringGroup& group, ShardId self, const UringOptions& options,
                                      std::string& error) {
    auto impl = std::make_unique<Reactor::Impl>(group, self, options);
    error = impl->open();
    if (!error.empty()) return nullptr;
    return std::make_unique<Reactor>(std::move(impl));
}

uint64_t raise_descriptor_limit() {
    rlimit limit{};
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    rlimit raised = limit;
    raised.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &raised) == 0 ? raised.rlim_cur : limit.rlim_cur;
}

}  // namespace io
