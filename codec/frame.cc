#include "codec/frame.h"

#include <cstring>

#include "io/base/check.h"

namespace codec {
namespace {

constexpr uint8_t fin_bit = 0x80;
constexpr uint8_t rsv1_bit = 0x40;
constexpr uint8_t mask_bit = 0x80;
constexpr uint8_t length_is_16_bits = 126;
constexpr uint8_t length_is_64_bits = 127;

void put_big_endian(uint64_t value, uint32_t bytes_count, uint8_t* out) {
    for (uint32_t index = 0; index < bytes_count; ++index) {
        out[index] = static_cast<uint8_t>(value >> (8 * (bytes_count - 1 - index)));
    }
}

uint64_t get_big_endian(const uint8_t* bytes, uint32_t bytes_count) {
    uint64_t value = 0;
    for (uint32_t index = 0; index < bytes_count; ++index) value = value << 8 | bytes[index];
    return value;
}

uint32_t encode_header(const FrameHeader& header, uint8_t mask, uint8_t* out) {
    const uint8_t flags =
        static_cast<uint8_t>((header.fin ? fin_bit : 0) | (header.rsv1 ? rsv1_bit : 0));
    out[0] = static_cast<uint8_t>(flags | static_cast<uint8_t>(header.opcode));
    if (header.payload_bytes < length_is_16_bits) {
        out[1] = static_cast<uint8_t>(mask | static_cast<uint8_t>(header.payload_bytes));
        return 2;
    }
    if (header.payload_bytes <= UINT16_MAX) {
        out[1] = mask | length_is_16_bits;
        put_big_endian(header.payload_bytes, 2, out + 2);
        return 4;
    }
    // RFC 6455 §5.2: the most significant bit of a 64-bit length is 0.
    CHECK(header.payload_bytes <= INT64_MAX);
    out[1] = mask | length_is_64_bits;
    put_big_endian(header.payload_bytes, 8, out + 2);
    return 10;
}

}  // namespace

uint32_t encode_frame_header(const FrameHeader& header,
                             std::span<uint8_t, frame_header_bytes_max> out) {
    return encode_header(header, 0, out.data());
}

uint32_t encode_masked_frame_header(const FrameHeader& header, const uint8_t (&key)[4],
                                    std::span<uint8_t, frame_header_bytes_max> out) {
    const uint32_t bytes_count = encode_header(header, mask_bit, out.data());
    std::memcpy(out.data() + bytes_count, key, sizeof key);
    return bytes_count + static_cast<uint32_t>(sizeof key);
}

uint64_t unmasked_frame_bytes(std::span<const uint8_t> frame) {
    CHECK(frame.size() >= 2 && (frame[1] & mask_bit) == 0);
    const uint8_t length = frame[1];
    if (length < length_is_16_bits) return 2 + uint64_t{length};
    if (length == length_is_16_bits) {
        CHECK(frame.size() >= 4);
        return 4 + get_big_endian(frame.data() + 2, 2);
    }
    CHECK(frame.size() >= 10);
    return 10 + get_big_endian(frame.data() + 2, 8);
}

bool is_close_code_sendable(uint16_t code) {
    // 1012 to 1014 came by the IANA registry after the RFC.
    if (code >= 1000 && code <= 1014) return code != 1004 && code != 1005 && code != 1006;
    return code >= 3000 && code <= 4999;
}

}  // namespace codec
