#include "broker/log_writer.h"

#include <cstdio>
#include <ctime>

#include "io/base/units.h"

namespace broker {

uint64_t clock_ns(clockid_t clock) {
    timespec time{};
    clock_gettime(clock, &time);
    return static_cast<uint64_t>(time.tv_sec) * base::ns_per_s +
           static_cast<uint64_t>(time.tv_nsec);
}

LogWriter::LogWriter(Log& log)
    : log_(log), wall_minus_monotonic_ns_(clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC)) {}

void LogWriter::write(uint64_t monotonic_ns, const std::string& line) const {
    const uint64_t wall_ns = monotonic_ns + wall_minus_monotonic_ns_;
    const time_t seconds = static_cast<time_t>(wall_ns / base::ns_per_s);
    tm parts{};
    gmtime_r(&seconds, &parts);
    char time[32];
    std::strftime(time, sizeof time, "%Y-%m-%dT%H:%M:%S", &parts);
    const unsigned ms = static_cast<unsigned>(wall_ns / base::ns_per_ms % 1000);
    std::fprintf(stderr, "time=%s.%03uZ %s\n", time, ms, line.c_str());
}

void LogWriter::write_now(LogLevel level, std::string_view message,
                          const std::vector<LogField>& fields) const {
    if (!log_.wants(level)) return;
    std::string line = "level=" + std::string(name_of(level));
    append_log_field(line, "msg", message);
    for (const LogField& field : fields) append_log_field(line, field.key, field.value);
    write(clock_ns(CLOCK_MONOTONIC), line);
}

void LogWriter::drain() {
    uint64_t now_ns = 0;
    while (log_.read(now_ns, line_)) write(now_ns, line_);
}

}  // namespace broker
