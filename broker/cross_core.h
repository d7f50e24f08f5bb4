// The records that travel between shards (see io/mesh.h for the two lanes and their rules).
//
// A record is one fixed head followed by its bytes. Both ends are the same process, so the layout
// is the compiler's. A payload too large for a lane travels as a gift: the record carries the
// address of a block that belongs to the receiver from then on.
//
// Pure but for the memory of gifts; any thread.
// Invariants:
//  1. Every record of a lane that is popped is decoded once; decoding takes a gift over (GiftBlock
//     frees it).
//  2. Requests travel on `forward`, results on `deliver`: see RecordType.
//  3. A gift takes as much of a lane as the largest payload inside of a record, so a lane holds a
//     bounded number of gifts: 63 of the standard size.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "broker/connection_row.h"
#include "codec/payload.h"
#include "codec/position.h"
#include "io/base/slab.h"
#include "io/lane.h"
#include "io/reactor.h"

namespace broker {

enum class RecordType : uint8_t {
    // forward: requests
    publish,
    interest_add,
    interest_remove,
    history_read,      // a page of a partition's history, please
    connections_read,  // rows of your connections, please
    connection_close,  // close one of yours, please
    quiesced,          // nothing will be published by this shard any more (the broker stops)
    // deliver: results
    message,
    published,
    heads,              // how far partitions have come
    interest_ack,       // heads of the partitions that the filter can match went before it
    history_message,    // one of a page
    history_end,        // the page is complete, and how far it reaches
    connection_rows,    // some of the rows
    connections_end,    // all rows went before it
    connection_closed,  // it is closed, or was not there
    drained,            // nothing will be sequenced by this shard any more
    caught_up,          // no live stream of this shard reads history any more
};

// Who published, so that the answer finds its way back and echo:false can be kept.
struct Origin {
    io::ShardId shard = 0;
    base::Slot slot;
    bool echo = true;
    bool wants_answer = false;
    std::string_view id;  // raw JSON token of the command's id; may be empty (HTTP)
};

struct Publication {
    Origin origin;
    std::string_view topic;
    codec::Payload payload;
    std::string_view key = {};      // of a publish; empty: none
    codec::Position position = {};  // of a sequenced message; none: its topic has no history
};

// What became of a publish.
struct PublishResult {
    codec::Position position;
    // Its key was known: nothing was sequenced, the position is the first.
    bool is_duplicate = false;
};

// Which page of a partition's history is wanted; as topics::History::Query.
struct HistoryRequest {
    uint32_t partition = 0;
    uint32_t last = 0;
    uint64_t after = 0;
    uint64_t until = UINT64_MAX;
    uint64_t lost_above = 0;
    uint64_t lost_since = 0;
    uint32_t payload_bytes_max = 0;
    std::vector<std::string_view> filters;
};

// Who asked for a page: Pages or HistoryReplies, each with numbers of its own.
struct HistoryTokens {
    static uint32_t of_page(uint32_t number) { return 2 * number; }
    static uint32_t of_reply(uint32_t number) { return 2 * number + 1; }
    static bool is_reply(uint32_t token) { return token % 2 == 1; }
    static uint32_t number_of(uint32_t token) { return token / 2; }
};

// How far a page reaches; as topics::History::Page.
struct HistoryExtent {
    uint32_t partition = 0;
    uint64_t upto = 0;
    uint64_t head = 0;
    uint64_t floor = 0;
    uint64_t evictions = 0;
    std::vector<uint32_t> filters_lost;
};

struct FreeBlock {
    void operator()(uint8_t* block) const;
};
using GiftBlock = std::unique_ptr<uint8_t, FreeBlock>;

// One decoded record. The views live until the lane's pop(), the payload of a gift as long as
// `gift`.
struct Record {
    RecordType type;
    // publish, message and history_message; published uses origin, position and is_duplicate.
    Publication publication;
    bool is_duplicate = false;
    // connections_read, connection_rows, connections_end. connection_close and connection_closed
    // use publication.origin for who asked.
    ConnectionsQuestion question;
    std::span<const ConnectionRow> rows;
    uint64_t connections_count = 0;
    base::Slot target;        // connection_close
    bool was_there = false;   // connection_closed
    std::string_view filter;  // interest_add, interest_remove
    uint32_t token = 0;  // interest_…, history_… and connections_…, as the asker numbered it
    HistoryRequest request;                  // history_read
    HistoryExtent extent;                    // history_end
    std::span<const codec::Position> heads;  // heads
    GiftBlock gift;
};

class CrossCore {
  public:
    // Payloads above inline_bytes_max() travel as gifts. It is at most an eighth of the lane, so
    // that a lane holds several.
    explicit CrossCore(uint64_t lane_bytes);

    uint64_t inline_bytes_max() const { return inline_bytes_max_; }

    // What a record takes of a lane's room (see Lane::record_cost).
    uint64_t publication_cost(const Publication& publication) const;
    uint64_t history_end_cost_max() const;
    // Of a record with the longest name and an inline payload of the largest size.
    uint64_t publication_cost_max() const;
    static uint64_t marker_cost();
    static uint64_t heads_cost(size_t heads_count);
    static uint64_t connection_rows_cost(size_t rows_count);

    // Each writes one record; false when the lane has no room (nothing is written then). The caller
    // commits.
    [[nodiscard]] bool write_publication(io::Lane& lane, RecordType type,
                                         const Publication& publication, uint32_t token = 0) const;
    [[nodiscard]] static bool write_published(io::Lane& lane, const Origin& origin,
                                              const PublishResult& result);
    [[nodiscard]] static bool write_filter(io::Lane& lane, RecordType type, std::string_view filter,
                                           uint32_t token);
    // interest_ack (with its token), quiesced, drained, caught_up.
    [[nodiscard]] static bool write_marker(io::Lane& lane, RecordType type, uint32_t token);
    [[nodiscard]] static bool write_heads(io::Lane& lane, std::span<const codec::Position> heads);
    [[nodiscard]] bool write_history_read(io::Lane& lane, uint32_t token,
                                          const HistoryRequest& request) const;
    [[nodiscard]] bool write_history_end(io::Lane& lane, uint32_t token,
                                         const HistoryExtent& extent) const;

    [[nodiscard]] static bool write_connections_read(io::Lane& lane, uint32_t token,
                                                     const ConnectionsQuestion& question);
    [[nodiscard]] static bool write_connection_rows(io::Lane& lane, uint32_t token,
                                                    std::span<const ConnectionRow> rows);
    [[nodiscard]] static bool write_connections_end(io::Lane& lane, uint32_t token,
                                                    uint64_t connections_count);
    [[nodiscard]] static bool write_connection_close(io::Lane& lane, const Origin& asker,
                                                     base::Slot target);
    [[nodiscard]] static bool write_connection_closed(io::Lane& lane, const Origin& asker,
                                                      bool was_there);

    static Record decode(std::span<const uint8_t> bytes);

  private:
    uint64_t inline_bytes_max_;
};

}  // namespace broker
