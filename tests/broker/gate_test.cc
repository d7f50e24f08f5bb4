#include "broker/gate.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "io/base/units.h"

namespace broker {
namespace {

codec::IpAddress ip(std::string_view text) {
    return codec::parse_ip_address(text).value();
}

codec::IpAddress numbered(uint32_t number) {
    return ip("10." + std::to_string(number >> 16 & 255) + "." + std::to_string(number >> 8 & 255) +
              "." + std::to_string(number & 255));
}

Settings limited_to(uint64_t connections_per_address) {
    Settings settings;
    settings.connections_per_address = connections_per_address;
    return settings;
}

TEST(Gate, AdmitsUpToTheLimitAndAgainAfterALeave) {
    Gate gate(limited_to(2), 1);
    EXPECT_TRUE(gate.enter(ip("192.0.2.1")));
    EXPECT_TRUE(gate.enter(ip("192.0.2.1")));
    for (int again = 0; again < 10; ++again) EXPECT_FALSE(gate.enter(ip("192.0.2.1")));
    EXPECT_TRUE(gate.enter(ip("192.0.2.2"))) << "another address";
    gate.leave(ip("192.0.2.1"));
    EXPECT_TRUE(gate.enter(ip("192.0.2.1")));
    EXPECT_FALSE(gate.enter(ip("192.0.2.1")));
}

TEST(Gate, TellsIpv6NetworksApartAndNotTheirHosts) {
    Gate gate(limited_to(1), 1);
    EXPECT_TRUE(gate.enter(ip("2001:db8:0:1::1")));
    EXPECT_FALSE(gate.enter(ip("2001:db8:0:1:ffff:ffff:ffff:ffff")));
    EXPECT_TRUE(gate.enter(ip("2001:db8:0:2::1")));
}

TEST(Gate, LimitsNobodyWithoutAnAddressOrALimit) {
    Gate gate(limited_to(1), 1);
    for (int count = 0; count < 10; ++count) EXPECT_TRUE(gate.enter({}));
    Gate off(limited_to(0), 1);
    for (int count = 0; count < 10; ++count) EXPECT_TRUE(off.enter(ip("192.0.2.1")));
    off.leave(ip("192.0.2.1"));
}

// 10,000 connections are what the broker takes; a thousand addresses have all that they may.
TEST(Gate, AFullHouseRefusesNobodyForTheOthers) {
    Gate gate(limited_to(10), 7);
    for (uint32_t number = 0; number < 1'000; ++number) {
        for (int count = 0; count < 10; ++count) ASSERT_TRUE(gate.enter(numbered(number)));
        ASSERT_FALSE(gate.enter(numbered(number)));
    }
    uint32_t refused_count = 0;
    for (uint32_t number = 1'000; number < 11'000; ++number) {
        if (!gate.enter(numbered(number))) {
            ++refused_count;
        } else {
            gate.leave(numbered(number));
        }
    }
    EXPECT_LE(refused_count, 1U) << "expected: 10,000 * (1 / 65)^3 = 0.04";
    for (uint32_t number = 0; number < 1'000; ++number) {
        for (int count = 0; count < 10; ++count) gate.leave(numbered(number));
        ASSERT_TRUE(gate.enter(numbered(number)));
    }
}

TEST(Gate, ThreadsThatRaceNeverExceedTheLimit) {
    Gate gate(limited_to(3), 1);
    std::atomic<int> inside = 0;
    std::atomic<bool> is_exceeded = false;
    std::atomic<uint32_t> admitted_count = 0;
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&] {
            for (int round = 0; round < 20'000; ++round) {
                if (!gate.enter(ip("192.0.2.1"))) continue;
                admitted_count.fetch_add(1);
                if (inside.fetch_add(1) >= 3) is_exceeded = true;
                inside.fetch_sub(1);
                gate.leave(ip("192.0.2.1"));
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_FALSE(is_exceeded);
    EXPECT_GT(admitted_count, 0U);
    for (int count = 0; count < 3; ++count) EXPECT_TRUE(gate.enter(ip("192.0.2.1")));
    EXPECT_FALSE(gate.enter(ip("192.0.2.1")));
}

TEST(Gate, CountsUpgrades) {
    Settings settings;
    settings.upgrades_per_second = 5;
    Gate gate(settings, 1);
    const uint64_t now_ns = 1'000 * base::ns_per_s;
    for (int count = 0; count < 5; ++count) EXPECT_TRUE(gate.may_upgrade(now_ns));
    EXPECT_FALSE(gate.may_upgrade(now_ns));
    EXPECT_FALSE(gate.may_upgrade(now_ns + base::ns_per_s / 5 - 1));
    EXPECT_TRUE(gate.may_upgrade(now_ns + base::ns_per_s / 5));
    EXPECT_FALSE(gate.may_upgrade(now_ns + base::ns_per_s / 5));
    Gate off(Settings{}, 1);
    for (int count = 0; count < 1'000; ++count) EXPECT_TRUE(off.may_upgrade(now_ns));
}

TEST(Gate, ThreadsThatRaceShareTheUpgrades) {
    Settings settings;
    settings.upgrades_per_second = 1'000;
    Gate gate(settings, 1);
    std::atomic<uint32_t> admitted_count = 0;
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 4; ++thread) {
        threads.emplace_back([&] {
            for (int round = 0; round < 1'000; ++round) {
                if (gate.may_upgrade(base::ns_per_s)) admitted_count.fetch_add(1);
            }
        });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(admitted_count, 1'000U);
}

}  // namespace
}  // namespace broker
