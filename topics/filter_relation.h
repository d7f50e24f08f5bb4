// How two filters relate, whatever topics exist. Pure; any thread. Filters must have passed
// check_filter; both answers honour that a filter that begins with a wildcard matches no topic that
// begins with '$'.
#pragma once

#include <string_view>

namespace topics {

// Whether every topic that `special` matches is matched by `general` too. Exact, not conservative.
bool covers(std::string_view general, std::string_view special);

// Whether some topic (legal by check_topic, but for its length) is matched by both.
bool overlaps(std::string_view left, std::string_view right);

}  // namespace topics
