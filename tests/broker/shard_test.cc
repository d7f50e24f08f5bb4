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
using testing::close_payload;
using testing::Frame;
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

TEST(ShardLoop, AHugeTopicIsSentInBoundedTurns) {
    WorldOptions options;
    options.settings.connections_max = 3'000;
    World world(options);
    std::vector<Peer> peers;
    for (int count = 0; count < 1'500; ++count) {
        const uint32_t number = world.kernel().connect(0);
        peers.emplace_back(world, 0, number);
        peers.back().socket().inbound =
            Peer::upgrade_request() +
            client_frame(Opcode::text, R"({"op":"subscribe","filter":"a"})");
    }
    world.settle();
    for (const Peer& peer : peers) peer.take_bytes();
    peers[0].socket().inbound =
        client_frame(Opcode::text, R"({"op":"publish","topic":"a","data":1})");
    const uint64_t sends_before = world.metric(Metric::sends_total);
    world.turn(0);
    world.turn(0);
    EXPECT_EQ(world.metric(Metric::sends_total) - sends_before, 1'024u);
    EXPECT_EQ(world.kernel().deadline_ns, 0u) << "the rest comes without waiting";
    world.turn(0);
    EXPECT_EQ(world.metric(Metric::sends_total) - sends_before, 1'500u);
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

TEST(ShardStop, SaysGoodbyeAndWaitsForThePeers) {
    World world;
    const Peer peer = world.client();
    peer.say(R"({"op":"subscribe","filter":"a"})");
    peer.take_frames();
    world.request(io::Request::stop);
    world.settle();
    const std::vector<Frame> frames = peer.take_frames();
    ASSERT_EQ(frames.size(), 2u);
    EXPECT_TRUE(frames[0].payload.starts_with(R"({"op":"goodbye","code":"draining","reason":")"))
        << frames[0].payload;
    const size_t retry = frames[0].payload.find("\"retry_ms\":");
    ASSERT_NE(retry, std::string::npos);
    const int retry_ms = std::stoi(frames[0].payload.substr(retry + 11));
    EXPECT_GE(retry_ms, 500);
    EXPECT_LT(retry_ms, 5'000);
    EXPECT_EQ(frames[1].kind, Kind::close);
    EXPECT_EQ(frames[1].close_code, 1001);
    EXPECT_FALSE(world.is_stopped());
    peer.send(client_frame(Opcode::close, close_payload(1001, "")));
    peer.finish();
    EXPECT_TRUE(world.is_stopped());
    EXPECT_EQ(world.closed_count(1001), 1u);
}

TEST(ShardStop, WithoutConnectionsIsQuick) {
    World world({.shards_count = 3});
    world.request(io::Request::stop);
    world.settle();
    EXPECT_TRUE(world.is_stopped());
}

TEST(ShardStop, FlushesWhatWasQueued) {
    World world;
    const Peer peer = world.client();
    peer.say(R"({"op":"subscribe","filter":"a"})");
    peer.take_frames();
    peer.stall();
    for (int count = 0; count < 10; ++count) peer.say(R"({"op":"publish","topic":"a","data":1})");
    world.request(io::Request::stop);
    world.settle();
    peer.read_on();
    const std::vector<Frame> frames = peer.take_frames();
    ASSERT_EQ(frames.size(), 12u);
    EXPECT_EQ(frames[9].payload, R"({"op":"message","topic":"a","data":1})");
    EXPECT_EQ(frames[11].close_code, 1001);
}

TEST(ShardStop, TheDeadlineCutsWhatIsLeft) {
    WorldOptions options;
    options.settings.close_timeout_ns = 60 * second;
    options.settings.drain_timeout_ns = 2 * second;
    World world(options);
    const Peer peer = world.client();
    peer.stall();
    world.request(io::Request::stop);
    world.settle();
    world.run_for(1'900 * base::ns_per_ms);
    EXPECT_FALSE(world.is_stopped());
    world.run_for(200 * base::ns_per_ms);
    EXPECT_TRUE(world.is_stopped());
    EXPECT_TRUE(peer.is_closed());
}

TEST(ShardStop, ASecondStopDoesNotRestartTheFirst) {
    WorldOptions options;
    options.settings.close_timeout_ns = 60 * second;
    options.settings.drain_timeout_ns = 2 * second;
    World world(options);
    const Peer peer = world.client();
    world.request(io::Request::stop);
    world.settle();
    world.run_for(second);
    world.request(io::Request::stop);
    world.settle();
    EXPECT_EQ(peer.take_frames().size(), 2u) << "one goodbye";
    world.run_for(1'100 * base::ns_per_ms);
    EXPECT_TRUE(world.is_stopped());
}

TEST(ShardStop, WhatIsSaidDuringAStopIsNotDone) {
    World world;
    const Peer reader = world.client();
    reader.say(R"({"op":"subscribe","filter":"a"})");
    reader.take_frames();
    const Peer writer = world.client();
    world.request(io::Request::stop);
    writer.socket().inbound =
        client_frame(Opcode::text, R"({"op":"publish","id":1,"topic":"a","data":1})");
    const uint64_t published_before = world.metric(Metric::messages_published_total);
    reader.stall();  // keeps the broker draining
    world.turn(0);
    writer.say(R"({"op":"publish","id":2,"topic":"a","data":1})");
    EXPECT_LE(world.metric(Metric::messages_published_total) - published_before, 1u);
    for (const Frame& frame : writer.take_frames()) {
        EXPECT_EQ(frame.payload.find("\"id\":2"), std::string::npos);
    }
}

TEST(ShardStop, ReadinessAndNewClientsAreRefusedMeanwhile) {
    World world({.shards_count = 2});
    const Peer admin = world.connect(0);
    const Peer late = world.connect(0);
    // Shard 1 does not turn, so shard 0 waits for it to be quiesced.
    world.mesh().request(0, io::Request::stop);
    for (int count = 0; count < 3; ++count) world.turn(0);
    admin.socket().inbound = "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    late.socket().inbound = Peer::upgrade_request();
    for (int count = 0; count < 3; ++count) world.turn(0);
    EXPECT_TRUE(admin.take_response().starts_with("HTTP/1.1 503 "));
    const std::string refusal = late.take_response();
    EXPECT_TRUE(refusal.starts_with("HTTP/1.1 503 "));
    EXPECT_NE(refusal.find("Retry-After: "), std::string::npos);
    EXPECT_TRUE(admin.socket().write_shut) << "every response closes";
}

TEST(ShardStop, WhatWasAcknowledgedHasBeenQueuedEverywhere) {
    WorldOptions options{.shards_count = 3};
    options.settings.lane_bytes = 8 * base::kib;
    World world(options);
    std::vector<Peer> readers;
    std::vector<Peer> writers;
    for (io::ShardId shard = 0; shard < 3; ++shard) {
        readers.push_back(world.client(shard));
        readers.back().say(R"({"op":"subscribe","filter":"#"})");
        readers.back().take_frames();
        writers.push_back(world.client(shard));
    }
    int number = 0;
    for (const Peer& writer : writers) {
        for (int count = 0; count < 100; ++count) {
            const std::string topic = world.topic_owned_by(static_cast<io::ShardId>(count % 3));
            writer.socket().inbound += client_frame(
                Opcode::text, R"({"op":"publish","id":)" + std::to_string(number) +
                                  R"(,"topic":")" + topic + R"(","data":[)" +
                                  std::to_string(number) + ",\"" + std::string(500, 'x') + "\"]}");
            ++number;
        }
    }
    for (int count = 0; count < 6; ++count) world.turn_all();
    world.request(io::Request::stop);
    world.settle();
    size_t acknowledged_count = 0;
    std::vector<std::string> read;
    for (const Peer& reader : readers) {
        std::string& all = read.emplace_back();
        const std::vector<Frame> frames = reader.take_frames();
        ASSERT_GE(frames.size(), 2u);
        for (const Frame& frame : frames) all += frame.payload + "\n";
        EXPECT_EQ(frames.back().close_code, 1001) << "nothing after the Close";
    }
    for (const Peer& writer : writers) {
        for (const Frame& frame : writer.take_frames()) {
            if (!frame.payload.starts_with("{\"op\":\"published\"")) continue;
            ++acknowledged_count;
            const std::string id = frame.payload.substr(23, frame.payload.size() - 24);
            for (const std::string& all : read) {
                EXPECT_NE(all.find("\"data\":[" + id + ","), std::string::npos) << id;
            }
        }
    }
    EXPECT_GT(acknowledged_count, 0u);
    EXPECT_LT(acknowledged_count, 300u) << "the stop came too late to show anything";
}

TEST(ShardStop, ARequestThatWaitsForItsOwnerIsAnswered) {
    World world({.shards_count = 2});
    const std::string topic = world.topic_owned_by(1);
    const Peer peer = world.connect(0);
    peer.socket().inbound =
        "POST /topics/" + topic + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1";
    for (int count = 0; count < 3; ++count) world.turn(0);
    world.request(io::Request::stop);
    world.settle();
    EXPECT_TRUE(peer.take_response().starts_with("HTTP/1.1 200 "));
}

TEST(ShardStop, ConnectionsThatWonTheRaceAreNotLeftBehind) {
    World world;
    world.request(io::Request::stop);
    world.kernel().connect(0);
    world.settle();
    world.run_for(world.settings.drain_timeout_ns);
    EXPECT_TRUE(world.is_stopped());
}

TEST(ShardStop, AHangingShardDelaysTheOthersOnlyToTheDeadline) {
    WorldOptions options{.shards_count = 2};
    options.settings.drain_timeout_ns = 2 * second;
    World world(options);
    const Peer peer = world.client(0);
    world.request(io::Request::stop);
    for (int tenths = 0; tenths < 21; ++tenths) {
        world.jump(second / 10);
        for (int count = 0; count < 3; ++count) world.turn(0);
    }
    EXPECT_TRUE(world.shard(0).is_stopped());
    EXPECT_TRUE(peer.is_closed());
}

TEST(Shard, SocketsPerShardKeepAReserveForRefusals) {
    Settings settings;
    settings.connections_max = 1'000;
    EXPECT_EQ(sockets_per_shard(settings), 1'000 + refusal_slots_count);
}

}  // namespace
}  // namespace broker
