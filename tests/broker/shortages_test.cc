#include "broker/shortages.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "broker/io_errors.h"
#include "tests/broker/shard_world.h"

namespace broker {
namespace {

using testing::message_text;
using testing::Peer;
using testing::World;

constexpr uint64_t ms = base::ns_per_ms;
constexpr uint64_t second = base::ns_per_s;

constexpr int broken_errors[] = {ECONNRESET,   ECONNABORTED, EPIPE,       ENOTCONN,  ETIMEDOUT,
                                 ECONNREFUSED, ENETDOWN,     ENETUNREACH, ENETRESET, EHOSTDOWN,
                                 EHOSTUNREACH, ENONET,       ENOPROTOOPT, EPROTO,    EOPNOTSUPP,
                                 EMSGSIZE,     EACCES,       EPERM,       EXFULL};
constexpr int receive_memory_errors[] = {ENOMEM, EAGAIN, EINTR};
constexpr int send_memory_errors[] = {ENOMEM, EAGAIN, EINTR, ENOBUFS};
constexpr int accept_errors[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};

TEST(IoErrors, EveryErrnoOfAReceive) {
    EXPECT_EQ(receive_end_of(0), ReceiveEnd::stream_end);
    EXPECT_EQ(receive_end_of(-ECANCELED), ReceiveEnd::stopped);
    EXPECT_EQ(receive_end_of(-ENOBUFS), ReceiveEnd::no_buffer);
    for (const int error : receive_memory_errors) {
        EXPECT_EQ(receive_end_of(-error), ReceiveEnd::no_memory) << error;
    }
    for (const int error : broken_errors) {
        EXPECT_EQ(receive_end_of(-error), ReceiveEnd::broken) << error;
    }
}

TEST(IoErrors, EveryErrnoOfASend) {
    for (const int error : send_memory_errors) {
        EXPECT_EQ(send_failure_of(-error), SendFailure::no_memory) << error;
    }
    for (const int error : broken_errors) {
        EXPECT_EQ(send_failure_of(-error), SendFailure::broken) << error;
    }
}

// What begins with a warning and ends with "again", and nothing else.
void expect_one_episode(World& world, int error, uint64_t times) {
    world.run_for(6 * second);
    const std::vector<std::string> lines = world.take_log();
    ASSERT_EQ(lines.size(), 2u);
    EXPECT_TRUE(lines[0].starts_with("level=warn")) << lines[0];
    EXPECT_TRUE(lines[0].ends_with(" errno=" + std::to_string(error))) << lines[0];
    EXPECT_TRUE(lines[1].starts_with("level=info")) << lines[1];
    EXPECT_NE(lines[1].find("again"), std::string::npos) << lines[1];
    EXPECT_NE(lines[1].find(" times=" + std::to_string(times) + " "), std::string::npos)
        << lines[1];
}

TEST(Shortages, AReceiveWithoutMemoryIsArmedAgainALittleLater) {
    for (const int error : receive_memory_errors) {
        World world;
        const Peer peer = world.client();
        const uint32_t starts_count = peer.socket().recv_starts_count;
        peer.socket().recv_errors.assign(5, error);
        peer.say(R"({"op":"ping","id":1})");
        EXPECT_EQ(peer.socket().recv_starts_count, starts_count) << "at once would fail again";
        EXPECT_GT(world.kernel().deadline_ns, world.now_ns()) << "waits instead of spinning";
        world.run_for(100 * ms);
        EXPECT_EQ(peer.take_texts(), std::vector<std::string>{R"({"op":"pong","id":1})"});
        EXPECT_EQ(peer.socket().recv_starts_count, starts_count + 5);
        EXPECT_EQ(world.metric(Metric::memory_errors_total), 5u);
        expect_one_episode(world, error, 5);
    }
}

TEST(Shortages, ASendWithoutMemoryIsTriedAgainAndLosesNothing) {
    for (const int error : send_memory_errors) {
        World world;
        const Peer peer = world.client();
        peer.subscribe("a");
        const uint32_t sends_count = peer.socket().sends_count;
        peer.socket().send_errors.assign(5, error);
        const Peer writer = world.client();
        writer.say(R"({"op":"publish","topic":"a","data":1})");
        EXPECT_EQ(peer.socket().sends_count, sends_count + 1) << "at once would fail again";
        EXPECT_GT(world.kernel().deadline_ns, world.now_ns()) << "waits instead of spinning";
        world.run_for(100 * ms);
        writer.say(R"({"op":"publish","topic":"a","data":2})");
        EXPECT_EQ(peer.take_texts(), (std::vector<std::string>{message_text("a", "\"data\":1"),
                                                               message_text("a", "\"data\":2")}));
        EXPECT_EQ(world.metric(Metric::memory_errors_total), 5u);
        expect_one_episode(world, error, 5);
    }
}

TEST(Shortages, EveryAcceptErrorIsTriedAgainAndSaidOnce) {
    for (const int error : accept_errors) {
        World world;
        world.kernel().listeners[0].errors.assign(30, error);
        const Peer peer(world, 0, world.kernel().connect(0));
        world.settle();
        world.run_for(3'100 * ms);
        peer.upgrade();
        EXPECT_EQ(world.metric(Metric::accept_errors_total), 30u);
        EXPECT_EQ(world.kernel().listeners[0].starts_count, 31u) << "ten times a second";
        expect_one_episode(world, error, 30);
    }
}

TEST(Shortages, OneThatComesAndGoesIsOneEpisode) {
    World world;
    for (int round = 0; round < 10; ++round) {
        world.kernel().listeners[0].errors = {EMFILE};
        world.connect();
        world.run_for(second);
    }
    expect_one_episode(world, EMFILE, 10);
}

TEST(Shortages, ABrokenConnectionIsNotTriedAgain) {
    for (const int error : broken_errors) {
        World world;
        const Peer receiving = world.client();
        receiving.socket().recv_errors = {error};
        receiving.say(R"({"op":"ping"})");
        EXPECT_TRUE(receiving.is_closed()) << error;
        const Peer sending = world.client();
        sending.socket().send_errors = {error};
        sending.say(R"({"op":"ping"})");
        EXPECT_TRUE(sending.is_closed()) << error;
        EXPECT_TRUE(world.take_log().empty());
    }
}

TEST(Shortages, WhoeverWaitsMayEnd) {
    for (const bool is_send : {false, true}) {
        World world;
        const Peer peer = world.client();
        (is_send ? peer.socket().send_errors : peer.socket().recv_errors).assign(10'000, ENOMEM);
        peer.say(R"({"op":"ping"})");
        if (is_send) {
            peer.finish();
        } else {
            world.run_for(world.settings.heartbeat_interval_ns +
                          world.settings.heartbeat_timeout_ns + 6 * second);
        }
        EXPECT_TRUE(peer.is_closed());
        world.run_for(second);
    }
}

TEST(Shortages, ALastingOneIsTriedAtABoundedPace) {
    World world;
    std::vector<Peer> peers;
    for (int count = 0; count < 200; ++count) {
        peers.push_back(world.client());
        peers.back().socket().recv_errors.assign(1'000, ENOMEM);
    }
    world.settle();
    const uint64_t before = world.metric(Metric::memory_errors_total);
    world.run_for(second);
    const uint64_t errors_count = world.metric(Metric::memory_errors_total) - before;
    EXPECT_GT(errors_count, 1'000u);
    EXPECT_LE(errors_count, 64 * 101u);
    EXPECT_EQ(world.take_log().size(), 1u);
    for (const Peer& peer : peers) peer.socket().recv_errors.clear();
    world.run_for(100 * ms);
    for (const Peer& peer : peers) {
        peer.say(R"({"op":"ping"})");
        EXPECT_EQ(peer.take_texts().size(), 1u);
    }
}

}  // namespace
}  // namespace broker
