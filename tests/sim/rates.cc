#include "tests/sim/rates.h"

#include <algorithm>

#include "io/base/units.h"
#include "tests/sim/ledger.h"

namespace sim {

double Rates::Bucket::tokens(uint64_t span_ns) const {
    return static_cast<double>(burst) +
           static_cast<double>(per_second) * static_cast<double>(span_ns) / base::ns_per_s;
}

Rates::Bucket Rates::commands() const {
    const uint64_t rate = limits_.commands_per_second;
    const uint64_t to_come_back = 2 * uint64_t{limits_.subscriptions_max};
    return {.per_second = rate, .burst = std::max(rate, to_come_back)};
}

Rates::Bucket Rates::publishes() const {
    const uint64_t rate = limits_.publishes_per_second;
    return {.per_second = rate, .burst = rate, .publishes_only = true};
}

void Rates::complain(const std::string& text) const {
    violated("rates", name_ + " " + text);
}

Rates::Id Rates::asked(Kind kind, bool is_named, uint32_t series) {
    asks_.push_back({.kind = kind, .series = series, .asked_ns = clock_.now_ns});
    if (!is_named) ++unnamed_count_;
    if (kind == Kind::control) ++controls_count_;
    return static_cast<Id>(asks_.size() - 1);
}

bool Rates::is_behind_refused(const Ask& ask, Id id) const {
    const auto first = first_refused_.find(ask.series);
    return ask.series != 0 && first != first_refused_.end() && first->second < id;
}

void Rates::done(Id id) {
    if (is_behind_refused(asks_[id], id)) {
        complain("has its ask " + std::to_string(id) + " done past a refused one of its series");
    }
    asks_[id].is_done = true;
    asks_[id].done_by_ns = clock_.now_ns;
}

void Rates::refused(Id id, uint64_t retry, Unit unit) {
    Ask& ask = asks_[id];
    const bool is_publish = ask.kind == Kind::publish;
    if (!is_behind_refused(ask, id) && !can_be_empty(commands(), id) &&
        !(is_publish && can_be_empty(publishes(), id))) {
        complain("is refused its ask " + std::to_string(id) + " although it asks slowly enough");
    }
    ask.is_refused = true;
    first_refused_.try_emplace(ask.series, id);
    check_wait(retry, unit);
    count_refusal(ask.asked_ns);
}

void Rates::refused_unnamed(uint64_t retry_ms) {
    if (unnamed_count_ == 0) complain("is refused something that it did not ask");
    --unnamed_count_;
    check_wait(retry_ms, Unit::milliseconds);
    count_refusal(asks_.front().asked_ns);
}

// Goes back from the refusal, and asks of each stretch whether it can have emptied the bucket.
bool Rates::can_be_empty(const Bucket& bucket, Id id) const {
    if (bucket.per_second == 0) return false;
    // Control frames may stand between the fragments of a message, and so before what was noted
    // before them.
    uint64_t taken = 1 + static_cast<uint64_t>(std::count_if(
                             asks_.begin() + id, asks_.end(),
                             [](const Ask& ask) { return ask.kind == Kind::control; }));
    if (bucket.publishes_only) taken = 1;
    uint64_t begun_by_ns = clock_.now_ns;
    const uint64_t refused_ns = asks_[id].asked_ns;
    // Rates below one per second are not to be had, so there is always a first token.
    for (Id first = id; first > 0; --first) {
        const Ask& ask = asks_[first - 1];
        if (!ask.is_refused && bucket.counts(ask.kind)) ++taken;
        begun_by_ns = std::min(begun_by_ns, ask.done_by_ns);
        const uint64_t span_ns = refused_ns - std::min(refused_ns, begun_by_ns);
        // A token costs up to 1 ns too much, so what the rate gives is a little less.
        if (static_cast<double>(taken) > bucket.tokens(span_ns - span_ns / 1'000'000)) return true;
    }
    return false;
}

void Rates::check_wait(uint64_t retry, Unit unit) const {
    uint64_t slowest = UINT64_MAX;
    for (const Bucket& bucket : {commands(), publishes()}) {
        if (bucket.per_second > 0) slowest = std::min(slowest, bucket.per_second);
    }
    const uint64_t units = unit == Unit::seconds ? 1 : 1'000;
    const uint64_t retry_max = (units + slowest - 1) / slowest;
    if (retry >= 1 && retry <= retry_max) return;
    complain("is told to come again after " + std::to_string(retry) +
             (unit == Unit::seconds ? " s" : " ms"));
}

void Rates::count_refusal(uint64_t asked_ns) {
    if (refusals_count_ == 0) refusable_since_ns_ = asked_ns;
    ++refusals_count_;
    const uint64_t span_ns = clock_.now_ns - refusable_since_ns_;
    const uint64_t forgiven = refusals_burst + refusals_per_second * span_ns / base::ns_per_s;
    // The last one is told, and then the connection is closed.
    if (refusals_count_ > forgiven + 1) complain("goes on and on, and is not closed");
}

void Rates::closed_for_rate() const {
    // Control frames that were refused were not told so.
    if (refusals_count_ + controls_count_ > refusals_burst) return;
    complain("is closed with 4101 after " + std::to_string(refusals_count_) + " refusals");
}

void Rates::audit() const {
    audit(commands());
    audit(publishes());
}

void Rates::audit(const Bucket& bucket) const {
    if (bucket.per_second == 0) return;
    for (Id last = 0; last < asks_.size(); ++last) {
        if (!asks_[last].is_done) continue;
        uint64_t done_count = 0;
        for (Id first = last + 1; first > 0; --first) {
            const Ask& ask = asks_[first - 1];
            if (!ask.is_done || !bucket.counts(ask.kind)) continue;
            ++done_count;
            const uint64_t span_ns = asks_[last].done_by_ns - ask.asked_ns;
            if (static_cast<double>(done_count) <= bucket.tokens(span_ns)) continue;
            complain("had " + std::to_string(done_count) + " asks done, from " +
                     std::to_string(first - 1) + " to " + std::to_string(last) +
                     ", more than its rate allows");
        }
    }
}

}  // namespace sim
