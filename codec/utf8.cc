#include "codec/utf8.h"

#include <simdjson.h>

#include <cstring>

namespace codec {
namespace {

constexpr uint64_t high_bits = 0x8080'8080'8080'8080;

uint64_t word_at(const uint8_t* bytes) {
    uint64_t word = 0;
    std::memcpy(&word, bytes, sizeof word);
    return word;
}

// Short ASCII, the common case of a command, without a call. The last word overlaps the one before
// it.
bool is_short_ascii(std::span<const uint8_t> bytes) {
    if (bytes.size() < 8) {
        uint8_t all = 0;
        for (const uint8_t byte : bytes) all |= byte;
        return all < 0x80;
    }
    uint64_t all = word_at(bytes.data() + bytes.size() - 8);
    for (size_t index = 0; index + 8 <= bytes.size(); index += 8) {
        all |= word_at(bytes.data() + index);
    }
    return (all & high_bits) == 0;
}

// How many bytes a sequence has by its first byte, as far as that byte alone can tell.
uint32_t sequence_bytes(uint8_t lead) {
    if (lead >= 0xf0) return 4;
    if (lead >= 0xe0) return 3;
    return lead >= 0xc0 ? 2 : 1;
}

// The bytes at the end that begin a sequence without ending it: 0 to 3.
size_t unfinished_bytes(std::span<const uint8_t> bytes) {
    for (size_t back = 1; back <= 3 && back <= bytes.size(); ++back) {
        const uint8_t byte = bytes[bytes.size() - back];
        if ((byte & 0xc0) == 0x80) continue;
        return sequence_bytes(byte) > back ? back : 0;
    }
    return 0;
}

}  // namespace

bool is_utf8(std::span<const uint8_t> bytes) {
    constexpr size_t short_bytes_max = 128;
    if (bytes.size() <= short_bytes_max && is_short_ascii(bytes)) return true;
    return simdjson::validate_utf8(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

bool Utf8Check::step(State& state, uint8_t byte) {
    const auto enter_if = [&](bool is_allowed, State next) {
        state = next;
        return is_allowed;
    };
    switch (state) {
        case State::boundary:
            if (byte < 0x80) return true;
            if (byte == 0xe0) return enter_if(true, State::after_e0);
            if (byte == 0xed) return enter_if(true, State::after_ed);
            if (byte == 0xf0) return enter_if(true, State::after_f0);
            if (byte == 0xf4) return enter_if(true, State::after_f4);
            // C0 and C1 could only begin overlong forms, F5 and above only what is beyond U+10FFFF.
            if (byte < 0xe0) return enter_if(byte >= 0xc2, State::one_more);
            if (byte < 0xf0) return enter_if(true, State::two_more);
            return enter_if(byte < 0xf5, State::three_more);
        case State::one_more: return enter_if((byte & 0xc0) == 0x80, State::boundary);
        case State::two_more: return enter_if((byte & 0xc0) == 0x80, State::one_more);
        case State::three_more: return enter_if((byte & 0xc0) == 0x80, State::two_more);
        case State::after_e0: return enter_if(byte >= 0xa0 && byte <= 0xbf, State::one_more);
        case State::after_ed: return enter_if(byte >= 0x80 && byte <= 0x9f, State::one_more);
        case State::after_f0: return enter_if(byte >= 0x90 && byte <= 0xbf, State::two_more);
        case State::after_f4: return enter_if(byte >= 0x80 && byte <= 0x8f, State::two_more);
    }
    return false;
}

bool Utf8Check::feed(std::span<const uint8_t> bytes) {
    // To the end of the sequence that the last piece cut; then all whole sequences at once; then
    // what this piece cuts, so that a byte that can never fit fails now.
    while (state_ != State::boundary && !bytes.empty()) {
        if (!step(state_, bytes.front())) return false;
        bytes = bytes.subspan(1);
    }
    const size_t unfinished = unfinished_bytes(bytes);
    if (!is_utf8(bytes.first(bytes.size() - unfinished))) return false;
    for (const uint8_t byte : bytes.last(unfinished)) {
        if (!step(state_, byte)) return false;
    }
    return true;
}

}  // namespace codec
