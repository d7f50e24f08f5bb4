// What a simulated operator is answered.
#include <algorithm>
#include <utility>

#include "tests/sim/operator.h"
#include "tests/sim/payloads.h"

namespace sim {

void Operator::read_answers() {
    while (!waiting_.empty()) {
        const bool is_head = waiting_.front().is_head;
        const std::optional<HttpAnswer> answer = take_http_answer(name_, incoming_, is_head);
        if (!answer) return;
        const Question question = std::move(waiting_.front());
        waiting_.pop_front();
        trace("got " + std::to_string(answer->status) + (answer->is_last ? ", the last" : "") +
              " to " + question.target + " " + answer->body.substr(0, 300));
        if (question.kind == Kind::list) {
            around_.oracle.operations().question_over(question.number);
        }
        answered_until_ns_ = now_ns();
        on_answer(question, *answer);
        served_since_ns_ = question.sent_ns;
        has_been_answered_ = true;
        if (!answer->is_last) continue;
        is_ending_ = true;
        waiting_.clear();
        // A HEAD of which too little came to know it as one is refused with a body.
        ignores_rest_ = is_head;
        wire_.finish();
    }
    if (ignores_rest_) incoming_.clear();
    if (!incoming_.empty()) {
        violated("operator", name_ + " is told what it did not ask: " + incoming_.substr(0, 500));
    }
    if (is_ending_ && wire_.is_open()) wire_.finish();
}

void Operator::on_answer(const Question& question, const HttpAnswer& answer) {
    if (is_ending(question, answer)) return;
    switch (question.kind) {
        case Kind::list: on_list(question, answer); return;
        case Kind::close: on_close(question, answer); return;
        case Kind::mistake: break;
    }
    // Whether a head is too long may have changed on its way.
    const bool is_reloaded = question.offers_count != around_.reloads.offers_count();
    const bool is_of_length = question.status_expected == 431 || answer.status == 431;
    if (answer.status == 431 && !answer.is_last) complain(question, "and may go on");
    if (answer.status != question.status_expected && !(is_reloaded && is_of_length)) {
        complain(question, "is answered " + std::to_string(answer.status) + " instead of " +
                               std::to_string(question.status_expected));
    }
    ++around_.oracle.operations().counts().refused;
    check_error(question, answer);
}

bool Operator::is_ending(const Question& question, const HttpAnswer& answer) const {
    if (!answer.is_last || (answer.status != 408 && answer.status != 503)) return false;
    const uint64_t waited_ns = now_ns() - question.sent_ns;
    if (answer.status == 408 && waited_ns < around_.scenario.least().handshake_timeout_ns) {
        complain(question, "is told that it was too slow");
    }
    // A rival is a reason, too.
    if (answer.status == 408 || around_.oracle.is_stopping()) return true;
    return false;
}

void Operator::on_list(const Question& question, const HttpAnswer& answer) {
    Operations& operations = around_.oracle.operations();
    switch (answer.status) {
        case 200: break;
        case 503:
            if (answer.retry_after_s != 1) complain(question, "is not told when to ask again");
            if (!operations.has_rival(question.number)) {
                complain(question, "is turned away although nobody else asks");
            }
            ++operations.counts().turned_away;
            check_error(question, answer);
            return;
        case 504:
            if (question.is_calm || now_ns() - question.sent_ns < answer_ns_max) {
                complain(question, "is told that a worker does not answer, which had no time to");
            }
            ++operations.counts().timed_out;
            check_error(question, answer);
            return;
        default:
            complain(question, "is answered " + std::to_string(answer.status) + " " + answer.body);
    }
    ++operations.counts().lists;
    if (question.is_head) return;
    const ConnectionsList list = read_connections_list(name_, question.list, answer.body);
    operations.counts().rows += list.rows.size();
    if (list.is_complete()) ++operations.counts().lists_complete;
    check_list(question, list);
    for (const ListedConnection& row : list.rows) {
        operations.named(name_, row.id, row.connection);
        named_.push_back({row.id, row.connection, row.is_websocket});
    }
    if (named_.size() > named_max) {
        named_.erase(named_.begin(), named_.end() - static_cast<ptrdiff_t>(named_max));
    }
    if (list.is_complete()) wants_last_list_ = false;
}

void Operator::check_list(const Question& question, const ConnectionsList& list) {
    const Network& network = around_.network;
    uint64_t there_count = 0;
    for (const ConnectionId id : question.there) {
        if (network.at(id).is_closed_by_broker) continue;
        ++there_count;
        if (!list.is_complete() || list.has(id)) continue;
        complain(question, "connection " + std::to_string(id) + " is not in the list");
    }
    const uint64_t count_max =
        question.there_count_max + network.connections_count() - question.connected_count;
    if (list.connections_count < there_count || list.connections_count > count_max) {
        complain(question, "is told of " + std::to_string(list.connections_count) +
                               " connections, and there are from " + std::to_string(there_count) +
                               " to " + std::to_string(count_max));
    }
    for (const ListedConnection& row : list.rows) {
        if (row.connection >= network.connections_count() ||
            network.at(row.connection).shard != row.shard) {
            complain(question, row.id + " is listed, which is not there");
        }
        const Connection& connection = network.at(row.connection);
        if (connection.is_closed_by_broker && connection.closed_at_ns < question.sent_ns) {
            complain(question, row.id + " is listed, which ended before");
        }
    }
}

void Operator::on_close(const Question& question, const HttpAnswer& answer) {
    Operations& operations = around_.oracle.operations();
    const bool is_nobody = question.victim == no_connection;
    if (answer.status == 404) {
        if (!is_nobody && !around_.network.at(question.victim).is_closed_by_broker) {
            complain(question, "is told that connection " + std::to_string(question.victim) +
                                   " is not there, and it is");
        }
        ++operations.counts().closings_in_vain;
        check_error(question, answer);
        return;
    }
    if (answer.status != 204) {
        complain(question, "is answered " + std::to_string(answer.status) + " " + answer.body);
    }
    if (is_nobody || question.was_over) complain(question, "it was not there to be closed");
    if (question.is_own && !answer.is_last) complain(question, "and its own connection goes on");
    ++operations.counts().closings;
    operations.closing_granted(question.victim);
    if (!is_over(question.victim)) closings_.push_back({question.victim, now_ns()});
}

void Operator::check_error(const Question& question, const HttpAnswer& answer) const {
    const std::string_view allow =
        question.target.find("/api/connections/") == std::string::npos ? "GET, HEAD" : "DELETE";
    if (answer.status == 405 ? answer.allow != allow : !answer.allow.empty()) {
        complain(question, "is told that allowed is " + answer.allow);
    }
    if (question.is_head) return;
    std::vector<JsonMember> members;
    std::string op;
    std::string reason;
    const std::string_view body = answer.body;
    if (!body.ends_with('\n') || !read_members(body.substr(0, body.size() - 1), members) ||
        !read_string(value_of(members, "op"), op) || op != "error" ||
        !read_string(value_of(members, "reason"), reason) || reason.empty()) {
        complain(question, "is not told why: " + answer.body);
    }
}

void Operator::on_over() {
    trace(wire_.is_broken() ? "the connection broke" : "the stream ended");
    const ReloadableLimits limits = around_.scenario.least();
    // Who is idle is closed, and who takes the last answers too slowly is cut.
    const uint64_t patience_ns = std::min(
        {limits.keep_alive_timeout_ns, limits.handshake_timeout_ns, limits.close_timeout_ns});
    const bool is_excused = waiting_.empty() || wire_.is_broken_by_fault() ||
                            around_.oracle.is_stopping() ||
                            around_.oracle.operations().is_closing_asked(wire_.id()) ||
                            now_ns() - served_since_ns_ >= patience_ns;
    if (!is_excused) complain(waiting_.front(), "the connection ended without an answer");
    wire_.close();
    forget_connection();
}

}  // namespace sim
