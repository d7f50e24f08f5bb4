#include "broker/outbound_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "codec/frame.h"
#include "codec/frame_decoder.h"
#include "io/base/prng.h"
#include "io/base/units.h"

namespace broker {
namespace {

using codec::Opcode;

std::string frame_of(Opcode opcode, std::string_view payload) {
    uint8_t header[codec::frame_header_bytes_max];
    const uint32_t header_bytes =
        codec::encode_frame_header({.opcode = opcode, .payload_bytes = payload.size()}, header);
    return std::string(reinterpret_cast<const char*>(header), header_bytes).append(payload);
}

// A queue with its pool, and the wire that it is sent on.
class Wire {
  public:
    ~Wire() {
        if (queue.is_in_flight()) queue.sent(0, chunks);
        queue.drop_all(chunks);
    }

    Range encode(std::string_view bytes) {
        return chunks.append({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, {});
    }
    void push(std::string_view bytes) { hand_over(encode(bytes), &OutboundQueue::push); }
    void push_control(std::string_view bytes) {
        hand_over(encode(bytes), &OutboundQueue::push_control);
    }
    void push_raw(std::string_view bytes) { hand_over(encode(bytes), &OutboundQueue::push_raw); }

    // Uses up a few bytes of the open chunk, so that what follows is not adjacent to what stands.
    void step_aside() { chunks.release(encode("#")); }

    // Answers the bytes that were gathered.
    uint32_t gather(uint32_t parts_max = 64) {
        std::vector<iovec> parts(parts_max);
        parts_count = queue.gather(parts, chunks);
        gathered.clear();
        for (uint32_t part = 0; part < parts_count; ++part) {
            gathered.append(static_cast<const char*>(parts[part].iov_base), parts[part].iov_len);
        }
        return static_cast<uint32_t>(gathered.size());
    }
    void sent(uint32_t bytes) {
        out.append(gathered, 0, bytes);
        queue.sent(bytes, chunks);
    }
    // Sends all that is queued, at most so many bytes at a time.
    void send_all(uint32_t bytes_max = UINT32_MAX) {
        while (!queue.is_empty()) {
            const uint32_t bytes = gather();
            sent(std::min(bytes, bytes_max));
        }
    }

    ChunkPool chunks;
    OutboundQueue queue;
    std::string out;
    std::string gathered;
    uint32_t parts_count = 0;

  private:
    void hand_over(const Range& range, void (OutboundQueue::*entrance)(const Range&)) {
        (queue.*entrance)(range);
        chunks.release(range);
    }
};

TEST(OutboundQueue, SendsInOrder) {
    Wire wire;
    EXPECT_TRUE(wire.queue.is_empty());
    const std::string one = frame_of(Opcode::text, "one");
    const std::string two = frame_of(Opcode::text, "two");
    wire.push(one);
    wire.push(two);
    EXPECT_EQ(wire.queue.backlog_bytes(), one.size() + two.size());
    EXPECT_EQ(wire.gather(), one.size() + two.size());
    EXPECT_TRUE(wire.queue.is_in_flight());
    EXPECT_EQ(wire.queue.backlog_bytes(), one.size() + two.size()) << "in flight is backlog too";
    wire.sent(static_cast<uint32_t>(wire.gathered.size()));
    EXPECT_FALSE(wire.queue.is_in_flight());
    EXPECT_TRUE(wire.queue.is_empty());
    EXPECT_EQ(wire.out, one + two);
    EXPECT_EQ(wire.chunks.alive_count(), 1u);
}

TEST(OutboundQueue, ManyNeighboursAreOneBufferOfOneSend) {
    Wire wire;
    std::string expected;
    for (int count = 0; count < 256; ++count) {
        const std::string frame = frame_of(Opcode::text, "message " + std::to_string(count));
        wire.push(frame);
        expected += frame;
    }
    wire.gather();
    EXPECT_EQ(wire.parts_count, 1u);
    EXPECT_EQ(wire.gathered, expected);
}

TEST(OutboundQueue, GrowsByNeighboursUpToTheLimitAndByNothingElse) {
    Wire wire;
    const std::string frame = frame_of(Opcode::text, "one of many");
    const uint64_t two_bytes = 2 * frame.size();
    const Range first = wire.encode(frame);
    EXPECT_FALSE(wire.queue.extend(first, two_bytes)) << "nothing is queued that it could extend";
    EXPECT_FALSE(wire.queue.extend(Range{}, two_bytes));
    wire.queue.push(first);
    EXPECT_FALSE(wire.queue.extend(first, two_bytes)) << "it does not lie behind itself";
    EXPECT_FALSE(wire.queue.extend(Range{}, two_bytes));
    const Range second = wire.encode(frame);
    EXPECT_FALSE(wire.queue.extend(second, two_bytes - 1));
    EXPECT_EQ(wire.queue.backlog_bytes(), frame.size());
    EXPECT_EQ(wire.gather(), frame.size());
    EXPECT_TRUE(wire.queue.extend(second, two_bytes)) << "what is in flight may be extended";
    EXPECT_EQ(wire.queue.backlog_bytes(), two_bytes);
    wire.step_aside();
    const Range apart = wire.encode(frame);
    EXPECT_FALSE(wire.queue.extend(apart, UINT64_MAX));
    for (const Range& range : {first, second, apart}) wire.chunks.release(range);
    wire.sent(static_cast<uint32_t>(frame.size()));
    wire.send_all();
    EXPECT_EQ(wire.out, frame + frame);
}

TEST(OutboundQueue, ScatteredSmallRangesAreCopiedTogether) {
    for (const int count : {3, 4}) {
        Wire wire;
        std::string expected;
        for (int index = 0; index < count; ++index) {
            const std::string frame = frame_of(Opcode::text, std::to_string(index));
            wire.push(frame);
            wire.step_aside();
            expected += frame;
        }
        wire.gather();
        EXPECT_EQ(wire.parts_count, count == 3 ? 3u : 1u);
        EXPECT_EQ(wire.gathered, expected);
        wire.sent(static_cast<uint32_t>(wire.gathered.size()));
    }
}

TEST(OutboundQueue, CopiesUpTo16KibAndNotAByteMore) {
    for (const uint32_t total : {16u * 1024, 16u * 1024 + 1}) {
        Wire wire;
        const uint32_t quarter = 4 * 1024;
        for (int index = 0; index < 3; ++index) {
            wire.push(frame_of(Opcode::text, std::string(quarter - 4, 'x')));
            wire.step_aside();
        }
        wire.push(frame_of(Opcode::text, std::string(total - 3 * quarter - 4, 'x')));
        ASSERT_EQ(wire.queue.backlog_bytes(), total);
        wire.gather();
        EXPECT_EQ(wire.parts_count, total == 16 * 1024 ? 1u : 4u);
        EXPECT_EQ(wire.gathered.size(), total);
    }
}

TEST(OutboundQueue, ControlFramesOvertakeWhatHasNotBegunToLeave) {
    Wire wire;
    const std::string ordered = frame_of(Opcode::text, "ordered");
    const std::string pong = frame_of(Opcode::pong, "p");
    wire.push(ordered);
    wire.push_control(pong);
    wire.send_all();
    EXPECT_EQ(wire.out, pong + ordered);
}

TEST(OutboundQueue, ControlFramesKeepTheirOrderInAnEmptyQueue) {
    Wire wire;
    const std::string first = frame_of(Opcode::pong, "1");
    const std::string second = frame_of(Opcode::pong, "2");
    const std::string third = frame_of(Opcode::pong, "3");
    const std::string ordered = frame_of(Opcode::text, "ordered");
    wire.push_control(first);
    wire.push_control(second);
    wire.push(ordered);
    wire.push_control(third);
    wire.send_all();
    EXPECT_EQ(wire.out, first + second + third + ordered);
}

TEST(OutboundQueue, ControlFramesKeepTheirOrderAfterAShortSend) {
    Wire wire;
    const std::string first = frame_of(Opcode::pong, "1");
    const std::string second = frame_of(Opcode::pong, "2");
    const std::string third = frame_of(Opcode::pong, "3");
    const std::string ordered = frame_of(Opcode::text, "ordered");
    wire.push(ordered);
    wire.push_control(first);
    wire.push_control(second);
    wire.gather();
    wire.sent(1);  // inside the first pong
    wire.push_control(third);
    wire.send_all();
    EXPECT_EQ(wire.out, first + second + third + ordered);
}

TEST(OutboundQueue, CountsTheListOfItsRanges) {
    Wire wire;
    EXPECT_EQ(wire.queue.list_bytes(), 0u);
    const std::string pong = frame_of(Opcode::pong, "");
    for (uint64_t count = 1; count <= 5; ++count) {
        wire.push(pong);
        wire.step_aside();
        wire.push_control(pong);
        wire.step_aside();
        EXPECT_EQ(wire.queue.list_bytes(), 2 * count * sizeof(Range));
    }
    wire.push(pong);
    wire.push(pong);
    EXPECT_EQ(wire.queue.list_bytes(), 11 * sizeof(Range)) << "neighbours are one range";
    wire.send_all();
    EXPECT_EQ(wire.queue.list_bytes(), 0u);
}

TEST(OutboundQueue, NothingOvertakesAFrameThatHasBegunToLeave) {
    const std::string one = frame_of(Opcode::text, "one");
    const std::string two = frame_of(Opcode::text, "two");
    const std::string pong = frame_of(Opcode::pong, "p");
    const uint32_t both = static_cast<uint32_t>(one.size() + two.size());
    for (uint32_t cut = 0; cut <= both; ++cut) {
        Wire wire;
        wire.push(one);
        wire.push(two);
        wire.gather();
        wire.sent(cut);
        wire.push_control(pong);
        wire.send_all();
        const bool inside_one = cut > 0 && cut <= one.size();
        const std::string expected = cut == 0     ? pong + one + two
                                     : inside_one ? one + pong + two
                                                  : one + two + pong;
        EXPECT_EQ(wire.out, expected) << "cut after " << cut;
    }
}

TEST(OutboundQueue, NothingOvertakesRawBytes) {
    for (uint32_t cut = 0; cut <= 14; ++cut) {
        Wire wire;
        const std::string frame = frame_of(Opcode::text, "welcome");
        const std::string pong = frame_of(Opcode::pong, "p");
        wire.push_raw("HTTP/1.");
        wire.push_raw("1 101\r\n");
        wire.push(frame);
        wire.gather();
        wire.sent(cut);
        wire.push_control(pong);
        wire.send_all(3);
        EXPECT_EQ(wire.out, "HTTP/1.1 101\r\n" + pong + frame) << "cut after " << cut;
    }
}

TEST(OutboundQueue, AWatchedControlFrameHasLeftWhenItsLastByteHas) {
    const std::string ping = frame_of(Opcode::ping, "1");
    const std::string text = frame_of(Opcode::text, "hello");
    for (const bool is_behind_a_frame : {false, true}) {
        Wire wire;
        EXPECT_TRUE(wire.queue.has_watched_left()) << "nothing is watched";
        uint32_t rest_bytes = 0;
        if (is_behind_a_frame) {
            wire.push(text);
            wire.gather();
            wire.sent(2);  // it has begun to leave
            rest_bytes = static_cast<uint32_t>(text.size()) - 2;
        }
        wire.push_control(ping);
        wire.queue.watch_control();
        wire.push(text);
        EXPECT_FALSE(wire.queue.has_watched_left());
        wire.gather();
        EXPECT_FALSE(wire.queue.has_watched_left());
        wire.sent(rest_bytes + static_cast<uint32_t>(ping.size()) - 1);
        EXPECT_FALSE(wire.queue.has_watched_left()) << "but for a byte";
        wire.gather();
        wire.sent(1);
        EXPECT_TRUE(wire.queue.has_watched_left());
        wire.send_all();
        EXPECT_TRUE(wire.queue.has_watched_left());
        EXPECT_EQ(wire.out, (is_behind_a_frame ? text : "") + ping + text);
    }
}

TEST(OutboundQueue, AFrameThatIsWatchedInFlightLeavesWithALaterSend) {
    const std::string text = frame_of(Opcode::text, "hello");
    const std::string ping = frame_of(Opcode::ping, "1");
    Wire wire;
    wire.push(text);
    wire.gather();
    wire.push_control(ping);
    wire.queue.watch_control();
    wire.sent(static_cast<uint32_t>(text.size()));
    EXPECT_FALSE(wire.queue.has_watched_left()) << "it was not in that send";
    wire.send_all();
    EXPECT_TRUE(wire.queue.has_watched_left());
}

TEST(OutboundQueue, WhatIsDroppedIsNotWatchedAnyMore) {
    Wire wire;
    wire.push(frame_of(Opcode::text, "hello"));
    wire.gather();
    wire.push_control(frame_of(Opcode::ping, "1"));
    wire.queue.watch_control();
    wire.sent(1);
    wire.queue.drop_to_boundary(wire.chunks);
    EXPECT_TRUE(wire.queue.has_watched_left());
}

TEST(OutboundQueue, WhatIsPushedInFlightFollows) {
    Wire wire;
    const std::string one = frame_of(Opcode::text, "one");
    const std::string two = frame_of(Opcode::text, "two");
    const std::string pong = frame_of(Opcode::pong, "p");
    wire.push(one);
    const uint32_t bytes = wire.gather();
    wire.push(two);  // adjacent: the range in flight grows, the send does not
    wire.push_control(pong);
    wire.sent(bytes);
    EXPECT_EQ(wire.out, one);
    wire.send_all();
    EXPECT_EQ(wire.out, one + pong + two);
}

TEST(OutboundQueue, AFailedSendKeepsEverything) {
    Wire wire;
    const std::string one = frame_of(Opcode::text, "one");
    wire.push(one);
    wire.gather();
    wire.sent(0);
    EXPECT_FALSE(wire.queue.is_in_flight());
    EXPECT_EQ(wire.queue.backlog_bytes(), one.size());
    wire.send_all();
    EXPECT_EQ(wire.out, one);
}

TEST(OutboundQueue, DropKeepsTheRestOfTheFrameThatHasBegun) {
    const std::string one = frame_of(Opcode::text, "one");
    const std::string two = frame_of(Opcode::text, std::string(200, '2'));
    const std::string pong = frame_of(Opcode::pong, "p");
    const std::string close = frame_of(Opcode::close, "");
    const uint32_t both = static_cast<uint32_t>(one.size() + two.size());
    for (uint32_t cut = 0; cut <= both; ++cut) {
        Wire wire;
        wire.push(one);
        wire.push(two);
        wire.gather();
        wire.sent(cut);
        wire.push_control(pong);
        wire.push(frame_of(Opcode::text, "three"));
        wire.queue.drop_to_boundary(wire.chunks);
        wire.push(close);
        wire.send_all(5);
        const std::string begun = cut == 0 ? "" : cut <= one.size() ? one : one + two;
        EXPECT_EQ(wire.out, begun + close) << "cut after " << cut;
        EXPECT_EQ(wire.chunks.alive_count(), 1u);
    }
}

TEST(OutboundQueue, DropAllLeavesNothing) {
    Wire wire;
    wire.push(frame_of(Opcode::text, "one"));
    wire.gather();
    wire.sent(2);
    wire.push_control(frame_of(Opcode::pong, "p"));
    wire.queue.drop_all(wire.chunks);
    EXPECT_TRUE(wire.queue.is_empty());
    EXPECT_EQ(wire.queue.backlog_bytes(), 0u);
    const std::string after = frame_of(Opcode::text, "after");
    wire.push(after);
    wire.out.clear();
    wire.send_all();
    EXPECT_EQ(wire.out, after);
}

TEST(OutboundQueue, ManyRangesGoInAsManySendsAsTheBuffersNeed) {
    Wire wire;
    std::string expected;
    for (int index = 0; index < 10; ++index) {
        const std::string frame = frame_of(Opcode::text, std::string(5'000, 'x'));
        wire.push(frame);
        wire.step_aside();
        expected += frame;
    }
    int sends = 0;
    while (!wire.queue.is_empty()) {
        const uint32_t bytes = wire.gather(4);
        EXPECT_LE(wire.parts_count, 4u);
        wire.sent(bytes);
        ++sends;
    }
    EXPECT_EQ(sends, 3);
    EXPECT_EQ(wire.out, expected);
}

// Random work against the plain definition: the bytes that leave are whole frames, ordered ones in
// order, control ones in order, none of them lost.
class Model {
  public:
    explicit Model(uint64_t seed) : prng_(seed) {}

    void run(uint32_t steps) {
        if (prng_.below(2) == 0) push_raw();
        for (uint32_t step = 0; step < steps; ++step) {
            take_step();
            ASSERT_EQ(wire_.queue.backlog_bytes(), pushed_bytes_ - wire_.out.size());
        }
        if (wire_.queue.is_in_flight()) wire_.sent(short_or_whole());
        wire_.send_all(static_cast<uint32_t>(prng_.between(1, 70'000)));
        check();
        EXPECT_EQ(wire_.chunks.alive_count(), 1u);
    }

  private:
    void take_step() {
        switch (prng_.below(8)) {
            case 0: push_control(); return;
            case 1:
                if (prng_.below(4) == 0) wire_.step_aside();
                return;
            case 2:
            case 3:
            case 4: push_ordered(); return;
            default: move(); return;
        }
    }

    void move() {
        if (wire_.queue.is_in_flight()) {
            wire_.sent(short_or_whole());
            return;
        }
        if (wire_.queue.is_empty()) return;
        wire_.gather(static_cast<uint32_t>(prng_.between(1, 4)));
    }

    uint32_t short_or_whole() {
        const uint64_t whole = wire_.gathered.size();
        switch (prng_.below(4)) {
            case 0: return 0;
            case 1: return static_cast<uint32_t>(std::min<uint64_t>(whole, prng_.between(1, 20)));
            case 2: return static_cast<uint32_t>(prng_.between(0, whole));
            default: return static_cast<uint32_t>(whole);
        }
    }

    std::string payload(char kind, size_t number) {
        static constexpr uint64_t lengths[] = {0,   8,     100,    124,    125,
                                               126, 3'000, 20'000, 65'535, 70'000};
        const uint64_t most = kind == 'o' ? 10 : 5;
        std::string text = kind + std::to_string(number) + ":";
        const uint64_t wanted =
            lengths[prng_.below(prng_.below(8) == 0 ? most : std::min<uint64_t>(most, 6))];
        if (text.size() < wanted) text.resize(wanted, '.');
        return text;
    }

    void push_raw() {
        raw_ = std::string(prng_.between(1, 300), 'r');
        wire_.push_raw(raw_);
        pushed_bytes_ += raw_.size();
    }
    void push_ordered() {
        ordered_.push_back(payload('o', pushed_count_++));
        const std::string frame = frame_of(Opcode::text, ordered_.back());
        pushed_bytes_ += frame.size();
        wire_.push(frame);
    }
    void push_control() {
        control_.push_back(payload('c', pushed_count_++));
        const std::string frame = frame_of(Opcode::pong, control_.back());
        pushed_bytes_ += frame.size();
        wire_.push_control(frame);
    }

    void check() {
        ASSERT_TRUE(wire_.out.starts_with(raw_));
        std::vector<uint8_t> bytes(wire_.out.begin() + static_cast<ptrdiff_t>(raw_.size()),
                                   wire_.out.end());
        bytes.resize(bytes.size() + base::readable_padding_bytes);
        std::span<uint8_t> input{bytes.data(), bytes.size() - base::readable_padding_bytes};
        codec::FrameDecoder decoder(codec::Role::client);
        while (true) {
            const codec::Decoded decoded = decoder.next(input, {.message_bytes_max = 1 << 20});
            if (decoded.kind == codec::Decoded::Kind::need_more) break;
            ASSERT_NE(decoded.kind, codec::Decoded::Kind::violation);
            std::deque<std::string>& expected =
                decoded.kind == codec::Decoded::Kind::pong ? control_ : ordered_;
            ASSERT_FALSE(expected.empty());
            const std::string_view got{reinterpret_cast<const char*>(decoded.payload.data()),
                                       decoded.payload.size()};
            ASSERT_EQ(got, expected.front());
            expected.pop_front();
        }
        EXPECT_TRUE(ordered_.empty() && control_.empty()) << "something was lost";
    }

    base::Prng prng_;
    Wire wire_;
    std::string raw_;
    std::deque<std::string> ordered_;
    std::deque<std::string> control_;
    size_t pushed_count_ = 0;
    uint64_t pushed_bytes_ = 0;
};

TEST(OutboundQueue, AgreesWithTheModel) {
    for (uint64_t seed = 1; seed <= 300; ++seed) {
        SCOPED_TRACE(seed);
        Model(seed).run(static_cast<uint32_t>(20 + seed));
        if (::testing::Test::HasFatalFailure()) return;
    }
}

// The same with drops: after one, what leaves is the rest of the frame that had begun, and then
// only what came later.
TEST(OutboundQueue, DropsAtAFramesBoundaryWhateverHappenedBefore) {
    base::Prng prng(7);
    for (int round = 0; round < 500; ++round) {
        Wire wire;
        for (uint64_t count = prng.between(1, 12); count > 0; --count) {
            const std::string payload(prng.between(0, 300), 'x');
            if (prng.below(3) == 0) {
                wire.push_control(frame_of(Opcode::pong, payload.substr(0, 120)));
            } else {
                wire.push(frame_of(Opcode::text, payload));
            }
            if (prng.below(2) == 0) wire.step_aside();
            if (prng.below(3) > 0) continue;
            wire.gather(static_cast<uint32_t>(prng.between(1, 3)));
            wire.sent(static_cast<uint32_t>(prng.between(0, wire.gathered.size())));
            if (wire.queue.is_empty()) break;
        }
        wire.queue.drop_to_boundary(wire.chunks);
        const std::string close = frame_of(Opcode::close, "");
        wire.push(close);
        wire.send_all(static_cast<uint32_t>(prng.between(1, 50)));
        size_t at = 0;
        while (at < wire.out.size()) {
            const uint64_t frame = codec::unmasked_frame_bytes(
                {reinterpret_cast<const uint8_t*>(wire.out.data()) + at, wire.out.size() - at});
            ASSERT_LE(at + frame, wire.out.size()) << "round " << round;
            at += frame;
        }
        ASSERT_TRUE(wire.out.ends_with(close));
    }
}

}  // namespace
}  // namespace broker
