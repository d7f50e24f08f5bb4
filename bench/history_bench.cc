// What topics::History costs: keeping a message, reading pages, memory.
//
// The steady history has 10,000 topics of 100 messages in 64 partitions, all full, so that each
// append evicts. Topics are drawn at random: what an append touches is cold in the caches, but for
// the payload and the name that it brings along.
#include "topics/history.h"

#include <benchmark/benchmark.h>
#include <malloc.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/check.h"
#include "io/base/prng.h"
#include "topics/key_window.h"
#include "topics/topic_rules.h"

namespace {

using topics::History;
using topics::TopicRules;

constexpr uint32_t partitions_count = 64;
constexpr uint64_t now_ns = 1'000'000'000;

std::string topic_name(uint32_t index) {
    const std::string digits = std::to_string(index);
    return "market/eu/stock/" + std::string(7 - digits.size(), '0') + digits + "/price";
}

uint64_t heap_bytes() {
    return mallinfo2().uordblks + mallinfo2().hblkhd;
}

struct FullHistory {
    FullHistory(uint32_t topics, uint32_t messages_per_topic, size_t payload_bytes)
        : rules({{"market/#", messages_per_topic}}), payload(payload_bytes, 'x') {
        for (uint32_t index = 0; index < topics; ++index) names.push_back(topic_name(index));
        const uint64_t before_bytes = heap_bytes();
        history = std::make_unique<History>(rules, History::Options{.hash_seed = 1});
        fill(uint64_t{topics} * messages_per_topic * 3);
        used_bytes = heap_bytes() - before_bytes;
    }

    // In random order, so that topics evict at different places of their partitions.
    void fill(uint64_t messages_count) {
        for (uint64_t count = 0; count < messages_count; ++count) append();
    }
    void append() {
        const uint32_t topic = static_cast<uint32_t>(prng.below(names.size()));
        history->append(topic % partitions_count, names[topic], 0, payload, now_ns);
    }

    TopicRules rules;
    std::string payload;
    std::vector<std::string> names;
    base::Prng prng{1};
    std::unique_ptr<History> history;
    uint64_t used_bytes = 0;
};

FullHistory& steady_history() {
    static FullHistory steady(10'000, 100, 200);
    return steady;
}

void append_steady(benchmark::State& state) {
    FullHistory& steady = steady_history();
    for (auto _ : state) steady.append();
}
BENCHMARK(append_steady);

void append_steady_one_topic(benchmark::State& state) {
    FullHistory steady(1, 100, 200);
    for (auto _ : state) steady.append();
}
BENCHMARK(append_steady_one_topic);

void append_without_rule(benchmark::State& state) {
    FullHistory& steady = steady_history();
    for (auto _ : state) {
        benchmark::DoNotOptimize(steady.history->append(0, "chat/room", 0, "x", now_ns));
    }
}
BENCHMARK(append_without_rule);

// Pages of a whole partition, from its beginning to its end and again.
void read(benchmark::State& state, const std::vector<std::string_view>& filters) {
    FullHistory& steady = steady_history();
    History::Page page;
    History::Query query = {.partition = 1};
    query.filters = filters;
    uint64_t messages_count = 0;
    for (auto _ : state) {
        steady.history->read(query, 0, page);
        messages_count += page.messages.size();
        query.after = page.upto == page.head ? 0 : page.upto;
    }
    state.counters["messages"] =
        benchmark::Counter(static_cast<double>(messages_count), benchmark::Counter::kAvgIterations);
    state.counters["per_message"] =
        benchmark::Counter(static_cast<double>(messages_count),
                           benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

void read_everything(benchmark::State& state) {
    read(state, {"#"});
}
BENCHMARK(read_everything);

// One topic of the partition's 157, by its name and by a wildcard.
void read_topic(benchmark::State& state) {
    const std::string topic = topic_name(1);
    read(state, {topic});
}
BENCHMARK(read_topic);

void read_scanning_for_topic(benchmark::State& state) {
    const std::string filter = topic_name(1) + "/#";
    read(state, {filter});
}
BENCHMARK(read_scanning_for_topic);

void read_all_topics_by_name(benchmark::State& state) {
    std::vector<std::string> names;
    for (uint32_t index = 1; index < 10'000; index += partitions_count) {
        names.push_back(topic_name(index));
    }
    read(state, {names.begin(), names.end()});
}
BENCHMARK(read_all_topics_by_name);

// A client that comes back and has missed nothing: what most reads are after a restart of many.
void read_nothing_new(benchmark::State& state) {
    FullHistory& steady = steady_history();
    const std::string_view filter = state.range(0) == 0 ? "market/eu/stock/0000001/price" : "#";
    History::Query query = {.partition = 1, .after = steady.history->head(1)};
    query.filters = std::span(&filter, 1);
    History::Page page;
    for (auto _ : state) steady.history->read(query, 0, page);
    CHECK(page.messages.empty());
}
BENCHMARK(read_nothing_new)->ArgName("wildcard")->Arg(0)->Arg(1);

// Memory per message beyond its payload, with all that belongs to it but its topic; what a topic
// costs is the difference to the same messages in one topic each.
void memory_of_message(benchmark::State& state) {
    const uint32_t messages_per_topic = static_cast<uint32_t>(state.range(0));
    const size_t payload_bytes = static_cast<size_t>(state.range(1));
    const FullHistory full(200'000 / messages_per_topic, messages_per_topic, payload_bytes);
    for (auto _ : state) benchmark::DoNotOptimize(full.used_bytes);
    const double count = static_cast<double>(full.history->messages_count());
    const double payloads = count * static_cast<double>(payload_bytes);
    state.counters["heap_bytes"] = (static_cast<double>(full.used_bytes) - payloads) / count;
    state.counters["own_account"] =
        (static_cast<double>(full.history->memory_bytes()) - payloads) / count;
}
BENCHMARK(memory_of_message)
    ->ArgNames({"per_topic", "payload"})
    ->ArgsProduct({{1, 10, 100, 1'000}, {64, 200}})
    ->Iterations(1);

// A publish with a key in a full window.
void remember_key(benchmark::State& state) {
    topics::KeyWindow window({.hash_seed = 1, .window_ns = UINT64_MAX, .keys_max = 100'000});
    const std::string topic = topic_name(1);
    std::vector<std::string> keys;
    for (uint32_t key = 0; key < 200'000; ++key) keys.push_back("publisher-17/" + topic_name(key));
    size_t next = 0;
    for (auto _ : state) {
        benchmark::DoNotOptimize(window.find(topic, keys[next], now_ns));
        window.remember(topic, keys[next], next, now_ns);
        next = next + 1 == keys.size() ? 0 : next + 1;
    }
}
BENCHMARK(remember_key);

}  // namespace

BENCHMARK_MAIN();
