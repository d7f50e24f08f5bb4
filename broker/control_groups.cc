#include "broker/control_groups.h"

#include <algorithm>
#include <fstream>
#include <string_view>

namespace broker {

namespace {

// The first number in the file of that name; -1 when there is none, as in "max".
int64_t number_in(const std::string& name) {
    std::ifstream file(name);
    int64_t number = 0;
    return file >> number ? number : -1;
}

uint64_t memory_bytes_in(const std::string& file) {
    const int64_t bytes = number_in(file);
    return bytes > 0 ? static_cast<uint64_t>(bytes) : UINT64_MAX;
}

uint32_t processors_of(int64_t quota, int64_t period) {
    if (quota <= 0 || period <= 0) return UINT32_MAX;
    return static_cast<uint32_t>(std::min<int64_t>((quota - 1) / period + 1, UINT32_MAX));
}

// cpu.max is "QUOTA PERIOD", or "max PERIOD" without a quota.
uint32_t processors_in(const std::string& file_name) {
    std::ifstream file(file_name);
    int64_t quota = 0;
    int64_t period = 0;
    return file >> quota >> period ? processors_of(quota, period) : UINT32_MAX;
}

bool has_controller(std::string_view list, std::string_view controller) {
    while (!list.empty()) {
        const size_t comma = std::min(list.find(','), list.size());
        if (list.substr(0, comma) == controller) return true;
        list.remove_prefix(std::min(comma + 1, list.size()));
    }
    return false;
}

void lower(ControlGroupLimits& limits, const ControlGroupLimits& others) {
    limits.memory_bytes = std::min(limits.memory_bytes, others.memory_bytes);
    limits.processors = std::min(limits.processors, others.processors);
}

// The limits of one group; `controllers` is empty for version 2, which has one tree for all.
ControlGroupLimits limits_of(const std::string& root, std::string_view controllers,
                             const std::string& group) {
    ControlGroupLimits limits;
    if (controllers.empty()) {
        limits.memory_bytes = memory_bytes_in(root + group + "/memory.max");
        limits.processors = processors_in(root + group + "/cpu.max");
    }
    if (has_controller(controllers, "memory")) {
        limits.memory_bytes = memory_bytes_in(root + "/memory" + group + "/memory.limit_in_bytes");
    }
    if (has_controller(controllers, "cpu")) {
        const std::string folder = root + "/cpu" + group;
        limits.processors = processors_of(number_in(folder + "/cpu.cfs_quota_us"),
                                          number_in(folder + "/cpu.cfs_period_us"));
    }
    return limits;
}

}  // namespace

ControlGroupLimits read_control_group_limits(const std::string& root,
                                             const std::string& membership) {
    ControlGroupLimits limits;
    std::ifstream lines(membership);
    for (std::string line; std::getline(lines, line);) {
        // hierarchy-ID:controller-list:cgroup-path
        const size_t id_end = line.find(':');
        if (id_end == std::string::npos) continue;
        const size_t list_end = line.find(":/", id_end + 1);
        if (list_end == std::string::npos) continue;
        const std::string controllers = line.substr(id_end + 1, list_end - id_end - 1);
        std::string group = line.substr(list_end + 1);
        // Outside of what the namespace shows; then its root is all there is to see.
        if (group.find("/..") != std::string::npos) group.clear();
        while (group.size() > 1) {
            lower(limits, limits_of(root, controllers, group));
            group.erase(group.rfind('/'));
        }
        lower(limits, limits_of(root, controllers, ""));
    }
    return limits;
}

}  // namespace broker
