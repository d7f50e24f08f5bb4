#include "topics/topic_rules.h"

#include <algorithm>

#include "topics/filter_relation.h"
#include "topics/name.h"

namespace topics {

bool TopicRules::keep_anything() const {
    return std::any_of(rules_.begin(), rules_.end(),
                       [](const TopicRule& rule) { return rule.keeps_history(); });
}

uint64_t TopicRules::messages_surely_kept(uint64_t payload_bytes_max, uint64_t age_ns) const {
    uint64_t fewest = UINT64_MAX;
    for (const TopicRule& rule : rules_) {
        if (!rule.keeps_history()) continue;
        const uint64_t fitting = rule.history_bytes_max / std::max<uint64_t>(payload_bytes_max, 1);
        const uint64_t kept = std::min(rule.history_messages_max, fitting);
        fewest = std::min(fewest, rule.history_ttl_ns > age_ns ? kept : 0);
    }
    return keep_anything() ? fewest : 0;
}

uint32_t TopicRules::history_rule_of(std::string_view topic) const {
    for (uint32_t index = 0; index < rules_.size(); ++index) {
        if (!matches(rules_[index].match, topic)) continue;
        return rules_[index].keeps_history() ? index : none;
    }
    return none;
}

OnSlow TopicRules::slow_policy_of(std::string_view topic) const {
    const auto rule = std::find_if(rules_.begin(), rules_.end(), [&](const TopicRule& candidate) {
        return matches(candidate.match, topic);
    });
    return rule == rules_.end() ? OnSlow::disconnect : rule->slow_policy();
}

bool TopicRules::keep_all_of(std::string_view filter) const {
    for (uint32_t index = 0; index < rules_.size(); ++index) {
        const TopicRule& rule = rules_[index];
        if (rule.keeps_history()) {
            if (covers(rule.match, filter)) return true;
            continue;
        }
        if (!overlaps(rule.match, filter)) continue;
        // A rule that an earlier one covers never decides.
        const bool is_dead = std::any_of(
            rules_.begin(), rules_.begin() + index,
            [&](const TopicRule& earlier) { return covers(earlier.match, rule.match); });
        if (!is_dead) return false;
    }
    return false;
}

}  // namespace topics
