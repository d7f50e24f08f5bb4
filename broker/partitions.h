// Partitions: topics hash onto a fixed number of them, and each is owned by one shard. The
// partition is the unit of order and of ownership; its number does not depend on the number of
// shards.
//
// Owner: each shard holds an equal copy. Thread: any; constant.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "io/reactor.h"
#include "topics/name.h"

namespace broker {

class Partitions {
  public:
    // All shards of a process are given the same numbers.
    Partitions(uint64_t partitions_count, uint32_t shards_count, uint64_t hash_seed)
        : partitions_count_(static_cast<uint32_t>(partitions_count)),
          shards_count_(shards_count),
          hash_seed_(hash_seed) {}

    uint32_t count() const { return partitions_count_; }
    uint32_t shards_count() const { return shards_count_; }

    uint32_t partition_of(std::string_view topic) const;
    io::ShardId owner_of(uint32_t partition) const { return partition % shards_count_; }
    io::ShardId owner_of(std::string_view topic) const { return owner_of(partition_of(topic)); }
    // How many partitions the shard with the most of them owns.
    uint32_t owned_count_max() const {
        return (partitions_count_ + shards_count_ - 1) / shards_count_;
    }

    // Visits the partitions whose topics one of the filters can match, by rising number, each once;
    // all of them when no filter is given.
    template <class Visitor>
    void for_each_of(std::span<const std::string_view> filters, Visitor visit) const {
        const bool is_all =
            filters.empty() || std::any_of(filters.begin(), filters.end(), topics::has_wildcard);
        if (is_all) {
            for (uint32_t partition = 0; partition < partitions_count_; ++partition) {
                visit(partition);
            }
            return;
        }
        std::vector<uint32_t> some;
        some.reserve(filters.size());
        for (const std::string_view filter : filters) some.push_back(partition_of(filter));
        std::sort(some.begin(), some.end());
        some.erase(std::unique(some.begin(), some.end()), some.end());
        for (const uint32_t partition : some) visit(partition);
    }

  private:
    uint32_t partitions_count_;
    uint32_t shards_count_;
    uint64_t hash_seed_;
};

}  // namespace broker
