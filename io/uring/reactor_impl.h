// Reactor::Impl: the state of the io_uring reactor, shared by the files that define it and by
// nobody else.
//
// ring.cc is one ring; reactor_setup.cc builds as many as are needed, reactor_accept.cc accepts,
// reactor_uring.cc does all else.
//
// Owner: Reactor. Thread: its shard's, after set-up.
// Invariants (those of Ring, and):
//  1. All requests for a socket go to the ring whose table holds it, and so does what cancels them.
//  2. A socket is accepted into the first ring that has a free entry, so that further rings lie
//     idle until they are needed.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "io/base/check.h"
#include "io/reactor.h"
#include "io/uring/reactor_uring.h"
#include "io/uring/ring.h"
#include "io/uring/token.h"
#include "io/uring/uring_compat.h"

namespace io {

struct Reactor::Impl {
    Impl(UringGroup& group_given, ShardId self_given, const UringOptions& options_given);
    ~Impl();
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;

    // Set-up; empty or an error that names the cure.
    std::string open();
    std::string open_rings();

    uint16_t listener_add(int listening_fd);
    void accept_start(uint16_t number);
    void accept_stop(uint16_t number);
    Socket adopt(int fd);
    void recv_start(Socket socket, base::Slot slot);
    void recv_stop(Socket socket, base::Slot slot);
    void send(Socket socket, base::Slot slot, std::span<const iovec> parts);
    void shutdown(Socket socket, Direction direction);
    void close(Socket socket, base::Slot slot);
    void wake(ShardId shard);
    void turn(uint64_t deadline_ns);

    enum class ListenerState : uint8_t { paused, accepting, stopping, stopped };

    struct Listener {
        int fd = -1;
        ListenerState state = ListenerState::paused;
        // Stopping: the armed accepts came back, the queue is being emptied.
        bool is_draining = false;
        // Stopping: the queue was found empty.
        bool is_drained = false;
        // Entries of the accept pool that are not armed.
        std::vector<uint32_t> idle;
    };

    struct AcceptEntry {
        PeerAddress peer;  // written by the kernel; read by the caller until the next turn
        uint16_t listener = 0;
        bool is_armed = false;
        Ring* ring = nullptr;  // where it is armed
    };

    Ring& ring_of(SocketPlace place) {
        CHECK(place.ring < rings.size());
        return *rings[place.ring];
    }
    Listener& listener_at(uint16_t number) {
        CHECK(number < listeners.size());
        return listeners[number];
    }

    // Last, because the functions of liburing that prepare a request clear its token.
    static void tag(io_uring_sqe* sqe, Token token) { io_uring_sqe_set_data64(sqe, token.pack()); }
    static void cancel(Ring& ring, Token target);

    void start();
    void wake_read_arm();
    void accepts_arm();
    Ring* ring_with_room() const;
    Token accept_arm(Ring& ring, Listener& listener);
    void stopping_advance(uint16_t number);
    static void close_submit(Ring& ring, uint32_t entry);
    static void shutdown_by_worker(Ring& ring, uint32_t entry, int how);

    void wait(uint64_t deadline_ns);
    void collect();
    void collect(Ring& ring);
    void complete(Ring& ring, const io_uring_cqe& cqe);
    void on_accept(Ring& ring, uint32_t entry_index, int32_t result);
    void on_recv(Ring& ring, base::Slot slot, const io_uring_cqe& cqe);
    void on_close(Ring& ring, base::Slot slot, int32_t result);
    static void on_installed(Ring& ring, uint32_t entry, int how, int32_t fd);
    static void on_shutdown(Ring& ring, uint32_t entry);

    uint32_t in_flight_count(const Ring& ring) const;
    void finish(Ring& ring);

    UringGroup& group;
    const ShardId self;
    const UringOptions options;

    std::vector<std::unique_ptr<Ring>> rings;  // the first one waits for all
    uint32_t collected_first = 0;              // the ring whose completions came first in this turn
    bool is_started = false;
    std::thread::id issuer;  // the only thread that the rings admit, from start() on
    std::vector<Event> events;

    std::vector<Listener> listeners;
    std::vector<AcceptEntry> accepts;
    std::vector<bool> is_wake_sent;  // per shard, since the last turn
    uint64_t wake_word = 0;          // where the read of the eventfd puts its counter

    bool is_wake_read_armed = false;
    bool has_overflowed = false;  // in the last turn; the kernel held completions back
};

}  // namespace io
