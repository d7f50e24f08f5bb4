// SlotFifo: connections that wait for something, first come first served.
//
// Owner: a component of a shard. Thread: its shard's. A slot in it may have become stale; whoever
// takes it asks the slab. The caller keeps a flag in the connection when a slot must not stand here
// twice.
#pragma once

#include <cstddef>
#include <vector>

#include "io/base/slab.h"

namespace broker {

class SlotFifo {
  public:
    bool is_empty() const { return head_ == slots_.size(); }
    size_t count() const { return slots_.size() - head_; }
    void push(base::Slot slot) { slots_.push_back(slot); }

    base::Slot pop() {
        const base::Slot slot = slots_[head_++];
        if (head_ == slots_.size()) {
            slots_.clear();
            head_ = 0;
        } else if (head_ >= compact_count && head_ * 2 >= slots_.size()) {
            slots_.erase(slots_.begin(), slots_.begin() + static_cast<ptrdiff_t>(head_));
            head_ = 0;
        }
        return slot;
    }

  private:
    static constexpr size_t compact_count = 1024;

    std::vector<base::Slot> slots_;
    size_t head_ = 0;
};

}  // namespace broker
