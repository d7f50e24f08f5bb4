// What the broker says to a simulated client.
#include <simdjson.h>

#include <utility>

#include "tests/sim/client.h"

namespace sim {

void Client::on_text(std::string text) {
    Network& network = around_.network;
    if (text.find("\"op\":\"message\"") == std::string::npos) {
        on_object(text);
        return;
    }
    const bool is_announced = announced_left_ > 0;
    if (is_announced) --announced_left_;
    if (network.plant_fires(Plant::drop_frame)) return;
    if (is_announced && network.plant_fires(Plant::drop_replayed)) return;
    if (network.plant_fires(Plant::corrupt_byte)) text[text.size() * 3 / 4] ^= 1;
    if (network.plant_fires(Plant::swap_frames) && swapped_.empty()) {
        swapped_ = std::move(text);
        return;
    }
    on_object(text);
    if (network.plant_fires(Plant::duplicate_frame)) on_object(text);
    if (is_announced && network.plant_fires(Plant::duplicate_replayed)) on_object(text);
    if (!swapped_.empty()) on_object(std::exchange(swapped_, {}));
}

void Client::on_object(const std::string& text) {
    simdjson::dom::parser parser;
    if (parser.parse(text).error() != simdjson::SUCCESS) complain("got invalid JSON: " + text);
    Members members;
    if (!read_members(text, members)) complain("got something else than an object: " + text);
    std::string op;
    if (!read_string(value_of(members, "op"), op)) complain("got an object without op: " + text);
    trace_text_ = text.substr(0, 300);
    trace("< " + trace_text_);
    if (op == "welcome") {
        on_welcome(members);
        return;
    }
    if (op == "goodbye") {  // also of a connection that ends before its welcome has left
        on_goodbye(members);
        return;
    }
    if (!is_welcomed_) complain("got before the welcome: " + text);
    if (op == "message") {
        const Payload payload = payload_of(members);
        around_.oracle.delivered(session_, text_of(members, "topic"), payload.kind, payload.bytes,
                                 place_of(members));
    } else if (op == "replay") {
        const std::string count(value_of(members, "count"));
        announced_left_ = std::strtoull(count.c_str(), nullptr, 10);
        around_.oracle.subscriber(session_).replay(subscription_of(members), announced_left_);
    } else if (op == "live") {
        around_.oracle.subscriber(session_).live(subscription_of(members), cursor_of(members));
    } else if (op == "position") {
        around_.oracle.subscriber(session_).position(cursor_of(members));
    } else if (op == "gap") {
        on_gap(members);
    } else if (op != "heartbeat") {
        on_answer(op, members);
    }
}

void Client::on_goodbye(const Members& members) {
    goodbye_code_ = text_of(members, "code");
    goodbye_retry_ms_ = number_of(members, "retry_ms");
    const bool has_bounds =
        goodbye_code_ == "slow_consumer" || goodbye_code_ == "closed_by_operator";
    const bool is_within = goodbye_retry_ms_ >= 1'000 && goodbye_retry_ms_ <= 5'000;
    if (goodbye_retry_ms_ == 0 || (has_bounds && !is_within))
        complain("got no time: " + trace_text_);
}

void Client::on_welcome(const Members& members) {
    if (is_welcomed_) complain("was welcomed twice");
    is_welcomed_ = true;
    around_.oracle.subscriber(session_).welcomed(text_of(members, "epoch"));
    come_back();
}

std::string Client::text_of(const Members& members, std::string_view key) const {
    std::string text;
    if (!read_string(value_of(members, key), text)) {
        complain("no " + std::string(key) + ": " + trace_text_);
    }
    return text;
}

Client::Payload Client::payload_of(const Members& members) const {
    if (!value_of(members, "text").empty()) {
        return {codec::PayloadKind::text, text_of(members, "text")};
    }
    if (value_of(members, "base64").empty()) {
        return {codec::PayloadKind::json, std::string(value_of(members, "data"))};
    }
    Payload payload{codec::PayloadKind::binary, {}};
    if (!decode_base64(text_of(members, "base64"), payload.bytes)) {
        complain("bad base64: " + trace_text_);
    }
    return payload;
}

std::optional<Place> Client::place_of(const Members& members) const {
    if (value_of(members, "pos").empty()) return std::nullopt;
    const std::optional<Place> place = read_place(text_of(members, "pos"));
    if (!place) complain("bad position: " + trace_text_);
    return place;
}

ToldCursor Client::cursor_of(const Members& members) const {
    const std::optional<ToldCursor> told = read_cursor(value_of(members, "cursor"));
    if (!told) complain("bad cursor: " + trace_text_);
    return *told;
}

bool Client::flag_of(const Members& members, std::string_view key) const {
    const std::string_view value = value_of(members, key);
    if (value != "true" && value != "false") complain("bad flag: " + trace_text_);
    return value == "true";
}

std::optional<Recovery> Client::recovery_of(const Members& members) const {
    if (value_of(members, "recovered").empty()) return std::nullopt;
    Recovery recovery{.is_recovered = flag_of(members, "recovered")};
    if (recovery.is_recovered != value_of(members, "code").empty()) {
        complain("a code that does not fit: " + trace_text_);
    }
    if (!recovery.is_recovered) recovery.code = text_of(members, "code");
    return recovery;
}

Subscriber::Id Client::subscription_of(const Members& members) const {
    const auto found = subscriptions_.find(value_of(members, "id"));
    if (found == subscriptions_.end()) complain("of no subscription: " + trace_text_);
    return found->second;
}

void Client::on_gap(const Members& members) {
    ToldGap gap{.filter = text_of(members, "filter"), .code = text_of(members, "code")};
    if (value_of(members, "topic") != "null") gap.topic = text_of(members, "topic");
    const std::string missed(value_of(members, "missed"));
    if (missed != "null") {
        char* end = nullptr;
        gap.missed = std::strtoull(missed.c_str(), &end, 10);
        if (missed.empty() || *end != '\0') complain("bad count: " + trace_text_);
    }
    std::optional<Subscriber::Id> replay;
    if (!value_of(members, "id").empty()) replay = subscription_of(members);
    if (!replay && around_.network.plant_fires(Plant::lose_gap)) return;
    if (gap.missed && around_.network.plant_fires(Plant::miscount_gap)) ++*gap.missed;
    around_.oracle.gap(session_, replay, gap);
}

void Client::on_answer(std::string_view op, const Members& members) {
    if (op == "error" && value_of(members, "id").empty()) {
        on_unnamed_error(members);
        return;
    }
    const auto place = waiting_.find(value_of(members, "id"));
    if (place == waiting_.end()) complain("an answer that nothing waits for: " + trace_text_);
    const std::string id = place->first;
    const Waiting waiting = std::move(place->second);
    waiting_.erase(place);
    if (op == "error") {
        on_error(waiting, members);
        return;
    }
    constexpr std::string_view answers[] = {"subscribed", "unsubscribed", "published", "history",
                                            "pong"};
    if (op != answers[static_cast<uint8_t>(waiting.kind)]) {
        complain("not the answer: " + trace_text_);
    }
    Oracle& oracle = around_.oracle;
    oracle.rates(session_).done(waiting.ask);
    switch (waiting.kind) {
        case Kind::subscribe:
            subscriptions_[id] = waiting.subscription;
            oracle.subscribed(session_, waiting.subscription,
                              {.cursor = cursor_of(members),
                               .is_recoverable = flag_of(members, "recoverable"),
                               .recovery = recovery_of(members)});
            // What is published right now is the first that the new subscription must not miss.
            if (prng_.below(2) == 0) next_action_ns_ = now_ns();
            return;
        case Kind::unsubscribe: oracle.unsubscribed(session_, waiting.filters); return;
        case Kind::publish: {
            const bool is_duplicate = !value_of(members, "duplicate").empty();
            if (is_duplicate && !flag_of(members, "duplicate")) complain("bad: " + trace_text_);
            oracle.publish_acknowledged(waiting.message, place_of(members), is_duplicate);
            return;
        }
        case Kind::history: on_history(waiting, members); return;
        case Kind::ping: return;
    }
}

void Client::on_history(const Waiting& waiting, const Members& members) {
    HistoryPage page{.cursor = cursor_of(members),
                     .has_more = flag_of(members, "more"),
                     .recovery = recovery_of(members)};
    if (text_of(members, "topic") != waiting.history.topic) complain("of what? " + trace_text_);
    std::vector<std::string_view> elements;
    if (!read_elements(value_of(members, "messages"), elements)) {
        complain("bad messages: " + trace_text_);
    }
    for (const std::string_view element : elements) {
        Members parts;
        if (!read_members(element, parts)) complain("bad message: " + std::string(element));
        const std::optional<Place> place = place_of(parts);
        if (!place) complain("no position: " + std::string(element));
        Payload payload = payload_of(parts);
        page.messages.push_back({*place, payload.kind, std::move(payload.bytes)});
    }
    around_.oracle.history_page(session_, waiting.history, page);
    if (!page.has_more || is_close_sent_) return;
    send_commands({command_history(waiting.history.topic,
                                   {.kind = Start::Kind::after, .after = page.cursor})});
}

uint64_t Client::number_of(const Members& members, std::string_view key) const {
    const std::string text(value_of(members, key));
    char* end = nullptr;
    const uint64_t number = std::strtoull(text.c_str(), &end, 10);
    if (text.empty() || *end != '\0') complain("no " + std::string(key) + ": " + trace_text_);
    return number;
}

void Client::on_unnamed_error(const Members& members) {
    // Of what has no id, which are some publishes; nothing else about them deserves an error.
    if (text_of(members, "code") != "rate_limited") complain("unjust: " + trace_text_);
    around_.oracle.rates(session_).refused_unnamed(number_of(members, "retry_ms"));
    around_.oracle.count_refused_for_rate();
}

void Client::on_rate_limited(const Waiting& waiting, const Members& members) {
    Oracle& oracle = around_.oracle;
    const uint64_t retry_ms = number_of(members, "retry_ms");
    oracle.rates(session_).refused(waiting.ask, retry_ms);
    oracle.count_refused_for_rate();
    if (habits_.heeds_refusals) {
        next_action_ns_ = std::max(next_action_ns_, now_ns() + retry_ms * base::ns_per_ms);
    }
    switch (waiting.kind) {
        case Kind::subscribe:
            oracle.subscriber(session_).subscribe_refused(waiting.subscription);
            has_refusals_ = true;
            return;
        case Kind::unsubscribe: oracle.unsubscribe_refused(session_, waiting.filters); return;
        case Kind::publish:
            oracle.publish_refused(waiting.message);
            if (waiting.series != 0 && waiting.series == series_) ++series_;
            // What was refused is not known: the same key is as good as new.
            if (!waiting.key.empty()) keyed_.push_back({waiting.topic, waiting.key});
            return;
        case Kind::history:
        case Kind::ping: return;
    }
}

void Client::on_error(const Waiting& waiting, const Members& members) {
    const std::string code = text_of(members, "code");
    if (code == "rate_limited") {
        on_rate_limited(waiting, members);
        return;
    }
    around_.oracle.rates(session_).done(waiting.ask);
    Oracle& oracle = around_.oracle;
    Subscriber& subscriber = oracle.subscriber(session_);
    const Limits& limits = around_.scenario.limits;
    const bool is_over_limit = waiting.kind == Kind::subscribe &&
                               code == "too_many_subscriptions" &&
                               subscriber.filters_count() > limits.subscriptions_max;
    const bool is_not_kept = waiting.kind == Kind::history && code == "no_history" &&
                             limits.history_rule_of(waiting.history.topic) == nullptr;
    // The subscription that it was to end may have been refused.
    const bool is_gone =
        waiting.kind == Kind::unsubscribe && code == "not_subscribed" && has_refusals_;
    const bool is_draining = code == "draining" && oracle.is_stopping();
    if (!is_over_limit && !is_not_kept && !is_gone && !is_draining && code != "overloaded") {
        complain("unjust: " + trace_text_);
    }
    if (waiting.message != no_message) oracle.publish_refused(waiting.message);
    if (waiting.kind != Kind::subscribe) return;
    subscriber.subscribe_refused(waiting.subscription);
    has_refusals_ = true;
}

}  // namespace sim
