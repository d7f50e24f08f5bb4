#include "broker/history_replies.h"

#include <algorithm>
#include <array>

namespace broker {

HistoryReplies::~HistoryReplies() {
    // A stop can come while an owner has not answered.
    replies_.for_each([this](base::Slot slot, Reply&) { replies_.release(slot); });
}

HistoryReplies::Asked HistoryReplies::ask(base::Slot slot, const codec::Command& command) {
    if (!parts_.history.keeps(command.topic)) return Asked::no_history;
    const uint32_t partition = parts_.partitions.partition_of(command.topic);
    Reply reply{.slot = slot, .topic = std::string(command.topic), .json = {}};
    reply.is_after = command.start.kind == codec::Start::Kind::after;
    if (reply.is_after) {
        reply.is_foreign = command.start.after.epoch != parts_.epoch;
        for (const codec::Position& known : command.start.after.positions) {
            if (known.partition == partition && !reply.is_foreign) reply.after = known.offset;
        }
    }
    codec::begin_history(reply.json, command.id, command.topic);
    const std::array<std::string_view, 1> filters = {command.topic};
    const uint32_t last = reply.is_after ? 0 : command.start.last;
    const io::ShardId owner = parts_.partitions.owner_of(partition);
    if (owner != parts_.courier.self()) {
        if (replies_.is_full()) return Asked::no_room;
        const base::Slot token = replies_.take(std::move(reply));
        const HistoryRequest request{.partition = partition,
                                     .last = last,
                                     .after = replies_.at(token).after,
                                     .payload_bytes_max = page_bytes_max,
                                     .filters = {filters.begin(), filters.end()}};
        if (parts_.courier.ask_history(owner, HistoryTokens::of_reply(token.index), request)) {
            parts_.connections.at(slot).history_pending = true;
            return Asked::taken;
        }
        replies_.release(token);
        return Asked::no_room;
    }
    parts_.history.read({.partition = partition,
                         .after = reply.after,
                         .last = last,
                         .filters = filters,
                         .messages_max = page_messages_max,
                         .payload_bytes_max = page_bytes_max},
                        reply.after, page_);
    for (const topics::History::Message& message : page_.messages) {
        append(reply, {partition, message.offset},
               {static_cast<codec::PayloadKind>(message.kind), message.payload});
    }
    finish(reply, {.partition = partition,
                   .upto = page_.upto,
                   .head = page_.head,
                   .floor = page_.floor,
                   .filters_lost = {}});
    return Asked::taken;
}

void HistoryReplies::on_message(uint32_t token, const Publication& publication) {
    append(replies_.at_index(token), publication.position, publication.payload);
}

base::Slot HistoryReplies::on_end(uint32_t token, const HistoryExtent& extent) {
    parts_.heads.advance({extent.partition, extent.head});
    Reply& reply = replies_.at_index(token);
    const base::Slot slot = reply.slot;
    finish(reply, extent);
    replies_.release(replies_.slot_of(token));
    return slot;
}

void HistoryReplies::append(Reply& reply, const codec::Position& position,
                            const codec::Payload& payload) {
    codec::append_history_message(reply.json, position, payload);
}

void HistoryReplies::finish(Reply& reply, const HistoryExtent& extent) {
    Connection* connection = parts_.connections.find(reply.slot);
    if (connection == nullptr || connection->state != ConnectionState::open) return;
    // Beyond the head there is nothing, whatever the cursor said.
    const codec::Position reached{extent.partition, std::min(extent.upto, extent.head)};
    codec::HistoryPage page{
        .cursor = {parts_.epoch, {&reached, 1}}, .more = extent.upto < extent.head, .recovery = {}};
    if (reply.is_after) {
        page.recovery = codec::Recovery::recovered;
        if (extent.floor > reply.after) page.recovery = codec::Recovery::evicted;
        if (reply.after > extent.head) page.recovery = codec::Recovery::invalid_position;
        if (reply.is_foreign) page.recovery = codec::Recovery::epoch_changed;
    }
    codec::end_history(reply.json, page);
    parts_.outbox.send_ordered(reply.slot, reply.json);
}

}  // namespace broker
