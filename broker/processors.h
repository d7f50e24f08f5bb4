// How many workers make sense on this machine. Used by main once at start.
#pragma once

#include <cstdint>

namespace broker {

// The processors in the affinity mask, but no more than the CPU quota of the control groups rounded
// up; at least 1.
uint32_t usable_processors();

// Binds the calling thread to the `index`-th processor of the affinity mask. False when the kernel
// refuses.
bool pin_to_processor(uint32_t index);

}  // namespace broker
