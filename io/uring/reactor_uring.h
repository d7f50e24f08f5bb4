// The io_uring implementation of Reactor (io/reactor.h): how main builds one per shard.
//
// Owner: main owns the group and the reactors; the group outlives them.
// Threads: make_reactor on any; then the reactor, its destructor too, on its shard's thread only
// (the rings admit a single issuer, which is the thread of the first turn()); wake_from_outside on
// any. Limits: those of UringOptions, and sockets_per_reactor_max(): the kernel refuses a table of
// more sockets than RLIMIT_NOFILE allows open files, so a reactor that holds more has several
// rings; plain descriptors are open files.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/base/units.h"
#include "io/reactor.h"

namespace io {

// How the sockets are held.
enum class Descriptors : uint8_t {
    // In the rings' tables (direct descriptors), which saves the kernel a look-up per request and
    // the process its limit on open files.
    direct,
    // As descriptors of the process. Before Linux 6.13 the kernel lets go of what was taken out of
    // a table only when all requests have ended that began before: one idle connection, whose
    // receive waits, keeps every socket that is closed after it, and its peer believes it open.
    plain,
};

struct UringOptions {
    Descriptors descriptors = Descriptors::direct;
    // Accepted sockets that the reactor holds at most.
    uint32_t accepted_max = 16'384;
    // Sockets from adopt() that it holds beside them. They have a part of a table of their own,
    // because only then is it known at the call which entry is free: the kernel chooses among the
    // others.
    uint32_t adopted_max = 64;
    // Sockets in the table of one ring; more of them take more rings. The limit on open files makes
    // it smaller.
    uint32_t sockets_per_ring_max = 1'048'576;
    // Accepts that wait at each listener: how many connections one turn can take from its queue.
    // Each takes an entry of the table, so over one of several listeners so many fewer sockets come
    // in as wait at the others.
    uint32_t accepts_per_listener = 16;
    // Shared by all connections, because bytes are lent for one turn only. A power of two, up to
    // 32,768; several rings have a part of them each, but not fewer than 128.
    uint32_t recv_buffers_count = 256;
    uint32_t recv_buffer_bytes = 16 * base::kib;
    // What arrives beyond this stays in the kernel's queue for the next turn.
    uint32_t events_per_turn_max = 1'024;
    // Requests of one ring between two system calls; with more than this, turn() is not the only
    // system call. The queue of completions has room for eight times as many; the kernel keeps what
    // does not fit. A power of two.
    uint32_t submissions_max = 1'024;
};

// What the reactors of one process know of each other: how to wake whom.
class UringGroup {
  public:
    explicit UringGroup(uint32_t shards_count);
    ~UringGroup();
    UringGroup(const UringGroup&) = delete;
    UringGroup& operator=(const UringGroup&) = delete;

    // Makes the shard's turn() return soon, or its next one if it is not in one. From any thread,
    // from a signal handler too, and at any time: a shard that has no reactor yet or any more is
    // not disturbed.
    void wake_from_outside(ShardId shard);

  private:
    friend struct Reactor::Impl;

    struct Member {
        // Where other shards send their wakes; -1 while the shard has no ring.
        std::atomic<int> ring_fd{-1};
        // What threads without a ring write to, and the shard's further rings; its first ring
        // always has a read armed on it. It lives as long as the group, so that a wake that comes
        // too late writes to nobody and not to a stranger.
        std::atomic<int> event_fd{-1};
    };

    std::vector<Member> members_;
};

// Null after a failure; `error` then says what the kernel refused and what helps.
[[nodiscard]] std::unique_ptr<Reactor> make_reactor(UringGroup& group, ShardId self,
                                                    const UringOptions& options,
                                                    std::string& error);

// The best that this kernel can do, found out by trying: whether a socket that is closed in a table
// is closed, while another one has a receive waiting. Plain when it cannot be tried.
Descriptors usable_descriptors();

// How many sockets a reactor can hold when the process has so many of them, by the soft limit on
// open files as it is now. Plain ones of all reactors together, a few left out for everything else.
uint64_t sockets_per_reactor_max(uint32_t reactors_count, Descriptors descriptors);

// Raises the soft limit on open files to the hard one, and answers what it is now. For main, before
// the first make_reactor.
uint64_t raise_descriptor_limit();

}  // namespace io
