// Reactor::Impl: the state of the io_uring reactor, shared by the files that define it and by
// nobody else.
//
// reactor_setup.cc builds the ring, reactor_accept.cc accepts, reactor_uring.cc does all else.
//
// Owner: Reactor. Thread: its shard's, after set-up.
// Invariants:
//  1. A request goes into the submission queue at the call and to the kernel with the next turn (or
//     earlier, when the queue is full). Requests are never linked.
//  2. The counters of requests in flight are exact, so the end can wait until all have come back.
//  3. sockets_held + accepts_armed never exceeds options.sockets_max.
//  4. An entry of the table is not closed before the shutdowns of it have completed.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "io/base/check.h"
#include "io/reactor.h"
#include "io/uring/reactor_uring.h"
#include "io/uring/recv_buffers.h"
#include "io/uring/send_arena.h"
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
    std::string open_ring();
    std::string open_tables();

    uint16_t listener_add(int listening_fd);
    void accept_start(uint16_t number);
    void accept_stop(uint16_t number);
    Socket adopt(int fd);
    void recv_start(Socket socket, base::Slot slot);
    void recv_stop(base::Slot slot);
    void send(Socket socket, base::Slot slot, std::span<const iovec> parts);
    void shutdown(Socket socket, Direction direction);
    void close(Socket socket, base::Slot slot);
    void wake(ShardId shard);
    void turn(uint64_t deadline_ns);

    struct SocketState {
        base::Slot close_slot;    // of a close that waits for shutdowns to end
        uint8_t shutdowns = 0;    // in flight
        bool is_open = false;     // from accept or adopt until close()
        bool is_closing = false;  // close() waits for shutdowns to end
    };

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
    };

    // An adopted socket whose entry is free once the close of this slot has completed.
    struct AdoptedClosing {
        base::Slot slot;
        uint32_t socket;
    };

    SocketState& state_of(Socket socket) {
        CHECK(socket.value < sockets.size());
        return sockets[socket.value];
    }
    Listener& listener_at(uint16_t number) {
        CHECK(number < listeners.size());
        return listeners[number];
    }

    io_uring_sqe* prepare();
    // Last, because the functions of liburing that prepare a request clear its token.
    void tag(io_uring_sqe* sqe, Token token) const { io_uring_sqe_set_data64(sqe, token.pack()); }
    void cancel(Token target);

    void start();
    void wake_read_arm();
    void accepts_arm();
    Token accept_arm(Listener& listener);
    void stopping_advance(uint16_t number);
    void close_submit(Socket socket, base::Slot slot);
    uint32_t sockets_free() const;

    void wait(uint64_t deadline_ns);
    void submitted(int result) const;
    void collect();
    void complete(const io_uring_cqe& cqe);
    void on_accept(uint32_t entry_index, int32_t result);
    void on_recv(base::Slot slot, const io_uring_cqe& cqe);
    void on_close(base::Slot slot, int32_t result);
    void on_shutdown(Socket socket);

    uint32_t in_flight_count() const;
    void finish();

    UringGroup& group;
    const ShardId self;
    const UringOptions options;

    io_uring ring{};
    bool is_ring_open = false;
    bool is_started = false;
    std::thread::id issuer;  // the only thread that the ring admits, from start() on
    RecvBuffers buffers;
    SendArena arena;
    std::vector<Event> events;

    std::vector<SocketState> sockets;    // [0, sockets_max) accepted, then adopted_max adopted ones
    std::vector<uint32_t> adopted_free;  // entries of the table
    std::vector<AdoptedClosing> adopted_closing;
    std::vector<Listener> listeners;
    std::vector<AcceptEntry> accepts;
    std::vector<bool> is_wake_sent;  // per shard, since the last turn
    uint64_t wake_word = 0;          // where the read of the eventfd puts its counter

    // What is with the kernel, by kind.
    uint32_t sockets_held = 0;
    uint32_t accepts_armed = 0;
    uint32_t receives_armed = 0;
    uint32_t sends = 0;
    uint32_t closes = 0;
    uint32_t shutdowns = 0;
    bool is_wake_read_armed = false;
    bool has_overflowed = false;  // in the last turn; the kernel held completions back
};

// CLOCK_MONOTONIC, from which all of now_ns() and all deadlines are.
uint64_t clock_ns();

}  // namespace io
