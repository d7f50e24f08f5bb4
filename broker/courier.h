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
#include <string>
#include <string_view>
#include <vector>

#include "broker/cross_core.h"
#include "io/mesh.h"
#include "io/reactor.h"

namespace broker {

class Courier {
  public:
    Courier(io::ShardId self, io::Mesh& mesh, io::Reactor& reactor, uint64_t lane_bytes);

    io::ShardId self() const { return self_; }
    uint32_t shards_count() const { return mesh_.shards_count(); }

    // Whether every deliver lane has room for all that sequencing one record of this size can bring
    // forth: a message for each shard, and one answer.
    bool has_room_for_results(uint64_t record_bytes);
    uint64_t record_bytes(const Publication& publication) const;

    // Results. There must be room (see above).
    void write_message(io::ShardId to, const Publication& publication);
    void write_published(const Origin& origin);
    void write_interest_ack(io::ShardId to, uint32_t token);

    // A request to sequence. False: no room, try again later.
    [[nodiscard]] bool forward(io::ShardId to, const Publication& publication);

    // Control records, which always succeed (they may be owed for a while).
    void tell_interest(io::ShardId to, RecordType type, std::string_view filter, uint32_t token);
    void tell_quiesced(io::ShardId to);
    void tell_drained(io::ShardId to);
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

    static bool write(io::Lane& lane, const Owed& owed);
    void tell(io::ShardId to, std::deque<Owed>& queue, io::Lane& lane, Owed owed);
    void settle(std::deque<Owed>& queue, io::Lane& lane, Destination& destination);

    const io::ShardId self_;
    io::Mesh& mesh_;
    io::Reactor& reactor_;
    CrossCore cross_core_;
    std::vector<Destination> destinations_;
    uint64_t owed_count_ = 0;
};

}  // namespace broker
