#include "codec/kernels.h"

namespace codec {
namespace {

void unmask_scalar(uint8_t* bytes, size_t count, uint32_t key) {
    const uint64_t wide_key = uint64_t{key} << 32 | key;
    // Eight bytes are two turns of the key, so the key stays as it is from word to word.
    while (count >= 8) {
        uint64_t word = 0;
        std::memcpy(&word, bytes, sizeof word);
        word ^= wide_key;
        std::memcpy(bytes, &word, sizeof word);
        bytes += 8;
        count -= 8;
    }
    unmask_below_16(bytes, count, key);
}

}  // namespace

const Kernels kernels_scalar = {.name = "scalar", .unmask = unmask_scalar};

}  // namespace codec
