// Invariant 1 of Inflater, and that it takes for a message what zlib takes for one: the answer to
// any bytes is the same in one go, in pieces and by zlib block by block, also when the Inflater has
// other messages behind it. What the Deflater makes of the same bytes comes back.
//
// Input: one byte that chooses the limit and the kind, one byte N, N bytes that are the lengths of
// the pieces (repeated until all is fed), and the message.

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "codec/deflater.h"
#include "codec/inflater.h"
#include "io/base/check.h"
#include "tests/codec/reference_zlib.h"

namespace {

using codec::Inflated;
using codec::InflateLimits;
using codec::Inflater;
using codec::Violation;

std::string_view text_of(std::span<const uint8_t> bytes) {
    return bytes.empty()
               ? std::string_view()
               : std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

Inflated inflate_pieces(Inflater& inflater, std::span<const uint8_t> message,
                        std::span<const uint8_t> lengths, const InflateLimits& limits) {
    inflater.begin(limits);
    for (size_t index = 0; !message.empty(); ++index) {
        const size_t wanted = lengths.empty() ? 1 : lengths[index % lengths.size()];
        // A length of 0 feeds nothing once, but must not do so for ever.
        if (wanted == 0) static_cast<void>(inflater.feed({}));
        const size_t taken = std::min(std::max<size_t>(wanted, 1), message.size());
        static_cast<void>(inflater.feed(message.first(taken)));
        message = message.subspan(taken);
    }
    return inflater.finish();
}

// They keep only memory from input to input, as those of a shard do.
struct Codecs {
    Inflater whole{{}};
    Inflater pieces{{}};
    codec::Deflater deflater{{}};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static Codecs codecs;
    if (size < 2) return 0;
    constexpr uint64_t limits_of_choice[] = {0, 10, 4096, 40'000};
    const InflateLimits limits = {.message_bytes_max = limits_of_choice[data[0] & 3],
                                  .is_text = (data[0] & 4) != 0};
    const std::span<const uint8_t> rest(data + 2, size - 2);
    const std::span<const uint8_t> lengths = rest.first(std::min<size_t>(data[1], rest.size()));
    const std::span<const uint8_t> message = rest.subspan(lengths.size());

    const codec::testing::ReferencePlain reference =
        codec::testing::reference_inflate(text_of(message), limits.message_bytes_max);
    const Violation expected = codec::testing::expected_violation(reference, limits);
    const Inflated whole = codecs.whole.inflate_message(message, limits);
    CHECK(whole.violation == expected);
    CHECK(expected == Violation::none ? text_of(whole.plain) == reference.plain
                                      : whole.plain.empty());
    for (const std::span<const uint8_t> division : {lengths, std::span<const uint8_t>()}) {
        const Inflated split = inflate_pieces(codecs.pieces, message, division, limits);
        CHECK(split.violation == expected && text_of(split.plain) == text_of(whole.plain));
    }

    const std::span<const uint8_t> payload = codecs.deflater.compress(text_of(message));
    const Inflated back = codecs.pieces.inflate_message(
        payload, {.message_bytes_max = message.size(), .is_text = false});
    CHECK(back.violation == Violation::none && text_of(back.plain) == text_of(message));
    return 0;
}
