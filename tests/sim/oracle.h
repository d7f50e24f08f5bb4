// Oracle: a simple model of what the broker promised (ARCHITECTURE.md, P1 to P8), told by the peers
// what they sent and what they saw. It knows nothing of the broker's inside.
//
// How order is checked without seeing the broker's order: two messages of one topic that a
// subscriber sees one after the other, while it stayed subscribed, are neighbours in the topic's
// one order. So every message has at most one successor and one predecessor, whoever looks. A
// second, different one means that somebody missed a message (P1) or saw another order (P2).
//
// Owner: World. Thread: its World's.
// Invariants:
//  1. A broken promise is thrown as Violation at the moment it is seen.
//  2. Nothing is required that the promises do not say: a message is owed only when it was sent
//  after the subscriber
//     saw `subscribed`, was acknowledged, and the subscription and its connection still live.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "codec/payload.h"
#include "tests/sim/network.h"

namespace sim {

struct Violation {
    std::string promise;
    std::string text;
};

using SessionId = uint32_t;
using MessageId = uint32_t;
inline constexpr uint32_t no_message = UINT32_MAX;

// What a connection's owner is like, as far as the broker may react to it.
struct SessionTraits {
    bool is_hostile = false;     // breaks rules; anything legal may end it
    bool may_be_slow = false;    // its backlog may pass the limits: 4100
    bool may_be_silent = false;  // may fail to answer pings in time: 4200
};

// How a connection ended, as the peer saw it.
struct Ending {
    uint16_t close_code = 0;   // of the broker's Close frame; 0: none came
    bool is_by_peer = false;   // the peer had asked for it
    bool is_by_fault = false;  // the line broke
};

class Oracle {
  public:
    explicit Oracle(const Clock& clock) : clock_(clock) {}

    SessionId session_begin(std::string name, const SessionTraits& traits);
    void session_end(SessionId session, const Ending& ending);

    // The number that the next message will get, for its payload.
    MessageId next_message() const { return static_cast<MessageId>(messages_.size()); }
    MessageId publish_sent(SessionId session, std::string_view topic, codec::PayloadKind kind,
                           std::string bytes, bool echo);
    void publish_acknowledged(MessageId message);
    void publish_refused(MessageId message);

    bool is_subscription_absent(SessionId session, std::string_view filter);
    void subscribe_sent(SessionId session, std::string_view filter);
    void subscribed(SessionId session, std::string_view filter);
    void subscribe_refused(SessionId session, std::string_view filter);
    void unsubscribe_sent(SessionId session, std::string_view filter);
    void unsubscribed(SessionId session, std::string_view filter);
    // A filter of this session that is live and not about to leave, chosen by `choice`; null when
    // there is none.
    const std::string* live_filter(SessionId session, uint64_t choice) const;
    uint32_t filters_count(SessionId session) const;

    void delivered(SessionId session, std::string_view topic, codec::PayloadKind kind,
                   std::string_view bytes);
    void gap(SessionId session, std::string_view filter);

    void stop_requested(uint64_t drain_timeout_ns) {
        stop_step_ = clock_.step;
        cut_at_ns_ = clock_.now_ns + drain_timeout_ns;
    }
    // A machine that was paused in the middle of a drain may find its deadline behind it, and cuts.
    void time_jumped() { has_jumped_in_stop_ = has_jumped_in_stop_ || is_stopping(); }
    bool is_stopping() const { return stop_step_ != UINT64_MAX; }
    // Describes a message that is owed and was not delivered; empty when there is none.
    std::string first_missing() const;

    [[noreturn]] static void violated(std::string promise, std::string text);

    struct Counts {
        uint64_t sessions = 0;
        uint64_t published = 0;
        uint64_t acknowledged = 0;
        uint64_t refused = 0;
        uint64_t deliveries = 0;
        uint64_t compressed = 0;       // messages that came compressed
        uint64_t links_confirmed = 0;  // neighbours seen by a second subscriber
        uint64_t gaps = 0;
        std::map<uint16_t, uint64_t> closed_by_code;
        uint64_t broken_by_fault = 0;
    };
    const Counts& counts() const { return counts_; }
    void count_compressed() { ++counts_.compressed; }

  private:
    enum class FilterState : uint8_t { absent, asked, live, leaving };

    struct Message {
        SessionId publisher;
        uint32_t topic;
        codec::PayloadKind kind;
        bool echo;
        bool is_refused = false;
        std::string bytes;
        uint64_t sent_step;
        uint64_t acknowledged_step = UINT64_MAX;
        MessageId next = no_message;
        MessageId previous = no_message;
    };
    struct Subscription {
        FilterState state = FilterState::absent;
        uint64_t live_since_step = 0;
    };
    struct Session {
        std::string name;
        SessionTraits traits;
        bool is_ended = false;
        std::map<uint32_t, Subscription> filters;  // by filter
        std::vector<bool> seen;                    // by message
        std::map<uint32_t, MessageId> last;        // by topic: the newest of an unbroken stretch
        std::vector<uint32_t> hidden_topics;       // it published there without an echo
        std::map<std::pair<SessionId, uint32_t>, MessageId> newest_of_publisher;  // and topic
    };

    uint32_t topic_number(std::string_view topic);
    uint32_t filter_number(std::string_view filter);
    bool matches(uint32_t filter, uint32_t topic) const;
    bool is_covered(const Session& session, uint32_t topic) const;
    void forget_uncovered(Session& session);
    void link(Session& session, uint32_t topic, MessageId message);
    void check_ending(const Session& session, const Ending& ending) const;
    std::string missing_of(const Session& session, uint64_t acknowledged_before_step) const;
    std::string describe(MessageId message) const;
    Subscription& subscription(SessionId session, std::string_view filter);

    const Clock& clock_;
    std::vector<Message> messages_;
    std::vector<Session> sessions_;
    std::vector<std::string> topics_;
    std::vector<std::vector<MessageId>> messages_of_topic_;
    std::vector<std::string> filters_;
    mutable std::map<std::pair<uint32_t, uint32_t>, bool> matches_;
    uint64_t stop_step_ = UINT64_MAX;
    uint64_t cut_at_ns_ = UINT64_MAX;  // the deadline of the drain
    bool has_jumped_in_stop_ = false;
    Counts counts_;
};

}  // namespace sim
