// Text for people's eyes: what a stranger published must not steer the terminal it is shown on.
// Pure; any thread.
#pragma once

#include <string>
#include <string_view>

namespace tools {

// The text with every control character (C0, DEL, and C1, which some terminals obey too) and every
// line and paragraph separator written as an escape of JSON, so it stays one line and moves no
// cursor.
std::string escaped_for_terminal(std::string_view text);

}  // namespace tools
