// MessageRing: the kept messages of one topic, oldest first, with any of them reached in O(1).
//
// Owner: a topic of HistoryStore. Thread: its owner's.
// Invariants:
//  1. The ring does not own the messages.
//  2. A single message stands in the object; a block exists only for more than one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "io/base/check.h"
#include "topics/heap_bytes.h"
#include "topics/stored_message.h"

namespace topics {

class MessageRing {
  public:
    static constexpr uint32_t count_max = uint32_t{1} << 31;

    MessageRing() = default;
    MessageRing(MessageRing&& other) noexcept { *this = std::move(other); }
    MessageRing& operator=(MessageRing&& other) noexcept {
        std::swap(place_, other.place_);
        std::swap(first_, other.first_);
        std::swap(count_, other.count_);
        std::swap(capacity_, other.capacity_);
        return *this;
    }
    ~MessageRing() {
        if (capacity_ > 1) ::operator delete(place_.block);
    }

    uint32_t count() const { return count_; }
    StoredMessage* operator[](uint32_t index) const {
        DCHECK(index < count_);
        if (capacity_ == 1) return place_.single;
        const uint64_t slot = uint64_t{first_} + index;
        return place_.block[slot < capacity_ ? slot : slot - capacity_];
    }
    StoredMessage* oldest() const { return (*this)[0]; }
    StoredMessage* newest() const { return (*this)[count_ - 1]; }

    // How many have offsets of at most `offset`.
    uint32_t count_upto(uint64_t offset) const {
        if (count_ == 0 || newest()->offset() <= offset) return count_;
        uint32_t low = 0;
        uint32_t high = count_ - 1;
        while (low < high) {
            const uint32_t middle = low + (high - low) / 2;
            if ((*this)[middle]->offset() <= offset) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        return low;
    }

    // `limit` is the most that will ever stand here, as far as is known: a ring that grows stops
    // there instead of at the next power of two.
    void push(StoredMessage* message, uint64_t limit) {
        CHECK(count_ < count_max);
        if (count_ == capacity_) {
            const uint64_t doubled = std::max<uint64_t>(4, uint64_t{capacity_} * 2);
            set_capacity(static_cast<uint32_t>(
                limit > capacity_ ? std::min<uint64_t>(doubled, limit) : doubled));
        }
        ++count_;
        slot(count_ - 1) = message;
    }

    void pop_oldest() {
        CHECK(count_ > 0);
        --count_;
        if (++first_ == capacity_) first_ = 0;
        // Half, not a quarter: coming and going at the edge must not allocate every time.
        if (count_ <= capacity_ / 4 && capacity_ > 1) {
            set_capacity(count_ <= 1 ? 1 : std::max(count_, capacity_ / 2));
        }
    }

    // What stands outside of the object.
    uint64_t memory_bytes() const {
        return capacity_ == 1 ? 0 : heap_bytes(uint64_t{capacity_} * slot_bytes);
    }

  private:
    static constexpr size_t slot_bytes = sizeof(void*);

    union Place {
        StoredMessage* single = nullptr;  // capacity 1
        StoredMessage** block;
    };

    StoredMessage*& slot(uint32_t index) {
        if (capacity_ == 1) return place_.single;
        const uint64_t slot = uint64_t{first_} + index;
        return place_.block[slot < capacity_ ? slot : slot - capacity_];
    }

    void set_capacity(uint32_t capacity) {
        DCHECK(capacity >= count_);
        Place place;
        if (capacity > 1) {
            place.block =
                static_cast<StoredMessage**>(::operator new (size_t{capacity} * slot_bytes));
            for (uint32_t index = 0; index < count_; ++index) place.block[index] = (*this)[index];
        } else {
            place.single = count_ == 0 ? nullptr : oldest();
        }
        if (capacity_ > 1) ::operator delete(place_.block);
        place_ = place;
        first_ = 0;
        capacity_ = capacity;
    }

    Place place_;
    uint32_t first_ = 0;
    uint32_t count_ = 0;
    uint32_t capacity_ = 1;
};
static_assert(sizeof(MessageRing) == 24);

}  // namespace topics
