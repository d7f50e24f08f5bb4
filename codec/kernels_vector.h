// The unmasking of kernels.h, once, over the vectors of any instruction set. Included by the
// kernels only.
//
// An instruction set is a struct with a type Vector and three operations on it, which are compiled
// for that set. Only they are: flags for a whole file would let the linker keep a copy of some
// inline function that other processors cannot run. The algorithm is inlined into a function that
// is compiled for the set too, and the operations into that; vectors pass by reference, because how
// they pass by value differs from set to set.
#pragma once

#include <cstddef>
#include <cstdint>

#include "codec/kernels.h"

namespace codec {

// From the first aligned place to the end, but for less than a vector there: aligned, so that no
// store touches two cache lines, and four vectors in one turn of the loop, so that the loop itself
// costs little.
template <class Set>
[[gnu::always_inline]] inline void unmask_aligned_vectors(uint8_t* bytes, size_t count,
                                                          uint32_t key) {
    using Vector = typename Set::Vector;
    constexpr size_t width = sizeof(Vector);
    const size_t to_aligned = width - reinterpret_cast<uintptr_t>(bytes) % width;
    Vector mask;
    Set::repeat(mask, advanced_masking_key(key, to_aligned));
    const uint8_t* const end = bytes + count;
    uint8_t* at = bytes + to_aligned;
    Vector vectors[4];
    for (; at + 4 * width <= end; at += 4 * width) {
        Set::read_masked(vectors[0], at, mask);
        Set::read_masked(vectors[1], at + width, mask);
        Set::read_masked(vectors[2], at + 2 * width, mask);
        Set::read_masked(vectors[3], at + 3 * width, mask);
        Set::write(at, vectors[0]);
        Set::write(at + width, vectors[1]);
        Set::write(at + 2 * width, vectors[2]);
        Set::write(at + 3 * width, vectors[3]);
    }
    for (; at + width < end; at += width) {
        Set::read_masked(vectors[0], at, mask);
        Set::write(at, vectors[0]);
    }
}

// For at least as many bytes as a vector has. The first and the last vector are read before any is
// written, and written after all others, so that the bytes which they share with their neighbours,
// or with each other, are XORed once. Up to four vectors need no loop.
template <class Set>
[[gnu::always_inline]] inline void unmask_vectors(uint8_t* bytes, size_t count, uint32_t key) {
    using Vector = typename Set::Vector;
    constexpr size_t width = sizeof(Vector);
    uint8_t* const tail = bytes + count - width;
    Vector mask;
    Vector tail_mask;
    Set::repeat(mask, key);
    Set::repeat(tail_mask, advanced_masking_key(key, count - width));
    Vector first;
    Vector last;
    Set::read_masked(first, bytes, mask);
    Set::read_masked(last, tail, tail_mask);
    if (count > 4 * width) {
        unmask_aligned_vectors<Set>(bytes, count, key);
    } else if (count > 2 * width) {
        Vector second;
        Vector third;
        Set::read_masked(second, bytes + width, mask);
        Set::read_masked(third, tail - width, tail_mask);
        Set::write(bytes + width, second);
        Set::write(tail - width, third);
    }
    Set::write(bytes, first);
    Set::write(tail, last);
}

}  // namespace codec
