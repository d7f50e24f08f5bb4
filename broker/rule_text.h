// Topic rules as people write them:
//
//     match=chat/#,history_messages=100,history_bytes=1MiB,history_ttl=1h
//
// Members stand in any order, separated by commas; rules are separated by semicolons. A key ends at
// its first '='. A backslash makes the next character a plain one: a filter may contain any of
// , ; \ and they are written \, \; \\ (and \= is taken for =).
//
// What is left out is no limit, with two exceptions, so that a rule cannot keep everything for ever
// by oversight: a rule with neither history_messages nor history_bytes keeps 100 messages, and a
// rule that says nothing but match keeps them for five minutes. history_messages=0 says that
// nothing is kept, as an exception before a wider rule.
//
// on_slow=catch_up, conflate, drop_oldest or disconnect says what becomes of messages for which a
// subscriber has no room (topics::OnSlow). Left out it is catch_up where history is kept, else
// disconnect.
//
// Pure; any thread. Limits: those of the members, below; topic_rules_max rules.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/base/units.h"
#include "topics/topic_rules.h"

namespace broker {

// A topic is looked up in all of them, one after the other.
inline constexpr size_t topic_rules_max = 1'000;
inline constexpr uint64_t history_messages_most = 1'000'000'000;
inline constexpr uint64_t history_bytes_most = 1024 * 1024 * base::mib;
inline constexpr uint64_t history_ttl_ns_least = base::ns_per_s / 10;
inline constexpr uint64_t history_ttl_ns_most = 87'600 * 3'600 * base::ns_per_s;  // ten years

// Key and value of one member.
using RuleMember = std::pair<std::string, std::string>;

// Appends the rules of `text`. Answers an error message that quotes the rule and says what would be
// right; empty when all is well.
[[nodiscard]] std::string parse_rules(std::string_view text, std::vector<topics::TopicRule>& rules);

// The members that make such a rule again, match first.
std::vector<RuleMember> members_of(const topics::TopicRule& rule);
std::string rule_text(std::span<const RuleMember> members);
// All rules as one text that parse_rules takes back.
std::string rules_text(std::span<const topics::TopicRule> rules);

}  // namespace broker
