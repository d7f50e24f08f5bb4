// The world with the real broker in it: its shards over the simulated kernels, and the simulated
// public.
//
// Owner and thread: as for World.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "tests/sim/scenario.h"
#include "tests/sim/world.h"

namespace sim {

// What all shards of one broker share; outlives the world.
class BrokerHouse {
  public:
    explicit BrokerHouse(const Scenario& scenario);
    ~BrokerHouse();

    ShardFactory shards();
    AnySettings& settings();

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

PeersFactory public_of(const Scenario& scenario);

}  // namespace sim
