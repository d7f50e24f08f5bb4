// HistoryReplies: answers to the op `history`: a page of what one topic keeps, from its owner.
//
// Owner: a shard. Thread: its shard's.
// Invariants:
//  1. Every request that was taken is answered once, unless its connection ends before.
//  2. A page has at most page_bytes_max of payload (but at least one message, when there is one)
//     and page_messages_max messages; `more` says that there is more.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "broker/connection.h"
#include "broker/courier.h"
#include "broker/heads.h"
#include "broker/outbox.h"
#include "codec/command.h"
#include "codec/reply.h"
#include "io/base/slab.h"
#include "topics/history.h"

namespace broker {

class HistoryReplies {
  public:
    static constexpr uint32_t page_bytes_max = 64 * 1024;
    static constexpr uint32_t page_messages_max = 1'000;
    static constexpr uint32_t reads_in_flight_max = 256;

    struct Parts {
        base::Slab<Connection>& connections;
        Courier& courier;
        const Partitions& partitions;
        Heads& heads;
        const topics::History& history;
        Outbox& outbox;
        std::string_view epoch;
    };
    explicit HistoryReplies(const Parts& parts) : parts_(parts) {}
    ~HistoryReplies();

    enum class Asked : uint8_t {
        taken,       // answered, or the owner is asked
        no_room,     // towards the owner; nothing happened
        no_history,  // the rules keep none for this topic
    };
    // A history command whose topic has been checked. Connection::history_pending is set while
    // another shard is asked, and nothing more may be asked for the connection then.
    [[nodiscard]] Asked ask(base::Slot slot, const codec::Command& command);

    // Records of the owner's answer. The last one answers whom it was for.
    void on_message(uint32_t token, const Publication& publication);
    base::Slot on_end(uint32_t token, const HistoryExtent& extent);

  private:
    struct Reply {
        base::Slot slot;
        std::string topic;
        bool is_after = false;    // a cursor was given
        bool is_foreign = false;  // of another epoch: the page begins at the oldest
        uint64_t after = 0;
        std::string json;  // the answer as far as it has come
    };

    void append(Reply& reply, const codec::Position& position, const codec::Payload& payload);
    void finish(Reply& reply, const HistoryExtent& extent);

    Parts parts_;
    base::Slab<Reply> replies_{reads_in_flight_max};
    topics::History::Page page_;  // scratch
};

}  // namespace broker
