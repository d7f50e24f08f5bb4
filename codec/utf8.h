// UTF-8 (RFC 3629): whole texts, and texts that come in pieces. Pure; any thread.
#pragma once

#include <cstdint>
#include <span>

namespace codec {

// Whether the bytes are well-formed: no overlong forms, no surrogates, nothing above U+10FFFF.
[[nodiscard]] bool is_utf8(std::span<const uint8_t> bytes);

// Utf8Check: the same for a text that comes in pieces, cut anywhere. One byte; owned by value.
//
// Invariants:
//  1. Any division of a text into pieces gives the same verdict.
//  2. feed() is false as soon as the bytes so far are the beginning of no well-formed text: E0 80
//     fails at the 80, without waiting for a third byte. After that the check must not be fed
//     again.
class Utf8Check {
  public:
    [[nodiscard]] bool feed(std::span<const uint8_t> bytes);
    // Whether the text may end here.
    bool is_complete() const { return state_ == State::boundary; }

  private:
    // What may come next. The four special ones are the second bytes that RFC 3629 §4 narrows.
    enum class State : uint8_t {
        boundary,
        one_more,
        two_more,
        three_more,
        after_e0,  // A0 to BF, then one more: less would be overlong
        after_ed,  // 80 to 9F, then one more: more would be a surrogate
        after_f0,  // 90 to BF, then two more: less would be overlong
        after_f4,  // 80 to 8F, then two more: more would be above U+10FFFF
    };

    static bool step(State& state, uint8_t byte);

    State state_ = State::boundary;
};

}  // namespace codec
