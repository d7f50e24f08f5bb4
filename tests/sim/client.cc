#include "tests/sim/client.h"

#include <simdjson.h>

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
        case PeerKind::poster: break;
        case PeerKind::slow:
            habits.may_be_slow = true;
            habits.may_be_silent = true;
            habits.read_bytes_max = prng.between(1, 500);
            habits.read_pause_ns_max = prng.between(1, 30) * base::ns_per_s;
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
    }
    return habits;
}

Client::Client(Surroundings& surroundings, std::string name, uint64_t seed, const Habits& habits)
    : Peer(surroundings, std::move(name), seed), habits_(habits) {
    next_action_ns_ = now_ns() + prng_.below(habits_.think_ns_max + 1);
}

uint64_t Client::ready_at_ns() const {
    uint64_t at_ns = base::never_ns;
    if (state_ == State::absent) {
        const bool may_begin = !is_healed_ && actions_count_ < habits_.actions_max;
        return may_begin ? next_action_ns_ : base::never_ns;
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
    habits_.answers_pings = true;
    habits_.leave = habits_.reset = habits_.vanish = 0;
    next_read_ns_ = 0;
    next_write_ns_ = now_ns();
}

bool Client::is_settled() const {
    if (state_ == State::absent) return true;
    return state_ == State::open && waiting_.empty() && !wire_.has_outgoing() && !is_close_sent_;
}

void Client::say_last_words() {
    if (state_ != State::open) return;
    last_words_ = static_cast<uint32_t>(prng_.below(5));
    habits_.publish = 10;
    habits_.subscribe = habits_.unsubscribe = habits_.ping = 0;
    habits_.think_ns_max = base::ns_per_ms;
    next_action_ns_ = now_ns();
}

std::string Client::describe() const {
    constexpr const char* names[] = {"absent", "handshake", "open", "closing"};
    std::string text = name_ + " is " + names[static_cast<uint8_t>(state_)];
    if (wire_.is_open()) text += " on connection " + std::to_string(wire_.id());
    if (wire_.has_outgoing()) text += ", has bytes to send";
    if (waiting_.empty()) return text;
    constexpr const char* kinds[] = {"subscribe", "unsubscribe", "publish", "ping"};
    const auto& [id, waiting] = *waiting_.begin();
    text += ", waits for " + std::to_string(waiting_.size()) + " answers, one to " +
            kinds[static_cast<uint8_t>(waiting.kind)] + " " + id;
    return text;
}

void Client::complain(const std::string& text) const {
    Oracle::violated("P7", name_ + ": " + text);
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
    incoming_.clear();
    waiting_.clear();
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
            wire_.queue(make_frame(prng_, {.opcode = codec::Opcode::pong}, said.payload));
            return;
        case codec::Decoded::Kind::pong: return;
        case codec::Decoded::Kind::close: on_close(said.close_code); return;
    }
}

void Client::on_close(uint16_t code) {
    trace("the broker closes with " + std::to_string(code));
    if (side_.has_unread()) complain("got bytes after the Close frame");
    if (!codec::is_close_code_sendable(code)) complain("got close code " + std::to_string(code));
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
}

void Client::end_session(uint16_t code) {
    waiting_.clear();
    around_.oracle.session_end(session_, {.close_code = code,
                                          .is_by_peer = is_close_sent_,
                                          .is_by_fault = wire_.is_broken_by_fault()});
}

// What the broker says ----------------------------------------------------------------------------

void Client::on_text(std::string text) {
    Network& network = around_.network;
    if (text.find("\"op\":\"message\"") == std::string::npos) {
        on_object(text);
        return;
    }
    if (network.plant_fires(Plant::drop_frame)) return;
    if (network.plant_fires(Plant::corrupt_byte)) text[text.size() * 3 / 4] ^= 1;
    if (network.plant_fires(Plant::swap_frames) && swapped_.empty()) {
        swapped_ = std::move(text);
        return;
    }
    on_object(text);
    if (network.plant_fires(Plant::duplicate_frame)) on_object(text);
    if (!swapped_.empty()) on_object(std::exchange(swapped_, {}));
}

void Client::on_object(const std::string& text) {
    simdjson::dom::parser parser;
    if (parser.parse(text).error() != simdjson::SUCCESS) complain("got invalid JSON: " + text);
    Members members;
    if (!read_members(text, members)) complain("got something else than an object: " + text);
    std::string op;
    if (!read_string(value_of(members, "op"), op)) complain("got an object without op: " + text);
    trace_text_ = text.substr(0, 200);
    trace("< " + trace_text_);
    if (op == "welcome") {
        if (is_welcomed_) complain("was welcomed twice");
        is_welcomed_ = true;
        return;
    }
    if (!is_welcomed_) complain("got before the welcome: " + text);
    if (op == "message") {
        on_message(members);
    } else if (op == "gap") {
        on_gap(members);
    } else if (op != "heartbeat" && op != "goodbye" && op != "position") {
        on_answer(op, members);
    }
}

