#include "tests/broker/state_forge.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io/base/check.h"

namespace broker_test {

using broker::BlockHead;
using broker::BlockKind;
using broker::RecordTag;
using broker::StateCounts;
using broker::StateHead;

namespace {

template <class Number>
std::string bytes_of(Number number) {
    return {reinterpret_cast<const char*>(&number), sizeof number};
}

std::string name_bytes(std::string_view name) {
    return bytes_of(static_cast<uint16_t>(name.size())) + std::string(name);
}

}  // namespace

MemoryFile::MemoryFile(std::string_view content) : fd_(::memfd_create("state", MFD_CLOEXEC)) {
    CHECK(fd_ >= 0);
    while (!content.empty()) {
        const ssize_t count = ::write(fd_, content.data(), content.size());
        CHECK(count > 0);
        content.remove_prefix(static_cast<size_t>(count));
    }
}

MemoryFile::~MemoryFile() {
    ::close(fd_);
}

std::string MemoryFile::content() const {
    struct stat status {};
    CHECK(::fstat(fd_, &status) == 0);
    std::string content(static_cast<size_t>(status.st_size), '\0');
    CHECK(::pread(fd_, content.data(), content.size(), 0) == status.st_size);
    return content;
}

StateForge::StateForge() {
    bytes_.assign(broker::state_magic.begin(), broker::state_magic.end());
    bytes_ += bytes_of(broker::state_version) + bytes_of(uint32_t{0});
}

void StateForge::block(BlockKind kind, std::string_view content) {
    BlockHead head{.kind = kind,
                   .content_bytes = static_cast<uint32_t>(content.size()),
                   .index = blocks_count_++,
                   .checksum = 0};
    head.checksum = broker::block_checksum(
        head, {reinterpret_cast<const uint8_t*>(content.data()), content.size()});
    bytes_ += bytes_of(head);
    bytes_ += content;
}

void StateForge::head(const StateHead& head) {
    block(BlockKind::head, head_content(head));
}

void StateForge::end(const StateCounts& counts) {
    block(BlockKind::end, counts_content(counts));
}

std::string head_content(const StateHead& head) {
    return bytes_of(head.hash_seed) + bytes_of(head.saved_wall_ns) +
           bytes_of(head.partitions_count) + bytes_of(head.shards_count) + name_bytes(head.epoch);
}

std::string counts_content(const StateCounts& counts) {
    return bytes_of(counts.partitions) + bytes_of(counts.topics) + bytes_of(counts.messages) +
           bytes_of(counts.keys);
}

std::string partition_record(uint32_t partition, uint64_t head, uint64_t forgotten_floor) {
    return bytes_of(RecordTag::partition) + bytes_of(partition) + bytes_of(head) +
           bytes_of(forgotten_floor);
}

std::string topic_record(std::string_view topic, uint64_t floor) {
    return bytes_of(RecordTag::topic) + bytes_of(floor) + name_bytes(topic);
}

std::string message_record(const topics::History::Message& message, uint64_t age_ns) {
    return bytes_of(RecordTag::message) + bytes_of(message.offset) + bytes_of(age_ns) +
           bytes_of(message.kind) + name_bytes(message.topic) +
           bytes_of(static_cast<uint32_t>(message.payload.size())) + std::string(message.payload);
}

std::string keys_of_record(uint32_t shard) {
    return bytes_of(RecordTag::keys_of) + bytes_of(shard);
}

std::string key_record(const topics::KeyWindow::Entry& entry) {
    return bytes_of(RecordTag::key) + bytes_of(entry.hash_low) + bytes_of(entry.hash_high) +
           bytes_of(entry.offset) + bytes_of(entry.age_ns);
}

bool Transcript::partition(uint32_t partition, uint64_t head, uint64_t forgotten_floor) {
    return add("partition " + std::to_string(partition) + " head " + std::to_string(head) +
               " forgotten " + std::to_string(forgotten_floor));
}

bool Transcript::topic(uint32_t partition, std::string_view topic, uint64_t floor) {
    return add("topic " + std::to_string(partition) + " " + std::string(topic) + " floor " +
               std::to_string(floor));
}

bool Transcript::message(uint32_t partition, const topics::History::Message& message,
                         uint64_t age_ns) {
    return add("message " + std::to_string(partition) + ":" + std::to_string(message.offset) + " " +
               std::string(message.topic) + " kind " + std::to_string(message.kind) + " age " +
               std::to_string(age_ns) + " " + std::string(message.payload));
}

bool Transcript::keys_of(uint32_t shard) {
    return add("keys of " + std::to_string(shard));
}

bool Transcript::key(const topics::KeyWindow::Entry& entry) {
    return add("key " + std::to_string(entry.hash_low) + " " + std::to_string(entry.hash_high) +
               " offset " + std::to_string(entry.offset) + " age " + std::to_string(entry.age_ns));
}

bool Transcript::add(std::string line) {
    if (lines.size() == lines_max) return false;
    lines.push_back(std::move(line));
    return true;
}

}  // namespace broker_test
