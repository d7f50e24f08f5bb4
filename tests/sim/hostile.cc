#include "tests/sim/hostile.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

namespace sim {

namespace {

using codec::Opcode;

std::string request_line(const std::string& line, const std::string& fields) {
    return line + "\r\nHost: localhost\r\n" + fields + "\r\n";
}

Offence draw_http_offence(base::Prng& prng, const Limits& limits) {
    const auto http = [](std::string name, std::string bytes, uint32_t status) {
        return Offence{.name = std::move(name),
                       .bytes = std::move(bytes),
                       .is_http = true,
                       .status_expected = status,
                       .error_expected = {}};
    };
    const std::string upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    const std::string key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    switch (prng.below(11)) {
        case 0: return http("garbage", "\x16\x03\x01 hello\r\n\r\n", 400);
        case 1: return http("no host", "GET /ws HTTP/1.1\r\n\r\n", 400);
        case 2: return http("bare line feeds", "GET /ws HTTP/1.1\nHost: localhost\n\n", 400);
        case 3:
            return http("head too long",
                        request_line("GET /ws HTTP/1.1",
                                     "X: " + std::string(limits.http_head_bytes_max, 'x') + "\r\n"),
                        431);
        case 4: return http("not HTTP/1", request_line("GET /ws HTTP/3.0", ""), 505);
        case 5:
            return http(
                "unknown version of WebSocket",
                request_line("GET /ws HTTP/1.1", upgrade + key + "Sec-WebSocket-Version: 99\r\n"),
                426);
        case 6:
            return http("a bad key",
                        request_line("GET /ws HTTP/1.1", upgrade + "Sec-WebSocket-Key: x\r\n"
                                                                   "Sec-WebSocket-Version: 13\r\n"),
                        400);
        case 7:
            return http("unknown dialect",
                        request_line("GET /ws HTTP/1.1", upgrade + key +
                                                             "Sec-WebSocket-Version: 13\r\n"
                                                             "Sec-WebSocket-Protocol: klingon\r\n"),
                        400);
        case 8:
            return http("body too long",
                        request_line("POST /topics/a HTTP/1.1",
                                     "Content-Length: " +
                                         std::to_string(limits.message_bytes_max + 1) + "\r\n"),
                        413);
        case 9:
            return http("smuggling",
                        request_line("POST /topics/a HTTP/1.1",
                                     "Content-Length: 5\r\nContent-Length: 6\r\n"),
                        400);
        default: return http("foreign host", "GET /ws HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403);
    }
}

Offence draw_frame_offence(base::Prng& prng, const Limits& limits) {
    const auto frame = [&prng](std::string name, uint16_t code, const FrameShape& shape,
                               std::string_view payload) {
        return Offence{.name = std::move(name),
                       .bytes = make_frame(prng, shape, payload),
                       .close_expected = code,
                       .error_expected = {}};
    };
    const std::string ping = "{\"op\":\"ping\"}";
    switch (prng.below(13)) {
        case 0: return frame("unmasked", 1002, {.is_masked = false}, ping);
        case 1: return frame("reserved opcode", 1002, {.opcode = static_cast<Opcode>(0x3)}, ping);
        case 2: return frame("reserved control", 1002, {.opcode = static_cast<Opcode>(0xb)}, "");
        case 3: return frame("reserved bit", 1002, {.reserved_bits = 0x20}, ping);
        case 4: return frame("fragmented ping", 1002, {.opcode = Opcode::ping, .fin = false}, "x");
        case 5: return frame("long ping", 1002, {.opcode = Opcode::ping}, std::string(126, 'x'));
        case 6: return frame("length not minimal", 1002, {.is_length_minimal = false}, ping);
        case 7:
            return frame("continuation of nothing", 1002, {.opcode = Opcode::continuation}, ping);
        case 8: return frame("short close", 1002, {.opcode = Opcode::close}, "x");
        case 9:
            return frame("bad close code", 1002, {.opcode = Opcode::close}, "\x03\xed");  // 1005
        case 10: return frame("bad UTF-8", 1007, {}, "{\"op\":\"\xc3\x28\"}");
        case 11: return frame("binary", 1003, {.opcode = Opcode::binary}, "bytes");
        default:
            return frame("message too big", 1009, {},
                         std::string(limits.message_bytes_max + 1, ' '));
    }
}

Offence draw_command_offence(base::Prng& prng) {
    const auto command = [&prng](std::string name, std::string code, std::string_view text) {
        return Offence{.name = std::move(name),
                       .bytes = make_frame(prng, {}, text),
                       .error_expected = std::move(code)};
    };
    switch (prng.below(12)) {
        case 0: return command("not JSON", "invalid_json", "{\"op\":\"ping\"");
        case 1:
            return command("broken data", "invalid_json",
                           "{\"op\":\"publish\",\"topic\":\"a\",\"data\":[1,01]}");
        case 2:
            return command("twice the same key", "invalid_json",
                           "{\"op\":\"ping\",\"op\":\"ping\"}");
        case 3: {
            const std::string deep = std::string(70, '[') + std::string(70, ']');
            return command("too deep", "invalid_json",
                           "{\"op\":\"publish\",\"topic\":\"a\",\"data\":" + deep + "}");
        }
        case 4: return command("a number", "invalid_command", "17");
        case 5: return command("unknown op", "unknown_op", "{\"op\":\"dance\"}");
        case 6: return command("unknown field", "invalid_command", "{\"op\":\"ping\",\"x\":1}");
        case 7:
            return command("bad filter", "invalid_filter",
                           "{\"op\":\"subscribe\",\"filter\":\"a#\"}");
        case 8:
            return command("wildcard in a topic", "invalid_topic",
                           "{\"op\":\"publish\",\"topic\":\"a/+\",\"data\":1}");
        case 9:
            return command("the broker's topic", "forbidden",
                           "{\"op\":\"publish\",\"topic\":\"$sys\",\"data\":1}");
        case 10:
            return command("never subscribed", "not_subscribed",
                           "{\"op\":\"unsubscribe\",\"filter\":\"a\"}");
        default:
            return command("bad base64", "invalid_payload",
                           "{\"op\":\"publish\",\"topic\":\"a\",\"base64\":\"???\"}");
    }
}

Offence flood_of(base::Prng& prng, std::string name, uint32_t pings_count) {
    Offence flood{.name = std::move(name), .bytes = {}, .error_expected = {}};
    flood.answers_expected = flood.pings_count = pings_count;
    for (uint32_t index = 0; index < pings_count; ++index) {
        flood.bytes +=
            make_frame(prng, {}, "{\"op\":\"ping\",\"id\":" + std::to_string(index) + "}");
    }
    return flood;
}

// Commands in a row without reading the answers: the broker must stop reading, not grow.
Offence draw_flood(base::Prng& prng) {
    return flood_of(prng, "flood", static_cast<uint32_t>(prng.between(10, 400)));
}

// More than the rate by far, whatever the answers say.
Offence draw_deafness(base::Prng& prng) {
    Offence flood = flood_of(prng, "takes no notice of refusals", 2'500);
    flood.close_expected = 4101;
    return flood;
}

}  // namespace

Offence draw_offence(base::Prng& prng, const Limits& limits) {
    if (limits.commands_per_second > 0 && prng.below(4) == 0) return draw_deafness(prng);
    switch (prng.below(8)) {
        case 0:
        case 1: return draw_http_offence(prng, limits);
        case 2:
        case 3:
        case 4: return draw_frame_offence(prng, limits);
        case 5:
        case 6: return draw_command_offence(prng);
        default: return draw_flood(prng);
    }
}

Hostile::Hostile(Surroundings& surroundings, std::string name, uint64_t seed)
    : Peer(surroundings, std::move(name), seed),
      visits_max_(static_cast<uint32_t>(prng_.between(1, 10))),
      think_ns_max_(prng_.between(1, 5'000) * base::ns_per_ms),
      next_action_ns_(now_ns() + prng_.below(think_ns_max_)) {}

uint64_t Hostile::ready_at_ns() const {
    if (state_ == State::absent) {
        return is_healed_ || visits_count_ >= visits_max_ ? base::never_ns : next_action_ns_;
    }
    const uint64_t read_ns = std::max(wire_.look_at_ns(), next_read_ns_);
    return state_ == State::babbling ? std::min(read_ns, next_babble_ns_) : read_ns;
}

std::string Hostile::describe() const {
    return name_ + (wire_.is_open() ? " waits after the offence: " + offence_.name : " is absent");
}

void Hostile::complain(const std::string& text) const {
    violated("P7", name_ + " (connection " + std::to_string(wire_.id()) + ") after the offence '" +
                       offence_.name + "': " + text);
}

void Hostile::heal() {
    is_healed_ = true;
    if (wire_.is_open()) go();
}

void Hostile::go() {
    if (prng_.below(2) == 0) {
        wire_.reset();
    } else {
        wire_.close();
    }
    state_ = State::absent;
    next_action_ns_ = now_ns() + prng_.below(think_ns_max_);
}

void Hostile::step() {
    if (state_ == State::absent) {
        if (!is_healed_) begin();
        return;
    }
    if (state_ == State::babbling && now_ns() >= next_babble_ns_) babble();
    wire_.flush(UINT64_MAX);
    if (now_ns() >= next_read_ns_) read_all();
}

void Hostile::begin() {
    ++visits_count_;
    connect();
    incoming_.clear();
    side_ = WebSocketSide{};
    is_answered_ = false;
    answers_count_ = 0;
    next_read_ns_ = 0;
    read_at_ns_ = now_ns();
    was_deaf_ = false;
    Limits limits = around_.scenario.limits;
    limits.http_head_bytes_max = around_.reloads.head_bytes_most();
    offers_count_ = around_.reloads.offers_count();
    offence_ = draw_offence(prng_, limits);
    rates_.emplace(around_.network.clock(), around_.scenario.limits, name_);
    goodbye_code_.clear();
    trace("offends: " + offence_.name);
    state_ = offence_.is_http ? State::waiting : State::handshake;
    wire_.queue(offence_.is_http ? offence_.bytes : side_.request(prng_, "/ws"));
    wire_.flush(UINT64_MAX);
}

void Hostile::look_whether_given_up() {
    const uint64_t given_up_at_ns = around_.network.at(wire_.id()).given_up_at_ns;
    if (given_up_at_ns > read_at_ns_ && given_up_at_ns <= now_ns()) {
        was_deaf_ = given_up_at_ns - read_at_ns_ >= around_.scenario.least().close_timeout_ns;
    }
    read_at_ns_ = now_ns();
}

void Hostile::read_all() {
    look_whether_given_up();
    wire_.read(incoming_, UINT64_MAX);
    if (state_ == State::handshake) read_handshake();
    if (state_ == State::waiting && offence_.is_http) read_status();
    if (state_ == State::waiting && !offence_.is_http) read_frames();
    if (state_ != State::absent && wire_.is_over()) on_over();
}

void Hostile::read_handshake() {
    uint32_t status = 0;
    switch (side_.read_answer(incoming_, status)) {
        case WebSocketSide::Answer::need_more: return;
        case WebSocketSide::Answer::refused:
            if (status != 503 && status != 408) complain("refused with " + std::to_string(status));
            is_answered_ = true;
            state_ = State::leaving;
            wire_.finish();
            return;
        case WebSocketSide::Answer::accepted: break;
    }
    state_ = State::waiting;
    for (uint32_t count = 0; count < offence_.pings_count; ++count) {
        rates_->asked(Rates::Kind::command);
    }
    wire_.queue(offence_.bytes);
    wire_.flush(UINT64_MAX);
    // Some do not read for a while.
    if (prng_.below(3) == 0) next_read_ns_ = now_ns() + prng_.below(think_ns_max_);
}

void Hostile::read_status() {
    const size_t end = incoming_.find("\r\n\r\n");
    if (end == std::string::npos) return;
    uint32_t status = 0;
    if (!incoming_.starts_with("HTTP/1.1 ")) complain("got no response but " + incoming_);
    std::from_chars(incoming_.data() + 9, incoming_.data() + 12, status);
    // What was too long may not be any more; without it the request is still no good one.
    const bool is_reloaded = offers_count_ != around_.reloads.offers_count();
    const bool is_other = offence_.status_expected == 431 && is_reloaded && status / 100 == 4;
    if (status != offence_.status_expected && status != 503 && status != 408 && !is_other) {
        complain("got " + std::to_string(status) + ", expected " +
                 std::to_string(offence_.status_expected));
    }
    is_answered_ = true;
    state_ = State::leaving;
    wire_.finish();
}

void Hostile::read_frames() {
    side_.feed(incoming_);
    while (state_ == State::waiting && side_.has_unread()) {
        const Said said = side_.next();
        switch (said.kind) {
            case codec::Decoded::Kind::need_more: return;
            case codec::Decoded::Kind::text: on_text(said.payload); break;
            case codec::Decoded::Kind::close: on_close(said.close_code); break;
            case codec::Decoded::Kind::ping:
                rates_->asked(Rates::Kind::control);
                wire_.queue(make_frame(prng_, {.opcode = Opcode::pong}, said.payload));
                wire_.flush(UINT64_MAX);
                break;
            case codec::Decoded::Kind::pong: break;
            case codec::Decoded::Kind::binary:
            case codec::Decoded::Kind::violation: complain("got a frame that must not be");
        }
    }
}

void Hostile::on_text(const std::string& text) {
    std::vector<JsonMember> members;
    std::string op;
    if (!read_members(text, members) || !read_string(value_of(members, "op"), op)) {
        complain("got " + text);
    }
    if (op == "goodbye" && !read_string(value_of(members, "code"), goodbye_code_)) {
        complain("got " + text);
    }
    if (op != "error" && op != "pong") return;
    if (offence_.pings_count > 0) {
        on_ping_answered(members);
        return;
    }
    if (offence_.close_expected != 0) return;  // an offence that was read as a command after all
    std::string code;
    if (op == "error" && !read_string(value_of(members, "code"), code)) complain("got " + text);
    if (code != offence_.error_expected && code != "draining" && code != "overloaded") {
        complain("got " + text + ", expected " + offence_.error_expected);
    }
    if (++answers_count_ < offence_.answers_expected) return;
    is_answered_ = true;
    go();
}

void Hostile::on_ping_answered(const std::vector<JsonMember>& members) {
    const auto number_of = [&](std::string_view name) {
        return std::strtoull(std::string(value_of(members, name)).c_str(), nullptr, 10);
    };
    const auto ask = static_cast<Rates::Id>(number_of("id"));
    if (value_of(members, "id").empty() || ask >= offence_.pings_count) complain("of which ping?");
    std::string code;
    if (!read_string(value_of(members, "code"), code)) {
        rates_->done(ask);
    } else if (code == "rate_limited") {
        rates_->refused(ask, number_of("retry_ms"));
        around_.oracle.count_refused_for_rate();
    } else if (code != "draining" && code != "overloaded") {
        complain("got the error " + code);
    }
    if (++answers_count_ < offence_.answers_expected) return;
    is_answered_ = true;
    go();
}

void Hostile::on_close(uint16_t code) {
    const Scenario& scenario = around_.scenario;
    const bool is_expected = offence_.close_expected != 0 && code == offence_.close_expected;
    const bool is_stop = code == 1001 && around_.oracle.is_stopping();
    const bool is_slow = code == 4100 && (scenario.may_be_slow || offence_.answers_expected > 1);
    // It may have been reading nothing for a while.
    const bool is_silent = code == 4200;
    const bool is_operated = code == 4102 && is_closing_asked();
    if (!is_expected && !is_stop && !is_slow && !is_silent && !is_operated) {
        complain("closed with " + std::to_string(code) + ", expected " +
                 std::to_string(offence_.close_expected));
    }
    if (is_operated) {
        if (goodbye_code_ != "closed_by_operator") complain("closed with 4102 without a goodbye");
        around_.oracle.count_closed(code);
    }
    if (code == 4101) {
        rates_->closed_for_rate();
        if (goodbye_code_ != "rate_limited") complain("closed with 4101 without a goodbye");
        around_.oracle.count_closed(code);
    }
    is_answered_ = true;
    state_ = State::leaving;
    // Some go on talking after the end, to see how long they are listened to.
    if (prng_.below(3) == 0) {
        state_ = State::babbling;
        next_babble_ns_ = now_ns();
    } else {
        wire_.finish();
    }
}

bool Hostile::is_closing_asked() const {
    return around_.oracle.operations().is_closing_asked(wire_.id());
}

void Hostile::babble() {
    if (!wire_.has_outgoing()) wire_.queue(std::string(prng_.between(1, 5'000), 'z'));
    next_babble_ns_ = now_ns() + prng_.below(300 * base::ns_per_ms);
}

// The connection is over without an answer, although there was to be a Close frame.
bool Hostile::was_answered_in_vain() {
    if (!was_deaf_ || offence_.close_expected == 0 || state_ != State::waiting) return false;
    const Connection& connection = around_.network.at(wire_.id());
    if (connection.was_blocked_when_given_up) return true;
    incoming_.append(connection.eaten.begin(), connection.eaten.end());
    read_frames();
    return is_answered_;
}

void Hostile::on_over() {
    const Scenario& scenario = around_.scenario;
    const bool is_excused = wire_.is_broken_by_fault() || state_ == State::handshake ||
                            around_.oracle.is_stopping() || is_closing_asked() ||
                            scenario.may_be_slow || scenario.may_be_silent;
    if (!is_answered_ && !is_excused && !was_answered_in_vain()) {
        complain("the connection ended without an answer");
    }
    if (state_ == State::absent) return;
    wire_.close();
    state_ = State::absent;
    next_action_ns_ = now_ns() + prng_.below(think_ns_max_);
}

}  // namespace sim
