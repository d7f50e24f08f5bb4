#include "tests/sim/operations.h"

#include <algorithm>

#include "tests/sim/ledger.h"

namespace sim {

void Operations::named(const std::string& who, const std::string& id, ConnectionId connection) {
    const ConnectionId known = connections_.try_emplace(id, connection).first->second;
    if (known != connection) {
        violated("operator", who + " is told that " + id + " is connection " +
                                 std::to_string(connection) + ", and it was connection " +
                                 std::to_string(known));
    }
    const std::string& name = ids_.try_emplace(connection, id).first->second;
    if (name == id) return;
    violated("operator", who + " is told that connection " + std::to_string(connection) + " is " +
                             id + ", and it was " + name);
}

void Operations::closing_asked(ConnectionId connection) {
    closings_.try_emplace(connection, UINT64_MAX);
}

void Operations::closing_granted(ConnectionId connection) {
    uint64_t& granted_step = closings_.at(connection);
    granted_step = std::min(granted_step, clock_.step);
}

bool Operations::was_closed_before(ConnectionId connection, uint64_t step) const {
    const auto found = closings_.find(connection);
    return found != closings_.end() && found->second < step;
}

Operations::QuestionId Operations::question_asked(io::ShardId shard, ConnectionId asker) {
    questions_.push_back({.shard = shard, .asker = asker, .asked_step = clock_.step});
    return static_cast<QuestionId>(questions_.size() - 1);
}

void Operations::question_over(QuestionId question) {
    questions_[question].over_step = clock_.step;
}

bool Operations::has_rival(QuestionId question) const {
    const Question& asked = questions_[question];
    return std::any_of(questions_.begin(), questions_.end(), [&asked](const Question& other) {
        return other.shard == asked.shard && other.asker != asked.asker &&
               other.over_step >= asked.asked_step;
    });
}

void Operations::Counts::add(const Counts& other) {
    lists += other.lists;
    lists_complete += other.lists_complete;
    rows += other.rows;
    closings += other.closings;
    closings_in_vain += other.closings_in_vain;
    turned_away += other.turned_away;
    timed_out += other.timed_out;
    refused += other.refused;
}

}  // namespace sim
