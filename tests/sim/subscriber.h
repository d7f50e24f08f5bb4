// Subscriber: what one connection has subscribed to, how far it has come, and whether the broker
// kept its word about that (PROTOCOL.md, "History and resume").
//
// It is told only what stood on the wire, in the order in which it came. From that it keeps the
// cursors as a careful application would: one that all live subscriptions share, and one of each
// replay's own. What a cursor says, namely that everything at or below it was delivered, is checked
// against all that anybody knows of the order (Ledger): as soon as a cursor moves, and once more
// when all is known. A client that comes back goes on from the bookmarks; so by checking each
// connection by itself, nothing is lost over a life of many.
//
// Owner: Oracle, one per session. Thread: its World's.
// Invariants:
//  1. A broken promise is thrown as Violation at the moment it is seen.
//  2. Pushed means: not announced by a replay. Pushed positions rise in each partition.
//  3. At most one replay runs; commands to subscribe are answered one after the other.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/cursor.h"
#include "tests/sim/ledger.h"
#include "tests/sim/stream_gaps.h"

namespace sim {

// Where a subscription begins, or a page of history.
struct Start {
    enum class Kind : uint8_t { now, last, after };
    // What is wrong with the cursor, on purpose.
    enum class Lie : uint8_t { none, foreign_epoch, future };
    Kind kind = Kind::now;
    uint32_t last = 0;
    ToldCursor after;
    Lie lie = Lie::none;
};

// With what a client comes back.
struct Bookmark {
    std::vector<std::string> filters;
    Start start;
};

// How the broker answered a start after a cursor.
struct Recovery {
    bool is_recovered = false;
    std::string code;  // why not
};

struct SubscribedAnswer {
    ToldCursor cursor;
    bool is_recoverable = false;
    std::optional<Recovery> recovery;
};

// Throws when the answer to a start after a cursor cannot be right. `can_be_evicted`: history that
// the question is about may have been evicted. `can_be_ignored`: what is wrong with the cursor may
// be nothing that matters here.
void check_recovery(const std::string& what, const Start& start,
                    const std::optional<Recovery>& recovery, bool can_be_evicted,
                    bool can_be_ignored);

class Subscriber {
  public:
    using Id = uint32_t;  // of a subscribe command on this connection

    Subscriber(const Clock& clock, Ledger& ledger, const Limits& limits, SessionId self,
               std::string name)
        : clock_(clock),
          ledger_(ledger),
          limits_(limits),
          self_(self),
          name_(std::move(name)),
          stream_gaps_(ledger) {}

    void welcomed(std::string epoch) { epoch_ = std::move(epoch); }
    const std::string& epoch() const { return epoch_; }

    Id subscribe_sent(const std::vector<std::string>& filters, const Start& start);
    void subscribed(Id id, const SubscribedAnswer& answer);
    void subscribe_refused(Id id);
    void unsubscribe_sent(const std::vector<std::string>& filters);
    void unsubscribed(const std::vector<std::string>& filters);
    // Nothing was changed.
    void unsubscribe_refused(const std::vector<std::string>& filters);

    enum class Arrival : uint8_t { pushed, announced };
    Arrival delivered(MessageId message);
    void replay(Id id, uint64_t messages_count);
    void live(Id id, const ToldCursor& cursor);
    void replay_gap(Id id, const ToldGap& told);
    void stream_gap(const ToldGap& told);
    void position(const ToldCursor& cursor);

    // What it asks, for what the answers weigh.
    void commanded(uint64_t commands_count) { commands_count_ += commands_count; }
    void history_asked() { ++histories_count_; }
    // Whether a policy, or answers that it did not read, may close the connection with 4100.
    bool can_be_cut_off() const;

    bool is_absent(std::string_view filter) const;
    bool is_live(std::string_view filter) const;
    // Those that can be given up, answered or not.
    std::vector<std::string> leavable() const;
    uint32_t filters_count() const;
    // Whether a live filter matches, so that what is sequenced is pushed.
    bool has_live(uint32_t topic) const;
    // Nothing was asked for that is not live.
    bool is_settled() const { return asked_.empty() && running_ == none; }
    std::vector<Bookmark> bookmarks() const;
    // The one that all live subscriptions share.
    ToldCursor told_cursor() const { return {epoch_, shared_}; }

    // A message that is owed and was not delivered, described; empty when there is none. Looks at
    // what was acknowledged before the step; UINT64_MAX: at all that stands somewhere.
    std::string missing(uint64_t acknowledged_before_step) const;
    // Checks what the cursors say once more, with all that is known by now.
    void audit() const;

