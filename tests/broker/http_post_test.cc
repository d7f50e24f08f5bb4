// Publishing over HTTP: one message at /topics/<topic>, many at /api/publish, and what browsers'
// pages need. What stands in a request at all is http_surface_test's.

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "broker/http_surface.h"
#include "tests/broker/http_text.h"
#include "tests/broker/shard_world.h"

namespace broker {
namespace {

using testing::body_of;
using testing::closes;
using testing::get;
using testing::message_text;
using testing::Peer;
using testing::post;
using testing::status_of;
using testing::World;
using testing::WorldOptions;

constexpr const char* json = "application/json";

std::string batch(std::string_view messages) {
    return post("/api/publish", json, "{\"messages\":[" + std::string(messages) + "]}");
}

std::string code_of(const std::string& response) {
    return testing::error_code(body_of(response).substr(0, body_of(response).size() - 1));
}

bool has_line(const std::string& response, const std::string& line) {
    return response.find("\r\n" + line + "\r\n") != std::string::npos;
}

WorldOptions with_history(uint32_t shards_count) {
    WorldOptions options{.shards_count = shards_count};
    topics::TopicRule rule;
    rule.match = "kept/#";
    rule.history_messages_max = 100;
    options.settings.topic_rules = {rule};
    return options;
}

TEST(HttpPost, AKeyPublishesOnce) {
    World world(with_history(1));
    const Peer subscriber = world.client();
    subscriber.subscribe("kept/#");
    const Peer peer = world.connect();
    const std::string position = world.position_text("kept/a", 1);
    const std::string longest = "Idempotency-Key: " + std::string(64, 'k') + "\r\n";
    peer.send(post("/topics/kept/a", json, "1", longest));
    EXPECT_EQ(body_of(peer.take_response()),
              "{\"op\":\"published\",\"pos\":\"" + position + "\"}\n");
    peer.send(post("/topics/kept/a", json, "1", longest));
    EXPECT_EQ(body_of(peer.take_response()),
              "{\"op\":\"published\",\"pos\":\"" + position + "\",\"duplicate\":true}\n");
    EXPECT_EQ(subscriber.take_texts(),
              std::vector<std::string>{message_text("kept/a", position, "\"data\":1")});
    // The key is the same whatever it came by.
    const Peer other = world.client();
    other.say(R"({"op":"publish","id":1,"topic":"kept/a","data":1,"key":")" + std::string(64, 'k') +
              "\"}");
    EXPECT_EQ(other.take_texts(), std::vector<std::string>{R"({"op":"published","id":1,"pos":")" +
                                                           position + R"(","duplicate":true})"});
}

TEST(HttpPost, RefusesBadKeys) {
    World world;
    const Peer peer = world.connect();
    for (const std::string& fields :
         {std::string("Idempotency-Key:\r\n"), "Idempotency-Key: " + std::string(65, 'k') + "\r\n",
          std::string("Idempotency-Key: a\r\nIdempotency-Key: a\r\n")}) {
        peer.send(post("/topics/a", json, "1", fields));
        const std::string response = peer.take_response();
        EXPECT_EQ(status_of(response), 400) << fields;
        EXPECT_EQ(code_of(response), "invalid_command") << fields;
        EXPECT_FALSE(closes(response));
    }
    EXPECT_EQ(world.metric(Metric::messages_published_total), 0u);
}

