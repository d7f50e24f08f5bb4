// Operator: a simulated HTTP client of the admin surface: it asks which connections there are,
// closes some, its own too, and asks for much that there is not. It pipelines, and sometimes leaves
// before it is answered.
//
// Owner: World. Thread: the World's.
// The connection and the questions are in operator.cc, the answers in operator_answers.cc.
//
// Invariants:
//  1. Every question of a connection that stays is answered once, in order, with a status that
//     OPERATIONS.md has for it, and in time where nothing delays the bytes.
//  2. A list has every connection that was there from its question to its answer, and none that had
//     ended before.
//  3. What was closed for it with 204 ends soon when the faults are over; 404 is said only of what
//     is not there.
// A broken one is thrown as Violation, promise "operator". When the faults are over it asks once
// more for all connections, until it is told, so that nothing of theirs is left undone unnoticed.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/connections_list.h"
#include "tests/sim/http_answer.h"
#include "tests/sim/peer.h"

namespace sim {

class Operator final : public Peer {
  public:
    Operator(Surroundings& surroundings, std::string name, uint64_t seed);

    void step() override;
    uint64_t ready_at_ns() const override;
    void heal() override;
    bool is_settled() const override;
    void say_last_words() override;
    std::string describe() const override;

  private:
    // A worker that does not answer for so long is given up.
    static constexpr uint64_t answer_ns_max = 5 * base::ns_per_s;
    // So many of the connections that it was told of it remembers.
    static constexpr size_t named_max = 64;

    enum class Kind : uint8_t {
        list,
        close,
        mistake,  // for which status_expected is the answer
    };
    struct Question {
        Kind kind = Kind::mistake;
        std::string target;  // of the request line, for the trace and complaints
        bool is_head = false;
        uint64_t sent_ns = 0;
        bool is_calm = false;  // no more faults since then
        uint32_t status_expected = 0;
        uint32_t offers_count = 0;  // of new settings, when it is sent
        ListRequest list = {};
        Operations::QuestionId number = 0;  // of a list
        // Who surely is there when it is sent, and how many may be.
        std::vector<ConnectionId> there = {};
        uint64_t there_count_max = 0;
        uint32_t connected_count = 0;  // of all times
        // Of a close: none when the id is of nobody.
        ConnectionId victim = no_connection;
        bool is_own = false;
        bool was_over = false;
    };
    struct Named {
        std::string id;
        ConnectionId connection = no_connection;
        bool is_websocket = false;
    };
    struct Closing {
        ConnectionId connection = no_connection;
        uint64_t granted_ns = 0;
    };

    bool may_ask() const;
    void act();
    void ask_something();
    void ask_list();
    void ask_list(const ListRequest& request, const std::string& query);
    void ask_close();
    void ask_mistake();
    void ask_long();
    void send(std::string_view method, const std::string& target, Question question,
              size_t padding_bytes = 0);
    void leave_early();

    void read_answers();
    void on_answer(const Question& question, const HttpAnswer& answer);
    // An answer that any question may get.
    bool is_ending(const Question& question, const HttpAnswer& answer) const;
    void on_list(const Question& question, const HttpAnswer& answer);
    void check_list(const Question& question, const ConnectionsList& list);
    void on_close(const Question& question, const HttpAnswer& answer);
    void check_error(const Question& question, const HttpAnswer& answer) const;
    void on_over();
    void forget_connection();

    bool is_over(ConnectionId connection) const;
    // Since when time counts; base::never_ns: not now.
    uint64_t timed_since_ns() const;
    // When the broker is late with an answer, and with what it said it would close.
    uint64_t answer_due_ns() const;
    uint64_t end_due_ns(const Closing& closing) const;
    void check_in_time();
    [[noreturn]] void complain(const Question& question, const std::string& text) const;

    const uint32_t questions_max_;
    const uint32_t pipelined_max_;
    const uint64_t think_ns_max_;
    const uint64_t read_pause_ns_max_;
    const bool is_prompt_;  // no fault of the scenario delays anything
    uint32_t questions_count_ = 0;
    uint32_t last_words_ = 0;
    uint64_t next_action_ns_;
    uint64_t next_read_ns_ = 0;
    bool is_healed_ = false;
    uint64_t healed_at_ns_ = base::never_ns;
    bool wants_last_list_ = false;    // after the faults
    bool is_ending_ = false;          // nothing more is asked on this connection
    uint64_t answered_until_ns_ = 0;  // no answer or byte of one is owed from before
    uint64_t served_since_ns_ = 0;    // the broker's timers of the connection began after this
    bool has_been_answered_ = false;  // on this connection
    bool ignores_rest_ = false;       // of what comes on it
    std::string incoming_;
    std::deque<Question> waiting_;
    std::vector<Named> named_;  // in lists that it read, the last one's behind
    std::vector<Closing> closings_;
};

}  // namespace sim
