// Time for the command line's clients. The product's own code never reads a clock; these tools are
// its users.
#pragma once

#include <cstdint>
#include <string>

namespace tools {

// CLOCK_MONOTONIC in nanoseconds.
uint64_t monotonic_ns();

// CLOCK_REALTIME in whole seconds, for what people read; no decision depends on it.
int64_t utc_seconds();
// "2026-11-21T09:30:00Z".
std::string utc_text(int64_t seconds);

// Sleeps until the clock shows `deadline_ns`, through signals that do not end the process.
void sleep_until(uint64_t deadline_ns);

// What poll(2) takes: the milliseconds until the deadline, rounded up so that a wait never ends
// before it; -1 for base::never_ns.
int poll_timeout_ms(uint64_t deadline_ns);

}  // namespace tools
