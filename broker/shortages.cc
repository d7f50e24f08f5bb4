#include "broker/shortages.h"

#include <algorithm>
#include <string>

namespace broker {

namespace {

// What the log says when it begins, and when it is over; and what is counted.
struct Words {
    std::string_view begun;
    std::string_view over;
    std::string_view counted = "times";
};

constexpr Words words[] = {
    {"cannot accept connections; trying again until it works", "accepting connections again"},
    {"the kernel has no memory to receive with; trying again until it has", "receiving again"},
    {"the kernel has no memory to send with; trying again until it has", "sending again"},
    {"the queue of completions was full; the kernel keeps what does not fit, which is slower",
     "the queue of completions suffices again"},
    {"memory is nearly used up; closing those that hold the most of it", "memory suffices again",
     "closed"},
    {"memory is used up; refusing connections, requests and publishes",
     "taking connections, requests and publishes again", "refused"},
};

}  // namespace

Shortages::Shortages(const Parts& parts, io::ShardId shard, uint16_t listeners_count)
    : parts_(parts),
      shard_(shard),
      listeners_count_(listeners_count),
      listener_failed_(listeners_count, false) {}

void Shortages::accept_failed(uint16_t listener, int32_t result) {
    parts_.metrics.add(Metric::accept_errors_total);
    failed(Kind::accept, result);
    listener_failed_[listener] = true;
    accept_retry_at_ns_ = parts_.reactor.now_ns() + accept_retry_ns;
}

void Shortages::receive_failed(base::Slot slot, Connection& connection, int32_t result) {
    parts_.metrics.add(Metric::memory_errors_total);
    failed(Kind::receive, result);
    connection.recv_starved = true;
    receives_.push(slot);
    retry_at_ns_ = std::min(retry_at_ns_, parts_.reactor.now_ns() + retry_ns);
}

void Shortages::send_failed(base::Slot slot, int32_t result) {
    parts_.metrics.add(Metric::memory_errors_total);
    failed(Kind::send, result);
    sends_.push(slot);
    retry_at_ns_ = std::min(retry_at_ns_, parts_.reactor.now_ns() + retry_ns);
}

void Shortages::shed(uint64_t held_bytes) {
    happened(Kind::shed, 1, {"used_bytes", std::to_string(parts_.memory.used_bytes())});
    episode_of(Kind::shed).bytes += held_bytes;
}

void Shortages::failed(Kind kind, int32_t result) {
    happened(kind, 1, {"errno", std::to_string(-result)});
}

void Shortages::happened(Kind kind, uint64_t count, const LogField& detail) {
    Episode& episode = episode_of(kind);
    episode.last_ns = parts_.reactor.now_ns();
    quiet_at_ns_ = std::min(quiet_at_ns_, episode.last_ns + quiet_ns);
    const bool is_first = episode.count == 0;
    episode.count += count;
    if (!is_first) return;
    episode.began_ns = episode.last_ns;
    log(LogLevel::warn, words[static_cast<uint8_t>(kind)].begun, {detail});
}

void Shortages::look_at_memory() {
    const uint64_t refusals = parts_.metrics.refusals(Refused::memory);
    if (refusals != refusals_seen_) {
        happened(Kind::refused, refusals - refusals_seen_,
                 {"used_bytes", std::to_string(parts_.memory.used_bytes())});
        refusals_seen_ = refusals;
    }
    const uint64_t now_ns = parts_.reactor.now_ns();
    if (parts_.memory.level() != MemoryBudget::Level::calm) episode_of(Kind::shed).last_ns = now_ns;
    if (parts_.memory.is_full()) episode_of(Kind::refused).last_ns = now_ns;
}

void Shortages::tend(bool is_accepting) {
    const uint64_t now_ns = parts_.reactor.now_ns();
    const uint64_t overflows = parts_.reactor.overflows_count();
    if (overflows != overflows_seen_) {
        parts_.metrics.add(Metric::completions_overflowed_total, overflows - overflows_seen_);
        overflows_seen_ = overflows;
        failed(Kind::completions, 0);
    }
    look_at_memory();
    if (now_ns >= accept_retry_at_ns_) accepts_retry(is_accepting);
    if (now_ns >= retry_at_ns_) {
        receives_retry();
        sends_retry();
        const bool is_done = receives_.is_empty() && sends_.is_empty();
        retry_at_ns_ = is_done ? base::never_ns : now_ns + retry_ns;
    }
    if (now_ns >= quiet_at_ns_) say_what_is_over();
}

uint64_t Shortages::next_deadline_ns() const {
    return std::min({accept_retry_at_ns_, retry_at_ns_, quiet_at_ns_});
}

void Shortages::accepts_retry(bool is_accepting) {
    accept_retry_at_ns_ = base::never_ns;
    if (!is_accepting) return;
    for (uint16_t listener = 0; listener < listeners_count_; ++listener) {
        if (listener_failed_[listener]) parts_.reactor.accept_start(listener);
        listener_failed_[listener] = false;
    }
}

void Shortages::receives_retry() {
    const size_t count = std::min<size_t>(receives_.count(), retries_per_round_max);
    for (size_t step = 0; step < count; ++step) {
        const base::Slot slot = receives_.pop();
        Connection* connection = parts_.connections.find(slot);
        if (connection == nullptr) continue;
        connection->recv_starved = false;
        parts_.lifecycle.read_on(slot);
    }
}

void Shortages::sends_retry() {
    const size_t count = std::min<size_t>(sends_.count(), retries_per_round_max);
    for (size_t step = 0; step < count; ++step) {
        const base::Slot slot = sends_.pop();
        if (parts_.connections.find(slot) != nullptr) parts_.outbox.send_again(slot);
    }
}

void Shortages::say_what_is_over() {
    const uint64_t now_ns = parts_.reactor.now_ns();
    quiet_at_ns_ = base::never_ns;
    for (uint8_t kind = 0; kind < static_cast<uint8_t>(Kind::count); ++kind) {
        Episode& episode = episodes_[kind];
        if (episode.count == 0) continue;
        if (now_ns < episode.last_ns + quiet_ns) {
            quiet_at_ns_ = std::min(quiet_at_ns_, episode.last_ns + quiet_ns);
            continue;
        }
        const uint64_t lasted_ms = (episode.last_ns - episode.began_ns) / base::ns_per_ms;
        const LogField counted{words[kind].counted, std::to_string(episode.count)};
        const LogField lasted{"ms", std::to_string(lasted_ms)};
        if (Kind{kind} == Kind::shed) {
            log(LogLevel::info, words[kind].over,
                {counted, {"bytes", std::to_string(episode.bytes)}, lasted});
        } else {
            log(LogLevel::info, words[kind].over, {counted, lasted});
        }
        episode = Episode{};
    }
}

void Shortages::log(LogLevel level, std::string_view message,
                    std::initializer_list<LogField> fields) {
    if (!parts_.log.write(shard_, level, parts_.reactor.now_ns(), message, fields)) {
        parts_.metrics.add(Metric::log_lines_dropped_total);
    }
}

}  // namespace broker
