#include "io/lane.h"

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <string>
#include <thread>
#include <vector>

#include "io/base/prng.h"

namespace {

using io::Lane;

bool put(Lane& lane, const std::string& record) {
    const std::span<uint8_t> room = lane.reserve(static_cast<uint32_t>(record.size()));
    if (room.empty()) return false;
    EXPECT_EQ(room.size(), record.size());
    EXPECT_EQ(reinterpret_cast<uintptr_t>(room.data()) % 8, 0u);
    std::memcpy(room.data(), record.data(), record.size());
    return true;
}

std::string text(std::span<const uint8_t> record) {
    return {reinterpret_cast<const char*>(record.data()), record.size()};
}

TEST(lane, nothing_is_seen_before_commit_and_commit_publishes_all) {
    Lane lane(128);
    EXPECT_TRUE(lane.is_empty());
    EXPECT_TRUE(lane.front().empty());
    ASSERT_TRUE(put(lane, "one"));
    ASSERT_TRUE(put(lane, "two"));
    EXPECT_TRUE(lane.is_empty());
    EXPECT_TRUE(lane.front().empty());
    lane.commit();
    EXPECT_FALSE(lane.is_empty());
    EXPECT_EQ(text(lane.front()), "one");
    EXPECT_EQ(text(lane.front()), "one");
    lane.pop();
    EXPECT_EQ(text(lane.front()), "two");
    lane.pop();
    EXPECT_TRUE(lane.is_empty());
    EXPECT_TRUE(lane.front().empty());
}

TEST(lane, full_to_the_last_byte_and_no_further) {
    Lane lane(128);
    // Eight records of 8 + 8 bytes.
    for (int count = 0; count < 8; ++count) {
        EXPECT_EQ(lane.room_bytes(), 128u - 16u * static_cast<uint32_t>(count));
        ASSERT_TRUE(put(lane, "12345678"));
    }
    EXPECT_EQ(lane.room_bytes(), 0u);
    EXPECT_FALSE(put(lane, "1"));
    lane.commit();
    EXPECT_FALSE(put(lane, "1"));
    EXPECT_EQ(text(lane.front()), "12345678");
    lane.pop();
    EXPECT_FALSE(put(lane, "123456789"));  // costs 24, 16 are free
    EXPECT_TRUE(put(lane, "1"));
    EXPECT_FALSE(put(lane, "1"));
}

TEST(lane, a_refused_reservation_leaves_no_trace) {
    Lane lane(128);
    ASSERT_TRUE(put(lane, std::string(56, 'a')));   // 64 of 128
    ASSERT_TRUE(put(lane, std::string(40, 'b')));   // 112
    EXPECT_FALSE(put(lane, std::string(20, 'c')));  // would need the tail and the beginning
    lane.commit();
    EXPECT_EQ(text(lane.front()), std::string(56, 'a'));
    lane.pop();
    EXPECT_EQ(text(lane.front()), std::string(40, 'b'));
    lane.pop();
    EXPECT_TRUE(lane.front().empty());
    EXPECT_TRUE(lane.is_empty());
}

TEST(lane, a_record_that_does_not_fit_before_the_end_starts_at_the_beginning) {
    Lane lane(128);
    ASSERT_TRUE(put(lane, std::string(56, 'a')));
    ASSERT_TRUE(put(lane, std::string(40, 'b')));  // 16 bytes are left before the end
    lane.commit();
    ASSERT_FALSE(lane.front().empty());
    lane.pop();  // 64 bytes are free at the beginning
    EXPECT_EQ(lane.room_bytes(), 64u);
    const std::span<uint8_t> room = lane.reserve(9);
    ASSERT_EQ(room.size(), 9u);
    std::memcpy(room.data(), "123456789", 9);
    lane.commit();
    EXPECT_EQ(lane.room_bytes(), 40u);
    EXPECT_EQ(text(lane.front()), std::string(40, 'b'));
    lane.pop();
    EXPECT_FALSE(lane.is_empty());
    EXPECT_EQ(text(lane.front()), "123456789");
    lane.pop();
    EXPECT_TRUE(lane.is_empty());
}

TEST(lane, the_largest_record_fits_wherever_an_empty_ring_stands) {
    for (uint32_t start = 0; start < 16; ++start) {
        Lane lane(128);
        for (uint32_t count = 0; count < start; ++count) {
            ASSERT_TRUE(put(lane, "1"));
            lane.commit();
            ASSERT_FALSE(lane.front().empty());
            lane.pop();
        }
        const std::string largest(lane.record_bytes_max(), 'x');
        EXPECT_EQ(largest.size(), 56u);
        ASSERT_TRUE(put(lane, largest)) << start;
        lane.commit();
        EXPECT_EQ(text(lane.front()), largest);
        lane.pop();
    }
}

TEST(lane, misuse_ends_the_process) {
    EXPECT_DEATH(Lane(64), "CHECK failed");
    EXPECT_DEATH(Lane(129), "CHECK failed");
    Lane lane(128);
    EXPECT_DEATH(static_cast<void>(lane.reserve(0)), "CHECK failed");
    EXPECT_DEATH(static_cast<void>(lane.reserve(57)), "CHECK failed");
    EXPECT_DEATH(lane.pop(), "CHECK failed");
}

std::string random_record(base::Prng& prng, uint64_t bytes_max) {
    std::string record(prng.between(1, bytes_max), '\0');
    for (char& byte : record) byte = static_cast<char>(prng.next());
    return record;
}

TEST(lane, behaves_like_a_queue) {
    for (uint64_t seed = 0; seed < 40; ++seed) {
        base::Prng prng(seed);
        Lane lane(uint64_t{128} << prng.below(4));
        const uint64_t bytes_max = prng.between(1, lane.record_bytes_max());
        std::deque<std::string> reserved;
        std::deque<std::string> committed;
        for (int round = 0; round < 5'000; ++round) {
            switch (prng.below(4)) {
                case 0: {
                    const std::string record = random_record(prng, bytes_max);
                    const uint64_t room = lane.room_bytes();
                    const bool is_put = put(lane, record);
                    if (Lane::record_cost(record.size()) <= room) {
                        ASSERT_TRUE(is_put);
                    }
                    if (reserved.empty() && committed.empty()) {
                        ASSERT_TRUE(is_put);
                    }
                    if (is_put) reserved.push_back(record);
                    break;
                }
                case 1:
                    lane.commit();
                    committed.insert(committed.end(), reserved.begin(), reserved.end());
                    reserved.clear();
                    break;
                default:
                    ASSERT_EQ(lane.is_empty(), committed.empty());
                    const std::span<const uint8_t> front = lane.front();
                    ASSERT_EQ(front.empty(), committed.empty());
                    if (front.empty()) break;
                    ASSERT_EQ(text(front), committed.front());
                    lane.pop();
                    committed.pop_front();
                    break;
            }
        }
    }
}

// room_bytes() is a promise about any sequence, so a random one that costs exactly that much must
// fit.
TEST(lane, every_sequence_that_costs_the_room_fits) {
    for (uint64_t seed = 0; seed < 3'000; ++seed) {
        base::Prng prng(seed);
        Lane lane(uint64_t{128} << prng.below(3));
        for (uint64_t warm_up = prng.below(40); warm_up > 0; --warm_up) {
            static_cast<void>(put(lane, random_record(prng, lane.record_bytes_max())));
            lane.commit();
            if (prng.chance({1, 2}) && !lane.front().empty()) lane.pop();
        }
        uint64_t left = lane.room_bytes();
        while (left >= Lane::record_cost(1)) {
            const uint64_t cost_max = std::min(left, lane.record_bytes_max() + 8);
            const std::string record = random_record(prng, cost_max - 8);
            ASSERT_TRUE(put(lane, record)) << "seed " << seed << ", " << left << " left";
            left -= Lane::record_cost(record.size());
        }
    }
}

// Two threads; each record says its number and the length that follows from it, so a torn, lost,
// repeated or too early record shows. Under ThreadSanitizer this proves the order of the memory
// operations too.
TEST(lane, carries_records_between_two_threads) {
    constexpr uint64_t records_count = 400'000;
    Lane lane(1024);
    const auto length_of = [](uint64_t number) {
        return static_cast<uint32_t>(8 + (number * 2'654'435'761u >> 7) % 120);
    };
    std::thread producer([&] {
        for (uint64_t number = 0; number < records_count;) {
            const uint32_t length = length_of(number);
            const std::span<uint8_t> room = lane.reserve(length);
            if (room.empty()) {
                lane.commit();
                std::this_thread::yield();
                continue;
            }
            std::memset(room.data(), static_cast<int>(number & 0xff), room.size());
            std::memcpy(room.data(), &number, sizeof number);
            if (number % 7 == 0) lane.commit();
            ++number;
        }
        lane.commit();
    });
    uint64_t expected = 0;
    uint64_t wrong_count = 0;
    while (expected < records_count) {
        const std::span<const uint8_t> record = lane.front();
        if (record.empty()) {
            std::this_thread::yield();
            continue;
        }
        uint64_t number = 0;
        std::memcpy(&number, record.data(), sizeof number);
        bool is_right = number == expected && record.size() == length_of(expected);
        for (const uint8_t byte : record.subspan(sizeof number)) {
            is_right = is_right && byte == (expected & 0xff);
        }
        wrong_count += is_right ? 0 : 1;
        lane.pop();
        ++expected;
    }
    producer.join();
    EXPECT_EQ(wrong_count, 0u);
    EXPECT_TRUE(lane.is_empty());
}

}  // namespace
