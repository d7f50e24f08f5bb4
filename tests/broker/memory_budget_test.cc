// The budget's levels, and what a shard does at each.

#include "broker/memory_budget.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "io/base/units.h"
#include "tests/broker/shard_world.h"

namespace broker {
namespace {

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

// A broker whose budget one slow reader can use up: a chunk has 64 KiB.
class ShortMemory : public ::testing::Test {
  protected:
    static WorldOptions options() {
        WorldOptions options{};
        options.settings.memory_bytes_max = base::mib;
        options.settings.outbound_soft_bytes = 2 * base::mib;
        options.settings.outbound_hard_bytes = 2 * base::mib;
        return options;
    }
    // One message of 1,000 bytes.
    static std::string publication(const std::string& topic) {
        return R"({"op":"publish","id":1,"topic":")" + topic + R"(","text":")" +
               std::string(1'000, 'x') + "\"}";
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
    int count = 0;
    while (world_.metric(Metric::connections_shed_total) == 0 && count < 2'000) {
        writer.say(publication("a"));
        world_.run_for(base::ns_per_ms);
        ++count;
        EXPECT_EQ(quick.take_texts().size(), 1u);
        const Texts answers = writer.take_texts();
        ASSERT_EQ(answers.size(), 1u);
        EXPECT_TRUE(error_code(answers[0]).starts_with("no error")) << answers[0];
    }
    EXPECT_EQ(world_.metric(Metric::connections_shed_total), 1u);
    EXPECT_GT(count, 700) << "nobody is shed long before the budget's end";
    stuck.read_on();
    world_.settle();
    EXPECT_EQ(world_.closed_count(4100) + (stuck.is_closed() ? 0 : 1), 1u);
    for (int more = 0; more < 50; ++more) {
        writer.say(publication("a"));
        EXPECT_EQ(quick.take_texts().size(), 1u);
        static_cast<void>(writer.take_texts());
    }
    EXPECT_LT(world_.metric(Metric::chunk_memory_bytes), base::mib);
}

TEST_F(ShortMemory, WhoReadsIsNotShedForWhatOthersHold) {
    WorldOptions with_room = options();
    with_room.settings.memory_bytes_max = 8 * base::mib;
    World world(with_room);
    const Peer reader = world.client();
    const Peer writer = world.client();
    reader.subscribe("a");
    // Near the end of the budget, and none of it is the reader's doing.
    world.set_kernel_socket_bytes(7 * base::mib);
    world.run_for(base::ns_per_s);
    const auto stall_for = [&](int steps) {
        reader.stall();
        writer.say(publication("a"));
        for (int step = 0; step < steps; ++step) {
            world.run_for(10 * base::ns_per_ms);
            writer.say(R"({"op":"ping"})");  // so that there are turns
        }
        reader.read_on();
    };
    stall_for(9);
    ASSERT_EQ(world.metric(Metric::connections_shed_total), 0u);
    EXPECT_EQ(reader.take_texts().size(), 1u);
    stall_for(12);
    EXPECT_EQ(world.metric(Metric::connections_shed_total), 1u);
}

TEST_F(ShortMemory, AtTheLimitPublishesAndConnectionsAreRefused) {
    const Peer writer = world_.client();
    world_.set_kernel_socket_bytes(base::mib);
    world_.settle();
    writer.say(publication("a"));
    const Texts answers = writer.take_texts();
    ASSERT_EQ(answers.size(), 1u);
    EXPECT_EQ(error_code(answers[0]), "overloaded");
    EXPECT_EQ(world_.metric(Metric::publishes_refused_total), 1u);
    writer.subscribe("b");  // goes on

    const Peer late = world_.connect();
    late.send(Peer::upgrade_request());
    EXPECT_NE(late.take_response().find(" 503 "), std::string::npos);
    const Peer poster = world_.connect();
    poster.send("POST /topics/a HTTP/1.1\r\nHost: localhost:7788\r\nContent-Length: 1\r\n\r\n1");
    EXPECT_NE(poster.take_response().find(" 503 "), std::string::npos);

    world_.set_kernel_socket_bytes(base::mib / 2);
    world_.run_for(base::ns_per_s);
    writer.say(publication("a"));
    const Texts again = writer.take_texts();
    ASSERT_EQ(again.size(), 1u);
    EXPECT_TRUE(error_code(again[0]).starts_with("no error")) << again[0];
}

}  // namespace
}  // namespace broker
