// What is held against the broker in the name of an operator: each list and each closing as it may
// be, and as it must not.
#include "tests/sim/operations.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "tests/sim/connections_list.h"
#include "tests/sim/http_answer.h"
#include "tests/sim/oracle.h"

namespace sim {
namespace {

// The text of the promise that `act` breaks; empty when it breaks none.
std::string broken_by(const std::function<void()>& act) {
    try {
        act();
    } catch (const Violation& violation) {
        return violation.text;
    }
    return "";
}

std::string row(const std::string& id, const std::string& address, uint64_t bytes,
                uint64_t lag_ms = 0, const std::string& state = R"("open","websocket":true)") {
    return R"({"id":")" + id + R"(","address":")" + address + R"(","state":)" + state +
           R"(,"connected_s":3,"last_life_ms":3999,"subscriptions":)" +
           (state.starts_with("\"open") ? "1" : "0") + R"(,"catching_up":0,"outbound_bytes":)" +
           std::to_string(bytes) + R"(,"held_bytes":0,"lag_ms":)" + std::to_string(lag_ms) +
           R"(,"slow":false,"behind":false,"paused":false,"browser":true,"compressed":false})";
}

std::string list(uint64_t count, const std::vector<std::string>& rows) {
    std::string text = "{\"connections_count\":" + std::to_string(count) + ",\"connections\":[";
    for (const std::string& each : rows) text += (each == rows.front() ? "" : ",\n") + each;
    return text + "]}\n";
}

std::string broken_by(const std::string& body, const ListRequest& request = {}) {
    return broken_by([&] { read_connections_list("op", request, body); });
}

const std::string one = row("0-1-1", "10.0.0.1", 7);
const std::string other = row("1-0-3", "10.0.1.2", 5, 9);

TEST(ConnectionsList, IsReadAsItWasTold) {
    const ConnectionsList read = read_connections_list("op", {}, list(2, {one, other}));
    EXPECT_EQ(read.connections_count, 2u);
    ASSERT_EQ(read.rows.size(), 2u);
    EXPECT_TRUE(read.is_complete());
    EXPECT_EQ(read.rows[1].id, "1-0-3");
    EXPECT_EQ(read.rows[1].shard, 1u);
    EXPECT_EQ(read.rows[1].connection, 258u);
    EXPECT_TRUE(read.has(258) && read.has(1) && !read.has(2));
    EXPECT_EQ(broken_by(list(0, {})), "");
}

TEST(ConnectionsList, HasAsManyRowsAsThereCanBe) {
    EXPECT_EQ(broken_by(list(9, {one, other}), {.limit = 2}), "");
    EXPECT_NE(broken_by(list(9, {one, other}), {.limit = 3}), "");
    EXPECT_NE(broken_by(list(9, {one, other}), {.limit = 1}), "");
    EXPECT_NE(broken_by(list(1, {one, other})), "");
}

TEST(ConnectionsList, IsSorted) {
    EXPECT_NE(broken_by(list(2, {other, one})), "");
    EXPECT_EQ(broken_by(list(2, {other, one}), {.is_by_lag = true}), "");
    EXPECT_NE(broken_by(list(2, {one, other}), {.is_by_lag = true}), "");
    // By shard and place where the bytes are the same; a lag may differ by less than it tells.
    const std::string same = row("0-0-1", "10.0.0.9", 7);
    EXPECT_EQ(broken_by(list(2, {same, one})), "");
    EXPECT_NE(broken_by(list(2, {one, same})), "");
    EXPECT_EQ(broken_by(list(2, {one, same}), {.is_by_lag = true}), "");
}

TEST(ConnectionsList, NamesNobodyTwice) {
    EXPECT_NE(broken_by(list(2, {one, row("0-1-1", "10.0.0.3", 7)})), "");
    EXPECT_NE(broken_by(list(2, {one, row("0-2-1", "10.0.0.1", 7)})), "");
}

TEST(ConnectionsList, RowsAreWholeAndAgreeWithThemselves) {
    EXPECT_EQ(broken_by(list(1, {row("0-1-1", "10.0.0.1", 0, 0, R"("http","websocket":false)")})),
              "");
    EXPECT_NE(broken_by(list(1, {row("0-1-1", "10.0.0.1", 0, 0, R"("http","websocket":true)")})),
              "");
    EXPECT_NE(broken_by(list(1, {row("0-1-1", "10.0.0.1", 0, 0, R"("open","websocket":false)")})),
              "");
    EXPECT_NE(broken_by(list(1, {row("0-1-1", "10.0.0.1", 0, 0, R"("gone","websocket":true)")})),
              "");
    for (const char* const id : {"", "0-1", "0-1-", "0-1-1-", "0-1-x", "-0-1-1"}) {
        EXPECT_NE(broken_by(list(1, {row(id, "10.0.0.1", 0)})), "") << id;
    }
    for (const char* const address : {"", "10.0.0", "10.0.0.256", "11.0.0.1", "10.0.0.1."}) {
        EXPECT_NE(broken_by(list(1, {row("0-1-1", address, 0)})), "") << address;
    }
    for (const char* const key :
         {"id", "address", "state", "websocket", "connected_s", "last_life_ms", "subscriptions",
          "catching_up", "outbound_bytes", "held_bytes", "lag_ms", "slow", "behind", "paused",
          "browser", "compressed"}) {
        std::string without = list(1, {one});
        without.replace(without.find(std::string("\"") + key + "\":"), 2, "\"_");
        EXPECT_NE(broken_by(without), "") << key;
    }
    std::string late = list(1, {one});
    late.replace(late.find("3999"), 4, "4001");
    EXPECT_NE(broken_by(late), "");
}

TEST(ConnectionsList, IsOneObject) {
    EXPECT_NE(broken_by("{}\n"), "");
    EXPECT_NE(broken_by(R"({"connections":[]})"), "");
    EXPECT_NE(broken_by("{\"connections_count\":\"1\",\"connections\":[]}\n"), "");
    EXPECT_NE(broken_by("{\"connections_count\":0,\"connections\":[}\n"), "");
    EXPECT_NE(broken_by("{\"connections_count\":0,\"connections\":[]}"), "");
}

TEST(HttpAnswer, IsTakenWhenItIsWhole) {
    std::string incoming =
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\nConnection: close\r\n"
        "Retry-After: 7\r\n\r\n{";
    EXPECT_FALSE(take_http_answer("op", incoming, false));
    incoming += "}HTTP/1.1 204 No Content\r\nAllow: GET, HEAD\r\n\r\nHTTP";
    const std::optional<HttpAnswer> first = take_http_answer("op", incoming, false);
    ASSERT_TRUE(first);
    EXPECT_EQ(first->status, 503u);
    EXPECT_EQ(first->body, "{}");
    EXPECT_TRUE(first->is_last);
    EXPECT_EQ(first->retry_after_s, 7u);
    const std::optional<HttpAnswer> second = take_http_answer("op", incoming, false);
    ASSERT_TRUE(second);
    EXPECT_EQ(second->allow, "GET, HEAD");
    EXPECT_FALSE(second->is_last || second->retry_after_s);
    EXPECT_EQ(incoming, "HTTP");
    EXPECT_FALSE(take_http_answer("op", incoming, false));
}

TEST(HttpAnswer, OfAHeadRequestHasNoBody) {
    std::string incoming = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/";
    EXPECT_TRUE(take_http_answer("op", incoming, true));
    EXPECT_EQ(incoming, "HTTP/");
}

TEST(HttpAnswer, SaysHowLongItIs) {
    for (std::string incoming : {"HTTP/1.1 200 OK\r\n\r\n", "HTTP/2 200\r\n\r\n",
                                 "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"}) {
        EXPECT_NE(broken_by([&] { take_http_answer("op", incoming, false); }), "") << incoming;
    }
}

class OperationsTest : public testing::Test {
  protected:
    std::string ends_with_4102(const SessionTraits& traits) {
        const SessionId session = oracle.session_begin("client", traits);
        return broken_by([&] { oracle.session_end(session, {.close_code = 4102}); });
    }

