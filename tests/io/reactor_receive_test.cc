// Receiving: points 4, 5 and 6 of io/reactor.h, and how many events a turn hands out.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <span>
#include <string>

#include "io/reactor.h"
#include "io/uring/reactor_uring.h"
#include "tests/io/reactor_fixture.h"

namespace io_test {
namespace {

using base::Slot;
using io::Direction;
using io::Event;
using io::Op;
using io::Socket;

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

// As many receives as there are buffers, again and again: one that did not come home would be
// missed.
TEST_P(ReactorTest, every_buffer_comes_home) {
    io::UringOptions options = small_options();
    options.recv_buffers_count = 4;
    open(options);
    int peers[4];
    for (uint32_t index = 0; index < 4; ++index) {
        reactor_->recv_start(pair(peers[index]), Slot{index, 1});
    }
    for (int round = 0; round < 50; ++round) {
        for (const int peer : peers) write_all(peer, "x");
        for (uint32_t index = 0; index < 4; ++index) {
            ASSERT_EQ(await(Op::recv, Slot{index, 1}).result, 1) << "round " << round;
        }
    }
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

}  // namespace
}  // namespace io_test
