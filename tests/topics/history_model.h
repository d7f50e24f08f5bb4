// HistoryModel: a History and the plainest account of what it must do, operated side by side.
//
// The account is a list of all messages that were ever appended, with a mark on those that are
// evicted, and a floor per topic that is never forgotten. What is left to the History (which topic
// is shortened, which tombstone is forgotten) is taken over from it after a check that it was
// allowed. Operations are drawn from `Choices`, which answers below(n): a base::Prng in the model
// test, the bytes of an input in the fuzzer.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "topics/history.h"
#include "topics/name.h"
#include "topics/topic_rules.h"

namespace topics {

class HistoryModel {
  public:
    template <class Choices>
    explicit HistoryModel(Choices& choices) {
        options_.partitions_count = 3;
        options_.tombstones_max = pick(choices, std::array<uint32_t, 4>{0, 1, 3, 100});
        options_.scan_steps_max = pick(choices, std::array<uint32_t, 4>{1, 3, 10, 1'000});
        draw_rules(choices);
        partitions_.resize(options_.partitions_count);
        build_history();
    }

    // One operation; false when something was wrong, which failure() tells.
    template <class Choices>
    bool step(Choices& choices) {
        switch (choices.below(16)) {
            case 0: restart(choices); break;
            case 1:
            case 2: expire(choices); break;
            case 3: shorten(choices); break;
            case 4:
            case 5:
            case 6:
            case 7:
            case 8: read(choices); break;
            default: append(choices); break;
        }
        if (failure_.empty()) compare_counts();
        if (failure_.empty()) compare_clocks();
        return failure_.empty();
    }

    const std::string& failure() const { return failure_; }

  private:
    static constexpr std::array<std::string_view, 10> topic_names = {
        "a", "a/b", "a/b/c", "b", "b/a", "b/", "c", "c/d", "$x", "$x/a"};
    static constexpr std::array<std::string_view, 18> filter_names = {
        "a",   "a/b", "b",   "b/a",  "c/d", "$x",    "unheard", "#",   "+",
        "a/#", "b/+", "+/b", "$x/#", "c/#", "+/+/#", "+/a",     "+/+", "a/+/c"};
    static constexpr uint64_t unlimited = UINT64_MAX;

    struct Kept {
        uint64_t offset;
        uint32_t topic;
        uint8_t kind;
        std::string payload;
        int64_t time_ns;
    };
    struct Partition {
        uint64_t head = 0;
        uint64_t evicted_most = 0;
        uint64_t forgotten_floor = 0;     // as the History has it
        std::vector<uint64_t> clocks{0};  // Page::evictions after each operation that moved it
        std::vector<Kept> kept;           // by offset
    };
    struct Topic {
        uint64_t true_floor = 0;
        uint64_t evicted_after = 0;  // the clock before the operation that evicted last
        uint64_t known_floor = 0;    // as the History has it
    };

    // What save() tells.
    struct Dump : History::Saver {
        struct SavedTopic {
            uint32_t partition;
            std::string name;
            uint64_t floor;
        };
        struct SavedMessage {
            uint32_t partition;
            uint64_t offset;
            std::string topic;
            uint8_t kind;
            std::string payload;
            uint64_t age_ns;
        };
        void partition(uint32_t index, uint64_t head, uint64_t forgotten_floor) override {
            heads[index] = {head, forgotten_floor};
        }
        void topic(uint32_t partition, std::string_view topic, uint64_t floor) override {
            topics.push_back({partition, std::string(topic), floor});
        }
        void message(uint32_t partition, const History::Message& message,
                     uint64_t age_ns) override {
            messages.push_back({partition, message.offset, std::string(message.topic), message.kind,
                                std::string(message.payload), age_ns});
        }
        void clear() {
            heads.clear();
            topics.clear();
            messages.clear();
        }
        std::map<uint32_t, std::pair<uint64_t, uint64_t>> heads;
        std::vector<SavedTopic> topics;
        std::vector<SavedMessage> messages;
    };

    template <class Choices, class T, size_t count>
    static T pick(Choices& choices, const std::array<T, count>& from) {
        return from[choices.below(count)];
    }

    bool check(bool is_right, const std::string& what) {
        if (!is_right && failure_.empty()) failure_ = what;
        return is_right;
    }

    uint32_t partition_of(uint32_t topic) const { return topic % options_.partitions_count; }
    static uint32_t topic_by_name(std::string_view name) {
        return static_cast<uint32_t>(std::find(topic_names.begin(), topic_names.end(), name) -
                                     topic_names.begin());
    }

    template <class Choices>
    void draw_rules(Choices& choices) {
        std::vector<TopicRule> rules(1 + choices.below(4));
        for (TopicRule& rule : rules) {
            rule.match = pick(choices, filter_names);
            rule.history_messages_max =
                pick(choices, std::array<uint64_t, 7>{0, 1, 2, 3, 5, 12, unlimited});
            rule.history_bytes_max =
                pick(choices, std::array<uint64_t, 6>{unlimited, unlimited, unlimited, 0, 7, 40});
            rule.history_ttl_ns =
                pick(choices, std::array<uint64_t, 6>{unlimited, unlimited, unlimited, 0, 20, 90});
        }
        rules_ = std::make_unique<TopicRules>(rules);
        for (uint32_t topic = 0; topic < topic_names.size(); ++topic) {
            rule_by_topic_[topic] = find_rule(topic);
        }
    }

    const TopicRule* find_rule(uint32_t topic) const {
        for (const TopicRule& rule : rules_->all()) {
            if (!matches(rule.match, topic_names[topic])) continue;
            return rule.keeps_history() ? &rule : nullptr;
        }
        return nullptr;
    }

    // Asked for every message after every operation, hence found once.
    const TopicRule* rule_of(uint32_t topic) const { return rule_by_topic_[topic]; }

    void build_history() {
        history_ = std::make_unique<History>(*rules_, options_);
        for (uint32_t topic = 0; topic < topic_names.size(); ++topic) {
            check(history_->keeps(topic_names[topic]) == (rule_of(topic) != nullptr),
                  "keeps() differs");
        }
    }

    void evict(Partition& partition, size_t index) {
        const Kept& kept = partition.kept[index];
        Topic& topic = topics_[kept.topic];
        topic.true_floor = std::max(topic.true_floor, kept.offset);
        topic.evicted_after = partition.clocks.back();
        partition.evicted_most = std::max(partition.evicted_most, kept.offset);
        partition.kept.erase(partition.kept.begin() + static_cast<ptrdiff_t>(index));
    }

    // Adds the newest message of a topic and evicts its oldest until the rule is kept.
    void add(Kept kept) {
        const TopicRule& rule = *rule_of(kept.topic);
        const uint32_t topic = kept.topic;
        Partition& partition = partitions_[partition_of(topic)];
        partition.kept.push_back(std::move(kept));
        while (true) {
            uint64_t count = 0;
            uint64_t bytes = 0;
            size_t oldest = partition.kept.size();
            for (size_t index = partition.kept.size(); index-- > 0;) {
                if (partition.kept[index].topic != topic) continue;
                ++count;
                bytes += partition.kept[index].payload.size();
                oldest = index;
            }
            if (count <= rule.history_messages_max && bytes <= rule.history_bytes_max) return;
            evict(partition, oldest);
        }
    }

    template <class Choices>
    void append(Choices& choices) {
        now_ns_ += choices.below(20);
        const uint32_t topic = static_cast<uint32_t>(choices.below(topic_names.size()));
        const uint8_t kind = static_cast<uint8_t>(choices.below(3));
        std::string payload(choices.below(12), 'x');
        for (char& character : payload) character = static_cast<char>('a' + payloads_count_++ % 26);
        const uint32_t index = partition_of(topic);
        const uint64_t offset = history_->append(index, topic_names[topic], kind, payload, now_ns_);
        if (rule_of(topic) == nullptr) {
            check(offset == 0, "a topic without a rule was kept");
        } else {
            Partition& partition = partitions_[index];
            if (!check(offset == ++partition.head, "the offset is not the next one")) return;
            add({offset, topic, kind, payload, static_cast<int64_t>(now_ns_)});
        }
        compare_kept();
    }

    bool is_due(const Kept& kept) const {
        const uint64_t ttl_ns = rule_of(kept.topic)->history_ttl_ns;
        return ttl_ns != unlimited &&
               kept.time_ns + static_cast<int64_t>(ttl_ns) <= static_cast<int64_t>(now_ns_);
    }

    template <class Choices>
    void expire(Choices& choices) {
        now_ns_ += choices.below(60);
        const uint32_t topics_max = static_cast<uint32_t>(choices.below(3));
        history_->expire(now_ns_, topics_max);
        if (topics_max == 0) return compare_kept();
        if (choices.below(2) == 0) {
            const size_t evicted_count = adopt([&](const Kept& kept) { return is_due(kept); });
            check(evicted_count <= size_t{topics_max} * 64, "expire() did too much");
            return;
        }
        for (uint32_t call = 0; history_->next_expiry_ns() <= now_ns_; ++call) {
            if (!check(call < 1'000, "expire() does not get on")) return;
            history_->expire(now_ns_, topics_max);
        }
        for (Partition& partition : partitions_) {
            for (size_t at = partition.kept.size(); at-- > 0;) {
                if (is_due(partition.kept[at])) evict(partition, at);
            }
        }
        compare_kept();
    }

    uint64_t weight_of(uint32_t topic) const {
        uint64_t weight = 0;
        for (const Kept& kept : partitions_[partition_of(topic)].kept) {
            if (kept.topic == topic) weight += kept.payload.size() + 64;
        }
        return weight;
    }

    template <class Choices>
    void shorten(Choices& choices) {
        const uint64_t before = history_->memory_bytes();
        const uint64_t bytes = before - std::min(before, choices.below(8) * 50);
        const uint32_t messages_max = static_cast<uint32_t>(choices.below(4));
        history_->shorten(bytes, messages_max);
        uint64_t weight_most = 0;
        std::array<uint64_t, topic_names.size()> weights;
        for (uint32_t topic = 0; topic < topic_names.size(); ++topic) {
            weights[topic] = weight_of(topic);
            weight_most = std::max(weight_most, weights[topic]);
        }
        const size_t evicted_count = adopt([&](const Kept& kept) {
            return messages_max > 1 || weights[kept.topic] * 2 > weight_most;
        });
        check(evicted_count <= messages_max, "shorten() evicted too much");
        if (before <= bytes) check(evicted_count == 0, "shorten() evicted needlessly");
        check(evicted_count == messages_max || history_->memory_bytes() <= bytes ||
                  history_->messages_count() == 0,
              "shorten() gave up");
    }

    // Takes over what the History has evicted: the oldest of topics, if `may_go` agrees.
    template <class MayGo>
    size_t adopt(const MayGo& may_go) {
        const Dump& dump = save();
        size_t evicted_count = 0;
        std::array<bool, topic_names.size()> has_left{};
        for (uint32_t index = 0; index < partitions_.size(); ++index) {
            Partition& partition = partitions_[index];
            for (size_t at = 0; at < partition.kept.size();) {
                const Kept& kept = partition.kept[at];
                const bool is_there =
                    std::any_of(dump.messages.begin(), dump.messages.end(), [&](const auto& saved) {
                        return saved.partition == index && saved.offset == kept.offset;
                    });
                if (is_there) {
                    has_left[kept.topic] = true;
                    ++at;
                    continue;
                }
                check(!has_left[kept.topic], "evicted not the oldest of its topic");
                check(may_go(kept), "evicted what should stay");
                evict(partition, at);
                ++evicted_count;
            }
        }
        compare_dump(dump);
        return evicted_count;
    }

    void compare_kept() { compare_dump(save()); }

    const Dump& save() {
        dump_.clear();
        history_->save(dump_, now_ns_);
        return dump_;
    }

    void compare_dump(const Dump& dump) {
        size_t at = 0;
        for (uint32_t index = 0; index < partitions_.size(); ++index) {
            Partition& partition = partitions_[index];
            const auto head = dump.heads.find(index);
            check((head != dump.heads.end()) == (partition.head > 0), "partitions differ");
            if (head == dump.heads.end()) continue;
            check(head->second.first == partition.head, "heads differ");
            check(head->second.second >= partition.forgotten_floor, "a forgotten floor fell");
            check(head->second.second <= partition.evicted_most, "a forgotten floor is too high");
            partition.forgotten_floor = head->second.second;
            for (const Kept& kept : partition.kept) {
                if (!check(at < dump.messages.size(), "messages are missing")) return;
                const Dump::SavedMessage& saved = dump.messages[at++];
                check(saved.partition == index && saved.offset == kept.offset &&
                          saved.topic == topic_names[kept.topic] && saved.kind == kept.kind &&
                          saved.payload == kept.payload,
                      "messages differ");
                check(static_cast<int64_t>(saved.age_ns) ==
                          static_cast<int64_t>(now_ns_) - kept.time_ns,
                      "ages differ");
            }
        }
        check(at == dump.messages.size(), "there are messages that should be gone");
        compare_floors(dump);
    }

    void compare_floors(const Dump& dump) {
        for (Topic& topic : topics_) topic.known_floor = 0;
        uint32_t tombstones_count = 0;
        for (const Dump::SavedTopic& saved : dump.topics) {
            const uint32_t topic = topic_by_name(saved.name);
            if (!check(topic < topics_.size() && saved.partition == partition_of(topic),
                       "a topic that nobody knows")) {
                return;
            }
            topics_[topic].known_floor = saved.floor;
            if (weight_of(topic) == 0) ++tombstones_count;
        }
        check(tombstones_count <= options_.tombstones_max || is_untrimmed_, "too many tombstones");
        uint32_t emptied_count = 0;
        for (uint32_t index = 0; index < topics_.size(); ++index) {
            const Topic& topic = topics_[index];
            const Partition& partition = partitions_[partition_of(index)];
            check(topic.known_floor <= topic.true_floor, "a floor is too high");
            check(topic.known_floor == topic.true_floor ||
                      topic.true_floor <= partition.forgotten_floor,
                  "a floor is too low");
            if (topic.true_floor > 0 && weight_of(index) == 0) ++emptied_count;
        }
        if (emptied_count > options_.tombstones_max) may_forget_ = true;
        for (const Partition& partition : partitions_) {
            check(partition.forgotten_floor == 0 || may_forget_, "forgot needlessly");
        }
    }

    void compare_counts() {
        size_t messages_count = 0;
        uint32_t topics_count = 0;
        bool has_due = false;
        int64_t due_ns = INT64_MAX;
        for (const Partition& partition : partitions_) {
            messages_count += partition.kept.size();
            for (const Kept& kept : partition.kept) {
                const uint64_t ttl_ns = rule_of(kept.topic)->history_ttl_ns;
                if (ttl_ns == unlimited) continue;
                has_due = true;
                due_ns = std::min(due_ns, kept.time_ns + static_cast<int64_t>(ttl_ns));
            }
        }
        for (uint32_t topic = 0; topic < topics_.size(); ++topic) {
            topics_count += weight_of(topic) > 0;
        }
        check(history_->messages_count() == messages_count, "messages_count() differs");
        check(history_->topics_count() == topics_count, "topics_count() differs");
        check((history_->next_expiry_ns() != UINT64_MAX) == has_due, "next_expiry_ns() differs");
        if (has_due) {
            check(history_->next_expiry_ns() <= static_cast<uint64_t>(std::max<int64_t>(0, due_ns)),
                  "next_expiry_ns() is too late");
        }
        for (uint32_t index = 0; index < partitions_.size(); ++index) {
            check(history_->head(index) == partitions_[index].head, "head() differs");
        }
    }

    // The clock of evictions moves when something is evicted, and only then.
    void compare_clocks() {
        for (uint32_t index = 0; index < partitions_.size(); ++index) {
            Partition& partition = partitions_[index];
            history_->read({.partition = index}, 0, page_);
            bool has_evicted = false;
            for (uint32_t topic = 0; topic < topics_.size(); ++topic) {
                has_evicted |= partition_of(topic) == index && topics_[topic].true_floor > 0 &&
                               topics_[topic].evicted_after == partition.clocks.back();
            }
            // After a restart it may stand anywhere.
            const bool may_move = has_evicted || partition.clocks.back() == 0;
            check(page_.evictions == partition.clocks.back() || may_move, "the clock moved");
            check(page_.evictions > partition.clocks.back() || !has_evicted, "the clock stood");
            if (page_.evictions > partition.clocks.back()) {
                partition.clocks.push_back(page_.evictions);
            }
        }
    }

    template <class Choices>
    void restart(Choices& choices) {
        Dump dump;
        history_->save(dump, now_ns_);
        // A machine that starts anew may count its time from zero.
        const int64_t shift_ns = static_cast<int64_t>(choices.below(2) * now_ns_);
        now_ns_ -= static_cast<uint64_t>(shift_ns);
        std::vector<Kept> kept;
        for (Partition& partition : partitions_) {
            kept.insert(kept.end(), partition.kept.begin(), partition.kept.end());
            partition.kept.clear();
            partition.clocks = {0};
        }
        for (Topic& topic : topics_) topic.evicted_after = 0;
        if (choices.below(2) == 0) {
            draw_rules(choices);
            may_forget_ = true;
            is_untrimmed_ = true;
        }
        options_.hash_seed = choices.below(256);
        build_history();
        restore(dump);
        for (Kept& message : kept) {
            message.time_ns -= shift_ns;
            Partition& partition = partitions_[partition_of(message.topic)];
            if (rule_of(message.topic) != nullptr) {
                add(message);
            } else {
                partition.kept.push_back(message);
                evict(partition, partition.kept.size() - 1);
            }
        }
        compare_kept();
        // Whatever is called next, forgets what is too much.
        history_->expire(now_ns_, 0);
        is_untrimmed_ = false;
        compare_kept();
    }

    void restore(const Dump& dump) {
        size_t topic = 0;
        size_t message = 0;
        for (const auto& [index, head] : dump.heads) {
            check(history_->restore_partition(index, head.first, head.second), "partition refused");
            for (; topic < dump.topics.size() && dump.topics[topic].partition == index; ++topic) {
                const Dump::SavedTopic& saved = dump.topics[topic];
                check(history_->restore_topic(index, saved.name, saved.floor), "topic refused");
            }
            for (; message < dump.messages.size() && dump.messages[message].partition == index;
                 ++message) {
                const Dump::SavedMessage& saved = dump.messages[message];
                check(history_->restore_message(
                          index, {saved.offset, saved.topic, saved.kind, saved.payload},
                          saved.age_ns, now_ns_),
                      "message refused");
            }
        }
        check(topic == dump.topics.size() && message == dump.messages.size(), "saved in disorder");
    }

    template <class Choices>
    void read(Choices& choices) {
        History::Query query;
        query.partition = static_cast<uint32_t>(choices.below(options_.partitions_count));
        const uint64_t head = partitions_[query.partition].head;
        query.after = choices.below(head + 3);
        if (choices.below(3) == 0) query.until = choices.below(head + 3);
        if (choices.below(3) == 0) query.last = static_cast<uint32_t>(choices.below(5));
        query.messages_max = 1 + static_cast<uint32_t>(choices.below(6));
        if (choices.below(2) == 0) query.payload_bytes_max = choices.below(60);
        std::vector<std::string_view> filters(1 + choices.below(3));
        if (choices.below(8) == 0) filters.resize(12);
        // Half of the time without wildcards, which is another way through the History.
        const uint64_t names_count = choices.below(2) == 0 ? 7 : filter_names.size();
        for (std::string_view& filter : filters) filter = filter_names[choices.below(names_count)];
        query.filters = filters;
        const uint64_t lost_above = choices.below(2) == 0 ? 0 : choices.below(head + 2);
        const std::vector<uint64_t>& clocks = partitions_[query.partition].clocks;
        if (choices.below(2) == 0) query.lost_since = clocks[choices.below(clocks.size())];
        history_->read(query, lost_above, page_);
        check(page_.head == head, "the page's head differs");
        check_messages(query);
        check_losses(query, lost_above);
    }

    static bool is_matched(const History::Query& query, uint32_t topic) {
        return std::any_of(
            query.filters.begin(), query.filters.end(),
            [&](std::string_view filter) { return matches(filter, topic_names[topic]); });
    }

    // Of the topic's messages up to `until` those that are not older than this one.
    uint64_t rank_of(const Partition& partition, const Kept& message, uint64_t until) const {
        uint64_t rank = 0;
        for (const Kept& kept : partition.kept) {
            rank += kept.topic == message.topic && kept.offset >= message.offset &&
                    kept.offset <= until;
        }
        return rank;
    }

    void check_messages(const History::Query& query) {
        const Partition& partition = partitions_[query.partition];
        const bool is_scan = std::any_of(query.filters.begin(), query.filters.end(), has_wildcard);
        const uint64_t end = std::min(query.until, partition.head);
        uint64_t upto = std::max(query.after, end);
        uint32_t steps = 0;
        uint64_t bytes = 0;
        std::vector<const Kept*> expected;
        for (const Kept& kept : partition.kept) {
            if (kept.offset <= query.after || kept.offset > end) continue;
            const bool is_wanted =
                is_matched(query, kept.topic) &&
                (query.last == 0 || rank_of(partition, kept, query.until) <= query.last);
            if (!is_wanted && !is_scan) continue;
            const uint64_t more_bytes = kept.payload.size() + topic_names[kept.topic].size();
            const bool is_full =
                expected.size() == query.messages_max ||
                (!expected.empty() && bytes + more_bytes > query.payload_bytes_max);
            if (steps++ == options_.scan_steps_max || (is_wanted && is_full)) {
                upto = kept.offset - 1;
                break;
            }
            if (!is_wanted) continue;
            expected.push_back(&kept);
            bytes += more_bytes;
        }
        check(page_.upto == upto, "upto differs");
        if (!check(page_.messages.size() == expected.size(), "the page's length differs")) return;
        for (size_t at = 0; at < expected.size(); ++at) {
            const History::Message& message = page_.messages[at];
            check(message.offset == expected[at]->offset && message.kind == expected[at]->kind &&
                      message.topic == topic_names[expected[at]->topic] &&
                      message.payload == expected[at]->payload,
                  "a message of the page differs");
        }
    }

    // What the History knows to be lost of the topic above `after`: its floor, or 0.
    uint64_t loss_of(const History::Query& query, uint32_t topic, uint64_t floor) const {
        const Partition& partition = partitions_[query.partition];
        if (partition_of(topic) != query.partition || floor <= query.after) return 0;
        const auto kept_count = std::count_if(
            partition.kept.begin(), partition.kept.end(),
            [&](const Kept& kept) { return kept.topic == topic && kept.offset <= query.until; });
        if (query.last > 0 && kept_count >= query.last) return 0;
        return floor;
    }

    void check_losses(const History::Query& query, uint64_t lost_above) {
        const Partition& partition = partitions_[query.partition];
        const uint64_t threshold = std::max(query.after, lost_above);
        uint64_t floor =
            std::max(partition.forgotten_floor, std::min(query.after, partition.evicted_most));
        std::vector<uint32_t> lost;
        std::vector<uint32_t> truly_lost;
        for (uint32_t index = 0; index < query.filters.size(); ++index) {
            bool is_lost = partition.forgotten_floor > threshold;
            bool is_truly_lost = false;
            for (uint32_t topic = 0; topic < topics_.size(); ++topic) {
                if (!matches(query.filters[index], topic_names[topic])) continue;
                const uint64_t known = loss_of(query, topic, topics_[topic].known_floor);
                const uint64_t truth = loss_of(query, topic, topics_[topic].true_floor);
                check(page_.floor >= truth, "the floor is below what was lost");
                floor = std::max(floor, known);
                is_lost |= known > threshold;
                is_truly_lost |=
                    truth > threshold && topics_[topic].evicted_after >= query.lost_since;
            }
            if (is_lost) lost.push_back(index);
            if (is_truly_lost) truly_lost.push_back(index);
        }
        check(std::includes(page_.filters_lost.begin(), page_.filters_lost.end(),
                            truly_lost.begin(), truly_lost.end()),
              "a filter's loss was not told");
        if (options_.scan_steps_max >= topics_.size()) {
            check(page_.floor == floor, "the floor differs");
            // Whose topic was forgotten, and when it had been evicted, only the History knows.
            const bool is_known = query.lost_since == 0 || partition.forgotten_floor == 0;
            if (query.lost_since > 0) lost = truly_lost;
            check(page_.filters_lost == lost || !is_known, "filters_lost differs");
        } else {
            check(page_.floor >= floor, "the floor is too low");
            check(page_.floor <= std::max(query.after, partition.head), "the floor is too high");
        }
    }

    History::Options options_;
    std::unique_ptr<TopicRules> rules_;
    std::array<const TopicRule*, topic_names.size()> rule_by_topic_{};
    std::unique_ptr<History> history_;
    std::vector<Partition> partitions_;
    std::array<Topic, topic_names.size()> topics_{};
    uint64_t now_ns_ = 0;
    uint64_t payloads_count_ = 0;
    bool may_forget_ = false;
    bool is_untrimmed_ = false;
    History::Page page_;
    Dump dump_;  // kept for its memory
    std::string failure_;
};

}  // namespace topics
