// The page for those who were not there: figures, three charts as SVG, and what was asked for.

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <vector>

#include "tools/bench/report.h"
#include "tools/clock.h"

namespace bench {
namespace {

constexpr double chart_width = 720;
constexpr double chart_height = 220;
constexpr double left = 78;
constexpr double bottom = 28;
constexpr double top = 12;
constexpr double plot_width = chart_width - left - 24;
constexpr double plot_height = chart_height - bottom - top;

constexpr std::string_view page_begin = R"(<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; --ink: #1c2430; --soft: #667085; --line: #d5dae3; --paper: #fff;
  --one: #1565c0; --two: #c2410c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #9aa4b5; --line: #39414f;
  --paper: #14181f; --one: #6db3ff; --two: #ff9a5c; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .3rem; }
.sub, figcaption, svg text { color: var(--soft); fill: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .8rem;
  margin: 1.5rem 0; }
.tile { border: 1px solid var(--line); border-radius: .5rem; padding: .7rem .9rem; }
.tile b { display: block; font-size: 1.35rem; }
.note { border-left: 4px solid var(--two); padding: .3rem .8rem; margin: .6rem 0; }
figure { margin: 0; } svg { width: 100%; height: auto; } svg text { font-size: 11px; }
table { border-collapse: collapse; width: 100%; } td { padding: .2rem .6rem .2rem 0;
  border-bottom: 1px solid var(--line); vertical-align: top; }
</style>
)";

struct Point {
    double x;  // shares of the plot, 0 to 1
    double y;
};

std::string number(double value) {
    char text[32];
    std::snprintf(text, sizeof text, "%.1f", value);
    return text;
}

// 1, 2 or 5 times a power of ten, not below the value.
double rounded_up(double value) {
    if (value <= 0) return 1;
    const double power = std::pow(10, std::floor(std::log10(value)));
    for (const double step : {1.0, 2.0, 5.0, 10.0}) {
        if (step * power >= value) return step * power;
    }
    return 10 * power;
}

std::string short_number(double value) {
    char text[32];
    const bool is_mega = value >= 1e6;
    const bool is_kilo = value >= 1e3 && !is_mega;
    std::snprintf(text, sizeof text, "%.3g%s",
                  value / (is_mega   ? 1e6
                           : is_kilo ? 1e3
                                     : 1),
                  is_mega   ? " M"
                  : is_kilo ? " k"
                            : "");
    return text;
}

std::string label(double x, double y, std::string_view anchor, std::string_view text) {
    return "<text x=\"" + number(x) + "\" y=\"" + number(y) + "\" text-anchor=\"" +
           std::string(anchor) + "\">" + html_escaped(text) + "</text>";
}

class Chart {
  public:
    Chart() { svg_ = "<svg viewBox=\"0 0 720 220\" role=\"img\">"; }

    void mark_y(double share, std::string_view text) {
        const double y = top + (1 - share) * plot_height;
        svg_ += "<line x1=\"" + number(left) + "\" x2=\"" + number(left + plot_width) + "\" y1=\"" +
                number(y) + "\" y2=\"" + number(y) + "\" stroke=\"var(--line)\"/>";
        svg_ += label(left - 6, y + 4, "end", text);
    }
    void mark_x(double share, std::string_view text) {
        svg_ += label(left + share * plot_width, chart_height - 8, "middle", text);
    }
    void draw(const std::vector<Point>& points, std::string_view colour) {
        svg_ += "<polyline fill=\"none\" stroke-width=\"2\" stroke=\"" + std::string(colour) +
                "\" points=\"";
        for (const Point& point : points) {
            svg_ += number(left + point.x * plot_width) + "," +
                    number(top + (1 - std::clamp(point.y, 0.0, 1.0)) * plot_height) + " ";
        }
        svg_ += "\"/>";
    }
    std::string finish(std::string_view caption) {
        return "<figure>" + svg_ + "</svg><figcaption>" + html_escaped(caption) +
               "</figcaption></figure>\n";
    }

