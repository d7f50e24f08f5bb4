#include "tools/bench/result.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace bench {
namespace {

// A thread that runs more than this share of the time has no room left.
constexpr double busy_share = 0.9;
// A thread that stood ready for more than this share of the time while another had its core was
// slowed down by that, not by what it did.
constexpr double starved_share = 0.1;
// Open loop: messages that leave later than this are the load's fault, and count in their latency.
constexpr uint64_t late_ns = base::ns_per_ms;
// A measurement that is shorter or longer than asked for by more than this share was watched by
// somebody who got no time.
constexpr double seconds_tolerance = 0.1;

// An open loop that was so much short of its rate has left out what the latency is about.
constexpr double rate_tolerance = 0.02;

double ratio(double part, double whole) {
    return whole > 0 ? part / whole : 0;
}

double rise(uint64_t before, uint64_t after) {
    return after > before ? static_cast<double>(after - before) : 0;
}

std::string percent(double share) {
    char text[32];
    std::snprintf(text, sizeof text, "%.0f %%", share * 100);
    return text;
}

// Whether the load and the broker had the cores that they could have used.
void judge_cores(Result& result) {
    const double load = result.load_wait_share();
    const double broker = result.is_broker_known() ? result.broker_wait_share() : 0;
    if (load <= starved_share && broker <= starved_share) return;
    std::string text = "the load's threads stood ready up to " + percent(load) + " of the time";
    if (result.is_broker_known()) text += ", the broker's up to " + percent(broker) + ",";
    result.warnings.push_back(text +
                              " while others had their core: give both cores of their own "
                              "(taskset) on a quiet machine, or rates and latencies are those of "
                              "the competition");
}

// Whether an open loop kept its rate.
void judge_rate(Result& result) {
    if (!result.plan.is_open_loop()) return;
    const bool is_churn = result.plan.scenario == Scenario::churn;
    if (!is_churn && !publishes(result.plan.scenario)) return;
    if (result.lateness_ns.at(0.99) > late_ns) {
        result.warnings.push_back(
            std::string("one ") + (is_churn ? "connection" : "message") +
            " in a hundred left more than 1 ms late, because the load or the broker could not "
            "keep the rate; its latency counts from when it was due");
    }
    const double due = result.plan.rate * result.seconds();
    const double left = is_churn ? rise(result.begin.cycles, result.end.cycles)
                                 : rise(result.begin.published, result.end.published);
    if (due - left > std::max(due * rate_tolerance, 2.0)) {
        char text[160];
        std::snprintf(text, sizeof text,
                      "only %.0f %% of what was due by the rate happened; what did not is in no "
                      "latency",
                      100 * ratio(left, due));
        result.warnings.emplace_back(text);
    }
}

// Whether there is enough of what is measured. All deliveries of a message share its fate.
void judge_samples(Result& result) {
    const double messages = rise(result.begin.published, result.end.published);
    if (result.latency_ns.count() < 1'000) {
        result.warnings.emplace_back(
            "fewer than 1,000 deliveries were measured: the tail says little");
    } else if (messages < 100) {
        char text[120];
        std::snprintf(text, sizeof text,
                      "only %.0f messages were measured, however many got them: the tail says "
                      "little",
                      messages);
        result.warnings.emplace_back(text);
    }
}

}  // namespace

uint64_t Moment::load_cpu_ns() const {
    uint64_t sum_ns = 0;
    for (const uint64_t thread_ns : thread_cpu_ns) sum_ns += thread_ns;
    return sum_ns;
}

