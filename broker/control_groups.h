// What this process may use by the control groups that it is in (cgroups(7), and cgroup-v2 in the
// kernel's admin guide): a container's limits, and those of a systemd unit. Read by main at start.
//
// A group's limit holds for all groups below it, so the least of a path up to the root counts. What
// a container or a namespace hides cannot be read; within it the root is the container's own group.
#pragma once

#include <cstdint>
#include <string>

namespace broker {

struct ControlGroupLimits {
    uint64_t memory_bytes = UINT64_MAX;  // UINT64_MAX: none
    uint32_t processors = UINT32_MAX;    // the CPU quota, rounded up; UINT32_MAX: none
};

// Version 2, version 1 and both at a time. What is not there or cannot be read is no limit.
// `root` is where they are mounted, `membership` says in which ones this process is.
ControlGroupLimits read_control_group_limits(const std::string& root = "/sys/fs/cgroup",
                                             const std::string& membership = "/proc/self/cgroup");

}  // namespace broker
