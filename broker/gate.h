// Gate: what all shards decide together about who may come in: how many connections each address
// has, and how many upgrades there were of late.
//
// An address is counted in one cell of each of three rows of counters, chosen by hash (a count-min
// sketch), and its count is the least of the three. So memory does not grow with the number of
// addresses, an address is never counted short, and it is counted long only if in each row somebody
// shares its cell.
//
// Owner: main, or the simulated world; it outlives the shards. Threads: every shard's. It is one of
// the few places where shards meet in atomic operations: once per accept, close and upgrade, and
// only where the setting is on (ARCHITECTURE.md, D-036).
// Invariants:
//  1. enter() never admits more than the limit, however shards race: it counts first and looks
//     then. Two that race for the last place may both be refused.
//  2. Each enter() that answered true is followed by one leave() of the same address.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "broker/settings.h"
#include "broker/token_bucket.h"
#include "codec/ip_address.h"

namespace broker {

class Gate {
  public:
    // `hash_seed` is not known to peers, so that nobody can choose addresses that share a cell with
    // a victim.
    Gate(const Settings& settings, uint64_t hash_seed);

    // Counts a connection of that address, if it may have one more. IPv6 addresses are told apart
    // by their first 64 bits, because a client has all of the others. One that is none is not
    // counted.
    [[nodiscard]] bool enter(const codec::IpAddress& address);
    void leave(const codec::IpAddress& address);

    // Counts an upgrade, if there may be one more now.
    [[nodiscard]] bool may_upgrade(uint64_t now_ns);

  private:
    static constexpr uint32_t rows_count = 3;
    // Of one row. Fewer than one connection per cell, up to the bound, keeps collisions rare.
    static constexpr uint64_t cells_per_connection = 4;
    static constexpr uint64_t cells_count_min = 1'024;
    static constexpr uint64_t cells_count_max = uint64_t{1} << 20;

    using Cell = std::atomic<uint32_t>;
    struct Cells {
        Cell* of_row[rows_count];
    };
    Cells cells_of(const codec::IpAddress& address) const;

    const uint64_t connections_max_;  // of an address; 0: off
    const TokenRate upgrade_rate_;
    const uint64_t hash_seed_;
    const uint64_t cells_count_;     // of a row; a power of two
    std::unique_ptr<Cell[]> cells_;  // null when connections are not limited
    std::atomic<TokenBucket> upgrades_{};
    static_assert(std::atomic<TokenBucket>::is_always_lock_free);
};

}  // namespace broker
