// Where the clients' randomness (keys, masks, jitter) begins.
#pragma once

#include <cstdint>

namespace tools {

// `seed`, or one from getrandom(2) when it is 0.
uint64_t seed_or_random(uint64_t seed);

}  // namespace tools
