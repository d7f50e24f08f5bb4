// Replays: subscriptions that begin in the past, on their way to the present; and live streams that
// fell behind because their client was slow, on their way back to it.
//
// A replay reads history page by page, as fast as its client drains, and goes live at the head. Its
// state stands in the connection's CatchUp, which explains it. A stream that fell behind does the
// same, by partition, and its client does not notice: positions go on rising, and what was evicted
// meanwhile is told by a gap.
//
// Owner: a shard. Thread: its shard's.
// Invariants:
//  1. What a replay queues keeps the connection's backlog within the soft limit (one message is
//     always let through), so a replay never makes its client a slow consumer.
//  2. Of what lies above the join a message is queued once: by a live filter of the connection if
//     one had it, else by the replay. Of what lies at or below it the replay queues all that was
//     asked for.
//  3. `subscribed` is told before anything of the replay, `live` after everything, in the turn in
//     which the filters become live. A loss is told by a gap before what follows it.
//  4. While a connection's stream lags in a partition, nothing that has a position there is queued
//     to it but what the stream reads, and no cursor that is told covers more. A replay waits until
//     the stream has arrived.
//  5. advance() does a bounded amount of work per turn, first come first served, about a page's
//     bytes at a time, of as many partitions as that takes.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "broker/connection.h"
#include "broker/courier.h"
#include "broker/filter_lists.h"
#include "broker/heads.h"
#include "broker/metrics.h"
#include "broker/outbox.h"
#include "broker/pages.h"
#include "broker/settings.h"
#include "broker/slot_fifo.h"
#include "broker/slow_consumers.h"
#include "broker/subscriptions.h"
#include "codec/reply.h"
#include "topics/topic_rules.h"

namespace broker {

class Replays {
  public:
    struct Parts {
        io::Reactor& reactor;
        base::Slab<Connection>& connections;
        Courier& courier;
        const Partitions& partitions;
        Heads& heads;
        const topics::History& history;
        const topics::TopicRules& rules;
        Subscriptions& subscriptions;
        Outbox& outbox;
        SlowConsumers& slow_consumers;
        ShardMetrics& metrics;
        const Settings& settings;
        std::string_view epoch;
    };
    explicit Replays(const Parts& parts);

    // All owners know the filters of the request: a subscription that starts now is live with this
    // call, any other one begins its replay. The connection's CatchUp is in state joining then.
    void begin(base::Slot slot, const SubscribeRequest& request);

    // A sequenced message with a position that matches catching-up filters of this connection, and
    // no live one. `json` is its text.
    void on_live_message(uint32_t subscriber, const codec::Position& position,
                         std::string_view json);
    // A live message of this position found no room: from it on the connection's stream of that
    // partition is read from history. Not legal for a partition that lags already.
    void fall_behind(base::Slot slot, const codec::Position& position);
    static bool lags(const Connection& connection, uint32_t partition) {
        return connection.stream_lag != nullptr && connection.stream_lag->lags_in(partition);
    }
    // After live filters have come or gone.
    void live_filters_changed(base::Slot slot, Connection& connection);
    // What this connection published with echo:false was sequenced, or had been before.
    static void on_silent_publish(Connection& connection, const PublishResult& result);
    // Whether no more of these can be remembered before the stream or the replay has gone on.
    static bool is_silent_full(const Connection& connection);
    // The connection gives up these filters, which are all subscribed; it may have other ones.
    // Before they leave the subscriptions. At most CatchUp::left_max times in one replay.
    void on_unsubscribe(base::Slot slot, Connection& connection,
                        std::span<const std::string_view> filters);
    // After a completed send.
    void on_sent(base::Slot slot, Connection& connection);
    // The connection leaves `open`; its subscriptions are gone.
    void forget(Connection& connection);

    // Records of owners.
    void on_page_message(uint32_t token, const Publication& publication) {
        pages_.on_message(token, publication);
    }
    void on_page_end(uint32_t token, HistoryExtent extent);

    // Lets replays go on, a bounded number of them.
    void advance();
    bool has_ready() const { return !ready_.is_empty() || !arrived_.is_empty(); }
    // Some wait for room towards an owner; they are tried again every turn.
    bool has_starved() const { return !starved_.is_empty(); }
    // The broker stops: from now on only streams that fell behind go on.
    void drain() { is_draining_ = true; }
    // Whether history is still to be read, or on its way.
    bool is_reading_streams() const { return streams_behind_count_ > 0 || pages_.is_reading(); }
    // The connections whose state has changed since the last call: subscribed was told, or the
    // replay is over.
    [[nodiscard]] std::vector<base::Slot> take_changed();

