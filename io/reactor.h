// Reactor: turns requests into kernel operations and their completions into events. One per shard.
//
// This is the seam of the house. The class is concrete and has two implementations that are chosen
// at link time: io_uring (io/uring) and the simulator (tests/sim). The same archives are simulated
// and shipped, and a fake cannot slip into the product.
//
// Owner: main (or the simulated world) builds it and outlives the shard that uses it.
// Thread: built anywhere, then used only on the thread of its shard.
//
// Contract (both implementations keep it; the simulator also checks that callers do):
//  1. Requests cannot fail at the call; every failure arrives as an event with result < 0 (-errno).
//  2. At most one receive and one send are in flight per socket.
//  3. Events of different operations on one socket may arrive in any order.
//  4. Receive: result > 0 brings that many bytes, 0 is the peer's end of stream, < 0 an error.
//     `more` tells whether the receive is still armed; false means it is not, whatever the result
//     was, even when data follows. -ENOBUFS is a state and not an error: no buffer was at home; arm
//     it again, at most as many receives per turn as bytes arrived on in that turn, in rotation.
//  5. After recv_stop events with bytes may still come, until the one with more == false (which is
//     -ECANCELED when the stop itself ended it). A stop may cross the event that ended the receive
//     by itself, which the caller has not seen yet: then it does nothing.
//  6. Event::bytes is writable, has base::readable_padding_bytes readable bytes after it, and dies
//     at the next turn().
//  7. Send: result > 0 is the number of bytes that the kernel took, often fewer than asked for; the
//     payload must live until the event, the array of parts only until send() returns. Sends never
//     raise SIGPIPE. At most iovecs_per_send_max parts, at least one byte.
//  8. shutdown has no event; what it ends (a receive, a send) says so by its own event. shutdown
//     after the peer reset the connection is legal and does nothing.
//  9. close is the last request for a socket and legal only when no receive and no send is in
//     flight; its event is the last for that slot. The kernel may give the same descriptor to a new
//     connection before the caller has seen that event.
// 10. Accept: every event with result == 0 brings a new socket and its peer. A result < 0 means
//     that an accept failed and is not tried again until accept_start is called once more (wait a
//     little: -EMFILE does not pass by itself). The reactor never holds more accepted sockets than
//     it was built for; further connections wait in the kernel's queue.
// 11. now_ns() is monotonic and constant between two turns.
// 12. turn() may return early with no event at all.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <span>

#include "io/base/slab.h"

namespace io {

using ShardId = uint32_t;

// A connection's descriptor. Opaque: it means something only to the reactor that gave it (a reactor
// may own several rings, each with a table of its own). It is not a file descriptor.
struct Socket {
    uint32_t value = UINT32_MAX;

    friend bool operator==(const Socket&, const Socket&) = default;
    bool is_none() const { return value == UINT32_MAX; }
};

// The peer of an accepted connection, as accept(2) gave it.
struct PeerAddress {
    sockaddr_storage storage;
    socklen_t length;
};

enum class Op : uint8_t { accept, recv, send, close };

// How much of a connection shutdown(2) ends.
enum class Direction : uint8_t { write, both };

struct Event {
    Op op;
    bool more = false;                  // recv: the request is still armed
    uint16_t listener = 0;              // accept: which listener, as listener_add numbered them
    int32_t result = 0;                 // bytes, 0, or -errno
    base::Slot slot{};                  // recv, send, close: the slot that the request named
    Socket socket{};                    // accept: the new socket
    const PeerAddress* peer = nullptr;  // accept: valid until the next turn
    std::span<uint8_t> bytes{};         // recv with result > 0: valid until the next turn
};

inline constexpr uint32_t iovecs_per_send_max = 64;

class Reactor {
  public:
    ~Reactor();
    Reactor(const Reactor&) = delete;
    Reactor& operator=(const Reactor&) = delete;

    // Before the first turn. Takes over the listening descriptor and numbers it 0, 1, 2…
    uint16_t listener_add(int listening_fd);

    void accept_start(uint16_t listener);

    // Ends accepting for good. Closing a listener resets what waits in its queue, so nobody is let
    // into that any more (drop_new_handshakes), and what waits is accepted first, as room becomes
    // free; the last event of a listener has result -ECANCELED, and the listening descriptor is
    // closed by then. Called a second time it ends at once: accepts that won the race still arrive,
    // what waits is reset.
    void accept_stop(uint16_t listener);

    // Brings a connected stream descriptor into the reactor, which takes it over. The one request
    // that can fail at the call: is_none() when the table of sockets is full (the descriptor then
    // stays the caller's).
    [[nodiscard]] Socket adopt(int fd);

    void recv_start(Socket socket, base::Slot slot);
    void recv_stop(Socket socket, base::Slot slot);
    void send(Socket socket, base::Slot slot, std::span<const iovec> parts);
    void shutdown(Socket socket, Direction direction);
    void close(Socket socket, base::Slot slot);

    // Makes the turn() of another shard's reactor return soon. Cheap to call often: at most one
    // wake per destination is sent per turn.
    void wake(ShardId shard);

    // Submits all requests since the last turn and waits until something happened or `deadline_ns`
    // (in the time of now_ns(); base::never_ns waits without a bound, 0 only looks). Events and
    // what they point to are valid until the next turn.
    std::span<const Event> turn(uint64_t deadline_ns);

    uint64_t now_ns() const { return now_ns_; }

    // How long the caller worked between the last turn's return and the call of this one.
    uint64_t busy_ns() const { return busy_ns_; }

    // Turns in which completions did not fit the queue between kernel and us. None is lost.
    uint64_t overflows_count() const { return overflows_count_; }

    // Defined by the implementation that is linked; only its own factory can make one.
    struct Impl;
    explicit Reactor(std::unique_ptr<Impl> impl);
    Impl& impl() { return *impl_; }

  private:
    std::unique_ptr<Impl> impl_;
    uint64_t now_ns_ = 0;
    uint64_t busy_ns_ = 0;
    uint64_t overflows_count_ = 0;
};

}  // namespace io
