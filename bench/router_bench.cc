// What topics::Router costs: a match (warm and cold), filling, joining and leaving, memory.
//
// The big router holds a million exact subscriptions of a hundred thousand subscribers, one per
// topic, and a hundred thousand wildcard subscriptions. Names are about 30 bytes long. "Cold" walks
// all topics in random order: the names themselves stand in the order of the walk, as a publisher's
// bytes are warm in a broker, but all that the router reads for them has left the caches.
#include <benchmark/benchmark.h>
#include <malloc.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/check.h"
#include "io/base/prng.h"
#include "topics/name.h"
#include "topics/router.h"

namespace {

using topics::Router;
using topics::SubscriberId;

constexpr uint64_t hash_seed = 0x5eed;
constexpr uint32_t topics_count = 1'000'000;
constexpr uint32_t subscribers_count = 100'000;
constexpr uint32_t wildcards_count = 100'000;
constexpr uint32_t wildcard_shapes_count = 3;

std::string number(uint32_t index) {
    const std::string digits = std::to_string(index);
    return std::string(7 - digits.size(), '0') + digits;
}

std::string topic_name(uint32_t index) {
    return "market/eu/stock/" + number(index) + "/price";
}

std::string wildcard_name(uint32_t index) {
    const std::string digits = number(index / wildcard_shapes_count);
    switch (index % wildcard_shapes_count) {
        case 0: return "market/+/stock/" + digits + "/price";
        case 1: return "market/eu/stock/" + digits + "/#";
        case 2: return "+/eu/+/" + digits + "/price";
    }
    UNREACHABLE();
}

struct BigRouter {
    BigRouter() {
        base::Prng prng(1);
        walk.resize(topics_count);
        for (uint32_t index = 0; index < topics_count; ++index) walk[index] = topic_name(index);
        text_bytes = uint64_t{topics_count} * walk[0].size();
        const uint64_t before_bytes = mallinfo2().uordblks + mallinfo2().hblkhd;
        for (uint32_t index = 0; index < topics_count; ++index) {
            router.subscribe(index % subscribers_count, walk[index]);
        }
        heap_bytes = mallinfo2().uordblks + mallinfo2().hblkhd - before_bytes;
        router_bytes = router.memory_bytes();
        for (uint32_t index = 0; index < wildcards_count; ++index) {
            router.subscribe(index % subscribers_count, wildcard_name(index));
        }
        for (uint32_t index = topics_count; index > 1; --index) {
            std::swap(walk[index - 1], walk[prng.below(index)]);
        }
        // Once more, so that the text stands in memory in the order of the walk.
        for (std::string& name : walk) name = std::string(name.begin(), name.end());
    }