TEST(HttpPost, RefusalsHaveTheCodesOfTheProtocol) {
    struct Case {
        std::string request;
        uint16_t status;
        const char* code;
    };
    const Case cases[] = {
        {post("/topics/a/%23", "", "x"), 400, "invalid_topic"},
        {post("/topics/%4", "", "x"), 400, "invalid_topic"},
        {post("/topics/$SYS", "", "x"), 403, "forbidden"},
        {post("/topics/a", json, "{"), 400, "invalid_json"},
        {post("/topics/a", "text/plain", "\xff"), 400, "invalid_payload"},
        {get("/topics/a"), 405, "invalid_request"},
        {get("/api/publish"), 405, "invalid_request"},
        {get("/nothing"), 404, "invalid_request"},
        {post("/topics/a", json, std::string(65'537, '1')), 413, "too_large"},
    };
    World world;
    for (const Case& one : cases) {
        const Peer peer = world.connect();
        peer.send(one.request);
        const std::string response = peer.take_response();
        EXPECT_EQ(status_of(response), one.status) << one.request.substr(0, 60);
        EXPECT_EQ(code_of(response), one.code) << one.request.substr(0, 60);
        EXPECT_TRUE(has_line(response, "Content-Type: application/json"));
    }
}

TEST(HttpPost, ABrokerThatStopsIsUnavailable) {
    WorldOptions options;
    options.settings.connections_max = 1;
    World world(options);
    world.connect();
    for (const std::string& request :
         {post("/topics/a", json, "1"), batch(R"({"topic":"a","data":1})")}) {
        const Peer refused = world.connect();
        refused.send(request);
        const std::string response = refused.take_response();
        EXPECT_EQ(status_of(response), 503);
        EXPECT_EQ(code_of(response), "unavailable");
        EXPECT_TRUE(has_line(response, "Retry-After: 5"));
        refused.finish();
    }
    EXPECT_EQ(world.metric(Metric::messages_published_total), 0u);
}

TEST(HttpPost, PagesOfAllowedOriginsMayAskAndRead) {
    WorldOptions options;
    options.settings.allowed_origins = {"https://app.example"};
    World world(options);
    const Peer peer = world.connect();
    const std::string origin = "Origin: https://app.example\r\n";
    peer.send("OPTIONS /topics/a HTTP/1.1\r\nHost: localhost\r\n" + origin +
              "Access-Control-Request-Method: POST\r\n"
              "Access-Control-Request-Headers: content-type, idempotency-key\r\n\r\n");
    const std::string preflight = peer.take_bytes();
    EXPECT_EQ(status_of(preflight), 204);
    EXPECT_TRUE(preflight.ends_with("\r\n\r\n"));
    for (const char* line : {"Access-Control-Allow-Origin: https://app.example", "Vary: Origin",
                             "Access-Control-Allow-Methods: POST",
                             "Access-Control-Allow-Headers: content-type, idempotency-key"}) {
        EXPECT_TRUE(has_line(preflight, line)) << line;
    }
    for (const char* path : {"/topics/a", "/topics/a/%23"}) {  // one is taken, one is refused
        peer.send(post(path, json, "1", origin));
        EXPECT_TRUE(
            has_line(peer.take_response(), "Access-Control-Allow-Origin: https://app.example"))
            << path;
    }
    peer.send(post("/topics/a", json, "1"));
    EXPECT_EQ(peer.take_response().find("Access-Control"), std::string::npos)
        << "the connection may serve others next";
    const Peer foreign = world.connect();
    foreign.send(
        "OPTIONS /topics/a HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n\r\n");
    const std::string refused = foreign.take_response();
    EXPECT_EQ(status_of(refused), 403);
    EXPECT_EQ(refused.find("Access-Control"), std::string::npos);
}

TEST(HttpPostBatch, IsAnsweredInOrder) {
    for (const uint32_t shards_count : {1u, 3u}) {
        SCOPED_TRACE(shards_count);
        World world(with_history(shards_count));
        const Peer subscriber = world.client();
        subscriber.subscribe("#");
        const Peer peer = world.connect();
        // Topics of all shards, and one that keeps nothing.
        std::string messages = R"({"topic":"plain","text":"words"})";
        for (int number = 0; number < 40; ++number) {
            const std::string topic = "kept/" + std::to_string(number);
            messages += ",{\"topic\":\"" + topic + "\",\"data\":" + std::to_string(number) + "}";
        }
        peer.send(batch(messages));
        const std::string response = peer.take_response();
        EXPECT_EQ(status_of(response), 200);
        const std::vector<std::string> texts = subscriber.take_texts();
        EXPECT_EQ(texts.size(), 41u);
        // Every message was given the position that its result tells.
        size_t place = body_of(response).find("{\"results\":[{}") + 13;
        for (int number = 0; number < 40; ++number) {
            const std::string topic = "kept/" + std::to_string(number);
            const size_t begin = body_of(response).find("{\"pos\":\"", place) + 8;
            const size_t end = body_of(response).find('"', begin);
            const std::string position = body_of(response).substr(begin, end - begin);
            place = end;
            EXPECT_NE(
                std::find(texts.begin(), texts.end(),
                          message_text(topic, position, "\"data\":" + std::to_string(number))),
                texts.end())
                << topic << " at " << position;
        }
        EXPECT_EQ(world.metric(Metric::messages_published_total), 41u);
    }
}

TEST(HttpPostBatch, TakesEveryKindAndKeys) {
    World world(with_history(1));
    const Peer subscriber = world.client();
    subscriber.subscribe("#");
    const Peer peer = world.connect();
    const std::string request =
        batch(R"({"topic":"a","data":{"x":[1]}},{"text":"é","topic":"b"},)"
              R"({"topic":"c","base64":"AP8Q"},{"topic":"kept/a","data":1,"key":"k"},)"
              R"({"topic":"kept/a","data":1,"key":"k"},{"topic":"a","data":1,"key":"k"},)"
              R"({"topic":"a","data":1,"key":"k"})");
    const std::string position = world.position_text("kept/a", 1);
    peer.send(request);
    EXPECT_EQ(body_of(peer.take_response()),
              "{\"results\":[{},{},{},{\"pos\":\"" + position + "\"},{\"pos\":\"" + position +
                  "\",\"duplicate\":true},{},{\"duplicate\":true}]}\n");
    EXPECT_EQ(
        subscriber.take_texts(),
        (std::vector<std::string>{
            message_text("a", R"("data":{"x":[1]})"), message_text("b", R"("text":"é")"),
            message_text("c", R"("base64":"AP8Q")"),
            message_text("kept/a", position, R"("data":1)"), message_text("a", R"("data":1)")}));
}

TEST(HttpPostBatch, PublishesNothingOfWhatItRefuses) {
    struct Case {
        std::string body;
        uint16_t status;
        const char* code;
        const char* reason;
    };
    const std::string good = R"({"topic":"a","data":1})";
    const Case cases[] = {
        {"", 400, "invalid_json", ""},
        {"{\"messages\":[" + good, 400, "invalid_json", ""},
        {"[" + good + "]", 400, "invalid_command", "the body is not an object"},
        {"{}", 400, "invalid_command", "messages is missing"},
        {R"({"messages":{}})", 400, "invalid_command", "messages is not an array"},
        {R"({"messages":[]})", 400, "invalid_command", "the array is empty"},
        {R"({"messages":[1]})", 400, "invalid_command", "something else than objects"},
        {"{\"messages\":[" + good + "],\"sync\":true}", 400, "invalid_command", "another member"},
        {"{\"messages\":[" + good + R"(,{"topic":"a/#","data":1}]})", 400, "invalid_topic",
         "messages[1]: "},
        {"{\"messages\":[" + good + R"(,{"topic":"$SYS/a","data":1}]})", 403, "forbidden",
         "messages[1]: "},
        {"{\"messages\":[" + good + R"(,{"topic":"a"}]})", 400, "invalid_command", "messages[1]: "},
        {"{\"messages\":[" + good + R"(,{"topic":"a","base64":"?"}]})", 400, "invalid_payload",
         "messages[1]: "},
        {"{\"messages\":[" + good + R"(,{"topic":"a","data":1,"id":1}]})", 400, "invalid_command",
         "messages[1]: a message has no field \\\"id\\\""},
        {"{\"messages\":[" + good + R"(,{"topic":"a","data":1,"dat":1}]})", 400, "invalid_command",
         "messages[1]: no message has a field \\\"dat\\\""},
        {"{\"messages\":[" + good + R"(,{"topic":"a","data":1,"key":""}]})", 400, "invalid_command",
         "messages[1]: key is empty"},
    };
    World world;
    const Peer peer = world.connect();
    for (const Case& one : cases) {
        SCOPED_TRACE(one.body);
        peer.send(post("/api/publish", json, one.body));
        const std::string response = peer.take_response();
        EXPECT_EQ(status_of(response), one.status);
        EXPECT_EQ(code_of(response), one.code);
        EXPECT_NE(body_of(response).find(one.reason), std::string::npos) << body_of(response);
    }
    EXPECT_EQ(world.metric(Metric::messages_published_total), 0u);
}

TEST(HttpPostBatch, HasAThousandMessagesAtMost) {
    World world;
    const Peer peer = world.connect();
    std::string messages = R"({"topic":"a","data":1})";
    for (int count = 1; count < 1'000; ++count) messages += R"(,{"topic":"a","data":1})";
    peer.send(batch(messages));
    EXPECT_EQ(status_of(peer.take_response()), 200);
    EXPECT_EQ(world.metric(Metric::messages_published_total), 1'000u);
    peer.send(batch(messages + R"(,{"topic":"a","data":1})"));
    EXPECT_EQ(code_of(peer.take_response()), "invalid_command");
    EXPECT_EQ(world.metric(Metric::messages_published_total), 1'000u);
}

TEST(HttpPostBatch, IsOfTheAdminSurface) {
    WorldOptions options;
    options.listeners = {
        ListenerRole{.is_loopback = true, .serves_clients = true, .serves_admin = false},
        ListenerRole{.is_loopback = true, .serves_clients = false, .serves_admin = true}};
    World world(options);
    const Peer outside = world.connect(0, 0);
    outside.send(batch(R"({"topic":"a","data":1})"));
    EXPECT_EQ(status_of(outside.take_response()), 404);
    const Peer admin = world.connect(0, 1);
    admin.send(batch(R"({"topic":"a","data":1})"));
    EXPECT_EQ(status_of(admin.take_response()), 200);
}

// Batches of messages that another shard owns, over lanes that hold a few of them.
class RemoteBatch : public ::testing::Test {
  protected:
    static constexpr uint64_t memory_bytes_max = 64 * base::mib;

    static WorldOptions small_lanes() {
        WorldOptions options = with_history(3);
        options.settings.lane_bytes = 8 * base::kib;
        options.settings.memory_bytes_max = memory_bytes_max;
        return options;
    }
    // So many messages, over all shards; each counts up.
    std::string request(int messages_count) const {
        std::string messages;
        for (int number = 0; number < messages_count; ++number) {
            if (number > 0) messages += ',';
            messages += "{\"topic\":\"kept/" + std::to_string(number % 7) + "\",\"text\":\"" +
                        std::string(300, 'x') + std::to_string(number) + "\"}";
        }
        return batch(messages);
    }

    World world_{small_lanes()};
};

TEST_F(RemoteBatch, WaitsForRoomAndPublishesEachMessageOnce) {
    constexpr int messages_count = 150;
    const Peer subscriber = world_.client(1);
    subscriber.subscribe("kept/#");
    const Peer peer = world_.connect(0);
    peer.socket().inbound = request(messages_count) + get("/healthz");
    for (int count = 0; count < 10; ++count) world_.turn(0);
    EXPECT_GT(world_.metric(Metric::pauses_total), 0u) << "the lanes should be full";
    EXPECT_EQ(peer.take_bytes(), "");
    world_.settle();
    const std::string response = peer.take_response();
    EXPECT_EQ(status_of(response), 200);
    const std::string results = body_of(response);
    int positions_count = 0;
    for (size_t at = results.find("\"pos\""); at != std::string::npos;
         at = results.find("\"pos\"", at + 1)) {
        ++positions_count;
    }
    EXPECT_EQ(positions_count, messages_count);
    EXPECT_EQ(results.find("duplicate"), std::string::npos);
    EXPECT_EQ(body_of(peer.take_response()), "ok\n");
    EXPECT_EQ(subscriber.take_texts().size(), static_cast<size_t>(messages_count));
    EXPECT_EQ(world_.metric(Metric::messages_published_total),
              static_cast<uint64_t>(messages_count));
}

TEST_F(RemoteBatch, OfAClientThatResetMeanwhileIsCompleted) {
    const Peer peer = world_.connect(0);
    peer.socket().inbound = request(150);
    for (int count = 0; count < 10; ++count) world_.turn(0);
    peer.socket().error = ECONNRESET;  // which nobody notices before the answer
    world_.settle();
    EXPECT_TRUE(peer.is_closed());
    EXPECT_EQ(world_.metric(Metric::messages_published_total), 150u);
}

// A refusal says that nothing was published.
TEST_F(RemoteBatch, IsCompletedThoughMemoryRunsShortMeanwhile) {
    const Peer peer = world_.connect(0);
    peer.socket().inbound = request(150);
    for (int count = 0; count < 10; ++count) world_.turn(0);
    EXPECT_GT(world_.metric(Metric::pauses_total), 0u);
    world_.set_kernel_socket_bytes(memory_bytes_max);
    world_.settle();
    EXPECT_EQ(status_of(peer.take_response()), 200);
    EXPECT_EQ(world_.metric(Metric::messages_published_total), 150u);
    peer.send(request(1));
    EXPECT_EQ(status_of(peer.take_response()), 503);
    EXPECT_EQ(world_.metric(Metric::messages_published_total), 150u);
}

TEST_F(RemoteBatch, IsCutByAStop) {
    const Peer peer = world_.connect(0);
    peer.socket().inbound = request(150);
    for (int count = 0; count < 10; ++count) world_.turn(0);
    EXPECT_EQ(peer.take_bytes(), "");
    world_.request(io::Request::stop);
    world_.settle();
    const std::string response = peer.take_response();
    EXPECT_EQ(status_of(response), 503);
    EXPECT_TRUE(closes(response));
    peer.finish();
}

TEST(HttpPostBatchAnswers, OfTheLocalShardWaitForThoseOfOthers) {
    World world({.shards_count = 2});
    const Peer peer = world.connect(0);
    peer.socket().inbound =
        batch("{\"topic\":\"" + world.topic_owned_by(0) + "\",\"data\":1},{\"topic\":\"" +
              world.topic_owned_by(1) + "\",\"data\":2}");
    for (int count = 0; count < 5; ++count) world.turn(0);
    EXPECT_EQ(peer.take_bytes(), "") << "the other shard has not answered";
    world.settle();
    EXPECT_EQ(body_of(peer.take_response()), "{\"results\":[{},{}]}\n");
}

TEST(HttpPostBatchAnswers, ForAClientThatResetAreForgotten) {
    World world({.shards_count = 2});
    const Peer peer = world.connect(0);
    peer.socket().inbound = batch("{\"topic\":\"" + world.topic_owned_by(1) + "\",\"data\":1}");
    for (int count = 0; count < 5; ++count) world.turn(0);
    peer.socket().error = ECONNRESET;
    for (int count = 0; count < 5; ++count) world.turn(0);
    EXPECT_TRUE(peer.is_closed());
    world.settle();
    EXPECT_EQ(world.metric(Metric::messages_published_total), 1u);
}

}  // namespace
}  // namespace broker
