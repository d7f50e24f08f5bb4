#include "broker/state_reader.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace broker {

namespace {

// Takes fields from bytes; once one was not there, all that follow are zero and empty.
class Fields {
  public:
    explicit Fields(std::span<const uint8_t> bytes) : rest_(bytes) {}

    template <class Number>
    Number number() {
        Number number{};
        const std::span<const uint8_t> bytes = take(sizeof number);
        if (!bytes.empty()) std::memcpy(&number, bytes.data(), sizeof number);
        return number;
    }
    std::string_view text(size_t count) {
        const std::span<const uint8_t> bytes = take(count);
        return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    }
    std::string_view name() { return text(number<uint16_t>()); }

    bool is_at_end() const { return rest_.empty(); }
    // Whether something that was asked for was not there.
    bool is_short() const { return is_short_; }

  private:
    std::span<const uint8_t> take(size_t count) {
        is_short_ = is_short_ || count > rest_.size();
        if (is_short_) return {};
        const std::span<const uint8_t> taken = rest_.first(count);
        rest_ = rest_.subspan(count);
        return taken;
    }

    std::span<const uint8_t> rest_;
    bool is_short_ = false;
};

StateProblem unreadable(int error_number) {
    return {StateFault::unreadable, std::strerror(error_number)};
}

}  // namespace

StateProblem StateReader::read_head(StateHead& head) {
    struct stat status {};
    if (::fstat(fd_, &status) != 0) return unreadable(errno);
    position_ = 0;
    bytes_left_ = S_ISREG(status.st_mode) ? static_cast<uint64_t>(status.st_size) : 0;
    blocks_count_ = 0;
    has_partition_ = false;
    has_keys_ = false;
    counts_ = {.file_bytes = bytes_left_};

    uint8_t preface[state_preface_bytes];
    StateProblem problem = read_bytes(preface);
    if (!problem.is_none()) return problem;
    if (!std::equal(state_magic.begin(), state_magic.end(), preface)) {
        return {StateFault::damaged, "it does not begin like a state file"};
    }
    const std::span<const uint8_t> preface_bytes(preface);
    Fields fields(preface_bytes.subspan(state_magic.size()));
    const uint32_t version = fields.number<uint32_t>();
    if (version != state_version) {
        return {StateFault::unusable, "it has version " + std::to_string(version) +
                                          ", this broker knows version " +
                                          std::to_string(state_version)};
    }
    if (fields.number<uint32_t>() != 0) return damaged("its preface is wrong");

    BlockHead block;
    problem = next_block(block);
    if (!problem.is_none()) return problem;
    fields = Fields(content_);
    head.hash_seed = fields.number<uint64_t>();
    head.saved_wall_ns = fields.number<uint64_t>();
    head.partitions_count = fields.number<uint32_t>();
    head.shards_count = fields.number<uint32_t>();
    head.epoch = fields.name();
    const bool is_sensible = block.kind == BlockKind::head && !fields.is_short() &&
                             fields.is_at_end() && !head.epoch.empty() &&
                             head.epoch.size() <= state_epoch_bytes_max;
    return is_sensible ? StateProblem{} : damaged("its head is wrong");
}

StateProblem StateReader::read_records(StateVisitor& visitor) {
    BlockHead block;
    while (true) {
        StateProblem problem = next_block(block);
        if (!problem.is_none()) return problem;
        switch (block.kind) {
            case BlockKind::records:
                if (!show_block(visitor)) return damaged("a record contradicts what came before");
                continue;
            case BlockKind::end:
                if (!has_counts_right()) return damaged("its sums are wrong");
                if (bytes_left_ > 0) return damaged("something follows its end");
                return {};
            case BlockKind::head: break;
        }
        return damaged("a block is of no known kind");
    }
}

