// SlotFifo: connections that wait for something, first come first served.
//
// Owner: a component of a shard. Thread: its shard's. A slot in it may have become stale; whoever
// takes it asks the slab. The caller keeps a flag in the connection when a slot must not stand here
// twice.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include "io/base/check.h"
#include "io/base/slab.h"

namespace broker {

class SlotFifo {
  public:
    bool is_empty() const { return count_ == 0; }
    size_t count() const { return count_; }

    void push(base::Slot slot) {
        if (count_ == ring_.size()) grow();
        ring_[(head_ + count_) & (ring_.size() - 1)] = slot;
        ++count_;
    }

    base::Slot pop() {
        DCHECK(count_ > 0);
        const base::Slot slot = ring_[head_];
        head_ = (head_ + 1) & (ring_.size() - 1);
        --count_;
        return slot;
    }

  private:
    static constexpr size_t capacity_min = 16;

    void grow() {
        std::vector<base::Slot> grown(std::max(capacity_min, 2 * ring_.size()));
        for (size_t index = 0; index < count_; ++index) {
            grown[index] = ring_[(head_ + index) & (ring_.size() - 1)];
        }
        ring_ = std::move(grown);
        head_ = 0;
    }

    std::vector<base::Slot> ring_;  // empty, or a power of two
    size_t head_ = 0;
    size_t count_ = 0;
};

}  // namespace broker
