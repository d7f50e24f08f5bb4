// The scripted reactor: an implementation of io/reactor.h in which a test plays the kernel and the
// peers.
//
// Nothing happens by itself: a test puts connections, bytes, ends and errors into the Impl, and the
// next turn() makes the events that a kernel would make of them. Time stands still until the test
// moves it.
//
// Owner: a test. Thread: the test's.
// Invariants:
//  1. A caller that breaks the contract of io/reactor.h (a second receive, a close with a send in
//     flight…) ends the test with a CHECK.
//  2. Received bytes stand in memory of their own with exactly the promised padding, and are freed
//     by the next turn(): AddressSanitizer finds whoever reads further or later.
//  3. The payload of a send is compared with what it was at the call whenever bytes of it are
//     taken.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/slab.h"
#include "io/reactor.h"

namespace broker::testing {

// One connection, both as the kernel sees it and as its peer does.
struct FakeSocket {
    // What the peer does. Set by the test.
    io::PeerAddress peer{};       // from where it connects; nowhere unless it is said
    std::string inbound;          // sent by the peer and not received yet
    bool peer_finished = false;   // the peer's end of stream follows inbound
    int error = 0;                // an errno that every operation ends with, e.g. ECONNRESET
    std::deque<int> recv_errors;  // errnos that the next receives end with
    std::deque<int> send_errors;  // errnos that the next sends end with
    uint64_t send_room_bytes = UINT64_MAX;  // what the kernel still takes; 0: a stalled peer
    uint64_t send_bytes_max = UINT64_MAX;   // the most that one send takes
    uint64_t recv_bytes_max = 16 * 1024;    // the most that one receive brings
    bool recv_ends_early = false;           // a receive with bytes is not armed any more after them

    // What the broker did. Read by the test.
    std::string outbound;  // taken from the broker
    bool write_shut = false;
    bool both_shut = false;
    bool is_closed = false;
    uint32_t sends_count = 0;
    uint32_t recv_starts_count = 0;
    uint32_t parts_count = 0;  // of the last send

    // The requests in flight.
    base::Slot slot;
    bool recv_armed = false;
    bool recv_stopping = false;
    uint64_t recv_ended_turn = 0;
    bool send_in_flight = false;
    std::vector<iovec> parts;
    std::string parts_copy;
    bool close_requested = false;
};

}  // namespace broker::testing

struct io::Reactor::Impl {
    using Socket = broker::testing::FakeSocket;

    struct Listener {
        bool is_armed = false;
        bool is_stopping = false;
        bool is_stopped = false;
        std::deque<uint32_t> waiting;  // sockets whose connection is established
        std::deque<int> errors;        // errnos of the next accepts
        uint32_t starts_count = 0;
    };

    // Set by the test.
    uint64_t now_ns = 1'000'000'000;
    uint64_t busy_ns = 0;
    uint32_t buffers_count = UINT32_MAX;  // receives with bytes per turn; more end with -ENOBUFS

    std::deque<Socket> sockets;  // grows only; a number is never given twice
    std::vector<Listener> listeners;
    std::vector<io::ShardId> wakes;  // all calls of wake()
    uint64_t deadline_ns = 0;        // of the last turn()
    uint64_t turns_count = 0;
    std::vector<io::Event> events;  // of the last turn()

    // A connection that waits to be accepted; answers its socket's number.
    uint32_t connect(uint16_t listener);

    // What the requests and turn() do.
    Socket& at(io::Socket socket, base::Slot slot);
    void turn(uint64_t deadline);

  private:
    void accept(uint16_t number);
    void recv(uint32_t number, uint32_t& buffers_left);
    void recv_end(uint32_t number, int32_t result);
    void send(uint32_t number);
    void send_end(uint32_t number, int32_t result);

    std::vector<std::unique_ptr<uint8_t[]>> lent_;
};

namespace broker::testing {

std::unique_ptr<io::Reactor> make_fake_reactor();

}  // namespace broker::testing