    Router router{hash_seed};
    std::vector<std::string> walk;  // all topics, in random order
    uint64_t text_bytes = 0;
    uint64_t heap_bytes = 0;    // of the exact subscriptions, with the allocator's overhead
    uint64_t router_bytes = 0;  // of the exact subscriptions, by the router's own account
};

BigRouter& big_router() {
    static BigRouter big;
    return big;
}

void memory_of_exact_subscription(benchmark::State& state) {
    const BigRouter& big = big_router();
    for (auto _ : state) benchmark::DoNotOptimize(big.heap_bytes);
    const double count = topics_count;
    state.counters["heap_bytes"] = static_cast<double>(big.heap_bytes - big.text_bytes) / count;
    state.counters["own_account"] = static_cast<double>(big.router_bytes - big.text_bytes) / count;
}
BENCHMARK(memory_of_exact_subscription)->Iterations(1);

// A million topics get their first subscriber and then a second one, out of nothing: with all the
// growing that this takes.
void fill(benchmark::State& state) {
    const bool is_second = state.range(0) == 2;
    const BigRouter& big = big_router();
    uint64_t heap_bytes = 0;
    for (auto _ : state) {
        Router router(hash_seed);
        uint64_t before_bytes = 0;
        for (uint32_t round = is_second ? 0 : 1; round < 2; ++round) {
            if (round == 1) before_bytes = mallinfo2().uordblks + mallinfo2().hblkhd;
            for (uint32_t index = 0; index < topics_count; ++index) {
                router.subscribe((index + round) % subscribers_count, big.walk[index]);
            }
        }
        heap_bytes = mallinfo2().uordblks + mallinfo2().hblkhd - before_bytes;
    }
    state.SetItemsProcessed(state.iterations() * state.range(0) * topics_count);
    state.counters["heap_bytes"] = static_cast<double>(heap_bytes) / topics_count;
}
BENCHMARK(fill)->ArgName("subscribers")->Arg(1)->Arg(2)->Unit(benchmark::kMillisecond);

void match_cold(benchmark::State& state) {
    BigRouter& big = big_router();
    std::vector<SubscriberId> subscribers;
    uint32_t place = 0;
    for (auto _ : state) {
        big.router.match(big.walk[place], subscribers);
        benchmark::DoNotOptimize(subscribers.data());
        place = place + 1 == topics_count ? 0 : place + 1;
    }
}
BENCHMARK(match_cold);

// One topic that its exact filter and the given number of wildcard filters match.
void match_warm(benchmark::State& state) {
    const std::vector<std::string_view> wildcards = {"a/+/c/d", "a/b/#",   "+/b/c/d", "#",
                                                     "a/b/c/+", "a/+/+/#", "+/+/c/#"};
    Router router(hash_seed);
    router.subscribe(0, "a/b/c/d");
    for (uint32_t index = 0; index < state.range(0); ++index) {
        router.subscribe(index + 1, wildcards[index]);
    }
    std::vector<SubscriberId> subscribers;
    for (auto _ : state) {
        router.match("a/b/c/d", subscribers);
        benchmark::DoNotOptimize(subscribers.data());
    }
    CHECK(subscribers.size() == static_cast<size_t>(state.range(0)) + 1);
}
BENCHMARK(match_warm)->Arg(0)->Arg(1)->Arg(3)->Arg(7);

void match_warm_among_many(benchmark::State& state) {
    BigRouter& big = big_router();
    const std::string topic = topic_name(static_cast<uint32_t>(state.range(0)));
    std::vector<SubscriberId> subscribers;
    for (auto _ : state) {
        big.router.match(topic, subscribers);
        benchmark::DoNotOptimize(subscribers.data());
    }
}
BENCHMARK(match_warm_among_many)->ArgName("topic")->Arg(7)->Arg(topics_count - 1);

// The ids of `subscribers` of one filter, or of two filters that both have all of them.
void match_crowd(benchmark::State& state) {
    Router router(hash_seed);
    const uint32_t crowd_count = static_cast<uint32_t>(state.range(0));
    for (SubscriberId subscriber = 0; subscriber < crowd_count; ++subscriber) {
        router.subscribe(subscriber, "news/uk");
        if (state.range(1) == 2) router.subscribe(subscriber, "news/#");
    }
    std::vector<SubscriberId> subscribers;
    for (auto _ : state) {
        router.match("news/uk", subscribers);
        benchmark::DoNotOptimize(subscribers.data());
    }
    CHECK(subscribers.size() == crowd_count);
    state.SetItemsProcessed(state.iterations() * state.range(0) * state.range(1));
}
BENCHMARK(match_crowd)
    ->ArgNames({"subscribers", "filters"})
    ->ArgsProduct({{1'000, 100'000}, {1, 2}});

// All mixes of '+' and one word in ten levels, none of which matches in the end: the topic that
// visits the most nodes for the filters that stand.
void match_hostile(benchmark::State& state) {
    Router router(hash_seed);
    constexpr uint32_t levels_count = 10;
    for (uint32_t bits = 0; bits < 1u << levels_count; ++bits) {
        std::string filter;
        for (uint32_t level = 0; level < levels_count; ++level) {
            filter += (bits >> level & 1) != 0 ? "+/" : "w/";
        }
        router.subscribe(0, filter + "+/end");
    }
    const std::string topic = "w/w/w/w/w/w/w/w/w/w/w/other";
    std::vector<SubscriberId> subscribers;
    for (auto _ : state) {
        router.match(topic, subscribers);
        benchmark::DoNotOptimize(subscribers.data());
    }
    CHECK(subscribers.empty());
    state.counters["trie_nodes"] = router.trie_nodes_count();
}
BENCHMARK(match_hostile);

// A subscriber that joins and leaves a random filter of the big router.
void join_and_leave(benchmark::State& state) {
    BigRouter& big = big_router();
    const SubscriberId newcomer = subscribers_count;
    const bool is_new = state.range(0) == 1;
    uint32_t place = 0;
    std::string filter;
    for (auto _ : state) {
        filter = big.walk[place];
        if (is_new) filter += "/+";
        big.router.subscribe(newcomer, filter);
        big.router.unsubscribe(newcomer, filter);
        place = place + 1 == topics_count ? 0 : place + 1;
    }
}
BENCHMARK(join_and_leave)->ArgName("new_wildcard")->Arg(0)->Arg(1);

void join_1024_and_leave_all(benchmark::State& state) {
    BigRouter& big = big_router();
    const SubscriberId newcomer = subscribers_count;
    constexpr uint32_t filters_count = 1'024;
    std::vector<std::string> gone;
    uint32_t place = 0;
    for (auto _ : state) {
        for (uint32_t index = 0; index < filters_count; ++index) {
            big.router.subscribe(newcomer, big.walk[place]);
            place = place + 1 == topics_count ? 0 : place + 1;
        }
        big.router.unsubscribe_all(newcomer, gone);
    }
    CHECK(gone.empty());
    state.SetItemsProcessed(state.iterations() * filters_count);
}
BENCHMARK(join_1024_and_leave_all);

// The longest scan: has a subscriber of 1,024 filters one that thousands of others have too?
void ask_longest_scan(benchmark::State& state) {
    Router router(hash_seed);
    for (uint32_t index = 0; index < 1'024; ++index) router.subscribe(0, topic_name(index));
    for (SubscriberId subscriber = 1; subscriber < 5'000; ++subscriber) {
        router.subscribe(subscriber, "popular");
    }
    for (auto _ : state) benchmark::DoNotOptimize(router.is_subscribed(0, "popular"));
}
BENCHMARK(ask_longest_scan);

void check_publishable(benchmark::State& state) {
    const std::string topic = topic_name(1);
    for (auto _ : state) benchmark::DoNotOptimize(topics::check_publishable(topic));
}
BENCHMARK(check_publishable);

}  // namespace

BENCHMARK_MAIN();
