// Requests in any order on many sockets: what arrives is what was sent, whole and in order, and
// every request ends once. Points 3 to 9 of io/reactor.h together.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <string>
#include <vector>

#include "io/base/prng.h"
#include "io/base/units.h"
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

// The byte at a place of a stream; no short piece of it repeats soon.
char byte_at(uint64_t place) {
    return static_cast<char>(place * 0x9e37'79b9'7f4a'7c15 >> 56);
}

// One connection: the reactor's side, and the peer that this test plays.
struct Client {
    Socket socket;
    int peer = -1;
    uint32_t generation = 0;
    bool is_recv_armed = false;
    bool is_stop_asked = false;
    bool is_writing_over = false;  // no more is sent: shut down
    bool is_broken = false;        // by a shutdown of both ways, after which anything may be lost
    bool is_peer_done = false;     // the peer has shut its side
    bool has_ended = false;        // its end of stream was seen
    bool is_closing = false;
    std::string in_flight;
    uint64_t sent_bytes = 0;      // by the reactor, as its events say
    uint64_t read_bytes = 0;      // by the peer
    uint64_t written_bytes = 0;   // by the peer
    uint64_t received_bytes = 0;  // as the events brought them
};

class RandomTest : public ReactorTest {
  protected:
    static constexpr uint32_t clients_count = 40;

    ~RandomTest() override {
        reactor_.reset();
        for (const Client& client : clients_) {
            if (client.peer >= 0) close(client.peer);
        }
    }

    void begin(uint64_t seed) {
        prng_ = base::Prng(seed);
        io::UringOptions options = small_options();
        options.submissions_max = uint32_t{1} << prng_.below(6);
        options.events_per_turn_max = static_cast<uint32_t>(prng_.between(1, 64));
        options.recv_buffers_count = uint32_t{2} << prng_.below(5);
        options.recv_buffer_bytes = static_cast<uint32_t>(prng_.between(1, 300));
        open(options);
        turn_once(0);
        for (const Client& client : clients_) {
            if (client.peer >= 0) close(client.peer);
        }
        clients_.assign(clients_count, Client{});
        for (uint32_t index = 0; index < clients_count; ++index) connect_one(index);
    }

    void connect_one(uint32_t index) {
        int ends[2];
        ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        ASSERT_EQ(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
        const int small = 4'096;
        setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
        const uint32_t generation = clients_[index].generation + 1;
        clients_[index] = Client{};
        clients_[index].generation = generation;
        clients_[index].peer = ends[1];
        clients_[index].socket = reactor_->adopt(ends[0]);
        ASSERT_FALSE(clients_[index].socket.is_none());
    }

    void act(uint32_t index) {
        Client& client = clients_[index];
        if (client.is_closing) return;
        const Slot slot{index, client.generation};
        switch (prng_.below(16)) {
            case 0:
            case 1:
            case 2: receive(client, slot); return;
            case 3:
                if (!client.is_recv_armed || client.is_stop_asked) return;
                client.is_stop_asked = true;
                reactor_->recv_stop(client.socket, slot);
                return;
            case 4:
            case 5:
            case 6: send(client, slot); return;
            case 7:
            case 8:
            case 9: peer_writes(client, prng_.between(1, 2'000)); return;
            case 10:
            case 11:
            case 12: peer_reads(client); return;
            case 13:
                if (prng_.below(4) > 0 || client.is_writing_over) return;
                client.is_writing_over = true;
                reactor_->shutdown(client.socket, Direction::write);
                return;
            case 14:
                if (prng_.below(8) > 0 || client.is_peer_done) return;
                client.is_peer_done = true;
                ::shutdown(client.peer, SHUT_WR);
                return;
            default:
                if (prng_.below(8) > 0) return;
                client.is_broken = true;
                reactor_->shutdown(client.socket, Direction::both);
                maybe_close(client, slot);
                return;
        }
    }

    void receive(Client& client, Slot slot) {
        if (client.is_recv_armed || client.has_ended) return;
        client.is_recv_armed = true;
        client.is_stop_asked = false;
        reactor_->recv_start(client.socket, slot);
    }

    void send(Client& client, Slot slot) {
        if (!client.in_flight.empty() || client.is_writing_over || client.is_broken) return;
        const size_t bytes = prng_.below(4) == 0 ? prng_.between(1, 20'000) : prng_.between(1, 400);
        client.in_flight.resize(bytes);
        for (size_t at = 0; at < bytes; ++at) {
            client.in_flight[at] = byte_at(client.sent_bytes + at);
        }
        std::vector<iovec> parts;
        size_t at = 0;
        while (at < bytes) {
            const bool is_last = parts.size() + 1 == io::iovecs_per_send_max;
            const size_t part = is_last ? bytes - at : prng_.between(1, bytes - at);
            parts.push_back({client.in_flight.data() + at, part});
            at += part;
        }
        reactor_->send(client.socket, slot, parts);
    }

    void peer_writes(Client& client, uint64_t bytes) {
        if (client.is_peer_done) return;
        std::string text(bytes, '\0');
        for (size_t at = 0; at < bytes; ++at) text[at] = byte_at(client.written_bytes + at);
        const ssize_t written = ::send(client.peer, text.data(), text.size(), MSG_NOSIGNAL);
        if (written > 0) client.written_bytes += static_cast<uint64_t>(written);
    }

    void peer_reads(Client& client) {
        char piece[8'192];
        const ssize_t count = read(client.peer, piece, prng_.between(1, sizeof piece));
        for (ssize_t at = 0; at < count; ++at) {
            ASSERT_EQ(piece[at], byte_at(client.read_bytes++));
        }
    }

    void maybe_close(Client& client, Slot slot) {
        if (!client.is_broken || client.is_recv_armed || !client.in_flight.empty()) return;
        if (client.is_closing) return;
        client.is_closing = true;
        reactor_->close(client.socket, slot);
    }

    void turn_once(uint64_t deadline_ns) {
        for (const Event& event : reactor_->turn(deadline_ns)) {
            ASSERT_LT(event.slot.index, clients_count);
            Client& client = clients_[event.slot.index];
            ASSERT_EQ(event.slot.generation, client.generation) << "an event after the last";
            switch (event.op) {
                case Op::accept: FAIL();
                case Op::recv: received(client, event); break;
                case Op::send: sent(client, event); break;
                case Op::close:
                    ASSERT_TRUE(client.is_closing);
                    ASSERT_EQ(event.result, 0);
                    ::close(client.peer);
                    client.peer = -1;
                    connect_one(event.slot.index);
                    ++closes_count_;
                    continue;
            }
            maybe_close(client, event.slot);
        }
    }

    void received(Client& client, const Event& event) {
        ASSERT_TRUE(client.is_recv_armed);
        for (const uint8_t byte : event.bytes) {
            ASSERT_EQ(static_cast<char>(byte), byte_at(client.received_bytes++));
        }
        if (event.result > 0) {
            ASSERT_EQ(event.bytes.size(), static_cast<size_t>(event.result));
        }
        if (event.result == 0) {
            client.has_ended = true;
            ASSERT_TRUE(client.is_peer_done || client.is_broken);
            if (!client.is_broken) {
                ASSERT_EQ(client.received_bytes, client.written_bytes);
            }
        }
        if (event.result < 0) {
            ASSERT_TRUE(event.result == -ENOBUFS || event.result == -ECONNRESET ||
                        (event.result == -ECANCELED && client.is_stop_asked))
                << event.result;
            if (event.result == -ENOBUFS) ++starved_count_;
        }
        if (event.result <= 0) {
            ASSERT_FALSE(event.more);
        }
        if (!event.more) client.is_recv_armed = false;
    }

    void sent(Client& client, const Event& event) {
        ASSERT_FALSE(client.in_flight.empty());
        if (event.result < 0) {
            ASSERT_TRUE(client.is_broken || client.is_writing_over) << event.result;
            ASSERT_EQ(event.result, -EPIPE);
        } else {
            ASSERT_GT(event.result, 0);
            ASSERT_LE(static_cast<size_t>(event.result), client.in_flight.size());
            client.sent_bytes += static_cast<uint64_t>(event.result);
        }
        client.in_flight.clear();
    }

    // Everybody reads on, and everything arrives.
    void finish() {
        const uint64_t deadline_ns = reactor_->now_ns() + patience_ns;
        while (true) {
            bool is_over = true;
            for (uint32_t index = 0; index < clients_count; ++index) {
                Client& client = clients_[index];
                if (client.is_closing || client.is_broken) {
                    is_over &= client.is_closing || !client.is_broken;
                    continue;
                }
                receive(client, {index, client.generation});
                peer_reads(client);
                is_over &= client.received_bytes == client.written_bytes &&
                           client.read_bytes == client.sent_bytes && client.in_flight.empty();
            }
            if (is_over) return;
            ASSERT_LT(reactor_->now_ns(), deadline_ns) << "something is stuck";
            turn_once(reactor_->now_ns() + base::ns_per_ms);
            if (HasFatalFailure()) return;
        }
    }

    base::Prng prng_{0};
    std::vector<Client> clients_;
    uint64_t closes_count_ = 0;
    uint64_t starved_count_ = 0;
};
INSTANTIATE_TEST_SUITE_P(one_ring, RandomTest, testing::Values(Build{one_ring}));
INSTANTIATE_TEST_SUITE_P(many_rings, RandomTest, testing::Values(Build{many_rings}));
INSTANTIATE_TEST_SUITE_P(plain, RandomTest,
                         testing::Values(Build{one_ring, io::Descriptors::plain},
                                         Build{many_rings, io::Descriptors::plain}));

TEST_P(RandomTest, what_arrives_is_what_was_sent) {
    for (uint64_t seed = 1; seed <= 4; ++seed) {
        SCOPED_TRACE(seed);
        begin(seed);
        for (uint32_t step = 0; step < 400; ++step) {
            for (uint64_t count = prng_.between(0, 60); count > 0; --count) {
                act(static_cast<uint32_t>(prng_.below(clients_count)));
            }
            turn_once(prng_.below(8) == 0 ? reactor_->now_ns() + base::ns_per_ms : 0);
            ASSERT_FALSE(HasFatalFailure());
        }
        finish();
        ASSERT_FALSE(HasFatalFailure());
    }
    EXPECT_GT(closes_count_, 0u);
    EXPECT_GT(starved_count_, 0u);
}

}  // namespace
}  // namespace io_test
