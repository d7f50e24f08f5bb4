#include "tests/sim/peer.h"

#include <algorithm>

#include "io/base/check.h"

namespace sim {

namespace {

std::span<const uint8_t> bytes_of(std::string_view text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

}  // namespace

void Wire::open(io::ShardId shard, const ConnectionOptions& options) {
    CHECK(!is_open());
    id_ = network_.connect(shard, options);
    is_finishing_ = false;
    is_finished_ = false;
}

void Wire::flush(uint64_t bytes_max) {
    if (is_finished_) outgoing_.clear();
    const std::string_view wanted = std::string_view(outgoing_).substr(0, bytes_max);
    if (!wanted.empty()) outgoing_.erase(0, network_.write(id_, bytes_of(wanted)));
    if (is_finishing_ && outgoing_.empty() && !is_finished_) {
        is_finished_ = true;
        network_.finish(id_);
    }
}

void Wire::read(std::string& incoming, uint64_t bytes_max) {
    uint8_t piece[4'096];
    while (bytes_max > 0) {
        const uint32_t taken =
            network_.read(id_, std::span(piece).first(std::min<uint64_t>(bytes_max, sizeof piece)));
        if (taken == 0) return;
        incoming.append(reinterpret_cast<const char*>(piece), taken);
        bytes_max -= taken;
    }
}

bool Wire::is_over() const {
    const Connection& connection = network_.at(id_);
    if (connection.to_peer.readable_bytes(network_.clock().now_ns) > 0) return false;
    return network_.is_at_end(id_) || network_.is_broken(id_);
}

void Wire::finish() {
    is_finishing_ = true;
    flush(0);
}

void Wire::forget() {
    id_ = no_connection;
    outgoing_.clear();
}

void Wire::close() {
    network_.peer_close(id_);
    forget();
}

void Wire::reset() {
    network_.reset(id_);
    forget();
}

void Wire::vanish() {
    network_.vanish(id_);
    forget();
}

const std::vector<std::string>& topics_alphabet() {
    static const std::vector<std::string> topics = {
        "a", "a/b", "a/b/c", "a/c", "b", "b/a", "b/b/a", "a//c", "news/\xc3\xbc", "c/d/e/f/g/h"};
    return topics;
}

const std::vector<std::string>& filters_alphabet() {
    static const std::vector<std::string> filters = {
        "a",     "a/b",           "a/b/c",     "b",     "b/a", "#",     "+",
        "a/#",   "a/+",           "+/b",       "+/b/#", "+/+", "+/+/+", "a/+/c",
        "b/b/a", "news/\xc3\xbc", "c/d/+/f/#", "+/a"};
    return filters;
}

void Peer::connect() {
    const Scenario& scenario = around_.scenario;
    ConnectionOptions options;
    options.to_broker_bytes =
        static_cast<uint32_t>(prng_.between(scenario.pipe_bytes_min, scenario.pipe_bytes_max));
    options.to_peer_bytes =
        static_cast<uint32_t>(prng_.between(scenario.pipe_bytes_min, scenario.pipe_bytes_max));
    options.latency_ns = prng_.between(1, scenario.latency_ns_max);
    wire_.open(static_cast<io::ShardId>(prng_.below(scenario.shards_count)), options);
    trace("connects as connection " + std::to_string(wire_.id()) + " to shard " +
          std::to_string(around_.network.at(wire_.id()).shard));
}

const std::string& Peer::any_topic() {
    return topics_alphabet()[prng_.below(topics_alphabet().size())];
}

const std::string& Peer::any_filter() {
    return filters_alphabet()[prng_.below(filters_alphabet().size())];
}

}  // namespace sim