    // Queues where the live subscriptions of the connection stand, if that has moved since it was
    // told.
    void tell_position(base::Slot slot);

  private:
    static constexpr uint32_t replays_per_turn_max = 64;
    static constexpr uint32_t own_reads_per_turn_max = 16;
    static constexpr uint64_t bytes_per_turn_max = base::mib;

    enum class Step : uint8_t {
        again,    // did something, and can do more
        waiting,  // is told when it can go on
    };
    Step prove(base::Slot slot, Connection& connection);
    Step read(base::Slot slot, Connection& connection, CatchUp& catch_up);
    void arrived(base::Slot slot, Connection& connection, CatchUp& catch_up);
    // The page on which the part goes on; null: it waits, or finds no room.
    Pages::Page* next_page(base::Slot slot, CatchUp& catch_up, CatchUp::Part& part,
                           uint32_t bytes_max);
    // The same, whatever pages there are.
    Pages::Page* ask_anew(base::Slot slot, CatchUp& catch_up, CatchUp::Part& part,
                          uint32_t bytes_max);
    static Pages::Key key_of(const CatchUp& catch_up, const CatchUp::Part& part);
    // Queues what of the page finds room. Answers false when nothing did.
    bool queue_page(base::Slot slot, Connection& connection, CatchUp& catch_up, CatchUp::Part& part,
                    Pages::Page& page);
    // The messages in runs_.
    void queue_runs(base::Slot slot, const CatchUp& catch_up, uint32_t messages_count);
    static uint64_t losses_bytes_max(const CatchUp& catch_up, const Pages::Page& page);
    void tell_losses(base::Slot slot, const CatchUp& catch_up, const Pages::Page& page);
    bool is_left_out(base::Slot slot, const CatchUp& catch_up, const CatchUp::Part& part,
                     uint64_t offset, std::string_view topic) const;

    void begin_last(base::Slot slot, Connection& connection);
    void begin_after(base::Slot slot, Connection& connection);
    // Holds the list of filters, and makes them catch up.
    void subscribe(base::Slot slot, CatchUp& catch_up);
    void start_reading(base::Slot slot, Connection& connection);
    void refuse(base::Slot slot, Connection& connection, codec::Recovery recovery);
    void go_live(base::Slot slot, Connection& connection);
    void end(base::Slot slot, CatchUp& catch_up);
    void forget_replay(CatchUp& catch_up);
    void drop_arrived(CatchUp& catch_up);

    void tell_subscribed(base::Slot slot, const SubscribeRequest& request,
                         std::span<const codec::Position> positions,
                         std::optional<codec::Recovery> recovery);
    // All for the partitions that the filters can match: where this shard stands, where the
    // connection's live stream stands, and where the client says that it stands (0 where it says
    // nothing). Valid until the next call of any.
    std::span<const codec::Position> heads_of(const SubscribeRequest& request);
    std::span<const codec::Position> stream_of(const Connection& connection,
                                               const SubscribeRequest& request);
    uint64_t stream_position(const Connection& connection, uint32_t partition) const;
    std::span<const codec::Position> known_of(const SubscribeRequest& request);
    void set_filters(base::Slot slot, CatchUp& catch_up);
    void end_lag(base::Slot slot, Connection& connection);
    void go_on(base::Slot slot);
    void make_ready(base::Slot slot, CatchUp& catch_up);
    void make_starved(base::Slot slot, CatchUp& catch_up);
    // The replay and the stream of a connection, as far as there are such.
    static std::array<CatchUp*, 2> all_of(const Connection& connection) {
        return {connection.catch_up.get(), connection.stream_lag.get()};
    }
    uint64_t room_bytes(const Connection& connection) const;

    Parts parts_;
    FilterLists lists_;
    Pages pages_;
    // Those whose page has arrived come first, or a crowd of others would outlive the page.
    SlotFifo arrived_;
    SlotFifo ready_;
    SlotFifo starved_;
    std::vector<base::Slot> changed_;
    uint32_t last_number_ = 0;
    uint32_t streams_behind_count_ = 0;
    bool is_draining_ = false;
    uint32_t own_reads_left_ = 0;  // of this turn
    uint64_t bytes_queued_ = 0;    // of this turn
    // Scratch.
    std::string json_;
    std::vector<codec::Position> positions_;
    std::vector<Pages::Waiter> waiters_;
    std::vector<Range> runs_;
    std::vector<std::string_view> filters_;
    std::string position_json_;  // of position_version_
    uint32_t position_version_ = UINT32_MAX;
};

}  // namespace broker
