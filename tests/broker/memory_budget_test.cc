// The budget's levels, and what a shard does at each.

#include "broker/memory_budget.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "broker/shedding.h"
#include "io/base/units.h"
#include "tests/broker/resident_memory.h"
#include "tests/broker/shard_world.h"

namespace broker {
namespace {

using testing::client_frame;
using testing::error_code;
using testing::Peer;
using testing::World;
using testing::WorldOptions;
using Level = MemoryBudget::Level;
using Texts = std::vector<std::string>;

TEST(MemoryBudget, LevelsOnBothSides) {
    MetricsRegistry registry(2, "test");
    MemoryBudget budget(registry, 8'000);
    budget.update();
    EXPECT_EQ(budget.level(), Level::calm);
    registry.shard(0).set(Metric::chunk_memory_bytes, 3'000);
    registry.shard(1).set(Metric::history_bytes, 3'999);
    budget.update();
    EXPECT_EQ(budget.level(), Level::calm);
    EXPECT_EQ(budget.used_bytes(), 6'999u);
    registry.shard(1).set(Metric::reassembly_bytes, 1);
    budget.update();
    EXPECT_EQ(budget.level(), Level::near);
    registry.set_kernel_socket_bytes(999);
    budget.update();
    EXPECT_EQ(budget.level(), Level::near);
    registry.shard(0).set(Metric::held_bytes, 1);
    budget.update();
    EXPECT_EQ(budget.level(), Level::full);
    registry.set_kernel_socket_bytes(0);
    registry.shard(0).set(Metric::chunk_memory_bytes, 0);
    budget.update();
    EXPECT_EQ(budget.level(), Level::calm);
}

TEST(MemoryBudget, WithoutALimitItIsAlwaysCalm) {
    MetricsRegistry registry(1, "test");
    registry.shard(0).set(Metric::chunk_memory_bytes, UINT64_MAX / 2);
    MemoryBudget budget(registry, 0);
    budget.update();
    EXPECT_EQ(budget.level(), Level::calm);
}

TEST(MemoryBudget, TheMachineAndTheKernelTell) {
    EXPECT_GT(usable_memory_bytes(), 64 * base::mib);
    EXPECT_EQ(kernel_socket_bytes(0), 0u);
    EXPECT_LT(kernel_socket_bytes(UINT64_MAX), usable_memory_bytes());
}

TEST(MemoryBudget, OtherProgramsSocketsDoNotCount) {
    const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    constexpr std::string_view text =
        "sockets: used 300\nTCP: inuse 7 orphan 0 tw 2 alloc 200 mem 50\nUDP: inuse 0 mem 9\n";
    EXPECT_EQ(share_of_sockets(text, 0), 0u);
    EXPECT_EQ(share_of_sockets(text, 20), 5 * page);
    EXPECT_EQ(share_of_sockets(text, 200), 50 * page);
    EXPECT_EQ(share_of_sockets(text, 201), 50 * page) << "not all connections are TCP sockets";
    EXPECT_EQ(share_of_sockets("UDP: inuse 0 mem 9\n", 1), 0u);
    EXPECT_EQ(share_of_sockets("TCP: inuse 7 orphan 0\n", 1), 0u);
    EXPECT_EQ(share_of_sockets("TCP: inuse 7 alloc 0 mem 0\n", 1), 0u);
    EXPECT_EQ(share_of_sockets("", 1), 0u);
}

// A POST whose body has that many bytes.
std::string post_request(size_t body_bytes, const std::string& topic = "a") {
    return "POST /topics/" + topic +
           " HTTP/1.1\r\nHost: localhost:7788\r\nContent-Length: " + std::to_string(body_bytes) +
           "\r\n\r\n" + std::string(body_bytes, 'x');
}

// A broker whose budget some slow readers can use up, and no limit of a connection before it.
class ShortMemory : public ::testing::Test {
  protected:
    static constexpr uint64_t memory_bytes_max = 8 * base::mib;
    static constexpr uint64_t near_bytes = memory_bytes_max / 8 * 7;
    static constexpr uint64_t message_bytes = 15'000;

    static WorldOptions options() {
        WorldOptions options{};
        options.settings.memory_bytes_max = memory_bytes_max;
        options.settings.outbound_soft_bytes = 2 * memory_bytes_max;
        options.settings.outbound_hard_bytes = 2 * memory_bytes_max;
        options.settings.heartbeat_interval_ns = 600 * base::ns_per_s;
        return options;
    }
    static std::string publication(const std::string& topic) {
        return R"({"op":"publish","id":1,"topic":")" + topic + R"(","text":")" +
               std::string(message_bytes, 'x') + "\"}";
    }
    void expect_published(const Peer& writer, const std::string& topic) {
        writer.say(publication(topic));
        const Texts answers = writer.take_texts();
        ASSERT_EQ(answers.size(), 1u);
        EXPECT_TRUE(error_code(answers[0]).starts_with("no error")) << answers[0];
    }
    uint64_t shed_count() const { return world_.metric(Metric::connections_shed_total); }
    // What others hold, as far as the budget is concerned.
    void set_other_bytes(uint64_t bytes) {
        world_.set_kernel_socket_bytes(bytes);
        world_.settle();
    }

    World world_{options()};
};

TEST_F(ShortMemory, WhoHoldsTheOldestIsShedAndTheOthersGoOn) {
    const Peer stuck = world_.client();
    const Peer quick = world_.client();
    const Peer writer = world_.client();
    stuck.subscribe("a");
    quick.subscribe("a");
    stuck.stall();
    uint64_t count = 0;
    while (shed_count() == 0 && count < 1'000) {
        expect_published(writer, "a");
        world_.run_for(10 * base::ns_per_ms);
        ++count;
        EXPECT_EQ(quick.take_texts().size(), 1u);
    }
    EXPECT_EQ(shed_count(), 1u);
    EXPECT_GT(count * message_bytes, near_bytes / 10 * 9) << "nobody is shed long before the end";
    // It reads nothing still, and what it held is free all the same.
    world_.settle();
    EXPECT_TRUE(stuck.is_closed());
    EXPECT_EQ(world_.closed_count(1006), 1u);
    EXPECT_LT(world_.metric(Metric::chunk_memory_bytes), near_bytes / 4);
    for (int more = 0; more < 50; ++more) {
        expect_published(writer, "a");
        EXPECT_EQ(quick.take_texts().size(), 1u);
    }
    EXPECT_EQ(shed_count(), 1u);
}

// Messages of 100 kB, of which a burst leaves spare chunks behind.
class ShortMemoryAfterBursts : public ::testing::Test {
  protected:
    static constexpr uint64_t memory_bytes_max = 8 * base::mib;
    static constexpr size_t burst_count = 40;
    static constexpr size_t burst_bytes = burst_count * 100'000;

    static WorldOptions options() {
        WorldOptions options{.shards_count = 2};
        options.settings.memory_bytes_max = memory_bytes_max;
        options.settings.message_bytes_max = 256 * base::kib;
        options.settings.outbound_soft_bytes = 2 * memory_bytes_max;
        options.settings.outbound_hard_bytes = 2 * memory_bytes_max;
        return options;
    }
    // For a client that reads it late.
    void burst(io::ShardId shard) {
        const std::string text(100'000, 'x');
        const Peer reader = world_.client(shard);
        const Peer writer = world_.client(shard);
        reader.subscribe("a");
        reader.stall();
        for (size_t count = 0; count < burst_count; ++count) {
            writer.say(R"({"op":"publish","id":1,"topic":"a","text":")" + text + "\"}");
            const Texts answers = writer.take_texts();
            ASSERT_EQ(answers.size(), 1u);
            ASSERT_TRUE(error_code(answers[0]).starts_with("no error")) << answers[0];
        }
        EXPECT_GT(world_.metric(Metric::chunk_memory_bytes), burst_bytes);
        reader.read_on();
        world_.settle();
        EXPECT_EQ(reader.take_texts().size(), burst_count);
        reader.finish();
        writer.finish();
        world_.settle();
    }

    World world_{options()};
};

// What is kept for use again is nobody's, and must not use up the budget for good.
TEST_F(ShortMemoryAfterBursts, WhatABurstHeldIsThereForTheNext) {
    for (const io::ShardId shard : {0u, 1u, 0u, 1u}) {
        burst(shard);
        ASSERT_FALSE(HasFatalFailure());
        EXPECT_LT(world_.metric(Metric::chunk_memory_bytes), base::mib);
    }
    EXPECT_EQ(world_.metric(Metric::connections_shed_total), 0u);
}

TEST_F(ShortMemoryAfterBursts, NearTheEndNothingIsKeptForLater) {
    burst(0);
    ASSERT_FALSE(HasFatalFailure());
    const uint64_t kept_bytes = testing::resident_bytes();
    world_.set_kernel_socket_bytes(memory_bytes_max / 8 * 7 - base::mib);
    world_.run_for(2 * base::ns_per_s);
    EXPECT_GT(testing::resident_bytes(), kept_bytes - burst_bytes / 2) << "it is not near yet";
    world_.set_kernel_socket_bytes(memory_bytes_max / 8 * 7);
    world_.run_for(2 * base::ns_per_s);
    EXPECT_LT(testing::resident_bytes(), kept_bytes - burst_bytes / 2);
}

TEST_F(ShortMemory, NobodyIsShedWhenWhatTheOldestHeldIsEnough) {
    const Peer older = world_.client();
    const Peer younger = world_.client();
    const Peer writer = world_.client();
    older.subscribe("a");
    younger.subscribe("b");
    older.stall();
    younger.stall();
    for (uint64_t bytes = 0; bytes < near_bytes / 2; bytes += message_bytes) {
        expect_published(writer, "a");
    }
    while (shed_count() == 0) {
        expect_published(writer, "b");
        world_.run_for(10 * base::ns_per_ms);
    }
    world_.run_for(2 * base::ns_per_s);
    EXPECT_TRUE(older.is_closed());
    EXPECT_FALSE(younger.is_closed());
    EXPECT_EQ(shed_count(), 1u);
}

TEST_F(ShortMemory, WhoHasWaitedForASecondIsShedAndNobodyBefore) {
    const Peer stuck = world_.client();
    const Peer writer = world_.client();
    stuck.subscribe("a");
    stuck.stall();
    expect_published(writer, "a");
    set_other_bytes(near_bytes);
    world_.run_for(Shedding::waited_ns_min - 1);
    EXPECT_EQ(shed_count(), 0u);
    // The second pass comes a turn after the first one, and an idle shard has few turns.
    world_.run_for(1);
    world_.run_for(Shedding::pause_ns);
    EXPECT_EQ(shed_count(), 1u);
    EXPECT_TRUE(stuck.is_closed());
}

TEST_F(ShortMemory, InWhateverStateItIs) {
    const Peer closing = world_.client();
    const Peer reader = world_.connect();  // of a response
    const Peer writer = world_.client();
    closing.subscribe("a");
    closing.stall();
    reader.stall();
    expect_published(writer, "a");
    closing.send(client_frame(codec::Opcode::close, testing::close_payload(1000, "")));
    reader.send("GET /metrics HTTP/1.1\r\nHost: localhost:7788\r\n\r\n");
    world_.run_for(Shedding::waited_ns_min);
    EXPECT_FALSE(closing.is_closed());
    EXPECT_FALSE(reader.is_closed());
    set_other_bytes(near_bytes);
    world_.run_for(base::ns_per_s);
    EXPECT_TRUE(closing.is_closed());
    EXPECT_TRUE(reader.is_closed());
    EXPECT_EQ(shed_count(), 2u);
    EXPECT_EQ(world_.closed_count(1000), 1u);
}

// Memory that nobody's queue holds does not come back by closing anybody.
TEST_F(ShortMemory, WhoReadsIsNotShedForTheMemoryOfOthers) {
    const Peer quick = world_.client();
    const Peer writer = world_.client();
    quick.subscribe("a");
    set_other_bytes(near_bytes);
    for (int count = 0; count < 100; ++count) {
        // In both turns that it takes to look and to shed, something is queued.
        writer.socket().inbound += client_frame(codec::Opcode::text, publication("a"));
        world_.turn(0);
    }
    EXPECT_EQ(shed_count(), 0u);
    world_.settle();
    EXPECT_EQ(quick.take_texts().size(), 100u);
    static_cast<void>(writer.take_texts());
}

TEST_F(ShortMemory, MessagesWithoutAnEndAreShed) {
    WorldOptions with_large = options();
    with_large.settings.message_bytes_max = 512 * base::kib;
    World world(with_large);
    const std::string most = testing::client_frame(codec::Opcode::text, std::string(480'000, ' '));
    const Peer small = world.client();
    small.send(testing::client_frame(codec::Opcode::text, std::string(9'000, ' '), false));
    std::vector<Peer> hoarders;
    while (hoarders.size() < 30) {
        hoarders.push_back(world.client());
        hoarders.back().send(std::string_view(most).substr(0, most.size() - 1));
        world.run_for(Shedding::pause_ns);
    }
    EXPECT_LT(world.metric(Metric::reassembly_bytes), memory_bytes_max);
    EXPECT_GT(world.metric(Metric::reassembly_bytes), memory_bytes_max / 2)
        << "no more than it takes";
    const uint64_t shed_count = world.metric(Metric::connections_shed_total);
    EXPECT_GE(shed_count, 10u);
    EXPECT_LT(shed_count, 25u);
    uint64_t told_count = 0;
    for (const Peer& hoarder : hoarders) {
        for (const testing::Frame& frame : hoarder.take_frames())
            told_count += frame.close_code == 4100;
    }
    EXPECT_EQ(told_count, shed_count);
    // The others go on.
    small.send(testing::client_frame(codec::Opcode::continuation, R"({"op":"ping"})"));
    EXPECT_EQ(small.take_texts(), Texts{R"({"op":"pong"})"});
    small.say(publication("a"));
    EXPECT_TRUE(error_code(small.take_texts().at(0)).starts_with("no error"));
}

TEST_F(ShortMemory, RequestsWithoutAnEndAreRefused) {
    const std::string large = post_request(60'000);
    const Peer small = world_.connect();
    const std::string small_request = post_request(9'000);
    small.send(std::string_view(small_request).substr(0, 8'000));
    const Peer fragment = world_.client();
    fragment.send(client_frame(codec::Opcode::text, std::string(9'000, ' '), false));
    std::vector<Peer> hoarders;
    while (shed_count() == 0 && hoarders.size() < 1'000) {
        EXPECT_LT(world_.metric(Metric::reassembly_bytes), near_bytes);
        hoarders.push_back(world_.connect());
        hoarders.back().send(std::string_view(large).substr(0, large.size() - 1));
        world_.run_for(Shedding::pause_ns / 10);
    }
    EXPECT_GT(hoarders.size(), near_bytes / 130'000) << "nobody is shed long before the end";
    // A quarter goes, the largest of them, and what they held is free.
    EXPECT_GE(shed_count(), hoarders.size() / 4);
    EXPECT_LE(shed_count(), hoarders.size() / 4 + 1);
    EXPECT_LT(world_.metric(Metric::reassembly_bytes), near_bytes / 5 * 4);
    uint64_t told_count = 0;
    for (const Peer& hoarder : hoarders) {
        const std::string response = hoarder.take_response();
        if (response.empty()) continue;
        ++told_count;
        EXPECT_NE(response.find(" 503 "), std::string::npos);
        EXPECT_NE(response.find("Retry-After: "), std::string::npos);
        EXPECT_NE(response.find("short of memory"), std::string::npos);
    }
    EXPECT_EQ(told_count, shed_count());
    // The others go on.
    small.send(std::string_view(small_request).substr(8'000));
    EXPECT_NE(small.take_response().find(" 200 "), std::string::npos);
    fragment.send(client_frame(codec::Opcode::continuation, R"({"op":"ping"})"));
    EXPECT_EQ(fragment.take_texts(), Texts{R"({"op":"pong"})"});
}

TEST(ShortMemoryOfTwo, WhoWaitsForTheBrokerIsNotShed) {
    WorldOptions options{.shards_count = 2};
    options.settings.memory_bytes_max = 8 * base::mib;
    World world(options);
    const Peer waiting = world.connect();
    const Peer hoarder = world.connect();
    const std::string large = post_request(60'000);
    hoarder.send(std::string_view(large).substr(0, 50'000));
    // Its answer comes from the other shard, which has no turn; behind it the next request begins.
    const std::string remote = post_request(1, world.topic_owned_by(1));
    waiting.socket().inbound += remote + large.substr(0, 59'000);
    world.turn(0);
    world.set_kernel_socket_bytes(7 * base::mib);
    for (int count = 0; count < 10; ++count) world.turn(0);
    EXPECT_EQ(world.metric(Metric::connections_shed_total), 1u);
    EXPECT_NE(hoarder.take_response().find(" 503 "), std::string::npos);
    world.set_kernel_socket_bytes(0);
    waiting.send(large.substr(59'000));
    EXPECT_NE(waiting.take_response().find(" 200 "), std::string::npos);
    EXPECT_NE(waiting.take_response().find(" 200 "), std::string::npos);
    EXPECT_EQ(world.metric(Metric::connections_shed_total), 1u);
}

TEST_F(ShortMemory, AtTheLimitABodyIsNotWaitedFor) {
    const std::string request = post_request(9'000);
    const std::string_view head = std::string_view(request).substr(0, request.size() - 9'000);
    const Peer early = world_.connect();
    const Peer late = world_.connect();
    early.send(head);
    EXPECT_EQ(early.take_response(), "");
    set_other_bytes(memory_bytes_max - world_.metric(Metric::reassembly_bytes));
    late.send(head);
    const std::string response = late.take_response();
    EXPECT_NE(response.find(" 503 "), std::string::npos);
    EXPECT_NE(response.find("Connection: close"), std::string::npos);
    EXPECT_NE(response.find("short of memory"), std::string::npos);
}

TEST(ReassemblyBytes, CountRequestsThatHaveNotArrived) {
    World world;
    const Peer poster = world.connect();
    const std::string request = post_request(50'000);
    poster.send(std::string_view(request).substr(0, 40'000));
    EXPECT_GE(world.metric(Metric::reassembly_bytes), 40'000u);
    EXPECT_LT(world.metric(Metric::reassembly_bytes), 2 * 40'000u) << "not what has not come";
    poster.send(std::string_view(request).substr(40'000));
    EXPECT_NE(poster.take_response().find(" 200 "), std::string::npos);
    EXPECT_EQ(world.metric(Metric::reassembly_bytes), 0u);
    poster.send(std::string_view(request).substr(0, 40'000));
    poster.fail(ECONNRESET);
    EXPECT_EQ(world.metric(Metric::reassembly_bytes), 0u);
}

// The buffer stays as large as a request has made it while a byte of the next one is in it.
TEST(ReassemblyBytes, CountWhatALargeRequestHasLeftBehind) {
    World world;
    const Peer poster = world.connect();
    poster.send(post_request(50'000) + "P");
    EXPECT_NE(poster.take_response().find(" 200 "), std::string::npos);
    EXPECT_GE(world.metric(Metric::reassembly_bytes), 50'000u);
    poster.send("O");
    EXPECT_GE(world.metric(Metric::reassembly_bytes), 50'000u);
    poster.send("ST /topics/a HTTP/1.1\r\nHost: localhost:7788\r\nContent-Length: 1\r\n\r\n1");
    EXPECT_NE(poster.take_response().find(" 200 "), std::string::npos);
    EXPECT_EQ(world.metric(Metric::reassembly_bytes), 0u);
}

TEST(ReassemblyBytes, CountWhatWaitsBehindAPause) {
    WorldOptions options{};
    options.settings.outbound_soft_bytes = 4'096;
    World world(options);
    const Peer peer = world.client();
    peer.stall();
    std::string pings;
    for (int count = 0; count < 1'000; ++count) {
        pings += testing::client_frame(codec::Opcode::text, R"({"op":"ping","id":1})");
    }
    peer.send(pings);
    EXPECT_GT(world.metric(Metric::reassembly_bytes), 0u);
    peer.read_on();
    EXPECT_EQ(world.metric(Metric::reassembly_bytes), 0u);
    EXPECT_EQ(peer.take_texts().size(), 1'000u);
}

TEST_F(ShortMemory, AtTheLimitPublishesAndConnectionsAreRefused) {
    const Peer writer = world_.client();
    set_other_bytes(memory_bytes_max);
    writer.say(publication("a"));
    const Texts answers = writer.take_texts();
    ASSERT_EQ(answers.size(), 1u);
    EXPECT_EQ(error_code(answers[0]), "overloaded");
    EXPECT_EQ(world_.metric(Metric::publishes_refused_total), 1u);
    writer.subscribe("b");  // goes on

    const Peer late = world_.connect();
    late.send(Peer::upgrade_request());
    const std::string response = late.take_response();
    EXPECT_NE(response.find(" 503 "), std::string::npos);
    EXPECT_NE(response.find("short of memory"), std::string::npos);
    EXPECT_EQ(world_.refusals(Refused::connections), 0u) << "it is not their number";
    const Peer poster = world_.connect();
    poster.send("POST /topics/a HTTP/1.1\r\nHost: localhost:7788\r\nContent-Length: 1\r\n\r\n1");
    EXPECT_NE(poster.take_response().find(" 503 "), std::string::npos);

    world_.set_kernel_socket_bytes(memory_bytes_max / 2);
    world_.run_for(base::ns_per_s);
    expect_published(writer, "a");
}

TEST_F(ShortMemory, WhoCameWhenItWasFullIsServedOnceItIsNot) {
    set_other_bytes(memory_bytes_max);
    const Peer peer = world_.connect();
    const Peer poster = world_.connect();
    set_other_bytes(0);
    peer.send(Peer::upgrade_request());
    EXPECT_NE(peer.take_response().find(" 101 "), std::string::npos);
    poster.send(post_request(1));
    EXPECT_NE(poster.take_response().find(" 200 "), std::string::npos);
}

// The number of a field of a line of the log; 0 when there is no such field.
uint64_t field_of(const std::string& line, const std::string& key) {
    const size_t at = line.find(" " + key + "=");
    return at == std::string::npos ? 0 : std::stoull(line.substr(at + key.size() + 2));
}

TEST_F(ShortMemory, TheLogSaysOnceThatConnectionsAreClosed) {
    const Peer writer = world_.client();
    std::vector<Peer> stuck(5, writer);
    for (Peer& peer : stuck) {
        peer = world_.client();
        peer.subscribe("a");
        peer.stall();
        expect_published(writer, "a");
        world_.run_for(base::ns_per_s);
    }
    EXPECT_TRUE(world_.take_log().empty());
    set_other_bytes(near_bytes);
    world_.run_for(4 * base::ns_per_s);
    EXPECT_EQ(shed_count(), stuck.size());
    Texts lines = world_.take_log();
    ASSERT_EQ(lines.size(), 1u) << "one line for all of them";
    EXPECT_TRUE(lines[0].starts_with("level=warn")) << lines[0];
    EXPECT_NE(lines[0].find("memory is nearly used up"), std::string::npos) << lines[0];
    EXPECT_GE(field_of(lines[0], "used_bytes"), near_bytes);
    // It lasts while the level does, also when nobody is left to be closed.
    world_.run_for(20 * base::ns_per_s);
    set_other_bytes(0);
    world_.run_for(4 * base::ns_per_s);
    EXPECT_TRUE(world_.take_log().empty());
    world_.run_for(2 * base::ns_per_s);
    lines = world_.take_log();
    ASSERT_EQ(lines.size(), 1u);
    EXPECT_TRUE(lines[0].starts_with("level=info")) << lines[0];
    EXPECT_NE(lines[0].find("memory suffices again"), std::string::npos) << lines[0];
    EXPECT_EQ(field_of(lines[0], "closed"), stuck.size());
    // The first one missed five messages, the last one one of them.
    EXPECT_GE(field_of(lines[0], "bytes"), 15 * message_bytes);
    EXPECT_LT(field_of(lines[0], "bytes"), 16 * message_bytes);
    EXPECT_GE(field_of(lines[0], "ms"), 23'000u);
    EXPECT_LE(field_of(lines[0], "ms"), 24'100u);
    // The next time is said again.
    const Peer another = world_.client();
    another.subscribe("a");
    another.stall();
    expect_published(writer, "a");
    set_other_bytes(near_bytes);
    world_.run_for(2 * base::ns_per_s);
    EXPECT_EQ(world_.take_log().size(), 1u);
}

TEST_F(ShortMemory, TheLogSaysNothingWhileNobodyIsConcerned) {
    world_.client().subscribe("a");
    set_other_bytes(near_bytes);
    world_.run_for(10 * base::ns_per_s);
    set_other_bytes(memory_bytes_max);
    world_.run_for(10 * base::ns_per_s);
    set_other_bytes(0);
    world_.run_for(10 * base::ns_per_s);
    EXPECT_TRUE(world_.take_log().empty());
}

TEST_F(ShortMemory, TheLogSaysOnceThatItRefuses) {
    const Peer writer = world_.client();
    set_other_bytes(memory_bytes_max);
    for (int count = 0; count < 3; ++count) {
        writer.say(publication("a"));
        EXPECT_EQ(error_code(writer.take_texts().at(0)), "overloaded");
    }
    const Peer late = world_.connect();
    late.send(Peer::upgrade_request());
    EXPECT_NE(late.take_response().find(" 503 "), std::string::npos);
    const Peer poster = world_.connect();
    poster.send(post_request(1));
    EXPECT_NE(poster.take_response().find(" 503 "), std::string::npos);
    EXPECT_EQ(world_.refusals(Refused::memory), 5u);
    EXPECT_EQ(world_.metric(Metric::publishes_refused_total), 4u);
    world_.run_for(10 * base::ns_per_s);
    Texts lines = world_.take_log();
    ASSERT_EQ(lines.size(), 1u) << "it is still full";
    EXPECT_TRUE(lines[0].starts_with("level=warn")) << lines[0];
    EXPECT_NE(lines[0].find("memory is used up"), std::string::npos) << lines[0];
    EXPECT_GE(field_of(lines[0], "used_bytes"), memory_bytes_max);
    set_other_bytes(0);
    expect_published(writer, "a");
    world_.run_for(6 * base::ns_per_s);
    lines = world_.take_log();
    ASSERT_EQ(lines.size(), 1u);
    EXPECT_TRUE(lines[0].starts_with("level=info")) << lines[0];
    EXPECT_NE(lines[0].find("publishes again"), std::string::npos) << lines[0];
    EXPECT_EQ(field_of(lines[0], "refused"), 5u);
    EXPECT_EQ(world_.refusals(Refused::memory), 5u);
}

}  // namespace
}  // namespace broker
