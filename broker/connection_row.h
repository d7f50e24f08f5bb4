// What an operator is told of one connection, how it is asked for, and how it is written.
// Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "broker/connection_state.h"
#include "codec/ip_address.h"
#include "io/base/slab.h"
#include "io/reactor.h"

namespace broker {

// Which connection of all shards: "1-42-7" is slot 42 of shard 1 in its generation 7. It names no
// other connection later, until the slot was taken 8 million times more.
struct ConnectionId {
    io::ShardId shard = 0;
    base::Slot slot;

    friend bool operator==(const ConnectionId&, const ConnectionId&) = default;
};
std::string text_of(const ConnectionId& id);
std::optional<ConnectionId> parse_connection_id(std::string_view text);

enum class ConnectionsSort : uint8_t { outbound_bytes, lag };

struct ConnectionsQuestion {
    static constexpr uint32_t limit_max = 1'000;

    ConnectionsSort sort = ConnectionsSort::outbound_bytes;
    uint32_t limit = 50;

    friend bool operator==(const ConnectionsQuestion&, const ConnectionsQuestion&) = default;
};
// From the query of a target, "sort=lag&limit=50". Answers what is wrong with it; empty: nothing.
[[nodiscard]] std::string_view parse_connections_question(std::string_view query,
                                                          ConnectionsQuestion& question);

// It crosses shards as its bytes.
struct ConnectionRow {
    ConnectionId id;
    codec::IpAddress address;  // the client's; none: it is not known
    ConnectionState state = ConnectionState::http;
    bool is_websocket = false;
    bool is_browser = false;
    bool is_compressed = false;
    bool is_slow = false;    // its queue was full of late
    bool is_behind = false;  // its live stream is read from history
    bool is_paused = false;  // nothing is read from it now
    uint32_t subscriptions_count = 0;
    uint32_t catching_up_count = 0;
    uint32_t outbound_bytes = 0;  // in its queue
    uint64_t held_bytes = 0;      // behind its queue
    uint64_t lag_ns = 0;          // age of the oldest byte of its queue
    uint64_t connected_ns = 0;    // since it was accepted
    uint64_t silent_ns = 0;       // since its last sign of life

    friend bool operator==(const ConnectionRow&, const ConnectionRow&) = default;
};

// Whether `one` stands before `other` in an answer: more first, and by id where it is the same.
bool stands_before(ConnectionsSort sort, const ConnectionRow& one, const ConnectionRow& other);

// Appends the answer as a JSON object.
void append_connections(std::string& out, std::span<const ConnectionRow> rows,
                        uint64_t connections_count);

}  // namespace broker
