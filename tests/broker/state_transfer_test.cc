// From histories and keys into a state file and back, with other shards, other rules, later, and
// with files that no broker wrote.

#include "broker/state_transfer.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "broker/partitions.h"
#include "io/base/prng.h"
#include "tests/broker/state_forge.h"

namespace broker {
namespace {

using broker_test::key_record;
using broker_test::keys_of_record;
using broker_test::MemoryFile;
using broker_test::message_record;
using broker_test::partition_record;
using broker_test::StateForge;
using broker_test::topic_record;
using broker_test::Transcript;
using topics::History;
using topics::KeyWindow;
using topics::TopicRule;
using topics::TopicRules;

constexpr uint64_t second = base::ns_per_s;
constexpr uint64_t saved_wall_ns = 1'700'000'000 * second;
constexpr uint64_t hash_seed = 42;
constexpr uint32_t partitions_count = 8;

std::vector<TopicRule> wide_rule() {
    return {{.match = "#", .history_messages_max = 5, .history_ttl_ns = 1'000 * second}};
}

// The histories and keys of a broker.
struct Shards {
    explicit Shards(uint32_t count, std::vector<TopicRule> all_rules = wide_rule(),
                    uint64_t keys_max = 100)
        : rules(std::move(all_rules)), partitions(partitions_count, count, hash_seed) {
        for (uint32_t shard = 0; shard < count; ++shard) {
            histories.push_back(std::make_unique<History>(
                rules,
                History::Options{.partitions_count = partitions_count, .hash_seed = hash_seed}));
            keys.push_back(std::make_unique<KeyWindow>(KeyWindow::Options{
                .hash_seed = hash_seed, .window_ns = 300 * second, .keys_max = keys_max}));
        }
    }

    std::vector<KeptState> kept() const {
        std::vector<KeptState> all;
        for (size_t shard = 0; shard < histories.size(); ++shard) {
            all.push_back({*histories[shard], *keys[shard]});
        }
        return all;
    }
    uint64_t publish(const std::string& topic, const std::string& payload, uint64_t now_ns) const {
        return histories[partitions.owner_of(topic)]->append(partitions.partition_of(topic), topic,
                                                             1, payload, now_ns);
    }
    KeyWindow& keys_of(const std::string& topic) const { return *keys[partitions.owner_of(topic)]; }
    uint64_t memory_bytes() const {
        uint64_t sum = 0;
        for (const auto& history : histories) sum += history->memory_bytes();
        return sum;
    }

    StateHead head() const {
        return {.epoch = "epoch",
                .hash_seed = hash_seed,
                .saved_wall_ns = saved_wall_ns,
                .partitions_count = partitions_count,
                .shards_count = static_cast<uint32_t>(histories.size())};
    }
    void save(const MemoryFile& file, uint64_t now_ns) const {
        StateCounts counts;
        ASSERT_EQ(save_state(file.fd(), head(), kept(), now_ns, counts), 0);
    }
    StateProblem restore(const MemoryFile& file, const RestoreOptions& options) const {
        StateReader reader(file.fd());
        StateHead found;
        const StateProblem problem = check_state(reader, partitions_count, rules, found);
        return problem.is_none() ? restore_state(reader, options, kept()) : problem;
    }
    // What is kept, a line each, in an order that does not depend on the number of shards.
    std::vector<std::string> lines(uint64_t now_ns) const {
        const MemoryFile file;
        save(file, now_ns);
        StateReader reader(file.fd());
        StateHead found;
        Transcript transcript;
        EXPECT_TRUE(reader.read_head(found).is_none());
        EXPECT_TRUE(reader.read_records(transcript).is_none());
        std::vector<std::string> lines;
        for (const std::string& line : transcript.lines) {
            if (!line.starts_with("key")) lines.push_back(line);
        }
        std::sort(lines.begin(), lines.end());
        return lines;
    }

    TopicRules rules;
    Partitions partitions;
    std::vector<std::unique_ptr<History>> histories;
    std::vector<std::unique_ptr<KeyWindow>> keys;
};

constexpr uint64_t unlimited = UINT64_MAX;

std::string topic_of(uint64_t number) {
    return "topic/" + std::to_string(number);
}

// Topics of 1 to 8 messages, of which 5 are kept, one message a second; a key each.
void fill(const Shards& shards) {
    uint64_t now_ns = 1'000 * second;
    for (uint64_t number = 0; number < 40; ++number) {
        for (uint64_t count = 0; count <= number % 8; ++count) {
            const std::string payload = std::to_string(number) + "." + std::to_string(count);
            const uint64_t offset = shards.publish(topic_of(number), payload, now_ns);
            EXPECT_GT(offset, 0u);
            shards.keys_of(topic_of(number)).remember(topic_of(number), payload, offset, now_ns);
            now_ns += second / 10;
        }
    }
}

TEST(StateTransfer, AnyNumberOfShardsGoesOnWhereAnyOtherStopped) {
    const uint64_t saved_ns = 1'100 * second;
    const uint64_t now_ns = 5 * second;  // a machine that was started again
    for (const uint32_t before : {1u, 2u, 3u, 8u}) {
        for (const uint32_t after : {1u, 2u, 3u, 8u}) {
            SCOPED_TRACE(std::to_string(before) + " to " + std::to_string(after));
            const Shards old(before, wide_rule(), 1'000);
            fill(old);
            const MemoryFile file;
            old.save(file, saved_ns);
            const Shards young(after, wide_rule(), 1'000);
            const RestoreOptions options{
                .now_ns = now_ns, .wall_ns = saved_wall_ns, .memory_bytes_max = unlimited};
            ASSERT_TRUE(young.restore(file, options).is_none());
            EXPECT_EQ(young.lines(now_ns), old.lines(saved_ns));
            for (uint64_t number = 0; number < 40; ++number) {
                const std::string topic = topic_of(number);
                const std::string key = std::to_string(number) + ".0";
                const auto expected = old.keys_of(topic).find(topic, key, saved_ns);
                ASSERT_TRUE(expected.has_value());
                EXPECT_EQ(young.keys_of(topic).find(topic, key, now_ns), expected) << topic;
                EXPECT_EQ(young.publish(topic, "next", now_ns),
                          old.publish(topic, "next", saved_ns))
                    << "positions go on";
            }
        }
    }
}

TEST(StateTransfer, WhatIsSavedGrowsOlderWhileTheBrokerIsDown) {
    const Shards old(2);
    old.publish("a", "old", 100 * second);
    old.publish("a", "young", 1'000 * second);
    old.keys_of("a").remember("a", "old", 1, 900 * second);
    old.keys_of("a").remember("a", "young", 2, 1'000 * second);
    const MemoryFile file;
    old.save(file, 1'000 * second);

    for (const uint32_t shards_count : {2u, 3u}) {
        // 900 s old and 0 s; the rule says 1,000 s. Keys: 100 s and 0 s of 300 s.
        RestoreOptions options{.now_ns = 50 * second,
                               .wall_ns = saved_wall_ns + 100 * second - 1,
                               .memory_bytes_max = unlimited};
        const Shards early(shards_count);
        ASSERT_TRUE(early.restore(file, options).is_none());
        EXPECT_EQ(early.histories[early.partitions.owner_of("a")]->messages_count(), 2u);
        const Shards young(shards_count);
        options.wall_ns = saved_wall_ns + 250 * second;
        ASSERT_TRUE(young.restore(file, options).is_none());
        EXPECT_FALSE(young.keys_of("a").find("a", "old", 50 * second).has_value());
        EXPECT_EQ(young.keys_of("a").find("a", "young", 99 * second), 2u);
        EXPECT_FALSE(young.keys_of("a").find("a", "young", 100 * second).has_value());
        History& history = *young.histories[young.partitions.owner_of("a")];
        EXPECT_EQ(history.messages_count(), 1u) << "what is too old is never seen";
        history.expire(799 * second, 10);
        EXPECT_EQ(history.messages_count(), 1u);
        history.expire(800 * second, 10);
        EXPECT_EQ(history.messages_count(), 0u);
        EXPECT_EQ(young.publish("a", "next", 800 * second), 3u);
    }
}

TEST(StateTransfer, AClockThatWasSetBackMakesNothingOlderOrYounger) {
    const Shards old(1);
    old.publish("a", "x", 900 * second);
    const MemoryFile file;
    old.save(file, 1'000 * second);
    const Shards young(1);
    const RestoreOptions options{
        .now_ns = 0, .wall_ns = saved_wall_ns - 1, .memory_bytes_max = unlimited};
    ASSERT_TRUE(young.restore(file, options).is_none());
    EXPECT_EQ(young.lines(0), old.lines(1'000 * second));
}

TEST(StateTransfer, KeysOfManyShardsComeOldestFirst) {
    const Shards old(3);
    std::vector<std::string> topics;
    for (uint64_t number = 0; number < 60; ++number) {
        topics.push_back(topic_of(number));
        old.keys_of(topics.back()).remember(topics.back(), "k", number + 1, number * second);
    }
    const MemoryFile file;
    old.save(file, 100 * second);
    // Only the youngest ten have room, whoever had them.
    const Shards young(2, wide_rule(), 10);
    const RestoreOptions options{
        .now_ns = 100 * second, .wall_ns = saved_wall_ns, .memory_bytes_max = unlimited};
    ASSERT_TRUE(young.restore(file, options).is_none());
    for (uint64_t number = 0; number < 60; ++number) {
        const auto found = young.keys_of(topics[number]).find(topics[number], "k", 100 * second);
        EXPECT_EQ(found.has_value(), number >= 50) << number;
        if (found) {
            EXPECT_EQ(*found, number + 1);
        }
    }
}

TEST(StateTransfer, OtherRulesDropAndTell) {
    const Shards old(2);
    fill(old);
    const MemoryFile file;
    old.save(file, 1'100 * second);
    const Shards young(2, {{.match = "topic/7", .history_messages_max = 2}});
    const RestoreOptions options{.wall_ns = saved_wall_ns, .memory_bytes_max = unlimited};
    ASSERT_TRUE(young.restore(file, options).is_none());
    for (uint64_t number = 0; number < 40; ++number) {
        const std::string topic = topic_of(number);
        const std::string_view filter = topic;
        History::Page page;
        const uint32_t partition = young.partitions.partition_of(topic);
        young.histories[young.partitions.owner_of(partition)]->read(
            {.partition = partition, .filters = {&filter, 1}}, 0, page);
        EXPECT_EQ(page.messages.size(), number == 7 ? 2u : 0u) << topic;
        EXPECT_EQ(page.filters_lost.size(), 1u) << "what is gone is not forgotten";
        const auto& before = old.histories[old.partitions.owner_of(partition)];
        EXPECT_EQ(page.head, before->head(partition));
    }
    // With no rule at all the state is good for its epoch.
    const Shards none(2, {});
    EXPECT_TRUE(none.restore(file, options).is_none());
    EXPECT_EQ(none.histories[0]->messages_count() + none.histories[1]->messages_count(), 0u);
}

TEST(StateTransfer, ASmallerBudgetIsKept) {
    const std::vector<TopicRule> rules = {{.match = "#", .history_messages_max = 1'000}};
    const Shards old(2, rules);
    for (uint64_t number = 0; number < 4'000; ++number) {
        old.publish(topic_of(number % 40), std::string(200, 'x'), number);
    }
    const MemoryFile file;
    old.save(file, 4'000);
    for (const uint32_t shards_count : {1u, 2u, 3u}) {
        const Shards young(shards_count, rules);
        const RestoreOptions options{.wall_ns = saved_wall_ns,
                                     .memory_bytes_max = old.memory_bytes() / 4};
        ASSERT_TRUE(young.restore(file, options).is_none());
        EXPECT_LE(young.memory_bytes(), options.memory_bytes_max);
        EXPECT_GT(young.memory_bytes(), options.memory_bytes_max * 3 / 4);
    }
    const Shards same(2, rules);
    const RestoreOptions options{.wall_ns = saved_wall_ns,
                                 .memory_bytes_max = old.memory_bytes() * 2};
    ASSERT_TRUE(same.restore(file, options).is_none());
    EXPECT_EQ(same.lines(0), old.lines(4'000)) << "enough is enough";
}

// A file of one partition with one topic, which a test makes worse.
class Forged : public ::testing::Test {
  protected:
    // What checking says of a file with these records.
    StateProblem check(const std::string& records, const StateCounts& counts) {
        StateForge forge;
        forge.head(Shards(2).head());
        forge.records(records);
        forge.end(counts);
        const MemoryFile file(forge.bytes());
        StateReader reader(file.fd());
        StateHead head;
        return check_state(reader, partitions_count, rules_, head);
    }
    StateFault check_messages(const std::vector<std::string>& messages, uint64_t head = 10,
                              uint64_t floor = 2) {
        std::string records = partition_record(partition_, head, 1) + topic_record("a", floor);
        for (const std::string& message : messages) records += message;
        return check(records, {.partitions = 1, .topics = 1, .messages = messages.size()}).fault;
    }

    const TopicRules rules_{wide_rule()};
    const uint32_t partition_ = Partitions(partitions_count, 1, hash_seed).partition_of("a");
};

TEST_F(Forged, MessagesMustMakeSense) {
    const auto message = [](uint64_t offset, uint8_t kind = 1) {
        return message_record({offset, "a", kind, "x"}, 1);
    };
    EXPECT_EQ(check_messages({message(3), message(10)}), StateFault::none);
    EXPECT_EQ(check_messages({message(3), message(11)}), StateFault::damaged) << "above the head";
    EXPECT_EQ(check_messages({message(2), message(10)}), StateFault::damaged) << "at the floor";
    EXPECT_EQ(check_messages({message(4), message(4)}), StateFault::damaged) << "not rising";
    EXPECT_EQ(check_messages({message(5), message(4)}), StateFault::damaged) << "not rising";
    EXPECT_EQ(check_messages({message(3, 2)}), StateFault::none);
    EXPECT_EQ(check_messages({message(3, 3)}), StateFault::damaged) << "no kind";
    EXPECT_EQ(check_messages({message_record({3, "b", 1, "x"}, 1)}), StateFault::damaged)
        << "of a topic that was not told";
    EXPECT_EQ(check_messages({}, 10, 10), StateFault::none);
    EXPECT_EQ(check_messages({}, 10, 11), StateFault::damaged) << "a floor above the head";
    const std::string oldest = message_record({3, "a", 1, "x"}, UINT64_MAX);
    EXPECT_EQ(check_messages({oldest}), StateFault::none);
}

TEST_F(Forged, PartitionsMustMakeSense) {
    const uint32_t other = (partition_ + 1) % partitions_count;
    const std::string good = partition_record(partition_, 10, 1);
    EXPECT_EQ(check(good + partition_record(other, 1, 1), {.partitions = 2}).fault,
              StateFault::none);
    EXPECT_EQ(check(good + good, {.partitions = 2}).fault, StateFault::damaged) << "twice";
    EXPECT_EQ(check(partition_record(partition_, 10, 11), {.partitions = 1}).fault,
              StateFault::damaged);
    EXPECT_EQ(check(partition_record(partitions_count - 1, 1, 1), {.partitions = 1}).fault,
              StateFault::none);
    EXPECT_EQ(check(partition_record(partitions_count, 1, 1), {.partitions = 1}).fault,
              StateFault::damaged);
    const StateCounts counts{.partitions = 1, .topics = 1};
    EXPECT_EQ(check(partition_record(other, 10, 1) + topic_record("a", 0), counts).fault,
              StateFault::damaged)
        << "a topic where it does not belong";
    const StateCounts two_topics{.partitions = 1, .topics = 2};
    EXPECT_EQ(check(good + topic_record("a", 0) + topic_record("a", 0), two_topics).fault,
              StateFault::damaged);
    // In its partition, but no topic.
    std::string bad = "a+0";
    while (Partitions(partitions_count, 1, hash_seed).partition_of(bad) != partition_) ++bad[2];
    EXPECT_EQ(check(good + topic_record(bad, 0), counts).fault, StateFault::damaged);
}

TEST_F(Forged, KeysBelongToAShard) {
    const std::string key = key_record({1, 2, 3, 4});
    EXPECT_EQ(check(keys_of_record(1) + key, {.keys = 1}).fault, StateFault::none);
    EXPECT_EQ(check(keys_of_record(2) + key, {.keys = 1}).fault, StateFault::damaged);
}

TEST_F(Forged, AnotherNumberOfPartitionsIsUnusable) {
    const Shards old(2);
    const MemoryFile file;
    old.save(file, 0);
    StateReader reader(file.fd());
    StateHead head;
    const StateProblem problem = check_state(reader, partitions_count + 1, rules_, head);
    EXPECT_EQ(problem.fault, StateFault::unusable);
    EXPECT_NE(problem.reason.find("8 partitions"), std::string::npos) << problem.reason;
    EXPECT_NE(problem.reason.find("has 9"), std::string::npos) << problem.reason;
}

TEST_F(Forged, AgesDoNotOverflow) {
    StateForge forge;
    forge.head(Shards(1).head());
    forge.records(partition_record(partition_, 10, 1) + topic_record("a", 0) +
                  message_record({3, "a", 1, "x"}, UINT64_MAX) + keys_of_record(0) +
                  key_record({1, 2, 3, UINT64_MAX}));
    forge.end({.partitions = 1, .topics = 1, .messages = 1, .keys = 1});
    const MemoryFile file(forge.bytes());
    for (const uint32_t shards_count : {1u, 2u}) {
        const Shards young(shards_count);
        const RestoreOptions options{
            .now_ns = 1, .wall_ns = UINT64_MAX, .memory_bytes_max = unlimited};
        ASSERT_TRUE(young.restore(file, options).is_none());
        for (const auto& keys : young.keys) EXPECT_EQ(keys->keys_count(), 0u);
        History& history = *young.histories[young.partitions.owner_of("a")];
        EXPECT_EQ(history.messages_count(), 0u);
        EXPECT_EQ(history.head(partition_), 10u);
    }
}

// The disk answers otherwise the second time.
TEST_F(Forged, WhatIsRestoredIsCheckedAgain) {
    const Shards old(2);
    fill(old);
    const MemoryFile file;
    old.save(file, 0);
    const std::string bytes = file.content();
    for (const size_t changed : {size_t{3}, bytes.size() / 2, bytes.size() - 1}) {
        const Shards young(2);
        StateReader reader(file.fd());
        StateHead head;
        ASSERT_TRUE(check_state(reader, partitions_count, young.rules, head).is_none());
        const char wrong = static_cast<char>(bytes[changed] ^ 1);
        ASSERT_EQ(::pwrite(file.fd(), &wrong, 1, static_cast<off_t>(changed)), 1);
        EXPECT_EQ(restore_state(reader, {.memory_bytes_max = unlimited}, young.kept()).fault,
                  StateFault::damaged);
        ASSERT_EQ(::pwrite(file.fd(), &bytes[changed], 1, static_cast<off_t>(changed)), 1);
    }
    // Right by itself, but with keys of a shard that is not there.
    StateForge forge;
    forge.head(old.head());
    forge.records(keys_of_record(7) + key_record({1, 2, 3, 4}));
    forge.end({.keys = 1});
    const MemoryFile other(forge.bytes());
    StateReader reader(other.fd());
    EXPECT_EQ(restore_state(reader, {.memory_bytes_max = unlimited}, Shards(2).kept()).fault,
              StateFault::damaged);
}

TEST(StateTransfer, SaysWhyItCannotSave) {
    const Shards old(2);
    fill(old);
    StateCounts counts;
    EXPECT_EQ(save_state(-1, old.head(), old.kept(), 0, counts), EBADF);
}

}  // namespace
}  // namespace broker
