// Heads: how far this shard has come in each partition.
//
// Owner: a shard. Thread: its shard's.
// Invariants:
//  1. Every message of partition p at or below of(p) that matches a filter which all owners knew
//     (Joins) when it was sequenced has been processed here. So for the live subscriptions of any
//     connection of the shard, of() is the cursor.
//  2. Heads rise only. Of a partition owned here it is the owner's own head. Of others it comes
//     with their messages, with acknowledgements of interest, with pages, and now and then by
//     itself; it may lag behind, which costs a client that resumes a repeated look, never a
//     message.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "broker/partitions.h"
#include "codec/position.h"

namespace broker {

class Heads {
  public:
    Heads(const Partitions& partitions, io::ShardId self);

    uint64_t of(uint32_t partition) const { return offsets_[partition]; }
    std::span<const uint64_t> all() const { return offsets_; }
    // Changes with every advance.
    uint32_t version() const { return version_; }

    void advance(codec::Position head) {
        if (head.offset <= offsets_[head.partition]) return;
        offsets_[head.partition] = head.offset;
        ++version_;
    }

    // The cursor for a filter: the heads of the partitions that it can match, appended to
    // `positions` by rising partition, those with offset 0 left out. An empty filter stands for
    // all.
    void append_cursor(std::span<const std::string_view> filters,
                       std::vector<codec::Position>& positions) const;

    // As an owner: the heads of partitions owned here that `shard` has not been told, appended to
    // `heads`; from now on they count as told.
    void take_untold(io::ShardId shard, std::vector<codec::Position>& heads);
    // A sequenced message went there, which tells the head too.
    void told(io::ShardId shard, codec::Position head) {
        told_[shard][head.partition] = head.offset;
    }

  private:
    const Partitions& partitions_;
    const io::ShardId self_;
    std::vector<uint64_t> offsets_;            // by partition
    std::vector<std::vector<uint64_t>> told_;  // by shard and partition
    uint32_t version_ = 0;
};

}  // namespace broker
