#include "topics/topic_rules.h"

#include <algorithm>

#include "topics/filter_relation.h"
#include "topics/name.h"

namespace topics {

bool TopicRules::keep_anything() const {
    return std::any_of(rules_.begin(), rules_.end(),
                       [](const TopicRule& rule) { return rule.keeps_history(); });
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
