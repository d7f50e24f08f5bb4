// Mesh: everything that the shards of one process share, which is two lanes per ordered pair of
// shards, a sleep flag per shard and a word of requests per shard.
//
// The two lanes (see ARCHITECTURE.md):
//  - deliver carries results (sequenced messages, acknowledgements). Handling a record of it never
//    needs room in any lane, so it can always be drained.
//  - forward carries requests (publishes, interest). It is drained only while there is room for the
//    results in the deliver lanes; a full forward lane pauses the connection that wants to write.
// So nothing is dropped between shards and no two shards can wait for each other.
//
// Sleep and wake, a two-state protocol in which every sleep gets at most one wake and none is
// missed:
//  - the sleeper calls sleep_begin(), which raises its flag and then looks once more for work. Only
//    if there is none may it wait in the kernel; afterwards it calls sleep_end();
//  - a writer commits its records and then calls wake_claim(), which lowers the flag and answers
//    whether it was up. Whoever lowered it owes the wake.
//
// Raising and lowering the flag are read-modify-write operations on one atomic, so one of them
// comes first: either the sleeper sees the record, or the writer sees the flag.
//
// Owner: main or the simulated world. Threads: as each method says.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "io/lane.h"
#include "io/reactor.h"

namespace io {

// What the outside of the shards (the thread that receives signals) can ask of a shard; a bit set.
enum class Request : uint32_t { none = 0, stop = 1, stop_now = 2, reload = 4 };

class Mesh {
  public:
    struct Options {
        uint32_t shards_count = 1;
        uint64_t deliver_bytes = 1 << 20;  // per lane, a power of two
        uint64_t forward_bytes = 1 << 20;  // per lane, a power of two
    };
    explicit Mesh(const Options& options);

    uint32_t shards_count() const { return shards_count_; }
    // The lane from one shard to another; the two are never the same.
    Lane& deliver(ShardId from, ShardId to);
    Lane& forward(ShardId from, ShardId to);

    // On the sleeper's thread. False: there is work, do not wait.
    [[nodiscard]] bool sleep_begin(ShardId self);
    void sleep_end(ShardId self);
    // On a writer's thread, after its commit. True: the caller owes `shard` a wake.
    [[nodiscard]] bool wake_claim(ShardId shard);

    // On any thread; the caller then wakes the shard from outside.
    void request(ShardId shard, Request request);
    // On the shard's thread: the requests since the last call, as bits.
    uint32_t requests_take(ShardId self);

  private:
    struct alignas(64) Bed {
        std::atomic<uint32_t> is_sleeping{0};
        std::atomic<uint32_t> requests{0};
    };

    bool has_work(ShardId self);
    uint32_t index(ShardId from, ShardId to) const { return from * shards_count_ + to; }

    const uint32_t shards_count_;
    std::vector<std::unique_ptr<Lane>> deliver_;  // null on the diagonal
    std::vector<std::unique_ptr<Lane>> forward_;
    std::unique_ptr<Bed[]> beds_;
};

}  // namespace io
