// How the io_uring reactor comes to be: its rings, and what the reactors share.

#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <utility>

#include "io/uring/probe.h"
#include "io/uring/reactor_impl.h"

namespace io {

namespace {

constexpr uint32_t rings_max = 64;
// So that a burst on one ring finds buffers, however many rings there are.
constexpr uint32_t recv_buffers_per_ring_min = 128;
// IORING_MAX_FIXED_FILES.
constexpr uint64_t table_entries_max = 1'048'576;
static_assert(table_entries_max <= SocketPlace::entries_max);
// What is set aside where sockets are open files: files and pipes of the process; rings, listeners
// and the sockets of those who are being refused.
constexpr uint64_t others_max = 64;
constexpr uint64_t others_per_reactor_max = 96;

uint64_t descriptor_limit() {
    rlimit limit{};
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    return limit.rlim_cur;
}

}  // namespace

Reactor::Impl::Impl(UringGroup& group_given, ShardId self_given, const UringOptions& options_given)
    : group(group_given),
      self(self_given),
      options(options_given),
      is_wake_sent(group_given.members_.size(), false) {
    CHECK(self < group.members_.size());
    CHECK(group.members_[self].ring_fd.load() < 0);  // one reactor per shard
    CHECK(options.accepted_max + options.adopted_max >= 1 && options.events_per_turn_max >= 1);
    CHECK(options.sockets_per_ring_max >= 1 && options.accepts_per_listener >= 1);
    CHECK(std::has_single_bit(options.submissions_max));
    events.reserve(options.events_per_turn_max);
}

std::string Reactor::Impl::open() {
    UringGroup::Member& member = group.members_[self];
    if (member.event_fd.load() < 0) {
        const int fd = eventfd(0, EFD_CLOEXEC);
        if (fd < 0) return setup_error_text(errno);
        member.event_fd.store(fd);
    }
    std::string error = open_rings();
    if (error.empty()) member.ring_fd.store(rings.front()->ring.ring_fd);
    return error;
}

std::string Reactor::Impl::open_rings() {
    const uint64_t limit = descriptor_limit();
    const auto table_max = static_cast<uint32_t>(
        std::min<uint64_t>({options.sockets_per_ring_max, limit, table_entries_max}));
    const uint64_t all = uint64_t{options.accepted_max} + options.adopted_max;
    const bool are_plain = options.descriptors == Descriptors::plain;
    if (table_max == 0 || all > uint64_t{table_max} * rings_max || (are_plain && all > limit)) {
        return std::to_string(all) + " sockets per shard are more than the limit on open files (" +
               std::to_string(limit) +
               ") allows: raise it (ulimit -n; systemd: LimitNOFILE=), or allow fewer connections";
    }
    const auto rings_count = static_cast<uint32_t>(base::div_ceil<uint64_t>(all, table_max));
    const uint32_t buffers_least = std::min(options.recv_buffers_count, recv_buffers_per_ring_min);
    Ring::Share share{};
    share.recv_buffers_count = std::max(
        std::bit_ceil(base::div_ceil(options.recv_buffers_count, rings_count)), buffers_least);
    uint32_t accepted_left = options.accepted_max;
    uint32_t adopted_left = options.adopted_max;
    for (uint32_t number = 0; number < rings_count; ++number) {
        share.accepted_max = std::min(accepted_left, table_max);
        share.adopted_max = std::min(adopted_left, table_max - share.accepted_max);
        accepted_left -= share.accepted_max;
        adopted_left -= share.adopted_max;
        rings.push_back(std::make_unique<Ring>(number, options, share));
        std::string error = rings.back()->open(group.members_[self].event_fd.load());
        if (!error.empty()) return error;
    }
    return {};
}

// In the first turn, on the shard's thread.
void Reactor::Impl::start() {
    for (const std::unique_ptr<Ring>& ring : rings) ring->start();
    issuer = std::this_thread::get_id();
    is_started = true;
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

// A ring is a descriptor itself: half of what the limit allows may be rings.
uint64_t sockets_per_reactor_max(uint32_t reactors_count, Descriptors descriptors) {
    const uint64_t limit = descriptor_limit();
    if (descriptors == Descriptors::plain) {
        const uint64_t others = others_max + uint64_t{reactors_count} * others_per_reactor_max;
        return limit > others ? limit - others : 1;
    }
    const uint64_t rings_count = std::clamp<uint64_t>(limit / (2 * reactors_count), 1, rings_max);
    return rings_count * std::min(limit, table_entries_max);
}

uint64_t raise_descriptor_limit() {
    rlimit limit{};
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    rlimit raised = limit;
    raised.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &raised) == 0 ? raised.rlim_cur : limit.rlim_cur;
}

}  // namespace io
