#include "codec/kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

namespace codec {
namespace {

// Only these functions are compiled for AVX2: flags for the whole file would let the linker keep an
// AVX2 copy of an inline function that others call.
using Vector = __m256i;

[[gnu::target("avx2")]] Vector load(const uint8_t* at) {
    return _mm256_loadu_si256(reinterpret_cast<const Vector*>(at));
}

[[gnu::target("avx2")]] Vector repeat(uint32_t key) {
    return _mm256_set1_epi32(static_cast<int>(key));
}

[[gnu::target("avx2")]] void store(uint8_t* at, Vector vector) {
    _mm256_storeu_si256(reinterpret_cast<Vector*>(at), vector);
}

[[gnu::target("avx2")]] Vector masked(const uint8_t* at, Vector mask) {
    return _mm256_xor_si256(load(at), mask);
}

[[gnu::target("avx2")]] void turn(uint8_t* at, Vector mask) {
    store(at, masked(at, mask));
}

// From the first aligned place to the end, but for less than a vector there: aligned, so that no
// store touches two cache lines, and four vectors in one turn of the loop, so that the loop itself
// costs little.
[[gnu::target("avx2")]] void unmask_inside(uint8_t* bytes, size_t count, uint32_t key) {
    constexpr size_t width = sizeof(Vector);
    const size_t to_aligned = width - reinterpret_cast<uintptr_t>(bytes) % width;
    const Vector mask = repeat(advanced_masking_key(key, to_aligned));
    const uint8_t* const end = bytes + count;
    uint8_t* at = bytes + to_aligned;
    for (; at + 4 * width <= end; at += 4 * width) {
        turn(at, mask);
        turn(at + width, mask);
        turn(at + 2 * width, mask);
        turn(at + 3 * width, mask);
    }
    for (; at + width < end; at += width) turn(at, mask);
}

// The first and the last vector are read before any is written, and written after all others, so
// that the bytes which they share with their neighbours, or with each other, are XORed once. Up to
// four vectors need no loop.
[[gnu::target("avx2")]] void unmask_avx2(uint8_t* bytes, size_t count, uint32_t key) {
    constexpr size_t width = sizeof(Vector);
    if (count < width) return kernels_sse2.unmask(bytes, count, key);
    uint8_t* const tail = bytes + count - width;
    const Vector mask = repeat(key);
    const Vector tail_mask = repeat(advanced_masking_key(key, count - width));
    const Vector first = masked(bytes, mask);
    const Vector last = masked(tail, tail_mask);
    if (count > 4 * width) {
        unmask_inside(bytes, count, key);
    } else if (count > 2 * width) {
        const Vector second = masked(bytes + width, mask);
        const Vector third = masked(tail - width, tail_mask);
        store(bytes + width, second);
        store(tail - width, third);
    }
    store(bytes, first);
    store(tail, last);
}

}  // namespace

const Kernels kernels_avx2 = {.name = "avx2", .unmask = unmask_avx2};

}  // namespace codec

#endif
