#include "broker/metrics.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdio>
#include <iterator>

#include "io/base/check.h"
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

// A family, or (with the family's name left out) one of its series.
struct FamilyRow {
    Description family;
    const char* label;
    Metric cell;
    const char* value;
};

constexpr FamilyRow family_rows[] = {
#define FANFARE_F(name, type, label, help) {{#name, #type, help}, #label, Metric::count, nullptr},
#define FANFARE_C(cell, value) {{}, nullptr, Metric::cell, value},
    FANFARE_METRIC_FAMILIES(FANFARE_F, FANFARE_C)
#undef FANFARE_F
#undef FANFARE_C
};

struct HistogramDescription {
    const char* name;
    const char* help;
};

constexpr HistogramDescription histograms[] = {
#define FANFARE_X(name, help) {#name, help},
    FANFARE_HISTOGRAMS(FANFARE_X)
#undef FANFARE_X
};

// Where to look for the bucket of a duration: by its width in bits, the bucket of the shortest such
// duration.
constexpr std::array<uint8_t, 65> first_rows = [] {
    std::array<uint8_t, 65> rows{};
    for (size_t width = 1; width < rows.size(); ++width) {
        const uint64_t shortest_ns = uint64_t{1} << (width - 1);
        while (rows[width] < std::size(histogram_bounds_ns) &&
               shortest_ns > histogram_bounds_ns[rows[width]]) {
            ++rows[width];
        }
    }
    return rows;
}();

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

std::string label_text(const char* name, std::string_view value) {
    return std::string(name).append("=\"").append(value).append("\"");
}

}  // namespace

std::string_view setting_of(Refused refused) {
    return refusal_settings[static_cast<uint8_t>(refused)];
}

void ShardMetrics::count_upgrade(uint16_t status) {
    const uint16_t* const row =
        std::find(std::begin(upgrade_statuses), std::end(upgrade_statuses), status);
    CHECK(row != std::end(upgrade_statuses));
    bump(upgrades_[row - std::begin(upgrade_statuses)], 1);
}

void ShardMetrics::count_closed(uint16_t code) {
    bump(closed_[closed_row(code)], 1);
}

void ShardMetrics::observe(Distribution distribution, uint64_t duration_ns) {
    Histogram& histogram = histograms_[static_cast<uint8_t>(distribution)];
    size_t row = first_rows[std::bit_width(duration_ns)];
    while (row < std::size(histogram_bounds_ns) && duration_ns > histogram_bounds_ns[row]) ++row;
    bump(histogram.buckets[row], 1);
    bump(histogram.sum_ns, duration_ns);
}

uint64_t ShardMetrics::observed_count(Distribution distribution) const {
    uint64_t count = 0;
    for (size_t row = 0; row <= std::size(histogram_bounds_ns); ++row) {
        count += observed(distribution, row);
    }
    return count;
}

void ShardMetrics::observe_turn(uint64_t now_ns, uint64_t busy_ns) {
    observe(Distribution::turn_seconds, busy_ns);
    last_turn_ns_.store(now_ns, std::memory_order_relaxed);
}

MetricsRegistry::MetricsRegistry(uint32_t shards_count, std::string version)
    : shards_count_(shards_count),
      version_(std::move(version)),
      shards_(std::make_unique<ShardMetrics[]>(shards_count)) {}

void MetricsRegistry::append_families(std::string& out) const {
    Description family{};
    const char* label = nullptr;
    for (const FamilyRow& row : family_rows) {
        if (row.value == nullptr) {
            family = row.family;
            label = row.label;
            append_head(out, family.name, family.type, family.help);
            continue;
        }
        for (io::ShardId id = 0; id < shards_count_; ++id) {
            append_sample(out, family.name, shard_label(id) + "," + label_text(label, row.value),
                          shards_[id].get(row.cell));
        }
    }
    // What the kernel holds belongs to no shard.
    append_head(out, "kernel_socket_bytes", "gauge",
                "What the kernel holds for the broker's TCP sockets, by their share of all.");
    append_sample(out, "kernel_socket_bytes", {}, kernel_socket_bytes());
}

