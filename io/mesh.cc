#include "io/mesh.h"

#include "io/base/check.h"

namespace io {

Mesh::Mesh(const Options& options)
    : shards_count_(options.shards_count),
      deliver_(size_t{options.shards_count} * options.shards_count),
      forward_(size_t{options.shards_count} * options.shards_count),
      beds_(std::make_unique<Bed[]>(options.shards_count)) {
    CHECK(options.shards_count >= 1);
    for (ShardId from = 0; from < shards_count_; ++from) {
        for (ShardId to = 0; to < shards_count_; ++to) {
            if (from == to) continue;
            deliver_[index(from, to)] = std::make_unique<Lane>(options.deliver_bytes);
            forward_[index(from, to)] = std::make_unique<Lane>(options.forward_bytes);
        }
    }
}

Lane& Mesh::deliver(ShardId from, ShardId to) {
    CHECK(from < shards_count_ && to < shards_count_ && from != to);
    return *deliver_[index(from, to)];
}

Lane& Mesh::forward(ShardId from, ShardId to) {
    CHECK(from < shards_count_ && to < shards_count_ && from != to);
    return *forward_[index(from, to)];
}

// Why no wake is missed: raising the flag and lowering it are both read-modify-write operations on
// one atomic, so one comes first. If the writer's is first, the sleeper's reads the value that it
// wrote, thereby synchronizes with it, and has_work() sees the record committed before it. If the
// sleeper's is first, the writer (or another writer before it) reads the raised flag and owes the
// wake. A plain load of the flag would not do: it may be executed before the commit becomes
// visible.
bool Mesh::sleep_begin(ShardId self) {
    Bed& bed = beds_[self];
    CHECK(bed.is_sleeping.exchange(1, std::memory_order_seq_cst) == 0);
    if (!has_work(self)) return true;
    sleep_end(self);
    return false;
}

void Mesh::sleep_end(ShardId self) {
    // A writer may have lowered it already; its wake then arrives in a later turn and ends it
    // early, which does no harm.
    beds_[self].is_sleeping.exchange(0, std::memory_order_seq_cst);
}

bool Mesh::wake_claim(ShardId shard) {
    CHECK(shard < shards_count_);
    return beds_[shard].is_sleeping.exchange(0, std::memory_order_seq_cst) == 1;
}

void Mesh::request(ShardId shard, Request request) {
    CHECK(shard < shards_count_);
    beds_[shard].requests.fetch_or(static_cast<uint32_t>(request), std::memory_order_seq_cst);
}

uint32_t Mesh::requests_take(ShardId self) {
    return beds_[self].requests.exchange(0, std::memory_order_seq_cst);
}

bool Mesh::has_work(ShardId self) {
    if (beds_[self].requests.load(std::memory_order_seq_cst) != 0) return true;
    for (ShardId from = 0; from < shards_count_; ++from) {
        if (from == self) continue;
        if (!deliver_[index(from, self)]->is_empty()) return true;
        if (!forward_[index(from, self)]->is_empty()) return true;
    }
    return false;
}

}  // namespace io
