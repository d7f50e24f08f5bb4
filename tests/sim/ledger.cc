#include "tests/sim/ledger.h"

#include <algorithm>

#include "tests/sim/payloads.h"

namespace sim {

void violated(std::string promise, std::string text) {
    throw Violation{std::move(promise), std::move(text)};
}

uint32_t Ledger::topic_number(std::string_view topic) {
    const auto found = std::find_if(topics_.begin(), topics_.end(),
                                    [&](const Topic& each) { return each.name == topic; });
    if (found != topics_.end()) return static_cast<uint32_t>(found - topics_.begin());
    topics_.push_back(
        {.name = std::string(topic), .has_history = limits_.history_rule_of(topic) != nullptr});
    return static_cast<uint32_t>(topics_.size() - 1);
}

uint32_t Ledger::filter_number(std::string_view filter) {
    const auto found = std::find(filters_.begin(), filters_.end(), filter);
    if (found != filters_.end()) return static_cast<uint32_t>(found - filters_.begin());
    filters_.emplace_back(filter);
    return static_cast<uint32_t>(filters_.size() - 1);
}

bool Ledger::matches(uint32_t filter, uint32_t topic) const {
    const auto [place, is_new] = matches_.try_emplace({filter, topic}, false);
    if (is_new) place->second = filter_matches(filters_[filter], topics_[topic].name);
    return place->second;
}

const std::map<uint64_t, MessageId>& Ledger::partition(uint32_t number) const {
    static const std::map<uint64_t, MessageId> nothing;
    const auto found = partitions_.find(number);
    return found == partitions_.end() ? nothing : found->second;
}

std::string Ledger::describe(MessageId message) const {
    const Message& each = messages_[message];
    return "message " + std::to_string(message) + " (topic " + topics_[each.topic].name +
           (each.place ? " at " + sim::describe(*each.place) : std::string()) + ", from " +
           publishers_[message] + ", sent at step " + std::to_string(each.sent_step) +
           (each.acknowledged_step == UINT64_MAX
                ? std::string(", not acknowledged)")
                : ", acknowledged at step " + std::to_string(each.acknowledged_step) + ")");
}

// Publishing --------------------------------------------------------------------------------------

MessageId Ledger::add(Published published) {
    const uint32_t topic = topic_number(published.topic);
    const MessageId id = count();
    Message message{.publisher = published.publisher,
                    .topic = topic,
                    .kind = published.kind,
                    .echo = published.echo,
                    .bytes = std::move(published.bytes),
                    .sent_step = clock_.step,
                    .sent_ns = clock_.now_ns};
    message_bytes_most_ = std::max<uint64_t>(message_bytes_most_, message.bytes.size());
    if (!published.key.empty()) {
        const auto [place, is_new] = attempt_of_key_.try_emplace(
            {topic, std::string(published.key)}, static_cast<uint32_t>(attempts_.size()));
        if (is_new) attempts_.emplace_back();
        message.attempt = place->second;
        attempts_[place->second].push_back(id);
        ++keyed_count_;
    }
    if (topics_[topic].has_history) ++with_history_count_;
    messages_.push_back(std::move(message));
    publishers_.push_back(std::move(published.publisher_name));
    topics_[topic].messages.push_back(id);
    return id;
}

void Ledger::acknowledged(MessageId message, const std::optional<Place>& where, bool is_duplicate) {
    Message& each = messages_[message];
    if (each.acknowledged_step != UINT64_MAX || each.is_refused) {
        violated("answers", describe(message) + " was answered twice");
    }
    if (where.has_value() != has_history(each.topic)) {
        violated("positions", describe(message) + " was answered " +
                                  (where ? "with a position, but its topic keeps no history"
                                         : "without a position, but its topic keeps history"));
    }
    each.acknowledged_step = clock_.step;
    if (is_duplicate) {
        repeated(message, where);
        return;
    }
    sequenced(message);
    if (where) place(message, *where);
}

void Ledger::refused(MessageId message) {
    messages_[message].is_refused = true;
}

MessageId Ledger::seen(const std::string& who, std::string_view topic, codec::PayloadKind kind,
                       std::string_view bytes, const std::optional<Place>& where) {
    const MessageId number = message_of(kind, bytes);
    if (number >= messages_.size()) {
        violated("P4", who + " got a payload that nobody published, on " + std::string(topic) +
                           ": " + std::string(bytes.substr(0, 80)));
    }
    const Message& message = messages_[number];
    const std::string what = who + " got " + describe(number);
    if (topics_[message.topic].name != topic) {
        violated("P4", what + " on topic " + std::string(topic));
    }
    if (message.kind != kind || message.bytes != bytes) {
        violated("P4", what + " with another payload than was published");
    }
    if (message.is_refused) violated("P7", what + ", whose publisher was told an error");
    if (message.is_repeat) violated("keys", what + ", which was answered as a duplicate");
    if (where.has_value() != has_history(message.topic)) {
        violated("positions", what + (where ? " with a position, but its topic keeps no history"
                                            : " without a position, but its topic keeps history"));
    }
    sequenced(number);
    if (where) place(number, *where);
    return number;
}

void Ledger::place(MessageId message, const Place& where) {
    Message& each = messages_[message];
    const std::string what = describe(message) + " is told to stand at " + sim::describe(where);
    if (each.place) {
        if (*each.place == where) return;
        violated("positions", what);
    }
    Topic& topic = topics_[each.topic];
    if (where.partition >= limits_.partitions || where.offset > with_history_count_) {
        violated("positions", what + ", which cannot be");
    }
    if (topic.partition && *topic.partition != where.partition) {
        violated("positions",
                 what + ", but its topic is in partition " + std::to_string(*topic.partition));
    }
    topic.partition = where.partition;
    const auto [taken, is_free] = partitions_[where.partition].try_emplace(where.offset, message);
    if (!is_free) violated("positions", what + ", where " + describe(taken->second) + " stands");
    each.place = where;
    // Neighbours of one publisher; the messages are numbered as they were sent.
    auto& placed = topic.placed[each.publisher];
    const auto self = placed.emplace(where.offset, message).first;
    const auto next = std::next(self);
    const bool is_before_earlier = next != placed.end() && next->second < message;
    const bool is_behind_later = self != placed.begin() && std::prev(self)->second > message;
    if (is_before_earlier || is_behind_later) {
        violated("P2", what + ", on the wrong side of " +
                           describe(is_before_earlier ? next->second : std::prev(self)->second) +
                           " of the same publisher");
    }
}

// Keys --------------------------------------------------------------------------------------------

void Ledger::sequenced(MessageId message) {
    Message& each = messages_[message];
    if (each.is_sequenced) return;
    each.is_sequenced = true;
    each.sequenced_by_ns = clock_.now_ns;
    // Which keys were pushed out by newer ones is known only as long as there is room for all.
    if (each.attempt == none || keyed_count_ > limits_.idempotency_keys_max) return;
    for (const MessageId other : attempts_[each.attempt]) {
        const Message& twin = messages_[other];
        if (other == message || !twin.is_sequenced) continue;
        const uint64_t apart_ns_max = std::max(each.sequenced_by_ns, twin.sequenced_by_ns) -
                                      std::min(each.sent_ns, twin.sent_ns);
        if (apart_ns_max >= limits_.idempotency_window_ns) continue;
        violated("keys", describe(message) + " was sequenced although " + describe(other) +
                             " with the same key was, a moment before or after");
    }
}

void Ledger::repeated(MessageId message, const std::optional<Place>& where) {
    Message& each = messages_[message];
    const std::string what = describe(message) + " was answered as a duplicate";
    if (each.is_sequenced) violated("keys", what + ", but somebody got it");
    if (each.attempt == none) violated("keys", what + ", but it had no key");
    if (limits_.idempotency_keys_max == 0) violated("keys", what + ", but keys are off");
    each.is_repeat = true;
    std::vector<MessageId> firsts;
    for (const MessageId other : attempts_[each.attempt]) {
        const Message& first = messages_[other];
        if (other == message || first.is_repeat || first.is_refused) continue;
        const bool is_forgotten =
            first.is_sequenced &&
            each.sent_ns > first.sequenced_by_ns + limits_.idempotency_window_ns;
        const bool is_elsewhere = where && first.place && *first.place != *where;
        if (!is_forgotten && !is_elsewhere) firsts.push_back(other);
    }
    if (firsts.empty()) violated("keys", what + ", but not of any publish that it can repeat");
    if (firsts.size() > 1) return;
    sequenced(firsts[0]);
    if (where) place(firsts[0], *where);
}

// What is kept ------------------------------------------------------------------------------------

uint64_t Ledger::surely_kept(uint32_t topic) const {
    return limits_.surely_kept(topics_[topic].name, message_bytes_most_);
}

std::vector<MessageId> Ledger::surely_among_newest(uint32_t topic, uint64_t newest,
                                                   uint64_t acknowledged_before_step) const {
    newest = std::min(newest, surely_kept(topic));
    // Those whose place is not known may be newer than all.
    uint64_t unknown_count = 0;
    std::vector<MessageId> known;
    for (const MessageId message : topics_[topic].messages) {
        const Message& each = messages_[message];
        if (each.is_refused || each.is_repeat) continue;
        if (each.place) {
            known.push_back(message);
        } else {
            ++unknown_count;
        }
    }
    std::sort(known.begin(), known.end(), [this](MessageId left, MessageId right) {
        return messages_[left].place->offset > messages_[right].place->offset;
    });
    std::vector<MessageId> surely;
    for (size_t rank = 0; rank < known.size() && rank + unknown_count < newest; ++rank) {
        if (messages_[known[rank]].acknowledged_step < acknowledged_before_step) {
            surely.push_back(known[rank]);
        }
    }
    return surely;
}

}  // namespace sim
