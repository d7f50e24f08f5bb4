// What a peer has written, repeated to it in the reason for which its command is refused: in
// quotes, cut between two characters, and without control characters (C0, DEL, C1), so that it can
// harm neither a terminal nor a log. Pure; any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace codec {

// At most so much of a peer's own words is repeated.
inline constexpr size_t quoted_bytes_max = 40;

// `text` is valid UTF-8.
void append_quoted(std::string& out, std::string_view text);

}  // namespace codec
