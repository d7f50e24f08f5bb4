#include "tests/sim/operator.h"

#include <algorithm>
#include <utility>

namespace sim {

namespace {

// What a healthy broker may need beyond its timeouts, with the smallest pipes and turns.
constexpr uint64_t slack_ns = 10 * base::ns_per_s;
// A stop takes no longer where nobody is slow.
constexpr uint64_t last_words_think_ns_max = 20 * base::ns_per_ms;

// Whether bytes and time go on without a long pause all the while. Cores stall for a second.
bool is_prompt(const Scenario& scenario) {
    constexpr Fault delaying[] = {Fault::recv_delayed, Fault::recv_no_buffers, Fault::send_delayed,
                                  Fault::zero_window,  Fault::turn_limited,    Fault::time_jump};
    return std::none_of(std::begin(delaying), std::end(delaying), [&scenario](Fault fault) {
        return scenario.faults[static_cast<uint32_t>(fault)].numerator > 0;
    });
}

}  // namespace

Operator::Operator(Surroundings& surroundings, std::string name, uint64_t seed)
    : Peer(surroundings, std::move(name), seed),
      questions_max_(static_cast<uint32_t>(prng_.between(3, 40))),
      pipelined_max_(static_cast<uint32_t>(prng_.between(1, 6))),
      think_ns_max_(prng_.between(1, 3'000) * base::ns_per_ms),
      read_pause_ns_max_(prng_.below(4) == 0 ? prng_.between(1, 3'000) * base::ns_per_ms : 0),
      is_prompt_(is_prompt(surroundings.scenario) && read_pause_ns_max_ == 0),
      next_action_ns_(now_ns() + prng_.below(think_ns_max_)) {}

bool Operator::may_ask() const {
    if (is_ending_ || waiting_.size() >= pipelined_max_) return false;
    if (last_words_ > 0) return true;
    if (is_healed_) return wants_last_list_ && waiting_.empty();
    return questions_count_ < questions_max_;
}

uint64_t Operator::ready_at_ns() const {
    uint64_t at_ns = may_ask() ? next_action_ns_ : base::never_ns;
    if (wire_.is_open()) at_ns = std::min(at_ns, std::max(wire_.look_at_ns(), next_read_ns_));
    for (const Closing& closing : closings_) at_ns = std::min(at_ns, end_due_ns(closing));
    return std::min(at_ns, answer_due_ns());
}

void Operator::heal() {
    is_healed_ = true;
    healed_at_ns_ = now_ns();
    next_read_ns_ = 0;
    wants_last_list_ = !around_.oracle.is_stopping();
    if (!wants_last_list_) last_words_ = 0;
}

bool Operator::is_settled() const {
    return waiting_.empty() && !wire_.has_outgoing() && !wants_last_list_ &&
           std::all_of(closings_.begin(), closings_.end(),
                       [this](const Closing& each) { return is_over(each.connection); });
}

void Operator::say_last_words() {
    last_words_ = static_cast<uint32_t>(prng_.below(8));
    wants_last_list_ = false;
    next_action_ns_ = now_ns();
}

std::string Operator::describe() const {
    return name_ + " waits for " + std::to_string(waiting_.size()) + " answers" +
           (waiting_.empty() ? std::string() : ", first to " + waiting_.front().target) +
           (wire_.is_open() ? " on connection " + std::to_string(wire_.id()) : std::string()) +
           (wire_.has_outgoing() ? ", has bytes to send" : "") +
           (closings_.empty()
                ? std::string()
                : ", for the end of connection " + std::to_string(closings_.front().connection)) +
           (wants_last_list_ ? ", wants a last list" : "");
}

void Operator::complain(const Question& question, const std::string& text) const {
    violated("operator", name_ +
                             (wire_.is_open() ? " (connection " + std::to_string(wire_.id()) + ")"
                                              : std::string()) +
                             ", who asked " + question.target + ": " + text);
}

void Operator::step() {
    if (wire_.is_open() && now_ns() >= next_read_ns_) {
        const size_t bytes_before = incoming_.size();
        wire_.read(incoming_, UINT64_MAX);
        if (incoming_.size() > bytes_before) answered_until_ns_ = now_ns();
        if (read_pause_ns_max_ > 0 && !is_healed_) {
            next_read_ns_ = now_ns() + prng_.below(read_pause_ns_max_);
        }
        read_answers();
        if (wire_.is_over()) on_over();
    }
    std::erase_if(closings_, [this](const Closing& each) { return is_over(each.connection); });
    check_in_time();
    if (may_ask() && now_ns() >= next_action_ns_) act();
    if (wire_.is_open()) wire_.flush(UINT64_MAX);
}

// Asking ------------------------------------------------------------------------------------------

void Operator::act() {
    next_action_ns_ =
        now_ns() + prng_.below(last_words_ > 0 ? last_words_think_ns_max : think_ns_max_);
    if (!wire_.is_open()) {
        connect();
        incoming_.clear();
        is_ending_ = ignores_rest_ = has_been_answered_ = false;
        served_since_ns_ = answered_until_ns_ = now_ns();
    }
    if (is_healed_ && last_words_ == 0) {
        ask_list({.limit = 1'000}, "?limit=1000");
        return;
    }
    // Some ask for much at once.
    for (uint64_t count = prng_.below(3) == 0 ? pipelined_max_ : 1; count > 0; --count) {
        if (may_ask()) ask_something();
    }
    // Who leaves now is not there for the answer.
    if (prng_.below(12) == 0) leave_early();
}

void Operator::ask_something() {
    ++questions_count_;
    if (last_words_ > 0) --last_words_;
    const uint64_t choice = prng_.below(10);
    // Often where the limit changes.
    if (prng_.below(around_.scenario.reloads.empty() ? 20 : 5) == 0) {
        ask_long();
    } else if (choice < 4) {
        ask_list();
    } else if (choice < 7) {
        ask_close();
    } else {
        ask_mistake();
    }
}

void Operator::ask_list() {
    ListRequest request;
    std::string query;
    const auto add = [&query](const std::string& member) {
        query += (query.empty() ? "?" : "&") + member;
    };
    const bool is_sort_first = prng_.below(2) == 0;
    const auto add_sort = [&] {
        if (prng_.below(2) == 0) return;
        request.is_by_lag = prng_.below(2) == 0;
        add(request.is_by_lag ? "sort=lag" : "sort=outbound_bytes");
    };
    if (is_sort_first) add_sort();
    if (prng_.below(4) != 0) {
        constexpr uint32_t limits[] = {1, 2, 3, 7, 50, 999, 1'000, 1'000};
        request.limit = limits[prng_.below(std::size(limits))];
        add("limit=" + std::to_string(request.limit));
    }
    if (!is_sort_first) add_sort();
    ask_list(request, query);
}

void Operator::ask_list(const ListRequest& request, const std::string& query) {
    const Network& network = around_.network;
    Question question{.kind = Kind::list, .target = {}, .list = request};
    question.is_head = prng_.below(8) == 0 && !wants_last_list_;
    question.number =
        around_.oracle.operations().question_asked(network.at(wire_.id()).shard, wire_.id());
    question.connected_count = network.connections_count();
    for (ConnectionId id = 0; id < network.connections_count(); ++id) {
        if (network.at(id).is_closed_by_broker) continue;
        ++question.there_count_max;
        if (network.at(id).has_spoken) question.there.push_back(id);
    }
    send(question.is_head ? "HEAD" : "GET", "/api/connections" + query, std::move(question));
}

void Operator::ask_close() {
    Question question{.kind = Kind::close, .target = {}};
    const uint64_t choice = prng_.below(12);
    std::string id;
    if (named_.empty() || choice == 0) {
        constexpr const char* nobodys[] = {"0-0-4000000000", "0-4000000000-1", "999-0-1", "0-0-0",
                                           "4294967295-4294967295-4294967295"};
        id = nobodys[prng_.below(std::size(nobodys))];
    } else {
        // One of the last list, more often a WebSocket than not; its own; or one of long ago.
        size_t index = named_.size() - 1 - prng_.below(std::min<size_t>(named_.size(), 8));
        if (choice > 6 && !named_[index].is_websocket) index = prng_.below(named_.size());
        const auto own = std::find_if(named_.begin(), named_.end(), [this](const Named& each) {
            return each.connection == wire_.id();
        });
        if (choice == 1 && own != named_.end()) index = static_cast<size_t>(own - named_.begin());
        id = named_[index].id;
        question.victim = named_[index].connection;
        question.is_own = question.victim == wire_.id();
        question.was_over = around_.network.at(question.victim).is_closed_by_broker;
        around_.oracle.operations().closing_asked(question.victim);
    }
    send("DELETE", "/api/connections/" + id, std::move(question));
}

void Operator::ask_mistake() {
    struct Mistake {
        const char* method;
        const char* target;
        uint32_t status;
    };
    constexpr Mistake mistakes[] = {{"GET", "/api/connections?limit=0", 400},
                                    {"GET", "/api/connections?limit=1001", 400},
                                    {"GET", "/api/connections?limit=", 400},
                                    {"GET", "/api/connections?limit=1x", 400},
                                    {"GET", "/api/connections?limit=-1", 400},
                                    {"GET", "/api/connections?limit=99999999999", 400},
                                    {"GET", "/api/connections?sort=name", 400},
                                    {"HEAD", "/api/connections?sort=", 400},
                                    {"GET", "/api/connections?sort=lag&order=up", 400},
                                    {"GET", "/api/connections?x", 400},
                                    {"DELETE", "/api/connections", 405},
                                    {"POST", "/api/connections?limit=5", 405},
                                    {"GET", "/api/connections/0-0-1", 405},
                                    {"HEAD", "/api/connections/0-0-1", 405},
                                    {"PUT", "/api/connections/0-0-1", 405},
                                    {"DELETE", "/api/connections/", 400},
                                    {"DELETE", "/api/connections/0-0", 400},
                                    {"DELETE", "/api/connections/0-0-1-1", 400},
                                    {"DELETE", "/api/connections/00-0-1", 400},
                                    {"DELETE", "/api/connections/0-0-99999999999", 400},
                                    {"DELETE", "/api/connections/all", 400},
                                    {"GET", "/api/connectionss", 404},
                                    {"DELETE", "/api/connection/0-0-1", 404}};
    const Mistake& mistake = mistakes[prng_.below(std::size(mistakes))];
    send(mistake.method, mistake.target,
         {.kind = Kind::mistake,
          .target = {},
          .is_head = std::string_view(mistake.method) == "HEAD",
          .status_expected = mistake.status});
}

// A head of as many bytes as there may be, nearly, or of more.
void Operator::ask_long() {
    const Reloads& reloads = around_.reloads;
    constexpr size_t rest_bytes = 100;  // of the head; more than there are
    const bool is_too_long = prng_.below(2) == 0;
    send("GET", "/api/connectionss",
         {.kind = Kind::mistake, .target = {}, .status_expected = is_too_long ? 431u : 404u},
         is_too_long ? reloads.head_bytes_most() : reloads.head_bytes_least() - rest_bytes);
    if (is_too_long) is_ending_ = true;
}

void Operator::send(std::string_view method, const std::string& target, Question question,
                    size_t padding_bytes) {
    const bool is_last = !wants_last_list_ && prng_.below(16) == 0;
    std::string request(method);
    request += " " + target + " HTTP/1.1\r\nHost: localhost:7788\r\n";
    if (is_last) request += "Connection: close\r\n";
    if (padding_bytes > 0) request += "X: " + std::string(padding_bytes, 'x') + "\r\n";
    wire_.queue(request + "\r\n");
    trace("asks " + std::string(method) + " " + target + (is_last ? ", the last" : ""));
    question.target = std::string(method) + " " + target;
    question.sent_ns = now_ns();
    question.is_calm = is_healed_;
    question.offers_count = around_.reloads.offers_count();
    if (waiting_.empty()) answered_until_ns_ = now_ns();
    waiting_.push_back(std::move(question));
    if (is_last) is_ending_ = true;
}

void Operator::leave_early() {
    wire_.flush(UINT64_MAX);
    switch (prng_.below(4)) {
        case 0:
            // It asks no more, and still wants the answers.
            trace("ends its side");
            wire_.finish();
            is_ending_ = true;
            return;
        case 1:
            trace("closes");
            wire_.close();
            break;
        case 2:
            trace("resets");
            wire_.reset();
            break;
        default:
            trace("vanishes");
            wire_.vanish();
            break;
    }
    forget_connection();
}

void Operator::forget_connection() {
    waiting_.clear();
    incoming_.clear();
    is_ending_ = false;
}

// Time --------------------------------------------------------------------------------------------

// Whether it waits for nobody any more: the broker has closed its socket.
bool Operator::is_over(ConnectionId connection) const {
    return around_.network.at(connection).is_closed_by_broker;
}

// What happened before does not count while faults delayed it.
uint64_t Operator::timed_since_ns() const {
    if (around_.oracle.is_stopping()) return base::never_ns;
    return is_prompt_ ? 0 : healed_at_ns_;
}

uint64_t Operator::answer_due_ns() const {
    const uint64_t since_ns = timed_since_ns();
    // The first answer may wait for a place among the broker's sockets.
    const bool is_timed = !waiting_.empty() && has_been_answered_ && !wire_.has_outgoing();
    if (!is_timed || since_ns == base::never_ns) return base::never_ns;
    return std::max(answered_until_ns_, since_ns) + answer_ns_max + slack_ns;
}

uint64_t Operator::end_due_ns(const Closing& closing) const {
    const uint64_t since_ns = timed_since_ns();
    if (since_ns == base::never_ns || is_over(closing.connection)) return base::never_ns;
    return std::max(closing.granted_ns, since_ns) + 2 * around_.scenario.most().close_timeout_ns +
           slack_ns;
}

void Operator::check_in_time() {
    if (now_ns() >= answer_due_ns()) complain(waiting_.front(), "waits for its answer");
    for (const Closing& closing : closings_) {
        if (now_ns() < end_due_ns(closing)) continue;
        violated("operator", name_ + " was told 204, and connection " +
                                 std::to_string(closing.connection) + " is still there");
    }
}

}  // namespace sim
