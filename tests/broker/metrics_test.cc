#include "broker/metrics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "broker/close_codes.h"
#include "broker/settings.h"
#include "io/base/units.h"

namespace broker {
namespace {

// Prometheus' text format, as far as it is used: HELP and TYPE before the samples of a name.
class Exposition {
  public:
    explicit Exposition(const std::string& text) {
        std::istringstream lines(text);
        for (std::string line; std::getline(lines, line);) take(line);
    }

    uint64_t value(const std::string& sample) const {
        const auto found = samples_.find(sample);
        EXPECT_NE(found, samples_.end()) << sample;
        return found == samples_.end() ? UINT64_MAX : std::stoull(found->second);
    }
    const std::map<std::string, std::string>& samples() const { return samples_; }
    const std::map<std::string, std::string>& types() const { return types_; }

  private:
    void take(const std::string& line) {
        if (line.starts_with("# HELP ")) {
            name_ = line.substr(7, line.find(' ', 7) - 7);
            EXPECT_TRUE(helped_.insert(name_).second) << name_ << " is described twice";
            EXPECT_GT(line.size(), 7 + name_.size() + 1) << name_ << " has no help";
            return;
        }
        if (line.starts_with("# TYPE ")) {
            const std::string rest = line.substr(7);
            EXPECT_EQ(rest.substr(0, rest.find(' ')), name_) << "TYPE follows HELP";
            types_[name_] = rest.substr(rest.find(' ') + 1);
            return;
        }
        const size_t end = line.rfind(' ');
        ASSERT_NE(end, std::string::npos) << line;
        ASSERT_TRUE(line.starts_with(name_)) << line << " stands under " << name_;
        EXPECT_TRUE(samples_.emplace(line.substr(0, end), line.substr(end + 1)).second) << line;
    }

