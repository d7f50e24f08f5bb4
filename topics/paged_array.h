// PagedArray: an array that grows without moving what stands in it.
//
// A vector of a million records copies them all when it grows, in the middle of a turn; here growth
// costs one page.
//
// Owner: its holder. Thread: its holder's.
// Invariants:
//  1. Elements never move. Growth value-initialises them.
//  2. Pages stay until the end: a shard that once had a million subscribers expects them back.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "io/base/check.h"

namespace topics {

template <class T>
class PagedArray {
  public:
    uint32_t size() const { return size_; }

    T& operator[](uint32_t index) {
        DCHECK(index < size_);
        return pages_[index / page_count][index % page_count];
    }

    // Makes every index below `size` valid.
    void grow_to(uint32_t size) {
        if (size <= size_) return;
        while (uint64_t{pages_.size()} * page_count < size) {
            pages_.push_back(std::make_unique<T[]>(page_count));
        }
        size_ = size;
    }

    uint64_t memory_bytes() const {
        return pages_.capacity() * sizeof(pages_[0]) + pages_.size() * page_count * sizeof(T);
    }

  private:
    static constexpr uint32_t page_count = 256;  // elements of a page

    std::vector<std::unique_ptr<T[]>> pages_;
    uint32_t size_ = 0;
};

}  // namespace topics
