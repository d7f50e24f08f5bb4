// Board: what the coordinator and the load shards of a run tell each other.
//
// Owner: the run; it outlives the shards. Threads: each field says who writes it; all may read.
// Invariants:
//  1. A shard's counters have one writer, so they are added to without a locked instruction.
//  2. Nothing else is published through the board: relaxed order is enough. Results are read once
//     the threads have ended.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "io/base/units.h"

namespace bench {

enum class Phase : uint8_t {
    connect,  // nobody publishes; all connect
    publish,  // warm-up and measurement
    drain,    // nobody publishes any more; what is on its way arrives
    end,
};

// Of a rate's reciprocal, which may be anything: a century at most.
inline uint64_t ns_of(double seconds) {
    constexpr double seconds_max = 3.2e9;
    return static_cast<uint64_t>(std::min(seconds, seconds_max) *
                                 static_cast<double>(base::ns_per_s));
}

// A number that one thread adds to and others read.
class Counter {
  public:
    void add(uint64_t more) { set(value() + more); }
    void subtract(uint64_t less) { set(value() - less); }
    void set(uint64_t value) { value_.store(value, std::memory_order_relaxed); }
    uint64_t value() const { return value_.load(std::memory_order_relaxed); }

  private:
    std::atomic<uint64_t> value_{0};
};

struct alignas(64) ShardCounters {
    Counter live;       // connections that are ready now
    Counter lost;       // connections that the server or the network ended
    Counter refused;    // attempts that failed before they were live
    Counter cycles;     // connections that were live once, over all of the run
    Counter published;  // messages
    Counter expected;   // deliveries that must follow from them
    Counter delivered;
    Counter received_bytes;
    // The longest latency since the coordinator last looked, which may lose one to a race with it.
    Counter latency_max_ns;
};

class Board {
  public:
    explicit Board(uint32_t shards_count_given)
        : shards_count(shards_count_given),
          shards(std::make_unique<ShardCounters[]>(shards_count_given)) {}

    // Written by the coordinator.
    std::atomic<Phase> phase{Phase::connect};
    std::atomic<uint64_t> publish_begin_ns{0};
    std::atomic<uint64_t> measure_begin_ns{UINT64_MAX};
    std::atomic<uint64_t> measure_end_ns{UINT64_MAX};
    std::atomic<uint64_t> cut_at_ns{0};  // reconnect: when the subscribers were cut; 0: not yet
    // Written by any shard: for what a connection last had to wait, an errno; 0: never.
    std::atomic<int> connect_shortage{0};

    const uint32_t shards_count;
    const std::unique_ptr<ShardCounters[]> shards;  // each written by its shard

    uint64_t sum(Counter ShardCounters::*counter) const {
        uint64_t all = 0;
        for (uint32_t shard = 0; shard < shards_count; ++shard) {
            all += (shards[shard].*counter).value();
        }
        return all;
    }

    // The first reason why the run cannot go on.
    void fail(const std::string& reason) {
        const std::lock_guard<std::mutex> lock(failure_lock_);
        if (failure_.empty()) failure_ = reason;
        has_failed_.store(true, std::memory_order_release);
    }
    bool has_failed() const { return has_failed_.load(std::memory_order_acquire); }
    std::string failure() {
        const std::lock_guard<std::mutex> lock(failure_lock_);
        return failure_;
    }

  private:
    std::atomic<bool> has_failed_{false};
    std::mutex failure_lock_;
    std::string failure_;
};

}  // namespace bench
