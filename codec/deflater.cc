#include "codec/deflater.h"

#include <algorithm>
#include <cstring>

#include "codec/frame_decoder.h"
#include "codec/zlib_stream.h"
#include "io/base/check.h"

namespace codec {
namespace {

// RFC 7692 §7.2.3.6: what an empty block without compression leaves when its tail is off.
constexpr uint8_t empty_message[] = {0x00};
constexpr uint8_t message_tail[] = {0x00, 0x00, 0xff, 0xff};

// The empty block that ends a message: its header, up to 7 bits of padding, four bytes of length.
// deflateBound does not count it.
constexpr uint64_t flush_bytes_max = 6;

}  // namespace

Deflater::Deflater(const DeflaterSettings& settings)
    : stream_(std::make_unique<ZlibStream>(deflateEnd)),
      has_context_takeover_(settings.has_context_takeover) {
    CHECK(settings.window_bits >= deflate_window_bits_min &&
          settings.window_bits <= deflate_window_bits_max);
    CHECK(settings.level >= deflate_level_min && settings.level <= deflate_level_max);
    CHECK(settings.memory_level >= deflate_memory_level_min &&
          settings.memory_level <= deflate_memory_level_max);
    // Negative: deflate blocks alone, without the header and the checksum of zlib's own format.
    CHECK(deflateInit2(&stream_->zlib, settings.level, Z_DEFLATED, -settings.window_bits,
                       settings.memory_level, Z_DEFAULT_STRATEGY) == Z_OK);
}

Deflater::~Deflater() = default;
Deflater::Deflater(Deflater&&) noexcept = default;
Deflater& Deflater::operator=(Deflater&&) noexcept = default;

std::span<const uint8_t> Deflater::compress(std::string_view message) {
    CHECK(message.size() <= message_bytes_ceiling);
    if (payload_capacity_bytes_ > deflater_payload_bytes_kept_max) {
        payload_.reset();
        payload_capacity_bytes_ = 0;
    }
    // zlib writes no second flush without input between; and every message ends on an octet's
    // boundary, where an empty block is this octet.
    if (message.empty()) return empty_message;
    z_stream& zlib = stream_->zlib;
    zlib.next_in = reinterpret_cast<const Bytef*>(message.data());
    zlib.avail_in = static_cast<uInt>(message.size());
    reserve(0, deflateBound(&zlib, message.size()) + flush_bytes_max);
    uint64_t written_bytes = 0;
    while (true) {
        zlib.next_out = payload_.get() + written_bytes;
        zlib.avail_out = static_cast<uInt>(payload_capacity_bytes_ - written_bytes);
        CHECK(deflate(&zlib, Z_SYNC_FLUSH) == Z_OK);
        written_bytes = payload_capacity_bytes_ - zlib.avail_out;
        // Room that is left shows that the flush is complete (zlib.h). deflateBound promises that
        // there is; should it err, a message of a peer must not be what ends the process.
        if (zlib.avail_out > 0) break;
        reserve(written_bytes, 2 * payload_capacity_bytes_);
    }
    CHECK(zlib.avail_in == 0 && written_bytes > sizeof message_tail);
    const uint64_t payload_bytes = written_bytes - sizeof message_tail;
    CHECK(std::memcmp(payload_.get() + payload_bytes, message_tail, sizeof message_tail) == 0);
    if (!has_context_takeover_) CHECK(deflateReset(&zlib) == Z_OK);
    return {payload_.get(), payload_bytes};
}

uint64_t Deflater::memory_bytes() const {
    return sizeof(ZlibStream) + stream_->memory_bytes + payload_capacity_bytes_;
}

// Room for so many bytes, of which some are written.
void Deflater::reserve(uint64_t written_bytes, uint64_t capacity_bytes) {
    if (capacity_bytes <= payload_capacity_bytes_) return;
    auto grown = std::make_unique_for_overwrite<uint8_t[]>(capacity_bytes);
    if (written_bytes > 0) std::memcpy(grown.get(), payload_.get(), written_bytes);
    payload_ = std::move(grown);
    payload_capacity_bytes_ = capacity_bytes;
}

}  // namespace codec
