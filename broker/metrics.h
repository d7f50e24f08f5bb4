// Metrics: what the broker counts, in one table that the code, the documents and the tests share.
//
// Owner: main builds one registry for all shards. Threads: a shard writes its own cells, any shard
// reads all of them when it answers /metrics. A cell has one writer, so plain relaxed loads and
// stores suffice.
#pragma once

#include <atomic>
#include <cstdint>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>

#include "codec/gap.h"
#include "io/reactor.h"

namespace broker {

// X(name, type, help); every one is labelled by shard
#define FANFARE_METRICS(X)                                                                         \
    X(connections, gauge, "Connections that are open now, HTTP ones included.")                    \
    X(connections_refused, gauge,                                                                  \
      "Of these, those that are only there to be told that they are too many.")                    \
    X(websockets, gauge, "Connections that are upgraded to WebSocket now.")                        \
    X(filters, gauge, "Different filters with at least one subscription on the shard.")            \
    X(messages_published_total, counter,                                                           \
      "Messages sequenced by the shard as owner of their partition.")                              \
    X(duplicates_total, counter, "Publishes whose key was known, and which were not repeated.")    \
    X(history_messages, gauge, "Messages kept by the shard as owner of their partition.")          \
    X(history_pages_total, counter, "Pages of history read and encoded for replays.")              \
    X(replayed_messages_total, counter, "Messages queued by replays, each also a delivery.")       \
    X(resumes_total, counter, "Subscriptions that began exactly where their client had been.")     \
    X(resumes_refused_total, counter, "Subscriptions that could not, and began live.")             \
    X(slow_consumers, gauge, "Connections whose queue was full of late.")                          \
    X(slow_consumers_total, counter, "Times that a connection became one of these.")               \
    X(streams_behind, gauge, "Connections whose live stream is read from history, being slow.")    \
    X(streams_behind_total, counter, "Times that a stream fell behind.")                           \
    X(messages_dropped_total, counter, "Messages dropped for one slow subscriber each.")           \
    X(messages_conflated_total, counter,                                                           \
      "Messages replaced by newer ones for one slow subscriber.")                                  \
    X(deliveries_total, counter, "Messages queued to subscribers.")                                \
    X(messages_compressed_total, counter, "Messages compressed, each once for all who share it.")  \
    X(messages_inflated_total, counter, "Compressed messages received.")                           \
    X(received_bytes_total, counter, "Bytes received from clients.")                               \
    X(sent_bytes_total, counter, "Bytes that the kernel took for clients.")                        \
    X(sends_total, counter, "Sends completed.")                                                    \
    X(commands_total, counter, "Commands of the native dialect executed or refused.")              \
    X(errors_total, counter, "Commands that were answered with an error.")                         \
    X(connections_shed_total, counter, "Connections closed because memory was short.")             \
    X(publishes_refused_total, counter, "Publishes refused because memory was short.")             \
    X(is_overloaded, gauge, "1 while further WebSockets are refused for overload.")                \
    X(outbound_bytes, gauge, "Bytes waiting in the queues of all connections.")                    \
    X(pauses_total, counter, "Times that reading from a connection was paused.")                   \
    X(receives_starved_total, counter, "Receives that found no free buffer and were armed again.") \
    X(accept_errors_total, counter, "Accepts that failed for lack of descriptors or memory.")      \
    X(memory_errors_total, counter,                                                                \
      "Receives and sends that the kernel had no memory for, and which are tried again.")          \
    X(completions_overflowed_total, counter,                                                       \
      "Turns in which the kernel had to keep completions because their queue was full.")           \
    X(pings_total, counter, "Heartbeat pings sent.")                                               \
    X(log_lines_dropped_total, counter, "Log lines dropped because the log was full.")             \
    X(turns_total, counter, "Turns of the loop.")                                                  \
    X(events_total, counter, "Kernel completions handled.")

// Families of series that differ by one more label: F(name, type, label, help) begins a family, and
// each C(cell, value) after it is one of its series.
#define FANFARE_METRIC_FAMILIES(F, C)                                                             \
    F(subscriptions, gauge, state, "Subscriptions, pushed to as published or read from history.") \
    C(subscriptions, "live")                                                                      \
    C(subscriptions_catching_up, "catching_up")                                                   \
    F(memory_bytes, gauge, kind, "Memory that grows with what clients do; its sum counts.")       \
    C(chunk_memory_bytes, "chunks")                                                               \
    C(held_bytes, "held")                                                                         \
    C(history_bytes, "history")                                                                   \
    C(reassembly_bytes, "reassembly")

enum class Metric : uint8_t {
#define FANFARE_X(name, type, help) name,
#define FANFARE_F(name, type, label, help)
#define FANFARE_C(cell, value) cell,
    FANFARE_METRICS(FANFARE_X) FANFARE_METRIC_FAMILIES(FANFARE_F, FANFARE_C)
#undef FANFARE_X
#undef FANFARE_F
#undef FANFARE_C
        count,
};

// X(name, help): distributions of times, in seconds, every one labelled by shard.
#define FANFARE_HISTOGRAMS(X)                                                                \
    X(turn_seconds, "Time a turn of the loop works, without the waiting.")                   \
    X(turn_delay_seconds, "How late turns began that had waited until their deadline.")      \
    X(delivery_delay_seconds,                                                                \
      "Age of the oldest bytes of a completed send to a WebSocket, since they were queued.") \
    X(heartbeat_rtt_seconds, "Time from a ping's leaving to the pong that answers it.")

enum class Distribution : uint8_t {
#define FANFARE_X(name, help) name,
    FANFARE_HISTOGRAMS(FANFARE_X)
#undef FANFARE_X
        count,
};

// What clients were refused, or made to wait for, by the setting that says so; label is its name.
// X(name, setting)
#define FANFARE_REFUSALS(X)                               \
    X(connections, "connections-max")                     \
    X(connections_per_address, "connections-per-address") \
    X(upgrade_rate, "upgrade-rate")                       \
    X(proxy_protocol, "proxy-protocol")                   \
    X(handshake_timeout, "handshake-timeout")             \
    X(http_head, "http-head-max")                         \
    X(message, "message-max")                             \
    X(memory, "memory-max")                               \
    X(fragments, "fragments-max")                         \
    X(subscriptions, "subscriptions-max")                 \
    X(command_rate, "command-rate")                       \
    X(publish_rate, "publish-rate")                       \
    X(inbound_rate, "inbound-rate")

enum class Refused : uint8_t {
#define FANFARE_X(name, setting) name,
    FANFARE_REFUSALS(FANFARE_X)
#undef FANFARE_X
        count,
};
std::string_view setting_of(Refused refused);

// Answers to upgrade requests by status; there are no others: what is refused before its path is
// known (414, 431, …) asked for nothing yet.
inline constexpr uint16_t upgrade_statuses[] = {101, 400, 403, 405, 426, 429, 503};
// How connections that were upgraded ended. 1006: without a Close frame in either direction.
inline constexpr uint16_t closed_codes[] = {1000, 1001, 1002, 1003, 1005, 1006, 1007,
                                            1008, 1009, 4100, 4101, 4102, 4200, 0};
// Upper bounds of the buckets of all histograms, in ns: from a turn with nothing to do to the
// timeouts of clients.
inline constexpr uint64_t histogram_bounds_ns[] = {
    10'000,        50'000,        100'000,        250'000,       500'000,
    1'000'000,     2'500'000,     5'000'000,      10'000'000,    25'000'000,
    50'000'000,    100'000'000,   250'000'000,    500'000'000,   1'000'000'000,
    2'500'000'000, 5'000'000'000, 10'000'000'000, 30'000'000'000};

class ShardMetrics {
  public:
    void add(Metric metric, uint64_t amount = 1) {
        bump(cells_[static_cast<uint8_t>(metric)], amount);
    }
    void subtract(Metric metric) { bump(cells_[static_cast<uint8_t>(metric)], UINT64_MAX); }
    void set(Metric metric, uint64_t value) {
        cells_[static_cast<uint8_t>(metric)].store(value, std::memory_order_relaxed);
    }
    uint64_t get(Metric metric) const {
        return cells_[static_cast<uint8_t>(metric)].load(std::memory_order_relaxed);
    }
    void count_upgrade(uint16_t status);
    void count_refusal(Refused refused) { bump(refusals_[static_cast<uint8_t>(refused)], 1); }
    // A code that is not in the table (an application's own, 3000 to 4999) counts as "other".
    void count_closed(uint16_t code);
    void count_gap(codec::GapCode code) { bump(gaps_[static_cast<uint8_t>(code)], 1); }
    void observe(Distribution distribution, uint64_t duration_ns);
    // The same for turn_seconds; /healthz asks when that was.
    void observe_turn(uint64_t now_ns, uint64_t busy_ns);

