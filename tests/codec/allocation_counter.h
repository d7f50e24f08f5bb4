// Replaces operator new in the program that is linked with it, to count how often it is called. In
// a file of its own, so that the compiler sees no calls of free() beside calls of new.
#pragma once

#include <cstdint>

namespace codec::testing {

uint64_t allocations_count();

}  // namespace codec::testing
