// World: one deterministic run. N shards of one process, the kernels under them, the network, the
// peers and time, stepped on one thread in an order that the seed decides.
//
// Three phases:
//  1. faults: everything that the scenario drew goes wrong, while peers do what they do;
//  2. heal: no more faults, hostile peers gone. Within a bound of virtual time and of steps every
//     queue must drain and every well-behaved peer must have got all it is owed; those who vanished
//     must have been evicted (P6);
//  3. stop: the shards are asked to stop while last words are still published (P8). Within a bound
//     all are stopped, and then nothing may be left: no socket, no buffer, no record in a lane.
// Some scenarios skip the second phase, so that the stop comes in the midst of the faults.
//
// How time runs: it moves to the next moment at which anything can happen, and only when nothing
// can happen now; and a few microseconds with each step, because work takes time. A missed wake is
// therefore a hang, and found at once: when time would move although a lane holds records for a
// shard that sleeps on.
//
// Owner: sim_main or a test. Thread: any single one.
// Invariants:
//  1. The run depends on the scenario alone: no clock, no address, no order of a hash table.
//  2. A broken promise is thrown as Violation by run(). The world is then not fit to be destroyed
//     (its shards stand in the middle of a turn): the caller reports and leaves the process, or
//     leaks it.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "io/mesh.h"
#include "io/reactor.h"
#include "tests/sim/faults.h"
#include "tests/sim/fiber.h"
#include "tests/sim/network.h"
#include "tests/sim/oracle.h"
#include "tests/sim/peer.h"
#include "tests/sim/reactor_sim.h"
#include "tests/sim/reloads.h"
#include "tests/sim/scenario.h"

namespace sim {

// What the world needs of a shard: the broker's, or a small one of a test.
class AnyShard {
  public:
    virtual ~AnyShard() = default;
    virtual void turn() = 0;
    virtual bool is_stopped() const = 0;
};

// Makes a shard over its reactor; called once per shard, in order.
using ShardFactory =
    std::function<std::unique_ptr<AnyShard>(io::ShardId id, io::Reactor& reactor, io::Mesh& mesh)>;
// How new settings reach the shards, which take them when they are asked to look.
class AnySettings {
  public:
    virtual ~AnySettings() = default;
    virtual void offer(const ReloadableLimits& limits) = 0;
    virtual bool is_taken() const = 0;
};
using PeersFactory =
    std::function<std::vector<std::unique_ptr<Peer>>(Surroundings& surroundings, base::Prng& prng)>;

struct Totals {
    uint64_t seeds = 0;
    uint64_t steps = 0;
    uint64_t turns = 0;
    uint64_t events = 0;
    uint64_t connections = 0;
    uint64_t bytes_to_peers = 0;
    uint64_t virtual_ns = 0;
    uint64_t sends_partial = 0;
    uint64_t evicted = 0;  // those who vanished
    uint64_t reloads = 0;
    FaultCounts faults{};
    Oracle::Counts oracle;
    Operations::Counts operations;

    void add(const Totals& other);
};

class World {
  public:
    World(const Scenario& scenario, Plant plant, std::function<void(const std::string&)> trace);
    ~World();

    // Without settings nothing is reloaded.
    void populate(const ShardFactory& shards, const PeersFactory& peers,
                  AnySettings* settings = nullptr);
    // Throws Violation.
    void run();

    uint64_t hash() const { return network_.hash(); }
    Totals totals() const;
    // What everybody waits for, for the report of a hang.
    std::string describe() const;

  private:
    struct Member {
        std::unique_ptr<Kernel> kernel;
        std::unique_ptr<io::Reactor> reactor;
        std::unique_ptr<AnyShard> shard;
        std::unique_ptr<Fiber> fiber;
        uint64_t stalled_until_ns = 0;  // its core does something else, by a fault
        bool is_done() const { return fiber->is_finished(); }
    };

    void run_faults();
    void run_heal();
    void run_calm();
    void run_stop();
    // One actor does something, or time moves on. False: nothing will ever happen any more.
    bool step();
    void reload_some();
    void step_shard(io::ShardId id);
    bool advance(uint64_t next_ns);
    void jump();
    void check_wakes() const;
    void check_evicted(uint64_t healed_at_ns) const;
    void check_empty();
    bool are_peers_settled() const;
    bool are_shards_done() const;
    bool are_lines_quiet() const;
    uint64_t eviction_ns_max() const;
    void trace(const std::string& text) const;

    const Scenario scenario_;
    base::Prng prng_;
    Clock clock_;
    Faults faults_;
    Network network_;
    Reloads reloads_;
    const Limits limits_of_oracle_;
    Oracle oracle_;
    std::unique_ptr<io::Mesh> mesh_;
    AnySettings* settings_ = nullptr;
    io::ShardId unasked_ = 0;  // the next shard that is asked to look at an offer
    std::vector<Member> members_;
    Surroundings surroundings_;
    std::vector<std::unique_ptr<Peer>> peers_;
    std::vector<uint32_t> ready_;  // scratch
    uint64_t turns_ = 0;
    uint64_t turns_since_advance_ = 0;
    bool is_stop_cut_ = false;  // by the drain's deadline
};

}  // namespace sim
