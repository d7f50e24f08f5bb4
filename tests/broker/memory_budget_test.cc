// The budget's levels, and what a shard does at each.

#include "broker/memory_budget.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "broker/shedding.h"
#include "io/base/units.h"
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
    world_.settle();
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

}  // namespace
}  // namespace broker
