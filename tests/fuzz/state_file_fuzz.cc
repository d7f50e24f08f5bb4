// Fuzzer of what reads state files. A file that passes the check must be restored, and what was
// restored must be saved and restored again without a change, but for the order of topics, which
// are written as they stand in a hash table.
//
// The first byte tells what the rest is: an even one, a file as it is; an odd one, the contents of
// blocks (kind, length as u16, content), for which the harness makes preface and checksums, because
// no fuzzer guesses a checksum.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "broker/state_transfer.h"
#include "io/base/check.h"
#include "tests/broker/state_forge.h"

using broker::BlockKind;
using broker::KeptState;
using broker::RestoreOptions;
using broker::StateCounts;
using broker::StateHead;
using broker::StateReader;
using broker_test::MemoryFile;
using topics::History;
using topics::KeyWindow;

namespace {

constexpr uint64_t now_ns = 1'000 * base::ns_per_s;
constexpr size_t shards_count = 2;
constexpr uint32_t partitions_max = 64;

const topics::TopicRules& rules() {
    static const topics::TopicRules rules(
        {{.match = "none/#"},
         {.match = "short/#", .history_messages_max = 2},
         {.match = "small/#", .history_messages_max = 100, .history_bytes_max = 8},
         {.match = "#", .history_messages_max = 100, .history_ttl_ns = 60 * base::ns_per_s}});
    return rules;
}

std::string forge(std::string_view input) {
    broker_test::StateForge forge;
    while (input.size() >= 3) {
        const auto kind = BlockKind{static_cast<uint8_t>(input[0])};
        uint16_t length = 0;
        std::memcpy(&length, input.data() + 1, sizeof length);
        input.remove_prefix(3);
        const std::string_view content = input.substr(0, length);
        forge.block(kind, content);
        input.remove_prefix(content.size());
    }
    return forge.bytes();
}

struct Shards {
    explicit Shards(const StateHead& head) {
        for (size_t shard = 0; shard < shards_count; ++shard) {
            histories.push_back(std::make_unique<History>(
                rules(), History::Options{.partitions_count = head.partitions_count,
                                          .hash_seed = head.hash_seed}));
            keys.push_back(std::make_unique<KeyWindow>(KeyWindow::Options{
                .hash_seed = head.hash_seed, .window_ns = 60 * base::ns_per_s, .keys_max = 4}));
            kept.push_back({*histories.back(), *keys.back()});
        }
    }
    std::vector<std::unique_ptr<History>> histories;
    std::vector<std::unique_ptr<KeyWindow>> keys;
    std::vector<KeptState> kept;
};

// The file that these shards leave after they have restored this one.
std::string restore_and_save(StateReader& reader, const StateHead& head) {
    const Shards shards(head);
    const RestoreOptions options{
        .now_ns = now_ns, .wall_ns = head.saved_wall_ns, .memory_bytes_max = UINT64_MAX};
    CHECK(broker::restore_state(reader, options, shards.kept).is_none());
    StateHead saved = head;
    saved.shards_count = shards_count;
    const MemoryFile file;
    StateCounts counts;
    CHECK(broker::save_state(file.fd(), saved, shards.kept, now_ns, counts) == 0);
    for (uint32_t partition = 0; partition < head.partitions_count; ++partition) {
        History& history = *shards.histories[partition % shards_count];
        const uint64_t before = history.head(partition);
        // What comes next has a position of its own.
        CHECK(history.append(partition, "next", 0, "", now_ns) == before + 1);
    }
    return file.content();
}

// What a file holds, with the topics of each partition in the order of their names.
class Contents final : public broker::StateVisitor {
  public:
    explicit Contents(const std::string& bytes) {
        const MemoryFile file(bytes);
        StateReader reader(file.fd());
        CHECK(reader.read_head(head_).is_none() && reader.read_records(*this).is_none());
        std::sort(topics_.begin(), topics_.end());
    }
    friend bool operator==(const Contents& one, const Contents& other) {
        return one.head_.epoch == other.head_.epoch &&
               one.head_.hash_seed == other.head_.hash_seed &&
               one.head_.saved_wall_ns == other.head_.saved_wall_ns &&
               one.head_.partitions_count == other.head_.partitions_count &&
               one.head_.shards_count == other.head_.shards_count && one.topics_ == other.topics_ &&
               one.others_ == other.others_;
    }

  private:
    bool partition(uint32_t partition, uint64_t head, uint64_t forgotten_floor) override {
        others_.push_back("partition " + numbers({partition, head, forgotten_floor}));
        return true;
    }
    bool topic(uint32_t partition, std::string_view topic, uint64_t floor) override {
        topics_.push_back(numbers({partition, floor}).append(topic));
        return true;
    }
    bool message(uint32_t partition, const History::Message& message, uint64_t age_ns) override {
        others_.push_back("message " + numbers({partition, message.offset, age_ns, message.kind,
                                                message.topic.size()}));
        others_.back().append(message.topic).append(message.payload);
        return true;
    }
    bool keys_of(uint32_t shard) override {
        others_.push_back("keys of " + numbers({shard}));
        return true;
    }
    bool key(const KeyWindow::Entry& entry) override {
        others_.push_back("key " +
                          numbers({entry.hash_low, entry.hash_high, entry.offset, entry.age_ns}));
        return true;
    }

    static std::string numbers(std::initializer_list<uint64_t> all) {
        std::string text;
        for (const uint64_t one : all) text += std::to_string(one) + " ";
        return text;
    }

    StateHead head_;
    std::vector<std::string> topics_;
    std::vector<std::string> others_;  // in their order
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    if (size == 0) return 0;
    const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
    const MemoryFile file(data[0] % 2 == 0 ? std::string(input) : forge(input));
    StateReader reader(file.fd());
    StateHead head;
    if (!reader.read_head(head).is_none()) return 0;
    const uint32_t partitions_count = std::clamp(head.partitions_count, 1u, partitions_max);
    if (!broker::check_state(reader, partitions_count, rules(), head).is_none()) return 0;
    CHECK(head.partitions_count == partitions_count);

    const std::string once = restore_and_save(reader, head);
    const MemoryFile again(once);
    StateReader reader_again(again.fd());
    CHECK(broker::check_state(reader_again, partitions_count, rules(), head).is_none());
    CHECK(Contents(restore_and_save(reader_again, head)) == Contents(once));
    return 0;
}