    Clock clock;
    Limits limits;
    Oracle oracle{clock, limits};
    Operations& operations = oracle.operations();
};

TEST_F(OperationsTest, AnIdNamesOneConnection) {
    operations.named("op", "0-1-1", 5);
    operations.named("op", "0-1-3", 6);
    EXPECT_EQ(broken_by([&] { operations.named("another", "0-1-1", 5); }), "");
    EXPECT_NE(broken_by([&] { operations.named("another", "0-1-1", 7); }), "");
    EXPECT_NE(broken_by([&] { operations.named("another", "0-1-5", 5); }), "");
}

TEST_F(OperationsTest, NobodyElseClosesAsAnOperatorDoes) {
    operations.closing_asked(5);
    EXPECT_EQ(ends_with_4102({.connection = 5}), "");
    EXPECT_NE(ends_with_4102({.connection = 6}), "");
}

TEST_F(OperationsTest, WhoWasToBeClosedOnceMoreMayBeCut) {
    operations.closing_asked(5);
    for (const ConnectionId connection : {5u, 6u}) {
        const SessionId session = oracle.session_begin("client", {.connection = connection});
        const std::string broken = broken_by([&] { oracle.session_end(session, {}); });
        EXPECT_EQ(broken.empty(), connection == 5) << broken;
    }
}

TEST_F(OperationsTest, NothingIsDeliveredThatWasPublishedAfterTheClose) {
    const SessionId closed = oracle.session_begin("closed", {.connection = 5});
    oracle.subscriber(closed).welcomed("e");
    const Subscriber::Id id = oracle.subscribe_sent(closed, {"a"});
    oracle.subscribed(closed, id, {.cursor = {.epoch = "e", .cursor = {}}});
    operations.closing_asked(5);
    const auto published = [&] {
        ++clock.step;
        const std::string bytes = std::to_string(oracle.next_message()) + "|";
        oracle.publish_sent(closed,
                            {.topic = "a", .kind = codec::PayloadKind::text, .bytes = bytes});
        return broken_by([&] { oracle.delivered(closed, "a", codec::PayloadKind::text, bytes); });
    };
    EXPECT_EQ(published(), "");
    operations.closing_granted(5);
    EXPECT_NE(published(), "");
}

TEST_F(OperationsTest, ARivalIsAnotherConnectionAtTheSameShardAndTime) {
    clock.step = 10;
    const Operations::QuestionId early = operations.question_asked(0, 1);
    const Operations::QuestionId elsewhere = operations.question_asked(1, 2);
    const Operations::QuestionId own = operations.question_asked(0, 3);
    clock.step = 20;
    operations.question_over(early);
    clock.step = 21;
    const Operations::QuestionId later = operations.question_asked(0, 3);
    EXPECT_TRUE(operations.has_rival(early));
    EXPECT_TRUE(operations.has_rival(own));
    EXPECT_FALSE(operations.has_rival(elsewhere));
    EXPECT_FALSE(operations.has_rival(later)) << "one was over, one is its own";
}

}  // namespace
}  // namespace sim
