#include "broker/rule_text.h"

#include <algorithm>
#include <optional>

#include "broker/units.h"
#include "topics/name.h"

namespace broker {

namespace {

constexpr uint64_t unlimited = UINT64_MAX;
constexpr uint64_t messages_default = 100;
constexpr uint64_t ttl_default_ns = 300 * base::ns_per_s;
constexpr std::string_view special_in_keys = ",;=\\";
constexpr std::string_view special_in_values = ",;\\";

struct PolicyName {
    topics::OnSlow policy;
    std::string_view name;
};
constexpr PolicyName policy_names[] = {
    {topics::OnSlow::catch_up, "catch_up"},
    {topics::OnSlow::conflate, "conflate"},
    {topics::OnSlow::drop_oldest, "drop_oldest"},
    {topics::OnSlow::disconnect, "disconnect"},
};

// What the members say; the same key twice is an error, so a value tells that it was given.
struct Said {
    std::optional<std::string> match;
    std::optional<uint64_t> messages;
    std::optional<uint64_t> bytes;
    std::optional<uint64_t> ttl_ns;
    std::optional<topics::OnSlow> on_slow;
};

std::string not_in_range(const RuleMember& member, std::string_view range) {
    return member.first + ": '" + member.second + "' is not " + std::string(range);
}

std::string set_number(const RuleMember& member, std::optional<uint64_t> parsed, uint64_t least,
                       uint64_t most, std::string_view range, std::optional<uint64_t>& value) {
    if (value) return member.first + " is given twice";
    if (!parsed || *parsed < least || *parsed > most) return not_in_range(member, range);
    value = parsed;
    return {};
}

std::string say(const RuleMember& member, Said& said) {
    const auto& [key, value] = member;
    if (key == "match") {
        if (said.match) return "match is given twice";
        const topics::NameError error = topics::check_filter(value);
        if (error != topics::NameError::none) {
            return "match: '" + value + "': " + std::string(topics::describe(error));
        }
        said.match = value;
        return {};
    }
    if (key == "history_messages") {
        return set_number(member, parse_number(value), 0, history_messages_most,
                          "a number in the range 0 to " + std::to_string(history_messages_most),
                          said.messages);
    }
    if (key == "history_bytes") {
        return set_number(
            member, parse_size_bytes(value), 1, history_bytes_most,
            "a size such as 64KiB or 1MiB in the range 1B to " + format_size(history_bytes_most),
            said.bytes);
    }
    if (key == "history_ttl") {
        return set_number(member, parse_duration_ns(value), history_ttl_ns_least,
                          history_ttl_ns_most,
                          "a duration with its unit, such as 90s or 1h, in the range " +
                              format_duration(history_ttl_ns_least) + " to " +
                              format_duration(history_ttl_ns_most),
                          said.ttl_ns);
    }
    if (key == "on_slow") {
        if (said.on_slow) return "on_slow is given twice";
        for (const PolicyName& known : policy_names) {
            if (known.name == value) said.on_slow = known.policy;
        }
        if (said.on_slow) return {};
        return not_in_range(member, "catch_up, conflate, drop_oldest or disconnect");
    }
    return "unknown key '" + key +
           "'; known are match, history_messages, history_bytes, history_ttl and on_slow";
}

// What was said, with what is meant by what was not.
std::string conclude(const Said& said, topics::TopicRule& rule) {
    if (!said.match) return "match is missing";
    rule.match = *said.match;
    rule.on_slow = said.on_slow;
    if (said.messages == 0) {
        if (said.bytes || said.ttl_ns) {
            return "history_messages=0 keeps nothing, so history_bytes and history_ttl must not be "
                   "given";
        }
        if (said.on_slow == topics::OnSlow::catch_up) {
            return "on_slow=catch_up reads from history, and history_messages=0 keeps none";
        }
        rule.history_messages_max = 0;
        return {};
    }
    const bool has_size = said.messages || said.bytes;
    const uint64_t messages_otherwise = has_size ? unlimited : messages_default;
    const uint64_t ttl_otherwise_ns = has_size ? unlimited : ttl_default_ns;
    rule.history_messages_max = said.messages.value_or(messages_otherwise);
    rule.history_bytes_max = said.bytes.value_or(unlimited);
    rule.history_ttl_ns = said.ttl_ns.value_or(ttl_otherwise_ns);
    return {};
}

// What stands before the next character of `ends` that no backslash precedes.
std::string_view take_until(std::string_view& text, std::string_view ends) {
    size_t size = 0;
    while (size < text.size() && ends.find(text[size]) == std::string_view::npos) {
        size += text[size] == '\\' ? 2u : 1u;
    }
    size = std::min(size, text.size());
    const std::string_view taken = text.substr(0, size);
    text.remove_prefix(size);
    return taken;
}

// False: a backslash stands before something that needs none.
bool unescape(std::string_view text, std::string& plain) {
    plain.clear();
    for (size_t index = 0; index < text.size(); ++index) {
        if (text[index] == '\\') {
            ++index;
            const bool is_known =
                index < text.size() && special_in_keys.find(text[index]) != std::string_view::npos;
            if (!is_known) return false;
        }
        plain += text[index];
    }
    return true;
}

void append_escaped(std::string& text, std::string_view plain, std::string_view special) {
    for (const char character : plain) {
        if (special.find(character) != std::string_view::npos) text += '\\';
        text += character;
    }
}

std::string parse_member(std::string_view text, RuleMember& member) {
    std::string_view rest = text;
    const std::string_view key = take_until(rest, "=");
    if (rest.empty()) return "'" + std::string(text) + "' is not KEY=VALUE";
    rest.remove_prefix(1);
    if (!unescape(key, member.first) || !unescape(rest, member.second)) {
        return "'" + std::string(text) + "': a backslash stands only before , ; = or another one";
    }
    return {};
}

std::string parse_rule(std::string_view text, topics::TopicRule& rule) {
    if (text.empty()) return "a rule is empty";
    Said said;
    std::string_view rest = text;
    while (true) {
        RuleMember member;
        std::string error = parse_member(take_until(rest, ","), member);
        if (error.empty()) error = say(member, said);
        if (!error.empty()) return error;
        if (rest.empty()) return conclude(said, rule);
        rest.remove_prefix(1);
    }
}

}  // namespace

std::string parse_rules(std::string_view text, std::vector<topics::TopicRule>& rules) {
    std::string_view rest = text;
    while (true) {
        const std::string_view rule_text = take_until(rest, ";");
        topics::TopicRule rule;
        const std::string error = parse_rule(rule_text, rule);
        if (!error.empty()) return "'" + std::string(rule_text) + "': " + error;
        rules.push_back(std::move(rule));
        if (rest.empty()) return {};
        rest.remove_prefix(1);
    }
}

std::vector<RuleMember> members_of(const topics::TopicRule& rule) {
    std::vector<RuleMember> members = {{"match", rule.match}};
    if (rule.history_messages_max != unlimited) {
        members.emplace_back("history_messages", std::to_string(rule.history_messages_max));
    }
    if (rule.on_slow) {
        for (const PolicyName& known : policy_names) {
            if (known.policy == *rule.on_slow) members.emplace_back("on_slow", known.name);
        }
    }
    if (!rule.keeps_history()) return members;
    if (rule.history_bytes_max != unlimited) {
        members.emplace_back("history_bytes", format_size(rule.history_bytes_max));
    }
    if (rule.history_ttl_ns != unlimited) {
        members.emplace_back("history_ttl", format_duration(rule.history_ttl_ns));
    }
    return members;
}

std::string rule_text(std::span<const RuleMember> members) {
    std::string text;
    for (const auto& [key, value] : members) {
        if (!text.empty()) text += ',';
        append_escaped(text, key, special_in_keys);
        text += '=';
        append_escaped(text, value, special_in_values);
    }
    return text;
}

std::string rules_text(std::span<const topics::TopicRule> rules) {
    std::string text;
    for (const topics::TopicRule& rule : rules) {
        if (!text.empty()) text += ';';
        text += rule_text(members_of(rule));
    }
    return text;
}

}  // namespace broker
