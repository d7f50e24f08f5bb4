#include "codec/kernels.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include "codec/kernels_vector.h"

namespace codec {
namespace {

struct Avx2 {
    using Vector = __m256i;

    [[gnu::target("avx2")]] static void repeat(Vector& out, uint32_t key) {
        out = _mm256_set1_epi32(static_cast<int>(key));
    }
    [[gnu::target("avx2")]] static void read_masked(Vector& out, const uint8_t* at,
                                                    const Vector& mask) {
        out = _mm256_xor_si256(_mm256_loadu_si256(reinterpret_cast<const Vector*>(at)), mask);
    }
    [[gnu::target("avx2")]] static void write(uint8_t* at, const Vector& vector) {
        _mm256_storeu_si256(reinterpret_cast<Vector*>(at), vector);
    }
};

[[gnu::target("avx2")]] void unmask_avx2(uint8_t* bytes, size_t count, uint32_t key) {
    if (count < sizeof(Avx2::Vector)) return kernels_sse2.unmask(bytes, count, key);
    unmask_vectors<Avx2>(bytes, count, key);
}

}  // namespace

const Kernels kernels_avx2 = {.name = "avx2", .unmask = unmask_avx2};

}  // namespace codec

#endif
