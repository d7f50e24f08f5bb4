#include "tests/sim/client.h"

#include <algorithm>

#include "io/base/check.h"

namespace sim {

Habits draw_habits(PeerKind kind, base::Prng& prng) {
    Habits habits;
    habits.think_ns_max = prng.between(1, 2'000) * base::ns_per_ms;
    habits.actions_max = static_cast<uint32_t>(prng.between(10, 80));
    habits.publish = static_cast<uint32_t>(prng.below(12));
    switch (kind) {
        case PeerKind::behaved:
        case PeerKind::hostile:
        case PeerKind::poster:
        case PeerKind::operating: break;
        case PeerKind::slow:
            habits.may_be_slow = true;
            habits.may_be_silent = true;
            habits.read_bytes_max = prng.between(1, 500);
            habits.read_pause_ns_max = prng.between(1, 30) * base::ns_per_s;
            // Some are too slow for a while only, with whatever their system holds.
            if (prng.below(2) == 0) {
                habits.read_bytes_max = UINT64_MAX;
                habits.read_pause_ns_max = 0;
                habits.stall_ns_max = prng.between(1, 20) * base::ns_per_s;
            }
            break;
        case PeerKind::byte_wise:
            habits.may_be_slow = true;
            habits.may_be_silent = true;
            habits.read_bytes_max = prng.between(1, 3);
            habits.write_bytes_max = prng.between(1, 3);
            habits.actions_max = 8;
            break;
        case PeerKind::rude:
            habits.may_be_silent = true;
            habits.may_be_slow = true;
            habits.answers_pings = prng.below(2) == 0;
            habits.heeds_refusals = prng.below(2) == 0;
            habits.reset = static_cast<uint32_t>(prng.below(3));
            habits.vanish = static_cast<uint32_t>(prng.below(3));
            break;
        case PeerKind::churning:
            habits.think_ns_max = prng.between(1, 100) * base::ns_per_ms;
            habits.actions_max = 150;
            habits.subscribe = 10;
            habits.unsubscribe = 8;
            habits.leave = 1;
            break;
        case PeerKind::returning:
            habits.think_ns_max = prng.between(1, 300) * base::ns_per_ms;
            habits.actions_max = static_cast<uint32_t>(prng.between(30, 100));
            habits.subscribe = 5;
            habits.leave = 1;
            habits.reset = 1;
            habits.vanish = 1;
            habits.comes_back = true;
            if (prng.below(2) == 0) {
                habits.may_be_slow = true;
                habits.may_be_silent = true;
                habits.stall_ns_max = prng.between(100, 10'000) * base::ns_per_ms;
            }
            break;
    }
    return habits;
}

Client::Client(Surroundings& surroundings, std::string name, uint64_t seed, const Habits& habits)
    : Peer(surroundings, std::move(name), seed), habits_(habits) {
    next_action_ns_ = now_ns() + prng_.below(habits_.think_ns_max + 1);
}

bool Client::may_begin() const {
    // When all is calm again, some come back once more, and must find what they missed.
    if (is_healed_) return returns_left_ > 0;
    return actions_count_ < habits_.actions_max;
}

uint64_t Client::ready_at_ns() const {
    uint64_t at_ns = base::never_ns;
    if (state_ == State::absent) {
        return may_begin() ? next_action_ns_ : base::never_ns;
    }
    if (may_act()) at_ns = next_action_ns_;
    at_ns = std::min(at_ns, std::max(wire_.look_at_ns(), next_read_ns_));
    if (wire_.has_outgoing()) at_ns = std::min(at_ns, next_write_ns_);
    return at_ns;
}

void Client::heal() {
    is_healed_ = true;
    habits_.read_bytes_max = UINT64_MAX;
    habits_.write_bytes_max = UINT64_MAX;
    habits_.read_pause_ns_max = 0;
    habits_.stall_ns_max = 0;
    habits_.answers_pings = true;
    habits_.leave = habits_.reset = habits_.vanish = 0;
    const bool has_missed = state_ == State::absent && !bookmarks_.empty();
    returns_left_ = has_missed && !around_.oracle.is_stopping() && prng_.below(2) == 0 ? 1 : 0;
    next_read_ns_ = 0;
    next_write_ns_ = now_ns();
}

bool Client::is_settled() const {
    if (state_ == State::absent) return !may_begin();
    return state_ == State::open && is_welcomed_ &&
           around_.oracle.subscriber(session_).is_settled() && waiting_.empty() &&
           !wire_.has_outgoing() && !is_close_sent_;
}

void Client::say_last_words() {
    if (state_ != State::open) return;
    last_words_ = static_cast<uint32_t>(prng_.below(5));
    habits_.publish = 10;
    habits_.subscribe = habits_.unsubscribe = habits_.history = habits_.ping = 0;
    habits_.think_ns_max = base::ns_per_ms;
    next_action_ns_ = now_ns();
}

std::string Client::describe() const {
    constexpr const char* names[] = {"absent", "handshake", "open", "closing"};
    std::string text = name_ + " is " + names[static_cast<uint8_t>(state_)];
    if (wire_.is_open()) text += " on connection " + std::to_string(wire_.id());
    if (wire_.has_outgoing()) text += ", has bytes to send";
    if (state_ == State::open && !around_.oracle.subscriber(session_).is_settled()) {
        text += ", waits for a subscription to become live";
    }
    if (waiting_.empty()) return text;
    constexpr const char* kinds[] = {"subscribe", "unsubscribe", "publish", "history", "ping"};
    const auto& [id, waiting] = *waiting_.begin();
    text += ", waits for " + std::to_string(waiting_.size()) + " answers, one to " +
            kinds[static_cast<uint8_t>(waiting.kind)] + " " + id;
    return text;
}

void Client::complain(const std::string& text) const {
    violated("P7", name_ + ": " + text);
}

void Client::step() {
    if (state_ == State::absent) {
        begin();
        return;
    }
    if (now_ns() >= next_read_ns_) read_all();
    if (state_ == State::absent) return;
    if (may_act() && now_ns() >= next_action_ns_) act();
    if (state_ == State::absent) return;
    wire_.flush(prng_.between(1, habits_.write_bytes_max));
    // With room left it goes on soon; without, the network tells when there is some.
    const bool is_pacing = wire_.has_outgoing() && habits_.write_bytes_max != UINT64_MAX;
    next_write_ns_ = is_pacing ? now_ns() + prng_.below(base::ns_per_ms) : base::never_ns;
}

void Client::begin() {
    connect();
    if (is_healed_) --returns_left_;
    incoming_.clear();
    waiting_.clear();
    subscriptions_.clear();
    has_refusals_ = false;
    goodbye_code_.clear();
    come_back_at_ns_ = 0;
    series_ = around_.scenario.limits.has_rates() && prng_.below(2) == 0 ? 1 : 0;
    announced_left_ = 0;
    swapped_.clear();
    side_ = WebSocketSide{};
    is_welcomed_ = false;
    is_close_sent_ = false;
    state_ = State::handshake;
    const auto offer =
        prng_.below(2) == 0 ? WebSocketSide::Offer::deflate : WebSocketSide::Offer::nothing;
    wire_.queue(side_.request(prng_, "/ws", offer));
    wire_.flush(prng_.between(1, habits_.write_bytes_max));
    next_write_ns_ = now_ns();
    next_action_ns_ = now_ns() + prng_.below(habits_.think_ns_max + 1);
    ++actions_count_;
}

// Reading -----------------------------------------------------------------------------------------

void Client::read_all() {
    wire_.read(incoming_, habits_.read_bytes_max);
    if (habits_.read_pause_ns_max > 0) {
        next_read_ns_ = now_ns() + prng_.below(habits_.read_pause_ns_max);
    } else if (habits_.read_bytes_max != UINT64_MAX) {
        next_read_ns_ = now_ns() + prng_.below(base::ns_per_ms);
    }
    if (habits_.stall_ns_max > 0 && prng_.below(10) == 0) {
        next_read_ns_ = now_ns() + prng_.below(habits_.stall_ns_max);
    }
    if (state_ == State::handshake) read_handshake();
    if (state_ == State::open) read_frames();
    if (state_ != State::absent && wire_.is_over()) on_over();
}

void Client::read_handshake() {
    uint32_t status = 0;
    switch (side_.read_answer(incoming_, status)) {
        case WebSocketSide::Answer::need_more: return;
        case WebSocketSide::Answer::refused:
            // Too many connections, or a broker that stops; nothing else about this request
            // deserves a refusal (408: it was written too slowly, or the line was slow).
            if (status != 503 && status != 408) {
                complain("was refused with " + std::to_string(status) + ": " + incoming_);
            }
            trace("refused with " + std::to_string(status));
            incoming_.clear();
            state_ = State::closing;
            wire_.finish();
            return;
        case WebSocketSide::Answer::accepted: break;
    }
    SessionTraits traits;
    traits.may_be_slow = habits_.may_be_slow || around_.scenario.may_be_slow;
    traits.may_be_silent = habits_.may_be_silent || around_.scenario.may_be_silent;
    traits.connection = wire_.id();
    session_ =
        around_.oracle.session_begin(name_ + "#" + std::to_string(++sessions_count_), traits);
    state_ = State::open;
}

void Client::read_frames() {
    side_.feed(incoming_);
    while (state_ == State::open && side_.has_unread()) {
        const Said said = side_.next();
        if (said.kind == codec::Decoded::Kind::need_more) return;
        on_said(said);
    }
}

void Client::on_said(const Said& said) {
    switch (said.kind) {
        case codec::Decoded::Kind::need_more: return;
        case codec::Decoded::Kind::text:
            if (said.was_compressed) around_.oracle.count_compressed();
            on_text(said.payload);
            return;
        case codec::Decoded::Kind::binary: complain("got a binary frame");
        case codec::Decoded::Kind::violation: complain("got a frame that breaks RFC 6455");
        case codec::Decoded::Kind::ping:
            if (!habits_.answers_pings || around_.network.plant_fires(Plant::drop_pong)) return;
            send_control(codec::Opcode::pong, said.payload);
            return;
        case codec::Decoded::Kind::pong: return;
        case codec::Decoded::Kind::close: on_close(said.close_code); return;
    }
}

void Client::on_close(uint16_t code) {
    trace("the broker closes with " + std::to_string(code));
    if (side_.has_unread()) complain("got bytes after the Close frame");
    if (!codec::is_close_code_sendable(code)) complain("got close code " + std::to_string(code));
    const bool is_unannounced = (code == 4100 && goodbye_code_ != "slow_consumer") ||
                                (code == 4101 && goodbye_code_ != "rate_limited") ||
                                (code == 4102 && goodbye_code_ != "closed_by_operator");
    if (is_unannounced) complain("is not told when to come back");
    const bool is_later = code >= 4100 && code < 4200 && habits_.heeds_refusals;
    if (is_later) come_back_at_ns_ = now_ns() + goodbye_retry_ms_ * base::ns_per_ms;
    if (!is_close_sent_) wire_.queue(make_close(prng_, code, ""));
    end_session(code);
    wire_.finish();
    state_ = State::closing;
}

void Client::on_over() {
    trace(wire_.is_broken() ? "the connection broke" : "the stream ended");
    if (state_ == State::open) end_session(0);
    wire_.close();
    state_ = State::absent;
    next_action_ns_ = now_ns() + prng_.below(habits_.think_ns_max + 1);
    next_action_ns_ = std::max(next_action_ns_, come_back_at_ns_);
}

void Client::end_session(uint16_t code) {
    unsure_.clear();
    for (const auto& [id, waiting] : waiting_) {
        if (!waiting.key.empty()) unsure_.push_back({waiting.topic, waiting.key});
    }
    waiting_.clear();
    older_ = around_.oracle.subscriber(session_).told_cursor();
    bookmarks_ = around_.oracle.subscriber(session_).bookmarks();
    around_.oracle.session_end(session_, {.close_code = code,
                                          .is_by_peer = is_close_sent_,
                                          .is_by_fault = wire_.is_broken_by_fault()});
}

}  // namespace sim
