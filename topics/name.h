// Topic names and topic filters: levels separated by '/', MQTT's wildcards (MQTT 5 §4.7), and
// limits of our own. Pure; any thread.
//
// A topic is 1 to 512 bytes of UTF-8 with at most 32 levels and no control characters (C0, DEL,
// C1). Levels may be empty, as in MQTT: "a//b" has three. '+' and '#' are not allowed in topics.
// A filter may have '+' as a whole level, which stands for any one level, and '#' as its whole last
// level, which stands for any number of levels, none included: "news/#" matches "news" too.
// A topic that begins with '$' belongs to the broker: clients may not publish to it, and a filter
// that begins with a wildcard does not match it.
#pragma once

#include <cstdint>
#include <string_view>

namespace topics {

inline constexpr uint32_t topic_bytes_max = 512;
inline constexpr uint32_t topic_levels_max = 32;

enum class NameError : uint8_t {
    none,
    empty,
    too_long,
    too_many_levels,
    control_character,
    utf8_invalid,
    wildcard_in_topic,
    reserved,            // publish to '$…'
    wildcard_not_alone,  // "a+/b", "a#"
    hash_not_last,       // "#/a"
};

// One sentence that says what is wrong and what would be right.
std::string_view describe(NameError error);

// For what a client publishes to. `check_publishable` also refuses '$…'.
NameError check_topic(std::string_view topic);
NameError check_publishable(std::string_view topic);
NameError check_filter(std::string_view filter);

// Both must have passed their check.
bool has_wildcard(std::string_view filter);

// Whether the filter matches the topic. The plain definition, level by level, that PROTOCOL.md
// prints; the router is tested against it.
bool matches(std::string_view filter, std::string_view topic);

}  // namespace topics
