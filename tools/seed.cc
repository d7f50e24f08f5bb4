#include "tools/seed.h"

#include <sys/random.h>

#include "tools/clock.h"

namespace tools {

uint64_t seed_or_random(uint64_t seed) {
    if (seed != 0) return seed;
    // Reads of up to 256 bytes are never cut short or interrupted once the pool is initialised
    // (getrandom(2)); without one the clock still tells two clients apart.
    if (getrandom(&seed, sizeof seed, 0) != sizeof seed) return monotonic_ns();
    return seed;
}

}  // namespace tools
