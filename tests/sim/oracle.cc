#include "tests/sim/oracle.h"

#include <algorithm>
#include <utility>

#include "io/base/check.h"
#include "tests/sim/payloads.h"

namespace sim {

void Oracle::violated(std::string promise, std::string text) {
    throw Violation{std::move(promise), std::move(text)};
}

SessionId Oracle::session_begin(std::string name, const SessionTraits& traits) {
    sessions_.push_back({});
    sessions_.back().name = std::move(name);
    sessions_.back().traits = traits;
    ++counts_.sessions;
    return static_cast<SessionId>(sessions_.size() - 1);
}

uint32_t Oracle::topic_number(std::string_view topic) {
    const auto found = std::find(topics_.begin(), topics_.end(), topic);
    if (found != topics_.end()) return static_cast<uint32_t>(found - topics_.begin());
    topics_.emplace_back(topic);
    messages_of_topic_.emplace_back();
    return static_cast<uint32_t>(topics_.size() - 1);
}

uint32_t Oracle::filter_number(std::string_view filter) {
    const auto found = std::find(filters_.begin(), filters_.end(), filter);
    if (found != filters_.end()) return static_cast<uint32_t>(found - filters_.begin());
    filters_.emplace_back(filter);
    return static_cast<uint32_t>(filters_.size() - 1);
}

bool Oracle::matches(uint32_t filter, uint32_t topic) const {
    const auto [place, is_new] = matches_.try_emplace({filter, topic}, false);
    if (is_new) place->second = filter_matches(filters_[filter], topics_[topic]);
    return place->second;
}

std::string Oracle::describe(MessageId message) const {
    const Message& each = messages_[message];
    return "message " + std::to_string(message) + " (topic " + topics_[each.topic] + ", from " +
           sessions_[each.publisher].name + ", sent at step " + std::to_string(each.sent_step) +
           (each.acknowledged_step == UINT64_MAX
                ? std::string(", not acknowledged)")
                : ", acknowledged at step " + std::to_string(each.acknowledged_step) + ")");
}

// Publishing --------------------------------------------------------------------------------------

MessageId Oracle::publish_sent(SessionId session, std::string_view topic, codec::PayloadKind kind,
                               std::string bytes, bool echo) {
    const uint32_t number = topic_number(topic);
    const MessageId id = next_message();
    messages_.push_back({.publisher = session,
                         .topic = number,
                         .kind = kind,
                         .echo = echo,
                         .bytes = std::move(bytes),
                         .sent_step = clock_.step});
    messages_of_topic_[number].push_back(id);
    if (!echo) sessions_[session].hidden_topics.push_back(number);
    ++counts_.published;
    return id;
}

void Oracle::publish_acknowledged(MessageId message) {
    Message& each = messages_[message];
    if (each.acknowledged_step != UINT64_MAX || each.is_refused) {
        violated("answers", describe(message) + " was answered twice");
    }
    each.acknowledged_step = clock_.step;
    ++counts_.acknowledged;
}

void Oracle::publish_refused(MessageId message) {
    messages_[message].is_refused = true;
    ++counts_.refused;
}

// Subscribing -------------------------------------------------------------------------------------

Oracle::Subscription& Oracle::subscription(SessionId session, std::string_view filter) {
    return sessions_[session].filters[filter_number(filter)];
}

bool Oracle::is_subscription_absent(SessionId session, std::string_view filter) {
    return subscription(session, filter).state == FilterState::absent;
}

void Oracle::subscribe_sent(SessionId session, std::string_view filter) {
    subscription(session, filter).state = FilterState::asked;
}

void Oracle::subscribed(SessionId session, std::string_view filter) {
    Subscription& each = subscription(session, filter);
    CHECK(each.state == FilterState::asked);
    each.state = FilterState::live;
    each.live_since_step = clock_.step;
}

void Oracle::subscribe_refused(SessionId session, std::string_view filter) {
    subscription(session, filter).state = FilterState::absent;
}

void Oracle::unsubscribe_sent(SessionId session, std::string_view filter) {
    Subscription& each = subscription(session, filter);
    CHECK(each.state == FilterState::live);
    each.state = FilterState::leaving;
}

void Oracle::unsubscribed(SessionId session, std::string_view filter) {
    subscription(session, filter).state = FilterState::absent;
    forget_uncovered(sessions_[session]);
}

const std::string* Oracle::live_filter(SessionId session, uint64_t choice) const {
    std::vector<uint32_t> live;
    for (const auto& [filter, each] : sessions_[session].filters) {
        if (each.state == FilterState::live) live.push_back(filter);
    }
    return live.empty() ? nullptr : &filters_[live[choice % live.size()]];
}

uint32_t Oracle::filters_count(SessionId session) const {
    const auto& filters = sessions_[session].filters;
    return static_cast<uint32_t>(
        std::count_if(filters.begin(), filters.end(),
                      [](const auto& each) { return each.second.state != FilterState::absent; }));
}

bool Oracle::is_covered(const Session& session, uint32_t topic) const {
    return std::any_of(session.filters.begin(), session.filters.end(), [&](const auto& each) {
        const FilterState state = each.second.state;
        const bool is_in = state == FilterState::live || state == FilterState::leaving;
        return is_in && matches(each.first, topic);
    });
}

void Oracle::forget_uncovered(Session& session) {
    std::erase_if(session.last, [&](const auto& each) { return !is_covered(session, each.first); });
}

// Deliveries --------------------------------------------------------------------------------------

void Oracle::delivered(SessionId id, std::string_view topic, codec::PayloadKind kind,
                       std::string_view bytes) {
    Session& session = sessions_[id];
    const MessageId number = message_of(kind, bytes);
    if (number >= messages_.size()) {
        violated("P4", session.name + " got a payload that nobody published, on " +
                           std::string(topic) + ": " + std::string(bytes.substr(0, 80)));
    }
    const Message& message = messages_[number];
    const std::string what = session.name + " got " + describe(number);
    if (topics_[message.topic] != topic) violated("P4", what + " on topic " + std::string(topic));
    if (message.kind != kind || message.bytes != bytes) {
        violated("P4", what + " with another payload than was published");
    }
    if (message.is_refused) violated("P7", what + ", whose publisher was told an error");
    if (!is_covered(session, message.topic)) violated("P1", what + " without a subscription");
    if (!message.echo && message.publisher == id) violated("P1", what + " although echo was false");
    if (session.seen.size() <= number) session.seen.resize(messages_.size(), false);
    if (session.seen[number]) violated("P3", what + " a second time");
    session.seen[number] = true;
    const auto [newest, is_first] =
        session.newest_of_publisher.try_emplace({message.publisher, message.topic}, number);
    if (!is_first && newest->second > number) {
        violated("P2", what + " after the later " + describe(newest->second));
    }
    newest->second = number;
    link(session, message.topic, number);
    ++counts_.deliveries;
}

void Oracle::link(Session& session, uint32_t topic, MessageId message) {
    const auto& hidden = session.hidden_topics;
    if (std::find(hidden.begin(), hidden.end(), topic) != hidden.end()) return;
    const auto [place, is_first] = session.last.try_emplace(topic, message);
    const MessageId previous = std::exchange(place->second, message);
    if (is_first) return;
    MessageId& next = messages_[previous].next;
    MessageId& back = messages_[message].previous;
    if (next == message) ++counts_.links_confirmed;
    if (next != no_message && next != message) {
        violated("P1/P2", session.name + " saw after " + describe(previous) + " next " +
                              describe(message) + ", another subscriber " + describe(next));
    }
    if (back != no_message && back != previous) {
        violated("P1/P2", session.name + " saw before " + describe(message) + " last " +
                              describe(previous) + ", another subscriber " + describe(back));
    }
    if (next == message) return;
    // A new link must not close a circle, or two subscribers saw the same messages in two orders.
    for (MessageId later = messages_[message].next; later != no_message;
         later = messages_[later].next) {
        if (later != previous) continue;
        violated("P2", session.name + " saw " + describe(message) + " after " + describe(previous) +
                           ", another subscriber the other way round");
    }
    next = message;
    back = previous;
}

void Oracle::gap(SessionId id, std::string_view filter) {
    Session& session = sessions_[id];
    const uint32_t number = filter_number(filter);
    std::erase_if(session.last, [&](const auto& each) { return matches(number, each.first); });
    // What was lost is explained; what is owed begins anew.
    session.filters[number].live_since_step = clock_.step;
    ++counts_.gaps;
}

std::string Oracle::missing_of(const Session& session, uint64_t acknowledged_before_step) const {
    const SessionId id = static_cast<SessionId>(&session - sessions_.data());
    for (const auto& [filter, each] : session.filters) {
        if (each.state != FilterState::live) continue;
        for (uint32_t topic = 0; topic < topics_.size(); ++topic) {
            if (!matches(filter, topic)) continue;
            for (const MessageId number : messages_of_topic_[topic]) {
                const Message& message = messages_[number];
                const bool is_owed = message.sent_step > each.live_since_step &&
                                     message.acknowledged_step < acknowledged_before_step &&
                                     (message.echo || message.publisher != id);
                if (!is_owed || (number < session.seen.size() && session.seen[number])) continue;
                return session.name + " (" + filters_[filter] + " live since step " +
                       std::to_string(each.live_since_step) + ") misses " + describe(number);
            }
        }
    }
    return {};
}

std::string Oracle::first_missing() const {
    for (const Session& session : sessions_) {
        if (session.is_ended || session.traits.is_hostile) continue;
        std::string missing = missing_of(session, UINT64_MAX);
        if (!missing.empty()) return missing;
    }
    return {};
}

// Endings -----------------------------------------------------------------------------------------

void Oracle::session_end(SessionId id, const Ending& ending) {
    Session& session = sessions_[id];
    CHECK(!session.is_ended);
    session.is_ended = true;
    ++counts_.closed_by_code[ending.close_code];
    if (ending.is_by_fault) ++counts_.broken_by_fault;
    check_ending(session, ending);
}

void Oracle::check_ending(const Session& session, const Ending& ending) const {
    const std::string what = session.name + " was closed with " + std::to_string(ending.close_code);
    if (session.traits.is_hostile) return;
    switch (ending.close_code) {
        case 0:
            if (ending.is_by_fault || ending.is_by_peer) return;
            if (session.traits.may_be_slow || session.traits.may_be_silent) return;
            if (has_jumped_in_stop_ && clock_.now_ns >= cut_at_ns_) return;
            violated("P7", session.name + " lost its connection without a Close frame");
        case 1000:
            if (ending.is_by_peer) return;
            violated("P7", what + " although it had not asked for it");
        case 1001: {
            if (!is_stopping()) violated("P7", what + " while nobody stops the broker");
            const std::string missing = missing_of(session, stop_step_);
            if (!missing.empty() && !ending.is_by_peer) violated("P8", what + ", but " + missing);
            return;
        }
        case 4100:
            if (session.traits.may_be_slow) return;
            violated("P6", what + " (slow consumer) although it reads all at once");
        case 4200:
            if (session.traits.may_be_silent) return;
            violated("P6", what + " (heartbeat) although it answers every ping");
        default: violated("P7", what + ", which it did not deserve");
    }
}

}  // namespace sim
