#include "broker/cross_core.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string>
#include <type_traits>

#include "io/base/check.h"
#include "topics/name.h"

namespace broker {

namespace {

constexpr uint64_t gift_bytes_min = 16 * 1024;
constexpr uint64_t id_bytes_max = 64;

struct Head {
    RecordType type;
    codec::PayloadKind kind = codec::PayloadKind::json;
    uint8_t id_bytes = 0;
    uint8_t key_bytes = 0;
    uint16_t name_bytes = 0;  // topic or filter; of history_read and history_end what is fixed
    bool echo = true;
    bool wants_answer = false;
    bool is_duplicate = false;  // of connection_closed: it was there
    uint32_t origin_shard = 0;
    uint32_t slot_index = 0;
    uint32_t slot_generation = 0;
    uint32_t token = 0;
    uint32_t partition = 0;
    uint64_t offset = 0;
    uint8_t* gift = nullptr;
    uint32_t payload_bytes = 0;
};
static_assert(sizeof(Head) == 56);

// The fixed parts of history_read and history_end.
struct ReadFields {
    uint32_t partition;
    uint32_t last;
    uint64_t after;
    uint64_t until;
    uint64_t lost_above;
    uint64_t lost_since;
    uint32_t payload_bytes_max;
    uint32_t filters_count;
};
struct EndFields {
    uint32_t partition;
    uint32_t filters_lost_count;
    uint64_t upto;
    uint64_t head;
    uint64_t floor;
    uint64_t evictions;
};

template <class Fields>
std::string_view bytes_of(const Fields& fields) {
    return {reinterpret_cast<const char*>(&fields), sizeof fields};
}

template <class Fields>
Fields fields_of(std::string_view bytes) {
    Fields fields;
    CHECK(bytes.size() == sizeof fields);
    std::memcpy(&fields, bytes.data(), sizeof fields);
    return fields;
}

// Writes head, id, name, key and payload one after the other, and leaves some bytes unused.
bool write(io::Lane& lane, const Head& head, std::string_view id, std::string_view name,
           std::string_view key, std::string_view inline_payload, uint64_t unused_bytes = 0) {
    const uint64_t bytes =
        sizeof head + id.size() + name.size() + key.size() + inline_payload.size() + unused_bytes;
    const std::span<uint8_t> out = lane.reserve(static_cast<uint32_t>(bytes));
    if (out.empty()) return false;
    uint8_t* at = out.data();
    const auto put = [&at](const void* from, size_t size) {
        if (size > 0) std::memcpy(at, from, size);
        at += size;
    };
    put(&head, sizeof head);
    put(id.data(), id.size());
    put(name.data(), name.size());
    put(key.data(), key.size());
    put(inline_payload.data(), inline_payload.size());
    return true;
}

// The same, with the payload as a gift when it is too large. It takes room for the largest that is
// no gift all the same, or a lane would hold thousands of gifts.
bool write_or_give(io::Lane& lane, Head head, std::string_view id, std::string_view name,
                   std::string_view key, std::string_view payload, uint64_t inline_bytes_max) {
    head.id_bytes = static_cast<uint8_t>(id.size());
    head.key_bytes = static_cast<uint8_t>(key.size());
    head.name_bytes = static_cast<uint16_t>(name.size());
    head.payload_bytes = static_cast<uint32_t>(payload.size());
    if (payload.size() <= inline_bytes_max) return write(lane, head, id, name, key, payload);
    // Asked before, because a publish that finds no room is tried again every millisecond, and the
    // copy costs more than all the rest.
    const uint64_t record_bytes =
        sizeof head + id.size() + name.size() + key.size() + inline_bytes_max;
    if (lane.room_bytes() < io::Lane::record_cost(record_bytes)) return false;
    GiftBlock block(static_cast<uint8_t*>(std::malloc(payload.size())));
    CHECK(block != nullptr);
    std::memcpy(block.get(), payload.data(), payload.size());
    head.gift = block.get();
    CHECK(write(lane, head, id, name, key, {}, inline_bytes_max));
    static_cast<void>(block.release());  // the receiver's from now on
    return true;
}

Head head_of(RecordType type, const Origin& origin) {
    Head head{.type = type};
    head.echo = origin.echo;
    head.wants_answer = origin.wants_answer;
    head.origin_shard = origin.shard;
    head.slot_index = origin.slot.index;
    head.slot_generation = origin.slot.generation;
    return head;
}

bool is_about_connections(RecordType type) {
    return type == RecordType::connections_read || type == RecordType::connection_close ||
           type == RecordType::connection_rows || type == RecordType::connections_end ||
           type == RecordType::connection_closed;
}

static_assert(std::is_trivially_copyable_v<ConnectionRow> && alignof(ConnectionRow) <= 8);

// The members of records about connections.
void decode_connections(const Head& head, std::string_view payload, Record& record) {
    record.question = {.sort = static_cast<ConnectionsSort>(head.partition),
                       .limit = static_cast<uint32_t>(head.offset)};
    record.connections_count = head.offset;
    record.target = {head.partition, static_cast<uint32_t>(head.offset)};
    record.was_there = head.is_duplicate;
    // Records are 8-byte aligned and so is the head.
    record.rows = {reinterpret_cast<const ConnectionRow*>(payload.data()),
                   payload.size() / sizeof(ConnectionRow)};
}

HistoryRequest decode_request(std::string_view fixed, std::string_view list) {
    const auto fields = fields_of<ReadFields>(fixed);
    HistoryRequest request{.partition = fields.partition,
                           .last = fields.last,
                           .after = fields.after,
                           .until = fields.until,
                           .lost_above = fields.lost_above,
                           .lost_since = fields.lost_since,
                           .payload_bytes_max = fields.payload_bytes_max,
                           .filters = {}};
    request.filters.reserve(fields.filters_count);
    for (uint32_t count = 0; count < fields.filters_count; ++count) {
        uint16_t bytes = 0;
        CHECK(list.size() >= sizeof bytes);
        std::memcpy(&bytes, list.data(), sizeof bytes);
        list.remove_prefix(sizeof bytes);
        request.filters.push_back(list.substr(0, bytes));
        list.remove_prefix(bytes);
    }
    return request;
}

HistoryExtent decode_extent(std::string_view fixed, std::string_view lost) {
    const auto fields = fields_of<EndFields>(fixed);
    HistoryExtent extent{.partition = fields.partition,
                         .upto = fields.upto,
                         .head = fields.head,
                         .floor = fields.floor,
                         .evictions = fields.evictions,
                         .filters_lost = {}};
    extent.filters_lost.resize(fields.filters_lost_count);
    CHECK(lost.size() == fields.filters_lost_count * sizeof(uint32_t));
    if (!lost.empty()) std::memcpy(extent.filters_lost.data(), lost.data(), lost.size());
    return extent;
}

}  // namespace

void FreeBlock::operator()(uint8_t* block) const {
    std::free(block);
}

CrossCore::CrossCore(uint64_t lane_bytes)
    : inline_bytes_max_(std::min(gift_bytes_min, lane_bytes / 8)) {}

uint64_t CrossCore::publication_cost(const Publication& publication) const {
    const uint64_t payload_bytes =
        std::min<uint64_t>(publication.payload.bytes.size(), inline_bytes_max_);
    return io::Lane::record_cost(sizeof(Head) + publication.origin.id.size() +
                                 publication.topic.size() + publication.key.size() + payload_bytes);
}

uint64_t CrossCore::publication_cost_max() const {
    return io::Lane::record_cost(sizeof(Head) + id_bytes_max + topics::topic_bytes_max +
                                 inline_bytes_max_);
}

uint64_t CrossCore::history_end_cost_max() const {
    return io::Lane::record_cost(sizeof(Head) + sizeof(EndFields) + inline_bytes_max_);
}

uint64_t CrossCore::marker_cost() {
    return io::Lane::record_cost(sizeof(Head));
}

uint64_t CrossCore::heads_cost(size_t heads_count) {
    return io::Lane::record_cost(sizeof(Head) + heads_count * sizeof(codec::Position));
}

uint64_t CrossCore::connection_rows_cost(size_t rows_count) {
    return io::Lane::record_cost(sizeof(Head) + rows_count * sizeof(ConnectionRow));
}

bool CrossCore::write_publication(io::Lane& lane, RecordType type, const Publication& publication,
                                  uint32_t token) const {
    Head head = head_of(type, publication.origin);
    head.kind = publication.payload.kind;
    head.token = token;
    head.partition = publication.position.partition;
    head.offset = publication.position.offset;
    return write_or_give(lane, head, publication.origin.id, publication.topic, publication.key,
                         publication.payload.bytes, inline_bytes_max_);
}

bool CrossCore::write_published(io::Lane& lane, const Origin& origin, const PublishResult& result) {
    Head head = head_of(RecordType::published, origin);
    head.id_bytes = static_cast<uint8_t>(origin.id.size());
    head.is_duplicate = result.is_duplicate;
    head.partition = result.position.partition;
    head.offset = result.position.offset;
    return write(lane, head, origin.id, {}, {}, {});
}

bool CrossCore::write_filter(io::Lane& lane, RecordType type, std::string_view filter,
                             uint32_t token) {
    Head head{.type = type};
    head.name_bytes = static_cast<uint16_t>(filter.size());
    head.token = token;
    return write(lane, head, {}, filter, {}, {});
}

bool CrossCore::write_marker(io::Lane& lane, RecordType type, uint32_t token) {
    Head head{.type = type};
    head.token = token;
    return write(lane, head, {}, {}, {}, {});
}

bool CrossCore::write_heads(io::Lane& lane, std::span<const codec::Position> heads) {
    Head head{.type = RecordType::heads};
    const std::string_view bytes{reinterpret_cast<const char*>(heads.data()), heads.size_bytes()};
    head.payload_bytes = static_cast<uint32_t>(bytes.size());
    return write(lane, head, {}, {}, {}, bytes);
}

bool CrossCore::write_history_read(io::Lane& lane, uint32_t token,
                                   const HistoryRequest& request) const {
    Head head{.type = RecordType::history_read};
    head.token = token;
    const ReadFields fields{.partition = request.partition,
                            .last = request.last,
                            .after = request.after,
                            .until = request.until,
                            .lost_above = request.lost_above,
                            .lost_since = request.lost_since,
                            .payload_bytes_max = request.payload_bytes_max,
                            .filters_count = static_cast<uint32_t>(request.filters.size())};
    std::string list;
    for (const std::string_view filter : request.filters) {
        const uint16_t bytes = static_cast<uint16_t>(filter.size());
        list.append(reinterpret_cast<const char*>(&bytes), sizeof bytes).append(filter);
    }
    return write_or_give(lane, head, {}, bytes_of(fields), {}, list, inline_bytes_max_);
}

bool CrossCore::write_history_end(io::Lane& lane, uint32_t token,
                                  const HistoryExtent& extent) const {
    Head head{.type = RecordType::history_end};
    head.token = token;
    const EndFields fields{.partition = extent.partition,
                           .filters_lost_count = static_cast<uint32_t>(extent.filters_lost.size()),
                           .upto = extent.upto,
                           .head = extent.head,
                           .floor = extent.floor,
                           .evictions = extent.evictions};
    const std::string_view lost{reinterpret_cast<const char*>(extent.filters_lost.data()),
                                extent.filters_lost.size() * sizeof(uint32_t)};
    return write_or_give(lane, head, {}, bytes_of(fields), {}, lost, inline_bytes_max_);
}

bool CrossCore::write_connections_read(io::Lane& lane, uint32_t token,
                                       const ConnectionsQuestion& question) {
    Head head{.type = RecordType::connections_read};
    head.token = token;
    head.partition = static_cast<uint32_t>(question.sort);
    head.offset = question.limit;
    return write(lane, head, {}, {}, {}, {});
}

bool CrossCore::write_connection_rows(io::Lane& lane, uint32_t token,
                                      std::span<const ConnectionRow> rows) {
    Head head{.type = RecordType::connection_rows};
    head.token = token;
    const std::string_view bytes{reinterpret_cast<const char*>(rows.data()), rows.size_bytes()};
    head.payload_bytes = static_cast<uint32_t>(bytes.size());
    return write(lane, head, {}, {}, {}, bytes);
}

bool CrossCore::write_connections_end(io::Lane& lane, uint32_t token, uint64_t connections_count) {
    Head head{.type = RecordType::connections_end};
    head.token = token;
    head.offset = connections_count;
    return write(lane, head, {}, {}, {}, {});
}

bool CrossCore::write_connection_close(io::Lane& lane, const Origin& asker, base::Slot target) {
    Head head = head_of(RecordType::connection_close, asker);
    head.partition = target.index;
    head.offset = target.generation;
    return write(lane, head, {}, {}, {}, {});
}

bool CrossCore::write_connection_closed(io::Lane& lane, const Origin& asker, bool was_there) {
    Head head = head_of(RecordType::connection_closed, asker);
    head.is_duplicate = was_there;
    return write(lane, head, {}, {}, {}, {});
}

Record CrossCore::decode(std::span<const uint8_t> bytes) {
    Head head{.type = RecordType::publish};
    CHECK(bytes.size() >= sizeof head);
    std::memcpy(&head, bytes.data(), sizeof head);
    const char* at = reinterpret_cast<const char*>(bytes.data()) + sizeof head;
    const auto take = [&at](size_t size) {
        const std::string_view taken{at, size};
        at += size;
        return taken;
    };
    Record record{.type = head.type};
    record.token = head.token;
    record.is_duplicate = head.is_duplicate;
    Publication& publication = record.publication;
    publication.origin.shard = head.origin_shard;
    publication.origin.slot = base::Slot{head.slot_index, head.slot_generation};
    publication.origin.echo = head.echo;
    publication.origin.wants_answer = head.wants_answer;
    publication.origin.id = take(head.id_bytes);
    const std::string_view name = take(head.name_bytes);
    publication.topic = name;
    record.filter = name;
    publication.key = take(head.key_bytes);
    publication.position = {head.partition, head.offset};
    record.gift = GiftBlock(head.gift);
    const char* payload = head.gift == nullptr ? at : reinterpret_cast<const char*>(head.gift);
    const std::string_view payload_view{payload, head.payload_bytes};
    publication.payload = {head.kind, payload_view};
    if (head.type == RecordType::history_read) {
        record.request = decode_request(name, payload_view);
    } else if (head.type == RecordType::history_end) {
        record.extent = decode_extent(name, payload_view);
    } else if (head.type == RecordType::heads) {
        // Records are 8-byte aligned and so is the head.
        record.heads = {reinterpret_cast<const codec::Position*>(payload),
                        head.payload_bytes / sizeof(codec::Position)};
    } else if (is_about_connections(head.type)) {
        decode_connections(head, payload_view, record);
    }
    return record;
}

}  // namespace broker
