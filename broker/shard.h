// Shard: one core's broker. It owns all that its core touches: connections, router, timers, chunks.
//
// Owner: main (one per worker thread) or the simulated world. Thread: constructed anywhere, then
// used on its own.
// Invariants:
//  1. Nothing but the lanes of the mesh (and the relaxed cells of metrics and of the gate, and the
//     log's lane) is shared with others.
//  2. A turn is bounded: events, records, timers, resumed connections and sends each have a
//     maximum; what is left over comes first in the next turn, which then does not wait.
//  3. The stop is a drain, in phases that all shards pass together (broker/shutdown.h).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "broker/gate.h"
#include "broker/listeners.h"
#include "broker/log.h"
#include "broker/metrics.h"
#include "broker/settings.h"
#include "broker/settings_exchange.h"
#include "io/mesh.h"
#include "io/reactor.h"
#include "topics/history.h"
#include "topics/key_window.h"
#include "topics/topic_rules.h"

namespace broker {

// What a shard is given; all of it outlives the shard.
struct ShardContext {
    io::ShardId id;
    io::Reactor& reactor;
    io::Mesh& mesh;
    const Settings& settings;  // at the start; the shard has a copy
    MetricsRegistry& metrics;
    Log& log;
    Gate& gate;
    const std::vector<ListenerRole>& listeners;     // as the reactor numbered them
    std::string epoch;                              // the same for all shards
    uint64_t hash_seed;                             // the same for all shards
    const topics::TopicRules& rules;                // the same for all shards
    uint64_t random_seed;                           // its own
    SettingsExchange* settings_exchange = nullptr;  // null: they stay as they are
};

// What became of a shard's clients when it stopped.
struct StopReport {
    uint64_t told_count = 0;     // WebSockets that were told goodbye
    uint64_t cut_count = 0;      // connections whose queue the deadline cut
    uint64_t flushed_bytes = 0;  // left the queues after all that was acknowledged was in them
    uint64_t unsent_bytes = 0;   // were in the queues that the deadline cut
};

// Slots that are kept beyond connections_max, so that those who are refused can be told so.
inline constexpr uint32_t refusal_slots_count = 64;
// How many sockets the reactor of each shard must be able to hold.
uint32_t sockets_per_shard(const Settings& settings);
// How many accepts may wait at each of so many listeners. Each takes a place among the sockets, so
// together they are no more than the slots for refusals (up to so many listeners): connections_max
// can be reached over any one of them.
uint32_t accepts_per_listener(size_t listeners_count);

class Shard {
  public:
    explicit Shard(const ShardContext& context);
    ~Shard();
    Shard(const Shard&) = delete;
    Shard& operator=(const Shard&) = delete;

    // One turn of the loop: waits for events, handles a bounded amount of everything, flushes.
    void turn();
    bool is_stopped() const;
    uint32_t connections_count() const;
    // Once it has stopped.
    const StopReport& stop_report() const;

    // What the shard keeps of the partitions that it owns, to be filled before its first turn and
    // read after it has stopped.
    topics::History& history();
    topics::KeyWindow& keys();
    // After history() was filled, before the first turn.
    void history_restored();

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace broker
