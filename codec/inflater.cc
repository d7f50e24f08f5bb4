#include "codec/inflater.h"

#include <algorithm>
#include <cstring>

#include "codec/zlib_stream.h"
#include "io/base/check.h"

namespace codec {
namespace {

constexpr uint64_t plain_capacity_bytes_min = 4 * base::kib;
constexpr uint8_t zlib_window_bits_min = 9;

// What RFC 7692 §7.2.1 takes off the end of every message.
constexpr uint8_t message_tail[] = {0x00, 0x00, 0xff, 0xff};

// zlib.h, inflate(): data_type is the number of bits left over in the last octet, plus 64 inside
// the last block, plus 128 after the end of a block, plus 256 elsewhere of no concern here.
bool stands_between_blocks(const z_stream& zlib) {
    constexpr int after_block = 128;
    constexpr int all_of_it = 0xff;
    return (zlib.data_type & all_of_it) == after_block;
}

}  // namespace

Inflater::Inflater(const InflaterSettings& settings)
    : stream_(std::make_unique<ZlibStream>(inflateEnd)),
      has_context_takeover_(settings.has_context_takeover) {
    CHECK(settings.window_bits >= window_bits_min && settings.window_bits <= window_bits_max);
    // Negative: deflate blocks alone, without the header and the checksum of zlib's own format.
    const int raw_window_bits = -std::max(settings.window_bits, zlib_window_bits_min);
    CHECK(inflateInit2(&stream_->zlib, raw_window_bits) == Z_OK);
}

Inflater::~Inflater() = default;
Inflater::Inflater(Inflater&&) noexcept = default;
Inflater& Inflater::operator=(Inflater&&) noexcept = default;

Inflated Inflater::inflate_message(std::span<const uint8_t> compressed,
                                   const InflateLimits& limits) {
    begin(limits);
    // A violation is the answer of finish() too.
    static_cast<void>(feed(compressed));
    return finish();
}

void Inflater::begin(const InflateLimits& limits) {
    CHECK(limits.message_bytes_max <= message_bytes_ceiling);
    const bool has_context =
        has_context_takeover_ && !is_inside_message_ && violation_ == Violation::none;
    if (!has_context) {
        // Also when a final block has just reset the stream: its window is still there, and may
        // hold the bytes of another connection.
        CHECK(inflateReset(&stream_->zlib) == Z_OK);
        is_fresh_ = true;
        is_between_blocks_ = true;
    }
    limits_ = limits;
    is_inside_message_ = true;
    violation_ = Violation::none;
    utf8_ = Utf8Check();
    plain_bytes_ = 0;
    if (plain_capacity_bytes_ > inflater_plain_bytes_kept_max) release_plain();
}

Violation Inflater::feed(std::span<const uint8_t> piece) {
    CHECK(is_inside_message_);
    if (violation_ == Violation::none) violation_ = consume(piece);
    return violation_;
}

Inflated Inflater::finish() {
    CHECK(is_inside_message_);
    is_inside_message_ = false;
    if (violation_ == Violation::none && !is_between_blocks_) {
        violation_ = consume(message_tail);
        if (violation_ == Violation::none && !is_between_blocks_) {
            violation_ = Violation::deflate_invalid;
        }
    }
    if (violation_ == Violation::none && limits_.is_text && !utf8_.is_complete()) {
        violation_ = Violation::utf8_invalid;
    }
    if (violation_ != Violation::none) return {.violation = violation_, .plain = {}};
    reserve();
    std::memset(plain_.get() + plain_bytes_, 0, base::readable_padding_bytes);
    return {.plain = {plain_.get(), plain_bytes_}};
}

void Inflater::release_plain() {
    plain_.reset();
    plain_bytes_ = 0;
    plain_capacity_bytes_ = 0;
}

uint64_t Inflater::memory_bytes() const {
    return sizeof(ZlibStream) + stream_->memory_bytes +
           (plain_ ? plain_capacity_bytes_ + base::readable_padding_bytes : 0);
}

Violation Inflater::consume(std::span<const uint8_t> compressed) {
    // zlib counts in 32 bits, and no frame is longer.
    CHECK(compressed.size() <= message_bytes_ceiling);
    if (compressed.empty()) return Violation::none;
    z_stream& zlib = stream_->zlib;
    zlib.next_in = compressed.data();
    zlib.avail_in = static_cast<uInt>(compressed.size());
    while (true) {
        reserve();
        // One byte of room above the limit shows whether the message passes it. That byte lies in
        // the padding at most.
        const uint64_t room_end = plain_capacity_bytes_ < limits_.message_bytes_max
                                      ? plain_capacity_bytes_
                                      : limits_.message_bytes_max + 1;
        const uint32_t room_bytes = static_cast<uint32_t>(room_end - plain_bytes_);
        const uint32_t input_bytes = zlib.avail_in;
        zlib.next_out = plain_.get() + plain_bytes_;
        zlib.avail_out = room_bytes;
        const int result = inflate(&zlib, Z_SYNC_FLUSH);
        if (zlib.avail_in < input_bytes) is_fresh_ = false;
        // Asked again without input, zlib no longer says that a block ended: it waits for the next.
        is_between_blocks_ =
            is_fresh_ || stands_between_blocks(zlib) || (is_between_blocks_ && input_bytes == 0);
        const uint64_t checked_bytes = plain_bytes_;
        plain_bytes_ += room_bytes - zlib.avail_out;
        // Before the result: what came out before the broken place counts first, so that the answer
        // does not depend on where the pieces were cut.
        const Violation violation = check_plain(checked_bytes);
        if (violation != Violation::none) return violation;
        if (!takes_inflate_result(result)) return Violation::deflate_invalid;
        // A full buffer may hide more; else all of the input went in.
        if (zlib.avail_in == 0 && zlib.avail_out > 0) return Violation::none;
    }
}

// `checked_bytes` of the plain ones were there before.
Violation Inflater::check_plain(uint64_t checked_bytes) {
    const uint64_t end = std::min(plain_bytes_, limits_.message_bytes_max);
    if (limits_.is_text && !utf8_.feed({plain_.get() + checked_bytes, end - checked_bytes})) {
        return Violation::utf8_invalid;
    }
    return plain_bytes_ > end ? Violation::message_too_big : Violation::none;
}

// False: these are no deflate blocks.
bool Inflater::takes_inflate_result(int result) {
    switch (result) {
        // Z_BUF_ERROR: nothing could be done, because there was neither input nor pending output.
        case Z_OK:
        case Z_BUF_ERROR: return true;
        case Z_STREAM_END:
            // For zlib the stream is over, for RFC 7692 §7.2.1 the next block follows. This reset
            // keeps the window; the documented way (inflateGetDictionary, inflateReset,
            // inflateSetDictionary) copies 64 KiB for each final block, of which two bytes of a
            // peer make one.
            CHECK(inflateResetKeep(&stream_->zlib) == Z_OK);
            is_fresh_ = true;
            is_between_blocks_ = true;
            return true;
        case Z_DATA_ERROR: return false;
        default: UNREACHABLE();  // out of memory, or a broken z_stream
    }
}

// Room for at least one more byte, as far as the limit allows.
void Inflater::reserve() {
    const bool is_full =
        plain_bytes_ == plain_capacity_bytes_ && plain_bytes_ < limits_.message_bytes_max;
    if (plain_ && !is_full) return;
    const uint64_t capacity = std::min(
        std::max(2 * plain_capacity_bytes_, plain_capacity_bytes_min), limits_.message_bytes_max);
    auto grown = std::make_unique_for_overwrite<uint8_t[]>(capacity + base::readable_padding_bytes);
    if (plain_bytes_ > 0) std::memcpy(grown.get(), plain_.get(), plain_bytes_);
    plain_ = std::move(grown);
    plain_capacity_bytes_ = capacity;
}

}  // namespace codec
