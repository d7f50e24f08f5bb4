// The oracle itself: for each promise a history that keeps it and one that breaks it.
#include "tests/sim/oracle.h"

#include <gtest/gtest.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "io/base/units.h"
#include "tests/sim/payloads.h"

namespace sim {
namespace {

class OracleTest : public testing::Test {
  protected:
    explicit OracleTest(const Limits& the_limits = {}) : limits(the_limits), oracle(clock, limits) {
        publisher = connect("publisher");
        alice = connect("alice");
        bob = connect("bob");
    }

    SessionId connect(const std::string& name) {
        const SessionId session = oracle.session_begin(name, {});
        oracle.subscriber(session).welcomed("e");
        return session;
    }
    void subscribe(SessionId session, const std::string& filter) {
        ++clock.step;
        const Subscriber::Id id = oracle.subscribe_sent(session, {filter});
        oracle.subscribed(session, id, {.cursor = {.epoch = "e", .cursor = {}}});
    }
    MessageId publish(const std::string& topic, bool echo = true) {
        ++clock.step;
        const std::string bytes = std::to_string(oracle.next_message()) + "|";
        return oracle.publish_sent(
            publisher,
            {.topic = topic, .kind = codec::PayloadKind::text, .bytes = bytes, .echo = echo});
    }
    MessageId acknowledged(const std::string& topic) {
        const MessageId message = publish(topic);
        ++clock.step;
        oracle.publish_acknowledged(message);
        return message;
    }
    void deliver(SessionId session, const std::string& topic, MessageId message) {
        oracle.delivered(session, topic, codec::PayloadKind::text, std::to_string(message) + "|");
    }
    // The promise that `act` breaks; empty when it breaks none.
    static std::string broken_by(const std::function<void()>& act) {
        try {
            act();
        } catch (const Violation& violation) {
            return violation.promise;
        }
        return "";
    }

