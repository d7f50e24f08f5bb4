// What a subscriber that does not keep up may be told, and must be.
#include <algorithm>

#include "io/base/units.h"
#include "tests/sim/subscriber.h"

namespace sim {

void Subscriber::stream_gap(const ToldGap& told) {
    const std::string what = "is told of a gap (" + told.code + ") in " + told.filter;
    if (announced_left_ > 0) complain("replay", what + " amid announced messages");
    StreamGaps::Gap gap{.filter = ledger_.filter_number(told.filter),
                        .topic = {},
                        .missed = told.missed,
                        .step = clock_.step,
                        .behind = shared_};
    if (!told.topic.empty()) gap.topic = ledger_.topic_number(told.topic);
    if (told.code == "conflated") {
        gap.code = codec::GapCode::conflated;
    } else if (told.code != "slow_consumer") {
        complain("gap", what + ", which is no code for a live stream");
    }
    const bool is_ours =
        std::any_of(subscriptions_.begin(), subscriptions_.end(), [&](const auto& each) {
            const auto& filters = each.second.filters;
            return each.second.state != State::asked &&
                   std::any_of(filters.begin(), filters.end(),
                               [&](const Filter& own) { return own.number == gap.filter; });
        });
    if (!is_ours) complain("gap", what + ", not its own");
    if (gap.topic && !ledger_.matches(gap.filter, *gap.topic)) {
        complain("gap", what + ", which does not match " + told.topic);
    }
    if (gap.missed == 0) complain("gap", what + " of nothing");
    if (!gap.missed) {
        const bool is_possible =
            gap.code == codec::GapCode::slow_consumer && can_be_lost_behind(gap.filter);
        if (!is_possible) complain("gap", what + " without a number, which is known");
    } else {
        // Several topics are not named.
        uint32_t topics_count = 0;
        for (uint32_t topic = 0; topic < ledger_.topics_count(); ++topic) {
            const bool is_meant = ledger_.matches(gap.filter, topic) &&
                                  (!gap.topic || *gap.topic == topic) &&
                                  can_be_dropped(topic, gap.code);
            if (is_meant) ++topics_count;
        }
        if (topics_count < (gap.topic ? 1u : 2u)) {
            complain("gap", what + ", which no policy says");
        }
    }
    stream_gaps_.add(std::move(gap));
}

bool Subscriber::can_be_dropped(uint32_t topic, codec::GapCode code) const {
    if (ledger_.messages_of(topic).empty()) return false;
    const topics::OnSlow policy = limits_.slow_policy_of(ledger_.topic(topic));
    if (policy == topics::OnSlow::conflate) return true;
    return policy == topics::OnSlow::drop_oldest && code == codec::GapCode::slow_consumer;
}

bool Subscriber::was_asked_for(uint32_t topic) const {
    return std::any_of(filters_ever_.begin(), filters_ever_.end(),
                       [&](uint32_t filter) { return ledger_.matches(filter, topic); });
}

// A loss without a number is told of a stream that is read from history, where something was
// evicted. It may be told in excess, since what is read is shared with others: required is that
// something can have been evicted where the filter looks, and that the stream can have been behind,
// also for a subscription that has ended since.
bool Subscriber::can_be_lost_behind(uint32_t filter) const {
    bool can_be_behind = false;
    bool is_evictable = false;
    for (uint32_t topic = 0; topic < ledger_.topics_count(); ++topic) {
        if (!ledger_.has_history(topic) || ledger_.messages_of(topic).empty()) continue;
        const bool is_catch_up =
            limits_.slow_policy_of(ledger_.topic(topic)) == topics::OnSlow::catch_up;
        can_be_behind = can_be_behind || (is_catch_up && was_asked_for(topic));
        is_evictable = is_evictable ||
                       (ledger_.matches(filter, topic) && ledger_.surely_kept(topic) != UINT64_MAX);
    }
    return can_be_behind && is_evictable;
}

bool Subscriber::can_be_cut_off() const {
    // More than what surrounds a payload, an answer, or the gaps and pings of a moment take.
    constexpr uint64_t small_bytes_max = 1'000;
    constexpr uint64_t history_bytes_max = 2 * 64 * base::kib;
    constexpr uint64_t position_bytes_max = 32;
    bool has_dropping = false;
    for (uint32_t topic = 0; topic < ledger_.topics_count(); ++topic) {
        if (!was_asked_for(topic) || ledger_.messages_of(topic).empty()) continue;
        const topics::OnSlow policy = limits_.slow_policy_of(ledger_.topic(topic));
        if (policy == topics::OnSlow::disconnect) return true;
        has_dropping = has_dropping || policy != topics::OnSlow::catch_up;
    }
    // What waits is queued before an answer that must not overtake it, up to the hard limit.
    if (has_dropping && settles_count_ > 1) return true;
    const uint64_t message_bytes = 6 * ledger_.message_bytes_most() + small_bytes_max;
    const uint64_t answers_bytes =
        commands_count_ * (small_bytes_max + limits_.partitions * position_bytes_max) +
        histories_count_ * (history_bytes_max + message_bytes);
    const uint64_t gaps_bytes = filters_ever_.size() * small_bytes_max;
    return std::max<uint64_t>(limits_.outbound_soft_bytes, message_bytes) + answers_bytes +
               gaps_bytes + small_bytes_max >
           limits_.outbound_hard_bytes;
}

Subscriber::Bounds Subscriber::missing_of(const Subscription& each, uint32_t filter) const {
    Bounds bounds;
    for (uint32_t topic = 0; topic < ledger_.topics_count(); ++topic) {
        if (!ledger_.matches(filter, topic)) continue;
        for (const MessageId message : ledger_.messages_of(topic)) {
            const Ledger::Message& what = ledger_.at(message);
            const bool is_hidden = !what.echo && what.publisher == self_;
            if (what.is_repeat || what.is_refused || is_hidden) continue;
            if (is_covered(each, message)) continue;
            const bool is_before = what.place
                                       ? what.place->offset <= each.from.of(what.place->partition)
                                       : what.acknowledged_step < each.sent_step;
            if (is_before && each.start.kind != Start::Kind::last) continue;
            ++bounds.most;
            const bool is_after =
                what.place && starts_now(each) ? !is_before : what.sent_step > each.subscribed_step;
            if (is_after && what.is_sequenced) ++bounds.least;
        }
    }
    return bounds;
}

std::string Subscriber::miscounted(bool is_at_rest) const {
    for (const auto& [id, each] : subscriptions_) {
        if (each.state != State::live) continue;
        for (const Filter& filter : each.filters) {
            if (filter.is_leaving) continue;
            const StreamGaps::Sum told = stream_gaps_.sum_of(filter.number, each.gaps_before);
            const Bounds missing = missing_of(each, filter.number);
            const bool is_exact = told.is_exact && each.gaps.empty();
            const bool is_too_many = told.messages_count > missing.most;
            const bool is_too_few = is_at_rest && is_exact && told.messages_count < missing.least;
            if (!is_too_many && !is_too_few) continue;
            return name_ + " is told that it missed " + std::to_string(told.messages_count) +
                   " messages of " + ledger_.filter(filter.number) + ", and misses " +
                   std::to_string(missing.least) + " to " + std::to_string(missing.most);
        }
    }
    return {};
}

std::string Subscriber::not_newest() const {
    for (const auto& entry : subscriptions_) {
        const Subscription& each = entry.second;  // for the lambda: clang 14 captures no binding
        if (each.state != State::live) continue;
        for (uint32_t topic = 0; topic < ledger_.topics_count(); ++topic) {
            if (!matches_for_sure(each, topic)) continue;
            // Without positions it is one of the last of each publisher.
            std::map<SessionId, MessageId> newest;
            for (const MessageId message : ledger_.messages_of(topic)) {
                const Ledger::Message& what = ledger_.at(message);
                const bool is_hidden = !what.echo && what.publisher == self_;
                if (!what.is_sequenced || is_hidden) continue;
                const SessionId key = what.place ? UINT32_MAX : what.publisher;
                const auto [last, is_first] = newest.try_emplace(key, message);
                const Ledger::Message& other = ledger_.at(last->second);
                if (is_first || (what.place && what.place->offset < other.place->offset)) continue;
                last->second = message;
            }
            const bool is_fine =
                newest.empty() || std::any_of(newest.begin(), newest.end(), [&](const auto& one) {
                    const Ledger::Message& what = ledger_.at(one.second);
                    const bool is_owed_here = what.place ? is_owed(each, one.second)
                                                         : what.sent_step > each.subscribed_step;
                    return !is_owed_here || is_covered(each, one.second) ||
                           stream_gaps_.excuses_newest(one.second) || is_evicted(each, one.second);
                });
            if (is_fine) continue;
            return name_ + " was told that newer messages took the place of older ones, but of " +
                   ledger_.topic(topic) + " it did not get the newest, " +
                   ledger_.describe(newest.begin()->second);
        }
    }
    return {};
}

}  // namespace sim
