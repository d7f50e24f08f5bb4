// The simulator's own test: its world with a shard that merely echoes. What a peer gets back must
// be what it sent, through every fault that does not break the line; nothing may be left at the
// end.
#include <gtest/gtest.h>

#include <string>

#include "io/base/check.h"
#include "tests/sim/echo_shard.h"
#include "tests/sim/peer.h"
#include "tests/sim/world.h"

namespace sim {
namespace {

// Sends a number of bytes, reads as many, ends the stream, and begins anew.
class EchoPeer final : public Peer {
  public:
    using Peer::Peer;

    void step() override {
        if (!wire_.is_open()) {
            if (!is_healed_) begin();
            return;
        }
        wire_.flush(prng_.between(1, 200));
        wire_.read(incoming_, prng_.between(1, 100));
        ASSERT_EQ(incoming_, sent_.substr(0, incoming_.size()));
        if (!is_finishing_ && incoming_.size() == sent_.size()) {
            is_finishing_ = true;
            wire_.finish();
        }
        if (!wire_.is_over()) return;
        const bool is_excused = wire_.is_broken_by_fault() || around_.oracle.is_stopping();
        if (!is_excused && incoming_ != sent_) violated("echo", "bytes are missing");
        if (incoming_ == sent_) ++rounds_count_;
        wire_.close();
    }
    uint64_t ready_at_ns() const override {
        if (!wire_.is_open()) return is_healed_ || rounds_count_ >= 20 ? base::never_ns : now_ns();
        // Everything that was queued and did not find room is tried again when the network says so.
        return wire_.has_outgoing() ? now_ns() : wire_.look_at_ns();
    }
    void heal() override { is_healed_ = true; }
    bool is_settled() const override { return !wire_.is_open(); }
    std::string describe() const override {
        return name_ + " got " + std::to_string(incoming_.size()) + " of " +
               std::to_string(sent_.size());
    }
    uint64_t rounds_count() const { return rounds_count_; }

  private:
    void begin() {
        sent_.clear();
        incoming_.clear();
        is_finishing_ = false;
        const uint64_t bytes = prng_.between(1, 2'000);
        for (uint64_t at = 0; at < bytes; ++at)
            sent_.push_back(static_cast<char>(prng_.below(256)));
        connect();
        wire_.queue(sent_);
    }

    std::string sent_;
    std::string incoming_;
    uint64_t rounds_count_ = 0;
    bool is_healed_ = false;
    bool is_finishing_ = false;
};

struct EchoRun {
    uint64_t hash = 0;
    uint64_t rounds_count = 0;
    Totals totals;
    std::string violation;
};

EchoRun run(uint64_t seed, Plant plant) {
    Scenario scenario = draw_scenario(seed, {});
    // Nobody sends heartbeats here, so a line that is dead must not stay silent.
    scenario.pipe_bytes_min = std::max<uint32_t>(scenario.pipe_bytes_min, 64);
    auto world = std::make_unique<World>(scenario, plant, nullptr);
    std::vector<EchoPeer*> echo_peers;
    EchoRun result;
    try {
        world->populate(
            [](io::ShardId id, io::Reactor& reactor, io::Mesh& mesh) -> std::unique_ptr<AnyShard> {
                return std::make_unique<EchoShard>(id, reactor, mesh);
            },
            [&echo_peers](Surroundings& surroundings, base::Prng& prng) {
                std::vector<std::unique_ptr<Peer>> peers;
                for (uint32_t count = 0; count < 6; ++count) {
                    auto peer = std::make_unique<EchoPeer>(
                        surroundings, "echo-" + std::to_string(count), prng.next());
                    echo_peers.push_back(peer.get());
                    peers.push_back(std::move(peer));
                }
                return peers;
            });
        world->run();
    } catch (const Violation& violation) {
        result.violation = violation.promise + ": " + violation.text;
        // Its shards stand in the middle of a turn (see World), so it stays, where the leak checker
        // sees it.
        static std::vector<std::unique_ptr<World>> broken_worlds;
        broken_worlds.push_back(std::move(world));
        return result;
    }
    result.hash = world->hash();
    result.totals = world->totals();
    for (const EchoPeer* peer : echo_peers) result.rounds_count += peer->rounds_count();
    return result;
}

TEST(EchoWorld, BytesComeBackThroughEveryFault) {
    Totals totals;
    uint64_t rounds_count = 0;
    for (uint64_t seed = 1; seed <= 150; ++seed) {
        const EchoRun result = run(seed, Plant::none);
        ASSERT_EQ(result.violation, "") << "seed " << seed;
        totals.add(result.totals);
        rounds_count += result.rounds_count;
    }
    EXPECT_GT(rounds_count, 2'000u);
    for (const Fault fault :
         {Fault::recv_short, Fault::recv_ended, Fault::recv_no_buffers, Fault::send_short,
          Fault::send_piecewise, Fault::connection_reset, Fault::accept_failed}) {
        EXPECT_GT(totals.faults[static_cast<uint32_t>(fault)], 0u) << name_of(fault);
    }
}

TEST(EchoWorld, ASeedReproducesItsRun) {
    for (uint64_t seed = 1; seed <= 20; ++seed) {
        const EchoRun first = run(seed, Plant::none);
        const EchoRun second = run(seed, Plant::none);
        EXPECT_EQ(first.hash, second.hash) << "seed " << seed;
        EXPECT_EQ(first.totals.steps, second.totals.steps) << "seed " << seed;
    }
    EXPECT_NE(run(1, Plant::none).hash, run(2, Plant::none).hash);
}

TEST(EchoWorld, ALeakedSocketIsFound) {
    bool was_found = false;
    for (uint64_t seed = 1; seed <= 10 && !was_found; ++seed) {
        was_found = !run(seed, Plant::leak_socket).violation.empty();
    }
    EXPECT_TRUE(was_found);
}

}  // namespace
}  // namespace sim
