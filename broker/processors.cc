#include "broker/processors.h"

#include <sched.h>

#include <algorithm>

#include "broker/control_groups.h"

namespace broker {

uint32_t usable_processors() {
    cpu_set_t mask;
    CPU_ZERO(&mask);
    const bool is_known = sched_getaffinity(0, sizeof mask, &mask) == 0;
    const uint32_t in_mask = is_known ? static_cast<uint32_t>(CPU_COUNT(&mask)) : 1;
    return std::max(1u, std::min(in_mask, read_control_group_limits().processors));
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
