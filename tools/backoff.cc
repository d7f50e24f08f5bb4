#include "tools/backoff.h"

#include <algorithm>

namespace tools {

bool may_reconnect(uint16_t close_code) {
    if (close_code >= 4000 && close_code <= 4099) return false;
    switch (close_code) {
        case 1000:
        case 1002:
        case 1003:
        case 1007:
        case 1008:
        case 1009:
        case 1010: return false;
        default: return true;
    }
}

uint64_t Backoff::next_ns(uint64_t asked_for_ns) {
    const uint64_t jitter_ns = prng_.between(0, bound_ns_);
    bound_ns_ = std::min(2 * bound_ns_, last_bound_ns);
    return asked_for_ns + jitter_ns;
}

}  // namespace tools
