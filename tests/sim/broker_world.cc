#include "tests/sim/broker_world.h"

#include <utility>
#include <vector>

#include "broker/settings_exchange.h"
#include "broker/shard.h"
#include "io/base/check.h"
#include "tests/sim/client.h"
#include "tests/sim/hostile.h"
#include "tests/sim/operator.h"
#include "tests/sim/poster.h"

namespace sim {

namespace {

void apply(const ReloadableLimits& limits, broker::Settings& settings) {
    settings.http_head_bytes_max = limits.http_head_bytes_max;
    settings.outbound_soft_bytes = limits.outbound_soft_bytes;
    settings.outbound_hard_bytes = limits.outbound_hard_bytes;
    settings.outbound_time_ns = limits.outbound_time_ns;
    settings.compression_threshold_bytes = limits.compression_threshold_bytes;
    settings.handshake_timeout_ns = limits.handshake_timeout_ns;
    settings.keep_alive_timeout_ns = limits.keep_alive_timeout_ns;
    settings.close_timeout_ns = limits.close_timeout_ns;
}

broker::Settings settings_of(const Scenario& scenario) {
    const Limits& limits = scenario.limits;
    broker::Settings settings;
    settings.partitions = limits.partitions;
    settings.connections_max = limits.connections_max;
    settings.subscriptions_max = limits.subscriptions_max;
    settings.message_bytes_max = limits.message_bytes_max;
    settings.inbound_bytes_per_second = limits.inbound_bytes_per_second;
    settings.commands_per_second = limits.commands_per_second;
    settings.publishes_per_second = limits.publishes_per_second;
    settings.lane_bytes = limits.lane_bytes;
    settings.heartbeat_interval_ns = limits.heartbeat_interval_ns;
    settings.heartbeat_timeout_ns = limits.heartbeat_timeout_ns;
    settings.drain_delay_ns = limits.drain_delay_ns;
    settings.drain_timeout_ns = limits.drain_timeout_ns;
    for (const HistoryRule& rule : limits.history_rules) {
        settings.topic_rules.push_back({.match = rule.match,
                                        .history_messages_max = rule.messages_max,
                                        .history_bytes_max = rule.bytes_max,
                                        .history_ttl_ns = rule.ttl_ns,
                                        .on_slow = rule.on_slow});
    }
    settings.history_memory_bytes = limits.history_memory_bytes;
    settings.idempotency_window_ns = limits.idempotency_window_ns;
    settings.idempotency_keys_max = limits.idempotency_keys_max;
    apply(limits, settings);
    CHECK(broker::validate_settings(settings).empty());
    return settings;
}

// What main does with a new configuration.
class Reloader final : public AnySettings {
  public:
    Reloader(const broker::Settings& settings, uint32_t shards_count)
        : settings_(settings), exchange_(shards_count) {}

    void offer(const ReloadableLimits& limits) override {
        apply(limits, settings_);
        CHECK(broker::validate_settings(settings_).empty());
        exchange_.offer(settings_);
    }
    bool is_taken() const override { return exchange_.is_taken(); }
    broker::SettingsExchange& exchange() { return exchange_; }

  private:
    broker::Settings settings_;  // as last offered; they change when all have taken them
    broker::SettingsExchange exchange_;
};

class BrokerShard final : public AnyShard {
  public:
    explicit BrokerShard(const broker::ShardContext& context) : shard_(context) {}
    void turn() override { shard_.turn(); }
    bool is_stopped() const override { return shard_.is_stopped(); }

  private:
    broker::Shard shard_;
};

}  // namespace

struct BrokerHouse::Impl {
    explicit Impl(const Scenario& the_scenario)
        : scenario(the_scenario),
          settings(settings_of(the_scenario)),
          rules(settings.topic_rules),
          metrics(the_scenario.shards_count, "simulated"),
          log(the_scenario.shards_count, broker::LogLevel::debug),
          gate(settings, the_scenario.seed),
          listeners(1),
          reloader(settings, the_scenario.shards_count) {}

    const Scenario scenario;
    const broker::Settings settings;
    const topics::TopicRules rules;
    broker::MetricsRegistry metrics;
    broker::Log log;
    broker::Gate gate;
    const std::vector<broker::ListenerRole> listeners;
    Reloader reloader;
};

BrokerHouse::BrokerHouse(const Scenario& scenario) : impl_(std::make_unique<Impl>(scenario)) {}

BrokerHouse::~BrokerHouse() = default;

AnySettings& BrokerHouse::settings() {
    return impl_->reloader;
}

ShardFactory BrokerHouse::shards() {
    return
        [this](io::ShardId id, io::Reactor& reactor, io::Mesh& mesh) -> std::unique_ptr<AnyShard> {
            const uint64_t seed = impl_->scenario.seed;
            return std::make_unique<BrokerShard>(
                broker::ShardContext{.id = id,
                                     .reactor = reactor,
                                     .mesh = mesh,
                                     .settings = impl_->settings,
                                     .metrics = impl_->metrics,
                                     .log = impl_->log,
                                     .gate = impl_->gate,
                                     .listeners = impl_->listeners,
                                     .epoch = "simulated",
                                     .hash_seed = seed * 31,
                                     .rules = impl_->rules,
                                     .random_seed = seed * 97 + id,
                                     .settings_exchange = &impl_->reloader.exchange()});
        };
}

PeersFactory public_of(const Scenario& scenario) {
    return [scenario](Surroundings& surroundings, base::Prng& prng) {
        std::vector<std::unique_ptr<Peer>> peers;
        for (uint32_t index = 0; index < peer_kinds_count; ++index) {
            const PeerKind kind = static_cast<PeerKind>(index);
            for (uint32_t count = 0; count < scenario.peers_count[index]; ++count) {
                const std::string name = std::string(name_of(kind)) + "-" + std::to_string(count);
                const uint64_t seed = prng.next();
                if (kind == PeerKind::hostile) {
                    peers.push_back(std::make_unique<Hostile>(surroundings, name, seed));
                } else if (kind == PeerKind::poster) {
                    peers.push_back(std::make_unique<Poster>(surroundings, name, seed));
                } else if (kind == PeerKind::operating) {
                    peers.push_back(std::make_unique<Operator>(surroundings, name, seed));
                } else {
                    peers.push_back(std::make_unique<Client>(surroundings, name, seed,
                                                             draw_habits(kind, prng)));
                }
            }
        }
        return peers;
    };
}

}  // namespace sim
