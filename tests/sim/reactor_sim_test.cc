// The simulated kernel keeps its side of io/reactor.h, and catches callers that do not keep theirs.
#include "tests/sim/reactor_sim.h"

#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <functional>
#include <string>
#include <vector>

namespace sim {
namespace {

constexpr base::Slot slot{.index = 3, .generation = 1};

std::span<const uint8_t> bytes_of(std::string_view text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

// One shard's kernel, driven by a function that stands where the shard would.
class KernelTest : public testing::Test {
  protected:
    // Runs `body` as the shard until it ends; between its turns the kernel works and time moves on.
    void run(const SimReactorOptions& options, const FaultOptions& fault_options,
             const std::function<void(io::Reactor&)>& body) {
        Faults faults(fault_options, 1);
        Network network(clock_, faults, 2, Plant::none, 1);
        network_ = &network;
        Kernel kernel(network, 0, options);
        const std::unique_ptr<io::Reactor> reactor = make_reactor(kernel);
        ASSERT_EQ(reactor->listener_add(-1), 0);
        Fiber fiber([&] { body(*reactor); });
        kernel.attach(fiber);
        for (uint32_t step = 0; step < 10'000 && !fiber.is_finished(); ++step) {
            kernel.work();
            fiber.resume();
            clock_.now_ns += 100'000;
        }
        ASSERT_TRUE(fiber.is_finished());
    }
    void run(const std::function<void(io::Reactor&)>& body) { run({}, {}, body); }

    // The next event, after as many turns as it takes.
    io::Event next_event(io::Reactor& reactor) {
        while (pending_.empty()) {
            for (const io::Event& event : reactor.turn(0)) pending_.push_back(event);
        }
        const io::Event event = pending_.front();
        pending_.erase(pending_.begin());
        return event;
    }
    // A peer that has connected, and the socket of it that the shard has accepted.
    io::Socket accept_one(io::Reactor& reactor) {
        connection_ =
            network_->connect(0, {.to_broker_bytes = 64, .to_peer_bytes = 16, .latency_ns = 1});
        reactor.accept_start(0);
        const io::Event event = next_event(reactor);
        EXPECT_EQ(event.op, io::Op::accept);
        EXPECT_EQ(event.result, 0);
        EXPECT_NE(event.peer, nullptr);
        return event.socket;
    }
    static void send(io::Reactor& reactor, io::Socket socket, const std::string& text) {
        const iovec part{const_cast<char*>(text.data()), text.size()};
        reactor.send(socket, slot, {&part, 1});
    }

    Clock clock_;
    Network* network_ = nullptr;
    ConnectionId connection_ = no_connection;
    std::vector<io::Event> pending_;
};

FaultOptions only(Fault fault, base::Ratio ratio) {
    FaultOptions options{};
    options[static_cast<uint32_t>(fault)] = ratio;
    return options;
}

TEST_F(KernelTest, BringsBytesThenTheEndOfTheStream) {
    run([this](io::Reactor& reactor) {
        const io::Socket socket = accept_one(reactor);
        reactor.recv_start(socket, slot);
        network_->write(connection_, bytes_of("hello"));
        network_->finish(connection_);
        const io::Event first = next_event(reactor);
        EXPECT_EQ(first.result, 5);
        EXPECT_TRUE(first.more);
        EXPECT_EQ(std::string(first.bytes.begin(), first.bytes.end()), "hello");
        const io::Event second = next_event(reactor);
        EXPECT_EQ(second.result, 0);
        EXPECT_FALSE(second.more);
        reactor.close(socket, slot);
        const io::Event last = next_event(reactor);
        EXPECT_EQ(last.op, io::Op::close);
        EXPECT_EQ(last.slot, slot);
    });
}

TEST_F(KernelTest, EndsAReceiveAlthoughDataFollows) {
    run({}, only(Fault::recv_ended, {1, 1}), [this](io::Reactor& reactor) {
        const io::Socket socket = accept_one(reactor);
        reactor.recv_start(socket, slot);
        network_->write(connection_, bytes_of("one"));
        EXPECT_FALSE(next_event(reactor).more);
        network_->write(connection_, bytes_of("two"));
        reactor.recv_start(socket, slot);
        EXPECT_EQ(next_event(reactor).result, 3);
    });
}

TEST_F(KernelTest, IsOutOfBuffersUntilTheyComeHome) {
    run({.buffers_count = 1, .buffer_bytes = 4}, {}, [this](io::Reactor& reactor) {
        const io::Socket socket = accept_one(reactor);
        reactor.recv_start(socket, slot);
        network_->write(connection_, bytes_of("12345678"));
        EXPECT_EQ(next_event(reactor).result, 4);
        const io::Event starved = next_event(reactor);
        EXPECT_EQ(starved.result, -ENOBUFS);
        EXPECT_FALSE(starved.more);
        reactor.recv_start(socket, slot);
        EXPECT_EQ(next_event(reactor).result, 4);
    });
}

TEST_F(KernelTest, ASendTakesOnlyWhatThePeerHasRoomFor) {
    run([this](io::Reactor& reactor) {
        const io::Socket socket = accept_one(reactor);
        const std::string text(20, 'x');
        send(reactor, socket, text);
        EXPECT_EQ(next_event(reactor).result, 16);
        send(reactor, socket, text);
        for (uint32_t turns = 0; turns < 10; ++turns) EXPECT_TRUE(reactor.turn(0).empty());
        std::array<uint8_t, 16> read;
        EXPECT_EQ(network_->read(connection_, read), 16u);
        EXPECT_EQ(next_event(reactor).result, 16);
    });
}

TEST_F(KernelTest, AStoppedReceiveIsCancelled) {
    run([this](io::Reactor& reactor) {
        const io::Socket socket = accept_one(reactor);
        reactor.recv_start(socket, slot);
        reactor.recv_stop(socket, slot);
        const io::Event event = next_event(reactor);
        EXPECT_EQ(event.result, -ECANCELED);
        EXPECT_FALSE(event.more);
    });
}

TEST_F(KernelTest, AResetEndsReceiveAndSend) {
    run([this](io::Reactor& reactor) {
        const io::Socket socket = accept_one(reactor);
        reactor.recv_start(socket, slot);
        const std::string text(100, 'x');
        send(reactor, socket, text);
        EXPECT_EQ(next_event(reactor).result, 16);
        send(reactor, socket, text);
        network_->reset(connection_);
        int32_t recv_result = 0;
        int32_t send_result = 0;
        for (uint32_t count = 0; count < 2; ++count) {
            const io::Event event = next_event(reactor);
            (event.op == io::Op::recv ? recv_result : send_result) = event.result;
        }
        EXPECT_LE(recv_result, 0);
        EXPECT_LT(send_result, 0);
    });
}

TEST_F(KernelTest, ADescriptorIsReusedBeforeItsCloseWasSeen) {
    run({}, only(Fault::close_delayed, {1, 1}), [this](io::Reactor& reactor) {
        const io::Socket first = accept_one(reactor);
        network_->connect(0, {});
        reactor.close(first, slot);
        const io::Event event = next_event(reactor);
        ASSERT_EQ(event.op, io::Op::accept);
        EXPECT_EQ(event.socket, first);
        EXPECT_EQ(next_event(reactor).op, io::Op::close);
    });
}

TEST_F(KernelTest, AcceptsFailUntilStartedAgainAndStopForGood) {
    run({}, only(Fault::accept_failed, {1, 1}), [this](io::Reactor& reactor) {
        network_->connect(0, {.latency_ns = 1});
        reactor.accept_start(0);
        EXPECT_LT(next_event(reactor).result, 0);
        for (uint32_t turns = 0; turns < 10; ++turns) EXPECT_TRUE(reactor.turn(0).empty());
        reactor.accept_start(0);
        EXPECT_LT(next_event(reactor).result, 0);
        reactor.accept_stop(0);
        EXPECT_EQ(next_event(reactor).result, -ECANCELED);
    });
}

TEST_F(KernelTest, HoldsNoMoreSocketsThanItMay) {
    run({.sockets_max = 1}, {}, [this](io::Reactor& reactor) {
        const io::Socket first = accept_one(reactor);
        network_->connect(0, {.latency_ns = 1});
        for (uint32_t turns = 0; turns < 10; ++turns) EXPECT_TRUE(reactor.turn(0).empty());
        reactor.close(first, slot);
        std::vector<io::Op> ops = {next_event(reactor).op, next_event(reactor).op};
        EXPECT_EQ(std::count(ops.begin(), ops.end(), io::Op::accept), 1);
    });
}

using KernelDeathTest = KernelTest;

TEST_F(KernelDeathTest, CatchesTwoSendsInFlight) {
    EXPECT_DEATH(run([this](io::Reactor& reactor) {
                     const io::Socket socket = accept_one(reactor);
                     const std::string text = "text";
                     send(reactor, socket, text);
                     send(reactor, socket, text);
                 }),
                 "CHECK");
}

TEST_F(KernelDeathTest, CatchesTwoReceives) {
    EXPECT_DEATH(run([this](io::Reactor& reactor) {
                     const io::Socket socket = accept_one(reactor);
                     reactor.recv_start(socket, slot);
                     reactor.recv_start(socket, slot);
                 }),
                 "CHECK");
}

TEST_F(KernelDeathTest, CatchesACloseWithSomethingInFlight) {
    EXPECT_DEATH(run([this](io::Reactor& reactor) {
                     const io::Socket socket = accept_one(reactor);
                     reactor.recv_start(socket, slot);
                     reactor.close(socket, slot);
                 }),
                 "CHECK");
}

TEST_F(KernelDeathTest, CatchesRequestsAfterClose) {
    EXPECT_DEATH(run([this](io::Reactor& reactor) {
                     const io::Socket socket = accept_one(reactor);
                     reactor.close(socket, slot);
                     reactor.recv_start(socket, slot);
                 }),
                 "CHECK");
}

TEST_F(KernelDeathTest, CatchesAStopOfNoReceive) {
    EXPECT_DEATH(run([this](io::Reactor& reactor) {
                     const io::Socket socket = accept_one(reactor);
                     static_cast<void>(reactor.turn(0));
                     reactor.recv_stop(socket, slot);
                 }),
                 "CHECK");
}

TEST_F(KernelDeathTest, CatchesAPayloadThatChangesInFlight) {
    EXPECT_DEATH(run([this](io::Reactor& reactor) {
                     const io::Socket socket = accept_one(reactor);
                     std::string text = "text";
                     send(reactor, socket, text);
                     text[0] = 'T';
                     next_event(reactor);
                 }),
                 "CHECK");
}

TEST_F(KernelDeathTest, CatchesTooManyPartsAndNoBytes) {
    EXPECT_DEATH(run([this](io::Reactor& reactor) {
                     const io::Socket socket = accept_one(reactor);
                     char byte = 'x';
                     const std::vector<iovec> parts(io::iovecs_per_send_max + 1, iovec{&byte, 1});
                     reactor.send(socket, slot, parts);
                 }),
                 "CHECK");
    EXPECT_DEATH(run([this](io::Reactor& reactor) {
                     const io::Socket socket = accept_one(reactor);
                     send(reactor, socket, "");
                 }),
                 "CHECK");
}

#if defined(__SANITIZE_ADDRESS__)
TEST_F(KernelDeathTest, CatchesBytesUsedAfterTheirTurn) {
    EXPECT_DEATH(run([this](io::Reactor& reactor) {
                     const io::Socket socket = accept_one(reactor);
                     reactor.recv_start(socket, slot);
                     network_->write(connection_, bytes_of("hello"));
                     const std::span<uint8_t> bytes = next_event(reactor).bytes;
                     EXPECT_EQ(bytes[0], 'h');
                     static_cast<void>(reactor.turn(0));
                     EXPECT_EQ(bytes[0], 'h');
                 }),
                 "use-after-poison");
}
#endif

}  // namespace
}  // namespace sim
