#include "codec/kernels.h"

namespace codec {
namespace {

struct Available {
    const Kernels* list[4];
    size_t count = 0;
};

Available find_available() {
    Available available;
    available.list[available.count++] = &kernels_scalar;
#if defined(__x86_64__)
    // SSE2 belongs to x86-64, as NEON does to AArch64. __builtin_cpu_supports also asks whether the
    // operating system saves the wide registers.
    available.list[available.count++] = &kernels_sse2;
    // AVX-512 stands before AVX2, which is the better one also where both are there. On an EPYC of
    // Zen 4 the medians of unmask_bench in the first cache were, in GB/s (and of memcpy's speed):
    //     bytes     64           128          1,024         8,192
    //     AVX2      27.9 (1.39)  46.7 (1.15)  101.7 (1.15)  112.9 (1.13)
    //     AVX-512   23.8 (1.19)  46.4 (1.14)   98.7 (1.12)  112.4 (1.12)
    // and equal beyond it: stores are what counts, and it stores as many bytes in a cycle either
    // way. Processors before Ice Lake lower their clock for 512-bit vectors besides.
    const bool has_avx2 = __builtin_cpu_supports("avx2") != 0;
    if (has_avx2 && __builtin_cpu_supports("avx512f")) {
        available.list[available.count++] = &kernels_avx512;
    }
    if (has_avx2) available.list[available.count++] = &kernels_avx2;
#elif defined(__aarch64__)
    available.list[available.count++] = &kernels_neon;
#endif
    return available;
}

}  // namespace

std::span<const Kernels* const> available_kernels() {
    static const Available available = find_available();
    return {available.list, available.count};
}

const Kernels& kernels() {
    static const Kernels& best = *available_kernels().back();
    return best;
}

}  // namespace codec