    const Limits limits;
    Clock clock;
    Oracle oracle;
    SessionId publisher = 0;
    SessionId alice = 0;
    SessionId bob = 0;
};

TEST_F(OracleTest, AMessageIsOwedOnlyAfterItsAcknowledgement) {
    subscribe(alice, "a/#");
    const MessageId message = publish("a/b");
    EXPECT_EQ(oracle.first_missing(), "");
    oracle.publish_acknowledged(message);
    EXPECT_NE(oracle.first_missing(), "");
    deliver(alice, "a/b", message);
    EXPECT_EQ(oracle.first_missing(), "");
}

TEST_F(OracleTest, NothingIsOwedFromBeforeTheSubscriptionOrAfterIt) {
    acknowledged("a");
    subscribe(alice, "a");
    EXPECT_EQ(oracle.first_missing(), "");
    oracle.subscriber(alice).unsubscribe_sent({"a"});
    acknowledged("a");
    EXPECT_EQ(oracle.first_missing(), "");
}

TEST_F(OracleTest, NothingMayReachOneWhoDidNotSubscribe) {
    subscribe(alice, "b");
    const MessageId message = acknowledged("a");
    EXPECT_EQ(broken_by([&] { deliver(alice, "a", message); }), "P1");
}

TEST_F(OracleTest, AMessageInTheMiddleMustNotBeMissed) {
    subscribe(alice, "a");
    subscribe(bob, "a");
    const MessageId first = acknowledged("a");
    const MessageId second = acknowledged("a");
    const MessageId third = acknowledged("a");
    for (const MessageId message : {first, second, third}) deliver(alice, "a", message);
    deliver(bob, "a", first);
    EXPECT_EQ(broken_by([&] { deliver(bob, "a", third); }), "P1/P2");
}

TEST_F(OracleTest, TwoSubscribersMustSeeOneOrder) {
    const SessionId other = oracle.session_begin("other publisher", {});
    subscribe(alice, "a");
    subscribe(bob, "a");
    const MessageId first = acknowledged("a");
    const MessageId second =
        oracle.publish_sent(other, {.topic = "a",
                                    .kind = codec::PayloadKind::text,
                                    .bytes = std::to_string(oracle.next_message()) + "|"});
    deliver(alice, "a", first);
    deliver(alice, "a", second);
    deliver(bob, "a", second);
    // Each of the two publishers is in order for itself; the two subscribers contradict each other.
    EXPECT_EQ(broken_by([&] { deliver(bob, "a", first); }), "P2");
}

TEST_F(OracleTest, APublishersOrderMustBeKept) {
    subscribe(alice, "a");
    const MessageId first = acknowledged("a");
    const MessageId second = acknowledged("a");
    deliver(alice, "a", second);
    EXPECT_EQ(broken_by([&] { deliver(alice, "a", first); }), "P2");
}

TEST_F(OracleTest, AMessageMustNotComeTwice) {
    subscribe(alice, "a");
    subscribe(alice, "#");
    const MessageId message = acknowledged("a");
    deliver(alice, "a", message);
    EXPECT_EQ(broken_by([&] { deliver(alice, "a", message); }), "P3");
}

TEST_F(OracleTest, APayloadMustBeTheSameInBytesKindAndTopic) {
    subscribe(alice, "#");
    const MessageId message = acknowledged("a");
    const auto deliver_as = [&](const std::string& topic, codec::PayloadKind kind,
                                const std::string& bytes) {
        return broken_by([&] { oracle.delivered(alice, topic, kind, bytes); });
    };
    const std::string bytes = std::to_string(message) + "|";
    EXPECT_EQ(deliver_as("a", codec::PayloadKind::text, bytes + "x"), "P4");
    EXPECT_EQ(deliver_as("a", codec::PayloadKind::binary, bytes), "P4");
    EXPECT_EQ(deliver_as("b", codec::PayloadKind::text, bytes), "P4");
    EXPECT_EQ(deliver_as("a", codec::PayloadKind::text, "99|"), "P4");
    EXPECT_EQ(deliver_as("a", codec::PayloadKind::text, bytes), "");
}

TEST_F(OracleTest, WhatWasRefusedMustNotArriveAndNoEchoMeansNone) {
    subscribe(alice, "a");
    subscribe(publisher, "a");
    const MessageId refused = publish("a");
    oracle.publish_refused(refused);
    EXPECT_EQ(broken_by([&] { deliver(alice, "a", refused); }), "P7");
    const MessageId silent = publish("a", false);
    EXPECT_EQ(broken_by([&] { deliver(publisher, "a", silent); }), "P1");
    EXPECT_EQ(broken_by([&] { deliver(alice, "a", silent); }), "");
}

TEST_F(OracleTest, EndingsMustBeDeserved) {
    const auto end = [&](const SessionTraits& traits, const Ending& ending) {
        const SessionId session = oracle.session_begin("somebody", traits);
        return broken_by([&] { oracle.session_end(session, ending); });
    };
    EXPECT_EQ(end({}, {.close_code = 0}), "P7");
    EXPECT_EQ(end({}, {.close_code = 0, .is_by_fault = true}), "");
    EXPECT_EQ(end({}, {.close_code = 1000}), "P7");
    EXPECT_EQ(end({}, {.close_code = 1000, .is_by_peer = true}), "");
    EXPECT_EQ(end({}, {.close_code = 1002}), "P7");
    EXPECT_EQ(end({.is_hostile = true}, {.close_code = 1002}), "");
    EXPECT_EQ(end({}, {.close_code = 4100}), "P6");
    // By a policy of what it wanted (here, without rules, disconnect), or by what it asked itself.
    EXPECT_EQ(end({.may_be_slow = true}, {.close_code = 4100}), "P6");
    acknowledged("a");
    const SessionId slow = oracle.session_begin("slow", {.may_be_slow = true});
    oracle.subscriber(slow).welcomed("e");
    subscribe(slow, "a");
    EXPECT_EQ(broken_by([&] { oracle.session_end(slow, {.close_code = 4100}); }), "");
    EXPECT_EQ(end({}, {.close_code = 4200}), "P6");
    EXPECT_EQ(end({.may_be_silent = true}, {.close_code = 4200}), "");
    EXPECT_EQ(end({}, {.close_code = 1001}), "P7");
    oracle.stop_requested(base::ns_per_s);
    EXPECT_EQ(end({}, {.close_code = 1001}), "");
    // The deadline of the drain excuses a cut only where time jumped over it.
    clock.now_ns += base::ns_per_s;
    EXPECT_EQ(end({}, {.close_code = 0}), "P7");
    oracle.time_jumped();
    EXPECT_EQ(end({}, {.close_code = 0}), "");
}

TEST_F(OracleTest, AStopMustNotLoseWhatWasAcknowledgedBefore) {
    subscribe(alice, "a");
    subscribe(bob, "a");
    const MessageId message = acknowledged("a");
    ++clock.step;
    oracle.stop_requested(base::ns_per_s);
    deliver(alice, "a", message);
    EXPECT_EQ(broken_by([&] { oracle.session_end(alice, {.close_code = 1001}); }), "");
    EXPECT_EQ(broken_by([&] { oracle.session_end(bob, {.close_code = 1001}); }), "P8");
}

// With history ------------------------------------------------------------------------------------

Limits with_history() {
    Limits limits;
    limits.partitions = 8;
    limits.idempotency_window_ns = base::ns_per_s;
    limits.idempotency_keys_max = 10;
    limits.history_rules = {{.match = "none/#"},
                            {.match = "short", .messages_max = 2},
                            {.match = "#", .messages_max = 1'000'000}};
    return limits;
}

class HistoryOracleTest : public OracleTest {
  protected:
    explicit HistoryOracleTest(const Limits& the_limits = with_history())
        : OracleTest(the_limits) {}

    static Cursor cursor_at(uint64_t offset) {
        Cursor cursor;
        cursor.set(3, offset);
        return cursor;
    }
    static ToldCursor told(uint64_t offset) { return {.epoch = "e", .cursor = cursor_at(offset)}; }
    static Start after(uint64_t offset) {
        return {.kind = Start::Kind::after, .after = told(offset)};
    }
    static Start last(uint32_t count) { return {.kind = Start::Kind::last, .last = count}; }

