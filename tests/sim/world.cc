#include "tests/sim/world.h"

#include <algorithm>
#include <utility>

#include "io/base/check.h"

namespace sim {

namespace {

// The bounds of liveness. They are generous: what needs more is not slow but stuck.
constexpr uint64_t heal_ns_max = 15 * 60 * base::ns_per_s;
constexpr uint64_t heal_steps_max = 400'000;
constexpr uint64_t stop_ns_slack = 60 * base::ns_per_s;
// Eight shards that look for their end each millisecond of a drain of 25 s take 200,000, and more
// when turns are limited and clients come all the while.
constexpr uint64_t stop_steps_max = 1'000'000;
// So many turns without a pause mean that somebody spins. A machine that takes in 100 bytes per
// turn has 50,000 of them to do when its peers say all that they have at once.
constexpr uint64_t turns_within_moment_max = 200'000;
// A shard that polls instead of being woken must do it at least this often.
constexpr uint64_t poll_ns_max = 10 * base::ns_per_ms;
// How long a core can be kept from its shard.
constexpr uint64_t stall_ns_max = base::ns_per_s;
// What a step takes, at most.
constexpr uint64_t step_ns_max = 20 * base::ns_per_us;

// By which the oracle judges, whatever is in force: times may be as long as they ever are, and a
// backlog that one limit allowed may be beyond the next.
Limits limits_of_oracle(const Scenario& scenario) {
    Limits limits = scenario.limits;
    static_cast<ReloadableLimits&>(limits) = scenario.most();
    limits.outbound_hard_bytes = scenario.least().outbound_hard_bytes;
    return limits;
}

}  // namespace

void Totals::add(const Totals& other) {
    seeds += other.seeds;
    steps += other.steps;
    turns += other.turns;
    events += other.events;
    connections += other.connections;
    bytes_to_peers += other.bytes_to_peers;
    virtual_ns += other.virtual_ns;
    sends_partial += other.sends_partial;
    evicted += other.evicted;
    reloads += other.reloads;
    for (uint32_t index = 0; index < faults_count; ++index) faults[index] += other.faults[index];
    oracle.sessions += other.oracle.sessions;
    oracle.published += other.oracle.published;
    oracle.acknowledged += other.oracle.acknowledged;
    oracle.deliveries += other.oracle.deliveries;
    oracle.compressed += other.oracle.compressed;
    oracle.refused += other.oracle.refused;
    oracle.duplicates += other.oracle.duplicates;
    oracle.refused_for_rate += other.oracle.refused_for_rate;
    oracle.resumes_exact += other.oracle.resumes_exact;
    oracle.resumes_refused += other.oracle.resumes_refused;
    oracle.replayed += other.oracle.replayed;
    oracle.history_pages += other.oracle.history_pages;
    oracle.links_confirmed += other.oracle.links_confirmed;
    oracle.gaps += other.oracle.gaps;
    oracle.missed += other.oracle.missed;
    for (const auto& [code, count] : other.oracle.stream_gaps_by_code)
        oracle.stream_gaps_by_code[code] += count;
    oracle.broken_by_fault += other.oracle.broken_by_fault;
    for (const auto& [code, count] : other.oracle.closed_by_code)
        oracle.closed_by_code[code] += count;
    operations.add(other.operations);
}

World::World(const Scenario& scenario, Plant plant, std::function<void(const std::string&)> trace)
    : scenario_(scenario),
      prng_(scenario.seed ^ 0x776f726c64),
      clock_{.now_ns = base::ns_per_s},
      faults_(scenario.faults, prng_.next()),
      network_(clock_, faults_, scenario.shards_count, plant, prng_.next()),
      reloads_(scenario_),
      limits_of_oracle_(limits_of_oracle(scenario_)),
      oracle_(clock_, limits_of_oracle_),
      surroundings_{network_, oracle_, scenario_, reloads_, std::move(trace)} {}

World::~World() = default;

void World::trace(const std::string& text) const {
    if (surroundings_.trace) surroundings_.trace(text);
}

void World::populate(const ShardFactory& shards, const PeersFactory& peers, AnySettings* settings) {
    settings_ = settings;
    mesh_ =
        std::make_unique<io::Mesh>(io::Mesh::Options{.shards_count = scenario_.shards_count,
                                                     .deliver_bytes = scenario_.limits.lane_bytes,
                                                     .forward_bytes = scenario_.limits.lane_bytes});
    members_.resize(scenario_.shards_count);
    for (io::ShardId id = 0; id < scenario_.shards_count; ++id) {
        Member& member = members_[id];
        member.kernel = std::make_unique<Kernel>(network_, id, scenario_.reactor);
        member.reactor = make_reactor(*member.kernel);
        CHECK(member.reactor->listener_add(-1) == 0);
        member.shard = shards(id, *member.reactor, *mesh_);
        AnyShard& shard = *member.shard;
        member.fiber = std::make_unique<Fiber>([&shard] {
            while (!shard.is_stopped()) shard.turn();
        });
        member.kernel->attach(*member.fiber);
    }
    peers_ = peers(surroundings_, prng_);
}

// Steps -------------------------------------------------------------------------------------------

bool World::step() {
    ++clock_.step;
    if (faults_.fires(Fault::time_jump)) jump();
    reload_some();
    uint64_t next_ns = base::never_ns;
    ready_.clear();
    const uint32_t shards_count = static_cast<uint32_t>(members_.size());
    const auto consider = [&](uint32_t actor, uint64_t at_ns) {
        if (at_ns <= clock_.now_ns) ready_.push_back(actor);
        next_ns = std::min(next_ns, at_ns);
    };
    for (uint32_t id = 0; id < shards_count; ++id) {
        const Member& member = members_[id];
        if (!member.is_done())
            consider(id, std::max(member.kernel->ready_at_ns(), member.stalled_until_ns));
    }
    for (uint32_t index = 0; index < peers_.size(); ++index) {
        consider(shards_count + index, peers_[index]->ready_at_ns());
    }
    if (faults_.fires(Fault::turn_spurious)) {
        const io::ShardId id = static_cast<io::ShardId>(prng_.below(shards_count));
        if (!members_[id].is_done() && members_[id].stalled_until_ns <= clock_.now_ns) {
            ++turns_;
            members_[id].fiber->resume();
            return true;
        }
    }
    if (ready_.empty()) return advance(next_ns);
    const uint32_t actor = ready_[prng_.below(ready_.size())];
    if (actor < shards_count) {
        step_shard(actor);
    } else {
        peers_[actor - shards_count]->step();
    }
    clock_.now_ns += prng_.below(step_ns_max);
    return true;
}

void World::reload_some() {
    if (settings_ == nullptr) return;
    if (reloads_.is_pending() && settings_->is_taken()) reloads_.taken();
    const ReloadableLimits* const due = reloads_.due(clock_.now_ns);
    if (due != nullptr && !oracle_.is_stopping()) {
        trace("new settings are offered");
        settings_->offer(*due);
        reloads_.offered();
        unasked_ = 0;
    }
    if (!reloads_.is_pending() || unasked_ == members_.size()) return;
    // One shard is asked per step, in order.
    mesh_->request(unasked_, io::Request::reload);
    network_.wake(unasked_);
    ++unasked_;
}

void World::step_shard(io::ShardId id) {
    Member& member = members_[id];
    if (faults_.fires(Fault::shard_stalled)) {
        member.stalled_until_ns = clock_.now_ns + faults_.prng().below(stall_ns_max);
        return;
    }
    member.kernel->work();
    // Completions may pile up before the shard sees them.
    if (!member.kernel->is_turn_due()) return;
    if (prng_.below(4) == 0) {
        network_.look_at_ns(id) = clock_.now_ns;
        return;
    }
    ++turns_;
    if (++turns_since_advance_ > turns_within_moment_max) {
        violated("liveness", "shards turn without end although time stands still");
    }
    member.fiber->resume();
}

bool World::advance(uint64_t next_ns) {
    turns_since_advance_ = 0;
    check_wakes();
    if (next_ns == base::never_ns) return false;
    clock_.now_ns = next_ns;
    return true;
}

void World::jump() {
    base::Prng& prng = faults_.prng();
    const uint64_t by_ns = prng.below(2) == 0 ? 1 : prng.below(10 * 60 * base::ns_per_s);
    trace("time jumps by " + std::to_string(by_ns) + " ns");
    clock_.now_ns += by_ns;
    clock_.has_jumped = true;
    oracle_.time_jumped();
}

void World::check_wakes() const {
    const uint32_t count = mesh_->shards_count();
    for (io::ShardId to = 0; to < count; ++to) {
        const Member& member = members_[to];
        const bool polls = member.kernel->deadline_ns() <= clock_.now_ns + poll_ns_max;
        const bool is_stalled = member.stalled_until_ns > clock_.now_ns;
        if (member.is_done() || polls || is_stalled || network_.has_wake(to)) continue;
        for (io::ShardId from = 0; from < count; ++from) {
            if (from == to) continue;
            if (mesh_->deliver(from, to).is_empty() && mesh_->forward(from, to).is_empty())
                continue;
            violated("liveness", "shard " + std::to_string(to) +
                                     " sleeps although records of shard " + std::to_string(from) +
                                     " wait for it");
        }
    }
}

// Phases ------------------------------------------------------------------------------------------

void World::run() {
    run_faults();
    if (scenario_.has_heal) run_heal();
    run_stop();
    oracle_.audit();
    check_empty();
}

void World::run_faults() {
    const uint64_t end_ns = clock_.now_ns + scenario_.faults_phase_ns;
    const uint64_t end_step = clock_.step + scenario_.faults_phase_steps_max;
    while (clock_.now_ns < end_ns && clock_.step < end_step) {
        if (!step()) return;
    }
}

bool World::are_peers_settled() const {
    return std::all_of(peers_.begin(), peers_.end(),
                       [](const auto& peer) { return peer->is_settled(); });
}

bool World::are_shards_done() const {
    return std::all_of(members_.begin(), members_.end(),
                       [](const Member& member) { return member.is_done(); });
}

bool World::are_lines_quiet() const {
    for (ConnectionId id = 0; id < network_.connections_count(); ++id) {
        const Connection& connection = network_.at(id);
        // Somebody who is gone must be noticed; whoever is there is the oracle's business.
        const bool is_over = connection.is_closed_by_broker || connection.is_broken_by_fault;
        if (connection.is_peer_gone && !is_over) return false;
    }
    return true;
}

void World::run_heal() {
    trace("the faults are over");
    faults_.heal();
    for (const std::unique_ptr<Peer>& peer : peers_) peer->heal();
    for (io::ShardId id = 0; id < members_.size(); ++id) network_.look_at_ns(id) = 0;
    const uint64_t begin_ns = clock_.now_ns;
    const uint64_t begin_step = clock_.step;
    std::string missing;
    bool is_idle = false;  // nothing will ever happen any more
    while (true) {
        // Looking takes long, so it is not done after each step.
        const bool is_time = is_idle || (clock_.step - begin_step) % 64 == 0;
        if (is_time && are_peers_settled() && are_lines_quiet()) {
            missing = oracle_.first_missing();
            if (missing.empty()) break;
        }
        if (is_time) check_evicted(begin_ns);
        const bool is_over =
            clock_.now_ns - begin_ns > heal_ns_max || clock_.step - begin_step > heal_steps_max;
        if (is_over || is_idle) {
            violated("P1/liveness",
                     "the world did not come to rest after the faults: " + oracle_.first_missing());
        }
        is_idle = !step();
    }
    run_calm();
}

void World::run_calm() {
    // Long enough that a peer whose answers were lost would be evicted: P6 also says who must stay.
    const Limits& limits = scenario_.limits;
    const uint64_t end_ns = clock_.now_ns + 2 * limits.heartbeat_interval_ns +
                            limits.heartbeat_timeout_ns + base::ns_per_s;
    while (clock_.now_ns < end_ns && step()) continue;
    const std::string missing = oracle_.first_missing();
    if (!missing.empty()) violated("P1", "after the rest: " + missing);
}

uint64_t World::eviction_ns_max() const {
    const Limits& limits = limits_of_oracle_;
    return limits.heartbeat_interval_ns + limits.heartbeat_timeout_ns +
           limits.handshake_timeout_ns + limits.keep_alive_timeout_ns +
           2 * limits.close_timeout_ns + 10 * base::ns_per_s;
}

void World::check_evicted(uint64_t healed_at_ns) const {
    if (clock_.now_ns - healed_at_ns <= eviction_ns_max()) return;
    const uint64_t accepted_before_ns = clock_.now_ns - eviction_ns_max();
    for (ConnectionId id = 0; id < network_.connections_count(); ++id) {
        const Connection& connection = network_.at(id);
        if (!connection.is_vanished || connection.is_closed_by_broker) continue;
        // With few sockets, those that stand before it in the queue of the listener have their
        // time.
        if (connection.accepted_at_ns >= accepted_before_ns) continue;
        violated("P6", "connection " + std::to_string(id) + " of shard " +
                           std::to_string(connection.shard) +
                           " vanished long ago and still holds its socket");
    }
}

void World::run_stop() {
    for (const std::unique_ptr<Peer>& peer : peers_) peer->say_last_words();
    const uint64_t words_steps = prng_.below(200);
    for (uint64_t count = 0; count < words_steps; ++count) static_cast<void>(step());
    trace("the stop is requested");
    const Limits& limits = limits_of_oracle_;
    const uint64_t drain_ns = limits.drain_delay_ns + limits.drain_timeout_ns;
    oracle_.stop_requested(drain_ns);
    const uint64_t stop_ns = clock_.now_ns;
    for (io::ShardId id = 0; id < members_.size(); ++id) {
        mesh_->request(id, io::Request::stop);
        network_.wake(id);
        // A signal reaches the shards one after the other.
        for (uint64_t count = prng_.below(20); count > 0; --count) static_cast<void>(step());
    }
    const uint64_t end_ns = clock_.now_ns + drain_ns + 2 * limits.close_timeout_ns +
                            limits.heartbeat_interval_ns + stop_ns_slack;
    const uint64_t end_step = clock_.step + stop_steps_max;
    while (!are_shards_done()) {
        // A jump of time may pass any deadline; what counts then is that the shards stop soon after
        // it.
        const bool is_late = clock_.now_ns > end_ns &&
                             faults_.counts()[static_cast<uint32_t>(Fault::time_jump)] == 0;
        if (is_late || clock_.step > end_step || !step()) {
            violated("P8/liveness", "the shards did not stop");
        }
    }
    is_stop_cut_ = clock_.now_ns - stop_ns >= drain_ns;
    // The peers read what was sent to them before the end.
    faults_.heal();
    for (const std::unique_ptr<Peer>& peer : peers_) peer->heal();
    for (uint64_t count = 0; count < stop_steps_max && step(); ++count) continue;
    for (const std::unique_ptr<Peer>& peer : peers_) {
        if (!peer->has_connection()) continue;
        violated("P8", "a peer never learnt of the end: " + peer->describe());
    }
}

void World::check_empty() {
    std::string left;
    for (const Member& member : members_) left += member.kernel->leftovers();
    // A stop that its deadline cut may leave records behind.
    const uint32_t count = is_stop_cut_ ? 0 : mesh_->shards_count();
    for (io::ShardId from = 0; from < count; ++from) {
        for (io::ShardId to = 0; to < count; ++to) {
            if (from == to) continue;
            if (!mesh_->deliver(from, to).is_empty()) left += "a deliver lane is not empty, ";
            if (!mesh_->forward(from, to).is_empty()) left += "a forward lane is not empty, ";
        }
    }
    if (!left.empty()) violated("leak", left);
    // Each slab checks in its destructor that it is empty.
    for (Member& member : members_) member.shard.reset();
}

std::string World::describe() const {
    std::string text = "at step " + std::to_string(clock_.step) + ", " +
                       std::to_string(clock_.now_ns / base::ns_per_ms) + " ms\n";
    for (io::ShardId id = 0; id < members_.size(); ++id) {
        const Kernel& kernel = *members_[id].kernel;
        const uint64_t deadline_ns = kernel.deadline_ns();
        text += "  shard " + std::to_string(id) +
                (members_[id].is_done() ? " is done" : " waits until ") +
                (deadline_ns == base::never_ns
                     ? "woken"
                     : std::to_string(deadline_ns / base::ns_per_ms) + " ms") +
                ", " + std::to_string(kernel.sockets_count()) + " sockets\n";
    }
    for (const std::unique_ptr<Peer>& peer : peers_) {
        if (!peer->is_settled() || peer->has_connection()) text += "  " + peer->describe() + "\n";
    }
    return text;
}

Totals World::totals() const {
    Totals totals;
    totals.seeds = 1;
    totals.steps = clock_.step;
    totals.turns = turns_;
    totals.connections = network_.connections_count();
    totals.bytes_to_peers = network_.bytes_to_peers();
    totals.virtual_ns = clock_.now_ns;
    totals.reloads = reloads_.offers_count() - (reloads_.is_pending() ? 1 : 0);
    totals.faults = faults_.counts();
    totals.oracle = oracle_.counts();
    totals.operations = oracle_.operations().counts();
    for (const Member& member : members_) {
        totals.events += member.kernel->events_count();
        totals.sends_partial += member.kernel->sends_partial_count();
    }
    for (ConnectionId id = 0; id < network_.connections_count(); ++id) {
        if (network_.at(id).is_vanished && network_.at(id).is_closed_by_broker) ++totals.evicted;
    }
    return totals;
}

}  // namespace sim
