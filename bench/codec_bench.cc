// What the codec costs: frames, the whole way of a publish, commands, UTF-8, the handshake, what is
// sent. Unmasking has a program of its own, unmask_bench; compression too, deflate_bench.

#include <benchmark/benchmark.h>

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "bench/table_reporter.h"
#include "codec/command.h"
#include "codec/frame.h"
#include "codec/frame_decoder.h"
#include "codec/kernels.h"
#include "codec/reply.h"
#include "codec/upgrade.h"
#include "codec/utf8.h"
#include "io/base/units.h"
#include "topics/name.h"
#include "topics/router.h"

namespace {

constexpr uint32_t masking_key = 0x12ab34cd;
constexpr codec::FrameLimits frame_limits = {.message_bytes_max = 64 * base::kib};

// Bytes with the padding that parsers may read.
std::vector<uint8_t> padded(std::string_view bytes) {
    std::vector<uint8_t> copy(bytes.begin(), bytes.end());
    copy.resize(bytes.size() + base::readable_padding_bytes);
    return copy;
}

std::string masked_text_frame(std::string_view payload) {
    uint8_t key[4];
    std::memcpy(key, &masking_key, sizeof key);
    uint8_t header[codec::frame_header_bytes_max];
    const uint32_t header_bytes = codec::encode_masked_frame_header(
        {.opcode = codec::Opcode::text, .payload_bytes = payload.size()}, key, header);
    std::string frame(reinterpret_cast<const char*>(header), header_bytes);
    std::vector<uint8_t> masked(payload.begin(), payload.end());
    codec::unmask(masked, masking_key);
    frame.append(masked.begin(), masked.end());
    return frame;
}

// A publish of so many bytes in all, at least 41.
std::string publish_of(size_t bytes_count) {
    std::string text = R"({"op":"publish","topic":"a/b","data":"")";
    text.insert(text.size() - 1, bytes_count - text.size() - 1, 'x');
    return text + "}";
}

void count_bytes(benchmark::State& state, size_t bytes_count) {
    state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(bytes_count));
}

void copy_bytes(benchmark::State& state) {
    const size_t size = static_cast<size_t>(state.range(0));
    std::vector<uint8_t> from(size);
    std::vector<uint8_t> to(size);
    for (auto _ : state) {
        std::memcpy(to.data(), from.data(), size);
        benchmark::DoNotOptimize(to.data());
        benchmark::ClobberMemory();
    }
    count_bytes(state, size);
}

// A buffer full of frames. Decoding unmasks in place, so each round begins with a fresh copy, whose
// cost the benchmark "copy" shows.
void decode_frames(benchmark::State& state) {
    const std::string frame =
        masked_text_frame(std::string(static_cast<size_t>(state.range(0)), 'x'));
    std::string wire;
    while (wire.size() + frame.size() <= 16 * base::kib) wire += frame;
    if (wire.empty()) wire = frame;
    std::vector<uint8_t> bytes = padded(wire);
    int64_t frames_count = 0;
    for (auto _ : state) {
        std::memcpy(bytes.data(), wire.data(), wire.size());
        codec::FrameDecoder decoder(codec::Role::server);
        std::span<uint8_t> input(bytes.data(), wire.size());
        while (decoder.next(input, frame_limits).kind == codec::Decoded::Kind::text) ++frames_count;
    }
    state.SetItemsProcessed(frames_count);
    count_bytes(state, wire.size());
}

// The whole way of a publish: from masked bytes to a validated command and the subscribers that
// want it, one by the topic and one by a wildcard. It begins with a fresh copy, as "frames" does.
void decode_parse_route(benchmark::State& state) {
    const std::string wire = masked_text_frame(publish_of(static_cast<size_t>(state.range(0))));
    std::vector<uint8_t> bytes = padded(wire);
    codec::CommandParser parser(1);
    codec::FrameDecoder decoder(codec::Role::server);
    topics::Router router(1);
    router.subscribe(0, "a/b");
    router.subscribe(1, "a/#");
    std::vector<topics::SubscriberId> subscribers;
    for (auto _ : state) {
        std::memcpy(bytes.data(), wire.data(), wire.size());
        std::span<uint8_t> input(bytes.data(), wire.size());
        const codec::Decoded decoded = decoder.next(input, frame_limits);
        const codec::CommandParser::Result result = parser.parse(
            {reinterpret_cast<const char*>(decoded.payload.data()), decoded.payload.size()});
        if (result.commands_count != 1 || parser.command(0).error != codec::ErrorCode::none) {
            state.SkipWithError("the publish was refused");
            break;
        }
        const codec::Command& command = parser.command(0);
        if (topics::check_publishable(command.topic) == topics::NameError::none) {
            router.match(command.topic, subscribers);
        }
        if (subscribers.size() != 2) {
            state.SkipWithError("the publish reached nobody");
            break;
        }
        benchmark::DoNotOptimize(command.payload.bytes.data());
    }
    count_bytes(state, wire.size());
}

void parse_command(benchmark::State& state, const std::string& text) {
    const std::vector<uint8_t> bytes = padded(text);
    codec::CommandParser parser(1);
    const std::string_view frame(reinterpret_cast<const char*>(bytes.data()), text.size());
    for (auto _ : state) {
        const codec::CommandParser::Result result = parser.parse(frame);
        if (result.commands_count == 0) {
            state.SkipWithError("the frame was refused");
            break;
        }
    }
    count_bytes(state, text.size());
}

