#include "tools/clock.h"

#include <climits>
#include <ctime>

#include "io/base/units.h"

namespace tools {

uint64_t monotonic_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * base::ns_per_s + static_cast<uint64_t>(now.tv_nsec);
}

int64_t utc_seconds() {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec;
}

std::string utc_text(int64_t seconds) {
    const time_t time = seconds;
    tm parts{};
    gmtime_r(&time, &parts);
    char text[sizeof "2026-11-21T09:30:00Z" + 8];  // years may grow
    return {text, strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts)};
}

void sleep_until(uint64_t deadline_ns) {
    timespec deadline{};
    deadline.tv_sec = static_cast<time_t>(deadline_ns / base::ns_per_s);
    deadline.tv_nsec = static_cast<long>(deadline_ns % base::ns_per_s);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &deadline, nullptr) != 0) {
    }
}

int poll_timeout_ms(uint64_t deadline_ns) {
    if (deadline_ns == base::never_ns) return -1;
    const uint64_t now_ns = monotonic_ns();
    if (deadline_ns <= now_ns) return 0;
    const uint64_t left_ms = base::div_ceil(deadline_ns - now_ns, base::ns_per_ms);
    return left_ms > INT_MAX ? INT_MAX : static_cast<int>(left_ms);
}

}  // namespace tools
