// On the way of a message from raw bytes to a command and on to its subscribers nothing is
// allocated once the buffers have grown to what comes.

#include <gtest/gtest.h>

#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "codec/command.h"
#include "codec/frame_decoder.h"
#include "codec/reply.h"
#include "io/base/check.h"
#include "io/base/units.h"
#include "tests/codec/allocation_counter.h"
#include "tests/codec/wire.h"

namespace codec {
namespace {

constexpr FrameLimits limits = {.message_bytes_max = 64 * base::kib};

// A broker's ear and tongue: what one shard keeps between messages.
class Way {
  public:
    // Feeds one masked frame; answers how many commands were fine.
    uint32_t go(std::string_view frame) {
        std::memcpy(bytes_.data(), frame.data(), frame.size());
        std::span<uint8_t> input(bytes_.data(), frame.size());
        const Decoded decoded = decoder_.next(input, limits);
        CHECK(decoded.kind == Decoded::Kind::text && input.empty());
        const CommandParser::Result result = parser_.parse(
            {reinterpret_cast<const char*>(decoded.payload.data()), decoded.payload.size()});
        uint32_t good_count = 0;
        out_.clear();
        for (uint32_t index = 0; index < result.commands_count; ++index) {
            const Command& command = parser_.command(index);
            if (command.error != ErrorCode::none) {
                append_error(out_, command.id, command.error, command.reason);
                continue;
            }
            ++good_count;
            if (command.op == CommandOp::publish) {
                append_message(out_, command.topic, Position{1, 2}, command.payload);
            }
        }
        return good_count;
    }

  private:
    FrameDecoder decoder_{Role::server};
    CommandParser parser_{1};
    std::vector<uint8_t> bytes_ = std::vector<uint8_t>(128 * base::kib);
    std::string out_;
};

struct Case {
    std::string frame;
    uint32_t good_count;
};

Case of(const std::string& text, uint32_t good_count) {
    return {testing::masked_message(Opcode::text, text), good_count};
}

std::vector<Case> make_cases() {
    std::string many_keys;
    for (uint32_t key = 0; key < 100; ++key) many_keys += "\"k" + std::to_string(key) + "\":1,";
    std::string many_filters;
    for (uint32_t filter = 0; filter < 100; ++filter) {
        many_filters += "\"a/" + std::to_string(filter) + "\",";
    }
    std::string many_positions;  // to be sorted
    for (uint32_t partition = 100; partition > 0; --partition) {
        many_positions += '"' + std::to_string(partition) + ":1\",";
    }
    std::string batch;
    for (uint32_t count = 0; count < 100; ++count) batch += R"({"op":"ping","id":7},)";
    return {
        of(R"({"op":"ping","id":1})", 1),
        of(R"({"op":"publish","id":"x","topic":"a/b","data":{"bid":1.25,"sizes":[1,2,3]}})", 1),
        of(R"({"op":"publish","topic":"\u0061/b","text":"\ud83d\ude00 \n","key":"\u006b"})", 1),
        of(R"({"op":"publish","topic":"a","base64":"aGVsbG8="})", 1),
        of(R"({"op":"publish","topic":"a","data":{)" + many_keys + R"("last":[]}})", 1),
        of(R"({"op":"publish","topic":"a","text":")" + std::string(40'000, 'x') + "\"}", 1),
        of(R"({"op":"subscribe","filter":"news/#"})", 1),
        of(R"({"op":"subscribe","filters":[)" + many_filters + R"("b"]})", 1),
        of(R"({"op":"subscribe","filter":"a","start":{"after":{"epoch":"\u0065","pos":[)" +
               many_positions + R"("0:1"]}}})",
           1),
        of(R"({"op":"history","topic":"a","last":7})", 1),
        of("[" + batch + R"({"op":"publish","topic":"a","data":0}])", 101),
        // What is refused costs no more.
        of(R"({"op":"history","topic":"a","after":{"epoch":"e","pos":[)" + many_positions +
               R"("100:2"]}})",
           0),
        of(R"({"op":"dance","id":3})", 0),
        of(R"({"op":"ping","tune":"a waltz that is longer than a short string"})", 0),
        of(R"({"op":"publish","topic":"a","data":1,"data":2})", 0),
        of(R"({"op":"publish","topic":"a","data":[1,2})", 0),
        of("[]", 0),
    };
}

TEST(Allocations, NoneInTheSteadyState) {
    const std::vector<Case> cases = make_cases();
    Way way;
    const uint64_t before_warming = testing::allocations_count();
    for (const Case& each : cases) EXPECT_EQ(way.go(each.frame), each.good_count) << each.frame;
    EXPECT_GT(testing::allocations_count(), before_warming) << "nothing is counted";
    for (uint32_t round = 0; round < 100; ++round) {
        for (size_t index = 0; index < cases.size(); ++index) {
            const uint64_t before = testing::allocations_count();
            const uint32_t good_count = way.go(cases[index].frame);
            const uint64_t after = testing::allocations_count();
            ASSERT_EQ(after - before, 0u) << "case " << index << ", round " << round;
            ASSERT_EQ(good_count, cases[index].good_count);
        }
    }
}

}  // namespace
}  // namespace codec
