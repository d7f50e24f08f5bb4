#include "tests/io/reactor_fixture.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "io/listener.h"
#include "io/peer_address.h"

namespace io_test {

using base::Slot;
using io::Event;
using io::Op;
using io::Socket;

INSTANTIATE_TEST_SUITE_P(one_ring, ReactorTest, testing::Values(Build{one_ring}));
INSTANTIATE_TEST_SUITE_P(many_rings, ReactorTest, testing::Values(Build{many_rings}));
INSTANTIATE_TEST_SUITE_P(one_ring_plain, ReactorTest,
                         testing::Values(Build{one_ring, io::Descriptors::plain}));
INSTANTIATE_TEST_SUITE_P(many_rings_plain, ReactorTest,
                         testing::Values(Build{many_rings, io::Descriptors::plain}));

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

ssize_t read_once(int fd) {
    pollfd ready{fd, POLLIN, 0};
    if (poll(&ready, 1, 10'000) != 1) return -ETIMEDOUT;
    char piece[4096];
    const ssize_t count = read(fd, piece, sizeof piece);
    return count < 0 ? -errno : count;
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

ReactorTest::~ReactorTest() {
    reactor_.reset();
    for (const int fd : peers_) close(fd);
}

void ReactorTest::open(io::UringOptions options) {
    reactor_.reset();
    if (options.sockets_per_ring_max == io::UringOptions{}.sockets_per_ring_max) {
        options.sockets_per_ring_max = GetParam().sockets_per_ring_max;
    }
    options.descriptors = GetParam().descriptors;
    std::string error;
    reactor_ = io::make_reactor(group_, 0, options, error);
    ASSERT_NE(reactor_, nullptr) << error;
}

void ReactorTest::open_for_adopted(uint32_t sockets_count) {
    io::UringOptions options = small_options();
    options.accepted_max = 1;
    options.adopted_max = sockets_count;
    options.sockets_per_ring_max = has_one_ring() ? one_ring : 150;
    ASSERT_GE(io::raise_descriptor_limit(), 2 * sockets_count);
    open(options);
    settle();
}

std::vector<Socket> ReactorTest::adopt_pairs(uint32_t sockets_count) {
    std::vector<Socket> sockets;
    while (sockets.size() < sockets_count) {
        int ends[2];
        EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        for (const int end : ends) {
            sockets.push_back(reactor_->adopt(end));
            EXPECT_FALSE(sockets.back().is_none()) << "there was no room";
        }
    }
    return sockets;
}

Seen ReactorTest::await(const std::function<bool(const Seen&)>& wanted) {
    const uint64_t deadline_ns = reactor_->now_ns() + patience_ns;
    while (true) {
        for (size_t index = 0; index < seen_.size(); ++index) {
            if (!wanted(seen_[index])) continue;
            Seen found = std::move(seen_[index]);
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

Seen ReactorTest::await(Op op) {
    return await([op](const Seen& seen) { return seen.op == op; });
}

Seen ReactorTest::await(Op op, Slot slot) {
    return await([=](const Seen& seen) { return seen.op == op && seen.slot == slot; });
}

void ReactorTest::turn(uint64_t deadline_ns) {
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

void ReactorTest::settle() {
    for (int round = 0; round < 5; ++round) turn(reactor_->now_ns() + 10 * base::ns_per_ms);
}

Socket ReactorTest::pair(int& peer) {
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    peer = ends[1];
    peers_.push_back(peer);
    const Socket socket = reactor_->adopt(ends[0]);
    EXPECT_FALSE(socket.is_none());
    return socket;
}

uint16_t ReactorTest::listen(const std::string& text) {
    io::ListenAddress address;
    std::string error;
    EXPECT_TRUE(io::parse_listen_address(text, address, error)) << error;
    const io::Listening listening = io::open_listening(address, 1);
    EXPECT_TRUE(listening.error.empty()) << listening.error;
    bound_.push_back(listening.bound);
    return reactor_->listener_add(listening.fds[0]);
}

int ReactorTest::connect(uint16_t listener, std::string* name) {
    io::ListenAddress address;
    std::string error;
    EXPECT_TRUE(io::parse_listen_address(bound_[listener], address, error)) << error;
    const int fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.length) != 0) {
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

Socket ReactorTest::accepted(int& client) {
    if (bound_.empty()) {
        listen();
        reactor_->accept_start(0);
    }
    client = connect(0);
    const Seen seen = await(Op::accept);
    EXPECT_EQ(seen.result, 0);
    return seen.socket;
}

void ReactorTest::drop_peer(int fd) {
    std::erase(peers_, fd);
    close(fd);
}

void ReactorTest::reset_peer(int fd) {
    std::erase(peers_, fd);
    const linger abort{1, 0};
    ASSERT_EQ(setsockopt(fd, SOL_SOCKET, SO_LINGER, &abort, sizeof abort), 0);
    close(fd);
}

void ReactorTest::close_socket(Socket socket, Slot slot) {
    reactor_->close(socket, slot);
    EXPECT_EQ(await(Op::close, slot).result, 0);
}

void ReactorTest::stop_receive(Socket socket, Slot slot) {
    reactor_->recv_stop(socket, slot);
    EXPECT_EQ(await_receive_end(slot).result, -ECANCELED);
}

Seen ReactorTest::await_receive_end(Slot slot) {
    return await(
        [=](const Seen& seen) { return seen.op == Op::recv && seen.slot == slot && !seen.more; });
}

std::string ReactorTest::receive(Slot slot, size_t bytes) {
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

}  // namespace io_test
