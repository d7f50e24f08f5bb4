#include "broker/connections_query.h"

#include <algorithm>
#include <utility>

namespace broker {

using State = ConnectionState;

namespace {

constexpr const char* stopping_reason = "the broker is stopping";

}  // namespace

bool ConnectionsQuery::ask(base::Slot asker, const ConnectionsQuestion& question) {
    CHECK(!is_draining_);
    if (question_) return false;
    const uint32_t shards_count = parts_.courier.shards_count();
    question_ = Question{.asker = asker,
                         .question = question,
                         .deadline_ns = parts_.reactor.now_ns() + timeout_ns,
                         .unasked = {},
                         .answers_pending = shards_count,
                         .rows = {}};
    ++last_token_;
    for (io::ShardId shard = 0; shard < shards_count; ++shard) {
        if (shard != parts_.courier.self()) question_->unasked.push_back(shard);
    }
    on_read(parts_.courier.self(), last_token_, question);
    return true;
}

bool ConnectionsQuery::close(base::Slot asker, const ConnectionId& id) {
    CHECK(!is_draining_);
    if (id.shard >= parts_.courier.shards_count()) {
        on_closed(asker, false);
    } else if (id.shard == parts_.courier.self()) {
        on_closed(asker, close_own(asker, id.slot));
    } else if (closings_.size() == closings_max) {
        return false;
    } else {
        closings_.push_back({asker, id});
    }
    return true;
}

void ConnectionsQuery::drain() {
    is_draining_ = true;
    if (question_ && !question_->unasked.empty()) {
        answers_.push_back({question_->asker, 503, stopping_reason});
        question_.reset();
    }
    for (const Closing& closing : closings_) {
        answers_.push_back({closing.asker, 503, stopping_reason});
    }
    closings_.clear();
}

std::vector<ConnectionsQuery::Answer> ConnectionsQuery::take_answers() {
    return std::exchange(answers_, {});
}

void ConnectionsQuery::on_read(io::ShardId from, uint32_t token,
                               const ConnectionsQuestion& question) {
    std::erase_if(scans_, [from](const Scan& scan) { return scan.from == from; });
    scans_.push_back({.from = from, .token = token, .question = question, .rows = {}});
}

void ConnectionsQuery::on_close(io::ShardId from, base::Slot asker, base::Slot target) {
    parts_.courier.write_connection_closed(from, asker, close_own(base::Slot{}, target));
}

bool ConnectionsQuery::close_own(base::Slot asker, base::Slot target) {
    const Connection* connection = parts_.connections.find(target);
    if (connection == nullptr) return false;
    if (target == asker) {
        connection->http->keep_alive = false;  // after the answer
        return true;
    }
    switch (connection->state) {
        case State::open:
            parts_.lifecycle.close_websocket(target, CloseCode::closed_by_operator,
                                             row_of(CloseCode::closed_by_operator).reason,
                                             Lifecycle::Queued::drop);
            return true;
        case State::http:
        case State::closing:
        case State::lingering: parts_.lifecycle.abort(target); return true;
        case State::joining: return true;
        case State::closed: return false;
    }
    UNREACHABLE();
}

void ConnectionsQuery::on_closed(base::Slot asker, bool was_there) {
    if (was_there) {
        answers_.push_back({asker, 204, {}});
    } else {
        answers_.push_back({asker, 404, "there is no such connection (any more)"});
    }
}

void ConnectionsQuery::on_rows(uint32_t token, std::span<const ConnectionRow> rows) {
    if (!question_ || token != last_token_) return;  // it was given up
    question_->rows.insert(question_->rows.end(), rows.begin(), rows.end());
}

void ConnectionsQuery::on_end(uint32_t token, uint64_t connections_count) {
    if (!question_ || token != last_token_) return;
    question_->connections_count += connections_count;
    --question_->answers_pending;
    if (question_->answers_pending == 0) finish();
}

// Each shard has sent `limit` rows at most, and shards are few.
void ConnectionsQuery::finish() {
    std::vector<ConnectionRow>& rows = question_->rows;
    const ConnectionsQuestion& question = question_->question;
    std::sort(rows.begin(), rows.end(), [&](const ConnectionRow& one, const ConnectionRow& other) {
        return stands_before(question.sort, one, other);
    });
    if (rows.size() > question.limit) rows.resize(question.limit);
    Answer answer{question_->asker, 200, {}};
    append_connections(answer.body, rows, question_->connections_count);
    answers_.push_back(std::move(answer));
    question_.reset();
}

void ConnectionsQuery::advance() {
    if (question_) {
        ask_others();
        if (parts_.connections.find(question_->asker) == nullptr) {
            question_.reset();
        } else if (parts_.reactor.now_ns() >= question_->deadline_ns) {
            answers_.push_back({question_->asker, 504, "a worker did not answer in time"});
            question_.reset();
        }
    }
    while (!closings_.empty()) {
        const Closing& first = closings_.front();
        if (!parts_.courier.ask_close(first.id.shard, first.asker, first.id.slot)) break;
        closings_.erase(closings_.begin());
    }
    if (scans_.empty()) return;
    const uint32_t slots_max = slots_per_turn_max / static_cast<uint32_t>(scans_.size());
    for (Scan& scan : scans_) {
        if (!scan.is_complete) look(scan, slots_max);
    }
    // Answering the own question ends it, but begins no scan.
    std::erase_if(scans_, [this](Scan& scan) { return scan.is_complete && hand_over(scan); });
}

void ConnectionsQuery::ask_others() {
    std::erase_if(question_->unasked, [this](io::ShardId shard) {
        return parts_.courier.ask_connections(shard, last_token_, question_->question);
    });
}

void ConnectionsQuery::look(Scan& scan, uint32_t slots_max) {
    scan.next_index = parts_.connections.for_some(
        scan.next_index, std::max(slots_max, 1u),
        [&](base::Slot slot, const Connection& connection) { take(scan, slot, connection); });
    scan.is_complete = scan.next_index == 0;
}

uint64_t ConnectionsQuery::lag_ns(const Connection& connection) const {
    if (connection.queue.is_empty() || connection.waits_since_ns == 0) return 0;
    return parts_.reactor.now_ns() - connection.waits_since_ns;
}

void ConnectionsQuery::take(Scan& scan, base::Slot slot, const Connection& connection) {
    if (connection.state == State::closed) return;
    ++scan.connections_count;
    const uint64_t now_ns = parts_.reactor.now_ns();
    ConnectionRow row;
    row.id = {parts_.courier.self(), slot};
    row.outbound_bytes = connection.queue.backlog_bytes();
    row.held_bytes = connection.overflow == nullptr ? 0 : connection.overflow->held_bytes;
    row.lag_ns = lag_ns(connection);
    const auto before = [&](const ConnectionRow& one, const ConnectionRow& other) {
        return stands_before(scan.question.sort, one, other);
    };
    if (scan.rows.size() == scan.question.limit) {
        if (!before(row, scan.rows.front())) return;
        std::pop_heap(scan.rows.begin(), scan.rows.end(), before);
        scan.rows.pop_back();
    }
    row.address = parts_.admission.client_address(slot);
    row.state = connection.state;
    row.is_websocket = connection.was_upgraded;
    row.is_browser = connection.is_browser;
    row.is_compressed = connection.deflate_window_bits != 0;
    row.is_slow = connection.is_slow;
    row.is_behind = connection.stream_lag != nullptr;
    row.is_paused = connection.pause != Pause::none;
    row.subscriptions_count = parts_.subscriptions.live().subscriptions_count(slot.index);
    row.catching_up_count = parts_.subscriptions.catching_up().subscriptions_count(slot.index);
    row.connected_ns = now_ns - connection.accepted_ns;
    row.silent_ns = now_ns - connection.last_life_ns;
    scan.rows.push_back(row);
    std::push_heap(scan.rows.begin(), scan.rows.end(), before);
}

bool ConnectionsQuery::hand_over(Scan& scan) {
    if (scan.from == parts_.courier.self()) {
        on_rows(scan.token, scan.rows);
        on_end(scan.token, scan.connections_count);
        return true;
    }
    while (!scan.rows.empty()) {
        const size_t count = std::min(scan.rows.size(), Courier::rows_per_record_max);
        const std::span<const ConnectionRow> last(scan.rows.data() + scan.rows.size() - count,
                                                  count);
        if (!parts_.courier.write_connection_rows(scan.from, scan.token, last)) return false;
        scan.rows.resize(scan.rows.size() - count);
    }
    return parts_.courier.write_connections_end(scan.from, scan.token, scan.connections_count);
}

uint64_t ConnectionsQuery::next_ns() const {
    if (!answers_.empty()) return 0;
    for (const Scan& scan : scans_) {
        if (!scan.is_complete) return 0;
    }
    const bool waits_for_room =
        !scans_.empty() || !closings_.empty() || (question_ && !question_->unasked.empty());
    if (waits_for_room) return parts_.reactor.now_ns() + lane_retry_ns;
    return question_ ? question_->deadline_ns : base::never_ns;
}

}  // namespace broker
