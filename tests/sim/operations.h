// Operations: what operators asked of the broker and were told, as far as it concerns others: whose
// connection they wanted closed, which id means which connection, and who asked what at one time.
//
// Owner: Oracle. Thread: its World's.
// Invariants:
//  1. An id names one connection for everybody, and a connection has one id.
//  2. Nobody but an operator closes a connection as an operator does.
// A broken one is thrown as Violation, promise "operator".
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/sim/network.h"

namespace sim {

class Operations {
  public:
    explicit Operations(const Clock& clock) : clock_(clock) {}

    // A list told that `id` is that connection.
    void named(const std::string& who, const std::string& id, ConnectionId connection);

    // Somebody sent a DELETE of it, and was answered 204.
    void closing_asked(ConnectionId connection);
    void closing_granted(ConnectionId connection);
    bool is_closing_asked(ConnectionId connection) const { return closings_.contains(connection); }
    // Whether what was said at that step was said to a connection that was known to be closed.
    bool was_closed_before(ConnectionId connection, uint64_t step) const;

    // Each shard answers one question at a time: a question can be turned away because of another
    // connection's that was asked before it was answered, and not answered before it was asked.
    using QuestionId = uint32_t;
    QuestionId question_asked(io::ShardId shard, ConnectionId asker);
    void question_over(QuestionId question);
    bool has_rival(QuestionId question) const;

    struct Counts {
        uint64_t lists = 0;
        uint64_t lists_complete = 0;
        uint64_t rows = 0;
        uint64_t closings = 0;
        uint64_t closings_in_vain = 0;  // of connections that are not there (any more)
        uint64_t turned_away = 0;       // because of a rival
        uint64_t timed_out = 0;
        uint64_t refused = 0;  // for what is wrong with them

        void add(const Counts& other);
    };
    Counts& counts() { return counts_; }
    const Counts& counts() const { return counts_; }

  private:
    struct Question {
        io::ShardId shard = 0;
        ConnectionId asker = no_connection;
        uint64_t asked_step = 0;
        uint64_t over_step = UINT64_MAX;
    };

    const Clock& clock_;
    std::map<std::string, ConnectionId> connections_;  // by id
    std::map<ConnectionId, std::string> ids_;
    std::map<ConnectionId, uint64_t> closings_;  // when it was granted; UINT64_MAX: not yet
    std::vector<Question> questions_;
    Counts counts_;
};

}  // namespace sim
