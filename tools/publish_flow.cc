#include "tools/publish_flow.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "codec/command.h"
#include "io/base/check.h"

namespace tools {

namespace {

constexpr std::string_view series_member = ",\"series\":";

}  // namespace

void PublishFlow::connected(uint64_t publishes_per_second) {
    for (const auto& [id, command] : commands_) unsent_.insert(id);
    is_held_ = false;
    refused_since_ns_ = 0;  // while there was no connection, nothing was refused
    pace_at_ns_ = 0;        // the connection's bucket is full
    is_told_ = is_limited_ = publishes_per_second > 0;
    if (is_told_) keep_to(publishes_per_second);
}

void PublishFlow::keep_to(uint64_t publishes_per_second) {
    interval_ns_ = (base::ns_per_s + publishes_per_second - 1) / publishes_per_second;
    const uint64_t burst = std::max<uint64_t>(1, publishes_per_second / 2);
    lead_ns_ = (burst - 1) * interval_ns_;
}

uint32_t PublishFlow::added_bytes_max() const {
    constexpr uint32_t number_bytes_max = 10;
    static_assert(codec::command_series_max < 10'000'000'000);
    return is_told_ ? static_cast<uint32_t>(series_member.size()) + number_bytes_max : 0;
}

void PublishFlow::add(uint64_t id, std::string command) {
    CHECK(commands_.empty() || commands_.rbegin()->first < id);
    CHECK(command.ends_with('}'));
    unsent_.insert(id);
    commands_.emplace(id, std::move(command));
}

void PublishFlow::confirmed(uint64_t id) {
    given_up(id);
    refused_since_ns_ = 0;
    backoff_.reset();
}

void PublishFlow::given_up(uint64_t id) {
    unsent_.erase(id);
    commands_.erase(id);
}

void PublishFlow::rate_limited(uint64_t id, uint64_t retry_ns, uint64_t now_ns) {
    if (!commands_.contains(id)) return;
    unsent_.insert(id);
    if (refused_since_ns_ == 0) refused_since_ns_ = now_ns;
    if (is_held_) return;  // it was sent before the first of them was refused
    is_held_ = true;
    if (!is_limited_) {
        // The broker did not tell its rate, and its answer is all there is to go by.
        is_limited_ = true;
        interval_ns_ = retry_ns;
        lead_ns_ = 0;
    }
    held_until_ns_ = now_ns + (retry_ns > 0 ? retry_ns : backoff_.next_ns(0));
    pace_at_ns_ = held_until_ns_ + lead_ns_;  // the bucket is empty
}

std::optional<std::string> PublishFlow::next(uint64_t now_ns) {
    if (unsent_.empty() || next_at_ns() > now_ns) return std::nullopt;
    if (std::exchange(is_held_, false)) series_ = series_ % codec::command_series_max + 1;
    const uint64_t id = *unsent_.begin();
    unsent_.erase(unsent_.begin());
    std::string command = commands_.at(id);
    if (is_limited_) pace_at_ns_ = std::max(pace_at_ns_, now_ns) + interval_ns_;
    if (!is_told_) return command;
    command.pop_back();
    return command.append(series_member).append(std::to_string(series_)).append("}");
}

uint64_t PublishFlow::next_at_ns() const {
    if (unsent_.empty()) return base::never_ns;
    const bool has_out = unsent_.size() < commands_.size();
    if (is_held_ && has_out) return base::never_ns;  // until that is answered
    const uint64_t paced_ns = pace_at_ns_ - std::min(pace_at_ns_, lead_ns_);
    return std::max(is_limited_ ? paced_ns : 0, is_held_ ? held_until_ns_ : 0);
}

}  // namespace tools
