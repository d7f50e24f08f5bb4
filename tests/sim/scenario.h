// Scenario: everything that a seed decides before a run begins: faults, limits, the machine, the
// peers.
//
// Pure; any thread. Invariant: the scenario depends on the seed and the options alone.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/prng.h"
#include "io/base/units.h"
#include "tests/sim/faults.h"
#include "tests/sim/network.h"
#include "tests/sim/reactor_sim.h"
#include "topics/topic_rules.h"

namespace sim {

// Which topics keep how much history; the first rule that matches decides (PROTOCOL.md).
struct HistoryRule {
    std::string match;
    uint64_t messages_max = 0;  // 0: nothing is kept
    uint64_t bytes_max = UINT64_MAX;
    uint64_t ttl_ns = UINT64_MAX;
    std::optional<topics::OnSlow> on_slow;  // none: catch_up where history is kept, else disconnect
};

// Of the broker's limits those that may change while it runs.
struct ReloadableLimits {
    uint32_t http_head_bytes_max = 8 * 1024;
    uint32_t outbound_soft_bytes = 256 * 1024;
    uint32_t outbound_hard_bytes = 1024 * 1024;
    uint64_t outbound_time_ns = 30 * base::ns_per_s;
    uint32_t compression_threshold_bytes = 256;
    uint64_t handshake_timeout_ns = 10 * base::ns_per_s;
    uint64_t keep_alive_timeout_ns = 60 * base::ns_per_s;
    uint64_t close_timeout_ns = 5 * base::ns_per_s;
};

// The broker's limits, by the names of its settings but free of its types, so that the worlds
// without a broker can do without it too.
struct Limits : ReloadableLimits {
    uint32_t connections_max = 64;
    uint32_t subscriptions_max = 64;
    uint32_t message_bytes_max = 64 * 1024;
    uint64_t inbound_bytes_per_second = 0;  // 0: any number, as the next two
    uint64_t commands_per_second = 0;
    uint64_t publishes_per_second = 0;
    uint32_t lane_bytes = 1024 * 1024;
    uint32_t partitions = 64;
    uint64_t heartbeat_interval_ns = 25 * base::ns_per_s;
    uint64_t heartbeat_timeout_ns = 20 * base::ns_per_s;
    uint64_t drain_delay_ns = 0;
    uint64_t drain_timeout_ns = 25 * base::ns_per_s;
    std::vector<HistoryRule> history_rules;
    uint64_t history_memory_bytes = 256 * base::mib;
    uint64_t idempotency_window_ns = 300 * base::ns_per_s;
    uint64_t idempotency_keys_max = 100'000;

    // The rule that decides about a topic; null: none, nothing is kept.
    const HistoryRule* history_rule_of(std::string_view topic) const;
    // What becomes of messages of a topic for which a subscriber has no room.
    topics::OnSlow slow_policy_of(std::string_view topic) const;
    bool has_rates() const { return commands_per_second > 0 || publishes_per_second > 0; }
    // How many of the topic's newest messages are kept whatever else happens, when none of them is
    // larger than message_bytes; UINT64_MAX: all of them.
    uint64_t surely_kept(std::string_view topic, uint64_t message_bytes) const;
};

enum class PeerKind : uint8_t {
    behaved,
    slow,
    byte_wise,
    rude,
    churning,
    hostile,
    poster,
    returning,
    operating,
};
inline constexpr uint32_t peer_kinds_count = 9;
const char* name_of(PeerKind kind);

// New settings, from a moment on (SIGHUP).
struct Reload {
    uint64_t at_ns = 0;
    ReloadableLimits limits;
};

struct Scenario {
    uint64_t seed = 0;
    uint32_t shards_count = 1;
    FaultOptions faults{};
    Limits limits;
    std::vector<Reload> reloads = {};
    SimReactorOptions reactor;
    uint64_t latency_ns_max = base::ns_per_ms;
    uint32_t pipe_bytes_min = 64 * 1024;  // of each direction of a connection
    uint32_t pipe_bytes_max = 64 * 1024;
    uint32_t peers_count[peer_kinds_count] = {};
    uint32_t payload_bytes_max = 200;
    uint64_t faults_phase_ns = 20 * base::ns_per_s;
    uint64_t faults_phase_steps_max = 4'000;
    bool has_heal = true;  // else the stop comes in the midst of the faults

    // Whether something may keep even a quick reader's queue long: its backlog may then pass the
    // limits.
    bool may_be_slow = false;
    // Whether something may keep even a quick peer's answer to a ping.
    bool may_be_silent = false;

    // The least and the most of each reloadable limit that is ever in force.
    ReloadableLimits least() const;
    ReloadableLimits most() const;
};

struct ScenarioOptions {
    std::optional<uint32_t> shards_count;
};

Scenario draw_scenario(uint64_t seed, const ScenarioOptions& options);
std::string describe(const Scenario& scenario);

}  // namespace sim
