#include "broker/lifecycle.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <vector>

#include "tests/broker/shard_world.h"

namespace broker {
namespace {

using codec::Opcode;
using testing::client_frame;
using testing::close_payload;
using testing::Peer;
using testing::World;
using testing::WorldOptions;

constexpr uint64_t second = base::ns_per_s;

// Ways into every state in which a peer can end.
struct Place {
    const char* name;
    Peer (*enter)(World& world);
};

const Place places[] = {
    {"nothing said", [](World& world) { return world.connect(); }},
    {"a part of a request",
     [](World& world) {
         const Peer peer = world.connect();
         peer.send("GET /ws HT");
         return peer;
     }},
    {"an answer not read",
     [](World& world) {
         const Peer peer = world.connect();
         peer.stall();
         peer.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
         return peer;
     }},
    {"a refusal not read",
     [](World& world) {
         const Peer peer = world.connect();
         peer.stall();
         peer.send("GET /ws HTTP/1.1\r\nHost: localhost\r\n\r\n");
         return peer;
     }},
    {"a refusal read",
     [](World& world) {
         const Peer peer = world.connect();
         peer.send("GET /ws HTTP/1.1\r\nHost: localhost\r\n\r\n");
         return peer;
     }},
    {"a WebSocket", [](World& world) { return world.client(); }},
    {"a welcome not read",
     [](World& world) {
         const Peer peer = world.connect();
         peer.stall();
         peer.send(Peer::upgrade_request());
         return peer;
     }},
    {"subscribed, with messages not read",
     [](World& world) {
         const Peer peer = world.client();
         peer.say(R"({"op":"subscribe","filter":"a"})");
         peer.stall();
         for (int count = 0; count < 3; ++count)
             peer.say(R"({"op":"publish","topic":"a","data":1})");
         return peer;
     }},
    {"a part of a message",
     [](World& world) {
         const Peer peer = world.client();
         peer.send(client_frame(Opcode::text, std::string(1'000, 'x')).substr(0, 500));
         return peer;
     }},
    {"paused",
     [](World& world) {
         const Peer peer = world.client();
         peer.stall();
         for (int count = 0; count < 5'000; ++count) {
             peer.socket().inbound += client_frame(Opcode::ping, std::string(100, 'p'));
         }
         world.settle();
         return peer;
     }},
    {"a Close not read",
     [](World& world) {
         const Peer peer = world.client();
         peer.stall();
         peer.send(client_frame(Opcode::close, close_payload(1000, "")));
         return peer;
     }},
    {"a Close owed behind a send",
     [](World& world) {
         const Peer peer = world.client();
         peer.say(R"({"op":"subscribe","filter":"a"})");
         peer.stall();
         const Peer publisher = world.client();
         for (int count = 0; count < 20; ++count) {
             publisher.say(R"({"op":"publish","topic":"a","text":")" + std::string(60'000, 'x') +
                           "\"}");
         }
         publisher.finish();
         return peer;
     }},
    {"lingering",
     [](World& world) {
         const Peer peer = world.client();
         peer.send(client_frame(Opcode::close, close_payload(1000, "")));
         return peer;
     }},
};

TEST(Lifecycle, AResetEndsEveryState) {
    // The kernel's lack of memory is no end: see shortages_test.
    for (const int error : {ECONNRESET, EPIPE, ETIMEDOUT}) {
        for (const Place& place : places) {
            SCOPED_TRACE(place.name);
            World world;
            const Peer peer = place.enter(world);
            peer.fail(error);
            EXPECT_TRUE(peer.is_closed());
            EXPECT_EQ(world.shard().connections_count(), 0u);
        }
    }
}

TEST(Lifecycle, TheEndOfThePeersStreamEndsEveryStateInTime) {
    for (const Place& place : places) {
        SCOPED_TRACE(place.name);
        World world;
        const Peer peer = place.enter(world);
        peer.finish();
        world.run_for(world.settings.heartbeat_interval_ns + world.settings.heartbeat_timeout_ns +
                      2 * world.settings.close_timeout_ns);
        EXPECT_TRUE(peer.is_closed());
    }
}

TEST(Lifecycle, APeerThatVanishesIsGoneInTimeFromEveryState) {
    for (const Place& place : places) {
        SCOPED_TRACE(place.name);
        World world;
        const Peer peer = place.enter(world);
        peer.stall();
        world.run_for(world.settings.keep_alive_timeout_ns + 2 * world.settings.close_timeout_ns +
                      second);
        EXPECT_TRUE(peer.is_closed());
    }
}

TEST(Lifecycle, AStopNowEndsEveryState) {
    for (const Place& place : places) {
        SCOPED_TRACE(place.name);
        World world;
        const Peer peer = place.enter(world);
        world.request(io::Request::stop_now);
        for (int count = 0; count < 5; ++count) world.turn_all();
        EXPECT_TRUE(world.is_stopped());
        EXPECT_TRUE(peer.is_closed());
    }
}

TEST(Lifecycle, TheLastWordsLeaveBeforeTheConnectionCloses) {
    World world;
    const Peer peer = world.client();
    peer.stall();
    peer.send(client_frame(Opcode::close, close_payload(1000, "")));
    EXPECT_FALSE(peer.socket().write_shut);
    peer.read_on();
    EXPECT_EQ(peer.take_frames().size(), 1u);
    EXPECT_TRUE(peer.socket().write_shut);
    EXPECT_FALSE(peer.socket().both_shut);
    EXPECT_FALSE(peer.is_closed());
    peer.send("whatever the peer still says");
    EXPECT_FALSE(peer.is_closed());
    peer.finish();
    EXPECT_TRUE(peer.is_closed());
}

TEST(Lifecycle, LingeringIsBoundedInTime) {
    World world;
    const Peer peer = world.client();
    peer.send(client_frame(Opcode::close, close_payload(1000, "")));
    world.run_for(world.settings.close_timeout_ns - second / 10);
    EXPECT_FALSE(peer.is_closed());
    world.run_for(second / 2);
    EXPECT_TRUE(peer.is_closed());
}

TEST(Lifecycle, DiscardingIsBoundedInBytes) {
    constexpr size_t discarded_bytes_max = 1 << 20;
    World world;
    const Peer peer = world.client();
    peer.send(client_frame(Opcode::close, close_payload(1000, "")));
    peer.send(std::string(discarded_bytes_max, 'x'));
    EXPECT_FALSE(peer.is_closed());
    peer.send("x");
    EXPECT_TRUE(peer.is_closed());
}

TEST(Lifecycle, WhatWasQueuedGoesBeforeTheClose) {
    World world;
    const Peer peer = world.client();
    peer.say(R"({"op":"subscribe","filter":"a"})");
    peer.take_frames();
    peer.socket().send_room_bytes = 5;
    for (int count = 0; count < 3; ++count) peer.say(R"({"op":"publish","topic":"a","data":1})");
    peer.send(client_frame(Opcode::binary, ""));
    peer.read_on();
    const std::vector<testing::Frame> frames = peer.take_frames();
    ASSERT_EQ(frames.size(), 4u);
    for (size_t index = 0; index < 3; ++index)
        EXPECT_EQ(frames[index].kind, codec::Decoded::Kind::text);
    EXPECT_EQ(frames[3].close_code, 1003);
}

TEST(Lifecycle, AnEndWithoutACloseFrameCountsAs1006) {
    World world;
    const Peer finished = world.client();
    finished.finish();
    const Peer reset = world.client();
    reset.fail(ECONNRESET);
    world.connect().finish();  // was never a WebSocket
    EXPECT_EQ(world.closed_count(1006), 2u);
}

TEST(Lifecycle, TheEndOfAConnectionTakesItsSubscriptionsAlong) {
    World world;
    const Peer peer = world.client();
    peer.say(R"({"op":"subscribe","filters":["a","b/+","#"]})");
    EXPECT_EQ(world.metric(Metric::subscriptions), 3u);
    EXPECT_EQ(world.metric(Metric::connections), 1u);
    peer.finish();
    EXPECT_EQ(world.metric(Metric::subscriptions), 0u);
    EXPECT_EQ(world.metric(Metric::filters), 0u);
    EXPECT_EQ(world.metric(Metric::connections), 0u);
    EXPECT_EQ(world.metric(Metric::websockets), 0u);
}

TEST(Lifecycle, SlotsAreUsedAgain) {
    WorldOptions options;
    options.settings.connections_max = 4;
    World world(options);
    for (int round = 0; round < 300; ++round) {
        const Peer peer = world.client();
        peer.say(R"({"op":"ping"})");
        ASSERT_EQ(peer.take_texts().size(), 1u);
        peer.finish();
        ASSERT_TRUE(peer.is_closed());
    }
}

}  // namespace
}  // namespace broker
