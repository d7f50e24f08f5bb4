// Session: what an upgraded connection says, in the native dialect fanfare.v1 (PROTOCOL.md).
//
// Owner: a shard has one for all its connections; what belongs to one of them stands in Connection.
// Thread: its shard's.
// Invariants:
//  1. Commands of a connection are executed in order, each once. When one cannot go on (no room
//     towards another shard, unread replies, a join to wait for) reading pauses, the rest is
//     stashed, and it is that command that is tried first later.
//  2. A connection whose replies are not read is not read from: backlog above the soft limit pauses
//     it. What is on its way to other shards then is answered all the same; the lanes bound it.
//  3. A connection that sends more bytes than its rate is not read from until they are due
//     (Pacing). The echo path, which is for test suites, knows no rates.
//  4. Bytes are used within the turn in which they arrived, or copied into the stash.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "broker/connection.h"
#include "broker/delayed_slots.h"
#include "broker/fanout.h"
#include "broker/history_replies.h"
#include "broker/joins.h"
#include "broker/lifecycle.h"
#include "broker/memory_budget.h"
#include "broker/metrics.h"
#include "broker/outbox.h"
#include "broker/pacing.h"
#include "broker/replays.h"
#include "broker/settings.h"
#include "broker/slot_fifo.h"
#include "broker/subscriptions.h"
#include "codec/command.h"

namespace broker {

class Session {
  public:
    struct Parts {
        io::Reactor& reactor;
        base::Slab<Connection>& connections;
        Outbox& outbox;
        Lifecycle& lifecycle;
        Fanout& fanout;
        Joins& joins;
        Subscriptions& subscriptions;
        Replays& replays;
        SlowConsumers& slow_consumers;
        HistoryReplies& history_replies;
        codec::CommandParser& parser;
        Compression& compression;
        const Pacing& pacing;
        const MemoryBudget& memory;
        ShardMetrics& metrics;
        const Settings& settings;
    };
    Session(const Parts& parts, io::ShardId shard);

    // Bytes from the peer of an open connection; writable, followed by the readable padding.
    void receive(base::Slot slot, std::span<uint8_t> bytes);
    // The owner's answer to a publish that was forwarded.
    void published(base::Slot slot, const Origin& origin, const PublishResult& result);
    // A subscribe command whose filters are known to all their owners.
    void joined(const Joined& joined);
    // The page of history that another shard was asked for has been queued.
    void history_answered(base::Slot slot);
    // A replay of the connection was told `subscribed`, or is over: what waited for it goes on.
    void replay_changed(base::Slot slot);

    // Tries a paused connection again.
    void resume(base::Slot slot);
    // Tries those again that wait for room in the lanes, or whose time has come, a bounded number
    // of them.
    void resume_paused();
    bool has_paused() const { return !paused_.is_empty(); }
    // When the next one may be read from that sent more bytes than its rate.
    uint64_t next_read_ns() const { return unread_.next_ns(); }
    // From now on nothing is executed any more; pings and Close frames are still answered.
    void drain() { is_draining_ = true; }
    // After a completed send: resumes if the backlog was the reason.
    void sent(base::Slot slot, Connection& connection);

  private:
    static constexpr uint32_t resumes_per_turn_max = 64;

    enum class Outcome : uint8_t { done, pause_lanes, pause_join };

    // Decodes and executes until the bytes are used up, the connection leaves `open`, or it pauses.
    // Answers what is left over in the last case.
    std::span<uint8_t> pump(base::Slot slot, Connection& connection, std::span<uint8_t> bytes);
    // A whole text or binary message. Answers why the connection must pause, and then the rest of
    // it is stashed.
    Pause on_message(base::Slot slot, Connection& connection, const codec::Decoded& decoded,
                     uint64_t message_bytes_max);
    void violated(base::Slot slot, codec::Violation violation);
    // Executes commands from `first`; answers why it stopped, and at which command in `first`.
    Pause execute_frame(base::Slot slot, Connection& connection, std::string_view frame,
                        uint32_t& first);
    // Something that counts as a command.
    struct Ask {
        Pacing::Kind kind = Pacing::Kind::command;
        uint32_t series = 0;  // of a publish
        std::string_view id;
        bool is_answered = true;  // a control frame's refusal is not
    };
    // Whether the connection may do that; else it is refused.
    bool may_do(base::Slot slot, Connection& connection, const Ask& ask);
    void count_done(Connection& connection, Pacing::Kind kind);
    // Pauses if more bytes came than the rate allows.
    void slow_down(base::Slot slot, Connection& connection);
    Outcome execute(base::Slot slot, Connection& connection, const codec::Command& command);
    Outcome subscribe(base::Slot slot, Connection& connection, const codec::Command& command);
    Outcome unsubscribe(base::Slot slot, Connection& connection, const codec::Command& command);
    Outcome publish(base::Slot slot, Connection& connection, const codec::Command& command);
    Outcome history(base::Slot slot, Connection& connection, const codec::Command& command);
    // Starts the join of a subscribe command, which ends in joined() unless it is complete at once.
    void begin_subscribe(base::Slot slot, Connection& connection, const SubscribeRequest& request);
    // Subscribe commands that waited for the end of a replay, as far as they can go on.
    void begin_waiting(base::Slot slot, Connection& connection);
    // Whether one of the filters is on its way: nothing can be said about it yet.
    static bool is_unsettled(const Connection& connection,
                             std::span<const std::string_view> filters);
    bool is_backlogged(const Connection& connection) const;
    // Whether the answers to joins on their way, and one more, would fill the queue.
    bool awaits_enough(const Connection& connection) const;

    void pause(base::Slot slot, Connection& connection, Pause reason);
    void stash_frame(Connection& connection, std::string_view frame, uint32_t next_command);
    void stash_input(Connection& connection, std::span<const uint8_t> rest);

    // Replies, each one ordered frame or one that may overtake.
    void reply_error(base::Slot slot, std::string_view id, codec::ErrorCode code,
                     std::string_view reason);
    void reply_published(base::Slot slot, std::string_view id, const PublishResult& result);

    Parts parts_;
    const io::ShardId shard_;
    const bool keeps_history_;  // of some topics
    bool is_draining_ = false;
    SlotFifo paused_;      // those that wait for lanes
    DelayedSlots unread_;  // those that wait for a time, as far as they still do
    std::string json_;     // scratch
};

}  // namespace broker
