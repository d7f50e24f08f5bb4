#include "broker/connections_query.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "tests/broker/shard_world.h"

namespace broker {
namespace {

using testing::Frame;
using testing::Peer;
using testing::World;
using testing::WorldOptions;
using Kind = codec::Decoded::Kind;

std::string request(std::string_view method, std::string_view target) {
    return std::string(method).append(" ").append(target).append(
        " HTTP/1.1\r\nHost: localhost\r\n\r\n");
}

std::string status_of(const std::string& response) {
    return response.size() < 12 ? response : response.substr(9, 3);
}

// All values of a member, in the order of the rows.
std::vector<std::string> members(const std::string& response, const std::string& name) {
    const std::string begin_mark = "\"" + name + "\":";
    std::vector<std::string> values;
    for (size_t at = response.find(begin_mark); at != std::string::npos;
         at = response.find(begin_mark, at)) {
        at += begin_mark.size();
        if (response[at] == '"') ++at;
        values.push_back(response.substr(at, response.find_first_of(",\"}", at) - at));
    }
    return values;
}

class ConnectionsQueryTest : public ::testing::TestWithParam<uint32_t> {
  protected:
    ConnectionsQueryTest() : world_({.shards_count = GetParam()}), admin_(world_.connect()) {}

    std::string get(std::string_view query = "") const {
        admin_.send(request("GET", "/api/connections" + std::string(query)));
        return admin_.take_response();
    }
    std::string close(const std::string& id) const {
        admin_.send(request("DELETE", "/api/connections/" + id));
        return admin_.take_response();
    }
    io::ShardId last_shard() const { return GetParam() - 1; }
    // A subscriber that does not read, with about so many bytes waiting for it.
    Peer slow_reader(io::ShardId shard, size_t bytes) {
        const std::string topic = "slow/" + std::to_string(++topics_count_);
        const Peer peer = world_.client(shard);
        peer.subscribe(topic);
        peer.stall();
        const Peer publisher = world_.client(shard);
        publisher.say("{\"op\":\"publish\",\"topic\":\"" + topic + "\",\"text\":\"" +
                      std::string(bytes, 'x') + "\"}");
        publisher.finish();
        return peer;
    }

