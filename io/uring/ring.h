// Ring: one io_uring of a reactor, with the table and the buffers of its sockets.
//
// The table is the kernel's (direct descriptors), or is kept here and holds plain descriptors of
// the process (Descriptors says why).
//
// A table of direct descriptors is limited like open files are, so a reactor that holds more
// sockets than that has several rings. The first one is its clock and its door: it waits in turn(),
// other shards wake it, and whatever happens on the further rings is written to the eventfd on
// which it has a read armed. So waiting is one system call however many rings there are, and a
// further ring costs none while nothing happens on it.
//
// Owner: the io_uring reactor. Thread: its shard's, after open().
// Invariants:
//  1. A request goes into the submission queue at the call and to the kernel with the next turn (or
//     earlier, when the queue is full). Requests are never linked.
//  2. The counters of requests in flight are exact, so the end can wait until all have come back.
//  3. accepted_held + accepts_armed never exceeds accepted_max.
//  4. An entry of the table is not closed before the shutdowns of it have completed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "io/base/check.h"
#include "io/reactor.h"
#include "io/uring/reactor_uring.h"
#include "io/uring/recv_buffers.h"
#include "io/uring/send_arena.h"
#include "io/uring/uring_compat.h"

namespace io {

// Where a socket lives: 8 bits of ring, 24 of entry in its table. With one ring the number is that
// of the entry.
struct SocketPlace {
    static constexpr uint32_t entry_bits = 24;
    static constexpr uint32_t entries_max = uint32_t{1} << entry_bits;

    uint32_t ring;
    uint32_t entry;

    static SocketPlace of(Socket socket) {
        return {socket.value >> entry_bits, socket.value & (entries_max - 1)};
    }
    Socket socket() const { return Socket{ring << entry_bits | entry}; }
};

struct Ring {
    // How the table is divided: the kernel chooses among the first entries, for accepted
    // connections; those for adopted ones are ours to give.
    struct Share {
        uint32_t accepted_max;
        uint32_t adopted_max;
        uint32_t recv_buffers_count;
    };

    Ring(uint32_t number_given, const UringOptions& options_given, const Share& share);
    ~Ring();
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;

    // Set-up; empty or an error that names the cure. A further ring tells `event_fd` that something
    // happened on it.
    std::string open(int event_fd);
    // In the first turn, on the shard's thread.
    void start();

    io_uring_sqe* prepare();
    // Hands over the requests and lets the kernel work out completions; no system call when there
    // is nothing of either.
    void advance();
    // The same, by a system call whatever there is.
    void look();
    // The same, and waits for a first completion, until `deadline_ns` at the latest.
    void wait(uint64_t deadline_ns);
    bool has_completions() const { return io_uring_cq_ready(&ring) > 0; }
    // The kernel has work for this ring that it does only when it is asked (a further ring alone
    // knows).
    bool has_work() const {
        constexpr unsigned work = IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW;
        return (io_uring_smp_load_acquire(ring.sq.kflags) & work) != 0;
    }
    uint32_t accepts_free() const { return accepted_max - accepted_held - accepts_armed; }
    uint32_t in_flight_count() const {
        return accepts_armed + receives_armed + sends + closes + shutdowns;
    }

    bool is_direct() const { return options.descriptors == Descriptors::direct; }
    // Names a socket in a request.
    void aim(io_uring_sqe* sqe, uint32_t entry) const {
        sqe->fd = is_direct() ? static_cast<int>(entry) : plain[entry];
        if (is_direct()) sqe->flags |= IOSQE_FIXED_FILE;
    }
    // The entry of a new socket, by what the kernel told of it.
    uint32_t accepted(int32_t result) {
        if (is_direct()) return static_cast<uint32_t>(result);
        const uint32_t entry = accepted_free.back();
        accepted_free.pop_back();
        plain[entry] = result;
        return entry;
    }
    // An entry that the kernel did not choose is free again.
    void give_back(uint32_t entry) {
        if (!is_direct()) plain[entry] = -1;
        (entry < accepted_max ? accepted_free : adopted_free).push_back(entry);
    }

    struct SocketState {
        // Of a close that waits for shutdowns to end, or that names the entry, until it is done.
        base::Slot close_slot;
        uint8_t shutdowns = 0;    // in flight
        bool is_open = false;     // from accept or adopt until close()
        bool is_closing = false;  // close() waits for shutdowns to end
    };

    SocketState& state_of(uint32_t entry) {
        CHECK(entry < sockets.size());
        return sockets[entry];
    }

    const uint32_t number;
    const UringOptions& options;
    const uint32_t accepted_max;

    io_uring ring{};
    bool is_open = false;
    bool is_started = false;
    bool can_install = false;  // a shutdown needs no worker thread; only the first ring knows
    RecvBuffers buffers;
    SendArena arena;

    std::vector<SocketState> sockets;    // [0, accepted_max) accepted, then the adopted ones
    std::vector<uint32_t> adopted_free;  // entries of the table
    // Of plain descriptors only: those of the entries, and the entries for accepted sockets, which
    // the kernel chooses otherwise.
    std::vector<int> plain;
    std::vector<uint32_t> accepted_free;

    // What is with the kernel, by kind.
    uint32_t accepted_held = 0;
    uint32_t accepts_armed = 0;
    uint32_t receives_armed = 0;
    uint32_t sends = 0;
    uint32_t closes = 0;
    uint32_t shutdowns = 0;

  private:
    std::string open_queues();
    std::string open_table();
    void submitted(int result);
};

// CLOCK_MONOTONIC, from which all of now_ns() and all deadlines are.
uint64_t clock_ns();

}  // namespace io
