// Partitions: topics hash onto a fixed number of them, and each is owned by one shard. The
// partition is the unit of order and of ownership; its number does not depend on the number of
// shards.
//
// Owner: each shard holds an equal copy. Thread: any; constant.
#pragma once

#include <cstdint>
#include <string_view>

#include "io/reactor.h"

namespace broker {

class Partitions {
  public:
    // All shards of a process are given the same numbers.
    Partitions(uint64_t partitions_count, uint32_t shards_count, uint64_t hash_seed)
        : partitions_count_(partitions_count), shards_count_(shards_count), hash_seed_(hash_seed) {}

    uint32_t partition_of(std::string_view topic) const;
    io::ShardId owner_of(std::string_view topic) const {
        return partition_of(topic) % shards_count_;
    }

  private:
    uint64_t partitions_count_;
    uint32_t shards_count_;
    uint64_t hash_seed_;
};

}  // namespace broker
