// Hostile peers who read nothing for longer than the broker waits for the end of a closing
// handshake: they may miss its Close frame, and nobody else may.
#include "tests/sim/hostile.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "io/base/units.h"
#include "tests/sim/broker_world.h"

namespace sim {
namespace {

struct DeafRun {
    std::string violation;
    uint64_t closed_for_rate_count = 0;
};

// Peers that ask for far more than they may. The broker waits for their end for a part of the time
// that it is to wait.
DeafRun run_deaf(uint64_t seed, uint64_t broker_waits_for_one_in) {
    Scenario scenario;
    scenario.seed = seed;
    scenario.limits.commands_per_second = 10;
    scenario.limits.close_timeout_ns = base::ns_per_s;
    scenario.faults[static_cast<uint32_t>(Fault::reset_discards)] = {1, 2};
    scenario.peers_count[static_cast<uint32_t>(PeerKind::hostile)] = 10;
    scenario.faults_phase_ns = 30 * base::ns_per_s;
    Scenario of_broker = scenario;
    of_broker.limits.close_timeout_ns /= broker_waits_for_one_in;
    auto house = std::make_unique<BrokerHouse>(of_broker);
    auto world = std::make_unique<World>(scenario, Plant::none, nullptr);
    DeafRun result;
    try {
        world->populate(house->shards(), public_of(scenario));
        world->run();
        const Oracle::Counts counts = world->totals().oracle;
        const auto found = counts.closed_by_code.find(4101);
        if (found != counts.closed_by_code.end()) result.closed_for_rate_count = found->second;
    } catch (const Violation& violation) {
        result.violation = violation.promise + ": " + violation.text;
        // Its shards stand in the middle of a turn (see World), so it stays, where the leak checker
        // sees it.
        static std::vector<std::unique_ptr<BrokerHouse>> broken_houses;
        static std::vector<std::unique_ptr<World>> broken_worlds;
        broken_houses.push_back(std::move(house));
        broken_worlds.push_back(std::move(world));
    }
    return result;
}

TEST(Hostile, WhoIsDeafForLongerThanTheBrokerWaitsMayMissItsCloseFrame) {
    uint64_t closed_for_rate_count = 0;
    for (uint64_t seed = 1; seed <= 25; ++seed) {
        const DeafRun result = run_deaf(seed, 1);
        ASSERT_EQ(result.violation, "") << "seed " << seed;
        closed_for_rate_count += result.closed_for_rate_count;
    }
    EXPECT_GT(closed_for_rate_count, 25u);
}

TEST(Hostile, ABrokerThatWaitsForLessIsFound) {
    bool was_found = false;
    for (uint64_t seed = 1; seed <= 100 && !was_found; ++seed) {
        const std::string violation = run_deaf(seed, 2).violation;
        was_found = violation.find("ended without an answer") != std::string::npos;
    }
    EXPECT_TRUE(was_found);
}

}  // namespace
}  // namespace sim
