#include "codec/kernels.h"

#if defined(__aarch64__)

#include <arm_neon.h>

namespace codec {
namespace {

void unmask_neon(uint8_t* bytes, size_t count, uint32_t key) {
    constexpr size_t width = sizeof(uint8x16_t);
    if (count < width) return unmask_below_16(bytes, count, key);
    const uint8x16_t wide_key = vreinterpretq_u8_u32(vdupq_n_u32(key));
    // The last vector overlaps the one before it: read before the loop writes, written last.
    uint8_t* const tail = bytes + count - width;
    const uint32_t tail_key = advanced_masking_key(key, count - width);
    const uint8x16_t tail_vector =
        veorq_u8(vld1q_u8(tail), vreinterpretq_u8_u32(vdupq_n_u32(tail_key)));
    for (; bytes < tail; bytes += width) vst1q_u8(bytes, veorq_u8(vld1q_u8(bytes), wide_key));
    vst1q_u8(tail, tail_vector);
}

}  // namespace

const Kernels kernels_neon = {.name = "neon", .unmask = unmask_neon};

}  // namespace codec

#endif