    uint64_t last_turn_ns() const { return last_turn_ns_.load(std::memory_order_relaxed); }
    uint64_t upgrades(size_t row) const { return upgrades_[row].load(std::memory_order_relaxed); }
    uint64_t refusals(Refused refused) const {
        return refusals_[static_cast<uint8_t>(refused)].load(std::memory_order_relaxed);
    }
    uint64_t closed(size_t row) const { return closed_[row].load(std::memory_order_relaxed); }
    uint64_t gaps(codec::GapCode code) const {
        return gaps_[static_cast<uint8_t>(code)].load(std::memory_order_relaxed);
    }
    // Of a bucket alone, without those below it; the last row is for what is beyond all bounds.
    uint64_t observed(Distribution distribution, size_t row) const {
        return histogram(distribution).buckets[row].load(std::memory_order_relaxed);
    }
    uint64_t observed_ns_sum(Distribution distribution) const {
        return histogram(distribution).sum_ns.load(std::memory_order_relaxed);
    }
    uint64_t observed_count(Distribution distribution) const;

  private:
    using Cell = std::atomic<uint64_t>;
    struct Histogram {
        Cell buckets[std::size(histogram_bounds_ns) + 1] = {};
        Cell sum_ns = 0;
    };
    const Histogram& histogram(Distribution distribution) const {
        return histograms_[static_cast<uint8_t>(distribution)];
    }
    static void bump(Cell& cell, uint64_t amount) {
        cell.store(cell.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
    }

    Cell cells_[static_cast<uint8_t>(Metric::count)] = {};
    Cell upgrades_[std::size(upgrade_statuses)] = {};
    Cell refusals_[static_cast<uint8_t>(Refused::count)] = {};
    Cell closed_[std::size(closed_codes)] = {};
    Cell gaps_[static_cast<uint8_t>(codec::GapCode::count)] = {};
    Histogram histograms_[static_cast<uint8_t>(Distribution::count)] = {};
    Cell last_turn_ns_ = 0;
};

class MetricsRegistry {
  public:
    MetricsRegistry(uint32_t shards_count, std::string version);

    ShardMetrics& shard(io::ShardId id) { return shards_[id]; }
    const ShardMetrics& shard(io::ShardId id) const { return shards_[id]; }
    uint32_t shards_count() const { return shards_count_; }

    // Told by main, now and then.
    void set_kernel_socket_bytes(uint64_t bytes) {
        kernel_socket_bytes_.store(bytes, std::memory_order_relaxed);
    }
    uint64_t kernel_socket_bytes() const {
        return kernel_socket_bytes_.load(std::memory_order_relaxed);
    }

    // All metrics in Prometheus' text format.
    void append_text(std::string& out) const;
    // Whether every shard has finished a turn within the last 5 s before now_ns.
    bool is_healthy(uint64_t now_ns) const;

  private:
    void append_families(std::string& out) const;
    void append_outcomes(std::string& out) const;
    void append_histogram(std::string& out, Distribution distribution) const;

    const uint32_t shards_count_;
    const std::string version_;
    const std::unique_ptr<ShardMetrics[]> shards_;
    std::atomic<uint64_t> kernel_socket_bytes_ = 0;
};

}  // namespace broker
