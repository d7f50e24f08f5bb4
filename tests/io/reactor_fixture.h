// ReactorTest: the fixture of the tests that hold a reactor to the contract of io/reactor.h, point
// by point, over real sockets: once with one ring, and once with so many that hardly two sockets
// share one.
//
// Owner: a test. Thread: the test's.
// Invariants:
//  1. Whatever a turn brought and no await() has answered stands in seen_, in its order.
//  2. The bytes of every receive are checked to be writable and padded, as point 6 has it.
#pragma once

#include <gtest/gtest.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "io/base/slab.h"
#include "io/base/units.h"
#include "io/reactor.h"
#include "io/uring/reactor_uring.h"

namespace io_test {

// What the reactor is made of in a run of the tests.
struct Build {
    uint32_t sockets_per_ring_max;  // of the 128 that small_options() has
    io::Descriptors descriptors = io::Descriptors::direct;
};
inline constexpr uint32_t one_ring = 10'000;
inline constexpr uint32_t many_rings = 3;
inline constexpr uint64_t patience_ns = 10 * base::ns_per_s;

inline constexpr base::Slot slot_1{1, 1};
inline constexpr base::Slot slot_2{2, 0xff'ffff};

// An event with copies of what it points to, which dies at the next turn.
struct Seen {
    io::Op op;
    bool more;
    uint16_t listener;
    int32_t result;
    base::Slot slot;
    io::Socket socket;
    std::string bytes;
    std::string peer;
};

// So many bytes, of which none can be missing, doubled or moved unnoticed.
std::string pattern(size_t bytes);
iovec part(const std::string& text);

void write_all(int fd, const std::string& text);
// Everything that arrives at a peer's end within `bytes`, or until its end of stream.
std::string read_up_to(int fd, size_t bytes);
// The next read at a peer's end: its bytes, 0 for the end of stream, -errno after an error.
ssize_t read_once(int fd);

io::UringOptions small_options();

class ReactorTest : public testing::TestWithParam<Build> {
  protected:
    ReactorTest() { open(small_options()); }
    ~ReactorTest() override;

    void open(io::UringOptions options);
    static bool has_one_ring() { return GetParam().sockets_per_ring_max == one_ring; }
    static bool is_plain() { return GetParam().descriptors == io::Descriptors::plain; }
    // With room for thousands of adopted sockets.
    void open_for_adopted(uint32_t sockets_count);
    // Both ends of socket pairs; an even number of them.
    std::vector<io::Socket> adopt_pairs(uint32_t sockets_count);

    // Turns until an event satisfies `wanted`, which is answered; all others are kept in seen_.
    Seen await(const std::function<bool(const Seen&)>& wanted);
    Seen await(io::Op op);
    Seen await(io::Op op, base::Slot slot);
    Seen await_receive_end(base::Slot slot);
    void turn(uint64_t deadline_ns);
    // Turns that find nothing more to do.
    void settle();

    // A connection whose other end is a plain descriptor.
    io::Socket pair(int& peer);
    // A new listener of the reactor, before its first turn.
    uint16_t listen(const std::string& text = "127.0.0.1:0");
    // A client of a listener; `name` becomes its own address. -1: refused.
    int connect(uint16_t listener, std::string* name = nullptr);
    // A TCP connection: the reactor's side, and the client's descriptor.
    io::Socket accepted(int& client);

    // Closes a peer's end early: an end of stream follows, or a reset.
    void drop_peer(int fd);
    void reset_peer(int fd);

    void close_socket(io::Socket socket, base::Slot slot);
    // Ends the armed receive of a connection.
    void stop_receive(io::Socket socket, base::Slot slot);
    // All bytes that come for a slot until there are `bytes`.
    std::string receive(base::Slot slot, size_t bytes);

    io::UringGroup group_{2};
    std::unique_ptr<io::Reactor> reactor_;
    std::vector<Seen> seen_;
    std::vector<std::string> bound_;
    std::vector<int> peers_;
};

}  // namespace io_test
