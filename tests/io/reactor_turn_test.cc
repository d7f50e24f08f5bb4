// Time, deadlines and wakes: points 11 and 12 of io/reactor.h.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "io/base/units.h"
#include "io/reactor.h"
#include "io/uring/reactor_uring.h"
#include "tests/io/reactor_fixture.h"

namespace io_test {
namespace {

using io::Reactor;

TEST_P(ReactorTest, a_turn_ends_at_its_deadline_and_time_stands_still_between_turns) {
    const uint64_t before_ns = reactor_->now_ns();
    EXPECT_GT(before_ns, 0u);
    const uint64_t deadline_ns = before_ns + 100 * base::ns_per_ms;
    while (reactor_->now_ns() < deadline_ns) {
        ASSERT_TRUE(reactor_->turn(deadline_ns).empty());
    }
    // Far less than a second wait of the same length would take.
    EXPECT_LT(reactor_->now_ns(), deadline_ns + 90 * base::ns_per_ms);
    const uint64_t now_ns = reactor_->now_ns();
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    EXPECT_EQ(reactor_->now_ns(), now_ns);
}

TEST_P(ReactorTest, a_turn_with_a_deadline_in_the_past_only_looks) {
    turn(0);
    const uint64_t before_ns = reactor_->now_ns();
    for (int round = 0; round < 100; ++round) turn(round % 2 == 0 ? 0 : before_ns - 1);
    EXPECT_LT(reactor_->now_ns() - before_ns, base::ns_per_s);
}

TEST_P(ReactorTest, a_wake_from_outside_ends_a_turn_without_a_bound) {
    std::thread outside([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        group_.wake_from_outside(0);
    });
    EXPECT_TRUE(reactor_->turn(base::never_ns).empty());
    outside.join();
    // And one that came before the turn is not lost.
    group_.wake_from_outside(0);
    EXPECT_TRUE(reactor_->turn(base::never_ns).empty());
    group_.wake_from_outside(0);
    group_.wake_from_outside(1);  // nobody is there
    EXPECT_TRUE(reactor_->turn(base::never_ns).empty());
}

// The other shard waits without a bound; it can go on only because it is woken, each time.
TEST_P(ReactorTest, shards_wake_each_other) {
    constexpr uint32_t rounds_count = 2'000;
    std::atomic<uint32_t> pinged{0};
    std::atomic<uint32_t> ponged{0};
    std::string error;
    std::unique_ptr<Reactor> other = io::make_reactor(group_, 1, small_options(), error);
    ASSERT_NE(other, nullptr) << error;
    std::thread shard([&] {
        for (uint32_t round = 1; round <= rounds_count; ++round) {
            // Returns early whenever it likes, but not for ever.
            while (pinged.load() < round) static_cast<void>(other->turn(base::never_ns));
            ponged.store(round);
            other->wake(0);
            other->wake(0);
            static_cast<void>(other->turn(0));
        }
        other.reset();
    });
    for (uint32_t round = 1; round <= rounds_count; ++round) {
        pinged.store(round);
        reactor_->wake(1);
        while (ponged.load() < round) ASSERT_TRUE(reactor_->turn(base::never_ns).empty());
    }
    shard.join();
}

TEST_P(ReactorTest, a_wake_reaches_a_shard_that_has_not_begun) {
    std::string error;
    std::unique_ptr<Reactor> other = io::make_reactor(group_, 1, small_options(), error);
    ASSERT_NE(other, nullptr) << error;
    reactor_->wake(1);
    settle();
    std::thread shard([&] {
        EXPECT_TRUE(other->turn(base::never_ns).empty());
        other.reset();
    });
    shard.join();
    // Gone again: waking it does nothing.
    reactor_->wake(1);
    settle();
    EXPECT_TRUE(seen_.empty());
}

}  // namespace
}  // namespace io_test
