#include "topics/name.h"

#include <simdjson.h>

#include <cstddef>

#include "io/base/check.h"

namespace topics {

namespace {

enum class Kind : uint8_t { topic, filter };

// Encodings begin with 0xC2 for U+0080 to U+00BF; the first half of these are the C1 controls.
constexpr uint8_t c1_lead = 0xc2;
constexpr uint8_t c1_tail_end = 0xa0;
constexpr uint8_t c0_end = 0x20;
constexpr uint8_t del = 0x7f;

// What begins at `begin` and ends before the next '/'.
std::string_view level_at(std::string_view name, size_t begin) {
    const size_t end = name.find('/', begin);
    return name.substr(begin, end == std::string_view::npos ? end : end - begin);
}

// What the single bytes of a name tell.
struct Survey {
    bool has_control = false;
    bool has_wildcard = false;
    uint32_t levels_count = 1;
};

// Every publish passes here, so the loop has no early end: compilers make vectors of it.
Survey survey(std::string_view name) {
    uint32_t controls_count = 0;
    uint32_t wildcards_count = 0;
    uint32_t separators_count = 0;
    uint8_t previous = 0;
    for (const char character : name) {
        const uint8_t byte = static_cast<uint8_t>(character);
        controls_count += (byte < c0_end) | (byte == del);
        controls_count += (previous == c1_lead) & (byte < c1_tail_end);
        wildcards_count += (byte == '+') | (byte == '#');
        separators_count += byte == '/';
        previous = byte;
    }
    return {controls_count != 0, wildcards_count != 0, separators_count + 1};
}

NameError check_level(std::string_view level, bool is_last) {
    const size_t wildcard = level.find_first_of("+#");
    if (wildcard == std::string_view::npos) return NameError::none;
    if (level.size() != 1) return NameError::wildcard_not_alone;
    if (level[0] == '#' && !is_last) return NameError::hash_not_last;
    return NameError::none;
}

NameError check_wildcards(std::string_view filter, uint32_t levels_count) {
    size_t begin = 0;
    for (uint32_t index = 0; index < levels_count; ++index) {
        const std::string_view level = level_at(filter, begin);
        const NameError error = check_level(level, index + 1 == levels_count);
        if (error != NameError::none) return error;
        begin += level.size() + 1;
    }
    return NameError::none;
}

NameError check(std::string_view name, Kind kind) {
    if (name.empty()) return NameError::empty;
    if (name.size() > topic_bytes_max) return NameError::too_long;
    // Before the controls: a C1 control can only be told where the bytes are UTF-8.
    if (!simdjson::validate_utf8(name.data(), name.size())) return NameError::utf8_invalid;
    const Survey found = survey(name);
    if (found.has_control) return NameError::control_character;
    if (found.levels_count > topic_levels_max) return NameError::too_many_levels;
    if (!found.has_wildcard) return NameError::none;
    if (kind == Kind::topic) return NameError::wildcard_in_topic;
    return check_wildcards(name, found.levels_count);
}

}  // namespace

std::string_view describe(NameError error) {
    switch (error) {
        case NameError::none: return "The name is valid.";
        case NameError::empty: return "The name is empty; it needs at least one character.";
        case NameError::too_long: return "The name is longer than 512 bytes of UTF-8.";
        case NameError::too_many_levels:
            return "The name has more than 32 levels; '/' separates levels.";
        case NameError::control_character:
            return "The name contains a control character (U+0000 to U+001F or U+007F to U+009F); "
                   "use printable characters.";
        case NameError::utf8_invalid: return "The name is not valid UTF-8.";
        case NameError::wildcard_in_topic:
            return "A topic cannot contain the wildcards '+' and '#'; only filters can.";
        case NameError::reserved:
            return "Topics that begin with '$' belong to the broker; publish to another one.";
        case NameError::wildcard_not_alone:
            return "A wildcard must be a whole level, as in \"news/+/uk\" or \"news/#\".";
        case NameError::hash_not_last: return "'#' must be the last level, as in \"news/#\".";
    }
    UNREACHABLE();
}

NameError check_topic(std::string_view topic) {
    return check(topic, Kind::topic);
}

NameError check_publishable(std::string_view topic) {
    const NameError error = check(topic, Kind::topic);
    if (error != NameError::none) return error;
    return topic.front() == '$' ? NameError::reserved : NameError::none;
}

NameError check_filter(std::string_view filter) {
    return check(filter, Kind::filter);
}

bool has_wildcard(std::string_view filter) {
    return filter.find_first_of("+#") != std::string_view::npos;
}

bool matches(std::string_view filter, std::string_view topic) {
    if (topic.front() == '$' && (filter.front() == '+' || filter.front() == '#')) return false;
    size_t filter_begin = 0;
    size_t topic_begin = 0;
    // A name of n bytes has its last level's end at n, so a next level would begin at n + 1.
    while (filter_begin <= filter.size()) {
        const std::string_view wanted = level_at(filter, filter_begin);
        if (wanted == "#") return true;
        if (topic_begin > topic.size()) return false;
        const std::string_view level = level_at(topic, topic_begin);
        if (wanted != "+" && wanted != level) return false;
        filter_begin += wanted.size() + 1;
        topic_begin += level.size() + 1;
    }
    return topic_begin > topic.size();
}

}  // namespace topics
