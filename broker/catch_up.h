// CatchUp: what a connection keeps while one of its subscriptions is not live yet: the replay that
// is going on, and the subscribe commands that wait for its end.
//
// Owner: a Connection, which has one only while it is needed. Thread: its shard's.
//
//   state     what it is                                          leads to
//   idle      no replay; only commands that wait                  joining
//   joining   the owners are told of the filters (Joins)          proving, reading, or idle
//   proving   `after`: is the resume exact? nothing is told yet   reading (subscribed), or idle (it
//                                                                 is not: subscribed, live)
//   reading   subscribed is told; history is read                 idle (live, or all filters left)
//
// A replay is divided by partition. A part that lags stands in `lagging`, with the position up to
// which everything that matches has been queued. One that does not stand there is at head: its
// position is the shard's own (Heads), and what is sequenced is announced and queued at once. When
// no part lags any more, the subscription goes live.
//
// Invariants:
//  1. A part's position only rises, but for the fall from "at head" to the position just before a
//     message that found no room, and to that of a live stream that ends before it has arrived.
//  2. The filters stand in the connection's catching-up subscriptions exactly in proving and
//     reading.
//  3. While there is a replay no other subscription of the connection goes live, so its live
//     filters are those of the beginning, but for those in `left`.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "broker/filter_lists.h"
#include "broker/subscribe_request.h"
#include "codec/position.h"

namespace broker {

struct CatchUp {
    // What catches up: the subscription of a request, or the connection's live stream, which a slow
    // client let fall behind. The stream is always in state reading, until it has arrived; it has
    // the live filters in the place of a request's, and what it reads is not announced.
    enum class Kind : uint8_t { replay, stream };
    enum class State : uint8_t { idle, joining, proving, reading };

    struct Part {
        uint32_t partition = 0;
        bool is_proven = false;     // `after`: nothing that matches was evicted since
        bool is_waiting = false;    // for a page from another shard
        bool was_answered = false;  // by its owner, so that its head is known here
        uint64_t position = 0;
        // Where the connection's live stream stood at the beginning. What lies above it comes by
        // its live filters where they match, and is left out of the replay.
        uint64_t joined_at = 0;
        // `last`: up to here only the newest of each topic, above it all. 0: all.
        uint64_t newest_until = 0;
        // The partition's evictions (topics::History::Page) up to which this part knows what was
        // lost, and has been told.
        uint64_t evictions_known = 0;
    };
    // Live filters that the client gave up during the replay, with one command.
    struct Left {
        std::vector<std::string> filters;
        std::vector<uint64_t> heads;  // by partition, of that moment: what they had delivered
    };
    // A command that would make one of these longer waits for the end of the replay.
    static constexpr size_t left_max = 16;
    static constexpr size_t silent_max = 1'024;
    static constexpr size_t waiting_max = 16;

    Kind kind = Kind::replay;
    State state = State::idle;
    bool is_ready = false;    // stands in the list of those that can go on
    bool is_starved = false;  // stands in the list of those that found no room towards an owner
    bool wants_room = false;  // waits until the client has read more
    uint32_t turn = 0;        // which part is next
    uint32_t number = 0;      // of the replay, among all of the shard
    FilterLists::Id list = FilterLists::none;
    SubscribeRequest request;
    std::vector<Part> lagging;
    std::vector<Left> left;
    // What the connection published with echo:false meanwhile, where the replay has not come yet.
    std::vector<codec::Position> silent;

    std::deque<SubscribeRequest> waiting;

    bool is_told() const { return state == State::reading; }
    bool lags_in(uint32_t partition) const {
        return std::any_of(lagging.begin(), lagging.end(),
                           [partition](const Part& part) { return part.partition == partition; });
    }
};

}  // namespace broker
