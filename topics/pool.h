// Pool: records addressed by small dense ids, given out and taken back.
//
// Unlike base::Slab it keeps no generations: an id here is held only by structures of the same
// owner, which let go of it before they release it, so there is nothing stale to detect.
//
// Owner: its holder. Thread: its holder's.
// Invariants:
//  1. Records never move; a released one is reset to T{} at once, which frees what it owned.
//  2. The id released last is taken first: ids depend on the history of calls alone.
#pragma once

#include <cstdint>
#include <vector>

#include "io/base/check.h"
#include "topics/paged_array.h"

namespace topics {

template <class T>
class Pool {
  public:
    // Records that are taken.
    uint32_t count() const { return records_.size() - static_cast<uint32_t>(free_.size()); }

    [[nodiscard]] uint32_t take() {
        if (free_.empty()) {
            const uint32_t id = records_.size();
            records_.grow_to(id + 1);
            return id;
        }
        const uint32_t id = free_.back();
        free_.pop_back();
        return id;
    }

    void release(uint32_t id) {
        CHECK(count() > 0);
        records_[id] = T{};
        free_.push_back(id);
    }

    T& operator[](uint32_t id) { return records_[id]; }

    uint64_t memory_bytes() const {
        return records_.memory_bytes() + free_.capacity() * sizeof(uint32_t);
    }

  private:
    PagedArray<T> records_;
    std::vector<uint32_t> free_;
};

}  // namespace topics
