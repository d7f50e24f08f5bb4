// Oracle: a simple model of what the broker promised (ARCHITECTURE.md, P1 to P8; PROTOCOL.md), told
// by the peers what they sent and what they saw. It knows nothing of the broker's inside.
//
// It has five parts: the Ledger of all messages and their places, a Subscriber for each session,
// which knows what is owed to it, the Rates of each session, which know whether it was refused
// justly, the Operations, which know whom operators closed, and here: the order as subscribers saw
// it, and how sessions end.
//
// How order is checked without seeing the broker's order: two messages of one topic that a
// subscriber sees one after the other, while it stayed subscribed, are neighbours in the topic's
// one order. So every message has at most one successor and one predecessor, whoever looks. A
// second, different one means that somebody missed a message (P1) or saw another order (P2). That
// holds for topics without history too, whose messages have no place.
//
// Owner: World. Thread: its World's.
// Invariants:
//  1. A broken promise is thrown as Violation at the moment it is seen.
//  2. Nothing is required that the promises do not say: a message of a topic without history is
//     owed only when it was sent after the subscriber saw `subscribed`, was acknowledged, and the
//     subscription and its connection still live; with history, when it stands above the cursor
//     that the subscriber was told or had asked for.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/sim/history_page.h"
#include "tests/sim/ledger.h"
#include "tests/sim/network.h"
#include "tests/sim/operations.h"
#include "tests/sim/rates.h"
#include "tests/sim/scenario.h"
#include "tests/sim/subscriber.h"

namespace sim {

// What a connection's owner is like, as far as the broker may react to it.
struct SessionTraits {
    bool is_hostile = false;     // breaks rules; anything legal may end it
    bool may_be_slow = false;    // its backlog may pass the limits: 4100
    bool may_be_silent = false;  // may fail to answer pings in time: 4200
    ConnectionId connection = no_connection;
};

// How a connection ended, as the peer saw it.
struct Ending {
    uint16_t close_code = 0;   // of the broker's Close frame; 0: none came
    bool is_by_peer = false;   // the peer had asked for it
    bool is_by_fault = false;  // the line broke
};

struct Publish {
    std::string_view topic;
    codec::PayloadKind kind = codec::PayloadKind::json;
    std::string bytes;
    bool echo = true;
    std::string_view key;  // empty: none
};

class Oracle {
  public:
    Oracle(const Clock& clock, const Limits& limits)
        : clock_(clock), ledger_(clock, limits), limits_(limits), operations_(clock) {}

    SessionId session_begin(std::string name, const SessionTraits& traits);
    void session_end(SessionId session, const Ending& ending);

    // The number that the next message will get, for its payload.
    MessageId next_message() const { return ledger_.count(); }
    MessageId publish_sent(SessionId session, Publish publish);
    void publish_acknowledged(MessageId message, const std::optional<Place>& place = {},
                              bool is_duplicate = false);
    void publish_refused(MessageId message);

    Operations& operations() { return operations_; }
    const Operations& operations() const { return operations_; }
    Rates& rates(SessionId session) { return sessions_[session].rates; }
    Subscriber& subscriber(SessionId session) { return sessions_[session].subscriber; }
    Subscriber::Id subscribe_sent(SessionId session, const std::vector<std::string>& filters,
                                  const Start& start = {});
    void subscribed(SessionId session, Subscriber::Id id, const SubscribedAnswer& answer);
    void unsubscribed(SessionId session, const std::vector<std::string>& filters);
    void unsubscribe_refused(SessionId session, const std::vector<std::string>& filters);
    void delivered(SessionId session, std::string_view topic, codec::PayloadKind kind,
                   std::string_view bytes, const std::optional<Place>& place = {});
    // Of a replay, or of the live stream.
    void gap(SessionId session, std::optional<Subscriber::Id> replay, const ToldGap& gap);
    void history_page(SessionId session, const HistoryRequest& request, const HistoryPage& page);

    void stop_requested(uint64_t drain_ns) {
        stop_step_ = clock_.step;
        cut_at_ns_ = clock_.now_ns + drain_ns;
    }
    // A machine that was paused in the middle of a drain may find its deadline behind it, and cuts.
    void time_jumped() { has_jumped_in_stop_ = has_jumped_in_stop_ || is_stopping(); }
    bool is_stopping() const { return stop_step_ != UINT64_MAX; }
    // Describes a message that is owed and was not delivered; empty when there is none.
    std::string first_missing() const;
    // At the end, when all places are known that ever will be.
    void audit() const;

    struct Counts {
        uint64_t sessions = 0;
        uint64_t published = 0;
        uint64_t acknowledged = 0;
        uint64_t refused = 0;
        uint64_t duplicates = 0;
        uint64_t refused_for_rate = 0;
        uint64_t deliveries = 0;
        uint64_t compressed = 0;       // messages that came compressed
        uint64_t links_confirmed = 0;  // neighbours seen by a second subscriber
        uint64_t resumes_exact = 0;
        uint64_t resumes_refused = 0;
        uint64_t replayed = 0;  // messages that a replay announced
        uint64_t gaps = 0;
        std::map<std::string, uint64_t> stream_gaps_by_code;
        uint64_t missed = 0;  // as the gaps of live streams tell
        uint64_t history_pages = 0;
        std::map<uint16_t, uint64_t> closed_by_code;
        uint64_t broken_by_fault = 0;
    };
    const Counts& counts() const { return counts_; }
    void count_compressed() { ++counts_.compressed; }
    // Of somebody without a session.
    void count_refused_for_rate() { ++counts_.refused_for_rate; }
    void count_closed(uint16_t code) { ++counts_.closed_by_code[code]; }

  private:
    struct Session {
        std::string name;
        SessionTraits traits;
        Subscriber subscriber;
        Rates rates;
        bool is_ended = false;
        std::map<uint32_t, MessageId> last = {};   // by topic: the newest of an unbroken stretch
        std::vector<uint32_t> hidden_topics = {};  // it published there without an echo
        std::map<std::pair<SessionId, uint32_t>, MessageId> newest_of_publisher = {};  // and topic
    };
    struct Neighbours {
        MessageId next = no_message;
        MessageId previous = no_message;
    };

    void stream_gap(Session& session, const ToldGap& gap);
    void forget_uncovered(Session& session);
    void link(Session& session, uint32_t topic, MessageId message);
    void check_ending(const Session& session, const Ending& ending) const;

    const Clock& clock_;
    Ledger ledger_;
    const Limits& limits_;
    Operations operations_;
    std::vector<Session> sessions_;
    std::vector<Neighbours> neighbours_;  // by message
    uint64_t stop_step_ = UINT64_MAX;
    uint64_t cut_at_ns_ = UINT64_MAX;  // the deadline of the drain
    bool has_jumped_in_stop_ = false;
    Counts counts_;
};

}  // namespace sim
