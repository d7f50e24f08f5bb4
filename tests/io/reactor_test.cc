// The contract of io/reactor.h, point by point, over real sockets: once with one ring, and once
// with so many that hardly two sockets share one. What is particular to io_uring (its limits, its
// two ways to wake, its rings, its end) stands at the bottom. Why one file: the points of one
// contract, in their order, with one set of helpers.

#include "io/reactor.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <iterator>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "io/base/units.h"
#include "io/listener.h"
#include "io/peer_address.h"
#include "io/uring/reactor_uring.h"
#include "io/uring/ring.h"

namespace {

using base::Slot;
using io::Direction;
using io::Event;
using io::Op;
using io::Reactor;
using io::Socket;

// Sockets per ring, of which small_options() has 128.
constexpr uint32_t one_ring = 10'000;
constexpr uint32_t many_rings = 3;
constexpr uint64_t patience_ns = 10 * base::ns_per_s;

// An event with copies of what it points to, which dies at the next turn.
struct Seen {
    Op op;
    bool more;
    uint16_t listener;
    int32_t result;
    Slot slot;
    Socket socket;
    std::string bytes;
    std::string peer;
};

std::string pattern(size_t bytes) {
    std::string text(bytes, '\0');
    for (size_t index = 0; index < bytes; ++index) {
        text[index] = static_cast<char>(index * 131 >> 3);
    }
    return text;
}

iovec part(const std::string& text) {
    return {const_cast<char*>(text.data()), text.size()};
}

void write_all(int fd, const std::string& text) {
    ASSERT_EQ(write(fd, text.data(), text.size()), static_cast<ssize_t>(text.size()));
}

// Everything that arrives at a peer's end within `bytes`, or until its end of stream.
std::string read_up_to(int fd, size_t bytes) {
    std::string all;
    std::vector<char> piece(64 * base::kib);
    while (all.size() < bytes) {
        pollfd ready{fd, POLLIN, 0};
        if (poll(&ready, 1, 10'000) != 1) break;
        const ssize_t count = read(fd, piece.data(), std::min(piece.size(), bytes - all.size()));
        if (count <= 0) break;
        all.append(piece.data(), static_cast<size_t>(count));
    }
    return all;
}

// The next read at a peer's end: its bytes, 0 for the end of stream, -errno after an error.
ssize_t read_once(int fd) {
    pollfd ready{fd, POLLIN, 0};
    if (poll(&ready, 1, 10'000) != 1) return -ETIMEDOUT;
    char piece[4096];
    const ssize_t count = read(fd, piece, sizeof piece);
    return count < 0 ? -errno : count;
}

// Closing so that the peer is reset and not told of an end of stream.
void close_with_reset(int fd) {
    const linger abort{1, 0};
    ASSERT_EQ(setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort, sizeof abort), 0);
    close(fd);
}

io::UringOptions small_options() {
    io::UringOptions options;
    options.accepted_max = 64;
    options.adopted_max = 64;
    options.recv_buffers_count = 16;
    options.recv_buffer_bytes = 4096;
    options.accepts_per_listener = 4;
    options.events_per_turn_max = 64;
    options.submissions_max = 64;
    return options;
}

class ReactorTest : public testing::TestWithParam<uint32_t> {
  protected:
    ReactorTest() { open(small_options()); }
    ~ReactorTest() override {
        reactor_.reset();
        for (const int fd : peers_) close(fd);
    }

    void open(io::UringOptions options) {
        reactor_.reset();
        if (options.sockets_per_ring_max == io::UringOptions{}.sockets_per_ring_max) {
            options.sockets_per_ring_max = GetParam();
        }
        std::string error;
        reactor_ = io::make_reactor(group_, 0, options, error);
        ASSERT_NE(reactor_, nullptr) << error;
    }

    // Turns until an event satisfies `wanted`, which is answered; all others are kept in seen_.
    Seen await(const std::function<bool(const Seen&)>& wanted) {
        const uint64_t deadline_ns = reactor_->now_ns() + patience_ns;
        while (true) {
            for (size_t index = 0; index < seen_.size(); ++index) {
                if (!wanted(seen_[index])) continue;
                const Seen found = seen_[index];
                seen_.erase(seen_.begin() + static_cast<ptrdiff_t>(index));
                return found;
            }
            if (reactor_->now_ns() > deadline_ns) {
                ADD_FAILURE() << "the event did not come";
                return {};
            }
            turn(reactor_->now_ns() + 100 * base::ns_per_ms);
        }
    }

    Seen await(Op op) {
        return await([op](const Seen& seen) { return seen.op == op; });
    }

    Seen await(Op op, Slot slot) {
        return await([=](const Seen& seen) { return seen.op == op && seen.slot == slot; });
    }

    void turn(uint64_t deadline_ns) {
        for (const Event& event : reactor_->turn(deadline_ns)) {
            Seen seen{event.op, event.more, event.listener, event.result, event.slot, event.socket,
                      {},       {}};
            if (event.op == Op::recv && event.result > 0) {
                EXPECT_EQ(event.bytes.size(), static_cast<size_t>(event.result));
                seen.bytes.assign(event.bytes.begin(), event.bytes.end());
                // Point 6: writable, and readable beyond its end (which AddressSanitizer watches).
                std::memset(event.bytes.data(), 0x55, event.bytes.size());
                const volatile uint8_t* const end = event.bytes.data() + event.bytes.size();
                for (size_t index = 0; index < base::readable_padding_bytes; ++index) {
                    static_cast<void>(end[index]);
                }
            }
            if (event.op == Op::accept && event.result == 0) {
                ASSERT_NE(event.peer, nullptr);
                seen.peer = io::peer_text(*event.peer);
            }
            seen_.push_back(std::move(seen));
        }
    }

    // Turns that find nothing more to do.
    void settle() {
        for (int round = 0; round < 5; ++round) turn(reactor_->now_ns() + 10 * base::ns_per_ms);
    }

    // A connection whose other end is a plain descriptor.
    Socket pair(int& peer) {
        int ends[2];
        EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        peer = ends[1];
        peers_.push_back(peer);
        const Socket socket = reactor_->adopt(ends[0]);
        EXPECT_FALSE(socket.is_none());
        return socket;
    }

    // A new listener of the reactor, before its first turn.
    uint16_t listen(const std::string& text = "127.0.0.1:0") {
        io::ListenAddress address;
        std::string error;
        EXPECT_TRUE(io::parse_listen_address(text, address, error)) << error;
        const io::Listening listening = io::open_listening(address, 1);
        EXPECT_TRUE(listening.error.empty()) << listening.error;
        bound_.push_back(listening.bound);
        return reactor_->listener_add(listening.fds[0]);
    }

    // A client of a listener; `name` becomes its own address. -1: refused.
    int connect(uint16_t listener, std::string* name = nullptr) {
        io::ListenAddress address;
        std::string error;
        EXPECT_TRUE(io::parse_listen_address(bound_[listener], address, error)) << error;
        const int fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (::connect(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.length) !=
            0) {
            close(fd);
            return -1;
        }
        peers_.push_back(fd);
        io::PeerAddress own{};
        own.length = sizeof own.storage;
        EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&own.storage), &own.length), 0);
        if (name != nullptr) *name = io::peer_text(own);
        return fd;
    }

    // A TCP connection: the reactor's side, and the client's descriptor.
    Socket accepted(int& client) {
        if (bound_.empty()) {
            listen();
            reactor_->accept_start(0);
        }
        client = connect(0);
        const Seen seen = await(Op::accept);
        EXPECT_EQ(seen.result, 0);
        return seen.socket;
    }

    // Closes a peer's end early.
    void drop_peer(int fd) {
        std::erase(peers_, fd);
        close(fd);
    }
    void reset_peer(int fd) {
        std::erase(peers_, fd);
        close_with_reset(fd);
    }

    void close_socket(Socket socket, Slot slot) {
        reactor_->close(socket, slot);
        EXPECT_EQ(await(Op::close, slot).result, 0);
    }

    // Ends the armed receive of a connection.
    void stop_receive(Socket socket, Slot slot) {
        reactor_->recv_stop(socket, slot);
        EXPECT_EQ(await_receive_end(slot).result, -ECANCELED);
    }

    Seen await_receive_end(Slot slot) {
        return await([=](const Seen& seen) {
            return seen.op == Op::recv && seen.slot == slot && !seen.more;
        });
    }

    // All bytes that come for a slot until there are `bytes`.
    std::string receive(Slot slot, size_t bytes) {
        std::string all;
        while (all.size() < bytes) {
            const Seen seen = await(Op::recv, slot);
            if (seen.result <= 0) {
                ADD_FAILURE() << "receive ended with " << seen.result;
                break;
            }
            all += seen.bytes;
        }
        return all;
    }

    io::UringGroup group_{2};
    std::unique_ptr<Reactor> reactor_;
    std::vector<Seen> seen_;
    std::vector<std::string> bound_;
    std::vector<int> peers_;
};

INSTANTIATE_TEST_SUITE_P(one_ring, ReactorTest, testing::Values(one_ring));
INSTANTIATE_TEST_SUITE_P(many_rings, ReactorTest, testing::Values(many_rings));

constexpr Slot slot_1{1, 1};
constexpr Slot slot_2{2, 0xff'ffff};

// --- Receiving (points 4, 5, 6)
// ---------------------------------------------------------------------------

TEST_P(ReactorTest, receives_again_and_again_from_one_request) {
    int peer = -1;
    const Socket socket = pair(peer);
    reactor_->recv_start(socket, slot_2);
    for (const std::string text : {"first", "second", "third"}) {
        write_all(peer, text);
        const Seen seen = await(Op::recv);
        EXPECT_EQ(seen.bytes, text);
        EXPECT_EQ(seen.slot, slot_2);
        EXPECT_TRUE(seen.more);
    }
    settle();
    EXPECT_TRUE(seen_.empty());
}

TEST_P(ReactorTest, end_of_stream_is_zero_and_ends_the_receive) {
    int peer = -1;
    const Socket socket = pair(peer);
    write_all(peer, "last words");
    drop_peer(peer);
    reactor_->recv_start(socket, slot_1);
    EXPECT_EQ(receive(slot_1, 10), "last words");
    const Seen end = await(Op::recv);
    EXPECT_EQ(end.result, 0);
    EXPECT_FALSE(end.more);
    close_socket(socket, slot_1);
}

TEST_P(ReactorTest, a_reset_is_an_error_of_the_receive) {
    int client = -1;
    const Socket socket = accepted(client);
    reactor_->recv_start(socket, slot_1);
    settle();
    reset_peer(client);
    const Seen end = await(Op::recv);
    EXPECT_EQ(end.result, -ECONNRESET);
    EXPECT_FALSE(end.more);
    // Point 8: legal, and it does nothing.
    reactor_->shutdown(socket, Direction::both);
    reactor_->shutdown(socket, Direction::write);
    settle();
    EXPECT_TRUE(seen_.empty());
    close_socket(socket, slot_1);
}

TEST_P(ReactorTest, a_stopped_receive_leaves_bytes_for_the_next_one) {
    int peer = -1;
    const Socket socket = pair(peer);
    reactor_->recv_start(socket, slot_1);
    settle();
    stop_receive(socket, slot_1);
    write_all(peer, "while nobody listens");
    settle();
    EXPECT_TRUE(seen_.empty());
    reactor_->recv_start(socket, slot_1);
    EXPECT_EQ(receive(slot_1, 20), "while nobody listens");
}

TEST_P(ReactorTest, a_receive_can_be_stopped_before_it_was_submitted) {
    int peer = -1;
    const Socket socket = pair(peer);
    reactor_->recv_start(socket, slot_1);
    stop_receive(socket, slot_1);
}

TEST_P(ReactorTest, a_stop_may_cross_bytes_and_the_end_on_their_way) {
    for (int round = 0; round < 50; ++round) {
        int peer = -1;
        const Socket socket = pair(peer);
        const Slot slot{7, static_cast<uint32_t>(round)};
        reactor_->recv_start(socket, slot);
        turn(0);
        write_all(peer, "late");
        if (round % 2 == 1) drop_peer(peer);
        reactor_->recv_stop(socket, slot);
        // Whichever wins, exactly one event says that the receive is over.
        const int32_t result = await_receive_end(slot).result;
        EXPECT_TRUE(result == -ECANCELED || result == 0) << result;
        settle();
        for (const Seen& seen : seen_) EXPECT_TRUE(seen.more && seen.bytes == "late");
        seen_.clear();
        close_socket(socket, slot);
    }
}

TEST_P(ReactorTest, without_buffers_a_receive_ends_and_may_be_armed_again) {
    io::UringOptions options = small_options();
    options.recv_buffers_count = 2;
    options.recv_buffer_bytes = 16;
    open(options);
    int peers[3];
    Socket sockets[3];
    std::string received[3];
    const std::string text = pattern(1000);
    for (uint32_t index = 0; index < 3; ++index) {
        sockets[index] = pair(peers[index]);
        reactor_->recv_start(sockets[index], Slot{index, 1});
        write_all(peers[index], text);
    }
    uint32_t starved_count = 0;
    while (received[0].size() + received[1].size() + received[2].size() < 3 * text.size()) {
        const Seen seen = await(Op::recv);
        if (seen.result > 0) {
            received[seen.slot.index] += seen.bytes;
            EXPECT_LE(seen.bytes.size(), 16u);
        } else {
            ASSERT_EQ(seen.result, -ENOBUFS);
            EXPECT_FALSE(seen.more);
            ++starved_count;
        }
        if (!seen.more) reactor_->recv_start(sockets[seen.slot.index], seen.slot);
    }
    for (const std::string& all : received) EXPECT_EQ(all, text);
    EXPECT_GT(starved_count, 0u);
}

TEST_P(ReactorTest, events_beyond_the_limit_of_a_turn_come_with_the_next) {
    io::UringOptions options = small_options();
    options.events_per_turn_max = 3;
    open(options);
    int peers[10];
    for (uint32_t index = 0; index < 10; ++index) {
        const Socket socket = pair(peers[index]);
        reactor_->recv_start(socket, Slot{index, 1});
        write_all(peers[index], std::to_string(index));
    }
    for (uint32_t event_count = 0; event_count < 10;) {
        // Never waits, although the bound is far away: the rest is here already.
        const std::span<const Event> events = reactor_->turn(reactor_->now_ns() + patience_ns);
        ASSERT_LE(events.size(), 3u);
        ASSERT_GE(events.size(), 1u);
        event_count += static_cast<uint32_t>(events.size());
        for (const Event& event : events) {
            EXPECT_EQ(std::string(event.bytes.begin(), event.bytes.end()),
                      std::to_string(event.slot.index));
        }
    }
}

TEST_P(ReactorTest, a_descriptor_that_does_not_block_is_as_good_as_any) {
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    peers_.push_back(ends[1]);
    const Socket socket = reactor_->adopt(ends[0]);
    reactor_->recv_start(socket, slot_1);
    settle();
    EXPECT_TRUE(seen_.empty());
    write_all(ends[1], "hello");
    EXPECT_EQ(receive(slot_1, 5), "hello");
}

// --- Sending (point 7)
// -------------------------------------------------------------------------------------

TEST_P(ReactorTest, sends_one_part_and_many_in_order) {
    int peer = -1;
    const Socket socket = pair(peer);
    const std::string one = pattern(100);
    const iovec single[] = {part(one)};
    reactor_->send(socket, slot_1, single);
    EXPECT_EQ(await(Op::send, slot_1).result, 100);
    EXPECT_EQ(read_up_to(peer, 100), one);

    std::vector<std::string> texts;
    std::string all;
    for (uint32_t index = 0; index < io::iovecs_per_send_max; ++index) {
        texts.push_back(pattern(index + 1));
        all += texts.back();
    }
    {
        // The array of parts lives only until send() returns.
        std::vector<iovec> parts;
        for (const std::string& text : texts) parts.push_back(part(text));
        reactor_->send(socket, slot_1, parts);
        std::memset(parts.data(), 0xff, parts.size() * sizeof(iovec));
    }
    EXPECT_EQ(await(Op::send, slot_1).result, static_cast<int32_t>(all.size()));
    EXPECT_EQ(read_up_to(peer, all.size()), all);
}

TEST_P(ReactorTest, a_full_socket_takes_part_of_a_send_and_lets_the_next_one_wait) {
    int client = -1;
    const Socket socket = accepted(client);
    const std::string text = pattern(32 * base::mib);
    const iovec parts[] = {part(text)};
    reactor_->send(socket, slot_1, parts);
    const int32_t first = await(Op::send, slot_1).result;
    ASSERT_GT(first, 0);
    ASSERT_LT(first, static_cast<int32_t>(text.size()));
    size_t taken_bytes = static_cast<size_t>(first);

    // Fill it until a send stays with the kernel.
    bool is_pending = false;
    while (!is_pending) {
        const iovec rest[] = {
            {const_cast<char*>(text.data()) + taken_bytes, text.size() - taken_bytes}};
        reactor_->send(socket, slot_1, rest);
        settle();
        is_pending = seen_.empty();
        if (!is_pending) taken_bytes += static_cast<size_t>(await(Op::send, slot_1).result);
    }
    // The peer reads, and the waiting send goes on.
    std::string received;
    while (received.size() < text.size()) {
        if (taken_bytes > received.size()) {
            received += read_up_to(client, taken_bytes - received.size());
        }
        if (taken_bytes == text.size()) continue;
        const int32_t result = await(Op::send, slot_1).result;
        ASSERT_GT(result, 0);
        taken_bytes += static_cast<size_t>(result);
        if (taken_bytes == text.size()) continue;
        const iovec rest[] = {
            {const_cast<char*>(text.data()) + taken_bytes, text.size() - taken_bytes}};
        reactor_->send(socket, slot_1, rest);
    }
    EXPECT_EQ(received, text);
}

TEST_P(ReactorTest, a_send_to_a_closed_peer_is_an_error_and_no_signal) {
    int peer = -1;
    const Socket socket = pair(peer);
    drop_peer(peer);
    const std::string text = "nobody reads this";
    const iovec parts[] = {part(text)};
    reactor_->send(socket, slot_1, parts);
    EXPECT_EQ(await(Op::send, slot_1).result, -EPIPE);
    const iovec two_parts[] = {part(text), part(text)};
    reactor_->send(socket, slot_1, two_parts);
    EXPECT_EQ(await(Op::send, slot_1).result, -EPIPE);
    close_socket(socket, slot_1);
}

TEST_P(ReactorTest, receives_and_sends_at_once) {
    int peer = -1;
    const Socket socket = pair(peer);
    const std::string text = "question";
    reactor_->recv_start(socket, slot_1);
    const iovec parts[] = {part(text)};
    reactor_->send(socket, slot_1, parts);
    write_all(peer, "unasked");
    EXPECT_EQ(receive(slot_1, 7), "unasked");
    EXPECT_EQ(await(Op::send, slot_1).result, 8);
    EXPECT_EQ(read_up_to(peer, 8), text);
}

// --- Shutdown and close (points 8, 9)
// ----------------------------------------------------------------------

TEST_P(ReactorTest, shutdown_of_writing_lets_the_peer_finish) {
    int client = -1;
    const Socket socket = accepted(client);
    reactor_->recv_start(socket, slot_1);
    reactor_->shutdown(socket, Direction::write);
    settle();
    EXPECT_TRUE(seen_.empty());
    EXPECT_EQ(read_once(client), 0);
    write_all(client, "goodbye");
    EXPECT_EQ(receive(slot_1, 7), "goodbye");
    const std::string text = "too late";
    const iovec parts[] = {part(text)};
    reactor_->send(socket, slot_1, parts);
    EXPECT_EQ(await(Op::send, slot_1).result, -EPIPE);
    drop_peer(client);
    EXPECT_EQ(await(Op::recv, slot_1).result, 0);
    close_socket(socket, slot_1);
}

// Where the process has no room for a descriptor, or the kernel is too old to lend one.
TEST_P(ReactorTest, a_shutdown_needs_no_free_descriptor) {
    int client = -1;
    const Socket socket = accepted(client);
    reactor_->recv_start(socket, slot_1);
    rlimit limit{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    const rlimit none{.rlim_cur = 1, .rlim_max = limit.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    reactor_->shutdown(socket, Direction::write);
    settle();
    EXPECT_EQ(read_once(client), 0);
    reactor_->shutdown(socket, Direction::both);
    EXPECT_EQ(await(Op::recv, slot_1).result, 0);
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    close_socket(socket, slot_1);
}

TEST_P(ReactorTest, shutdowns_leave_no_descriptor_behind) {
    const auto descriptors_count = [] {
        const std::filesystem::directory_iterator all("/proc/self/fd");
        return std::distance(begin(all), end(all));
    };
    int client = -1;
    const Socket socket = accepted(client);
    const auto before = descriptors_count();
    reactor_->shutdown(socket, Direction::write);
    reactor_->shutdown(socket, Direction::both);
    settle();
    EXPECT_EQ(descriptors_count(), before);
    close_socket(socket, slot_1);
}

TEST_P(ReactorTest, shutdown_of_both_ends_a_waiting_send_and_a_receive) {
    int client = -1;
    const Socket socket = accepted(client);
    const std::string text = pattern(32 * base::mib);
    const iovec parts[] = {part(text)};
    reactor_->recv_start(socket, slot_1);
    do {
        seen_.clear();
        reactor_->send(socket, slot_1, parts);
        settle();
    } while (!seen_.empty());
    reactor_->shutdown(socket, Direction::both);
    EXPECT_EQ(await(Op::send, slot_1).result, -EPIPE);
    const Seen end = await(Op::recv, slot_1);
    EXPECT_EQ(end.result, 0);
    EXPECT_FALSE(end.more);
    close_socket(socket, slot_1);
}

TEST_P(ReactorTest, close_is_seen_by_the_peer_and_its_event_is_the_last) {
    int client = -1;
    const Socket socket = accepted(client);
    close_socket(socket, slot_1);
    EXPECT_EQ(read_once(client), 0);
    settle();
    EXPECT_TRUE(seen_.empty());
}

TEST_P(ReactorTest, descriptors_are_used_again) {
    // More connections in sequence than the table holds.
    for (uint32_t round = 0; round < 200; ++round) {
        int peer = -1;
        const Socket socket = pair(peer);
        const Slot slot{round, 1};
        reactor_->recv_start(socket, slot);
        write_all(peer, "x");
        EXPECT_EQ(receive(slot, 1), "x");
        drop_peer(peer);
        EXPECT_EQ(await(Op::recv, slot).result, 0);
        close_socket(socket, slot);
    }
}

// The kernel executes a shutdown later than a close that is requested after it; the connection that
// gets the descriptor next must not suffer.
TEST_P(ReactorTest, a_shutdown_never_hits_the_next_connection_with_that_descriptor) {
    io::UringOptions options = small_options();
    options.accepted_max = 1;
    options.adopted_max = 0;
    open(options);
    int client = -1;
    Socket socket = accepted(client);
    for (uint32_t round = 0; round < 300; ++round) {
        const Slot slot{round, 1};
        int next = connect(0);
        reactor_->shutdown(socket, Direction::both);
        reactor_->close(socket, slot);
        EXPECT_EQ(await(Op::close, slot).result, 0);
        EXPECT_EQ(read_once(client), 0);
        socket = await(Op::accept).socket;
        const std::string text = "alive";
        const iovec parts[] = {part(text)};
        reactor_->send(socket, slot, parts);
        ASSERT_EQ(await(Op::send, slot).result, 5);
        ASSERT_EQ(read_up_to(next, 5), text);
        drop_peer(client);
        client = next;
    }
}

// --- Accepting (point 10)
// ----------------------------------------------------------------------------------

TEST_P(ReactorTest, accepts_bring_the_peers_address_each_its_own) {
    listen();
    reactor_->accept_start(0);
    std::vector<std::string> names(10);
    for (std::string& name : names) ASSERT_GE(connect(0, &name), 0);
    for (int count = 0; count < 10; ++count) {
        const Seen seen = await(Op::accept);
        EXPECT_EQ(seen.result, 0);
        EXPECT_FALSE(seen.socket.is_none());
        EXPECT_EQ(std::erase(names, seen.peer), 1u) << seen.peer;
    }
    EXPECT_TRUE(names.empty());
}

TEST_P(ReactorTest, listeners_are_told_apart) {
    listen();
    listen();
    EXPECT_EQ(bound_.size(), 2u);
    reactor_->accept_start(0);
    reactor_->accept_start(1);
    std::string name;
    ASSERT_GE(connect(1, &name), 0);
    const Seen seen = await(Op::accept);
    EXPECT_EQ(seen.listener, 1u);
    EXPECT_EQ(seen.peer, name);
    ASSERT_GE(connect(0, &name), 0);
    EXPECT_EQ(await(Op::accept).listener, 0u);
}

TEST_P(ReactorTest, a_listener_that_does_not_block_is_as_good_as_any) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    io::ListenAddress address;
    std::string error;
    ASSERT_TRUE(io::parse_listen_address("127.0.0.1:0", address, error)) << error;
    auto* const generic = reinterpret_cast<sockaddr*>(&address.storage);
    ASSERT_EQ(bind(fd, generic, address.length), 0);
    ASSERT_EQ(::listen(fd, 16), 0);
    ASSERT_EQ(getsockname(fd, generic, &address.length), 0);
    bound_.push_back(io::address_text(address.storage, address.length));
    reactor_->accept_start(reactor_->listener_add(fd));
    settle();
    EXPECT_TRUE(seen_.empty());
    ASSERT_GE(connect(0), 0);
    EXPECT_EQ(await(Op::accept).result, 0);
}

TEST_P(ReactorTest, nothing_is_accepted_before_the_start) {
    listen();
    ASSERT_GE(connect(0), 0);
    settle();
    EXPECT_TRUE(seen_.empty());
    reactor_->accept_start(0);
    EXPECT_EQ(await(Op::accept).result, 0);
}

TEST_P(ReactorTest, a_full_table_leaves_connections_in_the_queue) {
    io::UringOptions options = small_options();
    options.accepted_max = 2;
    options.adopted_max = 0;
    open(options);
    listen();
    reactor_->accept_start(0);
    for (int count = 0; count < 4; ++count) ASSERT_GE(connect(0), 0);
    Socket held[] = {await(Op::accept).socket, await(Op::accept).socket};
    settle();
    EXPECT_TRUE(seen_.empty());
    // Nothing more fits by another way either; the descriptor stays ours.
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    EXPECT_TRUE(reactor_->adopt(ends[0]).is_none());
    EXPECT_EQ(fcntl(ends[0], F_GETFD), 0);
    close(ends[0]);
    close(ends[1]);

    close_socket(held[0], slot_1);
    held[0] = await(Op::accept).socket;
    close_socket(held[1], slot_1);
    held[1] = await(Op::accept).socket;
    settle();
    EXPECT_TRUE(seen_.empty());
}

TEST_P(ReactorTest, a_failed_accept_waits_for_the_next_start) {
    // A socket that does not listen fails every accept.
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_GE(fd, 0);
    const uint16_t listener = reactor_->listener_add(fd);
    for (int round = 0; round < 3; ++round) {
        reactor_->accept_start(listener);
        const Seen seen = await(Op::accept);
        EXPECT_EQ(seen.result, -EINVAL);
        EXPECT_EQ(seen.listener, listener);
        settle();
        EXPECT_TRUE(seen_.empty()) << "one event for all accepts of the pool";
    }
    reactor_->accept_stop(listener);
    EXPECT_EQ(await(Op::accept).result, -ECANCELED);
}

TEST_P(ReactorTest, stopping_takes_what_is_queued_and_then_refuses) {
    listen();
    // Armed for two connections only once they are there, so that most wait in the queue.
    for (int count = 0; count < 20; ++count) ASSERT_GE(connect(0), 0);
    reactor_->accept_start(0);
    reactor_->accept_stop(0);
    for (int count = 0; count < 20; ++count) ASSERT_EQ(await(Op::accept).result, 0);
    const Seen last = await(Op::accept);
    EXPECT_EQ(last.result, -ECANCELED);
    EXPECT_EQ(last.listener, 0u);
    EXPECT_EQ(connect(0), -1);
    settle();
    EXPECT_TRUE(seen_.empty());
}

TEST_P(ReactorTest, stopping_ends_waiting_accepts) {
    listen();
    reactor_->accept_start(0);
    settle();
    reactor_->accept_stop(0);
    EXPECT_EQ(await(Op::accept).result, -ECANCELED);
    EXPECT_EQ(connect(0), -1);
}

TEST_P(ReactorTest, stopping_with_a_full_table_waits_for_room) {
    io::UringOptions options = small_options();
    options.accepted_max = 1;
    open(options);
    int client = -1;
    const io::Socket first = accepted(client);
    ASSERT_GE(connect(0), 0);
    reactor_->accept_stop(0);
    settle();
    EXPECT_TRUE(seen_.empty()) << "neither accepted nor reset";
    reactor_->close(first, Slot{1, 1});
    EXPECT_EQ(await(Op::close).result, 0);
    const Seen second = await(Op::accept);
    EXPECT_EQ(second.result, 0);
    settle();
    EXPECT_TRUE(seen_.empty()) << "without room nobody can tell that the queue is empty";
    reactor_->close(second.socket, Slot{2, 1});
    EXPECT_EQ(await(Op::accept).result, -ECANCELED);
}

TEST_P(ReactorTest, a_second_stop_does_not_wait_for_room) {
    io::UringOptions options = small_options();
    options.accepted_max = 1;
    open(options);
    int client = -1;
    accepted(client);
    const int waiting = connect(0);
    reactor_->accept_stop(0);
    settle();
    reactor_->accept_stop(0);
    EXPECT_EQ(await(Op::accept).result, -ECANCELED);
    EXPECT_EQ(read_once(waiting), -ECONNRESET);
    reactor_->accept_stop(0);
    settle();
    EXPECT_TRUE(seen_.empty()) << "a stopped listener stays as it is";
}

TEST_P(ReactorTest, accepts_from_a_unix_socket) {
    const std::string path = "/tmp/reactor_test." + std::to_string(getpid());
    listen("unix:" + path);
    reactor_->accept_start(0);
    ASSERT_GE(connect(0), 0);
    EXPECT_EQ(await(Op::accept).peer, "unix");
    unlink(path.c_str());
}

// More completions than the queue has room for: the kernel keeps them, and says so.
TEST_P(ReactorTest, a_full_queue_of_completions_loses_nothing) {
    io::UringOptions options = small_options();
    options.submissions_max = 1;  // eight completions
    options.recv_buffers_count = 128;
    options.events_per_turn_max = 4;
    options.sockets_per_ring_max = GetParam() == one_ring ? one_ring : 100;  // adopted: 36 and 28
    open(options);
    turn(0);  // from now on more requests than fit their queue are submitted at once
    constexpr uint32_t count = 60;
    std::vector<int> ends(count);
    for (uint32_t index = 0; index < count; ++index) {
        reactor_->recv_start(pair(ends[index]), Slot{index, 1});
    }
    settle();
    EXPECT_EQ(reactor_->overflows_count(), 0u);
    for (const int end : ends) ASSERT_EQ(write(end, "hello", 5), 5);
    for (uint32_t index = 0; index < count; ++index) {
        EXPECT_EQ(receive(Slot{index, 1}, 5), "hello") << index;
    }
    EXPECT_GT(reactor_->overflows_count(), 0u);
    settle();
    const uint64_t overflows_count = reactor_->overflows_count();
    settle();
    EXPECT_EQ(reactor_->overflows_count(), overflows_count) << "it is over";
}

// --- Time and wakes (points 11, 12)
// ------------------------------------------------------------------------

TEST_P(ReactorTest, a_turn_ends_at_its_deadline_and_time_stands_still_between_turns) {
    const uint64_t before_ns = reactor_->now_ns();
    EXPECT_GT(before_ns, 0u);
    const uint64_t deadline_ns = before_ns + 100 * base::ns_per_ms;
    while (reactor_->now_ns() < deadline_ns) {
        ASSERT_TRUE(reactor_->turn(deadline_ns).empty());
    }
    // Far less than a second wait of the same length would take.
    EXPECT_LT(reactor_->now_ns(), deadline_ns + 90 * base::ns_per_ms);
    const uint64_t now_ns = reactor_->now_ns();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_EQ(reactor_->now_ns(), now_ns);
}

TEST_P(ReactorTest, a_turn_with_a_deadline_in_the_past_only_looks) {
    turn(0);
    const uint64_t before_ns = reactor_->now_ns();
    for (int round = 0; round < 100; ++round) turn(round % 2 == 0 ? 0 : before_ns - 1);
    EXPECT_LT(reactor_->now_ns() - before_ns, base::ns_per_s);
}

TEST_P(ReactorTest, a_wake_from_outside_ends_a_turn_without_a_bound) {
    std::thread outside([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        group_.wake_from_outside(0);
    });
    EXPECT_TRUE(reactor_->turn(base::never_ns).empty());
    outside.join();
    // And one that came before the turn is not lost.
    group_.wake_from_outside(0);
    EXPECT_TRUE(reactor_->turn(base::never_ns).empty());
    group_.wake_from_outside(0);
    group_.wake_from_outside(1);  // nobody is there
    EXPECT_TRUE(reactor_->turn(base::never_ns).empty());
}

// The other shard waits without a bound; it can go on only because it is woken, each time.
TEST_P(ReactorTest, shards_wake_each_other) {
    constexpr uint32_t rounds_count = 2'000;
    std::atomic<uint32_t> pinged{0};
    std::atomic<uint32_t> ponged{0};
    std::string error;
    std::unique_ptr<Reactor> other = io::make_reactor(group_, 1, small_options(), error);
    ASSERT_NE(other, nullptr) << error;
    std::thread shard([&] {
        for (uint32_t round = 1; round <= rounds_count; ++round) {
            // Returns early whenever it likes, but not for ever.
            while (pinged.load() < round) static_cast<void>(other->turn(base::never_ns));
            ponged.store(round);
            other->wake(0);
            other->wake(0);
            static_cast<void>(other->turn(0));
        }
        other.reset();
    });
    for (uint32_t round = 1; round <= rounds_count; ++round) {
        pinged.store(round);
        reactor_->wake(1);
        while (ponged.load() < round) ASSERT_TRUE(reactor_->turn(base::never_ns).empty());
    }
    shard.join();
}

TEST_P(ReactorTest, a_wake_reaches_a_shard_that_has_not_begun) {
    std::string error;
    std::unique_ptr<Reactor> other = io::make_reactor(group_, 1, small_options(), error);
    ASSERT_NE(other, nullptr) << error;
    reactor_->wake(1);
    settle();
    std::thread shard([&] {
        EXPECT_TRUE(other->turn(base::never_ns).empty());
        other.reset();
    });
    shard.join();
    // Gone again: waking it does nothing.
    reactor_->wake(1);
    settle();
    EXPECT_TRUE(seen_.empty());
}

// --- io_uring's own
// ----------------------------------------------------------------------------------------

TEST_P(ReactorTest, more_requests_than_the_queues_hold_all_complete) {
    io::UringOptions options = small_options();
    options.submissions_max = 2;  // and 16 completions
    options.events_per_turn_max = 7;
    open(options);
    turn(0);
    std::vector<int> peers(60);
    std::vector<Socket> sockets;
    const std::string head = pattern(300);
    const std::string tail = "tail";
    for (int& peer : peers) sockets.push_back(pair(peer));
    for (int round = 0; round < 3; ++round) {
        const iovec parts[] = {part(head), part(tail)};
        for (uint32_t index = 0; index < 60; ++index) {
            reactor_->send(sockets[index], Slot{index, 1}, parts);
        }
        for (uint32_t index = 0; index < 60; ++index) {
            ASSERT_EQ(await(Op::send, Slot{index, 1}).result, 304);
        }
        for (const int peer : peers) ASSERT_EQ(read_up_to(peer, 304), head + tail);
    }
}

TEST_P(ReactorTest, adopting_more_than_the_table_holds_is_refused_at_the_call) {
    io::UringOptions options = small_options();
    options.adopted_max = 2;
    open(options);
    int peer = -1;
    const Socket first = pair(peer);
    static_cast<void>(pair(peer));
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    EXPECT_TRUE(reactor_->adopt(ends[0]).is_none());
    close_socket(first, slot_1);
    EXPECT_FALSE(reactor_->adopt(ends[0]).is_none());
    peers_.push_back(ends[1]);
}

// The kernel hands back a few dozen of them at a time.
TEST_P(ReactorTest, ends_with_thousands_of_receives_in_flight) {
    constexpr uint32_t sockets_count = 4'000;
    io::UringOptions options = small_options();
    options.accepted_max = 1;
    options.adopted_max = sockets_count;
    options.sockets_per_ring_max = GetParam() == one_ring ? one_ring : 150;
    ASSERT_GE(io::raise_descriptor_limit(), 2 * sockets_count);
    open(options);
    settle();
    for (uint32_t index = 0; index < sockets_count; index += 2) {
        int ends[2];
        ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
        for (uint32_t end = 0; end < 2; ++end) {
            const Socket socket = reactor_->adopt(ends[end]);
            ASSERT_FALSE(socket.is_none());
            reactor_->recv_start(socket, Slot{index + end, 1});
        }
    }
    settle();
    EXPECT_TRUE(seen_.empty());
    reactor_.reset();
}

TEST_P(ReactorTest, ends_with_everything_in_flight) {
    int client = -1;
    const Socket full = accepted(client);
    const std::string text = pattern(32 * base::mib);
    const iovec parts[] = {part(text)};
    do {
        seen_.clear();
        reactor_->send(full, slot_1, parts);
        settle();
    } while (!seen_.empty());
    int peer = -1;
    const Socket idle = pair(peer);
    reactor_->recv_start(full, slot_1);
    reactor_->recv_start(idle, slot_2);
    settle();
    // Bytes that nobody collected, a request that nobody submitted, a shutdown that nobody awaited.
    write_all(peer, pattern(10'000));
    int other_peer = -1;
    const Socket fresh = pair(other_peer);
    reactor_->recv_start(fresh, Slot{3, 1});
    reactor_->shutdown(fresh, Direction::write);
    reactor_->close(idle, slot_2);
    reactor_.reset();
    // The sockets ended with it.
    EXPECT_EQ(read_once(other_peer), 0);
}

TEST_P(ReactorTest, ends_without_ever_having_begun) {
    listen();
    reactor_->accept_start(0);
    int peer = -1;
    const Socket socket = pair(peer);
    reactor_->recv_start(socket, slot_1);
    reactor_.reset();
    EXPECT_EQ(connect(0), -1);
}

TEST_P(ReactorTest, misuse_ends_the_process) {
    int peer = -1;
    const Socket socket = pair(peer);
    close_socket(socket, slot_1);
    EXPECT_DEATH(reactor_->recv_start(socket, slot_1), "CHECK failed");
    EXPECT_DEATH(reactor_->close(socket, slot_1), "CHECK failed");
    EXPECT_DEATH(reactor_->recv_start(Socket{}, slot_1), "CHECK failed");
    EXPECT_DEATH(reactor_->wake(0), "CHECK failed");
    EXPECT_DEATH(reactor_->accept_start(9), "CHECK failed");
    const Socket open = pair(peer);
    EXPECT_DEATH(reactor_->send(open, slot_1, {}), "CHECK failed");
    const std::vector<iovec> parts(io::iovecs_per_send_max + 1, iovec{&peer, 1});
    EXPECT_DEATH(reactor_->send(open, slot_1, parts), "CHECK failed");
}

// --- Several rings
// -----------------------------------------------------------------------------------------

// Three rings of four sockets.
class RingsTest : public ReactorTest {
  protected:
    static constexpr uint32_t sockets_count = 12;

    void open_rings(uint32_t accepted_max, uint32_t adopted_max) {
        io::UringOptions options = small_options();
        options.accepted_max = accepted_max;
        options.adopted_max = adopted_max;
        options.sockets_per_ring_max = GetParam();
        open(options);
    }

    // As many connections as fit.
    void accept_all() {
        listen();
        reactor_->accept_start(0);
        for (uint32_t count = 0; count < sockets_count; ++count) {
            ASSERT_GE(connect(0), 0);
            sockets_.push_back(await(Op::accept).socket);
        }
    }

    std::vector<Socket> sockets_;
};
INSTANTIATE_TEST_SUITE_P(three, RingsTest, testing::Values(4));

TEST_P(RingsTest, accepts_into_all_rings) {
    open_rings(sockets_count, 0);
    accept_all();
    std::set<uint32_t> different;
    std::vector<uint32_t> held(3);
    for (const Socket socket : sockets_) {
        const io::SocketPlace place = io::SocketPlace::of(socket);
        ASSERT_LT(place.ring, 3u);
        EXPECT_LT(place.entry, 4u);
        EXPECT_EQ(place.socket(), socket);
        ++held[place.ring];
        different.insert(socket.value);
    }
    EXPECT_EQ(different.size(), sockets_count);
    EXPECT_EQ(held, (std::vector<uint32_t>{4, 4, 4}));
    // Full: the next ones wait, and take the place that becomes free, whichever ring has it.
    ASSERT_GE(connect(0), 0);
    ASSERT_GE(connect(0), 0);
    settle();
    EXPECT_TRUE(seen_.empty());
    for (const uint32_t index : {6u, 1u}) {
        close_socket(sockets_[index], slot_1);
        EXPECT_EQ(await(Op::accept).socket, sockets_[index]);
        settle();
        EXPECT_TRUE(seen_.empty());
    }
}

// Nothing but the event of a further ring can end a turn without a bound.
TEST_P(RingsTest, each_ring_ends_the_wait) {
    open_rings(sockets_count, 0);
    accept_all();
    settle();
    for (uint32_t round = 0; round < 3; ++round) {
        for (uint32_t index = 0; index < sockets_count; ++index) {
            const Slot slot{index, 1};
            if (round == 0) reactor_->recv_start(sockets_[index], slot);
            std::thread peer([&] {
                std::this_thread::sleep_for(std::chrono::milliseconds(5));
                write_all(peers_[index], "hello");
            });
            while (seen_.empty()) turn(base::never_ns);
            peer.join();
            EXPECT_EQ(receive(slot, 5), "hello");
        }
    }
    // What the kernel does by a worker thread is no exception.
    for (uint32_t index = 0; index < sockets_count; ++index) {
        const Slot slot{index, 1};
        reactor_->shutdown(sockets_[index], Direction::both);
        while (seen_.empty()) turn(base::never_ns);
        EXPECT_EQ(await(Op::recv, slot).result, 0);
        reactor_->shutdown(sockets_[index], Direction::both);
        reactor_->close(sockets_[index], slot);
        while (seen_.empty()) turn(base::never_ns);
        EXPECT_EQ(await(Op::close, slot).result, 0);
    }
}

TEST_P(RingsTest, sends_on_all_rings_leave_in_one_turn) {
    open_rings(sockets_count, 0);
    accept_all();
    settle();
    const std::string head = pattern(300);
    const std::string tail = "tail";
    const iovec parts[] = {part(head), part(tail)};
    for (uint32_t index = 0; index < sockets_count; ++index) {
        reactor_->send(sockets_[index], Slot{index, 1}, {parts, index % 2 + 1});
    }
    turn(base::never_ns);
    ASSERT_EQ(seen_.size(), sockets_count);
    for (uint32_t index = 0; index < sockets_count; ++index) {
        const std::string sent = index % 2 == 0 ? head : head + tail;
        EXPECT_EQ(await(Op::send, Slot{index, 1}).result, static_cast<int>(sent.size()));
        EXPECT_EQ(read_up_to(peers_[index], sent.size()), sent);
    }
}

TEST_P(RingsTest, a_limit_of_events_starves_no_ring) {
    io::UringOptions options = small_options();
    options.accepted_max = 0;
    options.adopted_max = sockets_count;
    options.sockets_per_ring_max = GetParam();
    options.events_per_turn_max = 2;
    open(options);
    std::vector<int> peers(sockets_count);
    for (uint32_t index = 0; index < sockets_count; ++index) {
        reactor_->recv_start(pair(peers[index]), Slot{index, 1});
    }
    settle();
    // More than a turn can take comes again and again; each ring is heard.
    std::vector<uint32_t> heard(3);
    for (uint32_t round = 0; round < 30; ++round) {
        for (const int peer : peers) write_all(peer, "x");
        const std::span<const Event> events = reactor_->turn(base::never_ns);
        ASSERT_GE(events.size(), 1u);
        ASSERT_LE(events.size(), 2u);
        for (const Event& event : events) ++heard[event.slot.index / 4];
    }
    for (const uint32_t count : heard) EXPECT_GE(count, 10u);
}

TEST_P(RingsTest, a_ring_without_buffers_recovers) {
    io::UringOptions options = small_options();
    options.accepted_max = 0;
    options.adopted_max = sockets_count;
    options.sockets_per_ring_max = GetParam();
    options.recv_buffers_count = 2;  // each
    options.recv_buffer_bytes = 16;
    open(options);
    std::vector<Socket> sockets;
    std::vector<std::string> received(sockets_count);
    const std::string text = pattern(500);
    uint32_t starved_count = 0;
    for (uint32_t index = 0; index < sockets_count; ++index) {
        int peer = -1;
        sockets.push_back(pair(peer));
        reactor_->recv_start(sockets[index], Slot{index, 1});
        write_all(peer, text);
    }
    size_t left_bytes = sockets_count * text.size();
    while (left_bytes > 0) {
        const Seen seen = await(Op::recv);
        if (seen.result > 0) {
            received[seen.slot.index] += seen.bytes;
            left_bytes -= seen.bytes.size();
        } else {
            ASSERT_EQ(seen.result, -ENOBUFS);
            ++starved_count;
        }
        if (!seen.more) reactor_->recv_start(sockets[seen.slot.index], seen.slot);
    }
    for (const std::string& all : received) EXPECT_EQ(all, text);
    EXPECT_GT(starved_count, 0u);
}

TEST_P(RingsTest, adopted_sockets_have_the_entries_behind_the_accepted_ones) {
    open_rings(6, 6);
    listen();
    reactor_->accept_start(0);
    std::vector<Socket> adopted;
    for (uint32_t count = 0; count < 6; ++count) {
        int peer = -1;
        adopted.push_back(pair(peer));
        const io::SocketPlace place = io::SocketPlace::of(adopted.back());
        EXPECT_EQ(place.ring, count < 2 ? 1u : 2u);
        EXPECT_EQ(place.entry, count < 2 ? count + 2 : count - 2);
    }
    int ends[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    EXPECT_TRUE(reactor_->adopt(ends[0]).is_none());
    close_socket(adopted[1], slot_1);
    EXPECT_EQ(reactor_->adopt(ends[0]), adopted[1]);
    peers_.push_back(ends[1]);
    // They took nothing from the accepted ones.
    std::vector<uint32_t> held(3);
    for (uint32_t count = 0; count < 6; ++count) {
        ASSERT_GE(connect(0), 0);
        ++held[io::SocketPlace::of(await(Op::accept).socket).ring];
    }
    EXPECT_EQ(held, (std::vector<uint32_t>{4, 2, 0}));
    ASSERT_GE(connect(0), 0);
    settle();
    EXPECT_TRUE(seen_.empty());
}

TEST_P(RingsTest, stopping_empties_the_queue_into_all_rings) {
    open_rings(sockets_count, 0);
    listen();
    for (uint32_t count = 0; count < sockets_count + 1; ++count) ASSERT_GE(connect(0), 0);
    reactor_->accept_start(0);
    reactor_->accept_stop(0);
    std::vector<uint32_t> accepted(3);
    Socket last;
    for (uint32_t count = 0; count < sockets_count; ++count) {
        last = await(Op::accept).socket;
        ++accepted[io::SocketPlace::of(last).ring];
    }
    EXPECT_EQ(accepted, (std::vector<uint32_t>{4, 4, 4}));
    settle();
    EXPECT_TRUE(seen_.empty()) << "one more waits for room";
    close_socket(last, slot_1);
    EXPECT_EQ(await(Op::accept).result, 0);
    reactor_->accept_stop(0);
    EXPECT_EQ(await(Op::accept).result, -ECANCELED);
}

TEST_P(RingsTest, ends_with_everything_in_flight_on_all_rings) {
    open_rings(sockets_count, 0);
    accept_all();
    const std::string text = pattern(32 * base::mib);
    const iovec parts[] = {part(text)};
    for (uint32_t index = 0; index < sockets_count; ++index) {
        const Slot slot{index, 1};
        reactor_->recv_start(sockets_[index], slot);
        if (index % 4 == 0) {
            do {
                seen_.clear();
                reactor_->send(sockets_[index], slot, parts);
                settle();
            } while (!seen_.empty());
        }
        if (index % 4 == 1) write_all(peers_[index], pattern(10'000));
        if (index % 4 == 2) reactor_->shutdown(sockets_[index], Direction::write);
        if (index % 4 == 3) reactor_->recv_stop(sockets_[index], slot);
    }
    reactor_.reset();
    // The sockets ended with it.
    for (const uint32_t index : {3u, 7u, 11u}) EXPECT_EQ(read_once(peers_[index]), 0);
}

TEST_P(RingsTest, a_socket_of_no_ring_ends_the_process) {
    open_rings(sockets_count, 0);
    EXPECT_DEATH(reactor_->recv_start(io::SocketPlace{3, 0}.socket(), slot_1), "CHECK failed");
    EXPECT_DEATH(reactor_->recv_start(io::SocketPlace{2, 4}.socket(), slot_1), "CHECK failed");
}

TEST(uring, so_many_rings_and_not_one_more) {
    io::UringGroup group(1);
    io::UringOptions options = small_options();
    options.sockets_per_ring_max = 2;
    options.accepted_max = 128;
    options.adopted_max = 0;
    std::string error;
    EXPECT_NE(io::make_reactor(group, 0, options, error), nullptr) << error;
    options.adopted_max = 1;
    EXPECT_EQ(io::make_reactor(group, 0, options, error), nullptr);
    EXPECT_NE(error.find("LimitNOFILE"), std::string::npos) << error;
}

TEST(uring, rings_take_half_of_the_open_files_at_most) {
    rlimit limit{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    rlimit lowered = limit;
    lowered.rlim_cur = 100;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &lowered), 0);
    EXPECT_EQ(io::sockets_per_reactor_max(1), 50u * 100);
    EXPECT_EQ(io::sockets_per_reactor_max(3), 16u * 100);
    EXPECT_EQ(io::sockets_per_reactor_max(1'000), 100u);
    lowered.rlim_cur = 1'000;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &lowered), 0);
    EXPECT_EQ(io::sockets_per_reactor_max(1), 64u * 1'000);
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

TEST(uring, a_table_beyond_the_limit_on_open_files_is_explained) {
    io::UringGroup group(1);
    rlimit limit{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    io::UringOptions options = small_options();
    // Of 64 rings.
    options.accepted_max = static_cast<uint32_t>(64 * limit.rlim_cur);
    std::string error;
    EXPECT_EQ(io::make_reactor(group, 0, options, error), nullptr);
    EXPECT_NE(error.find("LimitNOFILE"), std::string::npos) << error;
    // The shard is free again.
    EXPECT_NE(io::make_reactor(group, 0, small_options(), error), nullptr) << error;
}

TEST(uring, the_limit_on_open_files_can_be_raised) {
    rlimit limit{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    rlimit lowered = limit;
    lowered.rlim_cur = limit.rlim_cur / 2;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &lowered), 0);
    EXPECT_EQ(io::raise_descriptor_limit(), limit.rlim_max);
    rlimit raised{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &raised), 0);
    EXPECT_EQ(raised.rlim_cur, limit.rlim_max);
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

}  // namespace
