// The coordinator of a run: starts the load shards, leads them through the phases, and watches.
//
// Thread: the caller's, which does nothing else meanwhile.
#pragma once

#include <string>

#include "tools/bench/plan.h"
#include "tools/bench/result.h"

namespace bench {

// Runs the plan, which is complete. Answers what kept it from starting; empty: `result` is filled,
// and its `failure` tells whether the run came to its end.
[[nodiscard]] std::string run(const Plan& plan, Result& result);

// The subcommand: completes the plan, runs it and reports. Answers the exit code.
int run_bench(Plan plan);

inline constexpr std::string_view exit_codes_help =
    "Exit codes:\n"
    "  0  the run came to its end, and every message arrived\n"
    "  1  the arguments are wrong\n"
    "  2  cannot connect, or the server ended or refused a connection\n"
    "  4  messages are missing, repeated, out of order or damaged\n";

}  // namespace bench
