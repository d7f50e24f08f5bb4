#include "broker/shutdown.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "tests/broker/shard_world.h"

namespace broker {
namespace {

using codec::Opcode;
using testing::client_frame;
using testing::close_payload;
using testing::Frame;
using testing::message_text;
using testing::Peer;
using testing::World;
using testing::WorldOptions;
using Kind = codec::Decoded::Kind;

constexpr uint64_t second = base::ns_per_s;

TEST(Shutdown, SaysGoodbyeAndWaitsForThePeers) {
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
    EXPECT_LE(retry_ms, 10'500);
    EXPECT_EQ(frames[1].kind, Kind::close);
    EXPECT_EQ(frames[1].close_code, 1001);
    EXPECT_FALSE(world.is_stopped());
    peer.send(client_frame(Opcode::close, close_payload(1001, "")));
    peer.finish();
    EXPECT_TRUE(world.is_stopped());
    EXPECT_EQ(world.closed_count(1001), 1u);
}

TEST(Shutdown, WithoutConnectionsIsQuick) {
    World world({.shards_count = 3});
    world.request(io::Request::stop);
    world.settle();
    EXPECT_TRUE(world.is_stopped());
}

TEST(Shutdown, FlushesWhatWasQueued) {
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

TEST(Shutdown, TheDeadlineCutsWhatIsLeft) {
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

TEST(Shutdown, ASecondStopDoesNotRestartTheFirst) {
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

TEST(Shutdown, WhatIsSaidDuringAStopIsNotDone) {
    World world;
    const Peer reader = world.client();
    reader.say(R"({"op":"subscribe","filter":"a"})");
    reader.take_frames();
    const Peer writer = world.client();
    for (const Peer& peer : {reader, writer}) peer.stall();  // keeps the broker draining
    reader.say(R"({"op":"ping"})");
    writer.say(R"({"op":"publish","id":1,"topic":"a","data":1})");
    world.request(io::Request::stop);
    world.settle();
    writer.say(R"({"op":"publish","id":2,"topic":"a","data":1})");
    EXPECT_EQ(world.metric(Metric::messages_published_total), 1u);
    writer.send(client_frame(Opcode::ping, "alive"));
    writer.read_on();
    const std::vector<Frame> frames = writer.take_frames();
    ASSERT_EQ(frames.size(), 4u);
    EXPECT_TRUE(frames[0].payload.starts_with(R"({"op":"published","id":1)"));
    EXPECT_TRUE(frames[1].payload.starts_with(R"({"op":"goodbye")"));
    EXPECT_EQ(frames[2], (Frame{Kind::pong, 0, "alive"})) << "control frames are still answered";
    EXPECT_EQ(frames[3].close_code, 1001);
}

TEST(Shutdown, AClientThatClosesDuringAStopIsAnswered) {
    World world;
    const Peer peer = world.client();
    peer.stall();
    peer.say(R"({"op":"ping"})");  // keeps the connection open until it is read
    world.request(io::Request::stop);
    world.settle();
    peer.send(client_frame(Opcode::close, close_payload(1000, "")));
    peer.read_on();
    EXPECT_EQ(peer.take_frames().back().close_code, 1000);
    peer.finish();
    EXPECT_TRUE(world.is_stopped());
    EXPECT_EQ(world.closed_count(1000), 1u);
}

TEST(Shutdown, DuringTheDelayClientsGoOnAndNewOnesAreRefused) {
    WorldOptions options{.shards_count = 2};
    options.settings.drain_delay_ns = 3 * second;
    World world(options);
    const Peer client = world.client(0);
    const Peer publisher = world.connect(1);
    const Peer admin = world.connect(1);
    client.subscribe("a");
    world.request(io::Request::stop);
    world.settle();
    EXPECT_LE(world.now_ns() + second, world.kernel(1).deadline_ns) << "nothing to poll for";
    client.say(R"({"op":"publish","topic":"a","data":1})");
    EXPECT_EQ(client.take_texts(), std::vector<std::string>{message_text("a", "\"data\":1")});
    client.subscribe("b");
    const Peer late = world.connect(0);
    for (const auto& [peer, request] : std::vector<std::pair<Peer, std::string>>{
             {late, Peer::upgrade_request()},
             {publisher,
              "POST /topics/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1"}}) {
        peer.send(request);
        const std::string refusal = peer.take_response();
        EXPECT_TRUE(refusal.starts_with("HTTP/1.1 503 ")) << refusal;
        EXPECT_NE(refusal.find("Retry-After: "), std::string::npos) << refusal;
    }
    admin.send("GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EXPECT_TRUE(admin.take_response().starts_with("HTTP/1.1 503 "));
    world.run_for(2'900 * base::ns_per_ms);
    EXPECT_FALSE(world.kernel(0).listeners[0].is_stopped);
    EXPECT_TRUE(client.take_frames().empty());
    world.run_for(200 * base::ns_per_ms);
    EXPECT_TRUE(world.kernel(0).listeners[0].is_stopped);
    EXPECT_EQ(client.take_frames().size(), 2u) << "goodbye and Close";
}

TEST(Shutdown, TheDeadlineCountsFromTheEndOfTheDelay) {
    WorldOptions options;
    options.settings.drain_delay_ns = 3 * second;
    options.settings.drain_timeout_ns = 2 * second;
    options.settings.close_timeout_ns = 60 * second;
    World world(options);
    const Peer peer = world.client();
    peer.stall();
    world.request(io::Request::stop);
    world.settle();
    world.run_for(4'900 * base::ns_per_ms);
    EXPECT_FALSE(world.is_stopped());
    world.run_for(200 * base::ns_per_ms);
    EXPECT_TRUE(world.is_stopped());
}

TEST(Shutdown, ASecondRequestEndsTheDelayToo) {
    WorldOptions options;
    options.settings.drain_delay_ns = 3600 * second;
    World world(options);
    const Peer peer = world.client();
    world.request(io::Request::stop);
    world.settle();
    world.request(io::Request::stop_now);
    world.settle();
    EXPECT_TRUE(world.is_stopped());
    EXPECT_TRUE(peer.is_closed());
}

TEST(Shutdown, WhoWaitedInTheQueueIsToldSo) {
    World world;
    const Peer idle = world.connect();
    idle.send("GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EXPECT_TRUE(idle.take_response().starts_with("HTTP/1.1 200 "));
    world.request(io::Request::stop);
    const Peer asking(world, 0, world.kernel().connect(0));
    const Peer silent(world, 0, world.kernel().connect(0));
    asking.socket().inbound = Peer::upgrade_request();
    world.settle();
    for (const Peer& peer : {asking, silent}) {
        EXPECT_TRUE(peer.take_response().starts_with("HTTP/1.1 503 "));
        EXPECT_TRUE(peer.socket().write_shut);
    }
    EXPECT_EQ(idle.take_bytes(), "") << "who has its answer is not told another one";
    EXPECT_TRUE(idle.socket().write_shut);
}

TEST(Shutdown, ClientsAreSpreadOverTheWindow) {
    WorldOptions options;
    options.settings.drain_spread_ns = 20 * second;
    World world(options);
    constexpr int count_of_clients = 400;
    std::vector<Peer> peers;
    for (int count = 0; count < count_of_clients; ++count) peers.push_back(world.client());
    world.request(io::Request::stop);
    world.settle();
    int of_quarter[4] = {};
    for (const Peer& peer : peers) {
        const std::string goodbye = peer.take_frames().at(0).payload;
        const int retry_ms = std::stoi(goodbye.substr(goodbye.find("\"retry_ms\":") + 11));
        ASSERT_GE(retry_ms, 500);
        ASSERT_LE(retry_ms, 20'500);
        ++of_quarter[std::min((retry_ms - 500) / 5'000, 3)];
    }
    for (const int count : of_quarter) EXPECT_GT(count, count_of_clients / 8);
    EXPECT_EQ(world.shard().stop_report().told_count, peers.size());
}

TEST(Shutdown, ClosesAtAPaceAndTellsEverybodyFirst) {
    World world;
    std::vector<Peer> peers;
    for (int count = 0; count < 600; ++count) peers.push_back(world.client());
    world.request(io::Request::stop);
    world.settle();
    size_t closed_count = 0;
    for (const Peer& peer : peers) {
        const std::vector<Frame> frames = peer.take_frames();
        ASSERT_GE(frames.size(), 1u);
        EXPECT_TRUE(frames[0].payload.starts_with(R"({"op":"goodbye")"));
        if (frames.size() == 2) ++closed_count;
    }
    EXPECT_GE(closed_count, 256u) << "a burst";
    EXPECT_LT(closed_count, 300u);
    // Ten thousand in a second.
    world.run_for(20 * base::ns_per_ms);
    for (const Peer& peer : peers) closed_count += peer.take_frames().size();
    EXPECT_GT(closed_count, 400u);
    EXPECT_LT(closed_count, 550u);
    world.run_for(20 * base::ns_per_ms);
    for (const Peer& peer : peers) closed_count += peer.take_frames().size();
    EXPECT_EQ(closed_count, peers.size());
}

TEST(Shutdown, ThePaceRisesWhenTheDeadlineIsNear) {
    WorldOptions options;
    options.settings.drain_timeout_ns = 100 * base::ns_per_ms;
    World world(options);
    std::vector<Peer> peers;
    for (int count = 0; count < 2'000; ++count) peers.push_back(world.client());
    world.request(io::Request::stop);
    world.settle();
    world.run_for(60 * base::ns_per_ms);
    for (const Peer& peer : peers) {
        EXPECT_EQ(peer.take_frames().back().close_code, 1001);
        peer.socket().peer_finished = true;
    }
    world.settle();
    EXPECT_TRUE(world.is_stopped());
    EXPECT_EQ(world.shard().stop_report().cut_count, 0u);
}

TEST(Shutdown, TheReportSaysWhatWasCut) {
    WorldOptions options;
    options.settings.drain_timeout_ns = 2 * second;
    World world(options);
    const Peer stalled = world.client();
    const Peer slow = world.client();
    for (const Peer& peer : {stalled, slow}) {
        peer.subscribe("a");
        peer.stall();
    }
    const Peer writer = world.client();
    writer.say(R"({"op":"publish","topic":"a","data":1})");
    world.request(io::Request::stop);
    world.settle();
    world.run_for(second);
    EXPECT_EQ(writer.take_frames().back().close_code, 1001) << "it waits for nobody";
    slow.read_on();
    const size_t slow_bytes = slow.socket().outbound.size();
    EXPECT_EQ(slow.take_frames().size(), 3u);
    world.run_for(1'100 * base::ns_per_ms);
    EXPECT_TRUE(world.is_stopped());
    const StopReport& report = world.shard().stop_report();
    EXPECT_EQ(report.told_count, 3u);
    EXPECT_EQ(report.cut_count, 1u);
    // A message and a goodbye are unsent, and the slow one got as much and a Close frame; retry_ms
    // has three to five digits.
    EXPECT_NEAR(static_cast<double>(report.unsent_bytes), static_cast<double>(slow_bytes), 45);
    EXPECT_GE(report.flushed_bytes, report.unsent_bytes - 4);
}

TEST(Shutdown, AGoodbyeFitsIntoAFullQueue) {
    WorldOptions options;
    options.settings.outbound_soft_bytes = 1'024;
    options.settings.outbound_hard_bytes = 1'024;
    World world(options);
    const Peer peer = world.client();
    peer.subscribe("a");
    peer.stall();
    world.client().say(R"({"op":"publish","topic":"a","data":")" + std::string(1'000, 'x') + "\"}");
    world.request(io::Request::stop);
    world.settle();
    peer.read_on();
    const std::vector<Frame> frames = peer.take_frames();
    ASSERT_EQ(frames.size(), 3u);
    EXPECT_TRUE(frames[1].payload.starts_with(R"({"op":"goodbye")"));
    EXPECT_EQ(frames[2].close_code, 1001) << "not a slow consumer";
}

TEST(Shutdown, ReadinessAndNewClientsAreRefusedMeanwhile) {
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

TEST(Shutdown, WhatWasAcknowledgedHasBeenQueuedEverywhere) {
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

TEST(Shutdown, ARequestThatWaitsForItsOwnerIsAnswered) {
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

TEST(Shutdown, ConnectionsThatWonTheRaceAreNotLeftBehind) {
    World world;
    world.request(io::Request::stop);
    world.kernel().connect(0);
    world.settle();
    world.run_for(world.settings.drain_timeout_ns);
    EXPECT_TRUE(world.is_stopped());
}

TEST(Shutdown, AHangingShardDelaysTheOthersOnlyToTheDeadline) {
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

}  // namespace
}  // namespace broker
