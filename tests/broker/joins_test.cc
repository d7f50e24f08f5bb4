#include "broker/joins.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "io/base/prng.h"
#include "io/base/units.h"
#include "tests/broker/reactor_fake.h"
#include "topics/name.h"

namespace broker {
namespace {

constexpr uint32_t shards_count = 3;
constexpr uint64_t hash_seed = 42;

// Shard 0's joins; the test plays the owners on the other shards and the session.
class JoinsTest : public ::testing::Test {
  protected:
    JoinsTest()
        : mesh_({.shards_count = shards_count}),
          reactor_(testing::make_fake_reactor()),
          courier_(0, mesh_, *reactor_, base::mib, 64),
          partitions_(64, shards_count, hash_seed),
          subscriptions_(hash_seed),
          joins_(courier_, partitions_, subscriptions_) {}

    static base::Slot slot(uint32_t index) { return {index, 1}; }

    std::string topic_of(io::ShardId owner, uint32_t number = 0) const {
        for (uint32_t index = 0;; ++index) {
            const std::string topic = "topic/" + std::to_string(index);
            if (partitions_.owner_of(topic) == owner && number-- == 0) return topic;
        }
    }

    bool subscribe(uint32_t index, std::string_view id, const std::vector<std::string>& filters) {
        SubscribeRequest request;
        request.id = id;
        request.filters = filters;
        // Complete at once: the session subscribes.
        const bool is_complete = joins_.subscribe(slot(index), request);
        if (!is_complete) return false;
        for (const std::string& filter : filters) subscriptions_.go_live(index, filter);
        return true;
    }

    struct Told {
        RecordType type;
        std::string filter;
        uint32_t token;
    };
    // What an owner was told since the last call.
    std::vector<Told> told(io::ShardId owner) {
        courier_.flush();
        std::vector<Told> records;
        io::Lane& lane = mesh_.forward(0, owner);
        while (!lane.front().empty()) {
            const Record record = CrossCore::decode(lane.front());
            records.push_back({record.type, std::string(record.filter), record.token});
            lane.pop();
        }
        return records;
    }
    // The one thing that an owner was told; its token.
    uint32_t told_one(io::ShardId owner, RecordType type, std::string_view filter) {
        const std::vector<Told> records = told(owner);
        EXPECT_EQ(records.size(), 1u) << filter;
        if (records.size() != 1) return 0;
        EXPECT_EQ(records[0].type, type);
        EXPECT_EQ(records[0].filter, filter);
        return records[0].token;
    }
    void expect_told_nothing() {
        EXPECT_TRUE(told(1).empty());
        EXPECT_TRUE(told(2).empty());
    }

    // As the session does with those whose connection lives.
    std::vector<std::string> acknowledge(uint32_t token, bool connection_lives = true) {
        std::vector<Joined> completed;
        joins_.acknowledged(token, completed);
        std::vector<std::string> ids;
        for (const Joined& joined : completed) {
            ids.push_back(joined.request.id);
            if (connection_lives) {
                for (const std::string& filter : joined.request.filters)
                    subscriptions_.go_live(joined.slot.index, filter);
            }
            joins_.finish(joined);
        }
        return ids;
    }
    void unsubscribe(uint32_t index, std::string_view filter) {
        if (!subscriptions_.is_subscribed(index, filter)) return;
        if (subscriptions_.unsubscribe(index, filter)) joins_.filter_gone(filter);
    }

    using Ids = std::vector<std::string>;