double Result::seconds() const {
    return rise(begin.time_ns, end.time_ns) / 1e9;
}
double Result::published_per_s() const {
    return ratio(rise(begin.published, end.published), seconds());
}
double Result::delivered_per_s() const {
    return ratio(rise(begin.delivered, end.delivered), seconds());
}
double Result::connect_seconds() const {
    return rise(start.time_ns, connected.time_ns) / 1e9;
}
double Result::connects_per_s() const {
    if (plan.scenario == Scenario::churn) return ratio(rise(begin.cycles, end.cycles), seconds());
    return ratio(connections, connect_seconds());
}
double Result::load_share() const {
    return ratio(rise(begin.load_cpu_ns(), end.load_cpu_ns()) / 1e9, seconds());
}
double Result::load_thread_share() const {
    double most = 0;
    const size_t count = std::min(begin.thread_cpu_ns.size(), end.thread_cpu_ns.size());
    for (size_t thread = 0; thread < count; ++thread) {
        most = std::max(most, rise(begin.thread_cpu_ns[thread], end.thread_cpu_ns[thread]));
    }
    return ratio(most / 1e9, seconds());
}
double Result::load_wait_share() const {
    return ratio(static_cast<double>(longest_wait_ns(load_begin, load_end)) / 1e9, seconds());
}
double Result::broker_wait_share() const {
    const auto most_ns = static_cast<double>(longest_wait_ns(begin.broker, end.broker));
    return ratio(most_ns / 1e9, seconds());
}
double Result::broker_share() const {
    return ratio(rise(begin.broker.run_ns, end.broker.run_ns) / 1e9, seconds());
}
double Result::broker_thread_share() const {
    const auto most_ns = static_cast<double>(busiest_thread_ns(begin.broker, end.broker));
    return ratio(most_ns / 1e9, seconds());
}
double Result::broker_user_share() const {
    const double user = rise(begin.broker.user_ns, end.broker.user_ns);
    return ratio(user, user + rise(begin.broker.system_ns, end.broker.system_ns));
}
double Result::broker_us_per_delivery() const {
    return ratio(rise(begin.broker.run_ns, end.broker.run_ns) / 1e3,
                 rise(begin.delivered, end.delivered));
}
double Result::broker_us_per_connection() const {
    if (plan.scenario == Scenario::churn) {
        return ratio(rise(begin.broker.run_ns, end.broker.run_ns) / 1e3,
                     rise(begin.cycles, end.cycles));
    }
    return ratio(rise(start.broker.run_ns, connected.broker.run_ns) / 1e3, connections);
}
double Result::broker_bytes_per_connection() const {
    if (plan.scenario == Scenario::churn) return 0;
    return ratio(rise(start.broker.resident_bytes, connected.broker.resident_bytes), connections);
}
double Result::broker_anonymous_bytes_per_connection() const {
    if (plan.scenario == Scenario::churn) return 0;
    return ratio(rise(start.broker.anonymous_bytes, connected.broker.anonymous_bytes), connections);
}
double Result::wire_bytes_per_delivery() const {
    return ratio(rise(begin.received_bytes, end.received_bytes),
                 rise(begin.delivered, end.delivered));
}
uint64_t Result::missing() const {
    return expected_all > delivered_all ? expected_all - delivered_all : 0;
}

bool Result::has_lost_connections() const {
    return plan.scenario != Scenario::reconnect && lost + refused > 0;
}
bool Result::is_clean() const {
    return failure.empty() && delivered_all == expected_all && check.is_clean() &&
           !has_lost_connections();
}

void judge(Result& result) {
    std::vector<std::string>& warnings = result.warnings;
    const double load = result.load_thread_share();
    const bool is_load_busy = load > busy_share;
    if (is_load_busy && result.is_broker_known() && result.broker_thread_share() < busy_share) {
        warnings.push_back("the load was the bottleneck, not the broker: its busiest thread ran " +
                           percent(load) + " of the time, the broker's " +
                           percent(result.broker_thread_share()) +
                           ". The broker can do more than this; give the load more --threads or "
                           "cores");
    } else if (is_load_busy && !result.is_broker_known()) {
        warnings.push_back("the load's busiest thread ran " + percent(load) +
                           " of the time, so it may have been the bottleneck; --broker-pid tells");
    }
    judge_cores(result);
    judge_rate(result);
    if (result.latency_ns.count() > 0) judge_samples(result);
    if (result.foreign > 0) {
        warnings.push_back(std::to_string(result.foreign) +
                           " messages came from somebody else; --topic-prefix keeps runs apart");
    }
    if (result.not_recoverable > 0) {
        warnings.push_back(
            "the topics keep no history, so what was missed cannot come back: start the broker "
            "with --topic-rule 'match=" +
            result.plan.topic_prefix + "/#,history_messages=10000'");
    }
    if (result.not_recovered > 0) {
        warnings.push_back(std::to_string(result.not_recovered) +
                           " resumes were not exact: the history did not reach back far enough");
    }
    if (result.is_broker_known() && result.begin.broker.thread_run_ns.empty()) {
        warnings.push_back("this kernel tells no times per thread; the broker's CPU is in ticks");
    }
    const double wanted_s = static_cast<double>(result.plan.duration_ns) / 1e9;
    const bool is_complete = result.failure.empty() && !result.was_interrupted;
    if (is_complete && std::abs(result.seconds() - wanted_s) > wanted_s * seconds_tolerance) {
        char text[160];
        std::snprintf(text, sizeof text,
                      "%.3f s were measured instead of %.3f s, because the load left its core no "
                      "time to watch: the figures say little",
                      result.seconds(), wanted_s);
        warnings.emplace_back(text);
    }
    if (result.was_interrupted) warnings.push_back("the run was interrupted; this is what it had");
}

}  // namespace bench