  private:
    std::string svg_;
};

// Something per second over the time that was measured.
template <class Value>
std::vector<Point> over_time(const Result& result, double y_max, Value value) {
    std::vector<Point> points;
    for (size_t index = 1; index < result.moments.size(); ++index) {
        const Moment& before = result.moments[index - 1];
        const Moment& now = result.moments[index];
        const double step_s = static_cast<double>(now.time_ns - before.time_ns) / 1e9;
        const double at_s = static_cast<double>(now.time_ns - result.begin.time_ns) / 1e9;
        points.push_back({at_s / result.seconds(), value(before, now) / step_s / y_max});
    }
    return points;
}

void mark_axes(Chart& chart, const Result& result, double y_max, std::string_view unit) {
    for (const double share : {0.0, 0.5, 1.0}) {
        chart.mark_y(share, short_number(share * y_max) + std::string(unit));
        chart.mark_x(share, number(share * result.seconds()) + " s");
    }
}

std::string throughput_chart(const Result& result) {
    const bool is_churn = result.plan.scenario == Scenario::churn;
    const auto value = [is_churn](const Moment& before, const Moment& now) {
        return static_cast<double>(is_churn ? now.cycles - before.cycles
                                            : now.delivered - before.delivered);
    };
    double most = 0;
    for (const Point& point : over_time(result, 1, value)) most = std::max(most, point.y);
    const double y_max = rounded_up(most);
    Chart chart;
    mark_axes(chart, result, y_max, "");
    chart.draw(over_time(result, y_max, value), "var(--one)");
    return chart.finish(is_churn ? "Connections per second" : "Deliveries per second");
}

std::string cpu_chart(const Result& result) {
    const auto load = [](const Moment& before, const Moment& now) {
        return static_cast<double>(now.load_cpu_ns() - before.load_cpu_ns()) / 1e7;
    };
    const auto broker = [](const Moment& before, const Moment& now) {
        const uint64_t before_ns = std::min(before.broker.run_ns, now.broker.run_ns);
        return static_cast<double>(now.broker.run_ns - before_ns) / 1e7;
    };
    double most = 100;
    for (const Point& point : over_time(result, 1, load)) most = std::max(most, point.y);
    for (const Point& point : over_time(result, 1, broker)) most = std::max(most, point.y);
    Chart chart;
    const double y_max = most <= 110 ? 110 : rounded_up(most);
    mark_axes(chart, result, y_max, " %");
    chart.draw(over_time(result, y_max, load), "var(--two)");
    if (result.is_broker_known()) chart.draw(over_time(result, y_max, broker), "var(--one)");
    return chart.finish(result.is_broker_known()
                            ? "CPU in percent of one core: the broker (blue) and the load (orange)"
                            : "CPU of the load in percent of one core (the broker's is not known)");
}

// From the median to the maximum: each step to the right is ten times rarer, and up is ten times
// slower.
std::string latency_chart(const Histogram& latency, std::string_view caption) {
    const auto height = [](double ns) { return std::log10(std::max(ns, 1e3)); };
    const double low = std::floor(height(static_cast<double>(latency.at(0.5))));
    const double high =
        std::max(low + 1, std::ceil(height(static_cast<double>(latency.max())) - 1e-9));
    constexpr double decades = 4;                 // to 99.99 %
    constexpr double median_x = 0.301 / decades;  // the faster half would lie below the chart
    std::vector<Point> points;
    for (double share = 0; share <= 1.0001; share += 0.01) {
        const double x = median_x + share * (1 - median_x);
        const double rarity = std::pow(10, -x * decades);  // 1 - quantile, from 0.5 to 0.0001
        if (!has_tail(latency, 1 - rarity)) break;
        const auto ns = static_cast<double>(latency.at(1 - rarity));
        points.push_back({x, (height(ns) - low) / (high - low)});
    }
    Chart chart;
    for (double decade = low; decade <= high; ++decade) {
        chart.mark_y((decade - low) / (high - low),
                     duration_text(static_cast<uint64_t>(std::llround(std::pow(10, decade)))));
    }
    constexpr std::array<std::pair<double, const char*>, 5> marks = {
        {{median_x, "50 %"}, {0.25, "90 %"}, {0.5, "99 %"}, {0.75, "99.9 %"}, {1, "99.99 %"}}};
    for (const auto& [share, text] : marks) chart.mark_x(share, text);
    chart.draw(points, "var(--one)");
    return chart.finish(caption);
}

std::string tile(std::string_view value, std::string_view name) {
    return "<div class=\"tile\"><b>" + html_escaped(value) + "</b>" + html_escaped(name) +
           "</div>\n";
}

std::string tiles(const Result& result) {
    std::string out = "<div class=\"tiles\">\n";
    const auto rate = [](double value) {
        return grouped(static_cast<uint64_t>(std::llround(value)));
    };
    if (result.end.delivered > result.begin.delivered) {
        out += tile(rate(result.delivered_per_s()), "deliveries per second");
    }
    if (result.plan.scenario == Scenario::churn || result.end.delivered == 0) {
        out += tile(rate(result.connects_per_s()), "connections per second");
    }
    if (result.latency_ns.count() > 0) {
        out += tile(duration_text(result.latency_ns.at(0.5)), "half arrive within");
        if (has_tail(result.latency_ns, 0.99)) {
            out += tile(duration_text(result.latency_ns.at(0.99)), "99 of 100 arrive within");
        }
        if (has_tail(result.latency_ns, 0.999)) {
            out += tile(duration_text(result.latency_ns.at(0.999)), "999 of 1,000 arrive within");
        }
    }
    if (result.all_live_again_ns > 0) {
        out += tile(duration_text(result.all_live_again_ns), "until all were back");
    }
    char text[32];
    if (result.is_broker_known() && result.broker_us_per_delivery() > 0) {
        std::snprintf(text, sizeof text, "%.2f µs", result.broker_us_per_delivery());
        out += tile(text, "broker's CPU per delivery");
    }
    if (result.is_broker_known() && has_many_connections(result) &&
        result.broker_bytes_per_connection() > 0) {
        out += tile(bytes_text(result.broker_bytes_per_connection()), "memory per connection");
    }
    return out + "</div>\n";
}

std::string rows(const Result& result) {
    // The text report has it all: its lines are the rows.
    const std::string text = text_report(result);
    std::string out = "<table>\n";
    size_t begin = text.find('\n') + 1;  // the headline stands above
    while (begin < text.size()) {
        const size_t end = text.find('\n', begin);
        const std::string_view line = std::string_view(text).substr(begin, end - begin);
        begin = end + 1;
        constexpr size_t name_bytes = 14;
        if (line.starts_with("  Note:") || line.size() < name_bytes) continue;
        out += "<tr><td>" + html_escaped(line.substr(2, name_bytes - 2)) + "</td><td>" +
               html_escaped(line.substr(name_bytes)) + "</td></tr>\n";
    }
    return out + "</table>\n";
}

}  // namespace

