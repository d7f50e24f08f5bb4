#include "codec/position.h"

#include <charconv>
#include <system_error>

namespace codec {
namespace {

// A number that takes up all of `text`, written as it would be written back. std::from_chars knows
// no plus sign, no space and no base prefix, and no minus for unsigned numbers.
template <class Number>
bool parse_number(std::string_view text, Number& number) {
    if (text.size() > 1 && text.front() == '0') return false;
    const char* const end = text.data() + text.size();
    const std::from_chars_result result = std::from_chars(text.data(), end, number);
    return result.ec == std::errc() && result.ptr == end;
}

}  // namespace

bool parse_position(std::string_view text, Position& position) {
    const size_t colon = text.find(':');
    if (colon == std::string_view::npos) return false;
    return parse_number(text.substr(0, colon), position.partition) &&
           parse_number(text.substr(colon + 1), position.offset);
}

char* write_position(char* at, const Position& position) {
    at = std::to_chars(at, at + 10, position.partition).ptr;
    *at++ = ':';
    return std::to_chars(at, at + 20, position.offset).ptr;
}

void append_position(std::string& out, const Position& position) {
    char text[position_bytes_max];
    out.append(text, write_position(text, position));
}

}  // namespace codec