// A subscribe after a cursor with so many positions.
std::string resume_of(uint32_t positions_count) {
    std::string text = R"({"op":"subscribe","id":1,"filter":"news/#","start":{"after":)"
                       R"({"epoch":"0123456789abcdef","pos":[)";
    for (uint32_t partition = 0; partition < positions_count; ++partition) {
        if (partition > 0) text += ",";
        text += '"' + std::to_string(partition) + ":" + std::to_string(1'000'000 + partition) + '"';
    }
    return text + "]}}}";
}

std::string nested_data(size_t bytes_count) {
    std::string text = R"({"op":"publish","topic":"market/quotes","data":[)";
    while (text.size() < bytes_count) {
        text += R"({"symbol":"ABCD","bid":101.25,"ask":101.5,"sizes":[100,200],"open":true},)";
    }
    text.back() = ']';
    return text + "}";
}

void check_utf8(benchmark::State& state, std::string_view character) {
    std::string text;
    while (text.size() < static_cast<size_t>(state.range(0))) text += character;
    const std::span<const uint8_t> bytes(reinterpret_cast<const uint8_t*>(text.data()),
                                         text.size());
    for (auto _ : state) benchmark::DoNotOptimize(codec::is_utf8(bytes));
    count_bytes(state, text.size());
}

void upgrade(benchmark::State& state) {
    constexpr std::string_view head =
        "GET /ws HTTP/1.1\r\nHost: localhost:7788\r\nConnection: Upgrade\r\nPragma: no-cache\r\n"
        "Cache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) Chrome/120.0\r\n"
        "Upgrade: websocket\r\nOrigin: http://localhost:7788\r\nSec-WebSocket-Version: 13\r\n"
        "Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: fanfare.v1\r\n\r\n";
    const std::vector<uint8_t> bytes = padded(head);
    const std::string_view known[] = {"fanfare.v1"};
    codec::HttpRequest request;
    std::string response;
    for (auto _ : state) {
        codec::HttpHeadParser parser;
        const codec::HttpParse parse =
            parser.parse({bytes.data(), head.size()},
                         {.head_bytes_max = 8192, .target_bytes_max = 2048}, request);
        const codec::Refusal refusal =
            codec::check_access(request, {.loopback_only = true, .allowed_origins = {}});
        const codec::Upgrade decided = codec::decide_upgrade(request, {.subprotocols = known});
        if (parse.status != 0 || refusal.status != 0 || decided.refusal.status != 0) {
            state.SkipWithError("the upgrade was refused");
            break;
        }
        response.clear();
        codec::append_upgrade_response(response, decided, "");
        benchmark::DoNotOptimize(response.data());
    }
}

void append_message(benchmark::State& state, const codec::Position& position) {
    const std::string data(static_cast<size_t>(state.range(0)), 'x');
    std::string out;
    for (auto _ : state) {
        out.clear();
        codec::append_message(out, "market/quotes", position,
                              {.kind = codec::PayloadKind::text, .bytes = data});
        benchmark::DoNotOptimize(out.data());
    }
    count_bytes(state, data.size());
}

void register_all() {
    benchmark::RegisterBenchmark("copy", copy_bytes)->Arg(64)->Arg(1024)->Arg(16384);
    benchmark::RegisterBenchmark("frames", decode_frames)
        ->Arg(16)
        ->Arg(64)
        ->Arg(256)
        ->Arg(1024)
        ->Arg(8192);
    benchmark::RegisterBenchmark("publish", decode_parse_route)->Arg(64)->Arg(512)->Arg(8192);
    benchmark::RegisterBenchmark("command/ping", parse_command, R"({"op":"ping","id":5})");
    benchmark::RegisterBenchmark("command/subscribe", parse_command,
                                 R"({"op":"subscribe","id":1,"filter":"news/#"})");
    benchmark::RegisterBenchmark("command/resume", parse_command, resume_of(64));
    benchmark::RegisterBenchmark("command/nested_4k", parse_command, nested_data(4096));
    benchmark::RegisterBenchmark("command/nested_60k", parse_command, nested_data(60'000));
    benchmark::RegisterBenchmark("utf8/ascii", check_utf8, "a")->Arg(64)->Arg(4096);
    benchmark::RegisterBenchmark("utf8/euro", check_utf8, "€")->Arg(64)->Arg(4096);
    benchmark::RegisterBenchmark("upgrade", upgrade);
    benchmark::RegisterBenchmark("message/text", append_message, codec::Position())
        ->Arg(64)
        ->Arg(4096);
    benchmark::RegisterBenchmark("message/with_pos", append_message, codec::Position{37, 1'234'567})
        ->Arg(64);
}

constexpr bench::Table tables[] = {
    {"copy", "memcpy: bytes, for comparison"},
    {"frames", "Frames decoded, 16 KiB of them at a time: bytes of payload each"},
    {"publish", "A masked publish from raw bytes to the subscribers it goes to: bytes of payload"},
    {"command", "Commands parsed and validated"},
    {"utf8", "UTF-8 validated: alphabet, bytes"},
    {"upgrade", "An upgrade, parsed and answered"},
    {"message", "A message composed for its subscribers: bytes of data"},
};

}  // namespace

int main(int argc, char** argv) {
    return bench::run_benchmarks(argc, argv, tables, register_all);
}
