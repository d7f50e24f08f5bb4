// Frames of RFC 6455 §5.2: opcodes, close codes, and the encoding of headers. Pure; any thread.
#pragma once

#include <cstdint>
#include <span>

namespace codec {

enum class Opcode : uint8_t {
    continuation = 0x0,
    text = 0x1,
    binary = 0x2,
    close = 0x8,
    ping = 0x9,
    pong = 0xa,
};

inline constexpr uint32_t frame_header_bytes_max = 14;  // 2, extended length 8, masking key 4
inline constexpr uint32_t control_payload_bytes_max = 125;

struct FrameHeader {
    Opcode opcode;
    bool fin = true;
    bool rsv1 = false;  // RFC 7692: the message is compressed
    uint64_t payload_bytes = 0;
};

// Writes the header of an unmasked frame (what a server sends) with the minimal length encoding;
// answers how many bytes of `out` were written (2, 4 or 10).
uint32_t encode_frame_header(const FrameHeader& header,
                             std::span<uint8_t, frame_header_bytes_max> out);

// The same for a masked frame (what a client sends); the caller masks the payload itself.
uint32_t encode_masked_frame_header(const FrameHeader& header, const uint8_t (&key)[4],
                                    std::span<uint8_t, frame_header_bytes_max> out);

// The whole length, header included, of the unmasked frame that begins at `frame`. Its header must
// be there in full; meant for frames that we encoded ourselves.
uint64_t unmasked_frame_bytes(std::span<const uint8_t> frame);

// Whether a peer may send this code in a Close frame: RFC 6455 §7.4.1 and §7.4.2 and the IANA
// registry. 1004, 1005, 1006, 1015, 1016 to 2999 and everything outside 1000 to 4999 are refused.
bool is_close_code_sendable(uint16_t code);

}  // namespace codec
