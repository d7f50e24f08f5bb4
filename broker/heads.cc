#include "broker/heads.h"

#include <algorithm>

#include "topics/name.h"

namespace broker {

Heads::Heads(const Partitions& partitions, io::ShardId self)
    : partitions_(partitions),
      self_(self),
      offsets_(partitions.count()),
      told_(partitions.shards_count(), std::vector<uint64_t>(partitions.count())) {}

void Heads::append_cursor(std::span<const std::string_view> filters,
                          std::vector<codec::Position>& positions) const {
    partitions_.for_each_of(filters, [&](uint32_t partition) {
        if (offsets_[partition] > 0) positions.push_back({partition, offsets_[partition]});
    });
}

void Heads::take_untold(io::ShardId shard, std::vector<codec::Position>& heads) {
    for (uint32_t partition = self_; partition < offsets_.size();
         partition += partitions_.shards_count()) {
        if (told_[shard][partition] == offsets_[partition]) continue;
        told_[shard][partition] = offsets_[partition];
        heads.push_back({partition, offsets_[partition]});
    }
}

}  // namespace broker