void Client::on_message(const Members& members) {
    std::string topic;
    if (!read_string(value_of(members, "topic"), topic)) complain("no topic: " + trace_text_);
    std::string bytes;
    codec::PayloadKind kind = codec::PayloadKind::json;
    if (const std::string_view text = value_of(members, "text"); !text.empty()) {
        kind = codec::PayloadKind::text;
        if (!read_string(text, bytes)) complain("bad text: " + trace_text_);
    } else if (const std::string_view base64 = value_of(members, "base64"); !base64.empty()) {
        kind = codec::PayloadKind::binary;
        std::string quoted;
        if (!read_string(base64, quoted) || !decode_base64(quoted, bytes)) {
            complain("bad base64: " + trace_text_);
        }
    } else {
        bytes = value_of(members, "data");
    }
    around_.oracle.delivered(session_, topic, kind, bytes);
}

void Client::on_gap(const Members& members) {
    std::string filter;
    if (!read_string(value_of(members, "filter"), filter)) complain("bad gap: " + trace_text_);
    around_.oracle.gap(session_, filter);
}

void Client::on_answer(std::string_view op, const Members& members) {
    const auto place = waiting_.find(value_of(members, "id"));
    if (place == waiting_.end()) complain("an answer that nothing waits for: " + trace_text_);
    const Waiting waiting = std::move(place->second);
    waiting_.erase(place);
    if (op == "error") {
        on_error(waiting, members);
        return;
    }
    constexpr std::string_view answers[] = {"subscribed", "unsubscribed", "published", "pong"};
    if (op != answers[static_cast<uint8_t>(waiting.kind)])
        complain("not the answer: " + trace_text_);
    Oracle& oracle = around_.oracle;
    switch (waiting.kind) {
        case Kind::subscribe:
            for (const std::string& filter : waiting.filters) oracle.subscribed(session_, filter);
            // What is published right now is the first that the new subscription must not miss.
            if (prng_.below(2) == 0) next_action_ns_ = now_ns();
            return;
        case Kind::unsubscribe:
            for (const std::string& filter : waiting.filters) oracle.unsubscribed(session_, filter);
            return;
        case Kind::publish: oracle.publish_acknowledged(waiting.message); return;
        case Kind::ping: return;
    }
}

void Client::on_error(const Waiting& waiting, const Members& members) {
    std::string code;
    if (!read_string(value_of(members, "code"), code)) complain("bad error: " + trace_text_);
    Oracle& oracle = around_.oracle;
    const bool is_over_limit =
        waiting.kind == Kind::subscribe && code == "too_many_subscriptions" &&
        oracle.filters_count(session_) > around_.scenario.limits.subscriptions_max;
    const bool is_draining = code == "draining" && oracle.is_stopping();
    if (!is_over_limit && !is_draining && code != "overloaded") complain("unjust: " + trace_text_);
    if (waiting.message != no_message) oracle.publish_refused(waiting.message);
    if (waiting.kind != Kind::subscribe) return;
    for (const std::string& filter : waiting.filters) oracle.subscribe_refused(session_, filter);
}

// What it says ------------------------------------------------------------------------------------

bool Client::may_act() const {
    if (state_ != State::open || !is_welcomed_ || is_close_sent_) return false;
    if (waiting_.size() >= habits_.commands_waiting_max) return false;
    return (!is_healed_ && actions_count_ < habits_.actions_max) || last_words_ > 0;
}

void Client::act() {
    next_action_ns_ = now_ns() + prng_.below(habits_.think_ns_max + 1);
    ++actions_count_;
    if (last_words_ > 0) --last_words_;
    act_once();
}

void Client::act_once() {
    const uint32_t total = habits_.publish + habits_.subscribe + habits_.unsubscribe +
                           habits_.ping + habits_.leave + habits_.reset + habits_.vanish;
    uint64_t choice = prng_.below(total + 1);
    const auto falls = [&choice](uint32_t weight) {
        if (choice < weight) return true;
        choice -= weight;
        return false;
    };
    if (falls(habits_.publish)) {
        std::vector<std::string> commands;
        // Bursts fill lanes and queues.
        const uint64_t count = prng_.below(40) == 0  ? prng_.between(20, 150)
                               : prng_.below(4) == 0 ? prng_.between(2, 6)
                                                     : 1;
        while (commands.size() < count) commands.push_back(command_publish());
        send_commands(std::move(commands));
    } else if (falls(habits_.subscribe)) {
        send_commands({command_subscribe()});
    } else if (falls(habits_.unsubscribe)) {
        send_commands({command_unsubscribe()});
    } else if (falls(habits_.ping)) {
        send_commands({command_ping()});
    } else if (falls(habits_.leave)) {
        leave();
    } else if (falls(habits_.reset) || falls(habits_.vanish)) {
        const bool is_reset = prng_.below(2) == 0;
        trace(is_reset ? "resets" : "vanishes");
        is_close_sent_ = true;
        end_session(0);
        if (is_reset) {
            wire_.reset();
        } else {
            wire_.vanish();
        }
        state_ = State::absent;
    }
}

