// MemoryBudget: how much of the memory that the broker may use is in use, over all shards.
//
// What counts are the gauges of every shard (chunks in use, held messages, history, messages and
// requests that arrive) and what the kernel holds for TCP sockets. It tells that for all sockets of
// the machine together, also in a network namespace (/proc/net/sockstat): of it counts the share
// that the broker's connections are of all sockets, so that other programs' do not use up the
// budget.
//
//   level   from             what follows
//   calm    0                nothing
//   near    7/8 of the limit Shedding takes memory from those that hold the oldest chunks
//   full    the limit        further connections are answered 503, publishes `overloaded`
//
// Owner: a shard holds one.
// Thread: its shard's; it reads the metrics cells of all shards, which are a turn old at most, so
// shards agree within a turn and may pass the limit by what one turn adds.
// Invariants:
//  1. The level changes between turns only.
#pragma once

#include <cstdint>
#include <string_view>

#include "broker/metrics.h"

namespace broker {

class MemoryBudget {
  public:
    enum class Level : uint8_t { calm, near, full };

    // 0: there is no limit.
    MemoryBudget(const MetricsRegistry& registry, uint64_t bytes_max)
        : registry_(registry), bytes_max_(bytes_max) {}

    // Once a turn.
    void update();

    Level level() const { return level_; }
    bool is_full() const { return level_ == Level::full; }
    uint64_t used_bytes() const { return used_bytes_; }

  private:
    const MetricsRegistry& registry_;
    const uint64_t bytes_max_;
    uint64_t used_bytes_ = 0;
    Level level_ = Level::calm;
};

// What of history-memory fits into memory-max: history alone must not bring the broker near its
// limit.
constexpr uint64_t fitting_history_bytes(uint64_t history_bytes_max, uint64_t memory_bytes_max) {
    return history_bytes_max < memory_bytes_max / 2 ? history_bytes_max : memory_bytes_max / 2;
}
// Memory that this process may use: the machine's, or what its control groups allow.
uint64_t usable_memory_bytes();
// What the kernel holds in buffers of that many of the machine's TCP sockets; 0 when it does not
// tell.
uint64_t kernel_socket_bytes(uint64_t connections_count);
// The same, of the text of /proc/net/sockstat.
uint64_t share_of_sockets(std::string_view sockstat, uint64_t connections_count);

}  // namespace broker
