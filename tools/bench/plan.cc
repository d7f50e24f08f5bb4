#include "tools/bench/plan.h"

#include <array>
#include <cmath>
#include <utility>

namespace bench {
namespace {

constexpr std::array<std::pair<std::string_view, Scenario>, 9> scenarios = {{
    {"fanout", Scenario::fanout},
    {"fanin", Scenario::fanin},
    {"rooms", Scenario::rooms},
    {"wildcards", Scenario::wildcards},
    {"echo", Scenario::echo},
    {"churn", Scenario::churn},
    {"reconnect", Scenario::reconnect},
    {"idle", Scenario::idle},
    {"listen", Scenario::listen},
}};

constexpr std::array<std::pair<std::string_view, DialectKind>, 5> dialects = {{
    {"fanfare", DialectKind::fanfare},
    {"nats", DialectKind::nats},
    {"nchan", DialectKind::nchan},
    {"mqtt", DialectKind::mqtt},
    {"template", DialectKind::plain},
}};

uint32_t topics_default(const Plan& plan) {
    const uint32_t tenth = plan.clients < 10 ? 1 : plan.clients / 10;
    switch (plan.scenario) {
        case Scenario::fanout:
        case Scenario::fanin:
        case Scenario::listen:
        case Scenario::idle:
        case Scenario::churn: return 1;
        case Scenario::echo: return plan.clients;
        case Scenario::rooms:
        case Scenario::reconnect: return tenth;
        // Enough clients for every row, column and cell of the grid.
        case Scenario::wildcards: return tenth < 100 ? tenth : 100;
    }
    return 1;
}

std::string check_load(const Plan& plan) {
    if (plan.clients == 0 || plan.clients > clients_max) return "--clients is 1 to 1,000,000";
    if (plan.publishers == 0 || plan.publishers > clients_max) {
        return "--publishers is 1 to 1,000,000";
    }
    if (plan.topics > topics_max) return "--topics is 1 to 1,000,000";
    if (plan.threads == 0 || plan.threads > threads_max) return "--threads is 1 to 64";
    if (!std::isfinite(plan.rate) || plan.rate < 0 || plan.rate > 1e8) {
        return "--rate is a number of messages per second, up to 100,000,000";
    }
    if (!std::isfinite(plan.connect_rate) || plan.connect_rate < 0) {
        return "--connect-rate is a number of connections per second";
    }
    if (plan.rate > 0 && plan.window > 0) {
        return "--rate and --window exclude each other: with a rate messages leave on time, "
               "however "
               "many are on their way";
    }
    if (plan.window > window_max) return "--window is at most 1,000,000 messages";
    if (plan.duration_ns == 0) return "--duration must not be 0";
    if (plan.scenario == Scenario::reconnect && plan.duration_ns < reconnect_duration_min_ns) {
        return "--duration is at least 200ms for reconnect, which cuts and waits meanwhile";
    }
    if (plan.broker_pid < 0) return "--broker-pid is the number of a process";
    return "";
}

// What the scenario would leave aside without a word is refused.
std::string check_scenario(const Plan& plan) {
    const std::string scenario(name_of(plan.scenario));
    const bool is_of_one_topic =
        plan.scenario == Scenario::fanout || plan.scenario == Scenario::fanin;
    if (is_of_one_topic && plan.topics > 1) return scenario + " has one topic: no --topics";
    if (plan.scenario == Scenario::echo && plan.topics > 0) {
        return "echo has a topic for each client: no --topics";
    }
    const bool clients_publish =
        plan.scenario == Scenario::fanin || plan.scenario == Scenario::echo;
    if (plan.publishers != 1 && (clients_publish || !publishes(plan.scenario))) {
        return (clients_publish ? "the clients themselves publish in " : "nobody publishes in ") +
               scenario + ": no --publishers";
    }
    if (publishes(plan.scenario)) return "";
    if (plan.window > 0) return "nobody publishes in " + scenario + ": no --window";
    if (plan.rate > 0 && plan.scenario != Scenario::churn) {
        return "nobody publishes in " + scenario + ": no --rate";
    }
    return "";
}

std::string check_topics(const Plan& plan) {
    if (plan.topic_prefix.empty() || plan.topic_prefix.size() > 200) {
        return "--topic-prefix has 1 to 200 letters";
    }
    for (const char letter : plan.topic_prefix) {
        const bool is_plain = (letter >= 'a' && letter <= 'z') ||
                              (letter >= 'A' && letter <= 'Z') ||
                              (letter >= '0' && letter <= '9') || letter == '_';
        if (!is_plain)
            return "--topic-prefix holds letters, digits and _ only, to suit every server";
    }
    if (plan.scenario != Scenario::wildcards && plan.topics > plan.clients) {
        return "more --topics than --clients: nobody would get what is published to some of them";
    }
    return "";
}

std::string check_dialect(const Plan& plan) {
    const std::string scenario(name_of(plan.scenario));
    const bool is_plain = plan.dialect == DialectKind::plain;
    if (is_plain && publishes(plan.scenario) && plan.publish_frame.empty()) {
        return "the dialect template needs --publish-frame, the text to send with {payload} in it";
    }
    if (is_plain && !plan.publish_frame.empty() &&
        plan.publish_frame.find("{payload}") == std::string::npos) {
        return "--publish-frame has no {payload}, by which a message is known again";
    }
    if (!is_plain && !(plan.subscribe_frame.empty() && plan.publish_frame.empty() &&
                       plan.ready_text.empty() && !plan.is_binary)) {
        return "--subscribe-frame, --publish-frame, --ready-text and --binary-frames are for "
               "--dialect template";
    }
    for (const std::string* const path : {&plan.subscribe_path, &plan.publish_path}) {
        if (!path->empty() && path->front() != '/') {
            return "--subscribe-path and --publish-path begin with a slash";
        }
    }
    if (plan.scenario == Scenario::wildcards && (is_plain || plan.dialect == DialectKind::nchan)) {
        return "the dialect " + std::string(name_of(plan.dialect)) + " has no wildcards";
    }
    if (plan.dialect == DialectKind::nchan &&
        (plan.scenario == Scenario::echo || plan.scenario == Scenario::reconnect)) {
        return "nchan has a path per direction and no resume: no " + scenario;
    }
    return "";
}

}  // namespace

std::string_view name_of(Scenario scenario) {
    for (const auto& [name, kind] : scenarios) {
        if (kind == scenario) return name;
    }
    return "";
}

std::string_view name_of(DialectKind dialect) {
    for (const auto& [name, kind] : dialects) {
        if (kind == dialect) return name;
    }
    return "";
}

bool scenario_named(std::string_view name, Scenario& scenario) {
    for (const auto& [known, kind] : scenarios) {
        if (known != name) continue;
        scenario = kind;
        return true;
    }
    return false;
}

bool dialect_named(std::string_view name, DialectKind& dialect) {
    for (const auto& [known, kind] : dialects) {
        if (known != name) continue;
        dialect = kind;
        return true;
    }
    return false;
}

bool publishes(Scenario scenario) {
    switch (scenario) {
        case Scenario::fanout:
        case Scenario::fanin:
        case Scenario::rooms:
        case Scenario::wildcards:
        case Scenario::echo:
        case Scenario::reconnect: return true;
        case Scenario::churn:
        case Scenario::idle:
        case Scenario::listen: return false;
    }
    return false;
}

std::string complete(Plan& plan) {
    std::string problem = check_load(plan);
    if (problem.empty()) problem = check_scenario(plan);
    if (!problem.empty()) return problem;
    if (plan.topics == 0) plan.topics = topics_default(plan);
    if (plan.scenario == Scenario::fanout || plan.scenario == Scenario::fanin) plan.topics = 1;
    if (plan.scenario == Scenario::echo) plan.topics = plan.clients;
    // So that a connection that is cut has something to miss, and the broker is not the bottleneck.
    if (plan.scenario == Scenario::reconnect && plan.rate == 0 && plan.window == 0) plan.rate = 100;
    if (plan.rate == 0 && plan.window == 0) plan.window = window_default;
    problem = check_topics(plan);
    if (problem.empty()) problem = check_dialect(plan);
    if (!problem.empty()) return problem;
    problem = PayloadSizes::parse(plan.payload_text, plan.payload);
    if (!problem.empty()) return "--payload: " + problem;
    tools::Url url;
    problem = tools::parse_url(plan.url, url);
    if (!problem.empty()) return "--url: " + problem;
    if (!plan.metrics_url.empty()) {
        problem = tools::parse_url(plan.metrics_url, url);
        if (!problem.empty()) return "--metrics-url: " + problem;
    }
    // nchan has one topic per path, hence per connection: each topic needs a publisher of its own.
    if (plan.dialect == DialectKind::nchan && publishes(plan.scenario) &&
        plan.publishers < plan.topics) {
        plan.publishers = plan.topics;
    }
    return "";
}

}  // namespace bench
