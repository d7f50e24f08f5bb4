// Base64 of RFC 4648 §4: the standard alphabet, with padding. Pure; any thread.
//
// Decoding is strict: no white space, no missing padding, and no set bits where the padding throws
// them away (RFC 4648 §3.5), so that one sequence of bytes has one spelling only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace codec {

constexpr size_t base64_encoded_bytes(size_t decoded_bytes) {
    return (decoded_bytes + 2) / 3 * 4;
}
// An upper bound; padding takes one or two bytes away.
constexpr size_t base64_decoded_bytes_max(size_t encoded_bytes) {
    return encoded_bytes / 4 * 3;
}

void append_base64(std::string& out, std::string_view bytes);

// Decodes into `out`, which has room for base64_decoded_bytes_max(encoded.size()) bytes, and
// answers how many were written; nullopt when `encoded` is not base64. `out` may be where `encoded`
// begins: what is written never overtakes what is read.
[[nodiscard]] std::optional<size_t> decode_base64(std::string_view encoded, char* out);

}  // namespace codec