    std::string name_;
    std::set<std::string> helped_;
    std::map<std::string, std::string> types_;
    std::map<std::string, std::string> samples_;
};

Exposition exposition_of(const MetricsRegistry& registry) {
    std::string text;
    registry.append_text(text);
    EXPECT_TRUE(text.ends_with('\n'));
    return Exposition(text);
}

TEST(Metrics, TheTextHasEveryMetricOfEveryShard) {
    MetricsRegistry registry(3, "1.2.3");
    for (io::ShardId id = 0; id < 3; ++id) {
        for (uint8_t metric = 0; metric < static_cast<uint8_t>(Metric::count); ++metric) {
            registry.shard(id).set(static_cast<Metric>(metric), 100u * id + metric);
        }
    }
    const Exposition exposition = exposition_of(registry);
    EXPECT_EQ(exposition.value("fanfare_build_info{version=\"1.2.3\"}"), 1u);
#define FANFARE_X(name, type, help)                                                            \
    EXPECT_EQ(exposition.types().at("fanfare_" #name), #type);                                 \
    for (uint64_t id = 0; id < 3; ++id) {                                                      \
        EXPECT_EQ(exposition.value("fanfare_" #name "{shard=\"" + std::to_string(id) + "\"}"), \
                  100 * id + static_cast<uint8_t>(Metric::name));                              \
    }
    FANFARE_METRICS(FANFARE_X)
#undef FANFARE_X
    EXPECT_EQ(exposition.types().at("fanfare_subscriptions"), "gauge");
    EXPECT_EQ(exposition.value("fanfare_subscriptions{shard=\"1\",state=\"catching_up\"}"),
              100u + static_cast<uint8_t>(Metric::subscriptions_catching_up));
    EXPECT_EQ(exposition.types().at("fanfare_memory_bytes"), "gauge");
    std::set<std::string> kinds;
    for (const auto& [sample, value] : exposition.samples()) {
        if (sample.starts_with("fanfare_memory_bytes{shard=\"2\",")) kinds.insert(value);
    }
    EXPECT_EQ(kinds.size(), 4u) << "each series shows its own cell";
}

TEST(Metrics, GapsAreCountedByCodeOverAllShards) {
    MetricsRegistry registry(2, "x");
    for (uint8_t number = 0; number < static_cast<uint8_t>(codec::GapCode::count); ++number) {
        registry.shard(0).count_gap(codec::GapCode{number});
        for (int count = 0; count < number; ++count) {
            registry.shard(1).count_gap(codec::GapCode{number});
        }
    }
    const Exposition exposition = exposition_of(registry);
    EXPECT_EQ(exposition.types().at("fanfare_gaps_total"), "counter");
    for (uint8_t number = 0; number < static_cast<uint8_t>(codec::GapCode::count); ++number) {
        const std::string code(codec::name_of(codec::GapCode{number}));
        EXPECT_EQ(exposition.value("fanfare_gaps_total{code=\"" + code + "\"}"), 1u + number);
    }
}

TEST(Metrics, WhatTheKernelHoldsBelongsToNoShard) {
    MetricsRegistry registry(2, "x");
    registry.set_kernel_socket_bytes(12'288);
    EXPECT_EQ(exposition_of(registry).value("fanfare_kernel_socket_bytes"), 12'288u);
}

TEST(Metrics, CountersAndOnlyCountersEndInTotal) {
    const Exposition exposition = exposition_of(MetricsRegistry(1, "x"));
    for (const auto& [name, type] : exposition.types()) {
        EXPECT_EQ(type == "counter", name.ends_with("_total")) << name;
    }
}

TEST(Metrics, CellsAddSubtractAndSet) {
    ShardMetrics metrics;
    metrics.add(Metric::websockets);
    metrics.add(Metric::websockets, 4);
    metrics.subtract(Metric::websockets);
    EXPECT_EQ(metrics.get(Metric::websockets), 4u);
    metrics.set(Metric::websockets, 9);
    EXPECT_EQ(metrics.get(Metric::websockets), 9u);
    EXPECT_EQ(metrics.get(Metric::connections), 0u);
}

TEST(Metrics, UpgradesAreCountedByStatusOverAllShards) {
    MetricsRegistry registry(2, "x");
    registry.shard(0).count_upgrade(101);
    registry.shard(1).count_upgrade(101);
    registry.shard(1).count_upgrade(426);
    const Exposition exposition = exposition_of(registry);
    EXPECT_EQ(exposition.value("fanfare_upgrades_total{status=\"101\"}"), 2u);
    EXPECT_EQ(exposition.value("fanfare_upgrades_total{status=\"426\"}"), 1u);
    EXPECT_EQ(exposition.value("fanfare_upgrades_total{status=\"403\"}"), 0u);
    EXPECT_DEATH(registry.shard(0).count_upgrade(404), "CHECK failed") << "no upgrade is told that";
}

TEST(Metrics, EndsAreCountedByCodeAndApplicationsCodesAsOther) {
    MetricsRegistry registry(1, "x");
    for (const int code : {1000, 1006, 1006, 4100, 3000, 4999, 1010}) {
        registry.shard(0).count_closed(static_cast<uint16_t>(code));
    }
    const Exposition exposition = exposition_of(registry);
    EXPECT_EQ(exposition.value("fanfare_connections_closed_total{code=\"1000\"}"), 1u);
    EXPECT_EQ(exposition.value("fanfare_connections_closed_total{code=\"1006\"}"), 2u);
    EXPECT_EQ(exposition.value("fanfare_connections_closed_total{code=\"4100\"}"), 1u);
    EXPECT_EQ(exposition.value("fanfare_connections_closed_total{code=\"other\"}"), 3u);
}

TEST(Metrics, EveryCloseCodeOfOursHasItsRow) {
    for (const CloseCodeRow& row : close_codes) {
        bool is_there = false;
        for (const uint16_t code : closed_codes)
            is_there = is_there || code == static_cast<uint16_t>(row.code);
        EXPECT_TRUE(is_there) << row.name;
    }
}

TEST(Metrics, RefusalsAreCountedByTheirSettings) {
    MetricsRegistry registry(2, "x");
    registry.shard(0).count_refusal(Refused::command_rate);
    registry.shard(1).count_refusal(Refused::command_rate);
    registry.shard(1).count_refusal(Refused::inbound_rate);
    const Exposition exposition = exposition_of(registry);
    EXPECT_EQ(exposition.value("fanfare_refusals_total{setting=\"command-rate\"}"), 2u);
    EXPECT_EQ(exposition.value("fanfare_refusals_total{setting=\"inbound-rate\"}"), 1u);
    EXPECT_EQ(exposition.value("fanfare_refusals_total{setting=\"connections-max\"}"), 0u);
    for (uint8_t row = 0; row < static_cast<uint8_t>(Refused::count); ++row) {
        EXPECT_NE(find_setting(setting_of(Refused{row})), nullptr) << setting_of(Refused{row});
    }
}

TEST(Metrics, TurnsFallIntoTheirBuckets) {
    MetricsRegistry registry(1, "x");
    ShardMetrics& metrics = registry.shard(0);
    metrics.observe_turn(1, 10'000);         // on the bound of the first
    metrics.observe_turn(2, 10'001);         // just beyond it
    metrics.observe_turn(3, 5'000'000'000);  // beyond all
    const Exposition exposition = exposition_of(registry);
    EXPECT_EQ(exposition.types().at("fanfare_turn_seconds"), "histogram");
    EXPECT_EQ(exposition.value("fanfare_turn_seconds_bucket{shard=\"0\",le=\"1e-05\"}"), 1u);
    EXPECT_EQ(exposition.value("fanfare_turn_seconds_bucket{shard=\"0\",le=\"5e-05\"}"), 2u);
    EXPECT_EQ(exposition.value("fanfare_turn_seconds_bucket{shard=\"0\",le=\"2.5\"}"), 2u);
    EXPECT_EQ(exposition.value("fanfare_turn_seconds_bucket{shard=\"0\",le=\"+Inf\"}"), 3u);
    EXPECT_EQ(exposition.value("fanfare_turn_seconds_count{shard=\"0\"}"), 3u);
    EXPECT_EQ(exposition.samples().at("fanfare_turn_seconds_sum{shard=\"0\"}"), "5.000020001");
}

TEST(Metrics, EveryDurationFallsIntoTheFirstBucketWhoseBoundItDoesNotPass) {
    std::vector<uint64_t> durations_ns = {0, 1, UINT64_MAX};
    for (const uint64_t bound_ns : histogram_bounds_ns) {
        for (const uint64_t ns : {bound_ns - 1, bound_ns, bound_ns + 1}) durations_ns.push_back(ns);
    }
    for (int bit = 0; bit < 64; ++bit) {
        durations_ns.push_back(uint64_t{1} << bit);
        durations_ns.push_back((uint64_t{1} << bit) - 1);
    }
    for (const uint64_t duration_ns : durations_ns) {
        ShardMetrics metrics;
        metrics.observe(Distribution::turn_seconds, duration_ns);
        const auto* const bucket = std::lower_bound(std::begin(histogram_bounds_ns),
                                                    std::end(histogram_bounds_ns), duration_ns);
        const auto row = static_cast<size_t>(bucket - std::begin(histogram_bounds_ns));
        EXPECT_EQ(metrics.observed(Distribution::turn_seconds, row), 1u) << duration_ns;
    }
}

TEST(Metrics, EveryHistogramHasItsOwnCells) {
    MetricsRegistry registry(2, "x");
    ShardMetrics& metrics = registry.shard(1);
    const uint64_t longest_ns = histogram_bounds_ns[std::size(histogram_bounds_ns) - 1];
    for (uint8_t number = 0; number < static_cast<uint8_t>(Distribution::count); ++number) {
        for (int count = 0; count <= number; ++count) {
            metrics.observe(Distribution{number}, longest_ns);
        }
        metrics.observe(Distribution{number}, longest_ns + 1);
        EXPECT_EQ(metrics.observed_count(Distribution{number}), 2u + number);
        EXPECT_EQ(metrics.observed_ns_sum(Distribution{number}), (2 + number) * longest_ns + 1);
    }
    const Exposition exposition = exposition_of(registry);
    const auto check = [&](const std::string& name, Distribution distribution) {
        const uint64_t count = 1u + static_cast<uint8_t>(distribution);
        const std::string bucket = "fanfare_" + name + "_bucket{shard=\"1\",le=";
        EXPECT_EQ(exposition.types().at("fanfare_" + name), "histogram");
        EXPECT_EQ(exposition.value(bucket + "\"10\"}"), 0u);
        EXPECT_EQ(exposition.value(bucket + "\"30\"}"), count);
        EXPECT_EQ(exposition.value(bucket + "\"+Inf\"}"), count + 1);
        EXPECT_EQ(exposition.value("fanfare_" + name + "_count{shard=\"0\"}"), 0u);
    };
#define FANFARE_X(name, help) check(#name, Distribution::name);
    FANFARE_HISTOGRAMS(FANFARE_X)
#undef FANFARE_X
}

TEST(Metrics, BoundsRise) {
    for (size_t row = 1; row < std::size(histogram_bounds_ns); ++row) {
        EXPECT_LT(histogram_bounds_ns[row - 1], histogram_bounds_ns[row]);
    }
}

TEST(Metrics, HealthEndsFiveSecondsAfterTheOldestTurn) {
    MetricsRegistry registry(2, "x");
    registry.shard(0).observe_turn(100 * base::ns_per_s, 0);
    registry.shard(1).observe_turn(103 * base::ns_per_s, 0);
    EXPECT_TRUE(registry.is_healthy(100 * base::ns_per_s));
    EXPECT_TRUE(registry.is_healthy(105 * base::ns_per_s));
    EXPECT_FALSE(registry.is_healthy(105 * base::ns_per_s + 1));
    registry.shard(0).observe_turn(105 * base::ns_per_s, 0);
    EXPECT_TRUE(registry.is_healthy(108 * base::ns_per_s));
    EXPECT_TRUE(registry.is_healthy(50 * base::ns_per_s)) << "another shard's clock may be ahead";
}

}  // namespace
}  // namespace broker