  private:
    static constexpr Id none = UINT32_MAX;

    enum class State : uint8_t { asked, running, live };
    struct Filter {
        uint32_t number = 0;
        bool is_leaving = false;
    };
    struct Gap {
        uint32_t filter = 0;
        std::optional<uint32_t> topic;
        uint64_t step = 0;
        Cursor behind;  // what was lost lies above it
    };
    struct Subscription {
        State state = State::asked;
        Start start;
        std::vector<Filter> filters;
        uint64_t sent_step = 0;
        uint64_t sent_at = 0;  // how much had been delivered then
        uint64_t subscribed_step = 0;
        size_t gaps_before = 0;          // of the stream, when it was answered
        uint64_t answered_at = 0;        // the same, when it was answered
        uint64_t since = 0;              // what was pushed from then on counts as delivered to it
        bool is_refused_resume = false;  // recovered:false
        Cursor from;                     // everything that matches above it is owed
        Cursor own;                      // how far its replay has come
        std::set<MessageId> replayed;
        std::map<uint32_t, uint64_t> first_replayed;       // by topic: the offset
        std::map<uint32_t, uint64_t> replayed_below_join;  // by topic: how many
        uint64_t sent_ns = 0;
        std::vector<Gap> gaps;
    };

    void mark_leaving(const std::vector<std::string>& filters, bool is_leaving);
    static bool starts_now(const Subscription& each) { return each.start.kind == Start::Kind::now; }
    bool matches(const Subscription& each, uint32_t topic) const;
    bool matches_for_sure(const Subscription& each, uint32_t topic) const;
    // Whether a topic that its filters match is known to lie there.
    bool concerns(const Subscription& each, uint32_t partition) const;
    bool is_owed(const Subscription& each, MessageId message) const;
    bool is_covered(const Subscription& each, MessageId message) const;
    bool is_excused(const Subscription& each, MessageId message) const;
    // By a gap of its own replay.
    bool is_evicted(const Subscription& each, MessageId message) const;
    bool can_be_evicted(const Subscription& each) const;
    bool can_be_evicted_since(uint32_t topic, const Subscription& each) const;
    bool can_be_ignored(const Subscription& each) const;
    // Whether a gap of this code can be: what must be true of the topics that it concerns.
    bool can_be_dropped(uint32_t topic, codec::GapCode code) const;
    // Whether a filter that was ever subscribed to matches.
    bool was_asked_for(uint32_t topic) const;
    bool can_be_lost_behind(uint32_t filter) const;
    // How many messages that a filter matches are missing: for sure, and at most.
    struct Bounds {
        uint64_t least = 0;
        uint64_t most = 0;
    };
    Bounds missing_of(const Subscription& each, uint32_t filter) const;
    // Empty: the gaps tell as many as are missing.
    std::string miscounted(bool is_at_rest) const;
    // Empty: what came last of conflated topics is the newest.
    std::string not_newest() const;
    void check_passed(const Subscription& each, uint32_t partition, uint64_t after,
                      uint64_t upto) const;
    void check_recoverable(const Subscription& each, bool is_recoverable) const;
    void check_newest(const Subscription& each) const;
    void check_epoch(const ToldCursor& cursor) const;
    void announced(MessageId message);
    void pushed(MessageId message);
    // The cursor that all live subscriptions share moves.
    void share(const Cursor& cursor);
    [[noreturn]] void complain(const char* promise, const std::string& text) const {
        violated(promise, name_ + " " + text);
    }

    const Clock& clock_;
    Ledger& ledger_;
    const Limits& limits_;
    const SessionId self_;
    const std::string name_;
    std::string epoch_;
    std::map<Id, Subscription> subscriptions_;
    std::deque<Id> asked_;
    Id running_ = none;
    Id ids_count_ = 0;
    uint64_t announced_left_ = 0;
    uint64_t delivered_count_ = 0;
    Cursor shared_;
    std::map<MessageId, uint64_t> pushed_;  // how much had been delivered before
    std::set<MessageId> replayed_;          // by any replay
    StreamGaps stream_gaps_;
    std::set<uint32_t> filters_ever_;
    uint64_t commands_count_ = 0;
    uint64_t histories_count_ = 0;
    uint64_t settles_count_ = 0;  // commands before whose answers all that waits is queued
};

}  // namespace sim
