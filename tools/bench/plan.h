// Plan: what a run of `fanfare bench` shall do, as the user said it. Pure; any thread.
//
// Invariant: a plan for which problem_of() is empty can be run: what follows relies on it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/units.h"
#include "tools/bench/payload.h"
#include "tools/url.h"

namespace bench {

enum class Scenario : uint8_t {
    fanout,     // publishers → one topic → all clients
    fanin,      // all clients publish → one subscriber
    rooms,      // clients spread over topics, publishers that go round them
    wildcards,  // the same, and two thirds of the clients subscribe with a wildcard
    echo,       // each client publishes to itself
    churn,      // clients that connect, subscribe and disconnect again and again
    reconnect,  // rooms; in the middle all subscribers are cut at once, and resume
    idle,       // clients that subscribe and do nothing
    listen,     // clients that only receive, whatever is sent to them
};

enum class DialectKind : uint8_t { fanfare, nats, nchan, mqtt, plain };

// The default of each scenario's window, in messages.
inline constexpr uint64_t window_default = 16;
inline constexpr uint64_t window_max = 1'000'000;
inline constexpr uint32_t clients_max = 1'000'000;
inline constexpr uint32_t topics_max = 1'000'000;
inline constexpr uint32_t threads_max = 64;
inline constexpr uint64_t reconnect_duration_min_ns = 200 * base::ns_per_ms;

struct Plan {
    Scenario scenario = Scenario::fanout;
    std::string url = std::string(tools::default_url);
    DialectKind dialect = DialectKind::fanfare;

    uint32_t clients = 1'000;
    uint32_t publishers = 1;
    uint32_t topics = 0;  // 0: what suits the scenario
    PayloadSizes payload;
    std::string payload_text = "64";

    // Messages per second of all publishers together (churn: connections per second); 0: as fast as
    // the window allows.
    double rate = 0;
    // Messages that may be on their way, of all publishers together; 0: window_default.
    uint64_t window = 0;

    uint64_t warmup_ns = 1 * base::ns_per_s;
    uint64_t duration_ns = 10 * base::ns_per_s;
    double connect_rate = 0;  // connections per second; 0: as fast as they are accepted
    uint32_t threads = 1;
    std::vector<std::string> sources;  // addresses to connect from; none: chosen
    bool check = false;
    std::string topic_prefix = "bench";

    int broker_pid = 0;
    bool reads_metrics = true;
    std::string metrics_url;  // where /metrics is; empty: where the clients connect

    // Where the path depends on the topic; empty: the URL's own path.
    std::string subscribe_path;
    std::string publish_path;
    // Dialect `plain`: the frames, with {topic}, {seq} and {payload}.
    std::string subscribe_frame;
    std::string publish_frame;
    std::string ready_text;  // a client is live once a message holds this; empty: at once
    bool is_binary = false;

    bool prints_json = false;
    std::string report_file;

    // What is not for the command line: main leaves these alone.
    int out_fd = 1;
    int status_fd = 2;
    uint64_t seed = 0;  // of keys, masks and names; 0 draws one with getrandom(2)

    bool is_open_loop() const { return rate > 0; }
};

std::string_view name_of(Scenario scenario);
std::string_view name_of(DialectKind dialect);
// False when there is none of that name.
[[nodiscard]] bool scenario_named(std::string_view name, Scenario& scenario);
[[nodiscard]] bool dialect_named(std::string_view name, DialectKind& dialect);

// Whether somebody publishes in it.
bool publishes(Scenario scenario);

// Fills in what was left to the scenario, and answers what is wrong with the rest, in one sentence;
// empty when all is well.
[[nodiscard]] std::string complete(Plan& plan);

}  // namespace bench
