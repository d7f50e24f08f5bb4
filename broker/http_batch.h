// HttpBatch: how far a POST /api/publish has come whose messages have other shards as owners.
//
// Owner: the connection's HttpProgress, from the first message that was published until the answer.
// Thread: its shard's.
// Invariants:
//  1. Messages below next_message have been handed to their owners, each once; `results` has a
//     place for all of the batch.
//  2. answers_missing counts those of them whose result has not come.
#pragma once

#include <cstdint>
#include <vector>

#include "broker/cross_core.h"

namespace broker {

struct HttpBatch {
    std::vector<PublishResult> results;  // in the order of the messages
    uint32_t next_message = 0;
    uint32_t answers_missing = 0;
};

}  // namespace broker
