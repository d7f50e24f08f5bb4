#include "tests/sim/reloads.h"

#include <algorithm>

#include "io/base/check.h"

namespace sim {

const ReloadableLimits* Reloads::due(uint64_t now_ns) const {
    const bool is_late = offers_count_ == scenario_.reloads.size();
    if (is_pending() || is_late || now_ns < scenario_.reloads[offers_count_].at_ns) return nullptr;
    return &scenario_.reloads[offers_count_].limits;
}

void Reloads::offered() {
    CHECK(!is_pending());
    ++offers_count_;
}

const ReloadableLimits& Reloads::limits_after(uint32_t offers_count) const {
    if (offers_count == 0) return scenario_.limits;
    return scenario_.reloads[offers_count - 1].limits;
}

uint32_t Reloads::head_bytes_least() const {
    return std::min(limits_after(taken_count_).http_head_bytes_max,
                    limits_after(offers_count_).http_head_bytes_max);
}

uint32_t Reloads::head_bytes_most() const {
    return std::max(limits_after(taken_count_).http_head_bytes_max,
                    limits_after(offers_count_).http_head_bytes_max);
}

}  // namespace sim
