// The records that travel between shards (see io/mesh.h for the two lanes and their rules).
//
// A record is one of the fixed heads below followed by its bytes. Both ends are the same process,
// so the layout is the compiler's. A payload too large for a lane travels as a gift: the record
// carries the address of a block that belongs to the receiver from then on.
//
// Pure but for the memory of gifts; any thread.
// Invariants:
//  1. Every record of a lane that is popped is decoded once; decoding takes a gift over (GiftBlock
//     frees it).
//  2. On `deliver` travel message, published, interest_ack and drained; on `forward` publish,
//     interest_add, interest_remove and quiesced.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "codec/payload.h"
#include "io/base/slab.h"
#include "io/lane.h"
#include "io/reactor.h"

namespace broker {

enum class RecordType : uint8_t {
    // forward: requests
    publish,
    interest_add,
    interest_remove,
    quiesced,  // nothing will be published by this shard any more (the broker stops)
    // deliver: results
    message,
    published,
    interest_ack,
    drained,  // nothing will be sequenced by this shard any more
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
};

struct FreeBlock {
    void operator()(uint8_t* block) const;
};
using GiftBlock = std::unique_ptr<uint8_t, FreeBlock>;

// One decoded record. The views live until the lane's pop(), the payload of a gift as long as
// `gift`.
struct Record {
    RecordType type;
    Publication publication;  // publish, message; published uses origin only
    std::string_view filter;  // interest_add, interest_remove
    uint32_t token = 0;       // interest_add, interest_ack
    GiftBlock gift;
};

// What a record takes of a lane's room (see Lane::record_cost).
class CrossCore {
  public:
    // Payloads above this travel as gifts. At most an eighth of the lane, so that a lane holds
    // several.
    explicit CrossCore(uint64_t lane_bytes);

    uint64_t publication_cost(const Publication& publication) const;
    static uint64_t published_cost(const Origin& origin);
    static uint64_t filter_cost(std::string_view filter);
    static uint64_t marker_cost();

    // Each writes one record; false when the lane has no room (nothing is written then). The caller
    // commits.
    [[nodiscard]] bool write_publication(io::Lane& lane, RecordType type,
                                         const Publication& publication) const;
    [[nodiscard]] static bool write_published(io::Lane& lane, const Origin& origin);
    [[nodiscard]] static bool write_filter(io::Lane& lane, RecordType type, std::string_view filter,
                                           uint32_t token);
    // interest_ack (with its token), quiesced, drained.
    [[nodiscard]] static bool write_marker(io::Lane& lane, RecordType type, uint32_t token);

    static Record decode(std::span<const uint8_t> bytes);

  private:
    uint64_t inline_bytes_max_;
};

}  // namespace broker
