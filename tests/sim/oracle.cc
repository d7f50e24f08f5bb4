#include "tests/sim/oracle.h"

#include <algorithm>

#include "io/base/check.h"

namespace sim {

SessionId Oracle::session_begin(std::string name, const SessionTraits& traits) {
    const SessionId id = static_cast<SessionId>(sessions_.size());
    sessions_.push_back({.name = name,
                         .traits = traits,
                         .subscriber = Subscriber(clock_, ledger_, limits_, id, name),
                         .rates = Rates(clock_, limits_, name)});
    ++counts_.sessions;
    return id;
}

// Publishing --------------------------------------------------------------------------------------

MessageId Oracle::publish_sent(SessionId session, Publish publish) {
    const MessageId id = ledger_.add({.publisher = session,
                                      .publisher_name = sessions_[session].name,
                                      .topic = publish.topic,
                                      .kind = publish.kind,
                                      .bytes = std::move(publish.bytes),
                                      .echo = publish.echo,
                                      .key = publish.key});
    neighbours_.emplace_back();
    if (!publish.echo) sessions_[session].hidden_topics.push_back(ledger_.at(id).topic);
    ++counts_.published;
    return id;
}

void Oracle::publish_acknowledged(MessageId message, const std::optional<Place>& place,
                                  bool is_duplicate) {
    ledger_.acknowledged(message, place, is_duplicate);
    ++counts_.acknowledged;
    if (is_duplicate) ++counts_.duplicates;
}

void Oracle::publish_refused(MessageId message) {
    ledger_.refused(message);
    ++counts_.refused;
}

// Subscribing -------------------------------------------------------------------------------------

Subscriber::Id Oracle::subscribe_sent(SessionId session, const std::vector<std::string>& filters,
                                      const Start& start) {
    return sessions_[session].subscriber.subscribe_sent(filters, start);
}

void Oracle::subscribed(SessionId session, Subscriber::Id id, const SubscribedAnswer& answer) {
    sessions_[session].subscriber.subscribed(id, answer);
    if (answer.recovery && answer.recovery->is_recovered) ++counts_.resumes_exact;
    if (answer.recovery && !answer.recovery->is_recovered) ++counts_.resumes_refused;
}

void Oracle::unsubscribed(SessionId session, const std::vector<std::string>& filters) {
    sessions_[session].subscriber.unsubscribed(filters);
    forget_uncovered(sessions_[session]);
}

void Oracle::unsubscribe_refused(SessionId session, const std::vector<std::string>& filters) {
    sessions_[session].subscriber.unsubscribe_refused(filters);
}

void Oracle::forget_uncovered(Session& session) {
    std::erase_if(session.last,
                  [&](const auto& each) { return !session.subscriber.has_live(each.first); });
}

// Deliveries --------------------------------------------------------------------------------------

void Oracle::delivered(SessionId id, std::string_view topic, codec::PayloadKind kind,
                       std::string_view bytes, const std::optional<Place>& place) {
    Session& session = sessions_[id];
    const MessageId number = ledger_.seen(session.name, topic, kind, bytes, place);
    ++counts_.deliveries;
    if (operations_.was_closed_before(session.traits.connection, ledger_.at(number).sent_step)) {
        violated("operator", session.name + " got " + ledger_.describe(number) +
                                 " although an operator was told before that it is closed");
    }
    if (session.subscriber.delivered(number) == Subscriber::Arrival::announced) {
        ++counts_.replayed;
        return;
    }
    const Ledger::Message& message = ledger_.at(number);
    const auto [newest, is_first] =
        session.newest_of_publisher.try_emplace({message.publisher, message.topic}, number);
    if (!is_first && newest->second > number) {
        violated("P2", session.name + " got " + ledger_.describe(number) + " after the later " +
                           ledger_.describe(newest->second));
    }
    newest->second = number;
    if (session.subscriber.has_live(message.topic)) link(session, message.topic, number);
}

void Oracle::link(Session& session, uint32_t topic, MessageId message) {
    const auto& hidden = session.hidden_topics;
    if (std::find(hidden.begin(), hidden.end(), topic) != hidden.end()) return;
    const auto [place, is_first] = session.last.try_emplace(topic, message);
    const MessageId previous = std::exchange(place->second, message);
    if (is_first) return;
    MessageId& next = neighbours_[previous].next;
    MessageId& back = neighbours_[message].previous;
    if (next == message) ++counts_.links_confirmed;
    if (next != no_message && next != message) {
        violated("P1/P2", session.name + " saw after " + ledger_.describe(previous) + " next " +
                              ledger_.describe(message) + ", another subscriber " +
                              ledger_.describe(next));
    }
    if (back != no_message && back != previous) {
        violated("P1/P2", session.name + " saw before " + ledger_.describe(message) + " last " +
                              ledger_.describe(previous) + ", another subscriber " +
                              ledger_.describe(back));
    }
    if (next == message) return;
    // A new link must not close a circle, or two subscribers saw the same messages in two orders.
    for (MessageId later = neighbours_[message].next; later != no_message;
         later = neighbours_[later].next) {
        if (later != previous) continue;
        violated("P2", session.name + " saw " + ledger_.describe(message) + " after " +
                           ledger_.describe(previous) + ", another subscriber the other way round");
    }
    next = message;
    back = previous;
}

void Oracle::gap(SessionId session, std::optional<Subscriber::Id> replay, const ToldGap& gap) {
    ++counts_.gaps;
    if (replay) {
        sessions_[session].subscriber.replay_gap(*replay, gap);
    } else {
        stream_gap(sessions_[session], gap);
    }
}

void Oracle::stream_gap(Session& session, const ToldGap& gap) {
    if (!session.traits.may_be_slow) {
        violated("gap", session.name + " is told that it is slow although it reads all at once");
    }
    session.subscriber.stream_gap(gap);
    ++counts_.stream_gaps_by_code[gap.code + (gap.missed ? "" : ", nobody knows how many")];
    counts_.missed += gap.missed.value_or(0);
    // What comes next is no neighbour of what came last.
    const uint32_t filter = ledger_.filter_number(gap.filter);
    std::erase_if(session.last, [&](const auto& each) {
        return ledger_.matches(filter, each.first) &&
               (gap.topic.empty() || ledger_.topic(each.first) == gap.topic);
    });
}

void Oracle::history_page(SessionId session, const HistoryRequest& request,
                          const HistoryPage& page) {
    check_history_page(ledger_, limits_, sessions_[session].name, request, page);
    ++counts_.history_pages;
}

std::string Oracle::first_missing() const {
    for (const Session& session : sessions_) {
        if (session.is_ended || session.traits.is_hostile) continue;
        std::string missing = session.subscriber.missing(UINT64_MAX);
        if (!missing.empty()) return missing;
    }
    return {};
}

void Oracle::audit() const {
    for (const Session& session : sessions_) {
        session.subscriber.audit();
        session.rates.audit();
    }
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
    const bool is_operated = operations_.is_closing_asked(session.traits.connection);
    switch (ending.close_code) {
        case 0:
            // What an operator wants closed once more, on its way out, is cut.
            if (ending.is_by_fault || ending.is_by_peer || is_operated) return;
            if (session.traits.may_be_slow || session.traits.may_be_silent) return;
            if (has_jumped_in_stop_ && clock_.now_ns >= cut_at_ns_) return;
            violated("P7", session.name + " lost its connection without a Close frame");
        case 1000:
            if (ending.is_by_peer) return;
            violated("P7", what + " although it had not asked for it");
        case 1001: {
            if (!is_stopping()) violated("P7", what + " while nobody stops the broker");
            // Whatever was acknowledged to anybody, after the stop was requested too.
            const std::string missing = session.subscriber.missing(clock_.step + 1);
            if (!missing.empty() && !ending.is_by_peer) violated("P8", what + ", but " + missing);
            return;
        }
        case 4100:
            if (!session.traits.may_be_slow) {
                violated("P6", what + " (slow consumer) although it reads all at once");
            }
            if (session.subscriber.can_be_cut_off()) return;
            violated("P6", what + " (slow consumer), which no policy of its topics says");
        case 4101: session.rates.closed_for_rate(); return;
        case 4102:
            if (is_operated) return;
            violated("operator", what + " although no operator asked for it");
        case 4200:
            if (session.traits.may_be_silent) return;
            violated("P6", what + " (heartbeat) although it answers every ping");
        default: violated("P7", what + ", which it did not deserve");
    }
}

}  // namespace sim
