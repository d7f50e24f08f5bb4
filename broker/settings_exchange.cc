#include "broker/settings_exchange.h"

#include "io/base/check.h"

namespace broker {

SettingsExchange::SettingsExchange(uint32_t shards_count)
    : shards_count_(shards_count),
      offers_(std::make_unique<std::atomic<const Settings*>[]>(shards_count)) {}

void SettingsExchange::offer(const Settings& settings) {
    CHECK(is_taken());
    for (uint32_t shard = 0; shard < shards_count_; ++shard) {
        offers_[shard].store(&settings, std::memory_order_release);
    }
}

bool SettingsExchange::is_taken() const {
    for (uint32_t shard = 0; shard < shards_count_; ++shard) {
        if (offers_[shard].load(std::memory_order_acquire) != nullptr) return false;
    }
    return true;
}

bool SettingsExchange::take(io::ShardId shard, Settings& settings) {
    const Settings* offered = offers_[shard].load(std::memory_order_acquire);
    if (offered == nullptr) return false;
    copy_reloadable(*offered, settings);
    // From here on main may free it.
    offers_[shard].store(nullptr, std::memory_order_release);
    return true;
}

}  // namespace broker
