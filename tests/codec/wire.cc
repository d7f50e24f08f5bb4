#include "tests/codec/wire.h"

#include <cstring>

#include "codec/kernels.h"
#include "io/base/check.h"
#include "io/base/units.h"

namespace codec::testing {
namespace {

const char* name_of(Decoded::Kind kind) {
    switch (kind) {
        case Decoded::Kind::need_more: return "need_more";
        case Decoded::Kind::text: return "text";
        case Decoded::Kind::binary: return "binary";
        case Decoded::Kind::ping: return "ping";
        case Decoded::Kind::pong: return "pong";
        case Decoded::Kind::close: return "close";
        case Decoded::Kind::violation: return "violation";
    }
    UNREACHABLE();
}

std::string text_of(std::span<const uint8_t> bytes) {
    return bytes.empty() ? std::string()
                         : std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// The padding after every payload is promised: AddressSanitizer stops a read that is not allowed.
void read_padding(std::span<const uint8_t> payload) {
    uint8_t padding[base::readable_padding_bytes];
    std::memcpy(padding, payload.data() + payload.size(), sizeof padding);
    asm volatile("" : : "r"(padding) : "memory");
}

}  // namespace

Padded::Padded(std::string_view bytes)
    : size_(bytes.size()),
      bytes_(std::make_unique_for_overwrite<uint8_t[]>(size_ + base::readable_padding_bytes)) {
    if (size_ > 0) std::memcpy(bytes_.get(), bytes.data(), size_);
    // Fuzzers make one for each byte: hence the copy of a constant.
    static const std::string padding = [] {
        std::string pattern;
        while (pattern.size() < base::readable_padding_bytes) pattern += "]}\" ,1:";
        return pattern;
    }();
    std::memcpy(bytes_.get() + size_, padding.data(), base::readable_padding_bytes);
}

std::string_view Padded::view() const {
    return {reinterpret_cast<const char*>(bytes_.get()), size_};
}

std::string masked_frame(const FrameHeader& header, std::string_view payload, uint32_t key) {
    uint8_t key_bytes[4];
    std::memcpy(key_bytes, &key, sizeof key);
    uint8_t encoded[frame_header_bytes_max];
    FrameHeader complete = header;
    complete.payload_bytes = payload.size();
    const uint32_t header_bytes = encode_masked_frame_header(complete, key_bytes, encoded);
    std::string frame = text_of({encoded, header_bytes});
    // Written out here, so that the kernels are not tested against themselves.
    for (size_t index = 0; index < payload.size(); ++index) {
        frame.push_back(
            static_cast<char>(static_cast<uint8_t>(payload[index]) ^ key_bytes[index % 4]));
    }
    return frame;
}

std::string plain_frame(const FrameHeader& header, std::string_view payload) {
    uint8_t encoded[frame_header_bytes_max];
    FrameHeader complete = header;
    complete.payload_bytes = payload.size();
    std::string frame = text_of({encoded, encode_frame_header(complete, encoded)});
    frame.append(payload);
    return frame;
}

std::string masked_message(Opcode opcode, std::string_view payload) {
    return masked_frame({.opcode = opcode}, payload);
}

bool Feeder::feed(std::string_view piece) {
    Padded padded(piece);
    std::span<uint8_t> input = padded.span();
    while (true) {
        const Decoded decoded = decoder_.next(input, limits_);
        if (decoded.kind == Decoded::Kind::need_more) {
            CHECK(input.empty());
            return true;
        }
        if (decoded.kind != Decoded::Kind::violation) read_padding(decoded.payload);
        outcomes_.push_back({decoded.kind, decoded.violation, decoded.close_code,
                             text_of(decoded.payload), decoded.is_compressed});
        if (decoded.kind == Decoded::Kind::violation) return false;
    }
}

std::vector<Outcome> decode_pieces(Role role, uint64_t message_bytes_max,
                                   const std::vector<std::string_view>& pieces) {
    return decode_pieces(role, FrameLimits{message_bytes_max}, pieces);
}

std::vector<Outcome> decode_pieces(Role role, const FrameLimits& limits,
                                   const std::vector<std::string_view>& pieces) {
    Feeder feeder(role, limits);
    for (const std::string_view piece : pieces) {
        if (!feeder.feed(piece)) break;
    }
    return feeder.outcomes();
}

std::vector<Outcome> decode_whole(Role role, uint64_t message_bytes_max, std::string_view bytes) {
    return decode_pieces(role, message_bytes_max, {bytes});
}

std::string describe(const std::vector<Outcome>& outcomes) {
    std::string text;
    for (const Outcome& outcome : outcomes) {
        text.append(name_of(outcome.kind));
        text.append(" ").append(codec::describe(outcome.violation));
        text.append(" code ").append(std::to_string(outcome.close_code));
        text.append(" ").append(std::to_string(outcome.payload.size())).append(" bytes");
        text.append(outcome.is_compressed ? " compressed\n" : "\n");
    }
    return text;
}

}  // namespace codec::testing