std::string html_escaped(std::string_view text) {
    std::string out;
    for (const char letter : text) {
        switch (letter) {
            case '&': out += "&amp;"; break;
            case '<': out += "&lt;"; break;
            case '>': out += "&gt;"; break;
            case '"': out += "&quot;"; break;
            case '\'': out += "&#39;"; break;
            default: out += letter;
        }
    }
    return out;
}

std::string html_report(const Result& result) {
    const std::string title = html_escaped(headline(result));
    std::string out(page_begin);
    out += "<title>fanfare bench " + title + "</title></head><body>\n<h1>" +
           html_escaped(name_of(result.plan.scenario)) + "</h1>\n<p class=\"sub\">" + title +
           "; dialect " + html_escaped(name_of(result.plan.dialect)) + ", " +
           html_escaped(result.plan.url) + "; " + tools::utc_text(tools::utc_seconds()) + "</p>\n";
    if (!result.failure.empty()) {
        out += "<p class=\"note\">The run ended early: " + html_escaped(result.failure) + "</p>\n";
    }
    for (const std::string& warning : result.warnings) {
        out += "<p class=\"note\">" + html_escaped(warning) + ".</p>\n";
    }
    out += tiles(result);
    if (result.latency_ns.count() > 0) {
        out += "<h2>How late</h2>\n" +
               latency_chart(result.latency_ns,
                             "Latency from publishing to arrival: so many of all messages arrived "
                             "within so long");
    }
    if (result.connect_ns.count() > 0 && result.latency_ns.count() == 0) {
        out += "<h2>How long until ready</h2>\n" +
               latency_chart(result.connect_ns, "From connecting to a live subscription");
    }
    if (result.resume_ns.count() > 0) {
        out += "<h2>Coming back</h2>\n" +
               latency_chart(result.resume_ns, "From the cut to a live subscription");
    }
    if (result.moments.size() > 2) {
        if (result.delivered_all > 0 || result.plan.scenario == Scenario::churn) {
            out += "<h2>How much</h2>\n" + throughput_chart(result);
        }
        out += "<h2>At what cost</h2>\n" + cpu_chart(result);
    }
    out += "<h2>All figures</h2>\n" + rows(result);
    return out + "</body></html>\n";
}

}  // namespace bench
