// How long bytes wait and turns are late, as the histograms tell it.

#include <gtest/gtest.h>

#include <string>

#include "broker/metrics.h"
#include "tests/broker/shard_world.h"

namespace broker {
namespace {

using testing::Peer;
using testing::World;

constexpr uint64_t ms = base::ns_per_ms;

class DelaysTest : public ::testing::Test {
  protected:
    DelaysTest() : reader_(world_.client()), publisher_(world_.client()) {
        reader_.subscribe("a");
        take_samples();
    }

    void publish(size_t bytes) const {
        publisher_.say(R"({"op":"publish","topic":"a","text":")" + std::string(bytes, 'x') + "\"}");
    }
    // Of sends since the last call: how many there were, and their delays in all.
    struct Samples {
        uint64_t count = 0;
        uint64_t sum_ms = 0;

        friend bool operator==(const Samples&, const Samples&) = default;
    };
    Samples take_samples() {
        const Samples all{world_.observed_count(Distribution::delivery_delay_seconds),
                          world_.observed_ns_sum(Distribution::delivery_delay_seconds) / ms};
        const Samples since{all.count - taken_.count, all.sum_ms - taken_.sum_ms};
        taken_ = all;
        return since;
    }

    World world_;
    Peer reader_;
    Peer publisher_;
    Samples taken_;
};

TEST_F(DelaysTest, ASendThatCompletesAtOnceHasNoDelay) {
    publish(10);
    EXPECT_EQ(take_samples(), (Samples{1, 0}));
    world_.run_for(1'000 * ms);
    publish(10);
    EXPECT_EQ(take_samples(), (Samples{1, 0})) << "the time without anything to send is none";
}

TEST_F(DelaysTest, AStalledReaderDelaysWhatWaitsForIt) {
    reader_.stall();
    publish(10);
    world_.run_for(300 * ms);
    EXPECT_EQ(take_samples(), (Samples{0, 0})) << "nothing is complete";
    reader_.read_on();
    EXPECT_EQ(take_samples(), (Samples{1, 300}));
}

TEST_F(DelaysTest, TheRestOfAShortSendKeepsItsAge) {
    reader_.stall();
    publish(1'000);
    world_.run_for(100 * ms);
    reader_.socket().send_room_bytes = 400;
    world_.settle();
    EXPECT_EQ(take_samples(), (Samples{1, 100}));
    world_.run_for(100 * ms);
    reader_.read_on();
    EXPECT_EQ(take_samples(), (Samples{1, 200}));
}

TEST_F(DelaysTest, WhatWasQueuedInFlightCountsFromThatSendsBeginning) {
    reader_.stall();
    publish(10);
    world_.run_for(100 * ms);
    publish(10);
    world_.run_for(100 * ms);
    reader_.read_on();
    // 200 ms for the first, and for the second, which waited 100 ms, the bound.
    EXPECT_EQ(take_samples(), (Samples{2, 400}));
    publish(10);
    EXPECT_EQ(take_samples(), (Samples{1, 0})) << "and then nothing is left of it";
}

TEST_F(DelaysTest, HttpIsNotCounted) {
    const Peer peer = world_.connect();
    peer.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EXPECT_NE(peer.take_response(), "");
    EXPECT_EQ(take_samples(), (Samples{0, 0}));
}

TEST(TurnDelays, OnlyTurnsThatWereLateForTheirDeadlineCount) {
    World world;
    const uint64_t before = world.observed_count(Distribution::turn_delay_seconds);
    const uint64_t before_ns = world.observed_ns_sum(Distribution::turn_delay_seconds);
    world.turn(0);  // before its time
    EXPECT_EQ(world.observed_count(Distribution::turn_delay_seconds), before);
    world.jump(world.kernel().deadline_ns - world.now_ns() + 70 * ms);
    world.turn(0);
    EXPECT_EQ(world.observed_count(Distribution::turn_delay_seconds), before + 1);
    EXPECT_EQ(world.observed_ns_sum(Distribution::turn_delay_seconds) - before_ns, 70 * ms);
}

}  // namespace
}  // namespace broker
