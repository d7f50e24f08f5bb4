// A second opinion on JSON: whether a text is one value by the rules of codec/json.h, asked of
// nlohmann::json, which shares no code with simdjson nor with us.
//
// Where its reading of RFC 8259 differs from ours, it is brought to ours here, and nowhere else:
//  - It skips a byte order mark at the beginning; for us that is no JSON (§8.1 leaves the choice).
//  - It takes a NUL outside strings for the end of the text; for us the text ends where it ends.
//  - It refuses a number that a double cannot hold; for us a number is valid by its grammar (§6),
//    because subscribers get it verbatim.
//  - It takes any depth, and a key twice; our limits of both are applied to what it reads.
// It refuses lone surrogates, ill-formed UTF-8 and control characters in strings as we do.
#pragma once

#include <string_view>

namespace codec::testing {

bool is_reference_json(std::string_view text);

}  // namespace codec::testing
