// Kernel: the simulated operating system under one shard, and the io::Reactor that talks to it.
//
// It is the second implementation of io/reactor.h. Every freedom that the contract leaves to a
// kernel is used where a fault allows it, and every duty that the contract lays on the caller is
// checked: a broken one is a programmer's error and ends the process.
//
// How it runs: Reactor::turn() submits the requests and pauses the shard's fiber. The world calls
// work(), which moves bytes and makes completions, and resumes the fiber when is_turn_due(). Then
// turn() hands events out.
//
// Owner: World builds the kernel, then the reactor over it; both outlive the shard.
// Thread: the World's.
// Invariants:
//  1. A buffer is at home, filled and waiting in a completion, or lent to the shard until its next
//     turn. At home it is poisoned for AddressSanitizer and overwritten, so that a late reader is
//     found in every build.
//  2. A payload in flight is hashed when it is given and compared whenever bytes of it are taken.
//  3. A descriptor is free again, and given to the next connection, before its close was reported.
// Limits: SimReactorOptions.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "io/base/units.h"
#include "io/reactor.h"
#include "tests/sim/fiber.h"
#include "tests/sim/network.h"

namespace sim {

struct SimReactorOptions {
    uint32_t sockets_max = 1'024;
    uint32_t buffers_count = 16;
    uint32_t buffer_bytes = 4'096;
    uint32_t events_per_turn_max = 256;
};

class Kernel {
  public:
    Kernel(Network& network, io::ShardId shard, const SimReactorOptions& options);
    ~Kernel();
    Kernel(const Kernel&) = delete;
    Kernel& operator=(const Kernel&) = delete;

    // The requests of io::Reactor, which keep its contract.
    uint16_t listener_add();
    void accept_start(uint16_t listener);
    void accept_stop(uint16_t listener);
    void recv_start(io::Socket socket, base::Slot slot);
    void recv_stop(io::Socket socket, base::Slot slot);
    void send(io::Socket socket, base::Slot slot, std::span<const iovec> parts);
    void shutdown(io::Socket socket, io::Direction direction);
    void close(io::Socket socket, base::Slot slot);
    void wake(io::ShardId shard);
    std::span<const io::Event> turn(uint64_t deadline_ns);
    uint64_t now_ns() const { return network_.clock().now_ns; }

    // The world's side.
    void attach(Fiber& fiber) { fiber_ = &fiber; }
    // Moves what can move now.
    void work();
    // Whether the shard, which waits in turn(), has a reason to go on.
    bool is_turn_due() const;
    // When work() or is_turn_due() may have something to say; not after now_ns() when at once.
    uint64_t ready_at_ns() const;
    uint64_t deadline_ns() const { return deadline_ns_; }
    uint32_t sockets_count() const { return sockets_count_; }
    uint64_t events_count() const { return events_total_; }
    uint64_t sends_partial_count() const { return sends_partial_; }
    // After the shard stopped: no socket, no completion, no request, every buffer at home.
    // Answers what is not; empty when all is well.
    std::string leftovers() const;

  private:
    static constexpr uint32_t none = UINT32_MAX;

    struct Request {
        enum class Kind : uint8_t {
            accept_start,
            accept_stop,
            recv_start,
            recv_stop,
            send,
            shutdown,
            close
        };
        Kind kind;
        uint32_t target;  // a socket's index or a listener
        base::Slot slot;
        io::Direction direction = io::Direction::both;
    };

    struct Listener {
        bool is_asked = false;  // the caller's view: accept_start without a failure since
        bool is_stop_asked = false;
        bool is_hurried = false;  // the stop was asked for a second time
        bool is_armed = false;    // the kernel's view
        bool is_stopping = false;
        bool is_closed = false;
    };

    struct SocketState {
        bool is_open = false;
        ConnectionId connection = no_connection;
        // The first request of a connection names it; the others must name the same.
        base::Slot slot;
        // The caller's view: from the request until its last event is handed out.
        bool is_recv_asked = false;
        bool is_recv_stop_asked = false;
        bool is_send_asked = false;
        bool is_close_asked = false;
        // The kernel's view: from the submission until the completion is made.
        bool is_recv_armed = false;
        bool is_recv_stopping = false;
        bool is_sending = false;
        bool is_error_reported = false;
        uint64_t shut_read_from_ns = base::never_ns;  // from when on a receive ends
        std::vector<std::span<const uint8_t>> parts;
        uint64_t parts_hash = 0;
        uint32_t send_bytes = 0;
        uint32_t send_taken = 0;
        uint64_t recv_ended_turn = 0;  // in which turn() the last event of a receive was handed out
        uint64_t recv_hold_ns = 0;     // nothing is reported before, by a fault
        uint64_t send_hold_ns = 0;
    };

    struct Completion {
        uint64_t due_ns = 0;
        io::Event event;
        uint32_t socket = none;
        uint32_t buffer = none;
        ConnectionId connection = no_connection;
    };

    SocketState& open_socket(io::Socket socket, base::Slot slot);
    void submit();
    void submit_one(const Request& request);
    void submit_close(uint32_t index, base::Slot slot);
    void buffers_return();
    void accept_work(uint16_t number);
    void accept_one(uint16_t number);
    void accept_end(uint16_t number);
    void recv_work(uint32_t index);
    // Brings one piece; false when no buffer is at home.
    bool recv_piece(uint32_t index, uint32_t readable);
    void recv_end(uint32_t index, int32_t result);
    void send_work(uint32_t index);
    void send_end(uint32_t index, int32_t result);
    void send_take(SocketState& state, Connection& connection, uint32_t bytes);
    static uint64_t hash_of(const SocketState& state);
    void complete(uint32_t index, io::Op op, int32_t result, bool more);
    void look_again(uint64_t at_ns);
    void hand_out(const Completion& completion);
    uint64_t soon_ns();
    bool maybe_hold(Fault fault, uint64_t& hold_ns);

    uint8_t* buffer_at(uint32_t buffer) { return buffers_.get() + size_t{buffer} * buffer_stride_; }
    void poison(uint32_t buffer);
    void unpoison(uint32_t buffer, uint32_t bytes);

    Network& network_;
    Faults& faults_;
    const io::ShardId shard_;
    const SimReactorOptions options_;
    Fiber* fiber_ = nullptr;

    std::vector<Listener> listeners_;
    std::vector<SocketState> sockets_;
    std::vector<uint32_t> sockets_free_;  // the last one freed is taken first
    uint32_t sockets_count_ = 0;

    const uint32_t buffer_stride_;
    std::unique_ptr<uint8_t[]> buffers_;
    std::vector<uint32_t> buffers_home_;
    std::vector<uint32_t> buffers_lent_;

    std::vector<Request> requests_;
    std::vector<bool> wakes_;
    std::deque<Completion> completions_;
    std::vector<io::Event> events_;
    std::deque<io::PeerAddress> peers_;  // a deque, because the events point to its elements
    uint64_t deadline_ns_ = 0;
    uint64_t turns_count_ = 0;
    uint64_t events_total_ = 0;
    uint64_t sends_partial_ = 0;
};

// A reactor over `kernel`, which must outlive it.
std::unique_ptr<io::Reactor> make_reactor(Kernel& kernel);

}  // namespace sim
