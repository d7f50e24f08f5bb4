#include "codec/kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include "codec/kernels_vector.h"

namespace codec {
namespace {

struct Avx512 {
    using Vector = __m512i;

    [[gnu::target("avx512f")]] static void repeat(Vector& out, uint32_t key) {
        out = _mm512_set1_epi32(static_cast<int>(key));
    }
    [[gnu::target("avx512f")]] static void read_masked(Vector& out, const uint8_t* at,
                                                       const Vector& mask) {
        out = _mm512_xor_si512(_mm512_loadu_si512(at), mask);
    }
    [[gnu::target("avx512f")]] static void write(uint8_t* at, const Vector& vector) {
        _mm512_storeu_si512(at, vector);
    }
};

[[gnu::target("avx512f")]] void unmask_avx512(uint8_t* bytes, size_t count, uint32_t key) {
    if (count < sizeof(Avx512::Vector)) return kernels_avx2.unmask(bytes, count, key);
    unmask_vectors<Avx512>(bytes, count, key);
}

}  // namespace

const Kernels kernels_avx512 = {.name = "avx512", .unmask = unmask_avx512};

}  // namespace codec

#endif
