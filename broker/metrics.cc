#include "broker/metrics.h"

#include <cstdio>

#include "io/base/units.h"

namespace broker {

namespace {

constexpr uint64_t healthy_turn_age_ns = 5 * base::ns_per_s;

struct Description {
    const char* name;
    const char* type;
    const char* help;
};

constexpr Description descriptions[] = {
#define FANFARE_X(name, type, help) {#name, #type, help},
    FANFARE_METRICS(FANFARE_X)
#undef FANFARE_X
};

constexpr std::string_view refusal_settings[] = {
#define FANFARE_X(name, setting) setting,
    FANFARE_REFUSALS(FANFARE_X)
#undef FANFARE_X
};

size_t closed_row(uint16_t code) {
    for (size_t row = 0; row + 1 < std::size(closed_codes); ++row) {
        if (closed_codes[row] == code) return row;
    }
    return std::size(closed_codes) - 1;
}

void append_head(std::string& out, const char* name, const char* type, const char* help) {
    out.append("# HELP fanfare_").append(name).append(" ").append(help);
    out.append("\n# TYPE fanfare_").append(name).append(" ").append(type).append("\n");
}

void append_sample(std::string& out, const char* name, const std::string& labels, uint64_t value) {
    out.append("fanfare_").append(name);
    if (!labels.empty()) out.append("{").append(labels).append("}");
    out.append(" ").append(std::to_string(value)).append("\n");
}

std::string seconds_text(uint64_t ns) {
    char text[32];
    std::snprintf(text, sizeof text, "%.9g", static_cast<double>(ns) / 1e9);
    return text;
}

// For sums that grow for months: every nanosecond of them counts in a rate.
std::string exact_seconds_text(uint64_t ns) {
    const std::string fraction = std::to_string(base::ns_per_s + ns % base::ns_per_s);
    return std::to_string(ns / base::ns_per_s) + "." + fraction.substr(1);
}

std::string shard_label(io::ShardId id) {
    return "shard=\"" + std::to_string(id) + "\"";
}

}  // namespace

std::string_view setting_of(Refused refused) {
    return refusal_settings[static_cast<uint8_t>(refused)];
}

void ShardMetrics::count_upgrade(uint16_t status) {
    for (size_t row = 0; row < std::size(upgrade_statuses); ++row) {
        if (upgrade_statuses[row] == status) bump(upgrades_[row], 1);
    }
}

void ShardMetrics::count_closed(uint16_t code) {
    bump(closed_[closed_row(code)], 1);
}

void ShardMetrics::observe_turn(uint64_t now_ns, uint64_t busy_ns) {
    size_t row = 0;
    while (row < std::size(turn_bounds_ns) && busy_ns > turn_bounds_ns[row]) ++row;
    bump(turns_[row], 1);
    bump(busy_ns_sum_, busy_ns);
    last_turn_ns_.store(now_ns, std::memory_order_relaxed);
}

MetricsRegistry::MetricsRegistry(uint32_t shards_count, std::string version)
    : shards_count_(shards_count),
      version_(std::move(version)),
      shards_(std::make_unique<ShardMetrics[]>(shards_count)) {}

void MetricsRegistry::append_text(std::string& out) const {
    append_head(out, "build_info", "gauge", "The version that runs.");
    append_sample(out, "build_info", "version=\"" + version_ + "\"", 1);
    for (size_t metric = 0; metric < std::size(descriptions); ++metric) {
        const Description& description = descriptions[metric];
        append_head(out, description.name, description.type, description.help);
        for (io::ShardId id = 0; id < shards_count_; ++id) {
            append_sample(out, description.name, shard_label(id),
                          shards_[id].get(static_cast<Metric>(metric)));
        }
    }
    append_head(out, "upgrades_total", "counter", "Answers to requests for an upgrade, by status.");
    for (size_t row = 0; row < std::size(upgrade_statuses); ++row) {
        uint64_t sum = 0;
        for (io::ShardId id = 0; id < shards_count_; ++id) sum += shards_[id].upgrades(row);
        append_sample(out, "upgrades_total",
                      "status=\"" + std::to_string(upgrade_statuses[row]) + "\"", sum);
    }
    append_head(out, "refusals_total", "counter",
                "What clients were refused, or made to wait for, by the setting that says so.");
    for (uint8_t row = 0; row < static_cast<uint8_t>(Refused::count); ++row) {
        uint64_t sum = 0;
        for (io::ShardId id = 0; id < shards_count_; ++id)
            sum += shards_[id].refusals(Refused{row});
        append_sample(out, "refusals_total",
                      "setting=\"" + std::string(setting_of(Refused{row})) + "\"", sum);
    }
    append_head(
        out, "connections_closed_total", "counter",
        "WebSocket connections that ended, by close code; 1006 ended without a Close frame.");
    for (size_t row = 0; row < std::size(closed_codes); ++row) {
        uint64_t sum = 0;
        for (io::ShardId id = 0; id < shards_count_; ++id) sum += shards_[id].closed(row);
        const std::string code =
            closed_codes[row] == 0 ? "other" : std::to_string(closed_codes[row]);
        append_sample(out, "connections_closed_total", "code=\"" + code + "\"", sum);
    }
    append_head(out, "turn_seconds", "histogram",
                "Time a turn of the loop works, without the waiting.");
    for (io::ShardId id = 0; id < shards_count_; ++id) {
        uint64_t sum = 0;
        for (size_t row = 0; row <= std::size(turn_bounds_ns); ++row) {
            sum += shards_[id].turns_within(row);
            const std::string bound =
                row < std::size(turn_bounds_ns) ? seconds_text(turn_bounds_ns[row]) : "+Inf";
            append_sample(out, "turn_seconds_bucket", shard_label(id) + ",le=\"" + bound + "\"",
                          sum);
        }
        out.append("fanfare_turn_seconds_sum{").append(shard_label(id)).append("} ");
        out.append(exact_seconds_text(shards_[id].busy_ns_sum())).append("\n");
        append_sample(out, "turn_seconds_count", shard_label(id), sum);
    }
}

bool MetricsRegistry::is_healthy(uint64_t now_ns) const {
    for (io::ShardId id = 0; id < shards_count_; ++id) {
        const uint64_t last_ns = shards_[id].last_turn_ns();
        if (now_ns > last_ns && now_ns - last_ns > healthy_turn_age_ns) return false;
    }
    return true;
}

}  // namespace broker
