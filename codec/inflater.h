// Inflater: the compressed payload of a message in, its plain bytes out (RFC 7692 §7.2.2).
//
// Owner: without context takeover a shard holds one and uses it for all its connections, whole
// messages one after the other; with takeover each connection holds its own. Thread: its shard's.
//
// Invariants:
//  1. The same compressed bytes give the same answer, however they are split among calls of feed().
//     (Only a peer that refers back further than the window it was told is sometimes understood and
//     sometimes not.)
//  2. Not more than message_bytes_max plain bytes are kept, whatever the compressed ones promise: a
//     bomb is stopped with the first byte above the limit.
//  3. Text is checked as it is inflated, so that a violation costs no more than the bytes before
//     it.
//  4. Plain bytes are followed by base::readable_padding_bytes readable bytes. They live until the
//     next begin(), inflate_message() or release_plain().
//  5. Without takeover no message depends on another one. With takeover a message may refer to
//     those before it, so every compressed message of the connection must pass through, in order;
//     after a violation, or a begin() before finish(), the context is empty again.
//
// What ends a message. The sender cut 00 00 FF FF off, the end of an empty block without
// compression (§7.2.1), and finish() appends it again; a message that then stands in the middle of
// a block was cut, and is deflate_invalid. Three endings take no tail, because the message already
// stands where a block may begin, which no message does that was cut by the rule: no bytes at all,
// a final block as the last one (a sender that finishes its stream and forgets the 0x00 of
// §7.2.3.4), and a tail that was left on. They are accepted: what they mean is beyond doubt.
//
// After a block with BFINAL the message goes on with the next block at the next octet, with the
// same window (§7.2.1, §7.2.3.4). So bytes after a final block are blocks as all others are, and
// garbage there is deflate_invalid.
//
// Memory: zlib takes 7 KiB, and 2^window_bits bytes with the first message; the plain bytes' buffer
// doubles from 4 KiB up to message_bytes_max. A new message begins in the old buffer unless that is
// larger than inflater_plain_bytes_kept_max. memory_bytes() tells all of it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "codec/frame_decoder.h"
#include "codec/utf8.h"
#include "io/base/units.h"

namespace codec {

class ZlibStream;

// RFC 7692 §7.1.2: the logarithm of the window's size.
inline constexpr uint8_t window_bits_min = 8;
inline constexpr uint8_t window_bits_max = 15;

// As large as a message is by default, so that a shared Inflater does not allocate.
inline constexpr uint64_t inflater_plain_bytes_kept_max = 64 * base::kib;

struct InflaterSettings {
    // What the client was told to keep to, or more. 8 is taken for 9: 256 bytes buy the clients
    // that say 8 and compress with 9, which is the least that zlib can.
    uint8_t window_bits = window_bits_max;
    bool has_context_takeover = false;
};

struct InflateLimits {
    uint64_t message_bytes_max;  // of plain bytes, at most message_bytes_ceiling
    bool is_text;                // the plain bytes must be UTF-8
};

struct Inflated {
    // none, message_too_big, deflate_invalid or utf8_invalid.
    Violation violation = Violation::none;
    std::span<uint8_t> plain;  // empty after a violation
};

class Inflater {
  public:
    explicit Inflater(const InflaterSettings& settings);
    ~Inflater();
    Inflater(Inflater&&) noexcept;
    Inflater& operator=(Inflater&&) noexcept;

    // A message whose compressed bytes stand in one place: begin, feed and finish in one.
    [[nodiscard]] Inflated inflate_message(std::span<const uint8_t> compressed,
                                           const InflateLimits& limits);

    // A message whose compressed bytes come in pieces, none of which is kept. A violation comes
    // with the piece that shows it, and is the answer to all later calls for that message.
    void begin(const InflateLimits& limits);
    [[nodiscard]] Violation feed(std::span<const uint8_t> piece);
    [[nodiscard]] Inflated finish();

    // Frees the plain bytes' buffer; for an Inflater that waits with its connection.
    void release_plain();

    // What it holds beyond itself.
    uint64_t memory_bytes() const;

  private:
    Violation consume(std::span<const uint8_t> compressed);
    Violation check_plain(uint64_t checked_bytes);
    bool takes_inflate_result(int result);
    void reserve();

    std::unique_ptr<ZlibStream> stream_;
    std::unique_ptr<uint8_t[]> plain_;  // plain_capacity_bytes_, and the padding
    uint64_t plain_bytes_ = 0;
    uint64_t plain_capacity_bytes_ = 0;
    InflateLimits limits_ = {};
    bool has_context_takeover_;
    // True from begin() to finish().
    bool is_inside_message_ = false;
    // True when nothing was consumed since zlib's stream began, at a message or after a final
    // block.
    bool is_fresh_ = true;
    // True when a block may begin at the next octet.
    bool is_between_blocks_ = true;
    Violation violation_ = Violation::none;  // of the message that began last
    Utf8Check utf8_;                         // of the message that began last, when it is text
};

}  // namespace codec
