// Prng: the only source of randomness in the product and in its tests.
//
// xoshiro256** (Blackman and Vigna, 2018), seeded through splitmix64. Not for secrets: whoever
// needs an unguessable value seeds one of these from getrandom(2), once, in main.
//
// Owner: whoever needs random choices holds one by value. Thread: any single one.
// Invariant: the sequence depends on the seed alone, so a seed reproduces a run.
#pragma once

#include <bit>
#include <cstdint>

#include "io/base/check.h"

namespace base {

// A probability as a fraction, so that a printed fault table can be read and typed again.
struct Ratio {
    uint32_t numerator = 0;
    uint32_t denominator = 1;
};

class Prng {
  public:
    explicit Prng(uint64_t seed) {
        for (uint64_t& word : state_) word = splitmix(seed);
    }

    uint64_t next() {
        const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
        const uint64_t shifted = state_[1] << 17;
        state_[2] ^= state_[0];
        state_[3] ^= state_[1];
        state_[1] ^= state_[2];
        state_[0] ^= state_[3];
        state_[2] ^= shifted;
        state_[3] = std::rotl(state_[3], 45);
        return result;
    }

    // Uniform in [0, bound). The bias of the multiplication is below 2^-32 for bounds below 2^32.
    uint64_t below(uint64_t bound) {
        DCHECK(bound > 0);
        return static_cast<uint64_t>((static_cast<unsigned __int128>(next()) * bound) >> 64);
    }

    // Uniform in [low, high], both ends included.
    uint64_t between(uint64_t low, uint64_t high) {
        DCHECK(low <= high);
        return low + below(high - low + 1);
    }

    bool chance(Ratio ratio) { return below(ratio.denominator) < ratio.numerator; }

  private:
    static uint64_t splitmix(uint64_t& seed) {
        seed += 0x9e3779b97f4a7c15;
        uint64_t mixed = seed;
        mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
        mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
        return mixed ^ (mixed >> 31);
    }

    uint64_t state_[4];
};

}  // namespace base