bool StateReader::show_block(StateVisitor& visitor) {
    Fields fields(content_);
    bool is_accepted = true;
    while (is_accepted && !fields.is_at_end()) {
        is_accepted = false;
        switch (fields.number<RecordTag>()) {
            case RecordTag::partition: {
                partition_ = fields.number<uint32_t>();
                has_partition_ = true;
                const uint64_t head = fields.number<uint64_t>();
                const uint64_t forgotten_floor = fields.number<uint64_t>();
                if (fields.is_short()) return false;
                is_accepted = visitor.partition(partition_, head, forgotten_floor);
                ++counts_.partitions;
                break;
            }
            case RecordTag::topic: {
                const uint64_t floor = fields.number<uint64_t>();
                const std::string_view name = fields.name();
                if (fields.is_short() || !has_partition_) return false;
                is_accepted = visitor.topic(partition_, name, floor);
                ++counts_.topics;
                break;
            }
            case RecordTag::message: {
                topics::History::Message message{};
                message.offset = fields.number<uint64_t>();
                const uint64_t age_ns = fields.number<uint64_t>();
                message.kind = fields.number<uint8_t>();
                message.topic = fields.name();
                message.payload = fields.text(fields.number<uint32_t>());
                if (fields.is_short() || !has_partition_) return false;
                is_accepted = visitor.message(partition_, message, age_ns);
                ++counts_.messages;
                break;
            }
            case RecordTag::keys_of: {
                const uint32_t shard = fields.number<uint32_t>();
                has_keys_ = true;
                if (fields.is_short()) return false;
                is_accepted = visitor.keys_of(shard);
                break;
            }
            case RecordTag::key: {
                topics::KeyWindow::Entry entry{};
                entry.hash_low = fields.number<uint64_t>();
                entry.hash_high = fields.number<uint64_t>();
                entry.offset = fields.number<uint64_t>();
                entry.age_ns = fields.number<uint64_t>();
                if (fields.is_short() || !has_keys_) return false;
                is_accepted = visitor.key(entry);
                ++counts_.keys;
                break;
            }
        }
    }
    return is_accepted;
}

bool StateReader::has_counts_right() const {
    Fields fields(content_);
    const StateCounts counted{.partitions = fields.number<uint64_t>(),
                              .topics = fields.number<uint64_t>(),
                              .messages = fields.number<uint64_t>(),
                              .keys = fields.number<uint64_t>(),
                              .file_bytes = counts_.file_bytes};
    return !fields.is_short() && fields.is_at_end() && counted == counts_;
}

StateProblem StateReader::next_block(BlockHead& head) {
    uint8_t head_bytes[sizeof head];
    StateProblem problem = read_bytes(head_bytes);
    if (!problem.is_none()) return problem;
    std::memcpy(&head, head_bytes, sizeof head);
    if (head.index != blocks_count_) return damaged("a block is not in its place");
    if (head.content_bytes > state_block_bytes_max) return damaged("a block is too large");
    if (head.content_bytes > bytes_left_) return damaged("it is cut short");
    content_.resize(head.content_bytes);
    problem = read_bytes(content_);
    if (!problem.is_none()) return problem;
    if (head.checksum != block_checksum(head, content_)) return damaged("a checksum is wrong");
    ++blocks_count_;
    return {};
}

StateProblem StateReader::read_bytes(std::span<uint8_t> bytes) {
    while (!bytes.empty()) {
        if (bytes.size() > bytes_left_) return damaged("it is cut short");
        const ssize_t count =
            ::pread(fd_, bytes.data(), bytes.size(), static_cast<off_t>(position_));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return unreadable(errno);
        if (count == 0) return damaged("it is cut short");
        position_ += static_cast<uint64_t>(count);
        bytes_left_ -= static_cast<uint64_t>(count);
        bytes = bytes.subspan(static_cast<size_t>(count));
    }
    return {};
}

StateProblem StateReader::damaged(std::string_view what) const {
    return {StateFault::damaged, std::string(what) + " (block " + std::to_string(blocks_count_) +
                                     ", byte " + std::to_string(position_) + ")"};
}

}  // namespace broker
