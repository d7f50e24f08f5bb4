#include "broker/heartbeat.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/broker/shard_world.h"

namespace broker {
namespace {

using codec::Opcode;
using testing::client_frame;
using testing::Frame;
using testing::Peer;
using testing::World;
using testing::WorldOptions;
using Kind = codec::Decoded::Kind;

constexpr uint64_t second = base::ns_per_s;
// A timer may be two ticks of the wheel late: one of its own, one of the turn.
constexpr uint64_t slack_ns = 2 * 64 * base::ns_per_ms;

// The first of a shard: its number, as two bytes.
const std::vector<Frame> one_ping = {{Kind::ping, 0, std::string("\0\1", 2)}};

// Interval 25 s, timeout 20 s.
class HeartbeatTest : public ::testing::Test {
  protected:
    World world_;
};

TEST_F(HeartbeatTest, ASilentClientIsPingedAfterTheIntervalAndNotBefore) {
    const Peer peer = world_.client();
    world_.run_for(25 * second - base::ns_per_ms);
    EXPECT_EQ(peer.take_bytes(), "");
    world_.run_for(slack_ns);
    EXPECT_EQ(peer.take_frames(), one_ping);
    EXPECT_EQ(world_.metric(Metric::pings_total), 1u);
}

TEST_F(HeartbeatTest, AnyByteDelaysThePing) {
    const Peer peer = world_.client();
    world_.run_for(20 * second);
    peer.send(client_frame(Opcode::text, "").substr(0, 1));  // not even a whole header
    world_.run_for(25 * second - slack_ns);
    EXPECT_EQ(peer.take_bytes(), "");
    world_.run_for(2 * slack_ns);
    EXPECT_EQ(peer.take_frames(), one_ping);
}

TEST_F(HeartbeatTest, WhoAnswersLives) {
    const Peer peer = world_.client();
    int pings_count = 0;
    for (int elapsed = 0; elapsed < 300; ++elapsed) {
        world_.run_for(second);
        for (const Frame& frame : peer.take_frames()) {
            EXPECT_EQ(frame.kind, Kind::ping);
            ++pings_count;
            peer.send(client_frame(Opcode::pong, ""));
        }
    }
    EXPECT_GE(pings_count, 10);
    EXPECT_LE(pings_count, 12);
    EXPECT_EQ(world_.metric(Metric::websockets), 1u);
}

// The kernel takes the ping of a dead peer at once; that is no sign of life.
TEST_F(HeartbeatTest, WhoDoesNotAnswerIsEvictedWithinTheBound) {
    const Peer peer = world_.client();
    world_.run_for(45 * second - base::ns_per_ms);
    EXPECT_EQ(world_.metric(Metric::websockets), 1u)
        << "not before interval and timeout have passed";
    world_.run_for(3 * slack_ns);
    EXPECT_EQ(world_.metric(Metric::websockets), 0u);
    const std::vector<Frame> frames = peer.take_frames();
    ASSERT_EQ(frames.size(), 2u);
    EXPECT_EQ(frames[0], one_ping[0]);
    EXPECT_EQ(frames[1].close_code, 4200);
    world_.run_for(Heartbeat::eviction_grace_ns + slack_ns);
    EXPECT_TRUE(peer.is_closed());
    EXPECT_EQ(world_.closed_count(4200), 1u);
}

TEST_F(HeartbeatTest, ADeadPeerOfABusyTopicIsEvictedToo) {
    const Peer peer = world_.client();
    peer.say(R"({"op":"subscribe","filter":"a"})");
    const Peer publisher = world_.client();
    for (int elapsed = 0; elapsed < 47; ++elapsed) {
        world_.run_for(second);
        publisher.say(R"({"op":"publish","topic":"a","data":1})");
    }
    EXPECT_EQ(world_.metric(Metric::subscriptions), 0u);
    EXPECT_EQ(world_.metric(Metric::websockets), 1u);
}

TEST_F(HeartbeatTest, AStalledPeerIsGoneWithinTheBound) {
    const Peer peer = world_.client();
    peer.stall();
    world_.run_for(45 * second + Heartbeat::eviction_grace_ns + 3 * slack_ns);
    EXPECT_TRUE(peer.is_closed()) << "the ping never left";
    EXPECT_EQ(peer.take_bytes(), "");
}

TEST_F(HeartbeatTest, ASlowPeerBehindAFullQueueLives) {
    const Peer peer = world_.client();
    peer.say(R"({"op":"subscribe","filter":"a"})");
    peer.stall();
    const Peer publisher = world_.client();
    publisher.say(R"({"op":"publish","topic":"a","text":")" + std::string(60'000, 'x') + "\"}");
    for (int elapsed = 0; elapsed < 120; ++elapsed) {
        world_.run_for(second);
        peer.socket().send_room_bytes = 400;  // it reads, but too slowly to see the ping in time
        world_.settle();
        if (elapsed % 20 == 0) publisher.send(client_frame(Opcode::pong, ""));
    }
    EXPECT_EQ(world_.metric(Metric::websockets), 2u);
    peer.socket().send_room_bytes = 0;
    world_.run_for(47 * second);
    EXPECT_EQ(world_.metric(Metric::websockets), 0u) << "now neither gives a sign";
}

TEST_F(HeartbeatTest, BrowsersGetAMessageWithThePing) {
    const Peer browser = world_.client(0, "Origin: http://localhost\r\n");
    world_.run_for(25 * second + slack_ns);
    EXPECT_EQ(browser.take_frames(),
              (std::vector<Frame>{one_ping[0], {Kind::text, 0, R"({"op":"heartbeat"})"}}));
}

TEST_F(HeartbeatTest, ThePingGoesBeforeWhatWaits) {
    const Peer peer = world_.client();
    peer.say(R"({"op":"subscribe","filter":"a"})");
    peer.take_frames();
    peer.stall();
    const Peer publisher = world_.client();
    for (int count = 0; count < 2; ++count)
        publisher.say(R"({"op":"publish","topic":"a","data":1})");
    world_.run_for(26 * second);
    peer.read_on();
    const std::vector<Frame> frames = peer.take_frames();
    ASSERT_EQ(frames.size(), 3u);
    EXPECT_EQ(frames[0].kind, Kind::text) << "in flight already";
    EXPECT_EQ(frames[1].kind, Kind::ping);
    EXPECT_EQ(frames[2].kind, Kind::text);
}

TEST_F(HeartbeatTest, TheTimeoutRunsFromWhenThePingHasLeft) {
    const Peer peer = world_.client();
    peer.subscribe("a");
    const Peer publisher = world_.client();
    world_.run_for(25 * second - 20 * base::ns_per_ms);
    peer.stall();
    publisher.say(R"({"op":"publish","topic":"a","text":")" + std::string(60'000, 'x') + "\"}");
    // The ping comes behind a frame that has begun to leave, in sends that never wait for long:
    // they are no sign of life, but the peer cannot answer what has not left.
    peer.socket().send_room_bytes = 300;
    for (int count = 0; count < 190; ++count) {
        world_.run_for(50 * base::ns_per_ms);
        peer.socket().send_room_bytes = 300;
        world_.settle();
    }
    ASSERT_EQ(world_.metric(Metric::pings_total), 2u) << "the publisher is one of them";
    publisher.send(client_frame(Opcode::pong, ""));
    world_.run_for(second / 20);
    peer.read_on();  // and the ping leaves, 9.5 s after it was queued
    ASSERT_EQ(peer.take_frames().size(), 2u);
    world_.run_for(20 * second - 2 * slack_ns);
    EXPECT_EQ(world_.closed_count(4200), 0u);
    EXPECT_FALSE(peer.socket().write_shut);
    world_.run_for(2 * slack_ns + 2 * Heartbeat::eviction_grace_ns);
    EXPECT_TRUE(peer.is_closed());
    EXPECT_EQ(world_.closed_count(4200), 1u);
}

