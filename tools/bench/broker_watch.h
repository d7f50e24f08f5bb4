// What a process used, the broker under load or the load: read from /proc; and the broker's
// /metrics.
//
// Thread: any; each function blocks as long as reading takes (for /metrics two seconds at most).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>

#include "tools/bench/connector.h"
#include "tools/url.h"

namespace bench {

// At one moment; the times are sums since the process began.
struct ProcessUsage {
    bool is_known = false;
    // Of all threads, by the scheduler's account: exact to the nanosecond.
    uint64_t run_ns = 0;
    // Of all threads, in ticks of usually 10 ms: for the ratio of the two.
    uint64_t user_ns = 0;
    uint64_t system_ns = 0;
    uint64_t resident_bytes = 0;
    // Of these, what is no file's: without the pages of the binary, which are read as the broker
    // first comes to them and are no connection's.
    uint64_t anonymous_bytes = 0;
    std::map<pid_t, uint64_t> thread_run_ns;
    // How long each was ready to run, and another had its core.
    std::map<pid_t, uint64_t> thread_wait_ns;
};

// Not known when there is no such process, or none that we may look at. pid 0: nobody.
ProcessUsage read_process(int pid);

// The time of the thread that ran the longest between the two.
uint64_t busiest_thread_ns(const ProcessUsage& before, const ProcessUsage& after);

// The same of the thread that waited the longest for a core.
uint64_t longest_wait_ns(const ProcessUsage& before, const ProcessUsage& after);

// The metrics by name, summed over their labels; empty when there are none.
std::map<std::string, double> read_metrics(const tools::Url& url, const Address& address);

// The samples of Prometheus' text format, summed over their labels.
std::map<std::string, double> parse_metrics(std::string_view text);

}  // namespace bench
