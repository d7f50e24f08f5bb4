#include "broker/processors.h"

#include <sched.h>

#include <algorithm>
#include <cstdio>

namespace broker {

namespace {

// cgroup v2's cpu.max is "QUOTA PERIOD", or "max PERIOD" without a quota; v1 has a file for each.
uint32_t quota_processors() {
    long long quota = 0;
    long long period = 0;
    if (std::FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "re")) {
        const int fields = std::fscanf(file, "%lld %lld", &quota, &period);
        std::fclose(file);
        if (fields != 2) return UINT32_MAX;
    } else if (std::FILE* quota_file = std::fopen("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "re")) {
        const int fields = std::fscanf(quota_file, "%lld", &quota);
        std::fclose(quota_file);
        period = 100'000;  // the kernel's default, which everybody keeps
        if (fields != 1) return UINT32_MAX;
    }
    if (quota <= 0 || period <= 0) return UINT32_MAX;
    return static_cast<uint32_t>((quota + period - 1) / period);
}

}  // namespace

uint32_t usable_processors() {
    cpu_set_t mask;
    CPU_ZERO(&mask);
    const bool is_known = sched_getaffinity(0, sizeof mask, &mask) == 0;
    const uint32_t in_mask = is_known ? static_cast<uint32_t>(CPU_COUNT(&mask)) : 1;
    return std::max(1u, std::min(in_mask, quota_processors()));
}

bool pin_to_processor(uint32_t index) {
    cpu_set_t mask;
    CPU_ZERO(&mask);
    if (sched_getaffinity(0, sizeof mask, &mask) != 0) return false;
    uint32_t left = index % static_cast<uint32_t>(CPU_COUNT(&mask));
    for (size_t processor = 0; processor < CPU_SETSIZE; ++processor) {
        if (!CPU_ISSET(processor, &mask) || left-- > 0) continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(processor, &one);
        return sched_setaffinity(0, sizeof one, &one) == 0;
    }
    return false;
}

}  // namespace broker
