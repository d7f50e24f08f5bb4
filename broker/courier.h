// Courier: a shard's end of the lanes to the other shards.
//
// Owner: a shard. Thread: its shard's.
// Invariants:
//  1. Records of one lane keep the order in which they were written here. Control records that
//     found no room are owed: they wait in memory and later ones queue behind them.
//  2. What is owed is bounded by the subscriptions that the limits allow.
//  3. A record becomes visible at flush(), once per turn, with at most one wake per destination.
#pragma once

#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "broker/cross_core.h"
#include "io/mesh.h"
#include "io/reactor.h"

namespace broker {

class Courier {
  public:
    // `heads_max`: how many partitions this shard owns at most.
    Courier(io::ShardId self, io::Mesh& mesh, io::Reactor& reactor, uint64_t lane_bytes,
            uint32_t heads_max);

    io::ShardId self() const { return self_; }
    uint32_t shards_count() const { return mesh_.shards_count(); }

    // Whether every deliver lane has room for all that handling one record of this cost can bring
    // forth: a message for each shard and one answer; or heads and an acknowledgement; or one
    // message of a page and its end.
    bool has_room_for_results(uint64_t record_cost);
    uint64_t publication_cost(const Publication& publication) const {
        return cross_core_.publication_cost(publication);
    }

    // Results. There must be room (see above).
    void write_message(io::ShardId to, const Publication& publication);
    void write_published(const Origin& origin, const PublishResult& result);
    void write_heads(io::ShardId to, std::span<const codec::Position> heads);
    void write_interest_ack(io::ShardId to, uint32_t token);
    // A page's message. For the first there must be room (see above). False: the lane is so full
    // that the page should end before this one, so that live messages find room; nothing is
    // written.
    [[nodiscard]] bool write_history_message(io::ShardId to, uint32_t token,
                                             const Publication& publication, bool is_first);
    void write_history_end(io::ShardId to, uint32_t token, const HistoryExtent& extent);
    // Whether heads that nobody waits for would leave room for what requests bring forth.
    bool has_room_for_heads(io::ShardId to);

    // Requests to sequence, and to read. False: no room, try again later.
    [[nodiscard]] bool forward(io::ShardId to, const Publication& publication);
    [[nodiscard]] bool ask_history(io::ShardId to, uint32_t token, const HistoryRequest& request);

    // What operators ask. False: no room, try again later.
    [[nodiscard]] bool ask_connections(io::ShardId to, uint32_t token,
                                       const ConnectionsQuestion& question);
    [[nodiscard]] bool ask_close(io::ShardId to, base::Slot asker, base::Slot target);
    // Its results. Rows wait until they leave room for what other requests bring forth, and are at
    // most rows_per_record_max; for the answer to a closing there must be room (see above).
    static constexpr size_t rows_per_record_max = 8;
    [[nodiscard]] bool write_connection_rows(io::ShardId to, uint32_t token,
                                             std::span<const ConnectionRow> rows);
    [[nodiscard]] bool write_connections_end(io::ShardId to, uint32_t token,
                                             uint64_t connections_count);
    void write_connection_closed(io::ShardId to, base::Slot asker, bool was_there);

    // Control records, which always succeed (they may be owed for a while).
    void tell_interest(io::ShardId to, RecordType type, std::string_view filter, uint32_t token);
    void tell_quiesced(io::ShardId to);
    void tell_drained(io::ShardId to);
    void tell_caught_up(io::ShardId to);
    bool owes() const { return owed_count_ > 0; }

    // Publishes what was written and wakes whom it concerns.
    void flush();

  private:
    struct Owed {
        RecordType type;
        std::string filter;
        uint32_t token;
    };
    struct Destination {
        std::deque<Owed> forward;
        std::deque<Owed> deliver;
        bool is_touched = false;
    };

    // Whether a result that nobody has reserved room for leaves room for those of any request.
    bool has_room_beside_results(io::ShardId to, uint64_t cost);
    static bool write(io::Lane& lane, const Owed& owed);
    void tell(io::ShardId to, std::deque<Owed>& queue, io::Lane& lane, Owed owed);
    void settle(std::deque<Owed>& queue, io::Lane& lane, Destination& destination);

    const io::ShardId self_;
    io::Mesh& mesh_;
    io::Reactor& reactor_;
    CrossCore cross_core_;
    const uint64_t heads_cost_max_;    // of the heads of all partitions
    const uint64_t results_cost_min_;  // of the costliest results that any request can have
    const uint64_t live_room_bytes_;   // of a lane, that pages of history leave alone
    std::vector<Destination> destinations_;
    uint64_t owed_count_ = 0;
};

}  // namespace broker
