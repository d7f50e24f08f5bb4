// What the tests of compression measure with: zlib's own calls, used in other ways than the product
// uses them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "codec/frame_decoder.h"
#include "codec/inflater.h"

namespace codec::testing {

// Compresses messages one after the other on one stream, so with context takeover.
class ReferenceDeflater {
  public:
    struct Settings {
        int window_bits = 15;
        int level = 6;
        bool uses_fixed_codes = false;  // no block has codes of its own
    };
    ReferenceDeflater();
    explicit ReferenceDeflater(const Settings& settings);
    ~ReferenceDeflater();

    // The payload of one more message, as RFC 7692 §7.2.1 says.
    std::string message(std::string_view plain);
    // All that is written until the stream is finished by a block with BFINAL.
    std::string finished(std::string_view plain);
    // As if these bytes had been sent already.
    void set_dictionary(std::string_view plain);

  private:
    std::string run(std::string_view plain, int flush);

    struct Stream;
    std::unique_ptr<Stream> stream_;
};

// One message on a stream of its own.
std::string deflate_message(std::string_view plain);

struct ReferencePlain {
    std::string plain;      // all that came out, also before a broken place
    bool is_valid = false;  // the blocks are deflate blocks, and the message ends after one
};

// Inflates a message block by block, octet of output by octet of output, so that zlib has nothing
// but the window to look back into. Stops some bytes after plain_bytes_max.
ReferencePlain reference_inflate(std::string_view compressed, uint64_t plain_bytes_max,
                                 uint8_t window_bits = 15);

// What an Inflater must answer, by the definition: the first that is wrong in the order of the
// plain bytes.
Violation expected_violation(const ReferencePlain& reference, const InflateLimits& limits);

}  // namespace codec::testing
