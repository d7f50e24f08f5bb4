#include "broker/cross_core.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "io/base/check.h"

namespace broker {

namespace {

constexpr uint64_t gift_bytes_min = 16 * 1024;

struct Head {
    RecordType type;
    codec::PayloadKind kind = codec::PayloadKind::json;
    uint8_t id_bytes = 0;
    bool echo = true;
    bool wants_answer = false;
    uint16_t name_bytes = 0;  // topic or filter
    uint32_t origin_shard = 0;
    uint32_t slot_index = 0;
    uint32_t slot_generation = 0;
    uint32_t token = 0;
    uint32_t payload_bytes = 0;
    uint8_t* gift = nullptr;
};
static_assert(sizeof(Head) == 40);

// Writes head, id, name and payload one after the other.
bool write(io::Lane& lane, const Head& head, std::string_view id, std::string_view name,
           std::string_view inline_payload) {
    const uint64_t bytes = sizeof head + id.size() + name.size() + inline_payload.size();
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
    put(inline_payload.data(), inline_payload.size());
    return true;
}

Head head_of(RecordType type, const Origin& origin) {
    Head head{.type = type};
    head.id_bytes = static_cast<uint8_t>(origin.id.size());
    head.echo = origin.echo;
    head.wants_answer = origin.wants_answer;
    head.origin_shard = origin.shard;
    head.slot_index = origin.slot.index;
    head.slot_generation = origin.slot.generation;
    return head;
}

}  // namespace

void FreeBlock::operator()(uint8_t* block) const {
    std::free(block);
}

CrossCore::CrossCore(uint64_t lane_bytes)
    : inline_bytes_max_(std::min(gift_bytes_min, lane_bytes / 8)) {}

uint64_t CrossCore::publication_cost(const Publication& publication) const {
    const uint64_t payload_bytes = publication.payload.bytes.size();
    const uint64_t inline_bytes = payload_bytes > inline_bytes_max_ ? 0 : payload_bytes;
    return io::Lane::record_cost(sizeof(Head) + publication.origin.id.size() +
                                 publication.topic.size() + inline_bytes);
}

uint64_t CrossCore::published_cost(const Origin& origin) {
    return io::Lane::record_cost(sizeof(Head) + origin.id.size());
}

uint64_t CrossCore::filter_cost(std::string_view filter) {
    return io::Lane::record_cost(sizeof(Head) + filter.size());
}

uint64_t CrossCore::marker_cost() {
    return io::Lane::record_cost(sizeof(Head));
}

bool CrossCore::write_publication(io::Lane& lane, RecordType type,
                                  const Publication& publication) const {
    const std::string_view payload = publication.payload.bytes;
    Head head = head_of(type, publication.origin);
    head.kind = publication.payload.kind;
    head.name_bytes = static_cast<uint16_t>(publication.topic.size());
    head.payload_bytes = static_cast<uint32_t>(payload.size());
    if (payload.size() <= inline_bytes_max_) {
        return write(lane, head, publication.origin.id, publication.topic, payload);
    }
    GiftBlock block(static_cast<uint8_t*>(std::malloc(payload.size())));
    CHECK(block != nullptr);
    std::memcpy(block.get(), payload.data(), payload.size());
    head.gift = block.get();
    if (!write(lane, head, publication.origin.id, publication.topic, {})) return false;
    static_cast<void>(block.release());  // the receiver's from now on
    return true;
}

bool CrossCore::write_published(io::Lane& lane, const Origin& origin) {
    return write(lane, head_of(RecordType::published, origin), origin.id, {}, {});
}

bool CrossCore::write_filter(io::Lane& lane, RecordType type, std::string_view filter,
                             uint32_t token) {
    Head head{.type = type};
    head.name_bytes = static_cast<uint16_t>(filter.size());
    head.token = token;
    return write(lane, head, {}, filter, {});
}

bool CrossCore::write_marker(io::Lane& lane, RecordType type, uint32_t token) {
    Head head{.type = type};
    head.token = token;
    return write(lane, head, {}, {}, {});
}

Record CrossCore::decode(std::span<const uint8_t> bytes) {
    Head head{.type = RecordType::publish};
    CHECK(bytes.size() >= sizeof head);
    std::memcpy(&head, bytes.data(), sizeof head);
    const char* at = reinterpret_cast<const char*>(bytes.data()) + sizeof head;
    Record record{.type = head.type};
    record.token = head.token;
    Origin& origin = record.publication.origin;
    origin.shard = head.origin_shard;
    origin.slot = base::Slot{head.slot_index, head.slot_generation};
    origin.echo = head.echo;
    origin.wants_answer = head.wants_answer;
    origin.id = {at, head.id_bytes};
    at += head.id_bytes;
    const std::string_view name{at, head.name_bytes};
    at += head.name_bytes;
    record.publication.topic = name;
    record.filter = name;
    record.gift = GiftBlock(head.gift);
    const char* payload = head.gift == nullptr ? at : reinterpret_cast<const char*>(head.gift);
    record.publication.payload = {head.kind, {payload, head.payload_bytes}};
    return record;
}

}  // namespace broker