    World world_;
    const Peer admin_;
    uint32_t topics_count_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Shards, ConnectionsQueryTest, ::testing::Values(1, 3));

TEST_P(ConnectionsQueryTest, TheAskerIsAConnectionToo) {
    const std::string response = get();
    EXPECT_EQ(status_of(response), "200");
    EXPECT_NE(response.find("Content-Type: application/json\r\n"), std::string::npos);
    EXPECT_EQ(members(response, "connections_count"), std::vector<std::string>{"1"});
    EXPECT_EQ(members(response, "state"), std::vector<std::string>{"http"});
    EXPECT_EQ(members(response, "id"), std::vector<std::string>{"0-0-1"});
}

TEST_P(ConnectionsQueryTest, ThoseWithTheMostStandFirstWhateverTheirShard) {
    slow_reader(last_shard(), 1'000);
    world_.run_for(100 * base::ns_per_ms);
    slow_reader(last_shard() / 2, 9'000);
    world_.run_for(100 * base::ns_per_ms);
    slow_reader(0, 5'000);
    const std::string response = get("?limit=3");
    const std::vector<std::string> bytes = members(response, "outbound_bytes");
    ASSERT_EQ(bytes.size(), 3u);
    EXPECT_TRUE(bytes[0].starts_with("90") && bytes[1].starts_with("50") &&
                bytes[2].starts_with("10"))
        << response;
    EXPECT_EQ(members(response, "lag_ms"), (std::vector<std::string>{"100", "0", "200"}));
    EXPECT_EQ(members(response, "connections_count"), std::vector<std::string>{"4"});
    EXPECT_EQ(members(response, "subscriptions"), (std::vector<std::string>{"1", "1", "1"}));
    EXPECT_EQ(members(get("?sort=lag&limit=2"), "lag_ms"),
              (std::vector<std::string>{"200", "100"}));
    EXPECT_EQ(members(get("?limit=1000"), "id").size(), 4u);
}

TEST_P(ConnectionsQueryTest, TellsWhatAConnectionIs) {
    const Peer browser = world_.client(
        last_shard(),
        "Origin: http://localhost\r\nSec-WebSocket-Extensions: permessage-deflate\r\n");
    world_.run_for(2'500 * base::ns_per_ms);
    browser.subscribe("a");
    world_.run_for(1'250 * base::ns_per_ms);
    const std::string response = get("?sort=lag");
    const size_t begin = response.find("{\"id\":\"" + std::to_string(last_shard()));
    const size_t row_begin = response.find("\"state\":\"open\"", begin);
    ASSERT_NE(row_begin, std::string::npos) << response;
    EXPECT_EQ(response.substr(row_begin, response.find('}', row_begin) - row_begin),
              R"("state":"open","websocket":true,"connected_s":3,"last_life_ms":1250,)"
              R"("subscriptions":1,"catching_up":0,"outbound_bytes":0,"held_bytes":0,"lag_ms":0,)"
              R"("slow":false,"behind":false,"paused":false,"browser":true,"compressed":true)");
}

TEST_P(ConnectionsQueryTest, BadQuestionsAreRefused) {
    EXPECT_EQ(status_of(get("?limit=0")), "400");
    EXPECT_EQ(status_of(get("?limit=1001")), "400");
    EXPECT_EQ(status_of(get("?sort=x")), "400");
    admin_.send(request("POST", "/api/connections"));
    EXPECT_EQ(status_of(admin_.take_response()), "405");
    admin_.send(request("GET", "/api/connections/0-0-1"));
    EXPECT_EQ(status_of(admin_.take_response()), "405");
    EXPECT_EQ(status_of(close("0-0")), "400");
    admin_.send(request("GET", "/api/connectionsx"));
    EXPECT_EQ(status_of(admin_.take_response()), "404");
    EXPECT_EQ(status_of(get()), "200") << "and nothing is left over";
}

TEST_P(ConnectionsQueryTest, HeadHasNoBody) {
    admin_.send(request("HEAD", "/api/connections"));
    const std::string response = admin_.take_bytes();
    EXPECT_EQ(status_of(response), "200");
    EXPECT_TRUE(response.ends_with("\r\n\r\n"));
}

TEST_P(ConnectionsQueryTest, RequestsBehindAQuestionWaitForIt) {
    admin_.send(request("GET", "/api/connections?limit=1") + request("GET", "/healthz"));
    EXPECT_NE(admin_.take_response().find("connections_count"), std::string::npos);
    EXPECT_TRUE(admin_.take_response().ends_with("ok\n"));
}

TEST_P(ConnectionsQueryTest, OneQuestionAtATime) {
    const Peer second = world_.connect();
    const Peer third = world_.connect(last_shard());
    admin_.socket().inbound = request("GET", "/api/connections");
    second.socket().inbound = request("GET", "/api/connections");
    third.socket().inbound = request("GET", "/api/connections");
    world_.settle();
    // Whichever of those on one shard comes first is answered.
    const bool is_one_shard = last_shard() == 0;
    std::vector<std::string> statuses = {status_of(admin_.take_response()),
                                         status_of(second.take_response())};
    const std::string third_status = status_of(third.take_response());
    if (is_one_shard) statuses.push_back(third_status);
    if (!is_one_shard) {
        EXPECT_EQ(third_status, "200") << "another shard's question is its own";
    }
    EXPECT_EQ(std::count(statuses.begin(), statuses.end(), "200"), 1);
    EXPECT_EQ(std::count(statuses.begin(), statuses.end(), "503"), is_one_shard ? 2 : 1);
    EXPECT_EQ(status_of(get()), "200");
}

TEST_P(ConnectionsQueryTest, AnAskerThatIsGoneBlocksNobody) {
    admin_.socket().inbound = request("GET", "/api/connections");
    world_.turn(0);
    admin_.socket().error = ECONNRESET;
    for (int count = 0; count < 4; ++count) world_.turn(0);
    EXPECT_TRUE(admin_.is_closed());
    const Peer second = world_.connect();
    second.send(request("GET", "/api/connections"));
    const std::string response = second.take_response();
    EXPECT_EQ(status_of(response), "200");
    EXPECT_EQ(members(response, "connections_count"), std::vector<std::string>{"1"});
}

TEST_P(ConnectionsQueryTest, AnOperatorClosesAConnectionOfAnyShard) {
    const Peer peer = slow_reader(last_shard(), 1'000);
    const std::string id = members(get("?limit=1"), "id").at(0);
    EXPECT_EQ(id.substr(0, 2), std::to_string(last_shard()) + "-");
    EXPECT_EQ(status_of(close(id)), "204");
    peer.read_on();
    const std::vector<Frame> frames = peer.take_frames();
    ASSERT_FALSE(frames.empty());
    EXPECT_EQ(frames.back().kind, Kind::close);
    EXPECT_EQ(frames.back().close_code, 4102);
    ASSERT_GE(frames.size(), 2u);
    const std::string& goodbye = frames[frames.size() - 2].payload;
    EXPECT_TRUE(goodbye.starts_with(R"({"op":"goodbye","code":"closed_by_operator",)")) << goodbye;
    peer.finish();
    EXPECT_TRUE(peer.is_closed());
    EXPECT_EQ(world_.closed_count(4102), 1u);
    EXPECT_EQ(status_of(close(id)), "404") << "it is gone, and its id means no other";
    EXPECT_EQ(world_.client(last_shard()).is_closed(), false);
    EXPECT_EQ(status_of(close(id)), "404") << "even when its place is taken again";
}

TEST_P(ConnectionsQueryTest, WhatIsThereIsClosedInEveryState) {
    const Peer idle = world_.connect(last_shard());
    const std::string last = std::to_string(last_shard());
    const std::string idle_id = last_shard() == 0 ? "0-1-1" : last + "-0-1";
    EXPECT_EQ(status_of(close(idle_id)), "204");
    EXPECT_TRUE(idle.is_closed());
    EXPECT_EQ(status_of(close("0-999-1")), "404");
    EXPECT_EQ(status_of(close("999-0-1")), "404");
    const Peer peer = world_.client(last_shard());
    const std::string id = members(get("?limit=1000"), "id").back();
    EXPECT_EQ(status_of(close(id)), "204");
    EXPECT_FALSE(peer.is_closed()) << "it has not answered the Close frame";
    EXPECT_EQ(status_of(close(id)), "204");
    EXPECT_TRUE(peer.is_closed()) << "now it is cut";
}

TEST_P(ConnectionsQueryTest, TheAskerMayCloseItself) {
    const std::string response = close("0-0-1");
    EXPECT_EQ(status_of(response), "204");
    EXPECT_NE(response.find("Connection: close"), std::string::npos);
    admin_.finish();
    EXPECT_TRUE(admin_.is_closed());
}

TEST_P(ConnectionsQueryTest, AStopInTheMiddleLeavesNothing) {
    for (int count = 0; count < 10; ++count) world_.client(last_shard());
    admin_.socket().inbound = request("GET", "/api/connections");
    world_.turn(0);
    world_.request(io::Request::stop);
    world_.run_for(30 * base::ns_per_s);
    EXPECT_TRUE(world_.is_stopped());
}

// The other shards are done before all is asked: what they can not answer any more is refused.
TEST(ConnectionsQuery, WhatIsAskedDuringAStopDoesNotHoldItUp) {
    for (const std::string_view question :
         {"GET /api/connections", "DELETE /api/connections/1-5-1"}) {
        World world({.shards_count = 2});
        const Peer admin = world.connect();
        for (int count = 0; count < 20; ++count) {
            admin.socket().inbound +=
                std::string(question) + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
        }
        world.turn(0);
        world.request(io::Request::stop);
        world.settle();
        std::vector<std::string> statuses;
        for (std::string status = status_of(admin.take_response()); !status.empty();
             status = status_of(admin.take_response())) {
            statuses.push_back(status);
        }
        ASSERT_GE(statuses.size(), 2u);
        EXPECT_EQ(statuses.front(), question.starts_with("GET") ? "200" : "404");
        EXPECT_EQ(statuses.back(), "503");
        EXPECT_EQ(std::count(statuses.begin(), statuses.end(), "504"), 0);
        admin.finish();
        EXPECT_TRUE(world.is_stopped());
        EXPECT_TRUE(world.mesh().forward(0, 1).is_empty());
    }
}

TEST(ConnectionsQuery, WhatFoundNoRoomBeforeAStopIsRefused) {
    WorldOptions options{.shards_count = 2};
    options.settings.lane_bytes = 8 * base::kib;
    World world(options);
    std::vector<Peer> askers;
    const auto turn_first = [&] {
        for (int count = 0; count < 10; ++count) world.turn(0);
    };
    // The other shard hangs until its lane is full, and more wait than may.
    std::string response;
    while (response.empty()) {
        askers.emplace_back(world, 0, world.kernel().connect(0));
        askers.back().socket().inbound = request("DELETE", "/api/connections/1-5-1");
        turn_first();
        response = askers.back().take_response();
    }
    EXPECT_NE(response.find("other such requests"), std::string::npos) << response;
    world.request(io::Request::stop);
    turn_first();
    size_t stopping_count = 0;
    for (const Peer& asker : askers) {
        response = asker.take_response();
        if (response.empty()) continue;  // in the lane
        EXPECT_EQ(status_of(response), "503");
        EXPECT_NE(response.find("the broker is stopping"), std::string::npos) << response;
        EXPECT_NE(response.find("Retry-After: "), std::string::npos);
        ++stopping_count;
    }
    EXPECT_EQ(stopping_count, ConnectionsQuery::closings_max);
    world.settle();
    for (const Peer& asker : askers) asker.finish();
    EXPECT_TRUE(world.is_stopped());
}

// The rows of one list take several turns of the asking shard to arrive.
TEST(ConnectionsQuery, AShardStopsWhenAllRowsAreHandedOver) {
    WorldOptions options{.shards_count = 2};
    options.settings.lane_bytes = 8 * base::kib;
    World world(options);
    const Peer admin = world.connect();
    std::vector<Peer> others;
    for (int count = 0; count < 1'000; ++count) {
        others.emplace_back(world, 1, world.kernel(1).connect(0));
    }
    world.settle();
    admin.socket().inbound = request("GET", "/api/connections?limit=1000");
    world.turn(0);
    world.turn(1);
    world.request(io::Request::stop);
    for (const Peer& other : others) other.socket().error = ECONNRESET;
    for (int count = 0; count < 10; ++count) world.turn(1);
    EXPECT_TRUE(others.back().is_closed());
    for (int count = 0; count < 100; ++count) {
        for (const io::ShardId id : {0u, 1u}) {
            if (!world.shard(id).is_stopped()) world.turn(id);
        }
    }
    EXPECT_EQ(members(admin.take_response(), "id").size(), 1'000u);
    admin.finish();
    EXPECT_TRUE(world.is_stopped());
}

TEST(ConnectionsQuery, AScanIsSpreadOverTurns) {
    World world;
    const Peer admin = world.connect();
    const auto turns_to_answer = [&] {
        admin.socket().inbound = request("GET", "/api/connections?limit=1000");
        int turns_count = 0;
        while (admin.socket().outbound.empty() && turns_count < 10) {
            world.turn(0);
            ++turns_count;
        }
        world.settle();
        return turns_count;
    };
    const int few_turns_count = turns_to_answer();
    EXPECT_EQ(members(admin.take_response(), "id").size(), 1u);
    const uint32_t others_count = ConnectionsQuery::slots_per_turn_max;
    for (uint32_t count = 0; count < others_count; ++count) world.kernel().connect(0);
    world.settle();
    EXPECT_EQ(turns_to_answer(), few_turns_count + 1);
    const std::string response = admin.take_response();
    EXPECT_EQ(members(response, "connections_count").at(0), std::to_string(others_count + 1));
    EXPECT_EQ(members(response, "id").size(), 1'000u);
}

TEST(ConnectionsQuery, RowsComeInPiecesThatFitTheSmallestLanes) {
    WorldOptions options{.shards_count = 2};
    options.settings.lane_bytes = 8 * base::kib;
    World world(options);
    const Peer admin = world.connect();
    for (uint32_t count = 0; count < 400; ++count) world.kernel(1).connect(0);
    world.settle();
    admin.send(request("GET", "/api/connections?limit=1000"));
    world.run_for(100 * base::ns_per_ms);
    const std::string response = admin.take_response();
    EXPECT_EQ(members(response, "connections_count"), std::vector<std::string>{"401"});
    EXPECT_EQ(members(response, "id").size(), 401u);
}

TEST(ConnectionsQuery, AShardThatHangsIsAnswered504AndItsLateRowsAreNobodys) {
    World world({.shards_count = 2});
    const Peer admin = world.connect();
    admin.socket().inbound = request("GET", "/api/connections");
    const auto turn_first = [&] {
        for (int count = 0; count < 4; ++count) world.turn(0);
    };
    turn_first();
    world.jump(ConnectionsQuery::timeout_ns - base::ns_per_ms);
    turn_first();
    EXPECT_EQ(admin.take_response(), "");
    world.jump(2 * base::ns_per_ms);
    turn_first();
    EXPECT_EQ(status_of(admin.take_response()), "504");
    admin.socket().inbound = request("GET", "/api/connections");
    turn_first();
    world.settle();
    const std::string response = admin.take_response();
    EXPECT_EQ(status_of(response), "200");
    EXPECT_EQ(members(response, "connections_count"), std::vector<std::string>{"1"});
}

TEST(ConnectionsQuery, TooManyClosingsOfAnotherShardAreRefused) {
    WorldOptions options{.shards_count = 2};
    options.settings.lane_bytes = 8 * base::kib;
    World world(options);
    std::vector<Peer> askers;
    // The other shard hangs, and its lane takes few records.
    for (size_t count = 0; count < 200 + ConnectionsQuery::closings_max; ++count) {
        const uint32_t number = world.kernel().connect(0);
        askers.emplace_back(world, 0, number);
        askers.back().socket().inbound = request("DELETE", "/api/connections/1-5-1");
    }
    for (int count = 0; count < 1'000; ++count) world.turn(0);
    const auto answered = [&](std::string_view status) {
        size_t count = 0;
        for (const Peer& asker : askers) count += status_of(asker.take_response()) == status;
        return count;
    };
    const size_t refused_count = answered("503");
    EXPECT_GT(refused_count, 0u);
    EXPECT_LE(refused_count, askers.size() - ConnectionsQuery::closings_max);
    world.run_for(100 * base::ns_per_ms);
    EXPECT_EQ(answered("404"), askers.size() - refused_count) << "all others are answered";
}

TEST(ConnectionsQuery, OnlyTheAdminSurfaceServesIt) {
    WorldOptions options;
    options.listeners = {ListenerRole{.serves_admin = false}};
    World world(options);
    const Peer peer = world.connect();
    peer.send(request("GET", "/api/connections"));
    EXPECT_EQ(status_of(peer.take_response()), "404");
    peer.send(request("DELETE", "/api/connections/0-0-1"));
    EXPECT_EQ(status_of(peer.take_response()), "404");
}

}  // namespace
}  // namespace broker
