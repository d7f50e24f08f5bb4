// What UTF-8 is, by RFC 3629 read aloud: without regard to speed or who wrote the product.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace codec::testing {

// unfinished: it can become complete by bytes behind it.
enum class Utf8 : uint8_t { invalid, unfinished, complete };

// RFC 3629 by arithmetic: the code points that the bytes of a sequence leave possible.
inline Utf8 utf8_of(std::string_view text) {
    size_t at = 0;
    while (at < text.size()) {
        const uint32_t lead = static_cast<uint8_t>(text[at]);
        const size_t length = lead < 0x80   ? 1
                              : lead < 0xc0 ? 0
                              : lead < 0xe0 ? 2
                              : lead < 0xf0 ? 3
                              : lead < 0xf8 ? 4
                                            : 0;
        if (length == 0) return Utf8::invalid;
        const size_t present = std::min(length, text.size() - at);
        uint32_t code_point = length == 1 ? lead : lead & (0x7fu >> length);
        for (size_t index = 1; index < present; ++index) {
            const uint32_t byte = static_cast<uint8_t>(text[at + index]);
            if (byte >> 6 != 2) return Utf8::invalid;
            code_point = code_point << 6 | (byte & 0x3f);
        }
        const size_t missing_bits = present < length ? 6 * (length - present) : 0;
        constexpr uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x1'0000};
        const uint32_t least = std::max(code_point << missing_bits, smallest[length]);
        const uint32_t most =
            std::min((code_point << missing_bits) + (1u << missing_bits) - 1, 0x10'ffffu);
        if (least > most || (least >= 0xd800 && most <= 0xdfff)) return Utf8::invalid;
        if (missing_bits > 0) return Utf8::unfinished;
        at += length;
    }
    return Utf8::complete;
}

}  // namespace codec::testing