void Client::leave() {
    is_close_sent_ = true;
    wire_.queue(make_close(prng_, 1000, "bye"));
}

std::string Client::next_id() {
    const std::string number = std::to_string(++ids_count_);
    return prng_.below(2) == 0 ? number : quote("c" + number);
}

std::string Client::command_publish() {
    Oracle& oracle = around_.oracle;
    const Scenario& scenario = around_.scenario;
    const std::string topic = any_topic();
    const bool echo = prng_.below(8) != 0;
    const std::string id = prng_.below(5) == 0 ? std::string() : next_id();
    std::string head = "{\"op\":\"publish\",\"topic\":" + quote(topic);
    if (!id.empty()) head += ",\"id\":" + id;
    if (!echo) head += ",\"echo\":false";
    const uint32_t bytes_wanted =
        static_cast<uint32_t>(prng_.below(scenario.payload_bytes_max + 1));
    MadePayload payload = make_payload(prng_, oracle.next_message(), bytes_wanted);
    if (head.size() + payload.member.size() + 2 > scenario.limits.message_bytes_max) {
        payload = make_payload(prng_, oracle.next_message(), 0);
    }
    const MessageId message =
        oracle.publish_sent(session_, topic, payload.kind, std::move(payload.bytes), echo);
    if (!id.empty()) waiting_[id] = {.kind = Kind::publish, .filters = {}, .message = message};
    return head + "," + payload.member + "}";
}

std::string Client::command_subscribe() {
    Oracle& oracle = around_.oracle;
    std::vector<std::string> filters;
    const uint64_t count = prng_.below(4) == 0 ? prng_.between(2, 3) : 1;
    for (uint64_t attempt = 0; attempt < count; ++attempt) {
        const std::string& filter = any_filter();
        if (!oracle.is_subscription_absent(session_, filter)) continue;
        filters.push_back(filter);
        oracle.subscribe_sent(session_, filter);
    }
    if (filters.empty()) return command_ping();
    const std::string id = next_id();
    std::string command = "{\"op\":\"subscribe\",\"id\":" + id;
    if (filters.size() == 1) {
        command += ",\"filter\":" + quote(filters[0]) + "}";
    } else {
        command += ",\"filters\":[" + quote(filters[0]);
        for (size_t index = 1; index < filters.size(); ++index)
            command += "," + quote(filters[index]);
        command += "]}";
    }
    waiting_[id] = {.kind = Kind::subscribe, .filters = std::move(filters)};
    return command;
}

std::string Client::command_unsubscribe() {
    Oracle& oracle = around_.oracle;
    const std::string* const live = oracle.live_filter(session_, prng_.next());
    if (live == nullptr) return command_ping();
    const std::string filter = *live;
    oracle.unsubscribe_sent(session_, filter);
    const std::string id = next_id();
    waiting_[id] = {.kind = Kind::unsubscribe, .filters = {filter}};
    return "{\"op\":\"unsubscribe\",\"id\":" + id + ",\"filter\":" + quote(filter) + "}";
}

std::string Client::command_ping() {
    const std::string id = next_id();
    waiting_[id] = {.kind = Kind::ping, .filters = {}};
    return "{\"op\":\"ping\",\"id\":" + id + "}";
}

void Client::send_commands(std::vector<std::string> commands) {
    for (size_t next = 0; next < commands.size();) {
        // As many as fit into one message, as an array; a single one stands alone.
        std::string text = commands[next++];
        bool is_array = false;
        while (next < commands.size() && text.size() + commands[next].size() + 3 <=
                                             around_.scenario.limits.message_bytes_max) {
            text += "," + commands[next++];
            is_array = true;
        }
        if (is_array) text = "[" + text + "]";
        trace("> " + text.substr(0, 200));
        uint8_t reserved_bits = 0;
        if (side_.is_deflated() && prng_.below(2) == 0) {
            const std::string compressed = side_.compress(text);
            // The limit for messages holds for the compressed form as well.
            if (compressed.size() < text.size()) {
                text = compressed;
                reserved_bits = 0x40;  // RSV1, on the first frame only
            }
        }
        if (prng_.below(4) != 0) {
            wire_.queue(make_frame(prng_, {.reserved_bits = reserved_bits}, text));
            continue;
        }
        // In fragments, with a ping between them (RFC 6455 §5.4 allows that).
        const size_t cut = prng_.below(text.size() + 1);
        wire_.queue(make_frame(prng_, {.fin = false, .reserved_bits = reserved_bits},
                               std::string_view(text).substr(0, cut)));
        wire_.queue(make_frame(prng_, {.opcode = codec::Opcode::ping}, "between"));
        wire_.queue(make_frame(prng_, {.opcode = codec::Opcode::continuation},
                               std::string_view(text).substr(cut)));
    }
}

}  // namespace sim
