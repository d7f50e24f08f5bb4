// ConnectionsQuery: "who is slow?", for an operator: the connections of all shards by what waits
// for them (GET /api/connections), and the end of one of them (DELETE /api/connections/ID). Direct
// descriptors are invisible to ss and lsof, so nobody else can answer.
//
// The asked shard sends the question to the others through the forward lanes. Each looks through
// its connections a bounded number per turn, keeps the topmost rows, and sends them back through
// its deliver lane, a few per record, as room is left. The asked shard merges them.
//
// Owner: a shard. Thread: its shard's.
// Invariants:
//  1. One question of this shard is answered at a time; further ones are refused.
//  2. Every question is answered once, at the latest after timeout_ns, unless its asker is gone.
//  3. A shard answers at most one question of each shard at a time: a later one takes the place of
//     an earlier one, whose asker has given it up.
//  4. A turn looks at slots_per_turn_max slots, whatever is asked.
//  5. After drain() nothing is asked of another shard any more, which may be gone by then; what was
//     asked before is answered (Shutdown).
// Limits: ConnectionsQuestion::limit_max rows of an answer; closings_max closings that wait for
// room in a lane.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "broker/admission.h"
#include "broker/connection.h"
#include "broker/connection_row.h"
#include "broker/courier.h"
#include "broker/lifecycle.h"
#include "broker/subscriptions.h"
#include "io/base/slab.h"
#include "io/reactor.h"

namespace broker {

class ConnectionsQuery {
  public:
    static constexpr uint64_t timeout_ns = 5 * base::ns_per_s;
    static constexpr uint32_t slots_per_turn_max = 2'048;
    static constexpr size_t closings_max = 64;

    struct Parts {
        io::Reactor& reactor;
        base::Slab<Connection>& connections;
        Courier& courier;
        Lifecycle& lifecycle;
        const Subscriptions& subscriptions;
        const Admission& admission;
    };
    explicit ConnectionsQuery(const Parts& parts) : parts_(parts) {}

    // An HTTP connection asks. False: another question is being answered.
    [[nodiscard]] bool ask(base::Slot asker, const ConnectionsQuestion& question);
    // An HTTP connection wants another one closed, with 4102 if it is a WebSocket. False: too many
    // closings wait.
    [[nodiscard]] bool close(base::Slot asker, const ConnectionId& id);

    // The broker stops: no more is asked, and what could not be yet is answered 503.
    void drain();
    bool is_draining() const { return is_draining_; }
    // Whether another shard, or this one, waits for what this one is to answer.
    bool is_answering() const { return !scans_.empty(); }

    struct Answer {
        base::Slot asker;  // which may be gone
        uint16_t status;   // 200 with JSON, 503, 504; of a closing 204, 404, 503
        std::string body;  // of 404 and more the reason
    };
    // Those that have become complete since the last call.
    [[nodiscard]] std::vector<Answer> take_answers();

    // Requests of other shards.
    void on_read(io::ShardId from, uint32_t token, const ConnectionsQuestion& question);
    void on_close(io::ShardId from, base::Slot asker, base::Slot target);
    // Their results.
    void on_rows(uint32_t token, std::span<const ConnectionRow> rows);
    void on_end(uint32_t token, uint64_t connections_count);
    void on_closed(base::Slot asker, bool was_there);

    // Does a bounded part of the work.
    void advance();
    // When advance() has something to do next; base::never_ns: nothing.
    uint64_t next_ns() const;

  private:
    // A lane without room is looked at again so soon.
    static constexpr uint64_t lane_retry_ns = base::ns_per_ms;

    // A question of this shard.
    struct Question {
        base::Slot asker;
        ConnectionsQuestion question;
        uint64_t deadline_ns;
        std::vector<io::ShardId> unasked;  // no room was left in the lane there
        uint32_t answers_pending;
        uint64_t connections_count = 0;
        std::vector<ConnectionRow> rows;
    };
    // A question of any shard, this one included, about the connections of this one.
    struct Scan {
        io::ShardId from;
        uint32_t token;
        ConnectionsQuestion question;
        uint32_t next_index = 0;
        bool is_complete = false;
        uint64_t connections_count = 0;
        // A heap with the least on top; when complete, unsent ones.
        std::vector<ConnectionRow> rows;
    };
    struct Closing {
        base::Slot asker;
        ConnectionId id;
    };

    void ask_others();
    void look(Scan& scan, uint32_t slots_max);
    void take(Scan& scan, base::Slot slot, const Connection& connection);
    // False: the lane has no room for the rest now.
    bool hand_over(Scan& scan);
    void finish();
    // False: there is no such connection.
    bool close_own(base::Slot asker, base::Slot target);
    uint64_t lag_ns(const Connection& connection) const;

    Parts parts_;
    uint32_t last_token_ = 0;  // of questions of this shard
    bool is_draining_ = false;
    std::optional<Question> question_;
    std::vector<Scan> scans_;
    std::vector<Closing> closings_;
    std::vector<Answer> answers_;
};

}  // namespace broker
