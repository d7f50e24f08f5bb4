#include <array>
#include <cmath>
#include <cstdarg>
#include <cstdio>

#include "tools/bench/report.h"

namespace bench {
namespace {

[[gnu::format(printf, 1, 2)]] std::string formatted(const char* format, ...) {
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return text;
}

std::string per_second(double value) {
    return grouped(static_cast<uint64_t>(std::llround(value))) + "/s";
}

void add_row(std::string& out, const char* name, const std::string& text) {
    out += formatted("  %-12s ", name) + text + '\n';
}

std::string quantiles(const Histogram& histogram) {
    std::string text;
    constexpr std::array<std::pair<const char*, double>, 4> wanted = {
        {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}}};
    for (const auto& [name, quantile] : wanted) {
        if (!has_tail(histogram, quantile)) continue;
        text += std::string(name) + " " + duration_text(histogram.at(quantile)) + "   ";
    }
    return text + "max " + duration_text(histogram.max());
}

void add_connections(std::string& out, const Result& result) {
    const bool is_churn = result.plan.scenario == Scenario::churn;
    std::string text =
        grouped(is_churn ? result.end.cycles - result.begin.cycles : uint64_t{result.connections});
    text += formatted(" in %.2f s, ", is_churn ? result.seconds() : result.connect_seconds());
    add_row(out, is_churn ? "cycles" : "connected", text + per_second(result.connects_per_s()));
    if (result.connect_ns.count() > 0) {
        add_row(out, "until ready", quantiles(result.connect_ns));
    }
    if (result.plan.scenario != Scenario::reconnect) return;
    if (!result.was_cut) return;
    const std::string all = result.all_live_again_ns == 0
                                ? "not all came back"
                                : "all live again after " + duration_text(result.all_live_again_ns);
    add_row(out, "resumed", all);
    if (result.resume_ns.count() > 0) add_row(out, "", quantiles(result.resume_ns));
}

void add_messages(std::string& out, const Result& result) {
    if (publishes(result.plan.scenario)) {
        add_row(out, "published", per_second(result.published_per_s()));
    }
    if (publishes(result.plan.scenario) || result.delivered_all > 0) {
        add_row(out, "delivered",
                per_second(result.delivered_per_s()) +
                    formatted(", %.0f bytes each as received", result.wire_bytes_per_delivery()));
    }
    if (result.latency_ns.count() > 0) add_row(out, "latency", quantiles(result.latency_ns));
    if (result.plan.is_open_loop() && result.lateness_ns.count() > 0) {
        const bool is_churn = result.plan.scenario == Scenario::churn;
        add_row(out, is_churn ? "begun late" : "sent late", quantiles(result.lateness_ns));
    }
}

void add_processes(std::string& out, const Result& result) {
    add_row(out, "load's CPU",
            formatted("%.0f %% of a core in %u thread%s, the busiest %.0f %%",
                      result.load_share() * 100, result.threads, result.threads == 1 ? "" : "s",
                      result.load_thread_share() * 100));
    if (!result.is_broker_known()) return;
    std::string text = formatted(
        "%.0f %% of a core, the busiest thread %.0f %%; %.0f %% user, rest "
        "kernel",
        result.broker_share() * 100, result.broker_thread_share() * 100,
        result.broker_user_share() * 100);
    add_row(out, "broker's CPU", text);
    if (result.end.delivered > result.begin.delivered) {
        add_row(out, "", formatted("%.3f µs per delivery", result.broker_us_per_delivery()));
    }
    const bool has_many = has_many_connections(result);
    if (has_many) {
        add_row(out, "", formatted("%.1f µs per connection", result.broker_us_per_connection()));
    }
    text = bytes_text(static_cast<double>(result.end.broker.resident_bytes));
    if (has_many && result.broker_bytes_per_connection() > 0) {
        text += formatted(", %.0f bytes more per connection (%.0f without the binary's pages)",
                          result.broker_bytes_per_connection(),
                          result.broker_anonymous_bytes_per_connection());
    }
    add_row(out, "its memory", text);
}

void add_verdict(std::string& out, const Result& result) {
    if (result.missing() > 0) {
        add_row(out, "MISSING",
                grouped(result.missing()) + " of " + grouped(result.expected_all) +
                    " deliveries did not come");
    }
    if (result.delivered_all > result.expected_all) {
        add_row(out, "TOO MANY",
                grouped(result.delivered_all - result.expected_all) + " deliveries more than the " +
                    grouped(result.expected_all) + " that were published");
    }
    if (result.lost > 0) add_row(out, "LOST", grouped(result.lost) + " connections");
    if (result.refused > 0) add_row(out, "refused", grouped(result.refused) + " attempts");
    if (result.check.checked == 0) return;
    const CheckSums& check = result.check;
    if (result.is_clean()) {
        add_row(out, "checked",
                grouped(check.checked) + " deliveries: each once, in order, byte for byte");
        return;
    }
    add_row(out, "CHECK",
            grouped(check.checked) + " deliveries: " + grouped(check.skipped) + " skipped, " +
                grouped(check.repeated) + " repeated or out of order, " + grouped(check.damaged) +
                " damaged");
}

}  // namespace

