#include "codec/frame.h"

#include <gtest/gtest.h>

#include <string>

namespace codec {
namespace {

std::string encoded(const FrameHeader& header) {
    uint8_t out[frame_header_bytes_max] = {};
    const uint32_t bytes_count = encode_frame_header(header, out);
    return std::string(reinterpret_cast<const char*>(out), bytes_count);
}

TEST(Frame, LengthsAreEncodedMinimallyAtEveryEdge) {
    using namespace std::string_literals;
    const auto text = [](uint64_t bytes) {
        return encoded({.opcode = Opcode::text, .payload_bytes = bytes});
    };
    EXPECT_EQ(text(0), "\x81\x00"s);
    EXPECT_EQ(text(125), "\x81\x7d"s);
    EXPECT_EQ(text(126), "\x81\x7e\x00\x7e"s);
    EXPECT_EQ(text(127), "\x81\x7e\x00\x7f"s);
    EXPECT_EQ(text(65535), "\x81\x7e\xff\xff"s);
    EXPECT_EQ(text(65536), "\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"s);
    EXPECT_EQ(text(INT64_MAX), "\x81\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"s);
}

TEST(Frame, FlagsAndOpcodes) {
    using namespace std::string_literals;
    EXPECT_EQ(encoded({.opcode = Opcode::continuation, .fin = false}), "\x00\x00"s);
    EXPECT_EQ(encoded({.opcode = Opcode::binary, .fin = true, .rsv1 = true}), "\xc2\x00"s);
    EXPECT_EQ(encoded({.opcode = Opcode::close}), "\x88\x00"s);
    EXPECT_EQ(encoded({.opcode = Opcode::ping}), "\x89\x00"s);
    EXPECT_EQ(encoded({.opcode = Opcode::pong}), "\x8a\x00"s);
}

TEST(Frame, MaskedHeadersEndInTheKey) {
    const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};
    uint8_t out[frame_header_bytes_max] = {};
    EXPECT_EQ(encode_masked_frame_header({.opcode = Opcode::text, .payload_bytes = 5}, key, out),
              6u);
    EXPECT_EQ(std::string(reinterpret_cast<const char*>(out), 6), "\x81\x85\x37\xfa\x21\x3d");
    EXPECT_EQ(encode_masked_frame_header({.opcode = Opcode::text, .payload_bytes = 126}, key, out),
              8u);
    EXPECT_EQ(
        encode_masked_frame_header({.opcode = Opcode::text, .payload_bytes = 65536}, key, out),
        14u);
    EXPECT_EQ(out[1], 0xff);
    EXPECT_EQ(out[13], 0x3d);
}

TEST(Frame, TheWholeLengthOfAFrameOfOurs) {
    for (const uint64_t payload_bytes :
         {uint64_t{0}, uint64_t{1}, uint64_t{125}, uint64_t{126}, uint64_t{127}, uint64_t{65535},
          uint64_t{65536}, uint64_t{1} << 40}) {
        uint8_t out[frame_header_bytes_max] = {};
        const uint32_t header_bytes =
            encode_frame_header({.opcode = Opcode::text, .payload_bytes = payload_bytes}, out);
        EXPECT_EQ(unmasked_frame_bytes({out, header_bytes}), header_bytes + payload_bytes);
    }
}

TEST(FrameDeathTest, ALengthThatTheWireCannotCarryIsAProgrammersError) {
    uint8_t out[frame_header_bytes_max];
    EXPECT_DEATH(encode_frame_header(
                     {.opcode = Opcode::text, .payload_bytes = uint64_t{INT64_MAX} + 1}, out),
                 "INT64_MAX");
}

TEST(Frame, CloseCodesThatMayBeSent) {
    for (uint32_t code = 0; code <= UINT16_MAX; ++code) {
        const bool is_registered = code == 1000 || code == 1001 || code == 1002 || code == 1003 ||
                                   (code >= 1007 && code <= 1014);
        const bool is_for_libraries_and_applications = code >= 3000 && code <= 4999;
        EXPECT_EQ(is_close_code_sendable(static_cast<uint16_t>(code)),
                  is_registered || is_for_libraries_and_applications)
            << code;
    }
}

}  // namespace
}  // namespace codec
