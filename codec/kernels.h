// Kernels: the loops over bytes that exist once per instruction set, as a struct of plain functions
// that is chosen once, from what the processor says it has. Pure; any thread.
//
// Every implementation answers bit for bit like the scalar one; tests and benchmarks name them
// through available_kernels().
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace codec {

// A masking key as a word in memory order, turned so that its first byte in memory applies next.
// (Keys are turned by shifting, which assumes that the first byte in memory is the lowest.)
static_assert(std::endian::native == std::endian::little);

inline uint32_t masking_key_of(const uint8_t (&key)[4], uint32_t phase) {
    uint32_t word = 0;
    std::memcpy(&word, key, sizeof word);
    return std::rotr(word, static_cast<int>(8 * (phase & 3)));
}

// The key for what follows after `bytes_count` masked bytes.
inline uint32_t advanced_masking_key(uint32_t key, size_t bytes_count) {
    return std::rotr(key, static_cast<int>(8 * (bytes_count & 3)));
}

struct Kernels {
    const char* name;
    // RFC 6455 §5.3, in place: XORs byte i with byte i mod 4 of the key. Any count, any alignment.
    void (*unmask)(uint8_t* bytes, size_t count, uint32_t key);
};

// The best for this processor.
const Kernels& kernels();
// All that this processor can run, the scalar one first and the best one last.
std::span<const Kernels* const> available_kernels();

// The implementations, one file each. To run one that available_kernels() does not list is SIGILL.
extern const Kernels kernels_scalar;
#if defined(__x86_64__)
extern const Kernels kernels_sse2;
extern const Kernels kernels_avx2;
extern const Kernels kernels_avx512;
#elif defined(__aarch64__)
extern const Kernels kernels_neon;
#endif

// Fewer than 16 bytes, inline: commands and pongs are that short, and a call through a pointer
// would cost more than the work. The two words overlap in the middle; both are read before either
// is written.
inline void unmask_below_16(uint8_t* bytes, size_t count, uint32_t key) {
    if (count >= 8) {
        const uint64_t wide_key = uint64_t{key} << 32 | key;
        const uint32_t last_key = advanced_masking_key(key, count - 8);
        const uint64_t wide_last_key = uint64_t{last_key} << 32 | last_key;
        uint64_t first = 0;
        uint64_t last = 0;
        std::memcpy(&first, bytes, sizeof first);
        std::memcpy(&last, bytes + count - 8, sizeof last);
        first ^= wide_key;
        last ^= wide_last_key;
        std::memcpy(bytes, &first, sizeof first);
        std::memcpy(bytes + count - 8, &last, sizeof last);
    } else if (count >= 4) {
        const uint32_t last_key = advanced_masking_key(key, count - 4);
        uint32_t first = 0;
        uint32_t last = 0;
        std::memcpy(&first, bytes, sizeof first);
        std::memcpy(&last, bytes + count - 4, sizeof last);
        first ^= key;
        last ^= last_key;
        std::memcpy(bytes, &first, sizeof first);
        std::memcpy(bytes + count - 4, &last, sizeof last);
    } else {
        for (size_t index = 0; index < count; ++index) {
            bytes[index] = static_cast<uint8_t>(bytes[index] ^ (key >> (8 * index)));
        }
    }
}

// Masks or unmasks in place. `phase` is the number of bytes that the key has masked before these;
// the other form takes a key that is turned already.
inline void unmask(std::span<uint8_t> bytes, uint32_t key) {
    if (bytes.size() < 16) {
        unmask_below_16(bytes.data(), bytes.size(), key);
    } else {
        kernels().unmask(bytes.data(), bytes.size(), key);
    }
}

inline void unmask(std::span<uint8_t> bytes, const uint8_t (&key)[4], uint32_t phase) {
    unmask(bytes, masking_key_of(key, phase));
}

}  // namespace codec
