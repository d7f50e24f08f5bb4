#include "tests/sim/subscriber.h"

#include <algorithm>

#include "io/base/units.h"
#include "tests/sim/payloads.h"
#include "tests/sim/peer.h"

namespace sim {

namespace {

// How old an answer to "the newest" may be: the broker keeps what it has read for a second, and a
// core that is kept from its shard delays it.
constexpr uint64_t newest_age_ns_max = 3 * base::ns_per_s;

bool has_wildcard(std::string_view filter) {
    return filter.find('+') != std::string_view::npos || filter.find('#') != std::string_view::npos;
}

}  // namespace

void check_recovery(const std::string& what, const Start& start,
                    const std::optional<Recovery>& recovery, bool can_be_evicted,
                    bool can_be_ignored) {
    const bool is_asked = start.kind == Start::Kind::after;
    if (recovery.has_value() != is_asked) {
        violated("resume", what + (is_asked ? " is not told whether it is exact"
                                            : " is told whether it is exact"));
    }
    if (!is_asked) return;
    const std::string& code = recovery->code;
    const std::string answer = recovery->is_recovered ? "recovered" : code;
    const bool is_right = [&] {
        if (start.lie == Start::Lie::foreign_epoch) return answer == "epoch_changed";
        if (answer == "evicted") return can_be_evicted;
        if (start.lie == Start::Lie::none) return answer == "recovered";
        return answer == "invalid_position" || (answer == "recovered" && can_be_ignored);
    }();
    if (!is_right) {
        violated("resume", what + " after " + describe(start.after.cursor) + " of epoch " +
                               start.after.epoch + " was answered with " + answer);
    }
}

// Subscribing -------------------------------------------------------------------------------------

Subscriber::Id Subscriber::subscribe_sent(const std::vector<std::string>& filters,
                                          const Start& start) {
    const Id id = ids_count_++;
    Subscription& each = subscriptions_[id];
    each.start = start;
    each.sent_step = clock_.step;
    each.sent_ns = clock_.now_ns;
    each.sent_at = delivered_count_;
    for (const std::string& filter : filters) {
        each.filters.push_back({.number = ledger_.filter_number(filter)});
        filters_ever_.insert(each.filters.back().number);
    }
    ++settles_count_;
    asked_.push_back(id);
    return id;
}

void Subscriber::subscribe_refused(Id id) {
    subscriptions_.erase(id);
    std::erase(asked_, id);
}

void Subscriber::subscribed(Id id, const SubscribedAnswer& answer) {
    if (running_ != none) complain("replay", "is subscribed while a replay runs");
    for (const Id earlier : asked_) {
        if (earlier == id) break;
        // What starts now may overtake what starts now.
        if (starts_now(subscriptions_.at(id)) && starts_now(subscriptions_.at(earlier))) continue;
        complain("answers", "is answered a subscription before an earlier one");
    }
    std::erase(asked_, id);
    Subscription& each = subscriptions_.at(id);
    check_epoch(answer.cursor);
    check_recoverable(each, answer.is_recoverable);
    check_recovery(name_ + "'s resume", each.start, answer.recovery, can_be_evicted(each),
                   can_be_ignored(each));
    each.subscribed_step = clock_.step;
    each.gaps_before = stream_gaps_.count();
    each.answered_at = each.since = delivered_count_;
    each.from = answer.cursor.cursor;
    if (each.start.kind == Start::Kind::now) {
        each.state = State::live;
        share(each.from);
        return;
    }
    each.state = State::running;
    running_ = id;
    if (each.start.kind == Start::Kind::last) return;
    each.own = each.from;
    each.is_refused_resume = !answer.recovery->is_recovered;
    if (each.is_refused_resume) return;
    // The join lies somewhere between the question and the answer. What a live filter delivered
    // between the two may be replayed or not.
    each.since = each.sent_at;
    const Cursor& asked = each.start.after.cursor;
    for (const auto& [partition, offset] : each.from.offsets()) {
        if (asked.of(partition) == offset) continue;
        complain("resume", "resumes after " + sim::describe(asked) + " and is answered " +
                               sim::describe(each.from));
    }
    for (const auto& [partition, offset] : asked.offsets()) {
        if (each.from.of(partition) == offset) continue;
        // Only what the filters cannot match may be left out.
        if (!concerns(each, partition)) continue;
        complain("resume", "resumes after " + sim::describe(asked) + " and is answered " +
                               sim::describe(each.from));
    }
}

bool Subscriber::concerns(const Subscription& each, uint32_t partition) const {
    for (uint32_t topic = 0; topic < ledger_.topics_count(); ++topic) {
        if (ledger_.partition_of(topic) == partition && matches(each, topic)) return true;
    }
    return false;
}

void Subscriber::check_epoch(const ToldCursor& cursor) const {
    if (cursor.epoch != epoch_) complain("positions", "is told another epoch than it was welcomed");
    for (const auto& [partition, offset] : cursor.cursor.offsets()) {
        if (partition < limits_.partitions && offset <= ledger_.messages_with_history_count()) {
            continue;
        }
        complain("positions",
                 "is told an impossible cursor, " + sim::describe(Place{partition, offset}));
    }
}

void Subscriber::check_recoverable(const Subscription& each, bool is_recoverable) const {
    bool is_kept = true;  // every topic that anybody uses
    bool is_exact = true;
    for (const Filter& filter : each.filters) {
        const std::string& text = ledger_.filter(filter.number);
        const bool is_topic = !has_wildcard(text);
        is_exact = is_exact && is_topic;
        if (is_topic && limits_.history_rule_of(text) == nullptr) is_kept = false;
        for (const std::string& topic : topics_alphabet()) {
            const bool is_lost = limits_.history_rule_of(topic) == nullptr;
            if (is_lost && filter_matches(text, topic)) is_kept = false;
        }
    }
    const auto& rules = limits_.history_rules;
    const bool is_all_kept = !rules.empty() && rules.back().match == "#" &&
                             std::all_of(rules.begin(), rules.end(), [](const HistoryRule& rule) {
                                 return rule.messages_max > 0;
                             });
    if (is_recoverable && !is_kept) complain("resume", "is wrongly told: recoverable");
    if (!is_recoverable && is_kept && (is_exact || is_all_kept)) {
        complain("resume", "is wrongly told: not recoverable");
    }
}

bool Subscriber::can_be_evicted(const Subscription& each) const {
    for (uint32_t topic = 0; topic < ledger_.topics_count(); ++topic) {
        if (!ledger_.has_history(topic) || !matches(each, topic)) continue;
        if (ledger_.surely_kept(topic) != UINT64_MAX) return true;
    }
    return false;
}

bool Subscriber::can_be_evicted_since(uint32_t topic, const Subscription& each) const {
    const uint64_t kept = ledger_.surely_kept(topic);
    // By time or for want of memory: whenever it likes.
    if (kept == 0 || kept == UINT64_MAX) return kept == 0;
    // By number: only when something was published since it was said that nothing is missing.
    const auto& messages = ledger_.messages_of(topic);
    return std::any_of(messages.begin(), messages.end(), [&](MessageId message) {
        const Ledger::Message& what = ledger_.at(message);
        return !what.is_sequenced || what.sequenced_by_ns >= each.sent_ns;
    });
}

bool Subscriber::can_be_ignored(const Subscription& each) const {
    for (const auto& [partition, offset] : each.start.after.cursor.offsets()) {
        if (partition >= limits_.partitions) return false;
        if (offset <= ledger_.messages_with_history_count()) continue;
        for (const Filter& filter : each.filters) {
            const std::string& text = ledger_.filter(filter.number);
            if (has_wildcard(text)) return false;
            if (ledger_.partition_of(ledger_.topic_number(text)) == partition) return false;
        }
    }
    return true;
}

void Subscriber::unsubscribe_sent(const std::vector<std::string>& filters) {
    ++settles_count_;
    mark_leaving(filters, true);
}

void Subscriber::unsubscribe_refused(const std::vector<std::string>& filters) {
    mark_leaving(filters, false);
}

void Subscriber::mark_leaving(const std::vector<std::string>& filters, bool is_leaving) {
    for (const std::string& filter : filters) {
        const uint32_t number = ledger_.filter_number(filter);
        for (auto& [id, each] : subscriptions_) {
            for (Filter& own : each.filters) {
                if (own.number == number) own.is_leaving = is_leaving;
            }
        }
    }
}

void Subscriber::unsubscribed(const std::vector<std::string>& filters) {
    if (announced_left_ > 0) complain("replay", "gets something amid announced messages");
    for (const std::string& filter : filters) {
        const uint32_t number = ledger_.filter_number(filter);
        for (auto& [id, each] : subscriptions_) {
            std::erase_if(each.filters, [&](const Filter& own) {
                return own.number == number && own.is_leaving;
            });
        }
    }
    std::erase_if(subscriptions_, [this](const auto& each) {
        if (!each.second.filters.empty()) return false;
        if (each.second.state == State::asked) {
            complain("answers", "gives up what it was not answered yet");
        }
        if (each.first == running_) running_ = none;
        return true;
    });
}

// Deliveries --------------------------------------------------------------------------------------

Subscriber::Arrival Subscriber::delivered(MessageId message) {
    ++delivered_count_;
    if (announced_left_ == 0) {
        pushed(message);
        return Arrival::pushed;
    }
    announced(message);
    --announced_left_;
    return Arrival::announced;
}

void Subscriber::announced(MessageId message) {
    const Ledger::Message& each = ledger_.at(message);
    const std::string what = "got in a replay " + ledger_.describe(message);
    Subscription& own = subscriptions_.at(running_);
    if (!each.place) complain("replay", what + ", which has no position");
    if (!matches(own, each.topic)) complain("replay", what + ", which its filters do not match");
    if (!own.replayed.insert(message).second) complain("P3", what + " a second time");
    replayed_.insert(message);
    const auto before = pushed_.find(message);
    if (before != pushed_.end() && before->second >= own.answered_at) {
        complain("P3", what + ", which had come live after the join");
    }
    if (!each.echo && each.publisher == self_ && each.sent_step > own.subscribed_step) {
        complain("P1", what + " although echo was false");
    }
    const auto [partition, offset] = *each.place;
    if (offset <= own.own.of(partition)) {
        complain("replay", what + ", but had come as far as " +
                               sim::describe(Place{partition, own.own.of(partition)}));
    }
    own.first_replayed.try_emplace(each.topic, offset);
    check_passed(own, partition, own.own.of(partition), offset - 1);
    own.own.raise(*each.place);
    if (own.start.kind != Start::Kind::last || offset > own.from.of(partition)) return;
    // "The newest" may be as of a moment ago; what has come since then comes in addition.
    const auto& messages = ledger_.messages_of(each.topic);
    const auto fresh_count = std::count_if(messages.begin(), messages.end(), [&](MessageId other) {
        const Ledger::Message& what_else = ledger_.at(other);
        return what_else.place && what_else.sequenced_by_ns + newest_age_ns_max > own.sent_ns;
    });
    if (!clock_.has_jumped && ++own.replayed_below_join[each.topic] >
                                  own.start.last + static_cast<uint64_t>(fresh_count)) {
        complain("replay", what + ", more than it had asked for");
    }
}

void Subscriber::pushed(MessageId message) {
    const Ledger::Message& each = ledger_.at(message);
    const std::string what = "got " + ledger_.describe(message);
    const bool is_catching_up =
        running_ != none && matches(subscriptions_.at(running_), each.topic);
    if (!has_live(each.topic) && (each.place || !is_catching_up)) {
        complain("P1", what + " without a subscription");
    }
    if (!each.echo && each.publisher == self_) complain("P1", what + " although echo was false");
    if (pushed_.contains(message) || replayed_.contains(message)) {
        complain("P3", what + " a second time");
    }
    pushed_[message] = delivered_count_ - 1;
    if (!each.place) return;
    const auto [partition, offset] = *each.place;
    if (offset <= shared_.of(partition)) {
        complain("stream rule", what + ", but had come as far as " +
                                    sim::describe(Place{partition, shared_.of(partition)}));
    }
    Cursor moved;
    moved.raise(*each.place);
    share(moved);
    stream_gaps_.pushed(each.topic, *each.place);
}

void Subscriber::share(const Cursor& cursor) {
    for (const auto& [partition, offset] : cursor.offsets()) {
        for (const auto& [id, each] : subscriptions_) {
            if (each.state != State::live) continue;
            check_passed(each, partition, shared_.of(partition), offset);
        }
    }
    shared_.raise(cursor);
}

void Subscriber::replay(Id id, uint64_t messages_count) {
    if (id != running_) complain("replay", "gets a replay that does not run");
    if (announced_left_ > 0) complain("replay", "gets a replay amid another");
    if (messages_count == 0) complain("replay", "gets a replay of nothing");
    if (subscriptions_.at(id).is_refused_resume) complain("replay", "gets one after all");
    announced_left_ = messages_count;
}

void Subscriber::live(Id id, const ToldCursor& cursor) {
    if (id != running_) complain("replay", "goes live without a replay");
    if (announced_left_ > 0) complain("replay", "goes live amid announced messages");
    check_epoch(cursor);
    Subscription& each = subscriptions_.at(id);
    for (const auto& [partition, offset] : each.own.offsets()) {
        const uint64_t reached = cursor.cursor.of(partition);
        // What only filters matched that were given up is none of its business any more.
        const bool is_gone = reached == 0 && !concerns(each, partition);
        if (reached >= offset || is_gone) continue;
        complain("replay", "goes live at " + sim::describe(cursor.cursor) + " but has come to " +
                               sim::describe(Place{partition, offset}));
    }
    running_ = none;
    each.state = State::live;
    // What the others share holds for this one too from now on.
    Cursor reached = shared_;
    reached.raise(cursor.cursor);
    for (const auto& [partition, offset] : reached.offsets()) {
        check_passed(each, partition, each.own.of(partition), offset);
    }
    if (each.start.kind == Start::Kind::last) check_newest(each);
    share(cursor.cursor);
}

void Subscriber::replay_gap(Id id, const ToldGap& told) {
    const auto& [filter, topic, missed, code] = told;
    if (id != running_) complain("gap", "is told of a gap although no replay runs");
    if (code != "evicted") complain("gap", "is told of a gap of its replay by the code " + code);
    if (missed) complain("gap", "is told how much its replay lost, which nobody knows");
    if (announced_left_ > 0) complain("replay", "is told of a gap amid announced messages");
    Subscription& each = subscriptions_.at(id);
    Gap gap{.filter = ledger_.filter_number(filter), .step = clock_.step, .behind = each.own};
    if (!topic.empty()) gap.topic = ledger_.topic_number(topic);
    const bool is_ours = std::any_of(each.filters.begin(), each.filters.end(),
                                     [&](const Filter& own) { return own.number == gap.filter; });
    if (!is_ours) complain("gap", "is told of a gap in " + filter + ", not its own");
    bool is_possible = false;
    for (uint32_t number = 0; number < ledger_.topics_count(); ++number) {
        if (!ledger_.matches(gap.filter, number) || (gap.topic && *gap.topic != number)) continue;
        if (!ledger_.has_history(number)) continue;
        is_possible = is_possible || can_be_evicted_since(number, each);
    }
    if (!is_possible) complain("gap", "is told of a gap where nothing can have been evicted");
    each.gaps.push_back(std::move(gap));
}

void Subscriber::position(const ToldCursor& cursor) {
    const bool has_any =
        std::any_of(subscriptions_.begin(), subscriptions_.end(),
                    [](const auto& each) { return each.second.state == State::live; });
    if (!has_any) complain("positions", "is told a position without a live subscription");
    check_epoch(cursor);
    share(cursor.cursor);
    stream_gaps_.position(cursor.cursor);
}

// What is promised --------------------------------------------------------------------------------

bool Subscriber::matches(const Subscription& each, uint32_t topic) const {
    return std::any_of(each.filters.begin(), each.filters.end(),
                       [&](const Filter& filter) { return ledger_.matches(filter.number, topic); });
}

bool Subscriber::matches_for_sure(const Subscription& each, uint32_t topic) const {
    return std::any_of(each.filters.begin(), each.filters.end(), [&](const Filter& filter) {
        return !filter.is_leaving && ledger_.matches(filter.number, topic);
    });
}

bool Subscriber::is_owed(const Subscription& each, MessageId message) const {
    const Ledger::Message& what = ledger_.at(message);
    if (!what.echo && what.publisher == self_) return false;
    if (!matches_for_sure(each, what.topic)) return false;
    const auto [partition, offset] = *what.place;
    if (offset > each.from.of(partition)) return true;
    // The newest of a topic come without a hole from the first one on.
    const auto first = each.first_replayed.find(what.topic);
    return each.start.kind == Start::Kind::last && first != each.first_replayed.end() &&
           offset > first->second;
}

bool Subscriber::is_covered(const Subscription& each, MessageId message) const {
    if (each.replayed.contains(message)) return true;
    const auto found = pushed_.find(message);
    return found != pushed_.end() && found->second >= each.since;
}

bool Subscriber::is_excused(const Subscription& each, MessageId message) const {
    return stream_gaps_.excuses(message) || is_evicted(each, message);
}

bool Subscriber::is_evicted(const Subscription& each, MessageId message) const {
    const Ledger::Message& what = ledger_.at(message);
    if (!what.place) return false;
    return std::any_of(each.gaps.begin(), each.gaps.end(), [&](const Gap& gap) {
        return ledger_.matches(gap.filter, what.topic) &&
               (!gap.topic || *gap.topic == what.topic) && what.sent_step < gap.step &&
               what.place->offset > gap.behind.of(what.place->partition);
    });
}

void Subscriber::check_passed(const Subscription& each, uint32_t partition, uint64_t after,
                              uint64_t upto) const {
    const auto& messages = ledger_.partition(partition);
    for (auto next = messages.upper_bound(after); next != messages.end() && next->first <= upto;
         ++next) {
        const MessageId message = next->second;
        if (!is_owed(each, message) || is_covered(each, message)) continue;
        if (is_excused(each, message)) continue;
        complain("P1", "(from " + sim::describe(each.from) + ") has come to " +
                           sim::describe(Place{partition, upto}) + " without " +
                           ledger_.describe(message));
    }
}

void Subscriber::check_newest(const Subscription& each) const {
    for (uint32_t topic = 0; topic < ledger_.topics_count(); ++topic) {
        if (!matches_for_sure(each, topic)) continue;
        for (const MessageId message :
             ledger_.surely_among_newest(topic, each.start.last, each.sent_step)) {
            const Ledger::Message& what = ledger_.at(message);
            const bool is_hidden = !what.echo && what.publisher == self_;
            if (is_hidden || is_covered(each, message) || is_excused(each, message)) continue;
            complain("replay", "asked for the last " + std::to_string(each.start.last) +
                                   " and did not get " + ledger_.describe(message));
        }
    }
}

std::string Subscriber::missing(uint64_t acknowledged_before_step) const {
    for (const auto& [id, each] : subscriptions_) {
        if (each.state != State::live) continue;
        for (uint32_t topic = 0; topic < ledger_.topics_count(); ++topic) {
            if (!matches_for_sure(each, topic)) continue;
            for (const MessageId message : ledger_.messages_of(topic)) {
                const Ledger::Message& what = ledger_.at(message);
                const bool is_late = what.acknowledged_step >= acknowledged_before_step;
                const bool is_hidden = !what.echo && what.publisher == self_;
                if (what.is_repeat || what.is_refused || is_hidden) continue;
                const bool is_due = what.place
                                        ? is_owed(each, message) &&
                                              (acknowledged_before_step == UINT64_MAX || !is_late)
                                        : what.sent_step > each.subscribed_step && !is_late;
                if (!is_due || is_covered(each, message) || is_excused(each, message)) continue;
                return name_ + " (subscribed since step " + std::to_string(each.subscribed_step) +
                       ", from " + sim::describe(each.from) + ") misses " +
                       ledger_.describe(message);
            }
        }
    }
    if (acknowledged_before_step != UINT64_MAX) return {};
    std::string stale = not_newest();
    return stale.empty() ? miscounted(true) : stale;
}

void Subscriber::audit() const {
    const std::string wrong = miscounted(false);
    if (!wrong.empty()) violated("gap", wrong);
    for (const auto& [id, each] : subscriptions_) {
        if (each.state == State::asked) continue;
        const Cursor& reached = each.state == State::live ? shared_ : each.own;
        for (const auto& [partition, offset] : reached.offsets()) {
            check_passed(each, partition, 0, offset);
        }
    }
}

// What the client asks ----------------------------------------------------------------------------

bool Subscriber::is_absent(std::string_view filter) const {
    const uint32_t number = ledger_.filter_number(filter);
    for (const auto& [id, each] : subscriptions_) {
        for (const Filter& own : each.filters) {
            if (own.number == number) return false;
        }
    }
    return true;
}

bool Subscriber::is_live(std::string_view filter) const {
    const uint32_t number = ledger_.filter_number(filter);
    bool is_there = false;
    for (const auto& [id, each] : subscriptions_) {
        for (const Filter& own : each.filters) {
            if (own.number != number) continue;
            if (each.state != State::live || own.is_leaving) return false;
            is_there = true;
        }
    }
    return is_there;
}

std::vector<std::string> Subscriber::leavable() const {
    std::set<uint32_t> numbers;
    std::set<uint32_t> busy;
    for (const auto& [id, each] : subscriptions_) {
        for (const Filter& own : each.filters) {
            numbers.insert(own.number);
            if (own.is_leaving) busy.insert(own.number);
        }
    }
    std::vector<std::string> filters;
    for (const uint32_t number : numbers) {
        if (!busy.contains(number)) filters.push_back(ledger_.filter(number));
    }
    return filters;
}

uint32_t Subscriber::filters_count() const {
    size_t count = 0;
    for (const auto& [id, each] : subscriptions_) count += each.filters.size();
    return static_cast<uint32_t>(count);
}

bool Subscriber::has_live(uint32_t topic) const {
    return std::any_of(subscriptions_.begin(), subscriptions_.end(), [&](const auto& each) {
        return each.second.state == State::live && matches(each.second, topic);
    });
}

std::vector<Bookmark> Subscriber::bookmarks() const {
    Bookmark live;
    std::vector<Bookmark> others;
    for (const auto& [id, each] : subscriptions_) {
        Bookmark bookmark{.start = each.start};
        for (const Filter& filter : each.filters) {
            if (filter.is_leaving) continue;
            const std::string& text = ledger_.filter(filter.number);
            auto& filters = each.state == State::live ? live.filters : bookmark.filters;
            if (std::find(filters.begin(), filters.end(), text) == filters.end()) {
                filters.push_back(text);
            }
        }
        if (bookmark.filters.empty()) continue;
        if (each.state == State::running && each.start.kind == Start::Kind::after) {
            bookmark.start = {.kind = Start::Kind::after,
                              .after = {.epoch = epoch_, .cursor = each.own}};
        }
        others.push_back(std::move(bookmark));
    }
    if (!live.filters.empty()) {
        live.start = {.kind = Start::Kind::after, .after = {.epoch = epoch_, .cursor = shared_}};
        others.insert(others.begin(), std::move(live));
    }
    return others;
}

}  // namespace sim
