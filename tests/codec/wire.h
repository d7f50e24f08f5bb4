// What the tests and fuzzers of the codec share: buffers with the promised padding and no byte
// more, frames as a client builds them, and a decoder that is fed in pieces.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "codec/frame.h"
#include "codec/frame_decoder.h"

namespace codec::testing {

// A copy of some bytes on the heap, followed by exactly the padding that parsers may read, so that
// AddressSanitizer sees whoever reads further. The padding holds a pattern that is JSON, to show
// whoever takes it for text.
class Padded {
  public:
    explicit Padded(std::string_view bytes);

    std::span<uint8_t> span() { return {bytes_.get(), size_}; }
    std::string_view view() const;

  private:
    size_t size_;
    std::unique_ptr<uint8_t[]> bytes_;
};

// A frame with a masked payload, as a client sends it.
std::string masked_frame(const FrameHeader& header, std::string_view payload,
                         uint32_t key = 0x12ab34cd);
// A frame without a mask, as a server sends it.
std::string plain_frame(const FrameHeader& header, std::string_view payload);
// A whole message in one masked frame.
std::string masked_message(Opcode opcode, std::string_view payload);

// What a decoder handed out, with its payload copied.
struct Outcome {
    Decoded::Kind kind;
    Violation violation;
    uint16_t close_code;
    std::string payload;
    bool is_compressed = false;

    friend bool operator==(const Outcome&, const Outcome&) = default;
};

// A decoder that takes its input in pieces and collects what comes out, up to a violation.
class Feeder {
  public:
    Feeder(Role role, uint64_t message_bytes_max) : Feeder(role, FrameLimits{message_bytes_max}) {}
    Feeder(Role role, const FrameLimits& limits) : decoder_(role), limits_(limits) {}

    // False after a violation; then nothing more may be fed.
    bool feed(std::string_view piece);

    const std::vector<Outcome>& outcomes() const { return outcomes_; }
    FrameDecoder& decoder() { return decoder_; }

  private:
    FrameDecoder decoder_;
    FrameLimits limits_;
    std::vector<Outcome> outcomes_;
};

std::vector<Outcome> decode_pieces(Role role, uint64_t message_bytes_max,
                                   const std::vector<std::string_view>& pieces);
std::vector<Outcome> decode_whole(Role role, uint64_t message_bytes_max, std::string_view bytes);
std::vector<Outcome> decode_pieces(Role role, const FrameLimits& limits,
                                   const std::vector<std::string_view>& pieces);

// One line for each outcome, for a failing test's message.
std::string describe(const std::vector<Outcome>& outcomes);

}  // namespace codec::testing
