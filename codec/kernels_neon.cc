#include "codec/kernels.h"

#if defined(__aarch64__)

#include <arm_neon.h>

#include "codec/kernels_vector.h"

namespace codec {
namespace {

struct Neon {
    using Vector = uint8x16_t;

    static void repeat(Vector& out, uint32_t key) { out = vreinterpretq_u8_u32(vdupq_n_u32(key)); }
    static void read_masked(Vector& out, const uint8_t* at, const Vector& mask) {
        out = veorq_u8(vld1q_u8(at), mask);
    }
    static void write(uint8_t* at, const Vector& vector) { vst1q_u8(at, vector); }
};

void unmask_neon(uint8_t* bytes, size_t count, uint32_t key) {
    if (count < sizeof(Neon::Vector)) return unmask_below_16(bytes, count, key);
    unmask_vectors<Neon>(bytes, count, key);
}

}  // namespace

const Kernels kernels_neon = {.name = "neon", .unmask = unmask_neon};

}  // namespace codec

#endif
