// Pacing: how fast one connection may ask: commands, publishes and bytes per second.
//
// A command beyond the rate is refused and told when to come again; who goes on all the same is
// closed. Bytes beyond the rate are not refused but left in the kernel: TCP tells the sender to
// wait.
//
// Owner: a shard has one for all its connections; what belongs to one of them stands in its Pace,
// which exists only where a rate is limited. Thread: its shard's.
// Invariants:
//  1. A token is charged when a command is done or refused, not when it is looked at: a command
//     that has to wait for another shard and is tried again pays once, and is not refused later.
//  2. After a refused publish of a series none of the same series is done, so that a client that
//     publishes on before it has read the refusal keeps its order.
//  3. A connection that asks for all its subscriptions at once, and again at once, is not limited.
#pragma once

#include <cstdint>
#include <memory>

#include "broker/metrics.h"
#include "broker/settings.h"
#include "broker/token_bucket.h"
#include "io/base/units.h"

namespace broker {

struct Pace {
    TokenBucket commands;
    TokenBucket publishes;
    TokenBucket bytes;
    TokenBucket refusals;
    uint32_t broken_series = 0;  // of publishes, one of which was refused; 0: none
};

class Pacing {
  public:
    // Refusals of one connection: as many as one frame can hold at once, and then some each second;
    // beyond them the connection is closed.
    static constexpr uint64_t refusals_burst = 1'000;
    static constexpr uint64_t refusals_per_second = 10;

    enum class Kind : uint8_t {
        command,  // also a frame that is none, and a control frame
        publish,  // counts as a command too
    };
    using Holder = std::unique_ptr<Pace>;  // a connection's; null at first

    Pacing(const Settings& settings, ShardMetrics& metrics);

    bool limits_commands() const { return !commands_.is_off() || !publishes_.is_off(); }
    bool limits_bytes() const { return !bytes_.is_off(); }

    // How long until the connection may do that; 0: now. It then says done() if it was, or else
    // refused(). `series` is that of a publish, or 0.
    uint64_t wait_ns(const Holder& pace, Kind kind, uint32_t series, uint64_t now_ns) const;
    void done(Holder& pace, Kind kind, uint64_t now_ns) const;
    // Whether the connection is to be closed, having been refused too often.
    [[nodiscard]] bool refused(Holder& pace, Kind kind, uint32_t series, uint64_t now_ns) const;
    // After how long a connection that was closed for it may come back.
    uint64_t return_ns() const;

    // Bytes came, which are handled whether they were due or not.
    void received(Holder& pace, uint64_t bytes, uint64_t now_ns) const;
    // How long nothing more is to be read; 0: not at all.
    uint64_t unread_ns(const Holder& pace, uint64_t now_ns) const;

  private:
    // What a publish of a broken series is told when there would be room for it: soon, under
    // another number.
    static constexpr uint64_t broken_series_wait_ns = base::ns_per_ms;

    static Pace& pace_of(Holder& pace);

    const TokenRate commands_;
    const TokenRate publishes_;
    const TokenRate bytes_;
    const TokenRate refusals_;
    ShardMetrics& metrics_;
};

}  // namespace broker