void MetricsRegistry::append_outcomes(std::string& out) const {
    const auto append_sum = [&](const char* name, const std::string& label, auto count_of) {
        uint64_t sum = 0;
        for (io::ShardId id = 0; id < shards_count_; ++id) sum += count_of(shards_[id]);
        append_sample(out, name, label, sum);
    };
    append_head(out, "upgrades_total", "counter", "Answers to requests for an upgrade, by status.");
    for (size_t row = 0; row < std::size(upgrade_statuses); ++row) {
        append_sum("upgrades_total", label_text("status", std::to_string(upgrade_statuses[row])),
                   [row](const ShardMetrics& shard) { return shard.upgrades(row); });
    }
    append_head(out, "refusals_total", "counter",
                "What clients were refused, or made to wait for, by the setting that says so.");
    for (uint8_t row = 0; row < static_cast<uint8_t>(Refused::count); ++row) {
        const Refused refused{row};
        append_sum("refusals_total", label_text("setting", setting_of(refused)),
                   [refused](const ShardMetrics& shard) { return shard.refusals(refused); });
    }
    append_head(
        out, "connections_closed_total", "counter",
        "WebSocket connections that ended, by close code; 1006 ended without a Close frame.");
    for (size_t row = 0; row < std::size(closed_codes); ++row) {
        const std::string code =
            closed_codes[row] == 0 ? "other" : std::to_string(closed_codes[row]);
        append_sum("connections_closed_total", label_text("code", code),
                   [row](const ShardMetrics& shard) { return shard.closed(row); });
    }
    append_head(out, "gaps_total", "counter", "Gaps told to subscribers, by code.");
    for (uint8_t number = 0; number < static_cast<uint8_t>(codec::GapCode::count); ++number) {
        const codec::GapCode code{number};
        append_sum("gaps_total", label_text("code", codec::name_of(code)),
                   [code](const ShardMetrics& shard) { return shard.gaps(code); });
    }
}

void MetricsRegistry::append_histogram(std::string& out, Distribution distribution) const {
    const HistogramDescription& description = histograms[static_cast<uint8_t>(distribution)];
    const std::string name = description.name;
    append_head(out, description.name, "histogram", description.help);
    for (io::ShardId id = 0; id < shards_count_; ++id) {
        const ShardMetrics& shard = shards_[id];
        uint64_t count = 0;
        for (size_t row = 0; row <= std::size(histogram_bounds_ns); ++row) {
            count += shard.observed(distribution, row);
            const std::string bound = row < std::size(histogram_bounds_ns)
                                          ? seconds_text(histogram_bounds_ns[row])
                                          : "+Inf";
            append_sample(out, (name + "_bucket").c_str(),
                          shard_label(id) + "," + label_text("le", bound), count);
        }
        out.append("fanfare_").append(name).append("_sum{").append(shard_label(id)).append("} ");
        out.append(exact_seconds_text(shard.observed_ns_sum(distribution))).append("\n");
        append_sample(out, (name + "_count").c_str(), shard_label(id), count);
    }
}

void MetricsRegistry::append_text(std::string& out) const {
    append_head(out, "build_info", "gauge", "The version that runs.");
    append_sample(out, "build_info", label_text("version", version_), 1);
    for (size_t metric = 0; metric < std::size(descriptions); ++metric) {
        const Description& description = descriptions[metric];
        append_head(out, description.name, description.type, description.help);
        for (io::ShardId id = 0; id < shards_count_; ++id) {
            append_sample(out, description.name, shard_label(id),
                          shards_[id].get(static_cast<Metric>(metric)));
        }
    }
    append_families(out);
    append_outcomes(out);
    for (uint8_t number = 0; number < static_cast<uint8_t>(Distribution::count); ++number) {
        append_histogram(out, Distribution{number});
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
