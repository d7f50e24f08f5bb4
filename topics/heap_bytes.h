// What a block from the heap really takes. Pure; any thread.
#pragma once

#include <algorithm>
#include <cstdint>

namespace topics {

// glibc puts 8 bytes before a block, gives multiples of 16 and at least 32. A formula, not
// malloc_usable_size, so that a budget ends at the same message under every allocator: the
// simulator runs with sanitizers.
constexpr uint64_t heap_bytes(uint64_t block_bytes) {
    return std::max<uint64_t>(32, (block_bytes + 8 + 15) / 16 * 16);
}

}  // namespace topics
