// Ledger: all that was ever published, and what is known of it by now: whether it was acknowledged,
// and its place in the order of its partition, whoever told it (an answer, a delivery, a replay, a
// page of history).
//
// Owner: Oracle. Thread: its World's.
// Invariants:
//  1. A message has one place, and a place one message, for everybody. A topic stays in its
//     partition.
//  2. What one connection published to one topic lies in the order in which it was sent.
//  3. Messages of topics without history have no place.
//  4. Of the publishes with one key on one topic that surely fall into one window, one is a
//     message; the others are repeats, which are never delivered and are told the first one's
//     place.
// A broken one is a Violation.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "codec/payload.h"
#include "tests/sim/cursor.h"
#include "tests/sim/network.h"
#include "tests/sim/scenario.h"

namespace sim {

struct Violation {
    std::string promise;
    std::string text;
};
[[noreturn]] void violated(std::string promise, std::string text);

using SessionId = uint32_t;
using MessageId = uint32_t;
inline constexpr uint32_t no_message = UINT32_MAX;

class Ledger {
  public:
    struct Message {
        SessionId publisher = 0;
        uint32_t topic = 0;
        codec::PayloadKind kind = codec::PayloadKind::json;
        bool echo = true;
        bool is_refused = false;
        bool is_repeat = false;     // answered as a duplicate
        bool is_sequenced = false;  // surely: it was acknowledged or seen
        std::string bytes;
        uint64_t sent_step = 0;
        uint64_t sent_ns = 0;
        uint64_t sequenced_by_ns = base::never_ns;
        uint64_t acknowledged_step = UINT64_MAX;
        std::optional<Place> place;
        uint32_t attempt = none;  // of which key
    };
    struct Published {
        SessionId publisher = 0;
        std::string publisher_name;
        std::string_view topic;
        codec::PayloadKind kind = codec::PayloadKind::json;
        std::string bytes;
        bool echo = true;
        std::string_view key;  // empty: none
    };

    Ledger(const Clock& clock, const Limits& limits) : clock_(clock), limits_(limits) {}

    MessageId add(Published published);
    void acknowledged(MessageId message, const std::optional<Place>& place, bool is_duplicate);
    void refused(MessageId message);
    // What somebody got: which message it is, with the place it was told.
    MessageId seen(const std::string& who, std::string_view topic, codec::PayloadKind kind,
                   std::string_view bytes, const std::optional<Place>& place);

    uint32_t count() const { return static_cast<uint32_t>(messages_.size()); }
    const Message& at(MessageId message) const { return messages_[message]; }
    std::string describe(MessageId message) const;

    uint32_t topic_number(std::string_view topic);
    uint32_t topics_count() const { return static_cast<uint32_t>(topics_.size()); }
    const std::string& topic(uint32_t number) const { return topics_[number].name; }
    bool has_history(uint32_t topic) const { return topics_[topic].has_history; }
    const std::vector<MessageId>& messages_of(uint32_t topic) const {
        return topics_[topic].messages;
    }
    std::optional<uint32_t> partition_of(uint32_t topic) const { return topics_[topic].partition; }
    // The messages of a partition by offset, as far as they are known.
    const std::map<uint64_t, MessageId>& partition(uint32_t number) const;
    uint64_t messages_with_history_count() const { return with_history_count_; }
    uint64_t message_bytes_most() const { return message_bytes_most_; }

    uint32_t filter_number(std::string_view filter);
    const std::string& filter(uint32_t number) const { return filters_[number]; }
    bool matches(uint32_t filter, uint32_t topic) const;

    // How many of the topic's newest messages no rule and no budget takes away (Limits).
    uint64_t surely_kept(uint32_t topic) const;
    // Those of the topic's newest `newest` messages that were acknowledged before a step and that
    // nothing can have taken away since: whoever asks for the newest must get them.
    std::vector<MessageId> surely_among_newest(uint32_t topic, uint64_t newest,
                                               uint64_t acknowledged_before_step) const;

  private:
    static constexpr uint32_t none = UINT32_MAX;

    struct Topic {
        std::string name;
        bool has_history = false;
        std::optional<uint32_t> partition;
        std::vector<MessageId> messages;
        std::map<SessionId, std::map<uint64_t, MessageId>> placed;  // by publisher and offset
    };

    void place(MessageId message, const Place& place);
    void sequenced(MessageId message);
    void repeated(MessageId message, const std::optional<Place>& place);

    const Clock& clock_;
    const Limits& limits_;
    std::vector<Message> messages_;
    std::vector<std::string> publishers_;
    std::vector<Topic> topics_;
    std::vector<std::string> filters_;
    std::map<uint32_t, std::map<uint64_t, MessageId>> partitions_;
    std::map<std::pair<uint32_t, std::string>, uint32_t> attempt_of_key_;  // by topic and key
    std::vector<std::vector<MessageId>> attempts_;
    uint64_t keyed_count_ = 0;
    uint64_t with_history_count_ = 0;
    uint64_t message_bytes_most_ = 0;
    mutable std::map<std::pair<uint32_t, uint32_t>, bool> matches_;
};

}  // namespace sim