    io::Mesh mesh_;
    std::unique_ptr<io::Reactor> reactor_;
    Courier courier_;
    const Partitions partitions_;
    Subscriptions subscriptions_;
    Joins joins_;
};

TEST_F(JoinsTest, OwnTopicsNeedNobody) {
    const std::string own = topic_of(0);
    EXPECT_TRUE(subscribe(1, "1", {own}));
    EXPECT_TRUE(subscriptions_.is_subscribed(1, own));
    expect_told_nothing();
    unsubscribe(1, own);
    expect_told_nothing();
}

TEST_F(JoinsTest, ATopicWaitsForItsOwnerAlone) {
    const std::string topic = topic_of(2);
    EXPECT_FALSE(subscribe(1, "1", {topic}));
    EXPECT_FALSE(subscriptions_.is_subscribed(1, topic))
        << "the filter enters with the acknowledgement";
    EXPECT_EQ(joins_.waiting_count(), 1u);
    EXPECT_TRUE(told(1).empty());
    const uint32_t token = told_one(2, RecordType::interest_add, topic);
    EXPECT_EQ(acknowledge(token), Ids{"1"});
    EXPECT_TRUE(subscriptions_.is_subscribed(1, topic));
    EXPECT_EQ(joins_.waiting_count(), 0u);
    unsubscribe(1, topic);
    told_one(2, RecordType::interest_remove, topic);
}

TEST_F(JoinsTest, AWildcardWaitsForEveryOwner) {
    EXPECT_FALSE(subscribe(1, "1", {"news/#"}));
    const uint32_t first = told_one(1, RecordType::interest_add, "news/#");
    const uint32_t second = told_one(2, RecordType::interest_add, "news/#");
    EXPECT_EQ(acknowledge(first), Ids{});
    EXPECT_FALSE(subscriptions_.is_subscribed(1, "news/#"));
    EXPECT_EQ(acknowledge(second), Ids{"1"});
    EXPECT_TRUE(subscriptions_.is_subscribed(1, "news/#"));
}

TEST_F(JoinsTest, AnEstablishedFilterIsJoinedAtOnce) {
    const std::string topic = topic_of(1);
    EXPECT_FALSE(subscribe(1, "1", {topic}));
    acknowledge(told_one(1, RecordType::interest_add, topic));
    EXPECT_TRUE(subscribe(2, "2", {topic}));
    EXPECT_TRUE(subscriptions_.is_subscribed(2, topic));
    expect_told_nothing();
    unsubscribe(1, topic);
    expect_told_nothing();
    unsubscribe(2, topic);
    told_one(1, RecordType::interest_remove, topic);
    EXPECT_FALSE(subscribe(3, "3", {topic})) << "its owner has forgotten it";
    acknowledge(told_one(1, RecordType::interest_add, topic));
}

TEST_F(JoinsTest, ACommandIsCompleteWithItsLastFilter) {
    const std::string own = topic_of(0);
    const std::string first = topic_of(1);
    const std::string second = topic_of(2);
    EXPECT_FALSE(subscribe(1, "1", {own, first, second}));
    EXPECT_FALSE(subscriptions_.is_subscribed(1, own)) << "all filters of a command enter together";
    const uint32_t first_token = told_one(1, RecordType::interest_add, first);
    const uint32_t second_token = told_one(2, RecordType::interest_add, second);
    EXPECT_EQ(acknowledge(second_token), Ids{});
    EXPECT_EQ(acknowledge(first_token), Ids{"1"});
    for (const std::string& filter : {own, first, second})
        EXPECT_TRUE(subscriptions_.is_subscribed(1, filter));
}

TEST_F(JoinsTest, OneFilterTwiceInACommand) {
    const std::string topic = topic_of(1);
    EXPECT_FALSE(subscribe(1, "1", {topic, topic}));
    const uint32_t token = told_one(1, RecordType::interest_add, topic);
    EXPECT_EQ(acknowledge(token), Ids{"1"});
    EXPECT_EQ(subscriptions_.count(1), 1u);
    unsubscribe(1, topic);
    told_one(1, RecordType::interest_remove, topic);
}

TEST_F(JoinsTest, TwoJoinsShareOneAcknowledgement) {
    const std::string topic = topic_of(1);
    EXPECT_FALSE(subscribe(1, "1", {topic}));
    EXPECT_FALSE(subscribe(2, "2", {topic}));
    EXPECT_EQ(joins_.waiting_count(), 2u);
    const uint32_t token = told_one(1, RecordType::interest_add, topic);
    EXPECT_EQ(acknowledge(token), (Ids{"1", "2"}));
    unsubscribe(1, topic);
    expect_told_nothing();
    unsubscribe(2, topic);
    told_one(1, RecordType::interest_remove, topic);
}

TEST_F(JoinsTest, AFilterThatGoesAwayWhileAJoinWaitsWithItStaysKnown) {
    const std::string established = topic_of(1);
    const std::string other = topic_of(2);
    EXPECT_FALSE(subscribe(1, "1", {established}));
    acknowledge(told_one(1, RecordType::interest_add, established));
    EXPECT_FALSE(subscribe(2, "2", {established, other}));
    const uint32_t token = told_one(2, RecordType::interest_add, other);
    unsubscribe(1, established);
    EXPECT_TRUE(told(1).empty()) << "the join still counts on it";
    EXPECT_TRUE(subscribe(3, "3", {established})) << "so it is established for others too";
    unsubscribe(3, established);
    EXPECT_EQ(acknowledge(token), Ids{"2"});
    EXPECT_TRUE(subscriptions_.is_subscribed(2, established));
    EXPECT_TRUE(told(1).empty());
    unsubscribe(2, established);
    told_one(1, RecordType::interest_remove, established);
}

TEST_F(JoinsTest, AJoinWhoseConnectionDiedTakesItsInterestBack) {
    const std::string first = topic_of(1);
    const std::string second = topic_of(2);
    EXPECT_FALSE(subscribe(1, "1", {first, second}));
    const uint32_t first_token = told_one(1, RecordType::interest_add, first);
    const uint32_t second_token = told_one(2, RecordType::interest_add, second);
    EXPECT_EQ(acknowledge(first_token, false), Ids{});
    expect_told_nothing();
    EXPECT_EQ(acknowledge(second_token, false), Ids{"1"}) << "a join ends, whoever lives";
    told_one(1, RecordType::interest_remove, first);
    told_one(2, RecordType::interest_remove, second);
    EXPECT_EQ(joins_.waiting_count(), 0u);
}

TEST_F(JoinsTest, ADeadJoinDoesNotTakeTheFilterFromALivingOne) {
    const std::string topic = topic_of(1);
    EXPECT_FALSE(subscribe(1, "1", {topic}));
    EXPECT_FALSE(subscribe(2, "2", {topic}));
    const uint32_t token = told_one(1, RecordType::interest_add, topic);
    std::vector<Joined> completed;
    joins_.acknowledged(token, completed);
    ASSERT_EQ(completed.size(), 2u);
    subscriptions_.go_live(completed[0].slot.index, topic);
    joins_.finish(completed[0]);
    unsubscribe(1, topic);  // before the second was handled
    expect_told_nothing();
    joins_.finish(completed[1]);  // whose connection is gone
    told_one(1, RecordType::interest_remove, topic);
}

TEST_F(JoinsTest, AnUnknownTokenIsIgnored) {
    EXPECT_EQ(acknowledge(12'345), Ids{});
    const std::string topic = topic_of(1);
    EXPECT_FALSE(subscribe(1, "1", {topic}));
    const uint32_t token = told_one(1, RecordType::interest_add, topic);
    acknowledge(token);
    unsubscribe(1, topic);
    told_one(1, RecordType::interest_remove, topic);
    EXPECT_FALSE(subscribe(1, "2", {topic}));
    const uint32_t later = told_one(1, RecordType::interest_add, topic);
    EXPECT_NE(later, token);
    EXPECT_EQ(acknowledge(token), Ids{}) << "an acknowledgement of an earlier life";
    EXPECT_EQ(joins_.waiting_count(), 1u);
    EXPECT_EQ(acknowledge(later), Ids{"2"});
}

TEST_F(JoinsTest, AfterAStopNobodyIsTold) {
    const std::string topic = topic_of(1);
    EXPECT_FALSE(subscribe(1, "1", {topic}));
    acknowledge(told_one(1, RecordType::interest_add, topic));
    EXPECT_FALSE(subscribe(2, "2", {"waiting/#"}));  // and is never acknowledged
    told(1);
    told(2);
    joins_.stop();
    unsubscribe(1, topic);
    expect_told_nothing();
}

// Whatever happens, the owners know a filter exactly while somebody has it or waits with it.
TEST_F(JoinsTest, OwnersKnowWhatIsWanted) {
    base::Prng prng(5);
    topics::Router owners[shards_count] = {topics::Router(1), topics::Router(1), topics::Router(1)};
    std::vector<std::vector<uint32_t>> acks(shards_count);
    std::vector<std::string> filters = {"+/a", "news/#", topic_of(0)};
    for (io::ShardId owner = 1; owner < shards_count; ++owner) {
        filters.push_back(topic_of(owner));
        filters.push_back(topic_of(owner, 1));
    }
    std::vector<uint32_t> joins_of(8, 0);
    const auto owners_work = [&](io::ShardId owner) {
        for (const Told& one : told(owner)) {
            if (one.type == RecordType::interest_add) {
                EXPECT_NE(owners[owner].subscribe(0, one.filter),
                          topics::Router::Subscribed::already);
                acks[owner].push_back(one.token);
            } else {
                EXPECT_EQ(owners[owner].unsubscribe(0, one.filter),
                          topics::Router::Unsubscribed::removed_last);
            }
        }
    };
    const auto acknowledge_some = [&](io::ShardId owner, size_t most) {
        for (size_t count = std::min(most, acks[owner].size()); count > 0; --count) {
            acknowledge(acks[owner].front(), prng.below(4) > 0);
            acks[owner].erase(acks[owner].begin());
        }
    };
    for (int step = 0; step < 5'000; ++step) {
        const uint32_t who = static_cast<uint32_t>(prng.below(8));
        const std::string& filter = filters[prng.below(filters.size())];
        switch (prng.below(4)) {
            case 0:
                static_cast<void>(
                    subscribe(who, "x", {filter, filters[prng.below(filters.size())]}));
                break;
            case 1: unsubscribe(who, filter); break;
            case 2: owners_work(static_cast<io::ShardId>(prng.between(1, 2))); break;
            default:
                acknowledge_some(static_cast<io::ShardId>(prng.between(1, 2)), prng.below(3));
                break;
        }
        ASSERT_FALSE(HasFailure()) << "step " << step;
    }
    for (int round = 0; round < 2; ++round) {
        for (io::ShardId owner = 1; owner < shards_count; ++owner) owners_work(owner);
        for (io::ShardId owner = 1; owner < shards_count; ++owner)
            acknowledge_some(owner, SIZE_MAX);
    }
    EXPECT_EQ(joins_.waiting_count(), 0u);
    for (io::ShardId owner = 1; owner < shards_count; ++owner) {
        owners_work(owner);
        for (const std::string& filter : filters) {
            const bool owns = topics::has_wildcard(filter) || partitions_.owner_of(filter) == owner;
            EXPECT_EQ(owners[owner].has_filter(filter), owns && subscriptions_.has_filter(filter))
                << filter;
        }
        std::vector<std::string> gone;
        owners[owner].unsubscribe_all(0, gone);
    }
}

}  // namespace
}  // namespace broker
