#include "broker/partitions.h"

#include <xxhash.h>

namespace broker {

uint32_t Partitions::partition_of(std::string_view topic) const {
    const uint64_t hash = XXH3_64bits_withSeed(topic.data(), topic.size(), hash_seed_);
    return static_cast<uint32_t>(hash % partitions_count_);
}

}  // namespace broker
