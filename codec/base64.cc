#include "codec/base64.h"

#include <array>

namespace codec {
namespace {

constexpr std::string_view alphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// The high bit marks what is not in the alphabet, so that one OR over a group tells of all four.
constexpr uint8_t not_in_alphabet = 0x80;

constexpr std::array<uint8_t, 256> make_values() {
    std::array<uint8_t, 256> values{};
    values.fill(not_in_alphabet);
    for (size_t index = 0; index < alphabet.size(); ++index) {
        values[static_cast<uint8_t>(alphabet[index])] = static_cast<uint8_t>(index);
    }
    return values;
}

constexpr std::array<uint8_t, 256> values = make_values();

uint32_t value_of(char character) {
    return values[static_cast<uint8_t>(character)];
}

uint32_t byte_of(char character) {
    return static_cast<uint8_t>(character);
}

}  // namespace

void append_base64(std::string& out, std::string_view bytes) {
    const size_t begin = out.size();
    out.resize(begin + base64_encoded_bytes(bytes.size()));
    char* to = out.data() + begin;
    size_t index = 0;
    for (; index + 3 <= bytes.size(); index += 3) {
        const uint32_t group = byte_of(bytes[index]) << 16 | byte_of(bytes[index + 1]) << 8 |
                               byte_of(bytes[index + 2]);
        *to++ = alphabet[group >> 18];
        *to++ = alphabet[group >> 12 & 63];
        *to++ = alphabet[group >> 6 & 63];
        *to++ = alphabet[group & 63];
    }
    const size_t rest = bytes.size() - index;
    if (rest == 0) return;
    const uint32_t second = rest == 2 ? byte_of(bytes[index + 1]) : 0;
    const uint32_t group = byte_of(bytes[index]) << 16 | second << 8;
    *to++ = alphabet[group >> 18];
    *to++ = alphabet[group >> 12 & 63];
    *to++ = rest == 2 ? alphabet[group >> 6 & 63] : '=';
    *to++ = '=';
}

std::optional<size_t> decode_base64(std::string_view encoded, char* out) {
    if (encoded.size() % 4 != 0) return std::nullopt;
    if (encoded.empty()) return 0;
    const size_t padding = encoded.back() != '=' ? 0 : encoded[encoded.size() - 2] != '=' ? 1 : 2;
    const size_t whole = encoded.size() - (padding == 0 ? 0 : 4);
    char* to = out;
    for (size_t index = 0; index < whole; index += 4) {
        const uint32_t a = value_of(encoded[index]);
        const uint32_t b = value_of(encoded[index + 1]);
        const uint32_t c = value_of(encoded[index + 2]);
        const uint32_t d = value_of(encoded[index + 3]);
        if (((a | b | c | d) & not_in_alphabet) != 0) return std::nullopt;
        const uint32_t group = a << 18 | b << 12 | c << 6 | d;
        *to++ = static_cast<char>(group >> 16);
        *to++ = static_cast<char>(group >> 8);
        *to++ = static_cast<char>(group);
    }
    if (padding == 0) return static_cast<size_t>(to - out);
    const uint32_t a = value_of(encoded[whole]);
    const uint32_t b = value_of(encoded[whole + 1]);
    const uint32_t c = padding == 1 ? value_of(encoded[whole + 2]) : 0;
    if (((a | b | c) & not_in_alphabet) != 0) return std::nullopt;
    // What the padding throws away must be zero.
    if (padding == 1 ? (c & 3) != 0 : (b & 15) != 0) return std::nullopt;
    *to++ = static_cast<char>(a << 2 | b >> 4);
    if (padding == 1) *to++ = static_cast<char>(b << 4 | c >> 2);
    return static_cast<size_t>(to - out);
}

}  // namespace codec
