#include "broker/state_file.h"

#include <xxhash.h>

#include <cstddef>

namespace broker {

uint64_t block_checksum(const BlockHead& head, std::span<const uint8_t> content) {
    const uint64_t seed = XXH3_64bits(&head, offsetof(BlockHead, checksum));
    return XXH3_64bits_withSeed(content.data(), content.size(), seed);
}

}  // namespace broker
