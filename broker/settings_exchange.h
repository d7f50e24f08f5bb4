// SettingsExchange: how main hands new settings to the shards while they run.
//
// Each shard has a copy of the settings, which only its own thread touches. Main offers new ones,
// asks each shard to look (io::Request::reload), and keeps what it offered until all have copied
// it.
//
// Owner: main. Threads: offer() and is_taken() on main's; take() on the shard's.
// Invariants:
//  1. One offer at a time: the next one may be made when is_taken().
//  2. Only settings that are reloadable change (Setting::is_reloadable): the others were used to
//     build something, or a client was told of them in its welcome.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "broker/settings.h"
#include "io/reactor.h"

namespace broker {

class SettingsExchange {
  public:
    explicit SettingsExchange(uint32_t shards_count);

    // `settings` must live until is_taken().
    void offer(const Settings& settings);
    bool is_taken() const;

    // Copies what is reloadable of the offer. False: there is none, or it was taken before.
    [[nodiscard]] bool take(io::ShardId shard, Settings& settings);

  private:
    const uint32_t shards_count_;
    // Per shard: the offer; null when it was taken.
    const std::unique_ptr<std::atomic<const Settings*>[]> offers_;
};

}  // namespace broker
