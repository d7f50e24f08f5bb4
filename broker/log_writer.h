// LogWriter: writes log lines on the standard error, with the time of day.
//
// Owner: main. Thread: main's.
#pragma once

#include <time.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "broker/log.h"

namespace broker {

uint64_t clock_ns(clockid_t clock);

class LogWriter {
  public:
    explicit LogWriter(Log& log);

    // A line of main's own, which has no lane.
    void write_now(LogLevel level, std::string_view message,
                   const std::vector<LogField>& fields) const;
    // The lines that the shards have written.
    void drain();

  private:
    void write(uint64_t monotonic_ns, const std::string& line) const;

    Log& log_;
    const uint64_t wall_minus_monotonic_ns_;
    std::string line_;  // scratch
};

}  // namespace broker
