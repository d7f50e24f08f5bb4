#include "broker/shard.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "tests/broker/shard_world.h"

namespace broker {
namespace {

using codec::Opcode;
using testing::client_frame;
using testing::message_text;
using testing::Peer;
using testing::World;
using testing::WorldOptions;
using Kind = codec::Decoded::Kind;

constexpr uint64_t second = base::ns_per_s;

uint32_t starts_count(World& world) {
    return world.kernel().listeners[0].starts_count;
}

TEST(ShardAccept, FailuresAreTriedAgainALittleLater) {
    World world;
    EXPECT_EQ(starts_count(world), 1u);
    world.kernel().listeners[0].errors = {EMFILE, ENFILE};
    const uint32_t number = world.kernel().connect(0);
    world.settle();
    EXPECT_EQ(world.metric(Metric::accept_errors_total), 1u);
    EXPECT_EQ(starts_count(world), 1u) << "at once would fail again";
    world.run_for(90 * base::ns_per_ms);
    EXPECT_EQ(starts_count(world), 1u);
    world.run_for(20 * base::ns_per_ms);
    EXPECT_EQ(starts_count(world), 2u);
    EXPECT_EQ(world.metric(Metric::accept_errors_total), 2u);
    world.run_for(110 * base::ns_per_ms);
    EXPECT_EQ(starts_count(world), 3u);
    const Peer peer(world, 0, number);
    peer.upgrade();
    world.run_for(6 * second);
    const std::vector<std::string> lines = world.take_log();
    ASSERT_EQ(lines.size(), 2u) << "a line when it begins and one when it ends";
    EXPECT_TRUE(lines[0].starts_with("level=warn")) << lines[0];
    EXPECT_NE(lines[0].find("errno=" + std::to_string(EMFILE)), std::string::npos) << lines[0];
    EXPECT_TRUE(lines[1].starts_with("level=info")) << lines[1];
}

TEST(ShardAccept, AListenerThatFailsDoesNotStopAnother) {
    WorldOptions options;
    options.listeners = {ListenerRole{}, ListenerRole{}};
    World world(options);
    world.kernel().listeners[0].errors = {EMFILE};
    world.kernel().connect(0);
    world.settle();
    const Peer peer = world.connect(0, 1);
    peer.upgrade();
    EXPECT_EQ(world.kernel().listeners[1].starts_count, 1u);
}

TEST(ShardAccept, AFailureAroundAStopIsNotTriedAgain) {
    for (const bool fails_first : {true, false}) {
        World world;
        const Peer peer = world.client();
        peer.stall();
        if (!fails_first) {
            world.request(io::Request::stop);
            world.turn(0);
        }
        world.kernel().listeners[0].errors = {EMFILE};
        world.kernel().connect(0);
        world.request(io::Request::stop);
        world.settle();
        EXPECT_EQ(world.metric(Metric::accept_errors_total), 1u);
        world.run_for(second);
        EXPECT_EQ(starts_count(world), 1u);
        EXPECT_GT(world.kernel().deadline_ns, world.now_ns()) << "waits instead of spinning";
    }
}

TEST(ShardStarvation, ReceivesWaitTheirTurnForBuffers) {
    World world;
    std::vector<Peer> peers;
    for (int count = 0; count < 20; ++count) peers.push_back(world.client());
    world.kernel().buffers_count = 3;
    for (const Peer& peer : peers) peer.socket().inbound = client_frame(Opcode::ping, "p");
    world.settle();
    EXPECT_GT(world.metric(Metric::receives_starved_total), 0u);
    for (const Peer& peer : peers) EXPECT_EQ(peer.take_frames().size(), 1u);
    // Only as many are armed again as buffers came home, so nobody starves twice.
    EXPECT_EQ(world.metric(Metric::receives_starved_total), 17u);
}

TEST(ShardStarvation, NobodyStarvesForEver) {
    World world;
    std::vector<Peer> peers;
    for (int count = 0; count < 8; ++count) peers.push_back(world.client());
    world.kernel().buffers_count = 1;
    std::vector<size_t> frames(peers.size(), 0);
    for (int round = 0; round < 200; ++round) {
        for (const Peer& peer : peers) {
            if (peer.socket().inbound.empty())
                peer.socket().inbound = client_frame(Opcode::ping, "p");
        }
        world.turn(0);
        for (size_t index = 0; index < peers.size(); ++index)
            frames[index] += peers[index].take_frames().size();
    }
    const auto [least, most] = std::minmax_element(frames.begin(), frames.end());
    EXPECT_GE(*least, 10u);
    EXPECT_LE(*most, 4 * *least) << "in rotation";
}

TEST(ShardStarvation, AStarvedConnectionMayEnd) {
    World world;
    const Peer peer = world.client();
    world.kernel().buffers_count = 0;
    peer.socket().inbound = client_frame(Opcode::ping, "p");
    for (int count = 0; count < 5; ++count) world.turn(0);
    EXPECT_GT(world.metric(Metric::receives_starved_total), 0u);
    world.kernel().buffers_count = UINT32_MAX;
    peer.fail(ECONNRESET);
    EXPECT_TRUE(peer.is_closed());
}

TEST(ShardLoop, AnIdleShardTurnsOftenEnoughToBeHealthy) {
    World world;
    world.client();
    world.settle();
    EXPECT_LE(world.kernel().deadline_ns, world.now_ns() + second);
    EXPECT_GT(world.kernel().deadline_ns, world.now_ns());
}

constexpr uint64_t ttl_ns = 5 * second / 2;

WorldOptions with_ttl() {
    WorldOptions options;
    options.settings.topic_rules = {
        {.match = "#", .history_messages_max = 10, .history_ttl_ns = ttl_ns}};
    return options;
}

// Afterwards nobody is connected, so that only the history asks for turns.
void publish_and_leave(World& world, uint32_t topics_count, uint64_t pause_ns = 0) {
    const Peer peer = world.client();
    for (uint32_t topic = 0; topic < topics_count; ++topic) {
        world.jump(pause_ns);
        peer.say(R"({"op":"publish","topic":"t/)" + std::to_string(topic) + R"(","data":1})");
    }
    peer.finish();
    EXPECT_EQ(world.metric(Metric::history_messages), topics_count);
}

TEST(ShardLoop, AnIdleShardLetsHistoryExpireInTime) {
    World world(with_ttl());
    publish_and_leave(world, 1);
    world.run_for(ttl_ns - 100 * base::ns_per_ms);
    EXPECT_EQ(world.metric(Metric::history_messages), 1u);
    EXPECT_EQ(world.kernel().deadline_ns, world.now_ns() + 100 * base::ns_per_ms);
    world.run_for(100 * base::ns_per_ms);
    EXPECT_EQ(world.metric(Metric::history_messages), 0u);
    world.turn(0);
    EXPECT_EQ(world.kernel().deadline_ns, world.now_ns() + second) << "idle again";
}

TEST(ShardLoop, WhatExpiresTogetherTakesAsManyTurnsAsItNeedsAndNoWait) {
    World world(with_ttl());
    publish_and_leave(world, 600);
    world.jump(ttl_ns);
    world.turn(0);
    EXPECT_EQ(world.metric(Metric::history_messages), 600u - 256);
    for (const uint64_t left : {600u - 512, 0u}) {
        world.turn(0);
        EXPECT_EQ(world.kernel().deadline_ns, 0u);
        EXPECT_EQ(world.metric(Metric::history_messages), left);
    }
}

TEST(ShardLoop, AnIdleShardDoesNotWakeForEachMessageThatExpires) {
    World world(with_ttl());
    publish_and_leave(world, 100, base::ns_per_ms);
    world.jump(ttl_ns - 90 * base::ns_per_ms);
    world.turn(0);
    const uint64_t left_count = world.metric(Metric::history_messages);
    EXPECT_LT(left_count, 100u);
    EXPECT_GT(left_count, 0u);
    world.turn(0);
    EXPECT_EQ(world.kernel().deadline_ns, world.now_ns() + 64 * base::ns_per_ms);
}

std::vector<Peer> subscribers_of_a(World& world, int subscribers_count) {
    std::vector<Peer> peers;
    for (int count = 0; count < subscribers_count; ++count) {
        const uint32_t number = world.kernel().connect(0);
        peers.emplace_back(world, 0, number);
        peers.back().socket().inbound =
            Peer::upgrade_request() +
            client_frame(Opcode::text, R"({"op":"subscribe","filter":"a"})");
    }
    world.settle();
    for (const Peer& peer : peers) peer.take_bytes();
    return peers;
}

TEST(ShardLoop, AHugeTopicIsSentInBoundedTurns) {
    World world;
    const std::vector<Peer> peers = subscribers_of_a(world, 500);
    peers[0].socket().inbound =
        client_frame(Opcode::text, R"({"op":"publish","topic":"a","data":1})");
    const uint64_t sends_before = world.metric(Metric::sends_total);
    world.turn(0);
    for (const uint64_t sends : {64u, 128u, 192u, 256u, 320u, 384u, 448u}) {
        world.turn(0);
        EXPECT_EQ(world.metric(Metric::sends_total) - sends_before, sends);
        EXPECT_EQ(world.kernel().deadline_ns, 0u) << "the rest comes without waiting";
    }
    world.turn(0);
    EXPECT_EQ(world.metric(Metric::sends_total) - sends_before, 500u);
}

TEST(ShardLoop, WhoStillWaitsGetsWhatComesMeanwhileInTheSameSend) {
    World world;
    const std::vector<Peer> peers = subscribers_of_a(world, 500);
    peers[0].socket().inbound =
        client_frame(Opcode::text, R"({"op":"publish","topic":"a","data":1})");
    const uint64_t sends_before = world.metric(Metric::sends_total);
    world.turn(0);
    peers[1].socket().inbound =
        client_frame(Opcode::text, R"({"op":"publish","topic":"a","data":2})");
    world.settle();
    EXPECT_EQ(world.metric(Metric::sends_total) - sends_before, 500u + 64u);
    for (const Peer& peer : peers) {
        EXPECT_EQ(peer.take_texts(), (std::vector<std::string>{message_text("a", "\"data\":1"),
                                                               message_text("a", "\"data\":2")}));
    }
}

TEST(ShardLoop, ManyMessagesOfATurnAreOneSend) {
    World world;
    const Peer peer = world.client();
    peer.say(R"({"op":"subscribe","filter":"a"})");
    peer.take_frames();
    std::string frames;
    for (int count = 0; count < 100; ++count) {
        frames += client_frame(Opcode::text, R"({"op":"publish","topic":"a","data":1})");
    }
    const uint32_t sends_before = peer.socket().sends_count;
    peer.send(frames);
    EXPECT_EQ(peer.socket().sends_count - sends_before, 1u);
    EXPECT_EQ(peer.socket().parts_count, 1u);
    EXPECT_EQ(peer.take_frames().size(), 100u);
}

TEST(ShardLoop, CountsWhatItDoes) {
    World world;
    const Peer peer = world.client();
    peer.say(R"({"op":"subscribe","filter":"a"})");
    const uint64_t received_before = world.metric(Metric::received_bytes_total);
    const uint64_t sent_before = world.metric(Metric::sent_bytes_total);
    peer.take_frames();
    const std::string frame =
        client_frame(Opcode::text, R"({"op":"publish","topic":"a","data":1})");
    peer.send(frame);
    EXPECT_EQ(world.metric(Metric::received_bytes_total) - received_before, frame.size());
    EXPECT_EQ(world.metric(Metric::sent_bytes_total) - sent_before, peer.socket().outbound.size());
    EXPECT_EQ(world.metric(Metric::messages_published_total), 1u);
    EXPECT_EQ(world.metric(Metric::deliveries_total), 1u);
    EXPECT_EQ(world.metric(Metric::commands_total), 2u);
    EXPECT_EQ(world.metric(Metric::outbound_bytes), 0u);
    EXPECT_GT(world.metric(Metric::chunk_memory_bytes), 0u);
    EXPECT_GT(world.metric(Metric::turns_total), 0u);
    EXPECT_GT(world.metric(Metric::events_total), 0u);
}

TEST(ShardLoop, ASeedReproducesARun) {
    const auto welcome_of = [](uint64_t seed) {
        World world({.seed = seed});
        const Peer peer = world.connect();
        peer.send(Peer::upgrade_request());
        return peer.take_bytes();
    };
    EXPECT_EQ(welcome_of(1), welcome_of(1));
    EXPECT_NE(welcome_of(1), welcome_of(2)) << "a client's name comes from the seed";
}

TEST(ShardReload, NewSettingsCountFromThenOn) {
    World world({.shards_count = 2});
    const Peer client = world.client(0);
    Settings fresh;
    fresh.allowed_origins = {"https://app.example"};
    fresh.log_level = LogLevel::warn;
    fresh.compression = false;
    fresh.outbound_soft_bytes = 512;
    fresh.outbound_hard_bytes = 1'024;
    fresh.drain_timeout_ns = 2 * second;
    fresh.heartbeat_interval_ns = second;  // is not taken
    constexpr std::string_view offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
    constexpr std::string_view origin = "Origin: https://app.example\r\n";
    for (const bool is_reloaded : {false, true}) {
        if (is_reloaded) world.reload(fresh);
        for (const io::ShardId shard : {0u, 1u}) {
            const Peer foreign = world.connect(shard);
            foreign.send(Peer::upgrade_request(origin));
            EXPECT_TRUE(
                foreign.take_response().starts_with(is_reloaded ? "HTTP/1.1 101" : "HTTP/1.1 403"));
            const Peer compressing = world.connect(shard);
            compressing.send(Peer::upgrade_request(offer));
            const bool is_compressed =
                compressing.take_response().find("permessage-deflate") != std::string::npos;
            EXPECT_EQ(is_compressed, !is_reloaded);
        }
    }
    world.run_for(3 * second);
    EXPECT_TRUE(client.take_frames().empty()) << "no ping";
    client.subscribe("a");
    client.stall();
    const Peer writer = world.client(1);
    for (int count = 0; count < 3; ++count) {
        writer.say(R"({"op":"publish","topic":"a","data":")" + std::string(900, 'x') + "\"}");
    }
    world.run_for(second);
    EXPECT_EQ(world.closed_count(4100), 0u);
    client.read_on();
    EXPECT_EQ(client.take_frames().back().close_code, 4100) << "by the new limit";
    world.take_log();
    world.request(io::Request::stop);
    world.settle();
    EXPECT_TRUE(world.take_log().empty()) << "the stop is logged at info";
    world.run_for(2'100 * base::ns_per_ms);
    EXPECT_TRUE(world.is_stopped());
}

TEST(Shard, AcceptsThatWaitLeaveRoomForAllConnections) {
    EXPECT_EQ(accepts_per_listener(1), 16u);
    for (uint32_t listeners_count = 1; listeners_count <= refusal_slots_count; ++listeners_count) {
        const uint32_t at_each = accepts_per_listener(listeners_count);
        EXPECT_GE(at_each, 1u);
        EXPECT_LE(at_each, 16u);
        EXPECT_LE(listeners_count * at_each, refusal_slots_count);
    }
    EXPECT_EQ(accepts_per_listener(1'000), 1u);
}

TEST(Shard, SocketsPerShardKeepAReserveForRefusals) {
    Settings settings;
    settings.connections_max = 1'000;
    EXPECT_EQ(sockets_per_shard(settings), 1'000 + refusal_slots_count);
}

}  // namespace
}  // namespace broker
