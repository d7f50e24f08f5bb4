#include "broker/pacing.h"

#include <algorithm>

namespace broker {

Pacing::Pacing(const Settings& settings, ShardMetrics& metrics)
    : commands_(TokenRate::one_by_one(
          settings.commands_per_second,
          std::max(settings.commands_per_second, 2 * settings.subscriptions_max))),
      publishes_(
          TokenRate::one_by_one(settings.publishes_per_second, settings.publishes_per_second)),
      bytes_(settings.inbound_bytes_per_second, settings.inbound_bytes_per_second),
      refusals_(TokenRate::one_by_one(refusals_per_second, refusals_burst)),
      metrics_(metrics) {}

Pace& Pacing::pace_of(Holder& pace) {
    if (pace == nullptr) pace = std::make_unique<Pace>();
    return *pace;
}

uint64_t Pacing::wait_ns(const Holder& pace, Kind kind, uint32_t series, uint64_t now_ns) const {
    if (pace == nullptr) return 0;
    const uint64_t command_ns = pace->commands.wait_ns(commands_, 1, now_ns);
    if (kind == Kind::command) return command_ns;
    const bool is_broken = series != 0 && series == pace->broken_series;
    return std::max({command_ns, pace->publishes.wait_ns(publishes_, 1, now_ns),
                     is_broken ? broken_series_wait_ns : 0});
}

void Pacing::done(Holder& pace, Kind kind, uint64_t now_ns) const {
    if (!limits_commands()) return;
    pace_of(pace).commands.charge(commands_, 1, now_ns);
    if (kind == Kind::publish) pace_of(pace).publishes.charge(publishes_, 1, now_ns);
}

bool Pacing::refused(Holder& pace, Kind kind, uint32_t series, uint64_t now_ns) const {
    if (series != 0) pace_of(pace).broken_series = series;
    const bool is_publish =
        kind == Kind::publish && pace_of(pace).commands.wait_ns(commands_, 1, now_ns) == 0;
    metrics_.count_refusal(is_publish ? Refused::publish_rate : Refused::command_rate);
    return !pace_of(pace).refusals.take(refusals_, 1, now_ns);
}

uint64_t Pacing::return_ns() const {
    const uint64_t full_ns = std::max(commands_.burst_ns(), publishes_.burst_ns());
    return std::clamp(full_ns, base::ns_per_s, 60 * base::ns_per_s);
}

void Pacing::received(Holder& pace, uint64_t bytes, uint64_t now_ns) const {
    if (limits_bytes()) pace_of(pace).bytes.charge(bytes_, bytes, now_ns);
}

uint64_t Pacing::unread_ns(const Holder& pace, uint64_t now_ns) const {
    return pace == nullptr ? 0 : pace->bytes.wait_ns(bytes_, 0, now_ns);
}

}  // namespace broker
