// TimerWheel: at most one timer per connection slot, by index, with coarse ticks.
//
// Owner: a shard. Thread: its owner's.
// Invariants:
//  1. A timer never expires before its deadline; it expires at most one tick (64 ms) after it, plus
//     what a turn takes.
//  2. arm on an armed index replaces its deadline; cancel on an unarmed index does nothing.
//  3. arm, cancel and the expiry of one timer cost O(1); a deadline beyond the wheel's turn of 65 s
//     is looked at once per turn of the wheel.
//  4. The order of expiry is that of the ticks and, within one, that of arming. So a seed
//     reproduces it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace io {

class TimerWheel {
  public:
    static constexpr uint64_t tick_ns = 64'000'000;

    explicit TimerWheel(uint64_t now_ns);

    void arm(uint32_t index, uint64_t deadline_ns);
    void cancel(uint32_t index);
    bool is_armed(uint32_t index) const;
    uint32_t armed_count() const { return armed_count_; }

    // When expire() should be called next; base::never_ns when nothing is armed. It may be early (a
    // bucket can turn out to hold only later deadlines), never late.
    uint64_t next_deadline_ns() const;

    // Disarms and hands out up to expired.size() indices whose deadline is not after now_ns;
    // answers how many. When it fills the span, more may be due: call again in the next turn.
    uint32_t expire(uint64_t now_ns, std::span<uint32_t> expired);

  private:
    static constexpr uint32_t none = UINT32_MAX;
    static constexpr uint32_t buckets_count = 1024;

    static constexpr uint64_t never = UINT64_MAX;

    // A doubly linked list per bucket through these cells, one per index. The bucket is that of the
    // tick, at the end of which the deadline has passed.
    struct Cell {
        uint64_t tick = never;  // never: not armed
        uint32_t previous = none;
        uint32_t next = none;
    };
    static_assert(sizeof(Cell) == 16);  // there is one per connection
    struct Bucket {
        uint32_t head = none;
        uint32_t tail = none;
    };

    // Hands out what is due in the bucket of tick_now_, until `expired` is full; answers the new
    // count.
    uint32_t expire_tick(std::span<uint32_t> expired, uint32_t count);
    // Ticks from tick_now_ to the first one whose bucket is not empty. Something must be armed.
    uint32_t occupied_distance() const;
    // The first tick at which an armed timer is due; looks at all of them.
    uint64_t tick_first() const;

    void link(uint32_t index);
    void unlink(uint32_t index);

    std::vector<Cell> cells_;  // grows to the highest index that was ever armed
    std::vector<Bucket> buckets_;
    std::vector<uint64_t> occupied_;  // one bit per bucket
    uint64_t tick_now_;               // the first tick that was not looked at completely
    uint32_t armed_count_ = 0;
};

}  // namespace io