TEST_F(HeartbeatTest, PingsOfACrowdThatCameAtOnceAreSpreadOverAFifthOfTheInterval) {
    constexpr uint32_t crowd_count = 500;
    std::vector<Peer> crowd;
    for (uint32_t count = 0; count < crowd_count; ++count) crowd.push_back(world_.client());
    // In the second round, too, though all have answered everything at once.
    for (int round = 1; round <= 2; ++round) {
        uint64_t most_in_a_tick = 0;
        const uint64_t before = world_.metric(Metric::pings_total);
        for (int tick = 0; tick < 300; ++tick) {
            world_.run_for(64 * base::ns_per_ms);
        }
        EXPECT_EQ(world_.metric(Metric::pings_total), before) << "four fifths of it are quiet";
        for (int tick = 0; tick < 95; ++tick) {
            const uint64_t count = world_.metric(Metric::pings_total);
            world_.run_for(64 * base::ns_per_ms);
            most_in_a_tick = std::max(most_in_a_tick, world_.metric(Metric::pings_total) - count);
        }
        EXPECT_EQ(world_.metric(Metric::pings_total) - before, crowd_count) << round;
        EXPECT_LE(most_in_a_tick, 2 * crowd_count * 64 / 5'000 + 1) << round;
        for (const Peer& peer : crowd) {
            EXPECT_EQ(peer.take_frames().size(), 1u);
            peer.socket().inbound += client_frame(Opcode::pong, "");
        }
        world_.settle();
    }
}

TEST_F(HeartbeatTest, PingsOfASecondShareTheirFrameAndTheNextOnesHaveAnother) {
    std::vector<Peer> peers;
    for (int count = 0; count < 7; ++count) peers.push_back(world_.client());
    std::string payloads[2][7];
    uint64_t memory_bytes[2];
    for (int round = 0; round < 2; ++round) {
        world_.run_for(25 * second + slack_ns);
        memory_bytes[round] = world_.metric(Metric::chunk_memory_bytes);
        for (size_t number = 0; number < peers.size(); ++number) {
            const std::vector<Frame> frames = peers[number].take_frames();
            ASSERT_EQ(frames.size(), 1u);
            payloads[round][number] = frames[0].payload;
            peers[number].send(client_frame(Opcode::pong, frames[0].payload));
        }
    }
    EXPECT_EQ(world_.observed_count(Distribution::heartbeat_rtt_seconds), 14u);
    // By the golden ratio they are pinged 4.27 s (slot 3), 3.54 s (6), 3.09 s (1) and 2.36 s (4)
    // before the interval ends.
    EXPECT_EQ(payloads[0][3], payloads[0][6]);
    EXPECT_EQ(payloads[0][1], payloads[0][4]);
    EXPECT_NE(payloads[0][6], payloads[0][1]);
    EXPECT_NE(payloads[0][0], payloads[0][1]);
    EXPECT_NE(payloads[0][0], payloads[1][0]);
    EXPECT_EQ(memory_bytes[0], memory_bytes[1]) << "the old ones are freed";
}

TEST_F(HeartbeatTest, OnlyThePongThatAnswersTellsTheRoundTrip) {
    const auto observed = [this] {
        return world_.observed_count(Distribution::heartbeat_rtt_seconds);
    };
    const Peer peer = world_.client();
    peer.send(client_frame(Opcode::pong, std::string("\0\1", 2)));
    EXPECT_EQ(observed(), 0u) << "there was no ping yet";
    world_.run_for(25 * second + slack_ns);
    const std::vector<Frame> ping = peer.take_frames();
    ASSERT_EQ(ping, one_ping);
    for (const std::string& payload :
         {std::string(), std::string("\0\2", 2), std::string("\1"), std::string("\0\1\0", 3)}) {
        peer.send(client_frame(Opcode::pong, payload));
        EXPECT_EQ(observed(), 0u);
    }
    world_.run_for(second);
    peer.send(client_frame(Opcode::pong, ping[0].payload));
    EXPECT_EQ(observed(), 1u) << "other signs of life came before it";
    peer.send(client_frame(Opcode::pong, ping[0].payload));
    EXPECT_EQ(observed(), 1u) << "once";
    world_.run_for(25 * second + slack_ns);
    ASSERT_EQ(peer.take_frames().size(), 1u);
    peer.send(client_frame(Opcode::pong, ping[0].payload));
    EXPECT_EQ(observed(), 1u) << "the last one's";
}

TEST_F(HeartbeatTest, APongToAPingThatHasNotLeftTellsNothing) {
    const Peer peer = world_.client();
    peer.subscribe("a");
    peer.stall();
    const Peer publisher = world_.client();
    publisher.say(R"({"op":"publish","topic":"a","data":1})");
    world_.run_for(25 * second + slack_ns);
    peer.send(client_frame(Opcode::pong, std::string("\0\1", 2)) +
              client_frame(Opcode::pong, std::string("\0\2", 2)));
    EXPECT_EQ(world_.observed_count(Distribution::heartbeat_rtt_seconds), 0u);
    peer.read_on();
    EXPECT_EQ(peer.take_frames().size(), 2u);
}

TEST_F(HeartbeatTest, AMachineThatSleptEvictsNobodyForIt) {
    const Peer peer = world_.client();
    world_.run_for(26 * second);
    ASSERT_EQ(peer.take_frames(), one_ping);
    world_.jump(600 * second);
    world_.settle();
    EXPECT_EQ(world_.metric(Metric::websockets), 1u) << "the peer had no time to answer";
    world_.run_for(19 * second);
    EXPECT_EQ(world_.metric(Metric::websockets), 1u);
    world_.run_for(2 * second);
    EXPECT_EQ(world_.metric(Metric::websockets), 0u) << "now it had";
}

TEST_F(HeartbeatTest, AMachineThatSleptInATurnThatDidNotWaitEvictsNobodyEither) {
    const Peer peer = world_.client();
    world_.run_for(26 * second);
    ASSERT_EQ(peer.take_frames(), one_ping);
    // While more than one receive waits for a buffer, the turns only look.
    const Peer others[] = {world_.client(), world_.client()};
    world_.kernel().buffers_count = 0;
    for (const Peer& other : others) other.socket().inbound = client_frame(Opcode::ping, "");
    world_.turn(0);
    world_.turn(0);
    ASSERT_EQ(world_.kernel().deadline_ns, 0u);
    world_.jump(600 * second);
    world_.kernel().buffers_count = UINT32_MAX;
    world_.settle();
    EXPECT_EQ(world_.metric(Metric::websockets), 3u);
}

TEST_F(HeartbeatTest, ALateTurnIsNoPause) {
    world_.client();
    world_.run_for(26 * second);
    // Turns that are up to a second late are chance, and delay no eviction.
    for (int count = 0; count < 22; ++count) {
        world_.jump(second);
        world_.settle();
    }
    EXPECT_EQ(world_.metric(Metric::websockets), 0u);
}

TEST(Heartbeat, TheTimeoutMayBeLongerThanTheInterval) {
    WorldOptions options;
    options.settings.heartbeat_interval_ns = 2 * second;
    options.settings.heartbeat_timeout_ns = 10 * second;
    World world(options);
    const Peer silent = world.client();
    const Peer answering = world.client();
    for (int elapsed = 0; elapsed < 110; ++elapsed) {
        world.run_for(second / 10);
        for (const Frame& frame : answering.take_frames()) {
            if (frame.kind == Kind::ping) answering.send(client_frame(Opcode::pong, ""));
        }
    }
    EXPECT_EQ(world.metric(Metric::websockets), 2u);
    EXPECT_EQ(silent.take_frames(), one_ping) << "one ping at a time";
    world.run_for(1'300 * base::ns_per_ms);
    EXPECT_EQ(world.metric(Metric::websockets), 1u);
}

}  // namespace
}  // namespace broker
