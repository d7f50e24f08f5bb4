// The oracle itself: for each promise a history that keeps it and one that breaks it.
#include "tests/sim/oracle.h"
#include "io/base/units.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "io/base/units.h"
#include "tests/sim/payloads.h"

namespace sim {
namespace {

class OracleTest : public testing::Test {
  protected:
    OracleTest() : oracle(clock) {
        publisher = oracle.session_begin("publisher", {});
        alice = oracle.session_begin("alice", {});
        bob = oracle.session_begin("bob", {});
    }

    void subscribe(SessionId session, const std::string& filter) {
        ++clock.step;
        oracle.subscribe_sent(session, filter);
        oracle.subscribed(session, filter);
    }
    MessageId publish(const std::string& topic, bool echo = true) {
        ++clock.step;
        const std::string bytes = std::to_string(oracle.next_message()) + "|";
        return oracle.publish_sent(publisher, topic, codec::PayloadKind::text, bytes, echo);
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
    oracle.unsubscribe_sent(alice, "a");
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
    const MessageId second = oracle.publish_sent(other, "a", codec::PayloadKind::text,
                                                 std::to_string(oracle.next_message()) + "|", true);
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
    EXPECT_EQ(end({.may_be_slow = true}, {.close_code = 4100}), "");
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

}  // namespace
}  // namespace sim
