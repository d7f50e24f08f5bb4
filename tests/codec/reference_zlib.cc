#include "tests/codec/reference_zlib.h"

#define ZLIB_CONST
#include <zlib.h>

#include <algorithm>

#include "codec/utf8.h"
#include "io/base/check.h"

namespace codec::testing {
namespace {

const uint8_t* bytes_of(std::string_view text) {
    return reinterpret_cast<const uint8_t*>(text.data());
}

// Block after block, across final ones, as the message goes on (RFC 7692 §7.2.1).
class BlockInflater {
  public:
    BlockInflater(uint8_t window_bits, uint64_t plain_bytes_max)
        : plain_bytes_max_(plain_bytes_max) {
        CHECK(inflateInit2(&zlib_, -int{window_bits}) == Z_OK);
    }
    ~BlockInflater() { inflateEnd(&zlib_); }
    BlockInflater(const BlockInflater&) = delete;
    BlockInflater& operator=(const BlockInflater&) = delete;

    // False when these are no blocks.
    bool feed(std::string_view compressed) {
        zlib_.next_in = bytes_of(compressed);
        zlib_.avail_in = static_cast<uInt>(compressed.size());
        while (plain_.size() <= plain_bytes_max_) {
            uint8_t byte = 0;
            zlib_.next_out = &byte;
            zlib_.avail_out = 1;
            const uInt input_before = zlib_.avail_in;
            const int result = inflate(&zlib_, Z_BLOCK);
            if (zlib_.avail_in < input_before) is_fresh_ = false;
            is_between_blocks_ =
                is_fresh_ || stands_between_blocks() || (is_between_blocks_ && input_before == 0);
            if (zlib_.avail_out == 0) plain_.push_back(static_cast<char>(byte));
            if (result == Z_DATA_ERROR) return false;
            if (result == Z_STREAM_END) {
                restart();
            } else if (result == Z_BUF_ERROR) {
                return true;
            }
            CHECK(result == Z_OK || result == Z_STREAM_END);
        }
        return true;
    }

    bool is_between_blocks() const { return is_between_blocks_; }
    const std::string& plain() const { return plain_; }

  private:
    // After the end of a block, not in the last one, no bits left over.
    bool stands_between_blocks() const {
        return (zlib_.data_type & 128) != 0 && (zlib_.data_type & 64) == 0 &&
               (zlib_.data_type & 63) == 0;
    }

    // The documented way to begin a stream with an old window.
    void restart() {
        uint8_t window[32768];
        uInt window_bytes = 0;
        CHECK(inflateGetDictionary(&zlib_, window, &window_bytes) == Z_OK);
        CHECK(inflateReset(&zlib_) == Z_OK);
        CHECK(inflateSetDictionary(&zlib_, window, window_bytes) == Z_OK);
        is_fresh_ = true;
        is_between_blocks_ = true;
    }

    z_stream zlib_ = {};
    uint64_t plain_bytes_max_;
    std::string plain_;
    bool is_fresh_ = true;
    bool is_between_blocks_ = true;
};

}  // namespace

struct ReferenceDeflater::Stream {
    z_stream zlib = {};
};

ReferenceDeflater::ReferenceDeflater() : ReferenceDeflater(Settings()) {}

ReferenceDeflater::ReferenceDeflater(const Settings& settings)
    : stream_(std::make_unique<Stream>()) {
    constexpr int memory_level = 8;
    CHECK(deflateInit2(&stream_->zlib, settings.level, Z_DEFLATED, -settings.window_bits,
                       memory_level,
                       settings.uses_fixed_codes ? Z_FIXED : Z_DEFAULT_STRATEGY) == Z_OK);
}

ReferenceDeflater::~ReferenceDeflater() {
    deflateEnd(&stream_->zlib);
}

std::string ReferenceDeflater::run(std::string_view plain, int flush) {
    z_stream& zlib = stream_->zlib;
    zlib.next_in = bytes_of(plain);
    zlib.avail_in = static_cast<uInt>(plain.size());
    std::string out(plain.size() + plain.size() / 8 + 1024, '\0');
    zlib.next_out = reinterpret_cast<uint8_t*>(out.data());
    zlib.avail_out = static_cast<uInt>(out.size());
    const int result = deflate(&zlib, flush);
    CHECK(result == Z_OK || result == Z_STREAM_END);
    CHECK(zlib.avail_in == 0 && zlib.avail_out > 0);
    out.resize(out.size() - zlib.avail_out);
    return out;
}

std::string ReferenceDeflater::message(std::string_view plain) {
    std::string out = run(plain, Z_SYNC_FLUSH);
    constexpr std::string_view tail("\x00\x00\xff\xff", 4);
    CHECK(out.ends_with(tail));
    out.resize(out.size() - tail.size());
    return out;
}

std::string ReferenceDeflater::finished(std::string_view plain) {
    return run(plain, Z_FINISH);
}

void ReferenceDeflater::set_dictionary(std::string_view plain) {
    CHECK(deflateSetDictionary(&stream_->zlib, bytes_of(plain), static_cast<uInt>(plain.size())) ==
          Z_OK);
}

std::string deflate_message(std::string_view plain) {
    return ReferenceDeflater().message(plain);
}

ReferencePlain reference_inflate(std::string_view compressed, uint64_t plain_bytes_max,
                                 uint8_t window_bits) {
    BlockInflater inflater(window_bits, plain_bytes_max);
    bool is_valid = inflater.feed(compressed);
    if (is_valid && !inflater.is_between_blocks()) {
        is_valid =
            inflater.feed(std::string_view("\x00\x00\xff\xff", 4)) && inflater.is_between_blocks();
    }
    return {.plain = inflater.plain(), .is_valid = is_valid};
}

Violation expected_violation(const ReferencePlain& reference, const InflateLimits& limits) {
    const std::string_view kept =
        std::string_view(reference.plain).substr(0, limits.message_bytes_max);
    Utf8Check utf8;
    // Octet by octet, so that the first wrong one counts.
    for (size_t index = 0; limits.is_text && index < kept.size(); ++index) {
        if (!utf8.feed({bytes_of(kept) + index, 1})) return Violation::utf8_invalid;
    }
    if (reference.plain.size() > limits.message_bytes_max) return Violation::message_too_big;
    if (!reference.is_valid) return Violation::deflate_invalid;
    return limits.is_text && !utf8.is_complete() ? Violation::utf8_invalid : Violation::none;
}

}  // namespace codec::testing
