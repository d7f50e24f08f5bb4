#include "tools/terminal.h"

#include <cstdint>

namespace tools {
namespace {

constexpr char hex_digits[] = "0123456789abcdef";

void append_unicode_escape(std::string& out, uint32_t code_point) {
    out += "\\u";
    for (int shift = 12; shift >= 0; shift -= 4) out += hex_digits[(code_point >> shift) & 0xf];
}

void append_control(std::string& out, char control) {
    switch (control) {
        case '\n': out += "\\n"; return;
        case '\r': out += "\\r"; return;
        case '\t': out += "\\t"; return;
        default: append_unicode_escape(out, static_cast<unsigned char>(control)); return;
    }
}

// In UTF-8, C1 is C2 80 to C2 9F; the separators U+2028 and U+2029 are E2 80 A8 and E2 80 A9.
bool is_c1(std::string_view rest) {
    return rest.size() >= 2 && rest[0] == '\xc2' && static_cast<unsigned char>(rest[1]) < 0xa0;
}

bool is_separator(std::string_view rest) {
    return rest.starts_with("\xe2\x80\xa8") || rest.starts_with("\xe2\x80\xa9");
}

}  // namespace

std::string escaped_for_terminal(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (size_t index = 0; index < text.size(); ++index) {
        const std::string_view rest = text.substr(index);
        const auto byte = static_cast<unsigned char>(rest[0]);
        if (byte < 0x20 || byte == 0x7f) {
            append_control(out, rest[0]);
        } else if (is_c1(rest)) {
            append_unicode_escape(out, static_cast<unsigned char>(rest[1]));
            index += 1;
        } else if (is_separator(rest)) {
            append_unicode_escape(out, rest[2] == '\xa8' ? 0x2028 : 0x2029);
            index += 2;
        } else {
            out += rest[0];
        }
    }
    return out;
}

}  // namespace tools