std::string duration_text(uint64_t ns) {
    const auto value = static_cast<double>(ns);
    if (ns < 10 * base::ns_per_us) return formatted("%.1f µs", value / 1e3);
    if (ns < base::ns_per_ms) return formatted("%.0f µs", value / 1e3);
    if (ns < 10 * base::ns_per_ms) return formatted("%.2f ms", value / 1e6);
    if (ns < base::ns_per_s) return formatted("%.1f ms", value / 1e6);
    return formatted("%.2f s", value / 1e9);
}

bool has_tail(const Histogram& histogram, double quantile) {
    // A little less than one, for 1 - 0.999 is no exact number.
    return static_cast<double>(histogram.count()) * (1 - quantile) > 0.9995;
}

bool has_many_connections(const Result& result) {
    constexpr uint64_t many = 1'000;
    const bool is_churn = result.plan.scenario == Scenario::churn;
    return (is_churn ? result.end.cycles - result.begin.cycles : result.connections) >= many;
}

std::string grouped(uint64_t value) {
    const std::string digits = std::to_string(value);
    std::string text;
    for (size_t index = 0; index < digits.size(); ++index) {
        if (index > 0 && (digits.size() - index) % 3 == 0) text += ',';
        text += digits[index];
    }
    return text;
}

std::string bytes_text(double bytes) {
    const double kib = base::kib;
    if (bytes < 10 * kib) return formatted("%.0f B", bytes);
    if (bytes < base::mib) return formatted("%.1f KiB", bytes / kib);
    return formatted("%.1f MiB", bytes / kib / kib);
}

std::string headline(const Result& result) {
    const Plan& plan = result.plan;
    std::string text(name_of(plan.scenario));
    text += ": " + grouped(result.subscribers) + " subscriber" +
            (result.subscribers == 1 ? "" : "s") + " in " + grouped(result.topics) + " topic" +
            (result.topics == 1 ? "" : "s");
    if (!publishes(plan.scenario)) return text;
    text += ", " + grouped(result.publishers) + " publisher" + (result.publishers == 1 ? "" : "s") +
            ", payload " + plan.payload_text + " B, ";
    if (plan.is_open_loop()) {
        text += "at " + per_second(plan.rate);
    } else {
        text +=
            grouped(plan.window) + (plan.window == 1 ? " message" : " messages") + " on the way";
    }
    return text;
}

std::string progress_line(const Result& result, const Moment& before, const Moment& now) {
    const double seconds = static_cast<double>(now.time_ns - before.time_ns) / 1e9;
    std::string text = formatted("%5.1f s   %s of %s live",
                                 static_cast<double>(now.time_ns - result.start.time_ns) / 1e9,
                                 grouped(now.live).c_str(), grouped(result.connections).c_str());
    if (now.delivered > before.delivered && seconds > 0) {
        text += "   " +
                per_second(static_cast<double>(now.delivered - before.delivered) / seconds) +
                "   worst " + duration_text(now.latency_max_ns);
    }
    return text;
}

std::string text_report(const Result& result) {
    std::string out = headline(result) + "\n";
    add_connections(out, result);
    add_messages(out, result);
    add_processes(out, result);
    add_verdict(out, result);
    for (const std::string& warning : result.warnings) out += "  Note: " + warning + ".\n";
    return out;
}

}  // namespace bench
