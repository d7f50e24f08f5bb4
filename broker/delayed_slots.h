// DelayedSlots: connections that wait until a time, the earliest first.
//
// Owner: a component of a shard. Thread: its shard's. A slot in it may have become stale; whoever
// takes it asks the slab. Slots of the same time come in no particular order, but in the same one
// each time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "io/base/slab.h"
#include "io/base/units.h"

namespace broker {

class DelayedSlots {
  public:
    void push(uint64_t due_ns, base::Slot slot) {
        waiting_.push_back({due_ns, slot});
        std::push_heap(waiting_.begin(), waiting_.end(), is_later);
    }

    // When the next one is due; base::never_ns when there is none.
    uint64_t next_ns() const { return waiting_.empty() ? base::never_ns : waiting_.front().due_ns; }

    // Takes the next one. Only if there is one.
    base::Slot pop() {
        std::pop_heap(waiting_.begin(), waiting_.end(), is_later);
        const base::Slot slot = waiting_.back().slot;
        waiting_.pop_back();
        return slot;
    }

  private:
    struct Waiting {
        uint64_t due_ns;
        base::Slot slot;
    };
    static bool is_later(const Waiting& left, const Waiting& right) {
        return left.due_ns > right.due_ns;
    }

    std::vector<Waiting> waiting_;  // a heap
};

}  // namespace broker
