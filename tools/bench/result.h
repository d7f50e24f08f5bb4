// Result: what a run of `fanfare bench` measured. The reports are written from it.
//
// Plain data; whoever holds it owns it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tools/bench/broker_watch.h"
#include "tools/bench/histogram.h"
#include "tools/bench/plan.h"
#include "tools/bench/sequence_check.h"

namespace bench {

// The state of the whole at one moment of the run.
struct Moment {
    uint64_t time_ns = 0;
    uint64_t published = 0;
    uint64_t delivered = 0;
    uint64_t cycles = 0;  // connections that became live
    uint64_t live = 0;
    uint64_t received_bytes = 0;
    std::vector<uint64_t> thread_cpu_ns;  // of the load's threads
    ProcessUsage broker;
    uint64_t latency_max_ns = 0;  // since the moment before

    uint64_t load_cpu_ns() const;
};

struct Result {
    Plan plan;
    uint32_t connections = 0;
    uint32_t subscribers = 0;
    uint32_t publishers = 0;
    uint32_t topics = 0;
    uint32_t threads = 0;
    uint32_t deliveries_per_message = 0;  // of the topic that has the most

    Moment start;      // before the first connection
    Moment connected;  // when all were live
    Moment begin;      // of what is measured
    Moment end;
    ProcessUsage load_begin;  // at `begin` and at `end`
    ProcessUsage load_end;
    std::vector<Moment> moments;  // from `begin` to `end`, for the charts

    // Of the whole run, warm-up and end included.
    uint64_t published_all = 0;
    uint64_t expected_all = 0;
    uint64_t delivered_all = 0;
    uint64_t lost = 0;
    uint64_t refused = 0;
    uint64_t foreign = 0;

    Histogram latency_ns;
    Histogram lateness_ns;
    Histogram connect_ns;
    Histogram resume_ns;
    CheckSums check;
    uint64_t all_live_again_ns = 0;  // reconnect: from the cut; 0: not all came back
    uint64_t not_recovered = 0;
    uint64_t not_recoverable = 0;

    std::map<std::string, double> metrics;  // how the broker's counters rose while it was measured

    bool was_cut = false;  // reconnect: it came to that
    bool was_interrupted = false;
    std::string failure;                // why the run ended early; empty: it did not
    std::vector<std::string> warnings;  // what the reader must know to trust the figures

    // --- Derived ---
    double seconds() const;
    double published_per_s() const;
    double delivered_per_s() const;
    double connects_per_s() const;  // churn: while measured; else until all were live
    double connect_seconds() const;
    // Shares of one core.
    double load_share() const;
    double load_thread_share() const;  // its busiest thread
    double load_wait_share() const;    // of the time, that its thread which did most waited
    double broker_wait_share() const;  // for a core
    double broker_share() const;
    double broker_thread_share() const;
    double broker_user_share() const;  // of the broker's own time
    // 0 where it is not known.
    double broker_us_per_delivery() const;
    double broker_us_per_connection() const;
    double broker_bytes_per_connection() const;
    double broker_anonymous_bytes_per_connection() const;
    double wire_bytes_per_delivery() const;
    uint64_t missing() const;

    bool is_broker_known() const { return begin.broker.is_known && end.broker.is_known; }
    // The server ended or refused connections, for which no cut of ours is the reason.
    bool has_lost_connections() const;
    // Everything that was published arrived, once and whole where that was looked at, and the
    // server kept its connections.
    bool is_clean() const;
};

// Adds the warnings that follow from the figures.
void judge(Result& result);

}  // namespace bench
