#include "tests/sim/scenario.h"

#include <algorithm>

#include "tests/sim/payloads.h"
#include "tests/sim/peer.h"

namespace sim {

namespace {

// One of the values that stand on the edges, or in between.
uint32_t draw_one(base::Prng& prng, std::initializer_list<uint32_t> values) {
    return values.begin()[prng.below(values.size())];
}

const char* name_of(const std::optional<topics::OnSlow>& on_slow) {
    if (!on_slow) return "the usual for slow consumers";
    switch (*on_slow) {
        case topics::OnSlow::catch_up: return "catch_up";
        case topics::OnSlow::conflate: return "conflate";
        case topics::OnSlow::drop_oldest: return "drop_oldest";
        case topics::OnSlow::disconnect: return "disconnect";
    }
    return "";
}

bool is_active(const Scenario& scenario, Fault fault) {
    return scenario.faults[static_cast<uint32_t>(fault)].numerator > 0;
}

void draw_limits(base::Prng& prng, Limits& limits) {
    limits.connections_max = draw_one(prng, {3, 8, 64, 64, 64, 64});
    limits.subscriptions_max = draw_one(prng, {1, 3, 64, 64});
    limits.message_bytes_max = draw_one(prng, {512, 600, 4'096, 65'536});
    limits.http_head_bytes_max = draw_one(prng, {512, 1'024, 8'192});
    limits.lane_bytes = draw_one(prng, {8'192, 8'192, 16'384, 65'536});
    limits.compression_threshold_bytes = draw_one(prng, {0, 64, 256});
    limits.partitions = draw_one(prng, {1, 2, 7, 64});
    limits.outbound_soft_bytes = draw_one(prng, {128, 300, 2'000, 16'384, 256 * 1024, 256 * 1024});
    limits.outbound_hard_bytes = limits.outbound_soft_bytes * draw_one(prng, {1, 2, 3, 4, 16});
    limits.outbound_time_ns =
        draw_one(prng, {100, 1'000, 10'000, 30'000, 600'000}) * base::ns_per_ms;
    const auto seconds = [&prng](uint64_t low, uint64_t high) {
        return prng.between(low * 1'000, high * 1'000) * base::ns_per_ms;
    };
    limits.handshake_timeout_ns = seconds(1, 10);
    limits.keep_alive_timeout_ns = seconds(1, 60);
    limits.heartbeat_interval_ns = seconds(1, 25);
    limits.heartbeat_timeout_ns = seconds(1, 20);
    limits.close_timeout_ns = seconds(1, 5);
    limits.drain_timeout_ns = seconds(2, 25);
}

void draw_machine(base::Prng& prng, Scenario& scenario) {
    scenario.reactor.buffers_count = draw_one(prng, {2, 4, 16, 64});
    scenario.reactor.buffer_bytes = draw_one(prng, {64, 100, 1'000, 16'384});
    scenario.reactor.events_per_turn_max = draw_one(prng, {1, 4, 64, 256, 256});
    // Two more than the limit of the broker, which answers those with 503.
    scenario.reactor.sockets_max = scenario.limits.connections_max + draw_one(prng, {1, 2, 8});
    scenario.latency_ns_max = draw_one(prng, {1, 100'000, 1'000'000, 20'000'000});
    scenario.pipe_bytes_min = draw_one(prng, {16, 1'000, 65'536, 65'536});
    scenario.pipe_bytes_max =
        std::max(scenario.pipe_bytes_min, draw_one(prng, {1'000, 65'536, 1 << 20}));
}

void draw_peers(base::Prng& prng, Scenario& scenario) {
    constexpr uint32_t counts_max[] = {8, 4, 2, 4, 4, 4, 3, 4};  // operators come last of all
    const auto behaved = static_cast<uint32_t>(PeerKind::behaved);
    for (uint32_t kind = 0; kind < std::size(counts_max); ++kind) {
        const uint32_t count = static_cast<uint32_t>(prng.below(counts_max[kind] + 1));
        // Half of the kinds are absent, so that a seed can also be calm.
        const bool is_present = kind == behaved || prng.below(2) == 0;
        scenario.peers_count[kind] = is_present ? count : 0;
    }
    scenario.peers_count[behaved] += 2;
}

// Any policy that the rule may have; most rules have what suits them.
void draw_on_slow(base::Prng& prng, HistoryRule& rule) {
    constexpr topics::OnSlow policies[] = {topics::OnSlow::conflate, topics::OnSlow::drop_oldest,
                                           topics::OnSlow::disconnect, topics::OnSlow::catch_up};
    const uint64_t choice = prng.below(8);
    if (choice >= std::size(policies)) return;
    const bool is_allowed = policies[choice] != topics::OnSlow::catch_up || rule.messages_max > 0;
    if (is_allowed) rule.on_slow = policies[choice];
}

HistoryRule draw_rule(base::Prng& prng) {
    HistoryRule rule;
    rule.match = filters_alphabet()[prng.below(filters_alphabet().size())];
    if (prng.below(3) == 0) rule.match = topics_alphabet()[prng.below(topics_alphabet().size())];
    switch (prng.below(6)) {
        case 0: return rule;  // an exception before a wider rule
        case 1:
        case 2: rule.messages_max = prng.between(1, 5); break;
        case 3:
            rule.messages_max = 100;
            rule.bytes_max = prng.between(20, 400);
            break;
        default: rule.messages_max = prng.below(2) == 0 ? 100 : 1'000'000; break;
    }
    if (prng.below(3) == 0) rule.ttl_ns = prng.between(200, 120'000) * base::ns_per_ms;
    return rule;
}

void draw_history(base::Prng& prng, const Scenario& scenario, Limits& limits) {
    const uint64_t windows_ns[] = {base::ns_per_ms, 100 * base::ns_per_ms, 5 * base::ns_per_s,
                                   300 * base::ns_per_s, 300 * base::ns_per_s};
    limits.idempotency_window_ns = windows_ns[prng.below(std::size(windows_ns))];
    limits.idempotency_keys_max = draw_one(prng, {0, 1, 3, 100'000, 100'000, 100'000});
    const uint64_t kind = prng.below(4);
    if (kind == 0) return;
    if (kind == 1) {
        // Nothing is ever evicted: whatever is missing is a mistake, or was told.
        limits.history_rules.push_back({.match = "#", .messages_max = 1'000'000});
        if (prng.below(2) == 0) draw_on_slow(prng, limits.history_rules.back());
        return;
    }
    const uint64_t count = prng.between(1, 3);
    while (limits.history_rules.size() < count) {
        limits.history_rules.push_back(draw_rule(prng));
        draw_on_slow(prng, limits.history_rules.back());
    }
    if (prng.below(2) == 0) {
        limits.history_rules.push_back(
            {.match = "#", .messages_max = draw_one(prng, {0, 1, 3, 10, 100, 1'000'000})});
        draw_on_slow(prng, limits.history_rules.back());
    }
    if (prng.below(4) == 0) {
        limits.history_memory_bytes = scenario.shards_count * prng.between(1, 30) * 1024;
    }
}

// Where there are cursors, one of all partitions must fit into a message (validate_settings).
void fit_cursors(Limits& limits) {
    limits.message_bytes_max = std::max(limits.message_bytes_max, 512 + 28 * limits.partitions);
}

// Below what peers ask in bursts, and sometimes below what they ask in the long run.
void draw_rates(base::Prng& prng, Limits& limits) {
    const uint64_t kind = prng.below(3);
    if (kind != 0) limits.commands_per_second = draw_one(prng, {1, 3, 10, 100});
    if (kind != 1) limits.publishes_per_second = draw_one(prng, {1, 3, 10, 100});
}

// Each of its limits may change or not.
void draw_reloads(base::Prng& prng, Scenario& scenario) {
    uint64_t at_ns = 0;
    const ReloadableLimits* before = &scenario.limits;
    scenario.reloads.resize(prng.between(1, 4));
    for (Reload& reload : scenario.reloads) {
        at_ns += prng.between(1, scenario.faults_phase_ns / base::ns_per_ms) * base::ns_per_ms;
        Limits fresh = scenario.limits;
        draw_limits(prng, fresh);
        reload.at_ns = at_ns;
        reload.limits = *before;
        ReloadableLimits& limits = reload.limits;
        const auto changes = [&prng] { return prng.below(2) == 0; };
        if (changes()) limits.http_head_bytes_max = fresh.http_head_bytes_max;
        // Nobody is called slow who is not by the limits of the beginning.
        if (changes() && scenario.may_be_slow) {
            limits.outbound_soft_bytes = fresh.outbound_soft_bytes;
            limits.outbound_hard_bytes = fresh.outbound_hard_bytes;
            limits.outbound_time_ns = fresh.outbound_time_ns;
        }
        if (changes()) limits.compression_threshold_bytes = fresh.compression_threshold_bytes;
        if (changes()) limits.handshake_timeout_ns = fresh.handshake_timeout_ns;
        if (changes()) limits.keep_alive_timeout_ns = fresh.keep_alive_timeout_ns;
        if (changes()) limits.close_timeout_ns = fresh.close_timeout_ns;
        before = &reload.limits;
    }
}

// Each limit by itself, as `choose` has it of two.
template <class Choose>
ReloadableLimits fold(const Scenario& scenario, Choose choose) {
    ReloadableLimits folded = scenario.limits;
    for (const Reload& reload : scenario.reloads) {
        const ReloadableLimits& limits = reload.limits;
        const auto take = [&](auto member) {
            folded.*member = choose(folded.*member, limits.*member);
        };
        take(&ReloadableLimits::http_head_bytes_max);
        take(&ReloadableLimits::outbound_soft_bytes);
        take(&ReloadableLimits::outbound_hard_bytes);
        take(&ReloadableLimits::outbound_time_ns);
        take(&ReloadableLimits::compression_threshold_bytes);
        take(&ReloadableLimits::handshake_timeout_ns);
        take(&ReloadableLimits::keep_alive_timeout_ns);
        take(&ReloadableLimits::close_timeout_ns);
    }
    return folded;
}

}  // namespace

ReloadableLimits Scenario::least() const {
    return fold(*this, [](auto one, auto other) { return std::min(one, other); });
}

ReloadableLimits Scenario::most() const {
    return fold(*this, [](auto one, auto other) { return std::max(one, other); });
}

const HistoryRule* Limits::history_rule_of(std::string_view topic) const {
    for (const HistoryRule& rule : history_rules) {
        if (!filter_matches(rule.match, topic)) continue;
        return rule.messages_max > 0 ? &rule : nullptr;
    }
    return nullptr;
}

topics::OnSlow Limits::slow_policy_of(std::string_view topic) const {
    for (const HistoryRule& rule : history_rules) {
        if (!filter_matches(rule.match, topic)) continue;
        if (rule.on_slow) return *rule.on_slow;
        return rule.messages_max > 0 ? topics::OnSlow::catch_up : topics::OnSlow::disconnect;
    }
    return topics::OnSlow::disconnect;
}

uint64_t Limits::surely_kept(std::string_view topic, uint64_t message_bytes) const {
    // More than all that a run can publish.
    constexpr uint64_t plenty_bytes = 64 * base::mib;
    constexpr uint64_t plenty_messages = 100'000;
    const HistoryRule* const rule = history_rule_of(topic);
    if (rule == nullptr || rule->ttl_ns != UINT64_MAX || history_memory_bytes < plenty_bytes) {
        return 0;
    }
    uint64_t count = rule->messages_max >= plenty_messages ? UINT64_MAX : rule->messages_max;
    if (rule->bytes_max < plenty_bytes) {
        count = std::min(count, rule->bytes_max / std::max<uint64_t>(message_bytes, 1));
    }
    return count;
}

const char* name_of(PeerKind kind) {
    switch (kind) {
        case PeerKind::behaved: return "behaved";
        case PeerKind::slow: return "slow";
        case PeerKind::byte_wise: return "byte_wise";
        case PeerKind::rude: return "rude";
        case PeerKind::churning: return "churning";
        case PeerKind::hostile: return "hostile";
        case PeerKind::poster: return "poster";
        case PeerKind::returning: return "returning";
        case PeerKind::operating: return "operator";
    }
    return "";
}

Scenario draw_scenario(uint64_t seed, const ScenarioOptions& options) {
    base::Prng prng(seed);
    Scenario scenario;
    scenario.seed = seed;
    scenario.shards_count = draw_one(prng, {1, 1, 2, 2, 3, 4, 8});
    if (options.shards_count) scenario.shards_count = *options.shards_count;
    scenario.faults = swarm(prng);
    if (prng.below(8) == 0) scenario.faults = FaultOptions{};
    draw_limits(prng, scenario.limits);
    draw_machine(prng, scenario);
    draw_peers(prng, scenario);
    const uint32_t payload_bytes_max = draw_one(prng, {20, 200, 200, 2'000, 20'000});
    // base64 and escapes make a payload longer on the wire.
    scenario.payload_bytes_max = std::min(payload_bytes_max, scenario.limits.message_bytes_max / 8);
    scenario.faults_phase_ns = prng.between(1, 60) * base::ns_per_s;
    scenario.has_heal = prng.below(5) != 0;
    draw_history(prng, scenario, scenario.limits);
    if (!scenario.limits.history_rules.empty()) fit_cursors(scenario.limits);
    const bool has_delay = prng.below(4) == 0;
    if (has_delay) scenario.limits.drain_delay_ns = prng.between(1, 3'000) * base::ns_per_ms;
    // Above what peers say in the long run, so that they are made to wait and nothing else changes.
    if (prng.below(3) == 0) {
        scenario.limits.inbound_bytes_per_second = draw_one(prng, {1'024, 4 * 1'024, 16 * 1'024});
    }
    if (prng.below(4) == 0) draw_rates(prng, scenario.limits);
    constexpr uint32_t operators_max = 3;
    if (prng.below(3) == 0) {
        scenario.peers_count[static_cast<uint32_t>(PeerKind::operating)] =
            static_cast<uint32_t>(prng.between(1, operators_max));
    }

    // A queue stays short when the limit is far above all that this few peers can publish in the
    // time that the bytes take; otherwise the limit may be met by anybody, and the oracle must not
    // call that unjust.
    scenario.may_be_slow =
        scenario.limits.outbound_hard_bytes < 256 * 1024 || scenario.payload_bytes_max > 200 ||
        scenario.pipe_bytes_min < 65'536 || is_active(scenario, Fault::zero_window) ||
        is_active(scenario, Fault::send_delayed) || is_active(scenario, Fault::send_short);
    // A shard that sees so few bytes per turn falls seconds behind peers with much to say, and
    // takes those for silent whose bytes it has not come to yet.
    const uint64_t turn_bytes_max =
        uint64_t{scenario.reactor.events_per_turn_max} * scenario.reactor.buffer_bytes;
    const bool is_starved_machine = turn_bytes_max < 1'000 && scenario.payload_bytes_max > 200;
    scenario.may_be_silent = scenario.pipe_bytes_min < 1'000 || is_starved_machine ||
                             is_active(scenario, Fault::zero_window) ||
                             is_active(scenario, Fault::connection_reset);
    if (prng.below(4) == 0) draw_reloads(prng, scenario);
    return scenario;
}

std::string describe(const Scenario& scenario) {
    std::string text = "seed " + std::to_string(scenario.seed) + "\n";
    const auto line = [&text](const char* name, uint64_t value) {
        text += std::string("  ") + name + " " + std::to_string(value) + "\n";
    };
    line("shards_count", scenario.shards_count);
    const Limits& limits = scenario.limits;
    line("connections_max", limits.connections_max);
    line("subscriptions_max", limits.subscriptions_max);
    line("message_bytes_max", limits.message_bytes_max);
    line("http_head_bytes_max", limits.http_head_bytes_max);
    line("inbound_bytes_per_second", limits.inbound_bytes_per_second);
    line("commands_per_second", limits.commands_per_second);
    line("publishes_per_second", limits.publishes_per_second);
    line("outbound_soft_bytes", limits.outbound_soft_bytes);
    line("outbound_hard_bytes", limits.outbound_hard_bytes);
    line("outbound_time_ms", limits.outbound_time_ns / base::ns_per_ms);
    line("lane_bytes", limits.lane_bytes);
    line("compression_threshold_bytes", limits.compression_threshold_bytes);
    line("partitions", limits.partitions);
    line("handshake_timeout_ms", limits.handshake_timeout_ns / base::ns_per_ms);
    line("keep_alive_timeout_ms", limits.keep_alive_timeout_ns / base::ns_per_ms);
    line("heartbeat_interval_ms", limits.heartbeat_interval_ns / base::ns_per_ms);
    line("heartbeat_timeout_ms", limits.heartbeat_timeout_ns / base::ns_per_ms);
    line("close_timeout_ms", limits.close_timeout_ns / base::ns_per_ms);
    line("drain_delay_ms", limits.drain_delay_ns / base::ns_per_ms);
    line("drain_timeout_ms", limits.drain_timeout_ns / base::ns_per_ms);
    for (const HistoryRule& rule : limits.history_rules) {
        text += "  history of " + rule.match + ": " + std::to_string(rule.messages_max) +
                " messages, " + std::to_string(rule.bytes_max) + " bytes, " +
                std::to_string(rule.ttl_ns / base::ns_per_ms) + " ms, " + name_of(rule.on_slow) +
                "\n";
    }
    line("history_memory_bytes", limits.history_memory_bytes);
    line("idempotency_window_ms", limits.idempotency_window_ns / base::ns_per_ms);
    line("idempotency_keys_max", limits.idempotency_keys_max);
    line("sockets_max", scenario.reactor.sockets_max);
    line("buffers_count", scenario.reactor.buffers_count);
    line("buffer_bytes", scenario.reactor.buffer_bytes);
    line("events_per_turn_max", scenario.reactor.events_per_turn_max);
    line("latency_ns_max", scenario.latency_ns_max);
    line("pipe_bytes_min", scenario.pipe_bytes_min);
    line("pipe_bytes_max", scenario.pipe_bytes_max);
    line("payload_bytes_max", scenario.payload_bytes_max);
    line("faults_phase_ms", scenario.faults_phase_ns / base::ns_per_ms);
    line("has_heal", scenario.has_heal ? 1 : 0);
    for (uint32_t kind = 0; kind < peer_kinds_count; ++kind) {
        line(name_of(static_cast<PeerKind>(kind)), scenario.peers_count[kind]);
    }
    for (const Reload& reload : scenario.reloads) {
        text += "  reload at " + std::to_string(reload.at_ns / base::ns_per_ms) + " ms\n";
        line("  http_head_bytes_max", reload.limits.http_head_bytes_max);
        line("  outbound_soft_bytes", reload.limits.outbound_soft_bytes);
        line("  outbound_hard_bytes", reload.limits.outbound_hard_bytes);
        line("  outbound_time_ms", reload.limits.outbound_time_ns / base::ns_per_ms);
        line("  compression_threshold_bytes", reload.limits.compression_threshold_bytes);
        line("  handshake_timeout_ms", reload.limits.handshake_timeout_ns / base::ns_per_ms);
        line("  keep_alive_timeout_ms", reload.limits.keep_alive_timeout_ns / base::ns_per_ms);
        line("  close_timeout_ms", reload.limits.close_timeout_ns / base::ns_per_ms);
    }
    text += "faults\n" + describe(scenario.faults);
    return text;
}

}  // namespace sim
