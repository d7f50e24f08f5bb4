// Invariant 1 of FrameDecoder: the same bytes give the same results, however they are split; and
// they are those of a plain reading of RFC 6455 (tests/codec/reference_frames.h).
//
// Input: one byte that chooses the role, the limits and whether compression is allowed, one byte N,
// N bytes that are the lengths of the pieces (repeated until all is fed), and what is on the wire.

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "codec/utf8.h"
#include "io/base/check.h"
#include "tests/codec/reference_frames.h"
#include "tests/codec/wire.h"

namespace {

using codec::testing::Outcome;

std::vector<std::string_view> cut(std::string_view wire, std::string_view lengths) {
    std::vector<std::string_view> pieces;
    for (size_t index = 0; !wire.empty(); ++index) {
        const size_t wanted =
            lengths.empty() ? 1 : static_cast<uint8_t>(lengths[index % lengths.size()]);
        // A length of 0 feeds nothing once, but must not do so for ever.
        if (wanted == 0) pieces.push_back(wire.substr(0, 0));
        const size_t size = std::min(std::max<size_t>(wanted, 1), wire.size());
        pieces.push_back(wire.substr(0, size));
        wire.remove_prefix(size);
    }
    return pieces;
}

void check_outcome(const Outcome& outcome, const codec::FrameLimits& limits) {
    using Kind = codec::Decoded::Kind;
    const bool is_message = outcome.kind == Kind::text || outcome.kind == Kind::binary;
    CHECK(outcome.payload.size() <=
          (is_message ? limits.message_bytes_max : codec::control_payload_bytes_max));
    CHECK(!outcome.is_compressed || (limits.allows_compression && is_message));
    const bool is_text =
        (outcome.kind == Kind::text && !outcome.is_compressed) || outcome.kind == Kind::close;
    const auto* const bytes = reinterpret_cast<const uint8_t*>(outcome.payload.data());
    CHECK(!is_text || codec::is_utf8({bytes, outcome.payload.size()}));
    CHECK((outcome.kind == Kind::violation) == (outcome.violation != codec::Violation::none));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size < 2) return 0;
    const codec::Role role = (data[0] & 1) == 0 ? codec::Role::server : codec::Role::client;
    const codec::FrameLimits limits = {.message_bytes_max = (data[0] & 2) == 0 ? 65536u : 32u,
                                       .fragments_max = static_cast<uint16_t>(data[0] >> 3 & 3),
                                       .allows_compression = (data[0] & 4) != 0};
    std::string_view rest(reinterpret_cast<const char*>(data) + 2, size - 2);
    const size_t lengths_count = std::min<size_t>(data[1], rest.size());
    const std::string_view lengths = rest.substr(0, lengths_count);
    const std::string_view wire = rest.substr(lengths_count);

    const std::vector<Outcome> whole = codec::testing::decode_pieces(role, limits, {wire});
    CHECK(whole == codec::testing::decode_pieces(role, limits, cut(wire, lengths)));
    CHECK(whole == codec::testing::decode_pieces(role, limits, cut(wire, {})));
    for (const Outcome& outcome : whole) check_outcome(outcome, limits);
    const std::string disagreement =
        codec::testing::find_frame_disagreement(role, limits, wire, whole);
    if (!disagreement.empty()) std::fprintf(stderr, "%s\n", disagreement.c_str());
    CHECK(disagreement.empty());
    return 0;
}
