// History: the messages that topics keep, by rule, in the order of their partitions; stored once,
// on the shard that owns the partition.
//
// Owner: a shard holds one, with the partitions that it owns. Thread: its shard's.
// Invariants:
//  1. Within a partition offsets rise by one per appended message, beginning at 1 (or behind what
//     was restored). An offset is never used twice.
//  2. What is kept of one topic is always its newest messages: whatever evicts (the rule's limits,
//     time, the budget) takes the topic's oldest. A message that is larger than its rule allows
//     gets an offset and is evicted at once, with all that is older.
//  3. Every eviction raises the topic's floor to the offset of what was evicted. A topic without
//     messages keeps its floor for a while; when the topic is forgotten, its floor lives on in the
//     partition's. So "was anything that matches and lies above X evicted?" is never answered with
//     a wrong no. It may be answered with a wrong yes (invariant of Page::floor).
//  4. Behaviour depends on the history of calls alone.
// Limits: the memory budget, which is its holder's to enforce by shorten(); tombstones_max topics
// without messages, and an eighth of the budget for them; a page's bytes and messages;
// scan_steps_max looks per read. An append evicts all that its rule says at once: under a rule that
// limits bytes alone, a large message may take the place of as many small ones as it has bytes.
// Cost: beyond its payload a message takes 50 to 60 bytes, a topic about 200. An append is O(log
// messages of the partition) and touches some ten cache lines; for a topic without a rule it is one
// look at the rules.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "topics/topic_rules.h"

namespace topics {

class History {
  public:
    struct Options {
        // Of the whole broker; those never appended to cost nothing.
        uint32_t partitions_count = 64;
        uint64_t hash_seed = 0;
        uint32_t tombstones_max = 65'536;  // topics without messages whose floors are remembered
        // Messages looked at by one read, and once more as many topics for their floors; at
        // least 1.
        uint32_t scan_steps_max = 65'536;
    };
    // The rules outlive the history.
    History(const TopicRules& rules, const Options& options);
    ~History();
    History(const History&) = delete;
    History& operator=(const History&) = delete;

    // The kind of a payload is the caller's business and comes back as it was given.
    struct Message {
        uint64_t offset;
        std::string_view topic;
        uint8_t kind;
        std::string_view payload;
    };

    // Gives the message the next offset of its partition and keeps it, evicting what the topic's
    // rule says. Answers the offset; 0 when no rule keeps the topic (nothing happened then).
    // `now_ns` never falls from call to call.
    uint64_t append(uint32_t partition, std::string_view topic, uint8_t kind,
                    std::string_view payload, uint64_t now_ns);

    // The newest offset that was given; 0: none yet.
    uint64_t head(uint32_t partition) const;
    // As Page::evictions, now.
    uint64_t evictions(uint32_t partition) const;
    // Whether the rules keep this topic.
    bool keeps(std::string_view topic) const;

    struct Query {
        uint32_t partition = 0;
        uint64_t after = 0;           // messages above this
        uint64_t until = UINT64_MAX;  // and not above this
        // Not 0: of each topic only what is among its newest n up to `until`. So a reader that
        // keeps `until` finds no hole in a topic, however many pages it takes.
        uint32_t last = 0;
        // Limits Page::filters_lost to what was evicted after a page that had this in `evictions`.
        uint64_t lost_since = 0;
        std::span<const std::string_view> filters;  // checked; a message matched by any
        uint32_t messages_max = 1'000;              // at least 1
        // Of payloads and topics; the first message always fits.
        uint64_t payload_bytes_max = 65'536;
    };
    struct Page {
        // Offsets rise. The views die at the next call that is not const.
        std::vector<Message> messages;
        // Everything that matches in (after, upto] is in `messages` or was evicted (or, with
        // `last`, is not among the newest). upto >= after, and upto == min(until, head) when
        // nothing is left; it moves on even when nothing matched.
        uint64_t upto = 0;
        uint64_t head = 0;  // of the partition, now
        // Nothing that matches and lies above `floor` has been evicted so far (with `last`: nothing
        // that is among the newest). A floor above `after` is the highest offset that matches and
        // was evicted, so a resume is exact if and only if after >= floor. It may be too high,
        // never too low, after topics were forgotten, or when looking would take more than
        // scan_steps_max steps.
        uint64_t floor = 0;
        // Indices of the query's filters that lost something above max(after, `lost_above`) since
        // `lost_since`, rising; when that is not known (see floor), all of them.
        std::vector<uint32_t> filters_lost;
        // A clock of the partition that moves with every eviction, so that a reader who was told of
        // a loss, or who begins with the newest, can ask for later losses alone.
        uint64_t evictions = 0;
    };
    // Fills `page`, reusing its memory. `lost_above` limits filters_lost (see there).
    void read(const Query& query, uint64_t lost_above, Page& page) const;

    // Evicts what has outlived its rule's time, looking at no more than `topics_max` topics. To be
    // called every now and then; what is due is gone after as many calls as it takes.
    void expire(uint64_t now_ns, uint32_t topics_max);
    // When expire() has something to do next; UINT64_MAX: nothing has a time limit.
    uint64_t next_expiry_ns() const;

    // Memory of everything kept: messages with their overhead, topics, tombstones.
    uint64_t memory_bytes() const;
    uint64_t messages_count() const;
    uint32_t topics_count() const;  // with messages
    // Evicts oldest messages of the topics that keep the most bytes until memory_bytes() is at most
    // `bytes`, or `messages_max` were evicted. Fair: a topic is shortened only while none keeps
    // more than twice what it keeps. Before that, topics without messages are forgotten, at most as
    // many in one call, while they take more than an eighth of `bytes`.
    void shorten(uint64_t bytes, uint32_t messages_max);

    // For a clean stop. Visits what is needed to go on as if nothing had happened, in an order
    // that restore_* accepts. Ages are counted back from now_ns.
    class Saver {
      public:
        virtual ~Saver() = default;
        // First, for each partition that was ever appended to: its head and its floor for forgotten
        // topics.
        virtual void partition(uint32_t partition, uint64_t head, uint64_t forgotten_floor) = 0;
        // Then each topic of it that has messages or a floor above the forgotten one.
        virtual void topic(uint32_t partition, std::string_view topic, uint64_t floor) = 0;
        // And its messages, by rising offset.
        virtual void message(uint32_t partition, const Message& message, uint64_t age_ns) = 0;
    };
    void save(Saver& saver, uint64_t now_ns) const;
    // Into an empty history, before any append. The rules may be others than when it was saved:
    // what no rule keeps any more is dropped, and the floors tell. False: the data contradict
    // themselves (an offset beyond the head, or not rising); the history is then to be thrown away.
    [[nodiscard]] bool restore_partition(uint32_t partition, uint64_t head,
                                         uint64_t forgotten_floor);
    [[nodiscard]] bool restore_topic(uint32_t partition, std::string_view topic, uint64_t floor);
    [[nodiscard]] bool restore_message(uint32_t partition, const Message& message, uint64_t age_ns,
                                       uint64_t now_ns);

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace topics
