#include "broker/connection_row.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "io/base/units.h"

namespace broker {
namespace {

TEST(ConnectionId, IsReadAsItIsWritten) {
    const ConnectionId id{3, {4'294'967'294, 16'777'215}};
    EXPECT_EQ(text_of(id), "3-4294967294-16777215");
    EXPECT_EQ(parse_connection_id(text_of(id)), id);
    EXPECT_EQ(parse_connection_id("0-0-0"), (ConnectionId{0, {0, 0}}));
}

TEST(ConnectionId, EverythingElseIsNone) {
    for (const char* text :
         {"", "1", "1-2", "1-2-", "1-2-3-", "1-2-3-4", "1--2-3", "-1-2-3", "1-2-3 ", " 1-2-3",
          "1_2_3", "a-b-c", "1-02-3", "01-2-3", "1-2-03", "+1-2-3", "1-2-4294967296"}) {
        EXPECT_EQ(parse_connection_id(text), std::nullopt) << text;
    }
}

TEST(ConnectionsQuestion, HasDefaultsAndLimits) {
    const auto parsed = [](std::string_view query) {
        ConnectionsQuestion question;
        EXPECT_EQ(parse_connections_question(query, question), "") << query;
        return question;
    };
    EXPECT_EQ(parsed(""), (ConnectionsQuestion{ConnectionsSort::outbound_bytes, 50}));
    EXPECT_EQ(parsed("sort=lag"), (ConnectionsQuestion{ConnectionsSort::lag, 50}));
    EXPECT_EQ(parsed("limit=1&sort=outbound_bytes"),
              (ConnectionsQuestion{ConnectionsSort::outbound_bytes, 1}));
    EXPECT_EQ(parsed("sort=lag&limit=1000"), (ConnectionsQuestion{ConnectionsSort::lag, 1'000}));
}

TEST(ConnectionsQuestion, SaysWhatIsWrong) {
    for (const auto& [query, word] : std::vector<std::pair<std::string, std::string>>{
             {"limit=0", "1 to 1000"},
             {"limit=1001", "1 to 1000"},
             {"limit=", "1 to 1000"},
             {"limit=-1", "1 to 1000"},
             {"limit=1x", "1 to 1000"},
             {"limit=007", "1 to 1000"},
             {"sort=", "outbound_bytes or lag"},
             {"sort=age", "outbound_bytes or lag"},
             {"sort=lag&order=up", "sort and limit"},
             {"x", "sort and limit"},
             {"sort=lag&&limit=1", "sort and limit"}}) {
        ConnectionsQuestion question;
        const std::string error(parse_connections_question(query, question));
        EXPECT_NE(error.find(word), std::string::npos) << query << ": " << error;
    }
}

TEST(ConnectionRow, MoreStandsFirstAndTheIdDecidesAmongEquals) {
    ConnectionRow one;
    one.id = {0, {0, 1}};
    one.outbound_bytes = 10;
    one.lag_ns = 1;
    ConnectionRow other;
    other.id = {0, {1, 1}};
    other.held_bytes = 11;
    EXPECT_FALSE(stands_before(ConnectionsSort::outbound_bytes, one, other));
    EXPECT_TRUE(stands_before(ConnectionsSort::outbound_bytes, other, one)) << "held ones count";
    EXPECT_TRUE(stands_before(ConnectionsSort::lag, one, other));
    other.lag_ns = 1;
    EXPECT_TRUE(stands_before(ConnectionsSort::lag, one, other));
    EXPECT_FALSE(stands_before(ConnectionsSort::lag, other, one));
    EXPECT_FALSE(stands_before(ConnectionsSort::lag, one, one));
    one.id.shard = 1;
    EXPECT_TRUE(stands_before(ConnectionsSort::lag, other, one));
}

TEST(ConnectionRow, IsWrittenAsJson) {
    ConnectionRow row{.id = {1, {42, 7}},
                      .address = *codec::parse_ip_address("2001:db8::1"),
                      .state = ConnectionState::open,
                      .is_websocket = true,
                      .is_compressed = true,
                      .is_slow = true,
                      .subscriptions_count = 3,
                      .catching_up_count = 1,
                      .outbound_bytes = 1'234,
                      .held_bytes = 99,
                      .lag_ns = 250 * base::ns_per_ms,
                      .connected_ns = 61 * base::ns_per_s,
                      .silent_ns = 1'500 * base::ns_per_ms};
    std::string out;
    append_connections(out, {}, 0);
    EXPECT_EQ(out, "{\"connections_count\":0,\"connections\":[]}\n");
    out.clear();
    const std::vector<ConnectionRow> rows = {row, ConnectionRow{}};
    append_connections(out, rows, 7);
    EXPECT_EQ(out,
              R"({"connections_count":7,"connections":[{"id":"1-42-7","address":"2001:db8::1",)"
              R"("state":"open",)"
              R"("websocket":true,"connected_s":61,"last_life_ms":1500,"subscriptions":3,)"
              R"("catching_up":1,"outbound_bytes":1234,"held_bytes":99,"lag_ms":250,"slow":true,)"
              R"("behind":false,"paused":false,"browser":false,"compressed":true},)"
              "\n"
              R"({"id":"0-4294967295-0","address":null,"state":"http","websocket":false,)"
              R"("connected_s":0,"last_life_ms":0,"subscriptions":0,"catching_up":0,)"
              R"("outbound_bytes":0,"held_bytes":0,"lag_ms":0,"slow":false,"behind":false,)"
              R"("paused":false,"browser":false,"compressed":false}]})"
              "\n");
}

}  // namespace
}  // namespace broker
