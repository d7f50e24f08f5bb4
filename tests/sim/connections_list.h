// ConnectionsList: the answer to GET /api/connections as a simulated operator reads it, and what
// must hold of it whoever asked (OPERATIONS.md, "Who is slow?").
//
// Pure; any thread. A broken promise is thrown as Violation, promise "operator".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tests/sim/network.h"

namespace sim {

struct ListRequest {
    bool is_by_lag = false;
    uint32_t limit = 50;
};

struct ListedConnection {
    std::string id;  // "1-42-7"
    io::ShardId shard = 0;
    uint64_t place = 0;  // among those of its shard
    ConnectionId connection = no_connection;
    std::string state;
    bool is_websocket = false;
    uint64_t sorted_by = 0;  // bytes or milliseconds
};

struct ConnectionsList {
    uint64_t connections_count = 0;
    std::vector<ListedConnection> rows;

    bool is_complete() const { return rows.size() == connections_count; }
    bool has(ConnectionId connection) const;
};

// Reads what `who` was answered. Every row must be whole and agree with itself; the rows must stand
// in the order that was asked for, be as many as there can be, and differ.
ConnectionsList read_connections_list(const std::string& who, const ListRequest& request,
                                      std::string_view body);

}  // namespace sim
