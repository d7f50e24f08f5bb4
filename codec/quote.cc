#include "codec/quote.h"

#include <cstdint>

namespace codec {

void append_quoted(std::string& out, std::string_view text) {
    size_t bytes_count = text.size();
    if (bytes_count > quoted_bytes_max) {
        bytes_count = quoted_bytes_max;
        while ((static_cast<uint8_t>(text[bytes_count]) & 0xc0) == 0x80) --bytes_count;
    }
    out.push_back('"');
    for (const char character : text.substr(0, bytes_count)) {
        const bool is_control = static_cast<uint8_t>(character) < ' ' || character == 0x7f;
        out.push_back(is_control ? '?' : character);
    }
    out.append(bytes_count < text.size() ? "…\"" : "\"");
}

}  // namespace codec
