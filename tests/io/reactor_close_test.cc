// Shutting down and closing: points 8 and 9 of io/reactor.h.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "io/base/units.h"
#include "io/listener.h"
#include "io/reactor.h"
#include "io/uring/reactor_uring.h"
#include "tests/io/reactor_fixture.h"

namespace io_test {
namespace {

using base::Slot;
using io::Direction;
using io::Op;
using io::Socket;

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

// The kernel may close what is taken out of a table only when all requests that began before have
// ended (Linux before 6.13); usable_descriptors() must not choose tables then.
TEST_P(ReactorTest, a_peer_sees_the_close_while_others_wait) {
    if (!is_plain() && io::usable_descriptors() == io::Descriptors::plain) {
        GTEST_SKIP() << "this kernel closes late";
    }
    int idle = -1;
    int peer = -1;
    reactor_->recv_start(pair(idle), slot_1);
    settle();
    close_socket(pair(peer), slot_2);
    EXPECT_EQ(read_once(peer), 0);
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

// As a load does that is cut off: each close is told for its own slot, and gives its entry back.
TEST_P(ReactorTest, adopted_sockets_close_all_at_once) {
    constexpr uint32_t sockets_count = 2'000;
    open_for_adopted(sockets_count);
    for (uint32_t round = 0; round < 2; ++round) {
        const std::vector<Socket> sockets = adopt_pairs(sockets_count);
        std::set<uint32_t> different;
        for (const Socket socket : sockets) different.insert(socket.value);
        ASSERT_EQ(different.size(), sockets_count);
        for (uint32_t index = 0; index < sockets_count; ++index) {
            if (index % 2 == 1) reactor_->shutdown(sockets[index], Direction::both);
            reactor_->close(sockets[index], Slot{index, round});
        }
        std::vector<uint32_t> closed(sockets_count);
        for (uint32_t count = 0; count < sockets_count; ++count) {
            const Seen seen = await(Op::close);
            ASSERT_EQ(seen.result, 0);
            ASSERT_EQ(seen.slot.generation, round);
            ++closed[seen.slot.index];
        }
        EXPECT_EQ(closed, std::vector<uint32_t>(sockets_count, 1));
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

}  // namespace
}  // namespace io_test
