// How the benchmarks print: tables with a heading each, and no column that is empty.
//
//   ns         time of one operation, by the thread's CPU time
//   GB/s       bytes, 10^9 of them
//   million/s  operations, where one turn of the benchmark does many
//   others     what the benchmark counts by that name
//
// google-benchmark's own flags work as ever; --benchmark_out=FILE writes all figures as JSON.
#pragma once

#include <span>

namespace bench {

// A table has the benchmarks whose name begins with its prefix and '/', or is the prefix.
struct Table {
    const char* prefix;
    const char* heading;
};

// The whole main(): 0, or 1 when a benchmark failed, or 2 for a flag that nobody knows.
int run_benchmarks(int argc, char** argv, std::span<const Table> tables, void (*register_all)());

}  // namespace bench
