#include "tests/sim/stream_gaps.h"

#include <algorithm>

namespace sim {

void StreamGaps::pushed(uint32_t topic, const Place& place) {
    for (Gap& gap : gaps_) {
        if (concerns(gap, topic)) gap.below.try_emplace(topic, place.offset);
    }
}

void StreamGaps::position(const Cursor& cursor) {
    for (Gap& gap : gaps_) {
        if (!gap.upto) gap.upto = cursor;
    }
}

bool StreamGaps::is_excused(MessageId message, bool is_newest) const {
    const Ledger::Message& what = ledger_.at(message);
    return std::any_of(gaps_.begin(), gaps_.end(), [&](const Gap& gap) {
        if (is_newest && gap.code == codec::GapCode::conflated) return false;
        if (!concerns(gap, what.topic) || what.sent_step >= gap.step) return false;
        if (!what.place) return true;
        const auto [partition, offset] = *what.place;
        const auto below = gap.below.find(what.topic);
        if (below != gap.below.end() && offset >= below->second) return false;
        if (gap.upto && offset > gap.upto->of(partition)) return false;
        return offset > gap.behind.of(partition);
    });
}

StreamGaps::Sum StreamGaps::sum_of(uint32_t filter, size_t first) const {
    Sum sum;
    for (size_t index = first; index < gaps_.size(); ++index) {
        const Gap& gap = gaps_[index];
        if (gap.filter != filter) continue;
        sum.messages_count += gap.missed.value_or(0);
        sum.is_exact = sum.is_exact && gap.missed.has_value();
    }
    return sum;
}

}  // namespace sim
