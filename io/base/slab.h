// Slab: a bounded table of objects addressed by slot (index and generation), never by pointer.
//
// What it is for: a kernel completion, a timer or a record from another core names an object that
// may have ended meanwhile. The generation tells: `find` answers null for a slot whose object is
// gone.
//
// Owner: one shard. Thread: its owner's.
// Invariants:
//  1. A slot's generation is odd while it is taken and even while it is free; every take and every
//     release adds one, modulo 2^24 (a completion token has 24 bits for it).
//  2. Objects never move: storage grows by blocks, up to `capacity`, and blocks stay.
//  3. The free slot used last is taken first, so a quiet table stays small and warm in the cache.
#pragma once

#include <cstdint>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "io/base/check.h"

namespace base {

struct Slot {
    uint32_t index = UINT32_MAX;
    uint32_t generation = 0;  // 24 bits are used

    friend bool operator==(const Slot&, const Slot&) = default;
    bool is_none() const { return index == UINT32_MAX; }
};

inline constexpr uint32_t generation_mask = 0xff'ffff;

template <class T>
class Slab {
  public:
    explicit Slab(uint32_t capacity) : capacity_(capacity) {}
    ~Slab() { CHECK(size_ == 0); }
    Slab(const Slab&) = delete;
    Slab& operator=(const Slab&) = delete;

    uint32_t size() const { return size_; }
    uint32_t capacity() const { return capacity_; }
    bool is_full() const { return size_ == capacity_; }

    // Constructs an object in a free slot. Full is a return value: a slot for which is_none()
    // holds.
    template <class... Arguments>
    [[nodiscard]] Slot take(Arguments&&... arguments) {
        if (is_full()) return Slot{};
        if (free_head_ == none) grow();
        const uint32_t index = free_head_;
        Cell& cell = cell_at(index);
        free_head_ = cell.next_free;
        cell.generation = (cell.generation + 1) & generation_mask;
        DCHECK((cell.generation & 1) == 1);
        new (cell.storage) T(std::forward<Arguments>(arguments)...);
        ++size_;
        return Slot{index, cell.generation};
    }

    void release(Slot slot) {
        Cell& cell = cell_at(slot.index);
        CHECK(cell.generation == slot.generation && (cell.generation & 1) == 1);
        object(cell)->~T();
        cell.generation = (cell.generation + 1) & generation_mask;
        cell.next_free = free_head_;
        free_head_ = slot.index;
        --size_;
    }

    // The object of a slot that is known to be taken; a stale slot is a programmer's error.
    T& at(Slot slot) {
        Cell& cell = cell_at(slot.index);
        CHECK(cell.generation == slot.generation && (cell.generation & 1) == 1);
        return *object(cell);
    }

    // The object of a slot that may be stale: null when it is.
    T* find(Slot slot) {
        if (slot.index >= grown_) return nullptr;
        Cell& cell = cell_at(slot.index);
        const bool is_taken = cell.generation == slot.generation && (cell.generation & 1) == 1;
        return is_taken ? object(cell) : nullptr;
    }

    // The object at an index that is known to be taken.
    T& at_index(uint32_t index) {
        Cell& cell = cell_at(index);
        DCHECK((cell.generation & 1) == 1);
        return *object(cell);
    }

    Slot slot_of(uint32_t index) {
        Cell& cell = cell_at(index);
        CHECK((cell.generation & 1) == 1);
        return Slot{index, cell.generation};
    }

    // Visits every taken slot in the order of the indices. The visitor may release the visited
    // slot.
    template <class Visitor>
    void for_each(Visitor visit) {
        for (uint32_t index = 0; index < grown_; ++index) {
            Cell& cell = cell_at(index);
            if ((cell.generation & 1) == 1) visit(Slot{index, cell.generation}, *object(cell));
        }
    }

    // The same for at most count_max slots from `index` on; answers where to go on, or 0 after the
    // last one.
    template <class Visitor>
    [[nodiscard]] uint32_t for_some(uint32_t index, uint32_t count_max, Visitor visit) {
        for (uint32_t count = 0; index < grown_ && count < count_max; ++index, ++count) {
            Cell& cell = cell_at(index);
            if ((cell.generation & 1) == 1) visit(Slot{index, cell.generation}, *object(cell));
        }
        return index < grown_ ? index : 0;
    }

  private:
    static constexpr uint32_t none = UINT32_MAX;
    static constexpr uint32_t block_slots = 256;

    struct Cell {
        alignas(T) unsigned char storage[sizeof(T)];
        uint32_t generation = 0;
        uint32_t next_free = none;
    };

    static T* object(Cell& cell) { return std::launder(reinterpret_cast<T*>(cell.storage)); }

    Cell& cell_at(uint32_t index) {
        DCHECK(index < grown_);
        return blocks_[index / block_slots][index % block_slots];
    }

    void grow() {
        CHECK(grown_ < capacity_);
        blocks_.push_back(std::make_unique<Cell[]>(block_slots));
        const uint32_t first = grown_;
        const uint32_t wanted = capacity_ - grown_ < block_slots ? capacity_ - grown_ : block_slots;
        grown_ += wanted;
        for (uint32_t index = grown_; index-- > first;) {
            cell_at(index).next_free = free_head_;
            free_head_ = index;
        }
    }

    const uint32_t capacity_;
    uint32_t grown_ = 0;  // slots that have storage
    uint32_t size_ = 0;
    uint32_t free_head_ = none;
    std::vector<std::unique_ptr<Cell[]>> blocks_;
};

}  // namespace base
