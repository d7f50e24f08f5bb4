#include "tests/sim/poster.h"

#include <algorithm>
#include <optional>

#include "tests/sim/payloads.h"

namespace sim {

namespace {

std::string percent_encode(base::Prng& prng, std::string_view topic) {
    constexpr std::string_view digits = "0123456789ABCDEF";
    std::string encoded;
    for (const char c : topic) {
        const uint8_t byte = static_cast<uint8_t>(c);
        if (byte < 0x80 && prng.below(8) != 0) {
            encoded.push_back(c);
            continue;
        }
        encoded.push_back('%');
        encoded.push_back(digits[byte >> 4]);
        encoded.push_back(digits[byte & 15]);
    }
    return encoded;
}

}  // namespace

Poster::Poster(Surroundings& surroundings, std::string name, uint64_t seed)
    : Peer(surroundings, std::move(name), seed),
      posts_max_(static_cast<uint32_t>(prng_.between(3, 30))),
      pipelined_max_(static_cast<uint32_t>(prng_.between(1, 5))),
      think_ns_max_(prng_.between(1, 2'000) * base::ns_per_ms),
      next_action_ns_(now_ns() + prng_.below(think_ns_max_)) {}

uint64_t Poster::ready_at_ns() const {
    const bool may_post = !is_healed_ && posts_count_ < posts_max_;
    if (!wire_.is_open()) return may_post ? next_action_ns_ : base::never_ns;
    uint64_t at_ns = wire_.look_at_ns();
    if (may_post && !is_refused_ && waiting_.size() < pipelined_max_) {
        at_ns = std::min(at_ns, next_action_ns_);
    }
    return at_ns;
}

std::string Poster::describe() const {
    return name_ + " waits for " + std::to_string(waiting_.size()) + " responses" +
           (wire_.is_open() ? " on connection " + std::to_string(wire_.id()) : std::string()) +
           (wire_.has_outgoing() ? ", has bytes to send" : "");
}

void Poster::step() {
    if (wire_.is_open()) {
        wire_.read(incoming_, UINT64_MAX);
        read_responses();
        if (wire_.is_over()) {
            end(true);
            return;
        }
    }
    if (now_ns() >= next_action_ns_) act();
    if (wire_.is_open()) wire_.flush(UINT64_MAX);
}

void Poster::act() {
    if (is_healed_ || posts_count_ >= posts_max_) return;
    next_action_ns_ = now_ns() + prng_.below(think_ns_max_);
    if (!wire_.is_open()) {
        connect();
        is_refused_ = false;
        incoming_.clear();
        session_ = around_.oracle.session_begin(name_, {.is_hostile = true});
    }
    if (!is_refused_ && waiting_.size() < pipelined_max_) post();
}

void Poster::post() {
    ++posts_count_;
    Oracle& oracle = around_.oracle;
    const std::string topic = any_topic();
    const uint32_t bytes_wanted =
        static_cast<uint32_t>(prng_.below(around_.scenario.payload_bytes_max + 1));
    MadePayload payload = make_payload(prng_, oracle.next_message(), bytes_wanted);
    constexpr std::string_view types[] = {"application/json", "text/plain; charset=utf-8",
                                          "application/octet-stream"};
    const bool is_last = prng_.below(8) == 0;
    std::string request = "POST /topics/" + percent_encode(prng_, topic) +
                          " HTTP/1.1\r\nHost: localhost:7788\r\nContent-Type: " +
                          std::string(types[static_cast<uint8_t>(payload.kind)]) +
                          "\r\nContent-Length: " + std::to_string(payload.bytes.size()) + "\r\n";
    if (is_last) request += "Connection: close\r\n";
    request += "\r\n" + payload.bytes;
    trace("posts message " + std::to_string(oracle.next_message()) + ": " + request.substr(0, 300));
    wire_.queue(request);
    const MessageId message = oracle.publish_sent(
        session_, {.topic = topic, .kind = payload.kind, .bytes = std::move(payload.bytes)});
    waiting_.push_back({message, oracle.rates(session_).asked(Rates::Kind::publish)});
    if (is_last) is_refused_ = true;
}

void Poster::read_responses() {
    while (!waiting_.empty() && read_response()) continue;
    if (waiting_.empty() && is_refused_) wire_.finish();
}

bool Poster::read_response() {
    const std::optional<HttpAnswer> answer = take_http_answer(name_, incoming_, false);
    if (!answer) return false;
    trace("got " + std::to_string(answer->status) + " " + answer->body);
    on_response(*answer);
    return true;
}

void Poster::on_response(const HttpAnswer& response) {
    const Post post = waiting_.front();
    waiting_.pop_front();
    if (response.is_last) is_refused_ = true;
    if (response.status == 200) {
        around_.oracle.rates(session_).done(post.ask);
        acknowledged(post.message, response.body);
        return;
    }
    if (response.status == 429) {
        on_rate_limited(post, response);
        return;
    }
    // Too many connections, a broker that stops, or a slow line; each closes the connection.
    if ((response.status != 503 && response.status != 408) || !response.is_last) {
        violated("P7", name_ + " was refused with " + std::to_string(response.status));
    }
    around_.oracle.publish_refused(post.message);
    waiting_.clear();
}

void Poster::on_rate_limited(const Post& post, const HttpAnswer& response) {
    Oracle& oracle = around_.oracle;
    const uint64_t retry_after_s = response.retry_after_s.value_or(0);
    oracle.rates(session_).refused(post.ask, retry_after_s, Rates::Unit::seconds);
    oracle.count_refused_for_rate();
    oracle.publish_refused(post.message);
    next_action_ns_ = std::max(next_action_ns_, now_ns() + retry_after_s * base::ns_per_s);
}

void Poster::acknowledged(MessageId message, std::string_view body) {
    std::vector<JsonMember> members;
    std::string op;
    if (!body.ends_with('\n') || !read_members(body.substr(0, body.size() - 1), members) ||
        !read_string(value_of(members, "op"), op) || op != "published") {
        violated("P7", name_ + " got another answer than published: " + std::string(body));
    }
    std::optional<Place> place;
    std::string text;
    if (read_string(value_of(members, "pos"), text)) place = read_place(text);
    around_.oracle.publish_acknowledged(message, place);
}

void Poster::end(bool is_by_broker) {
    trace(is_by_broker ? "the stream ended" : "ends");
    waiting_.clear();
    around_.oracle.session_end(session_, {.is_by_fault = wire_.is_broken_by_fault()});
    wire_.close();
}

}  // namespace sim
