// What is particular to io_uring: its queues and tables, its end with everything in flight, and
// what the limit on open files allows. And that misuse ends the process.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdint>
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
    sockets.reserve(peers.size());
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

// More completions than the queue has room for: the kernel keeps them, and says so.
TEST_P(ReactorTest, a_full_queue_of_completions_loses_nothing) {
    io::UringOptions options = small_options();
    options.submissions_max = 1;  // eight completions
    options.recv_buffers_count = 128;
    options.events_per_turn_max = 4;
    options.sockets_per_ring_max = has_one_ring() ? one_ring : 100;  // adopted: 36 and 28
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
    open_for_adopted(sockets_count);
    const std::vector<Socket> sockets = adopt_pairs(sockets_count);
    for (uint32_t index = 0; index < sockets_count; ++index) {
        reactor_->recv_start(sockets[index], Slot{index, 1});
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

TEST_P(ReactorTest, what_was_to_be_closed_ends_with_it) {
    int closed = -1;
    int ended = -1;
    reactor_->close(pair(closed), slot_1);
    const Socket socket = pair(ended);
    reactor_->shutdown(socket, Direction::both);
    reactor_->close(socket, slot_2);
    reactor_.reset();  // before its first turn
    EXPECT_EQ(read_once(closed), 0);
    EXPECT_EQ(read_once(ended), 0);
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
    EXPECT_EQ(io::sockets_per_reactor_max(1, io::Descriptors::direct), 50u * 100);
    EXPECT_EQ(io::sockets_per_reactor_max(3, io::Descriptors::direct), 16u * 100);
    EXPECT_EQ(io::sockets_per_reactor_max(1'000, io::Descriptors::direct), 100u);
    lowered.rlim_cur = 1'000;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &lowered), 0);
    EXPECT_EQ(io::sockets_per_reactor_max(1, io::Descriptors::direct), 64u * 1'000);
    // Plain ones are open files themselves, of all reactors together.
    EXPECT_EQ(io::sockets_per_reactor_max(1, io::Descriptors::plain), 1'000u - 64 - 96);
    EXPECT_EQ(io::sockets_per_reactor_max(4, io::Descriptors::plain), 1'000u - 64 - 4 * 96);
    EXPECT_EQ(io::sockets_per_reactor_max(64, io::Descriptors::plain), 1u);
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
    options.descriptors = io::Descriptors::plain;
    options.accepted_max = static_cast<uint32_t>(limit.rlim_cur);
    error.clear();
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
}  // namespace io_test
