// LinkArray: one side of a many-to-many relation, with removal in O(1).
//
// A filter has an array of its subscribers, a subscriber one of its filters. An entry is a pair:
// the `other` it is linked with, and `back`, the index of the same link in the other's array. So a
// link that is known on one side is found on both without a search. The others stand contiguously,
// apart from the backs: a fan-out reads nothing else.
//
// Owner: its holder. Thread: its holder's.
// Invariants:
//  1. remove() fills the hole with the last entry; whoever removes tells the moved entry's other
//     by set_back() on its array.
//  2. The first entry stands in the object, more than one in a block: most topics have one
//     subscriber.
//  3. Order depends on the history of calls alone.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "io/base/check.h"

namespace topics {

class LinkArray {
  public:
    static constexpr uint32_t none = UINT32_MAX;

    uint32_t count() const { return count_; }
    std::span<const uint32_t> others() const { return {data(), count_}; }

    uint32_t other(uint32_t index) const {
        DCHECK(index < count_);
        return data()[index];
    }
    uint32_t back(uint32_t index) const {
        DCHECK(index < count_);
        return data()[capacity_ + index];
    }
    void set_back(uint32_t index, uint32_t back) {
        DCHECK(index < count_);
        data()[capacity_ + index] = back;
    }

    // The index of the entry with this other, or none.
    uint32_t find(uint32_t other) const;
    void append(uint32_t other, uint32_t back);
    // Afterwards `index` names the entry that was the last, unless it was the last itself.
    void remove(uint32_t index);
    void clear();

    // What stands outside of the object.
    uint64_t block_bytes() const { return block_ == nullptr ? 0 : uint64_t{capacity_} * 8; }

  private:
    uint32_t* data() { return block_ == nullptr ? first_.data() : block_.get(); }
    const uint32_t* data() const { return block_ == nullptr ? first_.data() : block_.get(); }
    void set_capacity(uint32_t capacity);

    std::unique_ptr<uint32_t[]> block_;  // `capacity_` others, then as many backs
    uint32_t count_ = 0;
    uint32_t capacity_ = 1;            // of the block, or 1 while there is none
    std::array<uint32_t, 2> first_{};  // stands in for a block of capacity 1
};
static_assert(sizeof(LinkArray) == 24);

}  // namespace topics
