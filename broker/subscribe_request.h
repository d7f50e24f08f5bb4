// SubscribeRequest: a subscribe command that cannot be answered at once, with copies of all that it
// said.
//
// Owner: whoever it waits with (Joins, a connection's CatchUp). Thread: its shard's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "codec/command.h"
#include "codec/position.h"

namespace broker {

struct SubscribeRequest {
    SubscribeRequest() = default;
    explicit SubscribeRequest(const codec::Command& command)
        : id(command.id),
          filters(command.filters.begin(), command.filters.end()),
          start(command.start.kind),
          last(command.start.last),
          epoch(command.start.after.epoch),
          positions(command.start.after.positions.begin(), command.start.after.positions.end()) {}

    bool starts_now() const { return start == codec::Start::Kind::now; }
    std::vector<std::string_view> filter_views() const { return {filters.begin(), filters.end()}; }

    std::string id;  // raw JSON token of the command's id
    std::vector<std::string> filters;
    codec::Start::Kind start = codec::Start::Kind::now;
    uint32_t last = 0;                       // of kind last
    std::string epoch;                       // of kind after
    std::vector<codec::Position> positions;  // the same: partitions rise
};

}  // namespace broker
