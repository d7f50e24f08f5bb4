#include "topics/link_array.h"

#include <algorithm>
#include <utility>

namespace topics {

uint32_t LinkArray::find(uint32_t other) const {
    constexpr uint32_t stride = 64;
    const std::span<const uint32_t> all = others();
    uint32_t index = 0;
    // Compilers make vectors of a loop without an early end; only the stride with the entry is
    // walked one by one.
    for (; count_ - index >= stride; index += stride) {
        uint32_t hits_count = 0;
        for (const uint32_t candidate : all.subspan(index, stride))
            hits_count += candidate == other;
        if (hits_count != 0) break;
    }
    for (; index < count_; ++index) {
        if (all[index] == other) return index;
    }
    return none;
}

void LinkArray::append(uint32_t other, uint32_t back) {
    // With 2n + 1 a block is 24, 56, 120, … bytes, which fills the allocator's size classes (it
    // adds 8).
    if (count_ == capacity_) set_capacity(capacity_ * 2 + 1);
    data()[count_] = other;
    data()[capacity_ + count_] = back;
    ++count_;
}

void LinkArray::remove(uint32_t index) {
    CHECK(index < count_);
    const uint32_t last = count_ - 1;
    data()[index] = data()[last];
    data()[capacity_ + index] = data()[capacity_ + last];
    count_ = last;
    if (count_ == 0) {
        clear();
    } else if (count_ <= capacity_ / 4) {
        // Half, not a quarter: coming and going at the edge must not allocate every time.
        set_capacity((capacity_ - 1) / 2);
    }
}

void LinkArray::clear() {
    block_.reset();
    count_ = 0;
    capacity_ = 1;
}

void LinkArray::set_capacity(uint32_t capacity) {
    DCHECK(capacity > 1 && capacity >= count_);
    auto block = std::make_unique_for_overwrite<uint32_t[]>(size_t{capacity} * 2);
    std::copy_n(data(), count_, block.get());
    std::copy_n(data() + capacity_, count_, block.get() + capacity);
    block_ = std::move(block);
    capacity_ = capacity;
}

}  // namespace topics