    // All topics of these tests lie in partition 3.
    MessageId acknowledged_at(const std::string& topic, uint64_t offset) {
        const MessageId message = publish(topic);
        ++clock.step;
        oracle.publish_acknowledged(message, Place{3, offset});
        return message;
    }
    void deliver_at(SessionId session, const std::string& topic, MessageId message,
                    uint64_t offset) {
        ++clock.step;
        oracle.delivered(session, topic, codec::PayloadKind::text, std::to_string(message) + "|",
                         Place{3, offset});
    }
    Subscriber::Id ask(SessionId session, const std::vector<std::string>& filters,
                       const Start& start) {
        ++clock.step;
        return oracle.subscribe_sent(session, filters, start);
    }
    void answer(SessionId session, Subscriber::Id id, uint64_t offset,
                const std::optional<Recovery>& recovery = {}) {
        ++clock.step;
        oracle.subscribed(session, id,
                          {.cursor = told(offset), .is_recoverable = true, .recovery = recovery});
    }
    void subscribe_now(SessionId session, const std::string& filter, uint64_t offset) {
        answer(session, ask(session, {filter}, {}), offset);
    }
    Subscriber::Id resume(SessionId session, const std::string& filter, uint64_t offset) {
        const Subscriber::Id id = ask(session, {filter}, after(offset));
        answer(session, id, offset, Recovery{.is_recovered = true});
        return id;
    }
    void announce(SessionId session, Subscriber::Id id, const std::string& topic, MessageId message,
                  uint64_t offset) {
        oracle.subscriber(session).replay(id, 1);
        deliver_at(session, topic, message, offset);
    }
    static ToldGap evicted(const std::string& filter) {
        return {.filter = filter, .code = "evicted"};
    }
    void live(SessionId session, Subscriber::Id id, uint64_t offset) {
        oracle.subscriber(session).live(id, told(offset));
    }
};

TEST_F(HistoryOracleTest, AMessageHasOnePositionAndAPositionOneMessage) {
    subscribe_now(alice, "#", 0);
    const MessageId first = acknowledged_at("a", 1);
    const MessageId second = publish("a");
    EXPECT_EQ(broken_by([&] { deliver_at(alice, "a", first, 2); }), "positions");
    EXPECT_EQ(broken_by([&] { deliver_at(alice, "a", second, 1); }), "positions");
    EXPECT_EQ(broken_by([&] { deliver_at(alice, "a", second, 3); }), "positions");  // beyond all
    EXPECT_EQ(broken_by([&] { deliver_at(alice, "a", first, 1); }), "");
    EXPECT_EQ(broken_by([&] { deliver(alice, "a", second); }), "positions");
    EXPECT_EQ(broken_by([&] {
                  oracle.delivered(alice, "a", codec::PayloadKind::text,
                                   std::to_string(second) + "|", Place{4, 1});
              }),
              "positions");  // another partition than the topic's
}

TEST_F(HistoryOracleTest, PositionsAreOnlyForTopicsWithHistory) {
    const MessageId without = publish("none/x");
    EXPECT_EQ(broken_by([&] { oracle.publish_acknowledged(without, Place{3, 1}); }), "positions");
    const MessageId with = publish("a");
    EXPECT_EQ(broken_by([&] { oracle.publish_acknowledged(with); }), "positions");
}

TEST_F(HistoryOracleTest, PositionsFollowAPublishersOrder) {
    publish("a");
    const MessageId second = acknowledged_at("a", 1);
    EXPECT_EQ(broken_by([&] { oracle.publish_acknowledged(second - 1, Place{3, 2}); }), "P2");
}

TEST_F(HistoryOracleTest, PushedPositionsRise) {
    subscribe_now(alice, "#", 0);
    const MessageId first = acknowledged_at("a", 1);
    const MessageId second = acknowledged_at("b", 2);
    EXPECT_EQ(broken_by([&] { deliver_at(alice, "b", second, 2); }), "P1");  // without the first
    subscribe_now(bob, "#", 0);
    deliver_at(bob, "a", first, 1);
    deliver_at(bob, "b", second, 2);
    EXPECT_EQ(broken_by([&] { deliver_at(bob, "b", second, 2); }), "P3");
    const SessionId carol = connect("carol");
    subscribe_now(carol, "b", 2);
    EXPECT_EQ(broken_by([&] { deliver_at(carol, "b", second, 2); }), "stream rule");
}

TEST_F(HistoryOracleTest, AResumeBringsAllThatWasMissed) {
    const MessageId first = acknowledged_at("a", 1);
    const MessageId second = acknowledged_at("a", 2);
    acknowledged_at("other", 3);
    {
        const Subscriber::Id id = resume(alice, "a", 0);
        announce(alice, id, "a", first, 1);
        EXPECT_EQ(broken_by([&] { live(alice, id, 3); }), "P1");  // without the second
    }
    const Subscriber::Id id = resume(bob, "a", 1);
    EXPECT_EQ(broken_by([&] { announce(bob, id, "a", first, 1); }), "replay");
    const SessionId carol = connect("carol");
    const Subscriber::Id again = resume(carol, "a", 1);
    announce(carol, again, "a", second, 2);
    live(carol, again, 3);
    EXPECT_EQ(oracle.subscriber(carol).missing(UINT64_MAX), "");
    EXPECT_EQ(broken_by([&] { oracle.subscriber(carol).audit(); }), "");
}

TEST_F(HistoryOracleTest, AnAnnouncementIsKeptToTheLetter) {
    const MessageId first = acknowledged_at("a", 1);
    const MessageId second = acknowledged_at("a", 2);
    const MessageId other = acknowledged_at("b", 3);
    Subscriber& subscriber = oracle.subscriber(alice);
    EXPECT_EQ(broken_by([&] { subscriber.replay(0, 1); }), "replay");  // nothing was asked
    const Subscriber::Id id = resume(alice, "a", 0);
    EXPECT_EQ(broken_by([&] { subscriber.replay(id, 0); }), "replay");
    subscriber.replay(id, 2);
    deliver_at(alice, "a", first, 1);
    EXPECT_EQ(broken_by([&] { subscriber.replay(id, 1); }), "replay");
    EXPECT_EQ(broken_by([&] { live(alice, id, 2); }), "replay");
    EXPECT_EQ(broken_by([&] { deliver_at(alice, "b", other, 3); }), "replay");  // no filter of it
    EXPECT_EQ(broken_by([&] { deliver_at(alice, "a", first, 1); }), "P3");
    deliver_at(alice, "a", second, 2);
    EXPECT_EQ(broken_by([&] { deliver_at(alice, "a", second, 2); }), "P1");  // not announced
    EXPECT_EQ(broken_by([&] { live(alice, id, 1); }), "replay");             // back
    live(alice, id, 3);
    EXPECT_EQ(broken_by([&] { live(alice, id, 3); }), "replay");
}

TEST_F(HistoryOracleTest, SubscriptionsWaitForARunningReplay) {
    resume(alice, "a", 0);
    const Subscriber::Id next = ask(alice, {"b"}, {});
    EXPECT_EQ(broken_by([&] { answer(alice, next, 0); }), "replay");
    const Subscriber::Id first = ask(bob, {"a"}, last(1));
    const Subscriber::Id second = ask(bob, {"b"}, {});
    EXPECT_EQ(broken_by([&] { answer(bob, second, 0); }), "answers");
    answer(bob, first, 0);
}

TEST_F(HistoryOracleTest, WhatALiveFilterDeliversIsNotReplayedAboveTheJoin) {
    const MessageId old = acknowledged_at("a/b", 1);
    subscribe_now(alice, "a/#", 1);
    const Subscriber::Id id = ask(alice, {"+/b"}, last(5));
    answer(alice, id, 1);
    announce(alice, id, "a/b", old, 1);  // asked for, though it lies below the other's cursor
    const MessageId fresh = acknowledged_at("a/b", 2);
    deliver_at(alice, "a/b", fresh, 2);
    EXPECT_EQ(broken_by([&] { announce(alice, id, "a/b", fresh, 2); }), "P3");
}

TEST_F(HistoryOracleTest, ARefusedResumeMustHaveAReason) {
    const auto refused = [&](const std::string& filter, const std::string& code, Start start) {
        const SessionId session = connect("somebody");
        const Subscriber::Id id = ask(session, {filter}, start);
        return broken_by(
            [&] { answer(session, id, 1, Recovery{.is_recovered = code.empty(), .code = code}); });
    };
    acknowledged_at("a", 1);
    const MessageId second = publish("short");
    oracle.publish_acknowledged(second, Place{3, 2});
    EXPECT_EQ(refused("a", "evicted", after(0)), "resume");
    EXPECT_EQ(refused("#", "evicted", after(0)), "");
    EXPECT_EQ(refused("a", "epoch_changed", after(0)), "resume");
    EXPECT_EQ(refused("a", "invalid_position", after(0)), "resume");
    Start lie = after(99);
    lie.lie = Start::Lie::future;
    EXPECT_EQ(refused("a", "invalid_position", lie), "");
    EXPECT_EQ(refused("a", "", lie), "resume");
    lie = after(1);
    lie.lie = Start::Lie::foreign_epoch;
    EXPECT_EQ(refused("a", "epoch_changed", lie), "");
    EXPECT_EQ(refused("a", "", lie), "resume");
    EXPECT_EQ(refused("a", "", after(1)), "");
    EXPECT_EQ(refused("a", "", after(0)), "resume");  // answered with another cursor
}

TEST_F(HistoryOracleTest, AGapExcusesWhatWasEvictedAndNothingElse) {
    const MessageId lost = acknowledged_at("short", 1);
    const MessageId kept = acknowledged_at("short", 2);
    const Subscriber::Id id = resume(alice, "short", 0);
    EXPECT_EQ(broken_by([&] { announce(alice, id, "short", kept, 2); }), "P1");
    const Subscriber::Id again = resume(bob, "short", 0);
    ++clock.step;
    oracle.gap(bob, again, evicted("short"));
    announce(bob, again, "short", kept, 2);
    EXPECT_EQ(broken_by([&] { oracle.subscriber(bob).audit(); }), "");
    acknowledged_at("short", 3);
    EXPECT_EQ(broken_by([&] { live(bob, again, 3); }), "P1");  // published after the gap
    EXPECT_EQ(broken_by([&] { oracle.gap(bob, again, evicted("short")); }), "gap");  // it is over
    const SessionId carol = connect("carol");
    const Subscriber::Id safe = resume(carol, "a", 0);
    EXPECT_EQ(broken_by([&] { oracle.gap(carol, safe, evicted("a")); }),
              "gap");  // nothing is evicted
    EXPECT_EQ(broken_by([&] { oracle.gap(carol, safe, evicted("b")); }), "gap");  // not its filter
    EXPECT_NE(lost, kept);
}

TEST_F(HistoryOracleTest, AGapSoonAfterAnExactResumeNeedsANewMessage) {
    acknowledged_at("short", 1);
    acknowledged_at("short", 2);
    clock.now_ns += base::ns_per_s;
    const Subscriber::Id id = resume(alice, "short", 0);
    EXPECT_EQ(broken_by([&] { oracle.gap(alice, id, evicted("short")); }), "gap");
    acknowledged_at("short", 3);
    EXPECT_EQ(broken_by([&] { oracle.gap(alice, id, evicted("short")); }), "");
}

TEST_F(HistoryOracleTest, TheLastAreTheNewestWithoutAHole) {
    const MessageId first = acknowledged_at("a", 1);
    const MessageId second = acknowledged_at("a", 2);
    const MessageId third = acknowledged_at("a", 3);
    const Subscriber::Id id = ask(alice, {"a"}, last(2));
    answer(alice, id, 3);
    announce(alice, id, "a", second, 2);
    EXPECT_EQ(broken_by([&] { live(alice, id, 3); }), "P1");  // a hole behind the second
    const Subscriber::Id none = ask(bob, {"a"}, last(2));
    answer(bob, none, 3);
    EXPECT_EQ(broken_by([&] { live(bob, none, 3); }), "replay");  // the newest are surely kept
    // The newest may be as of a moment ago, and more may have come since; not after so long a time.
    clock.now_ns += 5 * base::ns_per_s;
    const SessionId carol = connect("carol");
    const Subscriber::Id many = ask(carol, {"a"}, last(2));
    answer(carol, many, 3);
    announce(carol, many, "a", first, 1);
    announce(carol, many, "a", second, 2);
    EXPECT_EQ(broken_by([&] { announce(carol, many, "a", third, 3); }), "replay");
}

TEST_F(HistoryOracleTest, ACursorSaysThatAllBelowItWasDelivered) {
    subscribe_now(alice, "a", 0);
    acknowledged_at("a", 1);
    EXPECT_EQ(broken_by([&] { oracle.subscriber(alice).position(told(1)); }), "P1");
    EXPECT_EQ(broken_by([&] { oracle.subscriber(bob).position(told(1)); }), "positions");
    subscribe_now(bob, "a", 1);
    EXPECT_EQ(broken_by([&] { oracle.subscriber(bob).position(told(7)); }), "positions");
    oracle.subscriber(bob).position(told(1));
}

TEST_F(HistoryOracleTest, WhatBecomesKnownLaterIsCheckedByTheAudit) {
    subscribe_now(alice, "a", 0);
    const MessageId missed = publish("a");
    const MessageId next = publish("a");
    deliver_at(alice, "a", next, 2);  // nobody knows yet what stands before it
    EXPECT_EQ(broken_by([&] { oracle.audit(); }), "");
    oracle.publish_acknowledged(missed, Place{3, 1});
    EXPECT_EQ(broken_by([&] { oracle.audit(); }), "P1");
}

TEST_F(HistoryOracleTest, BookmarksAreWhatACarefulClientComesBackWith) {
    const MessageId first = acknowledged_at("a", 1);
    const MessageId second = acknowledged_at("b", 2);
    subscribe_now(alice, "b", 2);
    const Subscriber::Id running = resume(alice, "a", 0);
    announce(alice, running, "a", first, 1);
    ask(alice, {"c"}, last(7));
    const std::vector<Bookmark> bookmarks = oracle.subscriber(alice).bookmarks();
    ASSERT_EQ(bookmarks.size(), 3u);
    EXPECT_EQ(bookmarks[0].filters, std::vector<std::string>{"b"});
    EXPECT_EQ(bookmarks[0].start.after.cursor, cursor_at(2));
    EXPECT_EQ(bookmarks[1].filters, std::vector<std::string>{"a"});
    EXPECT_EQ(bookmarks[1].start.after.cursor, cursor_at(1));
    EXPECT_EQ(bookmarks[2].start.last, 7u);
    EXPECT_NE(first, second);
}

TEST_F(HistoryOracleTest, GivingUpARunningReplayEndsIt) {
    acknowledged_at("a", 1);
    const Subscriber::Id id = resume(alice, "a", 0);
    Subscriber& subscriber = oracle.subscriber(alice);
    subscriber.unsubscribe_sent({"a"});
    EXPECT_FALSE(subscriber.is_settled());
    oracle.unsubscribed(alice, {"a"});
    EXPECT_TRUE(subscriber.is_settled());
    EXPECT_EQ(broken_by([&] { live(alice, id, 1); }), "replay");
    EXPECT_TRUE(subscriber.bookmarks().empty());
}

TEST_F(HistoryOracleTest, RecoverableIsDecidedByTheRules) {
    const auto told_recoverable = [&](const std::string& filter, bool is_recoverable) {
        const Subscriber::Id id = ask(alice, {filter}, {});
        return broken_by([&] {
            oracle.subscribed(alice, id, {.cursor = told(0), .is_recoverable = is_recoverable});
        });
    };
    EXPECT_EQ(told_recoverable("none/x", true), "resume");
    EXPECT_EQ(told_recoverable("none/y", false), "");
    EXPECT_EQ(told_recoverable("a", true), "");
    EXPECT_EQ(told_recoverable("b", false), "resume");
}

TEST_F(HistoryOracleTest, AKeyIsSequencedOncePerWindowAndTopic) {
    const auto keyed = [&](const std::string& topic) {
        ++clock.step;
        return oracle.publish_sent(publisher, {.topic = topic,
                                               .kind = codec::PayloadKind::text,
                                               .bytes = std::to_string(oracle.next_message()) + "|",
                                               .key = "k"});
    };
    const MessageId first = keyed("a");
    EXPECT_EQ(broken_by([&] { oracle.publish_acknowledged(first, Place{3, 1}, true); }), "keys");
    const MessageId origin = keyed("b");
    oracle.publish_acknowledged(origin, Place{3, 1});
    EXPECT_EQ(broken_by([&] {
                  oracle.publish_acknowledged(keyed("c"), Place{3, 1}, true);
              }),
              "keys");  // another topic
    EXPECT_EQ(broken_by([&] {
                  oracle.publish_acknowledged(keyed("b"), Place{3, 2}, true);
              }),
              "keys");  // not the first one's position
    const MessageId repeat = keyed("b");
    oracle.publish_acknowledged(repeat, Place{3, 1}, true);
    subscribe_now(alice, "b", 0);
    EXPECT_EQ(broken_by([&] { deliver_at(alice, "b", repeat, 1); }), "keys");
    EXPECT_EQ(broken_by([&] { oracle.publish_acknowledged(keyed("b"), Place{3, 2}); }), "keys");
    clock.now_ns += 2 * base::ns_per_s;
    EXPECT_EQ(broken_by([&] {
                  oracle.publish_acknowledged(keyed("b"), Place{3, 1}, true);
              }),
              "keys");  // long forgotten
    EXPECT_EQ(broken_by([&] { oracle.publish_acknowledged(keyed("b"), Place{3, 3}); }), "");
}

TEST_F(HistoryOracleTest, APageOfHistoryHasAllThatItsCursorSays) {
    const MessageId first = acknowledged_at("a", 1);
    const MessageId second = acknowledged_at("a", 2);
    ++clock.step;
    const auto page_of = [&](const std::vector<MessageId>& messages, uint64_t upto, bool more) {
        HistoryPage page{.cursor = told(upto), .has_more = more};
        for (const MessageId message : messages) {
            page.messages.push_back({.place = {3, message + 1},
                                     .kind = codec::PayloadKind::text,
                                     .bytes = std::to_string(message) + "|"});
        }
        return page;
    };
    const auto ask_page = [&](const Start& start, HistoryPage page) {
        if (start.kind == Start::Kind::after) page.recovery = Recovery{.is_recovered = true};
        return broken_by([&] {
            oracle.history_page(alice, {.topic = "a", .start = start, .sent_step = clock.step},
                                page);
        });
    };
    EXPECT_EQ(ask_page(last(2), page_of({first, second}, 2, false)), "");
    EXPECT_EQ(ask_page(last(1), page_of({second}, 2, false)), "");
    EXPECT_EQ(ask_page(last(1), page_of({first, second}, 2, false)), "history");
    EXPECT_EQ(ask_page(last(2), page_of({second}, 2, false)), "history");
    EXPECT_EQ(ask_page(last(2), page_of({second, first}, 2, false)), "history");
    EXPECT_EQ(ask_page(last(2), page_of({first}, 2, false)), "history");
    EXPECT_EQ(ask_page(last(2), page_of({first}, 1, false)), "history");
    EXPECT_EQ(ask_page(last(2), page_of({first}, 1, true)), "");
    EXPECT_EQ(ask_page(last(2), page_of({first, second}, 1, true)), "history");
    EXPECT_EQ(ask_page(after(1), page_of({second}, 2, false)), "");
    EXPECT_EQ(ask_page(after(1), page_of({}, 2, false)), "history");
    EXPECT_EQ(ask_page(after(1), page_of({}, 1, true)), "history");
    EXPECT_EQ(ask_page(after(0), page_of({second}, 2, false)), "history");
    EXPECT_EQ(broken_by([&] {
                  oracle.history_page(alice, {.topic = "none/x", .start = last(1)},
                                      page_of({}, 2, false));
              }),
              "history");
}

TEST(Cursors, AreReadToTheLetter) {
    EXPECT_EQ(read_place("5:1042"), (Place{5, 1'042}));
    for (const char* const text : {"", ":", "5", "5:", ":5", "5:0", "05:1", "5:01", "5:1 ", "-5:1",
                                   "5:18446744073709551616", "4294967296:1"}) {
        EXPECT_FALSE(read_place(text)) << text;
    }
    base::Prng prng(3);
    const std::string text = R"({"epoch":"x","pos":["0:17","4:1"]})";
    const std::optional<ToldCursor> told = read_cursor(text);
    ASSERT_TRUE(told);
    EXPECT_EQ(told->cursor.of(0), 17u);
    EXPECT_EQ(told->cursor.of(1), 0u);
    EXPECT_EQ(told->cursor.of(4), 1u);
    EXPECT_TRUE(read_cursor(R"({"epoch":"x","pos":[]})"));
    for (const char* const bad :
         {R"({"epoch":"x","pos":["4:1","0:17"]})", R"({"epoch":"x","pos":["0:1","0:2"]})",
          R"({"epoch":"x"})", R"({"epoch":"x","pos":[1]})", R"({"pos":[],"epoch":"x","z":1})"}) {
        EXPECT_FALSE(read_cursor(bad)) << bad;
    }
    for (uint32_t attempt = 0; attempt < 20; ++attempt) {
        std::string written = write_cursor(*told, prng);
        if (written != text) {
            EXPECT_EQ(written, R"({"epoch":"x","pos":["4:1","0:17"]})");
        }
    }
}

TEST(Payloads, RoundTrips) {
    base::Prng prng(7);
    for (uint32_t message = 0; message < 300; ++message) {
        const MadePayload made =
            make_payload(prng, message, static_cast<uint32_t>(prng.below(100)));
        EXPECT_EQ(message_of(made.kind, made.bytes), message);
        const std::string object = "{\"a\":[1,\"}\"]," + made.member + ",\"z\":null}";
        std::vector<JsonMember> members;
        ASSERT_TRUE(read_members(object, members));
        ASSERT_EQ(members.size(), 3u);
        std::string text;
        std::string bytes;
        switch (made.kind) {
            case codec::PayloadKind::json: EXPECT_EQ(members[1].value, made.bytes); break;
            case codec::PayloadKind::text:
                ASSERT_TRUE(read_string(members[1].value, text));
                EXPECT_EQ(text, made.bytes);
                break;
            case codec::PayloadKind::binary:
                ASSERT_TRUE(read_string(members[1].value, text));
                ASSERT_TRUE(decode_base64(text, bytes));
                EXPECT_EQ(bytes, made.bytes);
                break;
        }
    }
}

TEST(Payloads, FiltersMatchAsMqttDefines) {
    EXPECT_TRUE(filter_matches("news/#", "news"));
    EXPECT_TRUE(filter_matches("news/#", "news/uk/london"));
    EXPECT_TRUE(filter_matches("#", "a/b"));
    EXPECT_TRUE(filter_matches("a/+/c", "a//c"));
    EXPECT_TRUE(filter_matches("+/+", "a/b"));
    EXPECT_TRUE(filter_matches("$sys/#", "$sys/x"));
    EXPECT_FALSE(filter_matches("#", "$sys/x"));
    EXPECT_FALSE(filter_matches("+/x", "$sys/x"));
    EXPECT_FALSE(filter_matches("a", "a/b"));
    EXPECT_FALSE(filter_matches("a/b", "a"));
    EXPECT_FALSE(filter_matches("+", "a/b"));
    EXPECT_FALSE(filter_matches("news/#", "newspaper"));
}

// Slow consumers ----------------------------------------------------------------------------------

Limits with_policies() {
    using topics::OnSlow;
    Limits limits;
    limits.partitions = 8;
    limits.history_rules = {
        {.match = "newest", .messages_max = 1'000'000, .on_slow = OnSlow::conflate},
        {.match = "drop/#", .on_slow = OnSlow::drop_oldest},
        {.match = "short", .messages_max = 2},
        {.match = "#", .messages_max = 1'000'000}};
    return limits;
}

class SlowOracleTest : public HistoryOracleTest {
  protected:
    SlowOracleTest() : HistoryOracleTest(with_policies()) {
        slow = oracle.session_begin("slow", {.may_be_slow = true});
        oracle.subscriber(slow).welcomed("e");
    }

    static ToldGap gap_in(const std::string& filter, const std::string& code,
                          std::optional<uint64_t> missed, const std::string& topic = "") {
        return {.filter = filter, .topic = topic, .missed = missed, .code = code};
    }
    void tell(const ToldGap& gap) {
        ++clock.step;
        oracle.gap(slow, std::nullopt, gap);
    }
    std::string broken_by_gap(const ToldGap& gap) {
        return broken_by([&] { tell(gap); });
    }

    SessionId slow = 0;
};

TEST_F(SlowOracleTest, AGapMustBePossible) {
    acknowledged_at("newest", 1);
    acknowledged("drop/a");
    acknowledged_at("kept", 2);
    subscribe_now(slow, "#", 0);
    EXPECT_EQ(broken_by_gap(gap_in("newest", "conflated", 1, "newest")), "gap");  // not its filter
    EXPECT_EQ(broken_by_gap(gap_in("#", "evicted", {})), "gap");                  // of replays only
    EXPECT_EQ(broken_by_gap(gap_in("#", "conflated", 0, "newest")), "gap");       // of nothing
    EXPECT_EQ(broken_by_gap(gap_in("#", "conflated", {}, "newest")), "gap");
    EXPECT_EQ(broken_by_gap(gap_in("#", "conflated", 1, "drop/a")), "gap");
    EXPECT_EQ(broken_by_gap(gap_in("#", "conflated", 2)), "gap");  // several such topics
    EXPECT_EQ(broken_by_gap(gap_in("#", "slow_consumer", 1, "kept")), "gap");
    EXPECT_EQ(broken_by_gap(gap_in("#", "slow_consumer", {})), "gap");  // nothing is ever evicted
    EXPECT_EQ(broken_by_gap(gap_in("#", "conflated", 1, "newest")), "");
    EXPECT_EQ(broken_by_gap(gap_in("#", "slow_consumer", 2)), "");
    acknowledged_at("short", 3);
    EXPECT_EQ(broken_by_gap(gap_in("#", "slow_consumer", {})), "");
    subscribe_now(bob, "#", 0);
    EXPECT_EQ(
        broken_by([&] { oracle.gap(bob, std::nullopt, gap_in("#", "conflated", 1, "newest")); }),
        "gap");  // who reads all at once is not slow
}

TEST_F(SlowOracleTest, AGapStandsWhereItsMessagesAreMissing) {
    subscribe_now(slow, "newest", 0);
    acknowledged_at("newest", 1);
    const MessageId second = acknowledged_at("newest", 2);
    acknowledged_at("newest", 3);
    const MessageId fourth = acknowledged_at("newest", 4);
    tell(gap_in("newest", "conflated", 1, "newest"));
    deliver_at(slow, "newest", second, 2);
    // The gap excuses what lies before the second, not what lies behind it.
    EXPECT_EQ(broken_by([&] { deliver_at(slow, "newest", fourth, 4); }), "P1");
}

TEST_F(SlowOracleTest, AGapThatComesTooLateExcusesNothing) {
    subscribe_now(slow, "newest", 0);
    acknowledged_at("newest", 1);
    const MessageId second = acknowledged_at("newest", 2);
    EXPECT_EQ(broken_by([&] { deliver_at(slow, "newest", second, 2); }), "P1");
}

TEST_F(SlowOracleTest, APositionEndsWhatAGapExcuses) {
    subscribe_now(slow, "newest", 0);
    acknowledged_at("newest", 1);
    tell(gap_in("newest", "slow_consumer", 1, "newest"));
    oracle.subscriber(slow).position(told(1));
    acknowledged_at("newest", 2);
    EXPECT_EQ(broken_by([&] { oracle.subscriber(slow).position(told(2)); }), "P1");
}

TEST_F(SlowOracleTest, TheGapsTellAsManyAsAreMissing) {
    subscribe_now(slow, "drop/#", 0);
    for (int count = 0; count < 3; ++count) acknowledged("drop/a");
    EXPECT_NE(oracle.first_missing(), "");
    tell(gap_in("drop/#", "slow_consumer", 2, "drop/a"));
    EXPECT_NE(oracle.first_missing(), "");  // one too few
    EXPECT_EQ(broken_by([&] { oracle.audit(); }), "");
    const Subscriber::Id again = oracle.subscribe_sent(slow, {"drop/#"});
    tell(gap_in("drop/#", "slow_consumer", 1, "drop/a"));
    EXPECT_EQ(oracle.first_missing(), "");
    // The gap is none of a subscription that is answered behind it, though in the same step.
    oracle.subscribed(slow, again, {.cursor = {.epoch = "e", .cursor = {}}});
    EXPECT_EQ(broken_by([&] { oracle.audit(); }), "");
    tell(gap_in("drop/#", "slow_consumer", 1, "drop/a"));
    EXPECT_EQ(broken_by([&] { oracle.audit(); }), "gap");  // one too many
}

TEST_F(SlowOracleTest, OfConflatedTopicsTheNewestArrives) {
    subscribe_now(slow, "newest", 0);
    const MessageId first = acknowledged_at("newest", 1);
    acknowledged_at("newest", 2);
    deliver_at(slow, "newest", first, 1);
    tell(gap_in("newest", "conflated", 1, "newest"));
    EXPECT_NE(oracle.first_missing(), "");
    const MessageId third = acknowledged_at("newest", 3);
    deliver_at(slow, "newest", third, 3);
    EXPECT_EQ(oracle.first_missing(), "");
    // One that was dropped for want of room needs no successor.
    acknowledged_at("newest", 4);
    tell(gap_in("newest", "slow_consumer", 1, "newest"));
    EXPECT_EQ(oracle.first_missing(), "");
}

TEST_F(SlowOracleTest, WhoCatchesUpIsNotClosedForIt) {
    acknowledged_at("kept", 1);
    acknowledged("drop/a");
    oracle.subscriber(slow).commanded(1);
    subscribe_now(slow, "kept", 1);
    EXPECT_EQ(broken_by([&] { oracle.session_end(slow, {.close_code = 4100}); }), "P6");
    // Two thousand answers that were not read may be too many.
    const SessionId curious = oracle.session_begin("curious", {.may_be_slow = true});
    oracle.subscriber(curious).commanded(2'000);
    EXPECT_EQ(broken_by([&] { oracle.session_end(curious, {.close_code = 4100}); }), "");
}

}  // namespace
}  // namespace sim
