// What compression costs by zlib's level and memory level, for JSON messages of about 1 KiB that
// are drawn from a seed and all differ. Counters: the payload's part of the message, and the memory
// of one Deflater or Inflater.

#include <benchmark/benchmark.h>

#include <string>
#include <vector>

#include "bench/table_reporter.h"
#include "codec/deflater.h"
#include "codec/inflater.h"
#include "io/base/prng.h"
#include "io/base/units.h"

namespace {

constexpr size_t messages_count = 64;

std::string draw_message(base::Prng& prng, size_t bytes_count) {
    static constexpr const char* venues[] = {"XNAS", "XLON", "XETR", "XPAR"};
    std::string text = R"({"op":"message","topic":"market/quotes","data":[)";
    while (text.size() < bytes_count) {
        text += R"({"symbol":")";
        for (uint32_t index = 0; index < 4; ++index) {
            text += static_cast<char>('A' + prng.below(26));
        }
        text += R"(","bid":)" + std::to_string(prng.below(100'000)) + ".25";
        text += R"(,"ask":)" + std::to_string(prng.below(100'000)) + ".5";
        text += R"(,"volume":)" + std::to_string(prng.below(10'000));
        text += std::string(R"(,"venue":")") + venues[prng.below(4)] + R"(","open":true},)";
    }
    text.back() = ']';
    return text + "}";
}

std::vector<std::string> draw_messages(size_t bytes_count) {
    base::Prng prng(31);
    std::vector<std::string> messages;
    for (size_t index = 0; index < messages_count; ++index) {
        messages.push_back(draw_message(prng, bytes_count));
    }
    return messages;
}

void deflate_json(benchmark::State& state, const codec::DeflaterSettings& settings,
                  size_t bytes_count) {
    const std::vector<std::string> messages = draw_messages(bytes_count);
    codec::Deflater deflater(settings);
    size_t index = 0;
    uint64_t message_bytes = 0;
    uint64_t payload_bytes = 0;
    for (auto _ : state) {
        const std::string& message = messages[index++ % messages_count];
        payload_bytes += deflater.compress(message).size();
        message_bytes += message.size();
    }
    state.SetBytesProcessed(static_cast<int64_t>(message_bytes));
    state.counters["part"] =
        static_cast<double>(payload_bytes) / static_cast<double>(message_bytes);
    state.counters["memory"] = static_cast<double>(deflater.memory_bytes());
}

void inflate_json(benchmark::State& state, const codec::InflaterSettings& settings,
                  size_t bytes_count) {
    codec::Deflater deflater({.has_context_takeover = settings.has_context_takeover});
    std::vector<std::vector<uint8_t>> payloads;
    for (const std::string& message : draw_messages(bytes_count)) {
        const std::span<const uint8_t> payload = deflater.compress(message);
        payloads.emplace_back(payload.begin(), payload.end());
    }
    codec::Inflater inflater(settings);
    size_t index = 0;
    uint64_t message_bytes = 0;
    for (auto _ : state) {
        const codec::Inflated inflated =
            inflater.inflate_message(payloads[index++ % messages_count],
                                     {.message_bytes_max = 64 * base::kib, .is_text = true});
        if (inflated.violation != codec::Violation::none) state.SkipWithError("was refused");
        message_bytes += inflated.plain.size();
    }
    state.SetBytesProcessed(static_cast<int64_t>(message_bytes));
    state.counters["memory"] = static_cast<double>(inflater.memory_bytes());
}

void register_all() {
    constexpr uint8_t memory_levels[] = {4, 5, 6, 8};
    for (const uint8_t memory_level : memory_levels) {
        for (uint8_t level = 1; level <= 6; ++level) {
            const std::string name = "deflate/1KiB/memory_level:" + std::to_string(memory_level) +
                                     "/level:" + std::to_string(level);
            const codec::DeflaterSettings settings = {.level = level, .memory_level = memory_level};
            benchmark::RegisterBenchmark(name.c_str(), deflate_json, settings, base::kib);
        }
    }
    for (uint8_t level = 1; level <= 6; ++level) {
        const std::string name = "deflate/16KiB/level:" + std::to_string(level);
        const codec::DeflaterSettings settings = {.level = level};
        benchmark::RegisterBenchmark(name.c_str(), deflate_json, settings, 16 * base::kib);
    }
    const codec::DeflaterSettings defaults;
    const codec::DeflaterSettings taking = {.has_context_takeover = true};
    benchmark::RegisterBenchmark("deflate/256B", deflate_json, defaults, size_t{256});
    benchmark::RegisterBenchmark("deflate/1KiB/takeover", deflate_json, taking, base::kib);
    const codec::InflaterSettings plain;
    benchmark::RegisterBenchmark("inflate/256B", inflate_json, plain, size_t{256});
    benchmark::RegisterBenchmark("inflate/1KiB", inflate_json, plain, base::kib);
    benchmark::RegisterBenchmark("inflate/16KiB", inflate_json, plain, 16 * base::kib);
}

constexpr bench::Table tables[] = {
    {"deflate", "JSON compressed, a message at a time: bytes, settings of zlib"},
    {"inflate", "JSON inflated, a message at a time: bytes"},
};

}  // namespace

int main(int argc, char** argv) {
    return bench::run_benchmarks(argc, argv, tables, register_all);
}
