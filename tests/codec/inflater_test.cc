#include "codec/inflater.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/base/prng.h"
#include "io/base/units.h"
#include "tests/codec/reference_zlib.h"

namespace codec {
namespace {

using namespace std::string_literals;
using testing::deflate_message;
using testing::expected_violation;
using testing::reference_inflate;
using testing::ReferenceDeflater;
using testing::ReferencePlain;

constexpr uint64_t limit = 64 * base::kib;
constexpr InflateLimits text_limits = {.message_bytes_max = limit, .is_text = true};
constexpr InflateLimits binary_limits = {.message_bytes_max = limit, .is_text = false};

std::span<const uint8_t> bytes_of(std::string_view text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

struct Answer {
    Violation violation;
    std::string plain;

    friend bool operator==(const Answer&, const Answer&) = default;
};

std::ostream& operator<<(std::ostream& out, const Answer& answer) {
    return out << describe(answer.violation) << ", " << answer.plain.size() << " bytes";
}

Answer good(std::string_view plain) {
    return {Violation::none, std::string(plain)};
}

Answer bad(Violation violation) {
    return {violation, ""};
}

// The padding after the plain bytes is promised: AddressSanitizer stops a read that is not allowed.
Answer answer_of(const Inflated& inflated) {
    if (inflated.violation != Violation::none) {
        EXPECT_TRUE(inflated.plain.empty());
        return bad(inflated.violation);
    }
    uint8_t padding[base::readable_padding_bytes];
    std::memcpy(padding, inflated.plain.data() + inflated.plain.size(), sizeof padding);
    asm volatile("" : : "r"(padding) : "memory");
    return good({reinterpret_cast<const char*>(inflated.plain.data()), inflated.plain.size()});
}

Answer inflate_pieces(Inflater& inflater, const std::vector<std::string_view>& pieces,
                      const InflateLimits& limits) {
    inflater.begin(limits);
    for (const std::string_view piece : pieces) {
        const Violation violation = inflater.feed(bytes_of(piece));
        if (violation != Violation::none) {
            EXPECT_EQ(inflater.finish().violation, violation);
            return bad(violation);
        }
    }
    return answer_of(inflater.finish());
}

Answer inflate_whole(std::string_view compressed, const InflateLimits& limits) {
    Inflater inflater({});
    return answer_of(inflater.inflate_message(bytes_of(compressed), limits));
}

// Whole, byte by byte, and at every split into two (every so-many-th of a long message).
void expect_at_every_split(std::string_view compressed, const InflateLimits& limits,
                           const Answer& expected) {
    Inflater inflater({});
    ASSERT_EQ(answer_of(inflater.inflate_message(bytes_of(compressed), limits)), expected);
    std::vector<std::string_view> single_bytes;
    for (size_t at = 0; at < compressed.size(); ++at) {
        single_bytes.push_back(compressed.substr(at, 1));
    }
    ASSERT_EQ(inflate_pieces(inflater, single_bytes, limits), expected);
    const size_t step = 1 + compressed.size() / 200;
    for (size_t split = 0; split <= compressed.size(); split += step) {
        ASSERT_EQ(inflate_pieces(inflater, {compressed.substr(0, split), compressed.substr(split)},
                                 limits),
                  expected)
            << split;
    }
}

std::string random_text(base::Prng& prng, size_t bytes_count) {
    static constexpr std::string_view words[] = {R"({"symbol":")", "price", "größe", ":", "€", "😀",
                                                 "12.5",           "},",    "true,", "x"};
    std::string text;
    while (text.size() < bytes_count) text += words[prng.below(std::size(words))];
    return text;
}

std::string random_bytes(base::Prng& prng, size_t bytes_count) {
    std::string bytes(bytes_count, '\0');
    for (char& byte : bytes) byte = static_cast<char>(prng.below(256));
    return bytes;
}

TEST(Inflater, TheExamplesOfTheRfc) {
    // RFC 7692 §7.2.3.1, §7.2.3.3, §7.2.3.4 and §7.2.3.5.
    expect_at_every_split("\xf2\x48\xcd\xc9\xc9\x07\x00"s, text_limits, good("Hello"));
    expect_at_every_split("\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00"s, text_limits,
                          good("Hello"));
    expect_at_every_split("\xf3\x48\xcd\xc9\xc9\x07\x00\x00"s, text_limits, good("Hello"));
    expect_at_every_split("\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00"s, text_limits,
                          good("Hello"));
    // §7.2.3.6.
    expect_at_every_split("\x00"s, text_limits, good(""));
}

TEST(Inflater, TheExampleOfContextTakeover) {
    // RFC 7692 §7.2.3.2: the second message refers to the first one.
    const std::string first = "\xf2\x48\xcd\xc9\xc9\x07\x00"s;
    const std::string second = "\xf2\x00\x11\x00\x00"s;
    Inflater taking({.has_context_takeover = true});
    EXPECT_EQ(answer_of(taking.inflate_message(bytes_of(first), text_limits)), good("Hello"));
    EXPECT_EQ(answer_of(taking.inflate_message(bytes_of(second), text_limits)), good("Hello"));
    EXPECT_EQ(inflate_pieces(taking, {"\xf2"s, ""s, "\x00\x11"s, "\x00\x00"s}, text_limits),
              good("Hello"));
    Inflater shared({});
    EXPECT_EQ(answer_of(shared.inflate_message(bytes_of(first), text_limits)), good("Hello"));
    EXPECT_EQ(answer_of(shared.inflate_message(bytes_of(second), text_limits)),
              bad(Violation::deflate_invalid));
    EXPECT_EQ(answer_of(shared.inflate_message(bytes_of(first), text_limits)), good("Hello"));
}

TEST(Inflater, WhatZlibCompressedComesBack) {
    base::Prng prng(11);
    for (uint8_t window_bits = 9; window_bits <= 15; ++window_bits) {
        const size_t window = size_t{1} << window_bits;
        Inflater shared({.window_bits = window_bits});
        for (const size_t size :
             {size_t{1}, size_t{100}, window - 1, window, window + 1, size_t{60'000}}) {
            for (const int level : {1, 6, 9}) {
                ReferenceDeflater deflater({.window_bits = window_bits, .level = level});
                const std::string plain = random_text(prng, size);
                const std::string compressed = deflater.message(plain);
                ASSERT_EQ(answer_of(shared.inflate_message(bytes_of(compressed), text_limits)),
                          good(plain));
                const std::string noise = random_bytes(prng, size);
                ReferenceDeflater fixed({.window_bits = window_bits, .uses_fixed_codes = true});
                ASSERT_EQ(answer_of(shared.inflate_message(bytes_of(fixed.message(noise)),
                                                           {.message_bytes_max = size})),
                          good(noise));
            }
        }
    }
}

TEST(Inflater, AContextGoesOnFromMessageToMessage) {
    base::Prng prng(12);
    for (uint8_t window_bits = 9; window_bits <= 15; ++window_bits) {
        ReferenceDeflater deflater({.window_bits = window_bits});
        Inflater inflater({.window_bits = window_bits, .has_context_takeover = true});
        const std::string common = random_bytes(prng, 100);
        for (uint32_t round = 0; round < 100; ++round) {
            const std::string plain =
                common + random_text(prng, prng.below((uint64_t{1} << window_bits) / 8));
            const std::string compressed = deflater.message(plain);
            if (round > 0) {
                // It does refer to what came before, or the test would show nothing.
                ASSERT_LT(compressed.size() + 50, deflate_message(plain).size());
            }
            const std::string_view view = compressed;
            const size_t split = prng.below(view.size() + 1);
            ASSERT_EQ(inflate_pieces(inflater, {view.substr(0, split), view.substr(split)},
                                     binary_limits),
                      good(plain));
            inflater.release_plain();
        }
    }
}

TEST(Inflater, AnyDivisionIntoPiecesGivesTheSame) {
    base::Prng prng(13);
    const std::string plain = random_text(prng, 50'000);
    const std::string compressed = deflate_message(plain);
    expect_at_every_split(compressed, text_limits, good(plain));
    const std::string wrong = plain.substr(0, plain.size() / 2) + "\xff" + plain;
    expect_at_every_split(deflate_message(wrong), {limit * 2, true}, bad(Violation::utf8_invalid));
    expect_at_every_split(compressed, {plain.size() - 1, true}, bad(Violation::message_too_big));
    const std::string broken = compressed.substr(0, 5'000) + std::string(300, '\xff');
    expect_at_every_split(broken, binary_limits, bad(Violation::deflate_invalid));
}

TEST(Inflater, TheLimitOnBothSides) {
    base::Prng prng(14);
    for (const size_t size :
         {size_t{1}, size_t{4095}, size_t{4096}, size_t{4097}, size_t{40'000}, size_t{65'536}}) {
        const std::string plain = random_bytes(prng, size);
        const std::string compressed = deflate_message(plain);
        EXPECT_EQ(inflate_whole(compressed, {size, false}), good(plain));
        EXPECT_EQ(inflate_whole(compressed, {size + 1, false}), good(plain));
        EXPECT_EQ(inflate_whole(compressed, {size - 1, false}), bad(Violation::message_too_big));
    }
    EXPECT_EQ(inflate_whole("\x00"s, {0, true}), good(""));
    EXPECT_EQ(inflate_whole(deflate_message("a"), {0, true}), bad(Violation::message_too_big));
}

// The buffer grows from 4 KiB by doubling, and a message may end just where it is full, in each of
// the ways that it may end.
TEST(Inflater, AMessageThatFillsTheBuffer) {
    base::Prng prng(18);
    for (size_t size = 4094; size <= 4098; ++size) {
        const std::string plain = random_text(prng, 4000) + std::string(100, 'z');
        const std::string cut = plain.substr(0, size);
        expect_at_every_split(deflate_message(cut), binary_limits, good(cut));
        expect_at_every_split(deflate_message(cut) + "\x00\x00\xff\xff"s, binary_limits, good(cut));
        expect_at_every_split(ReferenceDeflater().finished(cut), binary_limits, good(cut));
        // Fixed codes end in the bits of an octet that zlib has already.
        ReferenceDeflater fixed({.uses_fixed_codes = true});
        expect_at_every_split(fixed.finished(cut), binary_limits, good(cut));
    }
}

TEST(Inflater, ABombStopsAtTheLimit) {
    const std::string zeros(limit, '\0');
    const std::string compressed = deflate_message(zeros);
    EXPECT_LT(compressed.size() * 800, zeros.size());
    expect_at_every_split(compressed, {limit, true}, good(zeros));
    expect_at_every_split(deflate_message(zeros + '\0'), {limit, true},
                          bad(Violation::message_too_big));
    // 64 MiB from 64 KiB: never more than the limit is kept, and it stops with the first piece that
    // passes it.
    const std::string huge = deflate_message(std::string(64 * base::mib, '\0'));
    Inflater inflater({});
    inflater.begin(binary_limits);
    size_t fed = 0;
    while (inflater.feed(bytes_of(huge).subspan(fed, 1)) == Violation::none) {
        ++fed;
        ASSERT_LE(inflater.memory_bytes(), limit + 48 * base::kib);
    }
    EXPECT_LT(fed, 200u);
    EXPECT_EQ(inflater.finish().violation, Violation::message_too_big);
    EXPECT_EQ(answer_of(inflater.inflate_message(bytes_of(huge), binary_limits)),
              bad(Violation::message_too_big));
    EXPECT_LE(inflater.memory_bytes(), limit + 48 * base::kib);
}

// Blocks without content are not plain bytes; they end because the input does.
TEST(Inflater, BlocksWithoutContentCostNothing) {
    std::string stored;
    std::string final_blocks;
    for (uint32_t round = 0; round < 10'000; ++round) {
        stored += "\x00\x00\x00\xff\xff"s;
        final_blocks += "\x03\x00"s;
    }
    EXPECT_EQ(inflate_whole(stored + '\0', {0, true}), good(""));
    EXPECT_EQ(inflate_whole(final_blocks + '\0', {0, true}), good(""));
    EXPECT_EQ(inflate_whole(final_blocks, {0, true}), good(""));
}

TEST(Inflater, EndingsThatTakeNoTail) {
    const std::string hello = "\xf2\x48\xcd\xc9\xc9\x07\x00"s;
    const std::string finished = ReferenceDeflater().finished("Hello");
    expect_at_every_split("", text_limits, good(""));
    expect_at_every_split(finished, text_limits, good("Hello"));
    expect_at_every_split("\x03\x00"s, text_limits, good(""));
    expect_at_every_split(hello + "\x00\x00\xff\xff"s, text_limits, good("Hello"));
    // With takeover the next message goes on from there.
    for (const std::string& first : {hello, hello + "\x00\x00\xff\xff"s, finished}) {
        Inflater inflater({.has_context_takeover = true});
        EXPECT_EQ(answer_of(inflater.inflate_message(bytes_of(first), text_limits)), good("Hello"));
        EXPECT_EQ(answer_of(inflater.inflate_message({}, text_limits)), good(""));
        EXPECT_EQ(answer_of(inflater.inflate_message(bytes_of("\x00"s), text_limits)), good(""));
        EXPECT_EQ(
            answer_of(inflater.inflate_message(bytes_of("\xf2\x00\x11\x00\x00"s), text_limits)),
            good("Hello"));
    }
}

TEST(Inflater, WhatFollowsAFinalBlockIsBlocks) {
    const std::string finished = ReferenceDeflater().finished("Hello");
    expect_at_every_split(finished + deflate_message(" you"), text_limits, good("Hello you"));
    expect_at_every_split(finished + finished + finished, text_limits, good("HelloHelloHello"));
    // The window outlives the final block.
    const std::string common = "a sentence that comes twice, word for word";
    ReferenceDeflater first;
    ReferenceDeflater second;
    second.set_dictionary(common);
    const std::string again = second.message(common);
    EXPECT_LT(again.size(), 10u);
    expect_at_every_split(first.finished(common) + again, text_limits, good(common + common));
    // Garbage is not blocks: a reserved kind of block, a length that its complement denies, one
    // that never comes.
    for (const std::string& garbage : {"\x07"s, "\x00zzzz"s, "\x01\x05\x00\xfa\xff"s, "zz"s}) {
        EXPECT_EQ(inflate_whole(finished + garbage, binary_limits), bad(Violation::deflate_invalid))
            << garbage.size();
    }
}

void expect_as_reference(std::string_view compressed, const InflateLimits& limits, const char* what,
                         size_t at) {
    const ReferencePlain reference = reference_inflate(compressed, limits.message_bytes_max);
    const Violation violation = expected_violation(reference, limits);
    const Answer expected = violation == Violation::none ? good(reference.plain) : bad(violation);
    const Answer answer = inflate_whole(compressed, limits);
    ASSERT_EQ(answer, expected) << what << " at " << at;
    Inflater inflater({});
    const size_t split = at < compressed.size() ? at : compressed.size() / 2;
    ASSERT_EQ(
        inflate_pieces(inflater, {compressed.substr(0, split), compressed.substr(split)}, limits),
        expected)
        << what << " at " << at;
}

std::vector<std::string> specimens() {
    base::Prng prng(15);
    return {
        deflate_message(random_text(prng, 900)),
        ReferenceDeflater({.uses_fixed_codes = true}).message(random_text(prng, 200)),
        deflate_message(random_bytes(prng, 150)),  // stored
        ReferenceDeflater().finished(random_text(prng, 300)) + deflate_message("and more"),
    };
}

TEST(Inflater, BrokenAtEveryBit) {
    uint32_t invalid_count = 0;
    for (const std::string& whole : specimens()) {
        for (size_t at = 0; at < whole.size(); ++at) {
            for (uint32_t bit = 0; bit < 8; ++bit) {
                std::string broken = whole;
                broken[at] = static_cast<char>(broken[at] ^ (1 << bit));
                expect_as_reference(broken, {2'000, true}, "flipped", at);
                expect_as_reference(broken, {2'000, false}, "flipped", at);
                if (inflate_whole(broken, {2'000, false}).violation != Violation::none) {
                    ++invalid_count;
                }
            }
        }
    }
    EXPECT_GT(invalid_count, 500u);
}

TEST(Inflater, CutAtEveryByte) {
    uint32_t cuts_count = 0;
    uint32_t invalid_count = 0;
    for (const std::string& whole : specimens()) {
        for (size_t size = 1; size < whole.size(); ++size) {
            expect_as_reference(whole.substr(0, size), {2'000, false}, "cut", size);
            ++cuts_count;
            const Answer answer = inflate_whole(whole.substr(0, size), {2'000, false});
            if (answer.violation == Violation::deflate_invalid) ++invalid_count;
        }
    }
    // The others end where a block ends.
    EXPECT_GE(invalid_count + 5, cuts_count);
}

TEST(Inflater, RandomBytesAreTakenAsZlibTakesThem) {
    base::Prng prng(16);
    for (uint32_t round = 0; round < 20'000; ++round) {
        expect_as_reference(random_bytes(prng, prng.below(40)), {500, prng.chance({1, 2})},
                            "random", round);
    }
}

TEST(Inflater, TextMustBeUtf8) {
    const std::string wrong[] = {"a\xff", "\xe0\x80\x80", "\xed\xa0\x80z", "half \xe2\x82"};
    for (const std::string& plain : wrong) {
        const std::string compressed = deflate_message(plain);
        expect_at_every_split(compressed, text_limits, bad(Violation::utf8_invalid));
        expect_at_every_split(compressed, binary_limits, good(plain));
    }
    // A code point that the limit cuts is too much first.
    EXPECT_EQ(inflate_whole(deflate_message("a€"), {3, true}), bad(Violation::message_too_big));
    EXPECT_EQ(inflate_whole(deflate_message("a€"), {4, true}), good("a€"));
}

TEST(Inflater, TheFirstThatIsWrongIsTheAnswer) {
    const std::string broken = "\x07"s;  // a reserved kind of block
    const auto stored = [](std::string_view plain) {
        const char size = static_cast<char>(plain.size());
        std::string block = {'\0', size, '\0', static_cast<char>(~size), '\xff'};
        return block.append(plain);
    };
    expect_at_every_split(stored("ab\xff") + stored("cdef") + broken, {5, true},
                          bad(Violation::utf8_invalid));
    expect_at_every_split(stored("abcdef\xff") + broken, {5, true},
                          bad(Violation::message_too_big));
    expect_at_every_split(stored("abcd\xc3\xff") + broken, {5, true},
                          bad(Violation::message_too_big));
    expect_at_every_split(stored("abcd") + broken + stored("\xff"), {5, true},
                          bad(Violation::deflate_invalid));
}

TEST(Inflater, AViolationIsToldWithThePieceThatShowsIt) {
    const std::string begin("\x00\x10\x00\xef\xff", 5);  // a stored block of 16 bytes
    Inflater inflater({});
    inflater.begin(text_limits);
    EXPECT_EQ(inflater.feed(bytes_of(begin)), Violation::none);
    EXPECT_EQ(inflater.feed(bytes_of("abc\xe2")), Violation::none);
    EXPECT_EQ(inflater.feed({}), Violation::none);
    EXPECT_EQ(inflater.feed(bytes_of("a")), Violation::utf8_invalid);
    // And remains, whatever comes.
    EXPECT_EQ(inflater.feed(bytes_of("\x07")), Violation::utf8_invalid);
    EXPECT_EQ(inflater.finish().violation, Violation::utf8_invalid);
    EXPECT_EQ(answer_of(inflater.inflate_message(bytes_of(deflate_message("next")), text_limits)),
              good("next"));
}

TEST(Inflater, AViolationAndAnUnfinishedMessageEndTheContext) {
    const std::string first = "\xf2\x48\xcd\xc9\xc9\x07\x00"s;
    const std::string second = "\xf2\x00\x11\x00\x00"s;
    Inflater inflater({.has_context_takeover = true});
    EXPECT_EQ(answer_of(inflater.inflate_message(bytes_of(first), text_limits)), good("Hello"));
    EXPECT_EQ(answer_of(inflater.inflate_message(bytes_of(first), {4, true})),
              bad(Violation::message_too_big));
    EXPECT_EQ(answer_of(inflater.inflate_message(bytes_of(second), text_limits)),
              bad(Violation::deflate_invalid));
    EXPECT_EQ(answer_of(inflater.inflate_message(bytes_of(first), text_limits)), good("Hello"));
    inflater.begin(text_limits);
    EXPECT_EQ(inflater.feed(bytes_of(first).first(3)), Violation::none);
    EXPECT_EQ(answer_of(inflater.inflate_message(bytes_of(second), text_limits)),
              bad(Violation::deflate_invalid));
}

// However a message ends, the next one on a shared Inflater, which may be another connection's,
// cannot refer to it.
TEST(Inflater, WithoutTakeoverNothingIsLeftToReferTo) {
    const std::string hello = "\xf2\x48\xcd\xc9\xc9\x07\x00"s;
    const std::string second = "\xf2\x00\x11\x00\x00"s;
    const std::string finished = ReferenceDeflater().finished("Hello");
    const std::string firsts[] = {hello,
                                  hello + "\x00\x00\xff\xff"s,
                                  hello.substr(0, 4),
                                  finished,
                                  finished + '\0',
                                  finished + "\x07"};
    Inflater shared({});
    for (const std::string& first : firsts) {
        static_cast<void>(shared.inflate_message(bytes_of(first), text_limits));
        EXPECT_EQ(answer_of(shared.inflate_message(bytes_of(second), text_limits)),
                  bad(Violation::deflate_invalid));
        static_cast<void>(shared.inflate_message(bytes_of(first), text_limits));
        EXPECT_EQ(inflate_pieces(shared, {"\xf2"s, "\x00\x11"s, "\x00\x00"s}, text_limits),
                  bad(Violation::deflate_invalid));
        shared.begin(text_limits);
        static_cast<void>(shared.feed(bytes_of(first)));
        EXPECT_EQ(answer_of(shared.inflate_message(bytes_of(second), text_limits)),
                  bad(Violation::deflate_invalid));
    }
}

TEST(Inflater, MemoryIsStatedAndGivenBack) {
    Inflater inflater({});
    constexpr uint64_t state_bytes_max = 8 * base::kib;
    constexpr uint64_t window_bytes = 32 * base::kib;
    EXPECT_LE(inflater.memory_bytes(), state_bytes_max);
    const std::string hello = deflate_message("Hello");
    const std::string large = deflate_message(std::string(base::mib, 'x'));
    EXPECT_EQ(answer_of(inflater.inflate_message(bytes_of(hello), text_limits)), good("Hello"));
    EXPECT_GE(inflater.memory_bytes(), window_bytes + 4 * base::kib);
    EXPECT_LE(inflater.memory_bytes(), window_bytes + state_bytes_max + 5 * base::kib);
    EXPECT_EQ(answer_of(inflater.inflate_message(bytes_of(large), {base::mib, true})).violation,
              Violation::none);
    EXPECT_GE(inflater.memory_bytes(), base::mib);
    EXPECT_LE(inflater.memory_bytes(), base::mib + window_bytes + state_bytes_max);
    EXPECT_EQ(answer_of(inflater.inflate_message(bytes_of(hello), text_limits)), good("Hello"));
    EXPECT_LE(inflater.memory_bytes(), window_bytes + state_bytes_max + 5 * base::kib);
    inflater.release_plain();
    EXPECT_LE(inflater.memory_bytes(), window_bytes + state_bytes_max);
    Inflater small({.window_bits = 9});
    EXPECT_EQ(answer_of(small.inflate_message(bytes_of(hello), text_limits)), good("Hello"));
    small.release_plain();
    EXPECT_LE(small.memory_bytes(), 512 + state_bytes_max);
}

// What a buffer of the limit's size held stays for the next message.
TEST(Inflater, AMessageOfTheDefaultLimitKeepsItsBuffer) {
    Inflater inflater({});
    const std::string compressed = deflate_message(std::string(inflater_plain_bytes_kept_max, 'x'));
    const Inflated first = inflater.inflate_message(bytes_of(compressed), text_limits);
    ASSERT_EQ(first.violation, Violation::none);
    const uint8_t* const place = first.plain.data();
    const Inflated second = inflater.inflate_message(bytes_of(compressed), text_limits);
    EXPECT_EQ(second.plain.data(), place);
}

TEST(Inflater, MovesWithItsContext) {
    Inflater inflater({.has_context_takeover = true});
    EXPECT_EQ(
        answer_of(inflater.inflate_message(bytes_of("\xf2\x48\xcd\xc9\xc9\x07\x00"s), text_limits)),
        good("Hello"));
    Inflater moved(std::move(inflater));
    Inflater assigned({});
    assigned = std::move(moved);
    EXPECT_EQ(answer_of(assigned.inflate_message(bytes_of("\xf2\x00\x11\x00\x00"s), text_limits)),
              good("Hello"));
}

TEST(Inflater, AWindowOfEightIsTakenForNine) {
    base::Prng prng(17);
    const std::string half = random_bytes(prng, 100);
    const std::string plain = half + random_bytes(prng, 300) + half;
    const std::string compressed = ReferenceDeflater({.window_bits = 10}).message(plain);
    ASSERT_LT(compressed.size(), 430u);
    Inflater inflater({.window_bits = 8});
    std::vector<std::string_view> single_bytes;
    for (size_t at = 0; at < compressed.size(); ++at) {
        single_bytes.push_back(std::string_view(compressed).substr(at, 1));
    }
    EXPECT_EQ(inflate_pieces(inflater, single_bytes, binary_limits), good(plain));
}

TEST(InflaterDeathTest, CallsOutOfOrder) {
    Inflater inflater({});
    EXPECT_DEATH(static_cast<void>(inflater.feed({})), "is_inside_message_");
    EXPECT_DEATH(static_cast<void>(inflater.finish()), "is_inside_message_");
    static_cast<void>(inflater.inflate_message({}, text_limits));
    EXPECT_DEATH(static_cast<void>(inflater.finish()), "is_inside_message_");
    EXPECT_DEATH(Inflater({.window_bits = 7}), "window_bits");
    EXPECT_DEATH(Inflater({.window_bits = 16}), "window_bits");
    EXPECT_DEATH(inflater.begin({.message_bytes_max = message_bytes_ceiling + 1}),
                 "message_bytes_ceiling");
}

}  // namespace
}  // namespace codec
