// What a FrameDecoder must hand out, by RFC 6455 §5 read aloud: over all bytes at once, one by one,
// without regard to speed, memory or who wrote the product.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "codec/frame_decoder.h"
#include "tests/codec/wire.h"

namespace codec::testing {

struct ReferenceFrames {
    std::vector<Outcome> outcomes;  // without the violation
    // What the first byte that cannot be right may be blamed for; empty: all bytes were right.
    std::vector<Violation> violations;
};

ReferenceFrames reference_frames(Role role, const FrameLimits& limits, std::string_view wire);

// How a decoder's outcomes differ from that, in words; empty when they do not.
std::string find_frame_disagreement(Role role, const FrameLimits& limits, std::string_view wire,
                                    const std::vector<Outcome>& outcomes);

}  // namespace codec::testing
