#include "tools/subscription_state.h"

#include <gtest/gtest.h>

namespace {

using tools::Cursor;
using tools::SubscriptionState;

std::string start(const SubscriptionState& state) {
    std::string command;
    state.append_start(command);
    return command;
}

std::string after(const std::string& positions) {
    return R"(,"start":{"after":{"epoch":"e","pos":[)" + positions + "]}}";
}

bool is_new(SubscriptionState& state, const codec::Position& position) {
    return state.note_message(position).is_new;
}

TEST(SubscriptionState, StartsAsItIsAskedTo) {
    EXPECT_EQ(start(SubscriptionState(0, {})), "");
    EXPECT_TRUE(SubscriptionState(0, {}).starts_now());
    EXPECT_EQ(start(SubscriptionState(7, {})), R"(,"start":{"last":7})");
    EXPECT_FALSE(SubscriptionState(7, {}).starts_now());
    // Who has a place continues there.
    EXPECT_EQ(start(SubscriptionState(7, {"e", {{0, 1}}})), after(R"("0:1")"));
    EXPECT_EQ(start(SubscriptionState(0, {"e", {}})), after(""));
}

TEST(SubscriptionState, ComesBackAfterWhatItHasSeen) {
    SubscriptionState state(0, {});
    EXPECT_FALSE(state.can_resume());
    state.note_subscribed({"e", {{0, 10}, {1, 3}}});
    EXPECT_TRUE(state.is_live());
    EXPECT_TRUE(is_new(state, {0, 11}));
    EXPECT_TRUE(is_new(state, {}));
    EXPECT_TRUE(is_new(state, {7, 1}));
    state.note_position({"e", {{1, 5}, {0, 2}}});
    state.note_end();
    EXPECT_TRUE(state.can_resume());
    EXPECT_FALSE(state.is_live());
    EXPECT_EQ(start(state), after(R"("0:11","1:5","7:1")"));
}

TEST(SubscriptionState, UntilLiveOnlyItsReplayMovesAResume) {
    SubscriptionState state(0, {"e", {{0, 10}, {9, 9}}});
    // The broker leaves out what the filters cannot match.
    state.note_subscribed({"e", {{0, 10}}});
    EXPECT_FALSE(state.is_live());
    state.note_replay(2);
    const SubscriptionState::Arrival first = state.note_message({0, 12});
    EXPECT_TRUE(first.is_replayed);
    EXPECT_TRUE(first.is_new);
    EXPECT_EQ(start(state), after(R"("0:12")"));
    EXPECT_TRUE(is_new(state, {1, 1}));
    // Neither announced nor with a live filter on this connection.
    const SubscriptionState::Arrival stray = state.note_message({0, 99});
    EXPECT_FALSE(stray.is_replayed);
    EXPECT_TRUE(stray.is_new);
    state.note_position({"e", {{0, 99}}});
    EXPECT_EQ(start(state), after(R"("0:12","1:1")"));
    state.note_live({"e", {{0, 20}}});
    EXPECT_TRUE(state.is_live());
    EXPECT_EQ(start(state), after(R"("0:20","1:1")"));
    EXPECT_FALSE(state.note_message({0, 21}).is_replayed);
    EXPECT_EQ(start(state), after(R"("0:21","1:1")"));
}

TEST(SubscriptionState, AnAnnouncementEndsWithTheConnection) {
    SubscriptionState state(0, {"e", {}});
    state.note_subscribed({"e", {}});
    state.note_replay(5);
    EXPECT_TRUE(is_new(state, {0, 1}));
    state.note_end();
    state.note_subscribed({"e", {{0, 1}}});
    EXPECT_FALSE(state.note_message({0, 2}).is_replayed);
}

TEST(SubscriptionState, LiveEndsAnAnnouncementThatCountsTooMany) {
    SubscriptionState state(0, {"e", {}});
    state.note_subscribed({"e", {}});
    state.note_replay(5);
    state.note_live({"e", {{0, 4}}});
    EXPECT_FALSE(state.note_message({0, 5}).is_replayed);
    EXPECT_EQ(start(state), after(R"("0:5")"));
}

TEST(SubscriptionState, TheLastAreAskedForAgainAndShownOnce) {
    SubscriptionState state(3, {});
    state.note_subscribed({"e", {{0, 50}, {1, 50}}});
    EXPECT_FALSE(state.is_live());
    state.note_replay(2);
    EXPECT_TRUE(is_new(state, {0, 48}));
    EXPECT_TRUE(is_new(state, {0, 49}));
    EXPECT_FALSE(state.can_resume());
    state.note_end();
    EXPECT_EQ(start(state), R"(,"start":{"last":3})");
    state.note_subscribed({"e", {{0, 51}, {1, 50}}});
    state.note_replay(3);
    EXPECT_FALSE(is_new(state, {0, 49}));
    EXPECT_TRUE(is_new(state, {0, 50}));
    EXPECT_TRUE(is_new(state, {1, 40}));
    state.note_live({"e", {{0, 51}, {1, 50}}});
    EXPECT_TRUE(state.can_resume());
    EXPECT_EQ(start(state), after(R"("0:51","1:50")"));
}

TEST(SubscriptionState, AnotherEpochForgetsWhatWasShown) {
    SubscriptionState state(3, {});
    state.note_subscribed({"e", {{0, 50}}});
    state.note_replay(1);
    EXPECT_TRUE(is_new(state, {0, 48}));
    state.note_end();
    state.note_subscribed({"f", {{0, 2}}});
    state.note_replay(2);
    EXPECT_TRUE(is_new(state, {0, 1}));
    EXPECT_TRUE(is_new(state, {0, 2}));
}

TEST(SubscriptionState, AResumeThatIsNotExactBeginsAnew) {
    SubscriptionState state(0, {"e", {{0, 70}, {1, 70}}});
    state.note_subscribed({"f", {{0, 3}}});
    EXPECT_TRUE(state.can_resume());
    EXPECT_EQ(state.cursor(), (Cursor{"f", {{0, 3}}}));
    state.note_live({"f", {{0, 4}}});
    EXPECT_EQ(state.cursor(), (Cursor{"f", {{0, 4}}}));
}

TEST(SubscriptionState, ABrokerWithoutPositionsIsAskedForNow) {
    SubscriptionState state(0, {});
    state.note_subscribed({});
    EXPECT_TRUE(is_new(state, {}));
    state.note_end();
    EXPECT_TRUE(state.starts_now());
    EXPECT_FALSE(state.can_resume());
    EXPECT_EQ(start(state), "");
}

}  // namespace
