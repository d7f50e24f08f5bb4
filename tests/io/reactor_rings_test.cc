// Several rings behind one reactor: each is accepted into, heard, and ended like the first.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "io/base/units.h"
#include "io/reactor.h"
#include "io/uring/reactor_uring.h"
#include "io/uring/ring.h"
#include "tests/io/reactor_fixture.h"

namespace io_test {
namespace {

using base::Slot;
using io::Direction;
using io::Event;
using io::Op;
using io::Socket;

// Three rings of four sockets.
class RingsTest : public ReactorTest {
  protected:
    static constexpr uint32_t sockets_count = 12;

    void open_rings(uint32_t accepted_max, uint32_t adopted_max) {
        io::UringOptions options = small_options();
        options.accepted_max = accepted_max;
        options.adopted_max = adopted_max;
        options.sockets_per_ring_max = GetParam().sockets_per_ring_max;
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
INSTANTIATE_TEST_SUITE_P(three, RingsTest, testing::Values(Build{4}));
INSTANTIATE_TEST_SUITE_P(three_plain, RingsTest, testing::Values(Build{4, io::Descriptors::plain}));

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
    options.sockets_per_ring_max = GetParam().sockets_per_ring_max;
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
    options.sockets_per_ring_max = GetParam().sockets_per_ring_max;
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

}  // namespace
}  // namespace io_test
