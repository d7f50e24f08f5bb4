// Overload: whether a shard has more to do than it can, told by how long what was received waits.
//
// The events of a turn have waited at most since the turn before began, so the time from one turn's
// beginning to the next, less what it slept, bounds the age of the oldest receive that was not
// handled. One long turn is no overload (ten thousand clients came at once, a large history was
// read): as with CoDel, what counts is the least delay within an interval. A big broadcast is none
// either: its sends are spread over turns of a bounded length, between which everything that was
// received is handled.
//
// Owner: a shard. Thread: its shard's.
// Invariants:
//  1. is_overloaded() turns true only after every turn of a whole interval was longer than the
//     bound, and false with the first interval that had a shorter one, or slept half of its time.
#pragma once

#include <algorithm>
#include <cstdint>

#include "io/base/units.h"

namespace broker {

class Overload {
  public:
    static constexpr uint64_t interval_ns = base::ns_per_s / 2;

    // `bound_ns` 0: never overloaded.
    explicit Overload(uint64_t bound_ns) : bound_ns_(bound_ns) {}

    // At the beginning of a turn at now_ns; the one before was busy for busy_ns.
    void turn_began(uint64_t now_ns, uint64_t busy_ns) {
        least_ns_ = std::min(least_ns_, busy_ns);
        busy_ns_ += busy_ns;
        if (now_ns < interval_began_ns_ + interval_ns) return;
        // A shard that sleeps half of its time is not overloaded, however long its turns are.
        const bool is_busy = 2 * busy_ns_ >= now_ns - interval_began_ns_;
        is_overloaded_ = bound_ns_ > 0 && least_ns_ > bound_ns_ && is_busy;
        interval_began_ns_ = now_ns;
        least_ns_ = UINT64_MAX;
        busy_ns_ = 0;
    }
    bool is_overloaded() const { return is_overloaded_; }

  private:
    const uint64_t bound_ns_;
    uint64_t interval_began_ns_ = 0;
    uint64_t least_ns_ = UINT64_MAX;
    uint64_t busy_ns_ = 0;
    bool is_overloaded_ = false;
};

}  // namespace broker
