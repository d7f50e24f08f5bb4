#include "codec/kernels.h"

#if defined(__x86_64__)

#include <emmintrin.h>

#include "codec/kernels_vector.h"

namespace codec {
namespace {

struct Sse2 {
    using Vector = __m128i;

    static void repeat(Vector& out, uint32_t key) { out = _mm_set1_epi32(static_cast<int>(key)); }
    static void read_masked(Vector& out, const uint8_t* at, const Vector& mask) {
        out = _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const Vector*>(at)), mask);
    }
    static void write(uint8_t* at, const Vector& vector) {
        _mm_storeu_si128(reinterpret_cast<Vector*>(at), vector);
    }
};

void unmask_sse2(uint8_t* bytes, size_t count, uint32_t key) {
    if (count < sizeof(Sse2::Vector)) return unmask_below_16(bytes, count, key);
    unmask_vectors<Sse2>(bytes, count, key);
}

}  // namespace

const Kernels kernels_sse2 = {.name = "sse2", .unmask = unmask_sse2};

}  // namespace codec

#endif
