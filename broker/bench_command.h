// The command line of `fanfare bench`. For main only.
#pragma once

#include <CLI/CLI.hpp>

#include "tools/bench/plan.h"

namespace broker {

// What the user gives goes into `plan`, which outlives the command.
void add_bench(CLI::App& command, bench::Plan& plan);

}  // namespace broker
