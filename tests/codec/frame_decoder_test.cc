#include "codec/frame_decoder.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/base/prng.h"
#include "io/base/units.h"
#include "tests/codec/reference_frames.h"
#include "tests/codec/wire.h"

namespace codec {
namespace {

using namespace std::string_literals;
using testing::decode_pieces;
using testing::decode_whole;
using testing::Feeder;
using testing::masked_frame;
using testing::masked_message;
using testing::Outcome;
using testing::plain_frame;
using Kind = Decoded::Kind;

constexpr uint64_t limit = 64 * base::kib;

Outcome text(std::string payload) {
    return {Kind::text, Violation::none, 0, std::move(payload)};
}
Outcome binary(std::string payload) {
    return {Kind::binary, Violation::none, 0, std::move(payload)};
}
Outcome ping(std::string payload) {
    return {Kind::ping, Violation::none, 0, std::move(payload)};
}
Outcome pong(std::string payload) {
    return {Kind::pong, Violation::none, 0, std::move(payload)};
}
Outcome close(uint16_t code, std::string reason) {
    return {Kind::close, Violation::none, code, std::move(reason)};
}
Outcome violation(Violation kind) {
    return {Kind::violation, kind, 0, ""};
}

std::string fragment(Opcode opcode, bool fin, std::string_view payload) {
    return masked_frame({.opcode = opcode, .fin = fin}, payload);
}

std::string close_payload(uint32_t code, std::string_view reason) {
    std::string payload = {static_cast<char>(code >> 8), static_cast<char>(code)};
    payload.append(reason);
    return payload;
}

// A masked frame header with the key 0, so that what follows is the payload as it stands.
std::string raw(std::string_view bytes) {
    std::string frame(bytes);
    frame.append(4, '\0');
    return frame;
}

// Whole, byte by byte, at every split into two, and (when short) into three.
void expect_at_every_split(std::string_view bytes, const std::vector<Outcome>& expected) {
    const std::vector<Outcome> whole = decode_whole(Role::server, limit, bytes);
    ASSERT_EQ(whole, expected) << testing::describe(whole);
    std::vector<std::string_view> single_bytes;
    for (size_t at = 0; at < bytes.size(); ++at) single_bytes.push_back(bytes.substr(at, 1));
    const std::vector<Outcome> singly = decode_pieces(Role::server, limit, single_bytes);
    ASSERT_EQ(singly, expected) << testing::describe(singly);
    for (size_t first = 0; first <= bytes.size(); ++first) {
        const std::vector<Outcome> split =
            decode_pieces(Role::server, limit, {bytes.substr(0, first), bytes.substr(first)});
        ASSERT_EQ(split, expected) << first << "\n" << testing::describe(split);
        if (bytes.size() > 60) continue;
        for (size_t second = first; second <= bytes.size(); ++second) {
            const std::vector<Outcome> thirds =
                decode_pieces(Role::server, limit,
                              {bytes.substr(0, first), bytes.substr(first, second - first),
                               bytes.substr(second)});
            ASSERT_EQ(thirds, expected) << first << " " << second;
        }
    }
}

TEST(FrameDecoder, TheExamplesOfTheRfc) {
    // RFC 6455 §5.7.
    EXPECT_EQ(decode_whole(Role::client, limit, "\x81\x05Hello"), std::vector{text("Hello")});
    expect_at_every_split("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", {text("Hello")});
    EXPECT_EQ(decode_whole(Role::client, limit, "\x01\x03Hel\x80\x02lo"s),
              std::vector{text("Hello")});
    EXPECT_EQ(decode_whole(Role::client, limit, "\x89\x05Hello"), std::vector{ping("Hello")});
    expect_at_every_split("\x8a\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", {pong("Hello")});
    const std::string large(65536, 'x');
    EXPECT_EQ(decode_whole(Role::client, limit, plain_frame({.opcode = Opcode::binary}, large)),
              std::vector{binary(large)});
}

TEST(FrameDecoder, GoldenSequencesAtEverySplit) {
    expect_at_every_split(masked_message(Opcode::text, ""), {text("")});
    expect_at_every_split(masked_message(Opcode::binary, ""), {binary("")});
    expect_at_every_split(masked_message(Opcode::ping, ""), {ping("")});
    expect_at_every_split(masked_message(Opcode::text, "grüße €😀") +
                              masked_message(Opcode::binary, "\x00\xff\xfe"s) +
                              masked_message(Opcode::text, "z"),
                          {text("grüße €😀"), binary("\x00\xff\xfe"s), text("z")});
    // A message in pieces with control frames between them, and empty pieces.
    expect_at_every_split(
        fragment(Opcode::text, false, "ab") + masked_message(Opcode::ping, "p") +
            fragment(Opcode::continuation, false, "") + masked_message(Opcode::pong, "") +
            fragment(Opcode::continuation, true, "cd") + masked_message(Opcode::text, "e"),
        {ping("p"), pong(""), text("abcd"), text("e")});
    expect_at_every_split(fragment(Opcode::binary, false, "") +
                              fragment(Opcode::continuation, false, "") +
                              fragment(Opcode::continuation, true, ""),
                          {binary("")});
    // A code point cut by a fragment, with a ping in the cut.
    expect_at_every_split(fragment(Opcode::text, false, "\xf0\x9f") +
                              masked_message(Opcode::ping, std::string(125, 'q')) +
                              fragment(Opcode::continuation, true, "\x98\x80!"),
                          {ping(std::string(125, 'q')), text("😀!")});
}

TEST(FrameDecoder, ClosesAtEverySplit) {
    expect_at_every_split(masked_message(Opcode::close, ""), {close(1005, "")});
    expect_at_every_split(masked_message(Opcode::close, close_payload(1000, "")),
                          {close(1000, "")});
    expect_at_every_split(masked_message(Opcode::close, close_payload(4999, "tschüß")),
                          {close(4999, "tschüß")});
    const std::string longest(123, 'r');
    expect_at_every_split(masked_message(Opcode::close, close_payload(1001, longest)),
                          {close(1001, longest)});
    // What follows a Close is dropped, and a Close may come inside a message.
    expect_at_every_split(fragment(Opcode::text, false, "half") +
                              masked_message(Opcode::close, close_payload(1000, "bye")) +
                              masked_message(Opcode::text, "late") + "\xff\xff",
                          {close(1000, "bye")});
}

TEST(FrameDecoder, CloseCodes) {
    for (uint32_t code = 0; code <= 5000; ++code) {
        const std::vector<Outcome> expected{is_close_code_sendable(static_cast<uint16_t>(code))
                                                ? close(static_cast<uint16_t>(code), "why")
                                                : violation(Violation::close_code_invalid)};
        const std::string frame = masked_message(Opcode::close, close_payload(code, "why"));
        ASSERT_EQ(decode_whole(Role::server, limit, frame), expected) << code;
        const std::string_view bytes = frame;
        ASSERT_EQ(decode_pieces(Role::server, limit, {bytes.substr(0, 8), bytes.substr(8)}),
                  expected)
            << code;
    }
}

struct Wrong {
    const char* name;
    std::string bytes;
    size_t told_after_bytes;  // the violation is handed out with this byte, and not before
    Violation kind;
};

std::vector<Wrong> wrong_headers() {
    const std::string begun = fragment(Opcode::text, false, "a");
    return {
        {"RSV1", "\xc1\x80"s, 1, Violation::reserved_bits},
        {"RSV2", "\xa1\x80"s, 1, Violation::reserved_bits},
        {"RSV3", "\x91\x80"s, 1, Violation::reserved_bits},
        {"RSV1 on a ping", "\xc9\x80"s, 1, Violation::reserved_bits},
        {"opcode 3", "\x83\x80"s, 1, Violation::reserved_opcode},
        {"opcode 7", "\x87\x80"s, 1, Violation::reserved_opcode},
        {"opcode 11", "\x8b\x80"s, 1, Violation::reserved_opcode},
        {"opcode 15", "\x8f\x80"s, 1, Violation::reserved_opcode},
        {"no mask", "\x81\x00"s, 2, Violation::mask_missing},
        {"no mask on a ping", "\x89\x00"s, 2, Violation::mask_missing},
        {"125 in 16 bits", raw("\x81\xfe\x00\x7d"s), 4, Violation::length_not_minimal},
        {"0 in 16 bits", raw("\x81\xfe\x00\x00"s), 4, Violation::length_not_minimal},
        {"65535 in 64 bits", raw("\x81\xff\0\0\0\0\0\0\xff\xff"s), 10,
         Violation::length_not_minimal},
        {"0 in 64 bits", raw("\x82\xff\0\0\0\0\0\0\0\0"s), 10, Violation::length_not_minimal},
        {"the highest bit", raw("\x82\xff\x80\0\0\0\0\0\0\0"s), 3, Violation::length_too_long},
        {"all bits", raw("\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff"s), 3,
         Violation::length_too_long},
        {"one too many", raw("\x82\xff\0\0\0\0\0\1\0\1"s), 10, Violation::message_too_big},
        {"the most", raw("\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff"s), 10,
         Violation::message_too_big},
        {"fragmented ping", "\x09\x80"s, 1, Violation::control_fragmented},
        {"fragmented close", "\x08\x80"s, 1, Violation::control_fragmented},
        {"ping of 126", raw("\x89\xfe\x00\x7e"s), 2, Violation::control_too_long},
        {"ping of 64 bits", raw("\x89\xff"s), 2, Violation::control_too_long},
        {"close of one byte", raw("\x88\x81"s) + "x", 2, Violation::close_payload_short},
        {"nothing to continue", "\x80\x80"s, 1, Violation::continuation_unexpected},
        {"nothing to continue, no end", "\x00\x80"s, 1, Violation::continuation_unexpected},
        {"text in text", begun + "\x81\x80"s, begun.size() + 1, Violation::continuation_missing},
        {"binary in text", begun + "\x02\x80"s, begun.size() + 1, Violation::continuation_missing},
        {"reserved in text", begun + "\x84\x80"s, begun.size() + 1, Violation::reserved_opcode},
    };
}

std::vector<Wrong> wrong_payloads() {
    const std::string begun = fragment(Opcode::text, false, "\xe2\x82");
    const size_t begun_bytes = begun.size();
    return {
        {"not UTF-8", raw("\x81\x83"s) + "a\xffz", 8, Violation::utf8_invalid},
        {"overlong", raw("\x81\x83"s) + "\xe0\x80\x80", 8, Violation::utf8_invalid},
        {"surrogate", raw("\x81\x83"s) + "\xed\xa0\x80", 8, Violation::utf8_invalid},
        {"above the last", raw("\x81\x84"s) + "\xf4\x90\x80\x80", 8, Violation::utf8_invalid},
        {"cut at the end", raw("\x81\x82"s) + "a\xc3", 8, Violation::utf8_invalid},
        {"cut by the end of the last fragment", begun + raw("\x80\x80"s), begun_bytes + 6,
         Violation::utf8_invalid},
        {"broken by the next fragment", begun + raw("\x80\x82"s) + "az", begun_bytes + 7,
         Violation::utf8_invalid},
        {"code 999", raw("\x88\x84"s) + close_payload(999, "ab"), 8, Violation::close_code_invalid},
        {"code 1005", raw("\x88\x82"s) + close_payload(1005, ""), 8, Violation::close_code_invalid},
        {"reason not UTF-8", raw("\x88\x84"s) + close_payload(1000, "\xffz"), 9,
         Violation::utf8_invalid},
        {"reason cut", raw("\x88\x83"s) + close_payload(1000, "\xc3"), 9, Violation::utf8_invalid},
    };
}

void expect_told_in_time(const Wrong& wrong) {
    // Before the byte that shows it: nothing but what came before (here: nothing at all).
    for (size_t count = 0; count < wrong.told_after_bytes; ++count) {
        const std::string_view prefix = std::string_view(wrong.bytes).substr(0, count);
        EXPECT_TRUE(decode_whole(Role::server, limit, prefix).empty())
            << wrong.name << " " << count;
    }
    const std::string_view least = std::string_view(wrong.bytes).substr(0, wrong.told_after_bytes);
    EXPECT_EQ(decode_whole(Role::server, limit, least), std::vector{violation(wrong.kind)})
        << wrong.name;
    expect_at_every_split(wrong.bytes, {violation(wrong.kind)});
}

TEST(FrameDecoder, EveryViolationIsToldWithTheByteThatShowsIt) {
    for (const Wrong& wrong : wrong_headers()) expect_told_in_time(wrong);
    for (const Wrong& wrong : wrong_payloads()) expect_told_in_time(wrong);
}

TEST(FrameDecoder, AClientRefusesMasksAndTakesNone) {
    EXPECT_EQ(decode_whole(Role::client, limit, masked_message(Opcode::text, "a")),
              std::vector{violation(Violation::mask_unexpected)});
    const std::string frames = plain_frame({.opcode = Opcode::text, .fin = false}, "a\xc3") +
                               plain_frame({.opcode = Opcode::ping}, "p") +
                               plain_frame({.opcode = Opcode::continuation}, "\xa4");
    for (size_t split = 0; split <= frames.size(); ++split) {
        const std::string_view bytes = frames;
        EXPECT_EQ(decode_pieces(Role::client, limit, {bytes.substr(0, split), bytes.substr(split)}),
                  (std::vector{ping("p"), text("aä")}));
    }
}

TEST(FrameDecoder, LengthsAtTheEdgesOfTheEncodings) {
    for (const size_t size : {size_t{0}, size_t{1}, size_t{125}, size_t{126}, size_t{127},
                              size_t{65535}, size_t{65536}}) {
        const std::string payload(size, 'y');
        const std::string frame = masked_message(Opcode::text, payload);
        EXPECT_EQ(decode_whole(Role::server, limit, frame), std::vector{text(payload)}) << size;
        const std::string_view bytes = frame;
        for (size_t split = 0; split <= std::min<size_t>(frame.size(), 40); ++split) {
            EXPECT_EQ(
                decode_pieces(Role::server, limit, {bytes.substr(0, split), bytes.substr(split)}),
                std::vector{text(payload)})
                << size << " " << split;
        }
    }
}

TEST(FrameDecoder, TheLimitOfAMessageOnBothSides) {
    constexpr uint64_t small_limit = 100;
    const auto decode = [](const std::string& bytes) {
        return decode_whole(Role::server, small_limit, bytes);
    };
    const std::vector<Outcome> too_big{violation(Violation::message_too_big)};
    const std::string just(100, 'a');
    EXPECT_EQ(decode(masked_message(Opcode::text, just)), std::vector{text(just)});
    EXPECT_EQ(decode(masked_message(Opcode::text, just + "a")), too_big);
    // The header alone tells.
    EXPECT_EQ(decode(masked_message(Opcode::text, just + "a").substr(0, 2)), too_big);
    EXPECT_EQ(decode(fragment(Opcode::text, false, just.substr(0, 60)) +
                     fragment(Opcode::continuation, true, just.substr(60))),
              std::vector{text(just)});
    EXPECT_EQ(decode(fragment(Opcode::text, false, just.substr(0, 60)) +
                     fragment(Opcode::continuation, true, just.substr(59)).substr(0, 2)),
              too_big);
    // Control frames are not messages: they have their own limit, and a message's does not touch
    // them.
    const std::string longest(125, 'p');
    EXPECT_EQ(decode(masked_message(Opcode::ping, longest)), std::vector{ping(longest)});
    EXPECT_EQ(decode_whole(Role::server, 0, masked_message(Opcode::text, "")),
              std::vector{text("")});
    EXPECT_EQ(decode_whole(Role::server, 0, masked_message(Opcode::text, "a")), too_big);
}

TEST(FrameDecoder, TheLimitOfFragmentsOnBothSides) {
    const FrameLimits limits{.message_bytes_max = limit, .fragments_max = 3};
    const std::string begin = fragment(Opcode::text, false, "a");
    const std::string middle = fragment(Opcode::continuation, false, "");
    const std::string end = fragment(Opcode::continuation, true, "b");
    const std::string between = masked_message(Opcode::ping, "p");
    const std::string alone = masked_message(Opcode::text, "c");
    const auto decode = [&](const std::string& bytes) {
        std::vector<Outcome> whole;
        for (size_t split = 0; split <= bytes.size(); ++split) {
            const std::string_view view = bytes;
            const std::vector<Outcome> outcomes =
                decode_pieces(Role::server, limits, {view.substr(0, split), view.substr(split)});
            EXPECT_TRUE(split == 0 || outcomes == whole) << split;
            whole = outcomes;
        }
        return whole;
    };
    // Control frames between them do not count, and each message begins anew.
    EXPECT_EQ(decode(begin + between + middle + end + alone + begin + middle + end),
              (std::vector{ping("p"), text("ab"), text("c"), text("ab")}));
    const std::vector<Outcome> too_many{violation(Violation::fragments_too_many)};
    EXPECT_EQ(decode(begin + middle + middle + end), too_many);
    // The first byte of the one too many tells.
    EXPECT_EQ(decode(begin + middle + middle + end.substr(0, 1)), too_many);
    std::string many = begin;
    for (int count = 0; count < 70'000; ++count) many += middle;
    EXPECT_EQ(decode_whole(Role::server, limit, many + end), std::vector{text("ab")})
        << "without a limit there is none";
}

TEST(FrameDecoder, AnAnnouncedLengthCostsNothing) {
    constexpr uint64_t announced = 1'000'000;
    Feeder feeder(Role::server, announced);
    EXPECT_EQ(feeder.decoder().buffered_bytes(), 0u);
    const std::string frame = masked_message(Opcode::binary, std::string(announced, 'a'));
    ASSERT_TRUE(feeder.feed(std::string_view(frame).substr(0, 14)));
    EXPECT_EQ(feeder.decoder().buffered_bytes(), 0u);
    size_t fed = 14;
    for (const size_t piece :
         {size_t{1}, size_t{100}, size_t{411}, size_t{1}, size_t{3000}, size_t{90'000}}) {
        ASSERT_TRUE(feeder.feed(std::string_view(frame).substr(fed, piece)));
        fed += piece;
        const uint64_t received = fed - 14;
        EXPECT_LE(feeder.decoder().buffered_bytes(),
                  std::max<uint64_t>(512, 2 * received) + base::readable_padding_bytes);
        EXPECT_GE(feeder.decoder().buffered_bytes(), received);
    }
    ASSERT_TRUE(feeder.feed(std::string_view(frame).substr(fed)));
    ASSERT_EQ(feeder.outcomes().size(), 1u);
    // It was handed out and asked for more since: an idle connection holds nothing.
    EXPECT_EQ(feeder.decoder().buffered_bytes(), 0u);
}

TEST(FrameDecoder, NeverMoreMemoryThanTheLimit) {
    constexpr uint64_t small_limit = 700;
    Feeder feeder(Role::server, small_limit);
    for (uint32_t index = 0; index < small_limit; ++index) {
        const Opcode opcode = index == 0 ? Opcode::binary : Opcode::continuation;
        ASSERT_TRUE(feeder.feed(fragment(opcode, false, "x")));
        EXPECT_LE(feeder.decoder().buffered_bytes(), small_limit + base::readable_padding_bytes);
    }
    EXPECT_FALSE(feeder.feed(fragment(Opcode::continuation, false, "x")));
    EXPECT_EQ(feeder.outcomes(), std::vector{violation(Violation::message_too_big)});
    EXPECT_EQ(feeder.decoder().buffered_bytes(), 0u);
}

TEST(FrameDecoder, AControlFrameInPiecesIsAccountedAndFreed) {
    Feeder feeder(Role::server, limit);
    const std::string frame = masked_message(Opcode::ping, "abc");
    ASSERT_TRUE(feeder.feed(std::string_view(frame).substr(0, 7)));
    EXPECT_EQ(feeder.decoder().buffered_bytes(), 125 + base::readable_padding_bytes);
    ASSERT_TRUE(feeder.feed(std::string_view(frame).substr(7)));
    EXPECT_EQ(feeder.decoder().buffered_bytes(), 0u);
    EXPECT_EQ(feeder.outcomes(), std::vector{ping("abc")});
}

TEST(FrameDecoder, WholeMessagesAreHandedOutWhereTheyStand) {
    testing::Padded padded(masked_message(Opcode::text, "in place"));
    FrameDecoder decoder(Role::server);
    std::span<uint8_t> input = padded.span();
    uint8_t* const payload_begin = input.data() + 6;
    const Decoded decoded = decoder.next(input, {.message_bytes_max = limit});
    EXPECT_EQ(decoded.kind, Kind::text);
    EXPECT_EQ(decoded.payload.data(), payload_begin);
    EXPECT_EQ(decoder.buffered_bytes(), 0u);
}

constexpr FrameLimits compressing = {.message_bytes_max = limit, .allows_compression = true};

Outcome compressed(Outcome outcome) {
    outcome.is_compressed = true;
    return outcome;
}

// Whole, and at every split into two.
void expect_compressed(std::string_view bytes, const std::vector<Outcome>& expected) {
    for (size_t split = 0; split <= bytes.size(); ++split) {
        const std::vector<Outcome> outcomes =
            decode_pieces(Role::server, compressing, {bytes.substr(0, split), bytes.substr(split)});
        ASSERT_EQ(outcomes, expected) << split << "\n" << testing::describe(outcomes);
    }
}

std::string compressed_frame(Opcode opcode, bool fin, std::string_view payload) {
    return masked_frame({.opcode = opcode, .fin = fin, .rsv1 = true}, payload);
}

TEST(FrameDecoder, CompressedMessagesComeOutAsTheyAre) {
    // No UTF-8, on purpose: what is compressed is not text yet.
    const std::string payload = "\xf2\x48\xcd\xc9\xc9\x07\x00"s;
    expect_compressed(compressed_frame(Opcode::text, true, payload), {compressed(text(payload))});
    expect_compressed(compressed_frame(Opcode::binary, true, payload),
                      {compressed(binary(payload))});
    expect_compressed(compressed_frame(Opcode::text, true, ""), {compressed(text(""))});
    // Only the first frame carries the bit, for the whole message; a control frame may come
    // between, and the next message is compressed or not by its own bit.
    expect_compressed(
        compressed_frame(Opcode::text, false, payload.substr(0, 3)) +
            masked_message(Opcode::ping, "p") + fragment(Opcode::continuation, false, "") +
            fragment(Opcode::continuation, true, payload.substr(3)) +
            fragment(Opcode::text, false, "a") + fragment(Opcode::continuation, true, "b") +
            masked_message(Opcode::binary, "c"),
        {ping("p"), compressed(text(payload)), text("ab"), binary("c")});
    expect_compressed(
        compressed_frame(Opcode::binary, false, "") + fragment(Opcode::continuation, true, ""),
        {compressed(binary(""))});
    // A client takes them too.
    EXPECT_EQ(decode_pieces(Role::client, compressing,
                            {plain_frame({.opcode = Opcode::text, .rsv1 = true}, payload)}),
              std::vector{compressed(text(payload))});
}

TEST(FrameDecoder, TextWithoutTheBitIsCheckedAlsoWhereCompressionIsAllowed) {
    const std::vector<Outcome> expected{violation(Violation::utf8_invalid)};
    expect_compressed(masked_message(Opcode::text, "a\xff"), expected);
    expect_compressed(compressed_frame(Opcode::text, true, "\xff") +
                          fragment(Opcode::text, false, "a\xc3") +
                          fragment(Opcode::continuation, true, ""),
                      {compressed(text("\xff")), violation(Violation::utf8_invalid)});
}

TEST(FrameDecoder, ReservedBitsWhereCompressionIsAllowed) {
    const std::string begun = fragment(Opcode::text, false, "a");
    const std::string begun_compressed = compressed_frame(Opcode::text, false, "a");
    const std::string wrong[] = {
        compressed_frame(Opcode::ping, true, ""),
        compressed_frame(Opcode::pong, true, "x"),
        compressed_frame(Opcode::close, true, ""),
        begun + compressed_frame(Opcode::continuation, true, "b"),
        begun_compressed + compressed_frame(Opcode::continuation, false, "b"),
        compressed_frame(Opcode::continuation, true, ""),
        "\xe1\x80"s,  // RSV1 and RSV2
        "\xd2\x80"s,  // RSV1 and RSV3
        "\xa1\x80"s,  // RSV2
        "\x91\x80"s,  // RSV3
        "\xc3\x80"s,  // RSV1 on a reserved opcode
    };
    for (const std::string& bytes : wrong) {
        expect_compressed(bytes, {violation(Violation::reserved_bits)});
    }
    expect_compressed(begun_compressed + compressed_frame(Opcode::text, true, "b"),
                      {violation(Violation::continuation_missing)});
}

TEST(FrameDecoder, ACompressedMessageIsRefusedWhereItWasNotNegotiated) {
    for (const Opcode opcode : {Opcode::text, Opcode::binary}) {
        expect_at_every_split(compressed_frame(opcode, true, "abc"),
                              {violation(Violation::reserved_bits)});
    }
}

TEST(FrameDecoder, TheLimitCountsCompressedBytesToo) {
    constexpr FrameLimits small = {.message_bytes_max = 10, .allows_compression = true};
    const std::string just(10, '\xff');
    EXPECT_EQ(decode_pieces(Role::server, small, {compressed_frame(Opcode::text, true, just)}),
              std::vector{compressed(text(just))});
    EXPECT_EQ(
        decode_pieces(Role::server, small, {compressed_frame(Opcode::text, true, just + "a")}),
        std::vector{violation(Violation::message_too_big)});
    const std::string begun = compressed_frame(Opcode::text, false, just);
    EXPECT_EQ(
        decode_pieces(Role::server, small, {begun, fragment(Opcode::continuation, true, "a")}),
        std::vector{violation(Violation::message_too_big)});
}

TEST(FrameDecoder, MovesInTheMiddleOfAMessage) {
    const std::string frame = masked_message(Opcode::text, "moved on");
    testing::Padded first(std::string_view(frame).substr(0, 9));
    testing::Padded second(std::string_view(frame).substr(9));
    FrameDecoder decoder(Role::server);
    std::span<uint8_t> input = first.span();
    EXPECT_EQ(decoder.next(input, {.message_bytes_max = limit}).kind, Kind::need_more);
    FrameDecoder moved(std::move(decoder));
    FrameDecoder assigned(Role::client);
    assigned = std::move(moved);
    input = second.span();
    const Decoded decoded = assigned.next(input, {.message_bytes_max = limit});
    ASSERT_EQ(decoded.kind, Kind::text);
    EXPECT_EQ(std::memcmp(decoded.payload.data(), "moved on", 8), 0);
}

TEST(FrameDecoderDeathTest, ADeadDecoderMustNotBeAsked) {
    testing::Padded padded("\xff\xff");
    FrameDecoder decoder(Role::server);
    std::span<uint8_t> input = padded.span();
    ASSERT_EQ(decoder.next(input, {.message_bytes_max = limit}).kind, Kind::violation);
    EXPECT_DEATH(static_cast<void>(decoder.next(input, {.message_bytes_max = limit})), "dead");
}

TEST(FrameDecoder, CloseCodesOfViolationsAndTheirWords) {
    for (uint32_t index = 1; index <= static_cast<uint32_t>(Violation::deflate_invalid); ++index) {
        const Violation kind = static_cast<Violation>(index);
        const uint16_t expected = kind == Violation::utf8_invalid         ? 1007
                                  : kind == Violation::deflate_invalid    ? 1007
                                  : kind == Violation::fragments_too_many ? 1008
                                  : kind == Violation::message_too_big    ? 1009
                                                                          : 1002;
        EXPECT_EQ(close_code_of(kind), expected) << describe(kind);
        EXPECT_LE(std::strlen(describe(kind)), 123u);
        EXPECT_GT(std::strlen(describe(kind)), 0u);
    }
}

// A conversation that is drawn from a seed, together with what must come out of it.
struct Conversation {
    std::string bytes;
    std::vector<Outcome> expected;
};

std::string random_text(base::Prng& prng, uint64_t bytes_max) {
    const std::string_view characters[] = {"a", "ü", "€", "😀", "\n", "some longer words "};
    std::string drawn;
    for (const uint64_t size = prng.below(bytes_max); drawn.size() < size;) {
        drawn.append(characters[prng.below(std::size(characters))]);
    }
    return drawn;
}

std::string random_binary(base::Prng& prng, uint64_t bytes_max) {
    std::string drawn(prng.below(bytes_max), '\0');
    for (char& byte : drawn) byte = static_cast<char>(prng.below(256));
    return drawn;
}

Conversation random_conversation(base::Prng& prng) {
    Conversation drawn;
    for (uint64_t messages = prng.between(1, 6); messages > 0; --messages) {
        const bool is_text = prng.chance({1, 2});
        const uint64_t bytes_max = prng.chance({1, 6}) ? 3000 : 80;
        const std::string payload =
            is_text ? random_text(prng, bytes_max) : random_binary(prng, bytes_max);
        std::string_view rest = payload;
        Opcode opcode = is_text ? Opcode::text : Opcode::binary;
        while (true) {
            const bool fin = prng.chance({1, 2});
            const size_t size = fin ? rest.size() : prng.below(rest.size() + 1);
            drawn.bytes += masked_frame({.opcode = opcode, .fin = fin}, rest.substr(0, size),
                                        static_cast<uint32_t>(prng.next()));
            rest.remove_prefix(size);
            opcode = Opcode::continuation;
            if (fin) break;
            if (!prng.chance({1, 3})) continue;
            const std::string control = random_binary(prng, 126);
            const bool is_ping = prng.chance({1, 2});
            drawn.bytes += masked_message(is_ping ? Opcode::ping : Opcode::pong, control);
            drawn.expected.push_back(is_ping ? ping(control) : pong(control));
        }
        drawn.expected.push_back(is_text ? text(payload) : binary(payload));
    }
    return drawn;
}

std::vector<std::string_view> random_pieces(base::Prng& prng, std::string_view bytes) {
    std::vector<std::string_view> pieces;
    const uint64_t piece_max = prng.chance({1, 2}) ? 8 : 1 + bytes.size();
    while (!bytes.empty()) {
        const uint64_t size = std::min<uint64_t>(prng.below(piece_max) + 1, bytes.size());
        pieces.push_back(bytes.substr(0, size));
        bytes.remove_prefix(size);
    }
    return pieces;
}

std::string disagreement(Role role, std::string_view bytes, const std::vector<Outcome>& outcomes) {
    return testing::find_frame_disagreement(role, {.message_bytes_max = limit}, bytes, outcomes);
}

TEST(FrameDecoder, RandomConversationsComeOutAsTheyWentIn) {
    base::Prng prng(5);
    for (uint32_t round = 0; round < 3'000; ++round) {
        const Conversation drawn = random_conversation(prng);
        const std::vector<Outcome> outcomes =
            decode_pieces(Role::server, limit, random_pieces(prng, drawn.bytes));
        ASSERT_EQ(outcomes, drawn.expected) << round << "\n" << testing::describe(outcomes);
        ASSERT_EQ(disagreement(Role::server, drawn.bytes, outcomes), "") << round;
    }
}

// Bytes flipped anywhere: whatever they mean now, they mean the same in one piece and in many.
TEST(FrameDecoder, DamagedConversationsMeanTheSameInPieces) {
    base::Prng prng(6);
    uint32_t violations_count = 0;
    for (uint32_t round = 0; round < 5'000; ++round) {
        Conversation drawn = random_conversation(prng);
        for (uint64_t flips = prng.between(1, 3); flips > 0; --flips) {
            char& byte = drawn.bytes[prng.below(drawn.bytes.size())];
            byte = static_cast<char>(byte ^ (1 << prng.below(8)));
        }
        const std::vector<Outcome> whole = decode_whole(Role::server, limit, drawn.bytes);
        const std::vector<Outcome> split =
            decode_pieces(Role::server, limit, random_pieces(prng, drawn.bytes));
        ASSERT_EQ(whole, split) << round;
        ASSERT_EQ(disagreement(Role::server, drawn.bytes, whole), "") << round;
        if (!whole.empty() && whole.back().kind == Kind::violation) ++violations_count;
    }
    EXPECT_GT(violations_count, 1'000u);
}

TEST(FrameDecoder, RandomBytesNeverHurt) {
    base::Prng prng(7);
    for (uint32_t round = 0; round < 20'000; ++round) {
        const std::string bytes = random_binary(prng, 64);
        const Role role = prng.chance({1, 2}) ? Role::server : Role::client;
        const std::vector<Outcome> whole = decode_whole(role, limit, bytes);
        ASSERT_EQ(whole, decode_pieces(role, limit, random_pieces(prng, bytes)));
        ASSERT_EQ(disagreement(role, bytes, whole), "") << round;
    }
}

}  // namespace
}  // namespace codec
