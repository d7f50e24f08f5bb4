#include "broker/heartbeat.h"

#include <gtest/gtest.h>

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

const std::vector<Frame> one_ping = {{Kind::ping, 0, ""}};

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
