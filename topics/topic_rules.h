// TopicRules: which topics keep how much history, and what happens to subscribers that do not keep
// up with them. The first rule whose filter matches a topic decides; a topic that no rule matches
// keeps nothing.
//
// Owner: built once at start, constant from then on. Thread: any.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace topics {

// What becomes of a message for which a subscriber has no room.
enum class OnSlow : uint8_t {
    catch_up,     // it is read from history when there is room again; only where history is kept
    conflate,     // it takes the place of an older one of its topic that waits
    drop_oldest,  // the oldest that wait make room for it
    disconnect,   // it is queued up to the hard limits, and then the subscriber is disconnected
};

struct TopicRule {
    std::string match;                        // a filter that passed check_filter
    uint64_t history_messages_max = 0;        // per topic; 0: the rule says that nothing is kept
    uint64_t history_bytes_max = UINT64_MAX;  // payload bytes per topic
    uint64_t history_ttl_ns = UINT64_MAX;     // UINT64_MAX: for ever
    std::optional<OnSlow> on_slow;            // none: what suits the rule best

    bool keeps_history() const { return history_messages_max > 0; }
    OnSlow slow_policy() const {
        return on_slow.value_or(keeps_history() ? OnSlow::catch_up : OnSlow::disconnect);
    }
    bool operator==(const TopicRule&) const = default;
};

class TopicRules {
  public:
    static constexpr uint32_t none = UINT32_MAX;

    TopicRules() = default;
    explicit TopicRules(std::vector<TopicRule> rules) : rules_(std::move(rules)) {}

    std::span<const TopicRule> all() const { return rules_; }
    // Whether any rule keeps history; false makes everything about history free.
    bool keep_anything() const;
    // How many newest messages every topic with history surely keeps for `age_ns`, memory
    // permitting, when no payload is larger than this. 0: nothing is sure.
    uint64_t messages_surely_kept(uint64_t payload_bytes_max, uint64_t age_ns) const;
    // The index of the rule that makes the topic keep history, or none.
    uint32_t history_rule_of(std::string_view topic) const;
    // What the rules say of subscribers that do not keep up with the topic.
    OnSlow slow_policy_of(std::string_view topic) const;
    // Whether the rules keep history for every topic that the filter can match: what `recoverable`
    // says. Decided from filters alone, and it wants one rule for all, so it may say no where
    // several rules share the filter's topics, or where only topics that nobody uses are in the
    // way. It never says yes wrongly.
    bool keep_all_of(std::string_view filter) const;

  private:
    std::vector<TopicRule> rules_;
};

}  // namespace topics
