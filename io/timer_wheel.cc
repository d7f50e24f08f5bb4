#include "io/timer_wheel.h"

#include <algorithm>
#include <bit>

#include "io/base/check.h"
#include "io/base/units.h"

namespace io {

namespace {

constexpr uint32_t bits_per_word = 64;

// The tick at which a deadline has passed for certain: rounded up, so that nothing expires early.
uint64_t tick_of(uint64_t deadline_ns) {
    // Not div_ceil: its sum overflows for base::never_ns.
    const uint64_t whole = deadline_ns / TimerWheel::tick_ns;
    return deadline_ns % TimerWheel::tick_ns == 0 ? whole : whole + 1;
}

}  // namespace

TimerWheel::TimerWheel(uint64_t now_ns)
    : buckets_(buckets_count),
      occupied_(buckets_count / bits_per_word, 0),
      tick_now_(now_ns / tick_ns) {
    static_assert(std::has_single_bit(buckets_count) && buckets_count % bits_per_word == 0);
}

void TimerWheel::arm(uint32_t index, uint64_t deadline_ns) {
    CHECK(index != none);
    if (index >= cells_.size()) cells_.resize(size_t{index} + 1);
    if (is_armed(index)) unlink(index);
    // What is overdue already expires with the next tick that is looked at.
    cells_[index].tick = std::max(tick_of(deadline_ns), tick_now_);
    link(index);
}

void TimerWheel::cancel(uint32_t index) {
    if (is_armed(index)) unlink(index);
}

bool TimerWheel::is_armed(uint32_t index) const {
    return index < cells_.size() && cells_[index].tick != never;
}

uint64_t TimerWheel::next_deadline_ns() const {
    if (armed_count_ == 0) return base::never_ns;
    return (tick_now_ + occupied_distance()) * tick_ns;
}

uint32_t TimerWheel::expire(uint64_t now_ns, std::span<uint32_t> expired) {
    const uint64_t tick_last = now_ns / tick_ns;
    uint32_t count = 0;
    uint32_t looked_at = 0;  // ticks since the last expiry
    while (armed_count_ > 0) {
        const uint32_t distance = occupied_distance();
        if (distance > tick_last || tick_now_ > tick_last - distance) break;
        tick_now_ += distance;
        looked_at += distance;
        const uint32_t before = count;
        count = expire_tick(expired, count);
        if (count == expired.size()) return count;  // this tick may hold more
        if (count > before) looked_at = 0;
        ++tick_now_;
        ++looked_at;
        // After a great jump of time the wheel would be turned once for every 65 s of it. When a
        // whole turn found nothing that is due, go straight to the first tick at which something
        // is.
        if (looked_at >= buckets_count) {
            tick_now_ = std::max(tick_now_, std::min(tick_first(), tick_last));
            looked_at = 0;
        }
    }
    tick_now_ = std::max(tick_now_, tick_last + 1);
    return count;
}

uint32_t TimerWheel::expire_tick(std::span<uint32_t> expired, uint32_t count) {
    uint32_t index = buckets_[tick_now_ % buckets_count].head;
    while (index != none && count < expired.size()) {
        const uint32_t next = cells_[index].next;
        if (cells_[index].tick <= tick_now_) {
            unlink(index);
            expired[count++] = index;
        }
        index = next;
    }
    return count;
}

uint32_t TimerWheel::occupied_distance() const {
    const uint32_t start = static_cast<uint32_t>(tick_now_ % buckets_count);
    const uint32_t words = static_cast<uint32_t>(occupied_.size());
    // The first word is seen twice: its bits from `start` on at first, the ones before it at the
    // end.
    uint64_t word = occupied_[start / bits_per_word] & (UINT64_MAX << (start % bits_per_word));
    for (uint32_t step = 0; step <= words; ++step) {
        const uint32_t position = (start / bits_per_word + step) % words;
        if (step > 0) word = occupied_[position];
        if (word == 0) continue;
        const uint32_t bit = static_cast<uint32_t>(std::countr_zero(word));
        return (position * bits_per_word + bit - start) % buckets_count;
    }
    UNREACHABLE();  // armed_count_ > 0, so a bit is set
}

uint64_t TimerWheel::tick_first() const {
    uint64_t first = never;
    for (const Cell& cell : cells_) {
        first = std::min(first, cell.tick);
    }
    return first;
}

void TimerWheel::link(uint32_t index) {
    Cell& cell = cells_[index];
    const uint32_t number = static_cast<uint32_t>(cell.tick % buckets_count);
    Bucket& bucket = buckets_[number];
    cell.previous = bucket.tail;
    cell.next = none;
    if (bucket.tail == none) {
        bucket.head = index;
        occupied_[number / bits_per_word] |= uint64_t{1} << (number % bits_per_word);
    } else {
        cells_[bucket.tail].next = index;
    }
    bucket.tail = index;
    ++armed_count_;
}

void TimerWheel::unlink(uint32_t index) {
    Cell& cell = cells_[index];
    const uint32_t number = static_cast<uint32_t>(cell.tick % buckets_count);
    Bucket& bucket = buckets_[number];
    if (cell.previous == none) {
        bucket.head = cell.next;
    } else {
        cells_[cell.previous].next = cell.next;
    }
    if (cell.next == none) {
        bucket.tail = cell.previous;
    } else {
        cells_[cell.next].previous = cell.previous;
    }
    if (bucket.head == none) {
        occupied_[number / bits_per_word] &= ~(uint64_t{1} << (number % bits_per_word));
    }
    cell.tick = never;
    --armed_count_;
}

}  // namespace io
