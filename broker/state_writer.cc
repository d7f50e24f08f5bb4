#include "broker/state_writer.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "io/base/check.h"

namespace broker {

namespace {

// Large enough that a system call for each costs nothing beside the disk, small enough to stay in a
// cache between the copy, the checksum and the write.
constexpr size_t content_bytes_usual = 256 * base::kib;

}  // namespace

StateWriter::StateWriter(int fd, const StateHead& head) : fd_(fd) {
    CHECK(!head.epoch.empty() && head.epoch.size() <= state_epoch_bytes_max);
    append_bytes(state_magic.data(), state_magic.size());
    append_number(state_version);
    append_number(uint32_t{0});
    write_bytes(block_);
    block_.assign(sizeof(BlockHead), 0);

    append_number(head.hash_seed);
    append_number(head.saved_wall_ns);
    append_number(head.partitions_count);
    append_number(head.shards_count);
    append_name(head.epoch);
    seal_block(BlockKind::head);
}

void StateWriter::partition(uint32_t partition, uint64_t head, uint64_t forgotten_floor) {
    begin_record(RecordTag::partition, 4 + 8 + 8);
    append_number(partition);
    append_number(head);
    append_number(forgotten_floor);
    ++counts_.partitions;
}

void StateWriter::topic(uint32_t /*partition*/, std::string_view topic, uint64_t floor) {
    begin_record(RecordTag::topic, 8 + 2 + topic.size());
    append_number(floor);
    append_name(topic);
    ++counts_.topics;
}

void StateWriter::message(uint32_t /*partition*/, const topics::History::Message& message,
                          uint64_t age_ns) {
    const size_t bytes = 8 + 8 + 1 + 2 + message.topic.size() + 4 + message.payload.size();
    begin_record(RecordTag::message, bytes);
    append_number(message.offset);
    append_number(age_ns);
    append_number(message.kind);
    append_name(message.topic);
    append_number(static_cast<uint32_t>(message.payload.size()));
    append_bytes(message.payload.data(), message.payload.size());
    ++counts_.messages;
}

void StateWriter::keys_of(uint32_t shard) {
    begin_record(RecordTag::keys_of, 4);
    append_number(shard);
}

void StateWriter::key(const topics::KeyWindow::Entry& entry) {
    begin_record(RecordTag::key, 4 * 8);
    append_number(entry.hash_low);
    append_number(entry.hash_high);
    append_number(entry.offset);
    append_number(entry.age_ns);
    ++counts_.keys;
}

int StateWriter::finish() {
    if (block_.size() > sizeof(BlockHead)) seal_block(BlockKind::records);
    append_number(counts_.partitions);
    append_number(counts_.topics);
    append_number(counts_.messages);
    append_number(counts_.keys);
    seal_block(BlockKind::end);
    return error_;
}

void StateWriter::begin_record(RecordTag tag, size_t bytes) {
    bytes += sizeof tag;
    CHECK(bytes <= state_block_bytes_max);
    const size_t content_bytes = block_.size() - sizeof(BlockHead);
    if (content_bytes > 0 && content_bytes + bytes > content_bytes_usual) {
        seal_block(BlockKind::records);
    }
    append_number(tag);
}

void StateWriter::append_name(std::string_view name) {
    CHECK(name.size() <= UINT16_MAX);
    append_number(static_cast<uint16_t>(name.size()));
    append_bytes(name.data(), name.size());
}

void StateWriter::append_bytes(const void* bytes, size_t count) {
    const uint8_t* first = static_cast<const uint8_t*>(bytes);
    block_.insert(block_.end(), first, first + count);
}

void StateWriter::seal_block(BlockKind kind) {
    const std::span<const uint8_t> content = std::span(block_).subspan(sizeof(BlockHead));
    BlockHead head{.kind = kind,
                   .content_bytes = static_cast<uint32_t>(content.size()),
                   .index = blocks_count_++,
                   .checksum = 0};
    head.checksum = block_checksum(head, content);
    std::memcpy(block_.data(), &head, sizeof head);
    write_bytes(block_);
    block_.resize(sizeof head);
}

void StateWriter::write_bytes(std::span<const uint8_t> bytes) {
    while (error_ == 0 && !bytes.empty()) {
        const ssize_t count = ::write(fd_, bytes.data(), bytes.size());
        if (count < 0) {
            if (errno != EINTR) error_ = errno;
            continue;
        }
        counts_.file_bytes += static_cast<uint64_t>(count);
        bytes = bytes.subspan(static_cast<size_t>(count));
    }
}

}  // namespace broker
