#include "broker/state_transfer.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "broker/partitions.h"
#include "broker/state_writer.h"
#include "codec/payload.h"

namespace broker {

namespace {

// More than a lifetime; ages do not overflow when they are added to it.
constexpr uint64_t age_ns_max = uint64_t{1} << 62;

uint64_t older(uint64_t age_ns, uint64_t by_ns) {
    return std::min(age_ns, age_ns_max) + std::min(by_ns, age_ns_max);
}

// Tries what restoring will do.
class Rehearsal final : public StateVisitor {
  public:
    Rehearsal(const StateHead& head, const topics::TopicRules& rules)
        : head_(head),
          rules_(rules),
          partitions_(head.partitions_count, 1, head.hash_seed),
          is_seen_(head.partitions_count, false) {}

    bool partition(uint32_t partition, uint64_t head, uint64_t forgotten_floor) override {
        if (partition >= is_seen_.size() || is_seen_[partition]) return false;
        is_seen_[partition] = true;
        history_.emplace(rules_,
                         topics::History::Options{.partitions_count = head_.partitions_count,
                                                  .hash_seed = head_.hash_seed});
        return history_->restore_partition(partition, head, forgotten_floor);
    }
    bool topic(uint32_t partition, std::string_view topic, uint64_t floor) override {
        return partitions_.partition_of(topic) == partition &&
               history_->restore_topic(partition, topic, floor);
    }
    bool message(uint32_t partition, const topics::History::Message& message,
                 uint64_t age_ns) override {
        return message.kind <= static_cast<uint8_t>(codec::PayloadKind::binary) &&
               history_->restore_message(partition, message, age_ns, 0);
    }
    bool keys_of(uint32_t shard) override { return shard < head_.shards_count; }
    bool key(const topics::KeyWindow::Entry& /*entry*/) override { return true; }

  private:
    const StateHead& head_;
    const topics::TopicRules& rules_;
    const Partitions partitions_;
    std::vector<bool> is_seen_;
    std::optional<topics::History> history_;  // of the current partition
};

class Restore final : public StateVisitor {
  public:
    Restore(const StateHead& head, const RestoreOptions& options, std::span<const KeptState> shards)
        : head_(head),
          options_(options),
          shards_(shards),
          partitions_(head.partitions_count, static_cast<uint32_t>(shards.size()), head.hash_seed),
          down_ns_(options.wall_ns - std::min(options.wall_ns, head.saved_wall_ns)) {}

    bool partition(uint32_t partition, uint64_t head, uint64_t forgotten_floor) override {
        // Between partitions, because a topic that waits for its messages looks like one that has
        // lost them.
        shorten();
        return history_of(partition).restore_partition(partition, head, forgotten_floor);
    }
    bool topic(uint32_t partition, std::string_view topic, uint64_t floor) override {
        return history_of(partition).restore_topic(partition, topic, floor);
    }
    bool message(uint32_t partition, const topics::History::Message& message,
                 uint64_t age_ns) override {
        return history_of(partition).restore_message(partition, message, older(age_ns, down_ns_),
                                                     options_.now_ns);
    }
    bool keys_of(uint32_t shard) override {
        keys_shard_ = shard;
        return true;
    }
    bool key(const topics::KeyWindow::Entry& entry) override {
        topics::KeyWindow::Entry aged = entry;
        aged.age_ns = older(entry.age_ns, down_ns_);
        if (head_.shards_count == shards_.size()) {
            if (keys_shard_ >= shards_.size()) return false;
            shards_[keys_shard_].keys.restore(aged, options_.now_ns);
        } else {
            keys_.push_back(aged);
        }
        return true;
    }

    void finish() {
        // What outlived its time while nobody ran is never seen again.
        for (const KeptState& shard : shards_) shard.history.expire(options_.now_ns, UINT32_MAX);
        shorten();
        hand_out_keys();
    }

  private:
    // A key does not tell its topic, so with another number of shards nobody knows whose it is.
    // Every shard gets all of them, oldest first as they must come; those of other shards are never
    // asked for and leave with their time.
    void hand_out_keys() {
        std::stable_sort(keys_.begin(), keys_.end(), [](const auto& left, const auto& right) {
            return left.age_ns > right.age_ns;
        });
        for (const topics::KeyWindow::Entry& entry : keys_) {
            for (const KeptState& shard : shards_) shard.keys.restore(entry, options_.now_ns);
        }
    }

    topics::History& history_of(uint32_t partition) const {
        return shards_[partitions_.owner_of(partition)].history;
    }

    // The budget may have become smaller; the shards alone would come down to it only while they
    // run.
    void shorten() const {
        uint64_t all_bytes = 0;
        for (const KeptState& shard : shards_) all_bytes += shard.history.memory_bytes();
        for (const KeptState& shard : shards_) {
            if (all_bytes <= options_.memory_bytes_max) return;
            const uint64_t own_bytes = shard.history.memory_bytes();
            const uint64_t excess_bytes = all_bytes - options_.memory_bytes_max;
            const uint64_t share_bytes = options_.memory_bytes_max / shards_.size();
            shard.history.shorten(
                std::max(share_bytes, own_bytes - std::min(own_bytes, excess_bytes)), UINT32_MAX);
            all_bytes -= own_bytes - shard.history.memory_bytes();
        }
    }

    const StateHead& head_;
    const RestoreOptions& options_;
    const std::span<const KeptState> shards_;
    const Partitions partitions_;
    const uint64_t down_ns_;
    uint32_t keys_shard_ = 0;
    std::vector<topics::KeyWindow::Entry> keys_;
};

}  // namespace

int save_state(int fd, const StateHead& head, std::span<const KeptState> shards, uint64_t now_ns,
               StateCounts& counts) {
    StateWriter writer(fd, head);
    for (const KeptState& shard : shards) shard.history.save(writer, now_ns);
    for (uint32_t shard = 0; shard < shards.size(); ++shard) {
        writer.keys_of(shard);
        shards[shard].keys.save(writer, now_ns);
    }
    const int error = writer.finish();
    counts = writer.counts();
    return error;
}

StateProblem check_state(StateReader& reader, uint32_t partitions_count,
                         const topics::TopicRules& rules, StateHead& head) {
    StateProblem problem = reader.read_head(head);
    if (!problem.is_none()) return problem;
    if (head.partitions_count != partitions_count) {
        return {StateFault::unusable, "it is of " + std::to_string(head.partitions_count) +
                                          " partitions, this broker has " +
                                          std::to_string(partitions_count)};
    }
    Rehearsal rehearsal(head, rules);
    return reader.read_records(rehearsal);
}

StateProblem restore_state(StateReader& reader, const RestoreOptions& options,
                           std::span<const KeptState> shards) {
    StateHead head;
    StateProblem problem = reader.read_head(head);
    if (!problem.is_none()) return problem;
    Restore restore(head, options, shards);
    problem = reader.read_records(restore);
    if (problem.is_none()) restore.finish();
    return problem;
}

}  // namespace broker
