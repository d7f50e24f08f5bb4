#include <cinttypes>
#include <cmath>
#include <cstdio>

#include "codec/reply.h"
#include "tools/bench/report.h"

namespace bench {
namespace {

// One object: members are appended one after the other.
class Object {
  public:
    explicit Object(std::string& out) : out_(out) { out_ += '{'; }
    void end() { out_ += '}'; }

    std::string& name(std::string_view name) {
        if (!is_first_) out_ += ',';
        is_first_ = false;
        codec::append_json_string(out_, name);
        out_ += ':';
        return out_;
    }
    void add(std::string_view member, std::string_view text) {
        codec::append_json_string(name(member), text);
    }
    void add(std::string_view member, uint64_t value) { name(member) += std::to_string(value); }
    void add(std::string_view member, bool value) { name(member) += value ? "true" : "false"; }
    void add(std::string_view member, double value) {
        char text[40];
        // Counts in full, which six digits would round.
        const bool is_count = value == std::floor(value) && std::abs(value) < 0x1p53;
        std::snprintf(text, sizeof text, is_count ? "%.0f" : "%.6g",
                      std::isfinite(value) ? value : 0);
        name(member) += text;
    }

  private:
    std::string& out_;
    bool is_first_ = true;
};

void add_histogram(Object& parent, std::string_view name, const Histogram& histogram) {
    if (histogram.count() == 0) return;
    Object object(parent.name(name));
    object.add("count", histogram.count());
    object.add("mean", histogram.mean());
    object.add("min", histogram.min());
    object.add("p50", histogram.at(0.5));
    object.add("p90", histogram.at(0.9));
    object.add("p99", histogram.at(0.99));
    object.add("p999", histogram.at(0.999));
    object.add("p9999", histogram.at(0.9999));
    object.add("max", histogram.max());
    object.end();
}

void add_plan(Object& parent, const Result& result) {
    const Plan& plan = result.plan;
    Object object(parent.name("plan"));
    object.add("scenario", name_of(plan.scenario));
    object.add("dialect", name_of(plan.dialect));
    object.add("url", std::string_view(plan.url));
    object.add("connections", uint64_t{result.connections});
    object.add("subscribers", uint64_t{result.subscribers});
    object.add("publishers", uint64_t{result.publishers});
    object.add("topics", uint64_t{result.topics});
    object.add("payload", std::string_view(plan.payload_text));
    object.add("rate", plan.rate);
    object.add("window", plan.window);
    object.add("duration_s", static_cast<double>(plan.duration_ns) / 1e9);
    object.add("warmup_s", static_cast<double>(plan.warmup_ns) / 1e9);
    object.add("threads", uint64_t{result.threads});
    object.end();
}

void add_broker(Object& parent, const Result& result) {
    if (!result.is_broker_known()) return;
    Object object(parent.name("broker"));
    object.add("cpu_share", result.broker_share());
    object.add("cpu_share_busiest_thread", result.broker_thread_share());
    object.add("wait_share", result.broker_wait_share());
    object.add("cpu_share_of_user_mode", result.broker_user_share());
    object.add("cpu_us_per_delivery", result.broker_us_per_delivery());
    object.add("cpu_us_per_connection", result.broker_us_per_connection());
    object.add("resident_bytes", result.end.broker.resident_bytes);
    object.add("resident_bytes_per_connection", result.broker_bytes_per_connection());
    object.add("anonymous_bytes_per_connection", result.broker_anonymous_bytes_per_connection());
    object.end();
}

void add_moments(Object& parent, const Result& result) {
    std::string& out = parent.name("moments");
    out += '[';
    for (size_t index = 1; index < result.moments.size(); ++index) {
        const Moment& before = result.moments[index - 1];
        const Moment& now = result.moments[index];
        if (index > 1) out += ',';
        Object object(out);
        object.add("s", static_cast<double>(now.time_ns - result.begin.time_ns) / 1e9);
        object.add("published", now.published - before.published);
        object.add("delivered", now.delivered - before.delivered);
        object.add("live", now.live);
        object.add("latency_max_ns", now.latency_max_ns);
        object.end();
    }
    out += ']';
}

}  // namespace

std::string json_report(const Result& result) {
    std::string out;
    Object object(out);
    add_plan(object, result);
    object.add("is_clean", result.is_clean());
    object.add("failure", std::string_view(result.failure));
    object.add("seconds", result.seconds());
    object.add("connect_s", result.connect_seconds());
    object.add("connects_per_s", result.connects_per_s());
    object.add("published_per_s", result.published_per_s());
    object.add("delivered_per_s", result.delivered_per_s());
    object.add("wire_bytes_per_delivery", result.wire_bytes_per_delivery());
    object.add("published", result.published_all);
    object.add("expected", result.expected_all);
    object.add("delivered", result.delivered_all);
    object.add("missing", result.missing());
    object.add("cycles", result.end.cycles);
    object.add("lost_connections", result.lost);
    object.add("refused_attempts", result.refused);
    object.add("foreign_messages", result.foreign);
    add_histogram(object, "latency_ns", result.latency_ns);
    add_histogram(object, "lateness_ns", result.lateness_ns);
    add_histogram(object, "connect_ns", result.connect_ns);
    add_histogram(object, "resume_ns", result.resume_ns);
    if (result.plan.scenario == Scenario::reconnect) {
        object.add("all_live_again_s", static_cast<double>(result.all_live_again_ns) / 1e9);
        object.add("not_recovered", result.not_recovered);
    }
    if (result.plan.check) {
        Object check(object.name("check"));
        check.add("checked", result.check.checked);
        check.add("skipped", result.check.skipped);
        check.add("repeated", result.check.repeated);
        check.add("damaged", result.check.damaged);
        check.end();
    }
    object.add("load_cpu_share", result.load_share());
    object.add("load_cpu_share_busiest_thread", result.load_thread_share());
    object.add("load_wait_share", result.load_wait_share());
    add_broker(object, result);
    if (!result.metrics.empty()) {
        Object metrics(object.name("metrics"));
        for (const auto& [name, rise] : result.metrics) metrics.add(name, rise);
        metrics.end();
    }
    std::string& warnings = object.name("warnings");
    warnings += '[';
    for (size_t index = 0; index < result.warnings.size(); ++index) {
        if (index > 0) warnings += ',';
        codec::append_json_string(warnings, result.warnings[index]);
    }
    warnings += ']';
    add_moments(object, result);
    object.end();
    out += '\n';
    return out;
}

}  // namespace bench
