#include "broker/subscriptions.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace broker {
namespace {

using Ids = std::vector<uint32_t>;

class SubscriptionsTest : public ::testing::Test {
  protected:
    Ids live(std::string_view topic) {
        Ids ids = {99};  // which is cleared
        subscriptions_.match_live(topic, ids);
        std::sort(ids.begin(), ids.end());
        return ids;
    }
    Ids catching_up(std::string_view topic) {
        Ids ids = {99};
        subscriptions_.match_catching_up(topic, ids);
        std::sort(ids.begin(), ids.end());
        return ids;
    }

    Subscriptions subscriptions_{42};
};

TEST_F(SubscriptionsTest, AFilterIsLiveOrCatchingUp) {
    subscriptions_.go_live(1, "a/+");
    subscriptions_.catch_up(2, "a/+");
    EXPECT_EQ(live("a/b"), Ids{1});
    EXPECT_EQ(catching_up("a/b"), Ids{2});
    EXPECT_TRUE(subscriptions_.has_catching_up());
    EXPECT_TRUE(subscriptions_.is_subscribed(1, "a/+"));
    EXPECT_TRUE(subscriptions_.is_subscribed(2, "a/+"));
    EXPECT_FALSE(subscriptions_.is_subscribed(3, "a/+"));
    subscriptions_.go_live(2, "a/+");
    EXPECT_EQ(live("a/b"), (Ids{1, 2}));
    EXPECT_EQ(catching_up("a/b"), Ids{});
    EXPECT_FALSE(subscriptions_.has_catching_up());
}

TEST_F(SubscriptionsTest, AFilterCanBeBothForOneConnection) {
    subscriptions_.go_live(1, "a");
    subscriptions_.catch_up(1, "a");
    EXPECT_EQ(live("a"), Ids{1});
    EXPECT_EQ(catching_up("a"), Ids{1});
    EXPECT_EQ(subscriptions_.count(1), 2u);
    subscriptions_.go_live(1, "a");
    EXPECT_EQ(subscriptions_.count(1), 1u);
    subscriptions_.catch_up(1, "a");
    EXPECT_TRUE(subscriptions_.unsubscribe(1, "a")) << "both go, and nobody has it any more";
    EXPECT_EQ(subscriptions_.count(1), 0u);
    EXPECT_FALSE(subscriptions_.has_filter("a"));
}

TEST_F(SubscriptionsTest, AFilterIsGoneWithItsLastSubscriberOfEitherKind) {
    subscriptions_.go_live(1, "a");
    subscriptions_.catch_up(2, "a");
    EXPECT_FALSE(subscriptions_.unsubscribe(1, "a")) << "somebody catches up with it";
    EXPECT_TRUE(subscriptions_.has_filter("a"));
    EXPECT_TRUE(subscriptions_.unsubscribe(2, "a"));
    subscriptions_.catch_up(1, "a");
    subscriptions_.go_live(2, "a");
    EXPECT_FALSE(subscriptions_.unsubscribe(1, "a")) << "somebody is live with it";
    EXPECT_TRUE(subscriptions_.unsubscribe(2, "a"));
}

TEST_F(SubscriptionsTest, WhoLeavesTakesAwayWhatNobodyElseHas) {
    using Gone = std::vector<std::string>;
    subscriptions_.go_live(1, "both");
    subscriptions_.catch_up(1, "both");
    subscriptions_.go_live(1, "live/#");
    subscriptions_.catch_up(1, "past/+");
    subscriptions_.go_live(1, "others live");
    subscriptions_.catch_up(2, "others live");
    subscriptions_.catch_up(1, "others past");
    subscriptions_.go_live(2, "others past");
    Gone gone = {"zzz", "both"};  // of before, which stays
    subscriptions_.unsubscribe_all(1, gone);
    ASSERT_GE(gone.size(), 2u);
    EXPECT_EQ((Gone{gone.begin(), gone.begin() + 2}), (Gone{"zzz", "both"}));
    EXPECT_EQ((Gone{gone.begin() + 2, gone.end()}), (Gone{"both", "live/#", "past/+"}));
    EXPECT_EQ(subscriptions_.count(1), 0u);
    EXPECT_EQ(subscriptions_.count(2), 2u);
}

TEST_F(SubscriptionsTest, BothKindsAreCounted) {
    subscriptions_.go_live(1, "a");
    subscriptions_.go_live(1, "b");
    subscriptions_.catch_up(1, "c");
    subscriptions_.catch_up(2, "c");
    EXPECT_EQ(subscriptions_.count(1), 3u);
    EXPECT_EQ(subscriptions_.live().subscriptions_count(), 2u);
    EXPECT_EQ(subscriptions_.catching_up().subscriptions_count(), 2u);
}

}  // namespace
}  // namespace broker
