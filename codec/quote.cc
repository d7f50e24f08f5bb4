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
    for (size_t index = 0; index < bytes_count; ++index) {
        const uint8_t byte = static_cast<uint8_t>(text[index]);
        // U+0080 to U+009F are two bytes. The second is there, because the text is UTF-8.
        const bool is_c1 = byte == 0xc2 && static_cast<uint8_t>(text[index + 1]) < 0xa0;
        const bool is_control = byte < ' ' || byte == 0x7f || is_c1;
        out.push_back(is_control ? '?' : text[index]);
        if (is_c1) ++index;
    }
    out.append(bytes_count < text.size() ? "…\"" : "\"");
}

}  // namespace codec
