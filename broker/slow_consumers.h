// SlowConsumers: what becomes of messages for which a subscriber's queue has no room, by the policy
// of their topic's rule (topics::OnSlow).
//
//   backlog            catch_up          conflate           drop_oldest        disconnect
//   up to soft         queued            queued             queued             queued
//   soft to hard       read later        held; replaces     held               queued, or held
//                      (Replays)         its topic's last                      behind what is
//   above hard         –                 oldest dropped     oldest dropped     closed with 4100
//   older than         –                 –                  dropped            closed with 4100
//   outbound_time
//
// What is held goes into the queue when that has fallen to half of the soft limit, behind gaps for
// what was lost.
//
// Owner: a shard. Thread: its shard's.
// Invariants:
//  1. What a connection gets of its live stream stands in one order: the queue, then what is held,
//     then what Replays reads for partitions that lag. So positions rise, and a cursor never covers
//     what was not queued.
//  2. Queue and held messages together stay within the hard limit, but for one message, replies and
//     gaps; whoever would pass it loses the oldest that its policies let go, or is doomed when what
//     is left must not be dropped.
//  3. Every message that was dropped is told by one gap per filter that matches it, also of a
//     subscription that is catching up, in front of what was sequenced after it.
//  4. Whatever carries a cursor, or ends a subscription, is queued after settle().
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "broker/connection.h"
#include "broker/metrics.h"
#include "broker/outbox.h"
#include "broker/settings.h"
#include "broker/slot_fifo.h"
#include "broker/subscriptions.h"
#include "io/reactor.h"
#include "topics/topic_rules.h"

namespace broker {

class SlowConsumers {
  public:
    SlowConsumers(io::Reactor& reactor, base::Slab<Connection>& connections, Outbox& outbox,
                  const Subscriptions& subscriptions, ShardMetrics& metrics,
                  const Settings& settings);
    ~SlowConsumers();

    // A message for a connection whose queue is full, or that has messages waiting already. Where
    // the policy is catch_up, the caller has done what it takes, and does not come here.
    void deliver(base::Slot slot, std::string_view topic, OutboundMessage& message,
                 topics::OnSlow policy);

    // Whether something waits that has to be queued before anything else of the stream.
    static bool has_waiting(const Connection& connection) {
        return connection.overflow != nullptr && !connection.overflow->is_idle();
    }
    // Queues all that waits, whatever the soft limit says.
    void settle(base::Slot slot);
    // After a completed send: queues what there is room for.
    void on_sent(base::Slot slot, Connection& connection);
    // The connection leaves `open`: gives up what waits.
    void forget(Connection& connection);

    // Looks after those that were slow of late, a bounded number of them: who is so for too long,
    // and who is not any more.
    void tend();

  private:
    static constexpr uint64_t tend_interval_ns = 100 * base::ns_per_ms;
    static constexpr size_t compared_per_telling_max = 64 * 1024;
    static constexpr uint32_t tended_per_turn_max = 256;

    Overflow& overflow_of(base::Slot slot, Connection& connection);
    void end_overflow(Connection& connection);
    void hold(Connection& connection, std::string_view topic, const Range& frame,
              topics::OnSlow policy);
    void take_out(Connection& connection, Overflow::Message& message);
    void lose(Overflow& overflow, const Overflow::Message& message, codec::GapCode code);
    // Drops the oldest that may be dropped until the rest fits. False: it cannot be made to fit.
    [[nodiscard]] bool make_fit(Connection& connection);
    void drop(Connection& connection, Overflow::Message& message);
    void drop_aged(Connection& connection, uint64_t now_ns);
    void queue_first(base::Slot slot, Connection& connection);
    void tell_losses(base::Slot slot, Connection& connection);
    static void compact(Overflow& overflow);

    io::Reactor& reactor_;
    base::Slab<Connection>& connections_;
    Outbox& outbox_;
    const Subscriptions& subscriptions_;
    ShardMetrics& metrics_;
    const Settings& settings_;
    SlotFifo slow_;            // those with an overflow, and some that are gone since
    uint64_t slow_count_ = 0;  // the first of these
    uint64_t tended_at_ns_ = 0;
    uint64_t held_bytes_ = 0;  // of all connections
    // Scratch.
    std::string json_;
    std::vector<std::string_view> filters_;
};

}  // namespace broker
