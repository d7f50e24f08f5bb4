// Deflater: plain bytes in, the compressed payload of a message out (RFC 7692 §7.2.1).
//
// Owner: without context takeover a shard holds one and uses it for all its connections; with
// takeover each connection holds its own. Thread: its shard's.
//
// Invariants:
//  1. Any receiver that agreed on at least this window understands the payload; without takeover it
//     understands it whatever came before, also when takeover was agreed on (§7.1.1).
//  2. The payload is never empty: an empty message is the single octet 0x00 (§7.2.3.6).
//  3. It may be longer than a message that does not compress, by a few bytes for every 2 KiB. Who
//     sees that sends the message as it is; with takeover the payload must be sent all the same,
//     because the next one may refer to it.
//  4. The same message gives the same payload (without takeover).
//
// Memory: zlib takes 2^(window_bits + 2) + 2^(memory_level + 9) bytes and about 6 KiB; the
// payload's buffer is as large as the largest message, and is freed after one of more than
// deflater_payload_bytes_kept_max. memory_bytes() tells all of it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "io/base/units.h"

namespace codec {

class ZlibStream;

// zlib cannot make a raw stream with a window of 2^8: it takes 9 for it, without telling.
inline constexpr uint8_t deflate_window_bits_min = 9;
inline constexpr uint8_t deflate_window_bits_max = 15;
inline constexpr uint8_t deflate_level_min = 1;
inline constexpr uint8_t deflate_level_max = 9;
// Measured by deflate_bench (JSON; zlib 1.2.13, Zen 4 at 3.7 GHz), time and what remains of the
// bytes:
//     level      1           2           3           4           6
//     1 KiB    14 µs 34 %  14 µs 34 %  15 µs 34 %  16 µs 33 %   17 µs 33 %
//     16 KiB   86 µs 24 %  93 µs 23 % 104 µs 22 % 134 µs 22 %  197 µs 21 %
// A shard stands still while it compresses, and the levels above 1 buy a few percent of the bytes
// with up to more than twice the time.
inline constexpr uint8_t deflate_level_default = 1;
inline constexpr uint8_t deflate_memory_level_min = 1;
inline constexpr uint8_t deflate_memory_level_max = 9;
// Without takeover the hash table is cleared for every message: 8 KiB here, 64 KiB with zlib's
// default of 8, which is neither faster nor smaller for messages of 1 KiB, and takes 112 KiB more.
inline constexpr uint8_t deflate_memory_level_default = 5;

inline constexpr uint64_t deflater_payload_bytes_kept_max = 64 * base::kib;

// Whether a message that was compressed without takeover, with whatever window, suits a receiver
// with this window: nothing in it can refer back further than to its own first byte. So one payload
// serves all subscribers of a message that is not larger than the smallest of their windows.
constexpr bool fits_window(uint64_t message_bytes, uint8_t window_bits) {
    return message_bytes <= uint64_t{1} << window_bits;
}

struct DeflaterSettings {
    uint8_t window_bits = deflate_window_bits_max;
    uint8_t level = deflate_level_default;
    uint8_t memory_level = deflate_memory_level_default;
    bool has_context_takeover = false;
};

class Deflater {
  public:
    explicit Deflater(const DeflaterSettings& settings);
    ~Deflater();
    Deflater(Deflater&&) noexcept;
    Deflater& operator=(Deflater&&) noexcept;

    // The payload of the message, to be sent with RSV1. It lives until the next call. At most
    // message_bytes_ceiling bytes.
    [[nodiscard]] std::span<const uint8_t> compress(std::string_view message);

    // What it holds beyond itself.
    uint64_t memory_bytes() const;

  private:
    void reserve(uint64_t written_bytes, uint64_t capacity_bytes);

    std::unique_ptr<ZlibStream> stream_;
    std::unique_ptr<uint8_t[]> payload_;
    uint64_t payload_capacity_bytes_ = 0;
    bool has_context_takeover_;
};

}  // namespace codec
