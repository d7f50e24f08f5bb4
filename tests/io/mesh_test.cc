#include "io/mesh.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

namespace {

using io::Lane;
using io::Mesh;
using io::Request;
using io::ShardId;

void put(Lane& lane, uint64_t value) {
    const std::span<uint8_t> room = lane.reserve(sizeof value);
    ASSERT_FALSE(room.empty());
    std::memcpy(room.data(), &value, sizeof value);
    lane.commit();
}

TEST(mesh, every_ordered_pair_has_two_lanes_of_its_own) {
    Mesh mesh({.shards_count = 3, .deliver_bytes = 1024, .forward_bytes = 2048});
    EXPECT_EQ(mesh.shards_count(), 3u);
    std::set<Lane*> lanes;
    for (ShardId from = 0; from < 3; ++from) {
        for (ShardId to = 0; to < 3; ++to) {
            if (from == to) continue;
            EXPECT_EQ(mesh.deliver(from, to).record_bytes_max(), 504u);
            EXPECT_EQ(mesh.forward(from, to).record_bytes_max(), 1016u);
            lanes.insert(&mesh.deliver(from, to));
            lanes.insert(&mesh.forward(from, to));
        }
    }
    EXPECT_EQ(lanes.size(), 12u);
    EXPECT_DEATH(mesh.deliver(1, 1), "CHECK failed");
    EXPECT_DEATH(mesh.forward(0, 3), "CHECK failed");
    EXPECT_DEATH(static_cast<void>(mesh.wake_claim(3)), "CHECK failed");
}

TEST(mesh, one_shard_alone_has_nobody_to_wait_for) {
    Mesh mesh({.shards_count = 1});
    EXPECT_TRUE(mesh.sleep_begin(0));
    mesh.sleep_end(0);
}

TEST(mesh, work_in_any_lane_keeps_awake) {
    for (ShardId from : {0u, 2u}) {
        for (const bool is_deliver : {true, false}) {
            Mesh mesh({.shards_count = 3, .deliver_bytes = 128, .forward_bytes = 128});
            Lane& lane = is_deliver ? mesh.deliver(from, 1) : mesh.forward(from, 1);
            put(lane, 1);
            EXPECT_FALSE(mesh.sleep_begin(1));
            // It did not fall asleep, so nobody owes it a wake.
            EXPECT_FALSE(mesh.wake_claim(1));
            // The others have nothing to do with that record.
            EXPECT_TRUE(mesh.sleep_begin(from));
            mesh.sleep_end(from);
            ASSERT_FALSE(lane.front().empty());
            lane.pop();
            EXPECT_TRUE(mesh.sleep_begin(1));
            mesh.sleep_end(1);
        }
    }
}

TEST(mesh, a_sleep_gets_one_wake) {
    Mesh mesh({.shards_count = 3});
    EXPECT_FALSE(mesh.wake_claim(1));
    ASSERT_TRUE(mesh.sleep_begin(1));
    EXPECT_TRUE(mesh.wake_claim(1));
    EXPECT_FALSE(mesh.wake_claim(1));
    mesh.sleep_end(1);
    ASSERT_TRUE(mesh.sleep_begin(1));
    mesh.sleep_end(1);
    EXPECT_FALSE(mesh.wake_claim(1));
}

TEST(mesh, requests_gather_and_are_taken_once) {
    Mesh mesh({.shards_count = 2});
    EXPECT_EQ(mesh.requests_take(0), 0u);
    mesh.request(0, Request::stop);
    EXPECT_FALSE(mesh.sleep_begin(0));
    EXPECT_TRUE(mesh.sleep_begin(1));
    mesh.sleep_end(1);
    mesh.request(0, Request::stop_now);
    EXPECT_EQ(mesh.requests_take(0),
              static_cast<uint32_t>(Request::stop) | static_cast<uint32_t>(Request::stop_now));
    EXPECT_EQ(mesh.requests_take(0), 0u);
    EXPECT_TRUE(mesh.sleep_begin(0));
    mesh.sleep_end(0);
}

// What the kernel is to a sleeping shard: a wake that comes first is remembered.
class Bell {
  public:
    void ring() {
        const std::lock_guard lock(mutex_);
        is_rung_ = true;
        condition_.notify_one();
    }
    bool wait(std::chrono::seconds bound) {
        std::unique_lock lock(mutex_);
        const bool is_rung = condition_.wait_for(lock, bound, [this] { return is_rung_; });
        is_rung_ = false;
        return is_rung;
    }

  private:
    std::mutex mutex_;
    std::condition_variable condition_;
    bool is_rung_ = false;
};

// Each side answers what it received and sleeps whenever it has nothing to do, so a single missed
// wake leaves both asleep for ever. The bound turns that into a failure.
TEST(mesh, no_wake_is_missed_between_two_threads) {
    constexpr uint64_t rounds_count = 30'000;
    Mesh mesh({.shards_count = 2, .deliver_bytes = 128, .forward_bytes = 128});
    Bell bells[2];
    std::atomic<bool> is_missed{false};
    const auto shard = [&](ShardId self) {
        const ShardId other = 1 - self;
        uint64_t next = 0;
        if (self == 0) {
            put(mesh.deliver(0, 1), 0);
            if (mesh.wake_claim(1)) bells[1].ring();
        }
        while (next < rounds_count && !is_missed) {
            Lane& lane = mesh.deliver(other, self);
            const std::span<const uint8_t> record = lane.front();
            if (record.empty()) {
                // Asleep only in about half of the rounds, to meet the other side at every point.
                if (next % 3 == 0) std::this_thread::yield();
                if (!mesh.sleep_begin(self)) continue;
                if (!bells[self].wait(std::chrono::seconds(10))) is_missed = true;
                mesh.sleep_end(self);
                continue;
            }
            uint64_t value = 0;
            std::memcpy(&value, record.data(), sizeof value);
            EXPECT_EQ(value, next);
            lane.pop();
            ++next;
            put(mesh.deliver(self, other), value + (self == 0 ? 1 : 0));
            if (mesh.wake_claim(other)) bells[other].ring();
        }
    };
    std::thread first(shard, 0);
    std::thread second(shard, 1);
    first.join();
    second.join();
    EXPECT_FALSE(is_missed);
}

}  // namespace
