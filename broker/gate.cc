#include "broker/gate.h"

#include <xxhash.h>

#include <algorithm>
#include <bit>

namespace broker {

namespace {

// What tells clients apart: all of an IPv4 address, the network of an IPv6 one.
uint64_t hash_of(const codec::IpAddress& address, uint64_t seed) {
    constexpr size_t v6_network_bytes = 8;
    const size_t bytes = address.is_v4() ? address.bytes.size() : v6_network_bytes;
    return XXH3_64bits_withSeed(address.bytes.data(), bytes, seed);
}

}  // namespace

Gate::Gate(const Settings& settings, uint64_t hash_seed)
    : connections_max_(settings.connections_per_address),
      upgrade_rate_(
          TokenRate::one_by_one(settings.upgrades_per_second, settings.upgrades_per_second)),
      hash_seed_(hash_seed),
      cells_count_(std::bit_ceil(std::clamp(settings.connections_max * cells_per_connection,
                                            cells_count_min, cells_count_max))) {
    if (connections_max_ > 0) cells_ = std::make_unique<Cell[]>(rows_count * cells_count_);
}

Gate::Cells Gate::cells_of(const codec::IpAddress& address) const {
    constexpr uint32_t bits_per_row = 20;
    static_assert(cells_count_max == uint64_t{1} << bits_per_row &&
                  rows_count * bits_per_row <= 64);
    const uint64_t hash = hash_of(address, hash_seed_);
    Cells cells{};
    for (uint32_t row = 0; row < rows_count; ++row) {
        const uint64_t index = hash >> (row * bits_per_row) & (cells_count_ - 1);
        cells.of_row[row] = &cells_[row * cells_count_ + index];
    }
    return cells;
}

bool Gate::enter(const codec::IpAddress& address) {
    if (connections_max_ == 0 || address.is_none()) return true;
    uint32_t count = UINT32_MAX;
    for (Cell* cell : cells_of(address).of_row) {
        count = std::min(count, cell->fetch_add(1, std::memory_order_relaxed) + 1);
    }
    if (count <= connections_max_) return true;
    leave(address);
    return false;
}

void Gate::leave(const codec::IpAddress& address) {
    if (connections_max_ == 0 || address.is_none()) return;
    for (Cell* cell : cells_of(address).of_row) cell->fetch_sub(1, std::memory_order_relaxed);
}

bool Gate::may_upgrade(uint64_t now_ns) {
    if (upgrade_rate_.is_off()) return true;
    TokenBucket seen = upgrades_.load(std::memory_order_relaxed);
    TokenBucket next = seen;
    do {
        next = seen;
        if (!next.take(upgrade_rate_, 1, now_ns)) return false;
    } while (!upgrades_.compare_exchange_weak(seen, next, std::memory_order_relaxed));
    return true;
}

}  // namespace broker
