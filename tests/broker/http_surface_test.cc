#include "broker/http_surface.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "broker/embedded_files.h"
#include "tests/broker/http_text.h"
#include "tests/broker/shard_world.h"

namespace broker {
namespace {

using testing::body_of;
using testing::closes;
using testing::get;
using testing::Peer;
using testing::post;
using testing::status_of;
using testing::World;
using testing::WorldOptions;

struct Refusal {
    const char* what;
    std::string request;
    uint16_t status;
    bool closes;
};

// Requests that are refused whatever they ask for, or ask for what is not there.
std::vector<Refusal> refusals_of_requests() {
    return {
        {"nothing there", get("/nothing"), 404, false},
        {"not the path of topics", get("/topics"), 404, false},
        {"writing metrics", post("/metrics", "text/plain", "x"), 405, false},
        {"writing the client", post("/fanfare.js", "text/plain", "x"), 405, false},
        {"a foreign page", get("/fanfare.js", "Origin: https://evil.example\r\n"), 403, true},
        {"a foreign host", "GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403, true},
        {"no host", "GET /ws HTTP/1.1\r\n\r\n", 400, true},
        {"no HTTP", "hello\r\n\r\n", 400, true},
        {"another HTTP", "GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 505, true},
        {"chunks",
         "POST /topics/a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n", 501,
         true},
        {"a long head", get("/", "X: " + std::string(8'192, 'x') + "\r\n"), 431, true},
        {"an unknown expectation", get("/", "Expect: miracles\r\n"), 417, true},
    };
}

std::vector<Refusal> refusals_of_publishes() {
    const std::string too_big(65'537, 'x');
    return {
        {"reading a topic", get("/topics/a"), 405, false},
        {"an empty topic", post("/topics/", "text/plain", "x"), 400, false},
        {"a wildcard", post("/topics/a/%23", "text/plain", "x"), 400, false},
        {"a reserved topic", post("/topics/$SYS", "text/plain", "x"), 403, false},
        {"a broken escape", post("/topics/%4", "text/plain", "x"), 400, false},
        {"a control character", post("/topics/%00", "text/plain", "x"), 400, false},
        {"a topic that is not UTF-8", post("/topics/%ff", "text/plain", "x"), 400, false},
        {"broken JSON", post("/topics/a", "application/json", "{"), 400, false},
        {"empty JSON", post("/topics/a", "application/json", ""), 400, false},
        {"text that is not UTF-8", post("/topics/a", "text/plain", "\xff"), 400, false},
        {"a form that is not UTF-8", post("/topics/a", "application/x-www-form-urlencoded", "\xff"),
         400, false},
        {"a body beyond the limit", post("/topics/a", "text/plain", too_big), 413, true},
    };
}

std::vector<Refusal> refusals_of_upgrades() {
    const std::string wishes = "Upgrade: websocket\r\nConnection: Upgrade\r\n";
    const std::string key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    return {
        {"a plain GET", get("/ws"), 426, true},
        {"a POST", post("/ws", "text/plain", ""), 405, true},
        {"another version", get("/ws", wishes + key + "Sec-WebSocket-Version: 8\r\n"), 426, true},
        {"no key", get("/ws", wishes + "Sec-WebSocket-Version: 13\r\n"), 400, true},
        {"an unknown dialect", Peer::upgrade_request("Sec-WebSocket-Protocol: mqtt\r\n"), 400,
         true},
        {"a foreign origin", Peer::upgrade_request("Origin: https://evil.example\r\n"), 403, true},
        {"a foreign host", "GET /ws HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403, true},
    };
}

void expect_refusals(const std::vector<Refusal>& refusals) {
    World world;
    for (const Refusal& one : refusals) {
        SCOPED_TRACE(one.what);
        const Peer peer = world.connect();
        peer.send(one.request);
        const std::string response = peer.take_response();
        EXPECT_EQ(status_of(response), one.status);
        EXPECT_TRUE(body_of(response).starts_with("{\"op\":\"error\",\"code\":\"")) << "and why";
        EXPECT_EQ(closes(response), one.closes);
        EXPECT_EQ(peer.socket().write_shut, one.closes);
        if (one.closes) {
            EXPECT_FALSE(peer.is_closed()) << "first the peer may read the last words";
        } else {
            peer.send(get("/healthz"));
            EXPECT_EQ(status_of(peer.take_response()), 200) << "the connection is still good";
        }
        peer.finish();
        EXPECT_TRUE(peer.is_closed());
    }
    EXPECT_EQ(world.metric(Metric::messages_published_total), 0u);
}

TEST(HttpSurface, RefusesBadRequests) {
    expect_refusals(refusals_of_requests());
}

TEST(HttpSurface, RefusesBadPublishes) {
    expect_refusals(refusals_of_publishes());
}

TEST(HttpSurface, RefusesBadUpgrades) {
    expect_refusals(refusals_of_upgrades());
}

TEST(HttpSurface, RefusedUpgradesAreCounted) {
    World world;
    for (const Refusal& one : refusals_of_upgrades()) world.connect().send(one.request);
    world.client();
    const Peer peer = world.connect();
    peer.send(get("/metrics"));
    const std::string metrics = peer.take_response();
    for (const char* sample :
         {"fanfare_upgrades_total{status=\"101\"} 1\n",
          "fanfare_upgrades_total{status=\"400\"} 2\n",
          "fanfare_upgrades_total{status=\"403\"} 2\n",
          "fanfare_upgrades_total{status=\"405\"} 1\n",
          "fanfare_upgrades_total{status=\"426\"} 2\n", "fanfare_websockets{shard=\"0\"} 1\n",
          "fanfare_connections{shard=\"0\"} 9\n"}) {
        EXPECT_NE(metrics.find(sample), std::string::npos) << sample;
    }
}

TEST(HttpSurface, TheUpgradeIsAnsweredAndTheClientWelcomed) {
    World world;
    const Peer peer = world.connect();
    peer.send(Peer::upgrade_request("Sec-WebSocket-Protocol: other, fanfare.v1\r\n"));
    const std::string response = peer.take_response();
    EXPECT_EQ(status_of(response), 101);
    EXPECT_NE(response.find("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
              std::string::npos);
    EXPECT_NE(response.find("Sec-WebSocket-Protocol: fanfare.v1\r\n"), std::string::npos);
    const std::vector<std::string> texts = peer.take_texts();
    ASSERT_EQ(texts.size(), 1u);
    EXPECT_TRUE(texts[0].starts_with("{\"op\":\"welcome\",\"client\":\"")) << texts[0];
    EXPECT_TRUE(
        texts[0].ends_with("\"epoch\":\"epoch\",\"heartbeat_ms\":25000,\"timeout_ms\":20000,"
                           "\"max_message_bytes\":65536,\"max_subscriptions\":1024}"))
        << texts[0];
}

TEST(HttpSurface, WhatFollowsTheUpgradeIsTheWebSocketAndTheWelcomeComesFirst) {
    World world;
    const Peer peer = world.connect();
    peer.send(Peer::upgrade_request() +
              testing::client_frame(codec::Opcode::text,
                                    R"([{"op":"ping","id":1},{"op":"ping","id":2}])"));
    EXPECT_EQ(status_of(peer.take_response()), 101);
    const std::vector<std::string> texts = peer.take_texts();
    ASSERT_EQ(texts.size(), 3u);
    EXPECT_TRUE(texts[0].starts_with("{\"op\":\"welcome\""));
    EXPECT_EQ(texts[1], R"({"op":"pong","id":1})");
    EXPECT_EQ(texts[2], R"({"op":"pong","id":2})");
}

TEST(HttpSurface, TheUpgradeMayArriveByteByByte) {
    World world;
    const Peer peer = world.connect();
    peer.socket().recv_bytes_max = 1;
    peer.upgrade();
    peer.say(R"({"op":"ping","id":1})");
    EXPECT_EQ(peer.take_texts(), std::vector<std::string>{R"({"op":"pong","id":1})"});
}

TEST(HttpSurface, PublishesEveryKindByteForByte) {
    struct Case {
        const char* type;
        std::string body;
        std::string payload;  // as it stands in the message
    };
    const Case cases[] = {
        {"application/json", " {\"a\" : [1, 2.50]}\n", "\"data\": {\"a\" : [1, 2.50]}\n"},
        {"Application/JSON; charset=utf-8", "1e5", "\"data\":1e5"},
        {"application/problem+json", "null", "\"data\":null"},
        {"Application/Problem+JSON; charset=utf-8", "[1]", "\"data\":[1]"},
        {"json", "null", "\"base64\":\"bnVsbA==\""},
        {"text/plain", "say \"hi\"\n\xc3\xa9", "\"text\":\"say \\\"hi\\\"\\n\xc3\xa9\""},
        {"text/csv; header=absent", "a,b", "\"text\":\"a,b\""},
        {"application/x-www-form-urlencoded", "{\"is\":\"json\"}", "\"data\":{\"is\":\"json\"}"},
        {"application/x-www-form-urlencoded", "a=b&c=d", "\"text\":\"a=b&c=d\""},
        {"", "42", "\"data\":42"},
        {"", "just words", "\"text\":\"just words\""},
        {"text/plain", "", "\"text\":\"\""},
        {"application/octet-stream", std::string("\x00\xff\x10", 3), "\"base64\":\"AP8Q\""},
        {"image/png", "{}", "\"base64\":\"e30=\""},
    };
    World world;
    const Peer subscriber = world.client();
    subscriber.say(R"({"op":"subscribe","id":1,"filter":"#"})");
    subscriber.take_texts();
    const Peer publisher = world.connect();
    for (const Case& one : cases) {
        SCOPED_TRACE(one.type);
        publisher.send(post("/topics/a/b", one.type, one.body));
        const std::string response = publisher.take_response();
        EXPECT_EQ(status_of(response), 200);
        EXPECT_EQ(body_of(response), "{\"op\":\"published\"}\n");
        EXPECT_EQ(
            subscriber.take_texts(),
            std::vector<std::string>{"{\"op\":\"message\",\"topic\":\"a/b\"," + one.payload + "}"});
    }
}

TEST(HttpSurface, TopicsArePercentDecoded) {
    World world;
    const Peer subscriber = world.client();
    subscriber.say(R"({"op":"subscribe","id":1,"filter":"#"})");
    subscriber.take_texts();
    const Peer publisher = world.connect();
    publisher.send(post("/topics/caf%C3%A9%2Fs%20p%2fa?ignored=1", "application/json", "1"));
    EXPECT_EQ(status_of(publisher.take_response()), 200);
    EXPECT_EQ(subscriber.take_texts(),
              std::vector<std::string>{
                  "{\"op\":\"message\",\"topic\":\"caf\xc3\xa9/s p/a\",\"data\":1}"});
}

TEST(HttpSurface, TheLargestBodyIsTaken) {
    World world;
    const Peer publisher = world.connect();
    publisher.send(post("/topics/a", "text/plain", std::string(65'536, 'x')));
    EXPECT_EQ(status_of(publisher.take_response()), 200);
}

TEST(HttpSurface, PipelinedRequestsAreAnsweredInOrder) {
    for (const uint64_t piece : {1u, 7u, 16'384u}) {
        World world;
        const Peer peer = world.connect();
        peer.socket().recv_bytes_max = piece;
        peer.send(get("/nothing") + post("/topics/a", "text/plain", "x") + get("/healthz") +
                  get("/topics/a"));
        for (const int status : {404, 200, 200, 405}) {
            EXPECT_EQ(status_of(peer.take_response()), status);
        }
        EXPECT_EQ(peer.take_bytes(), "");
    }
}

TEST(HttpSurface, ConnectionCloseIsKept) {
    World world;
    const Peer peer = world.connect();
    peer.send(get("/healthz", "Connection: close\r\n") + get("/healthz"));
    const std::string response = peer.take_response();
    EXPECT_TRUE(closes(response));
    EXPECT_EQ(peer.take_bytes(), "") << "what follows is not answered";
    EXPECT_TRUE(peer.socket().write_shut);
}

TEST(HttpSurface, OldClientsAreAnsweredAndClosed) {
    World world;
    const Peer peer = world.connect();
    peer.send("GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n");
    EXPECT_EQ(status_of(peer.take_response()), 200);
    EXPECT_TRUE(peer.socket().write_shut);
}

TEST(HttpSurface, ExpectIsAnsweredOnceBeforeTheBody) {
    World world;
    const Peer peer = world.connect();
    const std::string request = post("/topics/a", "text/plain", "body", "Expect: 100-continue\r\n");
    peer.send(request.substr(0, request.size() - 4));
    EXPECT_EQ(peer.take_bytes(), "HTTP/1.1 100 Continue\r\n\r\n");
    peer.send("bo");
    EXPECT_EQ(peer.take_bytes(), "");
    peer.send("dy");
    EXPECT_EQ(status_of(peer.take_response()), 200);
    peer.send(request);
    EXPECT_EQ(status_of(peer.take_response()), 200)
        << "a body that is here already needs no invitation";
    peer.send(post("/topics/a", "text/plain", "", "Expect: 100-continue\r\n"));
    EXPECT_EQ(status_of(peer.take_response()), 200);
}

TEST(HttpSurface, TooLargeABodyIsRefusedBeforeItComes) {
    World world;
    const Peer peer = world.connect();
    peer.send(
        "POST /topics/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 65537\r\nExpect: "
        "100-continue\r\n\r\n");
    EXPECT_EQ(status_of(peer.take_response()), 413);
}

TEST(HttpSurface, TheAnswerToHeadHasNoBody) {
    World world;
    const Peer peer = world.connect();
    for (const char* path : {"/healthz", "/metrics", "/nothing", "/topics/a", "/fanfare.js"}) {
        peer.send("HEAD " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
        const std::string response = peer.take_bytes();
        EXPECT_TRUE(response.ends_with("\r\n\r\n")) << path << ": " << response;
        EXPECT_EQ(response.find("Content-Length: 0\r\n"), std::string::npos) << path;
    }
    peer.send(get("/healthz"));
    EXPECT_EQ(body_of(peer.take_response()), "ok\n");
}

TEST(HttpSurface, WhatIsAnsweredAfterHeadHasItsBody) {
    World world;
    const Peer peer = world.connect();
    peer.send("HEAD /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EXPECT_EQ(status_of(peer.take_bytes()), 200);
    peer.send("GET /heal");
    world.run_for(11 * base::ns_per_s);
    const std::string response = peer.take_response();
    EXPECT_EQ(status_of(response), 408);
    EXPECT_NE(body_of(response), "");
}

TEST(HttpSurface, WhatIsAnsweredToNobodysRequestIsForNoPage) {
    World world;
    const Peer peer = world.connect();
    peer.send(
        "POST /topics/a HTTP/1.1\r\nHost: localhost:7788\r\nOrigin: http://localhost:7788\r\n"
        "Content-Length: 1\r\n\r\n1");
    EXPECT_NE(peer.take_response().find("Access-Control-Allow-Origin"), std::string::npos);
    peer.send("GET /heal");
    world.run_for(11 * base::ns_per_s);
    const std::string response = peer.take_response();
    EXPECT_EQ(status_of(response), 408);
    EXPECT_EQ(response.find("Access-Control-Allow-Origin"), std::string::npos);
}

TEST(HttpSurface, ARequestThatDoesNotArriveIsTimedOut) {
    WorldOptions options;
    options.settings.handshake_timeout_ns = 10 * base::ns_per_s;
    World world(options);
    const Peer slow = world.connect();
    const Peer silent = world.connect();
    slow.send("GET /healthz HTT");
    world.run_for(9 * base::ns_per_s);
    EXPECT_EQ(slow.take_bytes(), "");
    EXPECT_FALSE(silent.socket().write_shut);
    world.run_for(1'200 * base::ns_per_ms);
    EXPECT_EQ(status_of(slow.take_response()), 408);
    EXPECT_TRUE(slow.socket().write_shut);
    EXPECT_EQ(silent.take_bytes(), "") << "who never asked gets no answer";
    EXPECT_TRUE(silent.socket().write_shut);
}

TEST(HttpSurface, DripFedRequestsGetNoMoreTime) {
    World world;
    const Peer peer = world.connect();
    for (const char character : std::string("GET /heal")) {
        peer.send(std::string(1, character));
        world.run_for(base::ns_per_s);
    }
    EXPECT_EQ(peer.take_bytes(), "");
    world.run_for(1'200 * base::ns_per_ms);
    EXPECT_EQ(status_of(peer.take_response()), 408);
}

TEST(HttpSurface, KeepAliveLastsItsTime) {
    World world;
    const Peer peer = world.connect();
    peer.send(get("/healthz"));
    EXPECT_EQ(status_of(peer.take_response()), 200);
    world.run_for(59 * base::ns_per_s);
    EXPECT_FALSE(peer.socket().write_shut);
    world.run_for(1'200 * base::ns_per_ms);
    EXPECT_TRUE(peer.socket().write_shut);
    EXPECT_EQ(peer.take_bytes(), "");
}

TEST(HttpSurface, OverTheLimitClientsAreToldSo) {
    WorldOptions options;
    options.settings.connections_max = 2;
    World world(options);
    world.client();
    const Peer second = world.client();
    const Peer third = world.connect();
    third.send(Peer::upgrade_request());
    const std::string response = third.take_response();
    EXPECT_EQ(status_of(response), 503);
    EXPECT_NE(response.find("Retry-After: "), std::string::npos);
    const Peer poster = world.connect();
    poster.send(post("/topics/a", "text/plain", "x"));
    EXPECT_EQ(status_of(poster.take_response()), 503);
    EXPECT_EQ(world.metric(Metric::connections_refused), 2u);
    // The refused ones have not hung up; they take nobody's place all the same.
    second.finish();
    const Peer next = world.client();
    for (const Peer& peer : {third, poster}) peer.finish();
    EXPECT_EQ(world.metric(Metric::connections_refused), 0u);
    next.say(R"({"op":"ping","id":1})");
    EXPECT_EQ(next.take_texts().size(), 1u) << "a place became free";
}

TEST(HttpSurface, WhoDoesNotReadAnswersIsNotReadFrom) {
    WorldOptions options;
    options.settings.outbound_soft_bytes = 20'000;
    World world(options);
    const Peer peer = world.connect();
    peer.stall();
    constexpr uint32_t requests_count = 200;
    for (uint32_t index = 0; index < requests_count; ++index)
        peer.socket().inbound += get("/metrics");
    world.settle();
    // One answer may pass the limit.
    EXPECT_LT(world.metric(Metric::outbound_bytes), 50'000u);
    EXPECT_GT(world.metric(Metric::pauses_total), 0u);
    peer.read_on();
    uint32_t responses_count = 0;
    while (status_of(peer.take_response()) == 200) ++responses_count;
    EXPECT_EQ(responses_count, requests_count);
}

TEST(HttpSurface, WhoNeverReadsAnswersIsCut) {
    WorldOptions options;
    options.settings.outbound_soft_bytes = 1'000;
    World world(options);
    const Peer peer = world.connect();
    peer.stall();
    peer.send(get("/metrics") + get("/metrics"));
    world.run_for(world.settings.handshake_timeout_ns + world.settings.close_timeout_ns +
                  base::ns_per_s);
    EXPECT_TRUE(peer.is_closed());
}

TEST(HttpSurface, AHalfClosedClientGetsItsAnswers) {
    World world;
    const Peer peer = world.connect();
    peer.socket().inbound = get("/healthz") + get("/nothing");
    peer.finish();
    EXPECT_EQ(status_of(peer.take_response()), 200);
    EXPECT_EQ(status_of(peer.take_response()), 404);
    EXPECT_TRUE(peer.is_closed());
}

TEST(HttpSurface, TheSurfaceDependsOnTheListener) {
    WorldOptions options;
    options.listeners = {
        ListenerRole{.is_loopback = false, .serves_clients = true, .serves_admin = false},
        ListenerRole{.is_loopback = true, .serves_clients = false, .serves_admin = true}};
    World world(options);
    const Peer outside = world.connect(0, 0);
    outside.send("GET /healthz HTTP/1.1\r\nHost: fanfare.example\r\n\r\n");
    EXPECT_EQ(status_of(outside.take_response()), 404);
    outside.send("POST /topics/a HTTP/1.1\r\nHost: fanfare.example\r\nContent-Length: 1\r\n\r\n1");
    EXPECT_EQ(status_of(outside.take_response()), 200);
    outside.send("GET /fanfare.js HTTP/1.1\r\nHost: fanfare.example\r\n\r\n");
    EXPECT_EQ(status_of(outside.take_response()), 200);
    const Peer admin = world.connect(0, 1);
    admin.send(get("/healthz"));
    EXPECT_EQ(status_of(admin.take_response()), 200);
    admin.send(Peer::upgrade_request());
    EXPECT_EQ(status_of(admin.take_response()), 404);
    admin.send(post("/topics/a", "text/plain", "x"));
    EXPECT_EQ(status_of(admin.take_response()), 404);
    admin.send(get("/fanfare.js"));
    EXPECT_EQ(status_of(admin.take_response()), 404);
}

TEST(HttpSurface, TheClientForBrowsersIsServed) {
    World world;
    const Peer peer = world.connect();
    for (const char* path : {"/fanfare.js", "/fanfare.js?version=1"}) {
        peer.send(get(path));
        const std::string response = peer.take_response();
        EXPECT_EQ(status_of(response), 200);
        EXPECT_NE(response.find("Content-Type: text/javascript; charset=utf-8\r\n"),
                  std::string::npos);
        EXPECT_NE(response.find("Cache-Control: no-cache\r\n"), std::string::npos);
        EXPECT_NE(response.find("Access-Control-Allow-Origin: *\r\n"), std::string::npos);
        EXPECT_EQ(body_of(response), browser_client().bytes);
    }
    EXPECT_NE(browser_client().bytes.find("export class Fanfare {"), std::string_view::npos);
    peer.send(get("/fanfare.js/"));
    EXPECT_EQ(status_of(peer.take_response()), 404);
}

TEST(HttpSurface, WhoHasAFileAlreadyIsNotSentItAgain) {
    World world;
    const Peer peer = world.connect();
    peer.send(get("/fanfare.js"));
    const std::string first = peer.take_response();
    const size_t begin = first.find("ETag: ") + 6;
    const std::string etag = first.substr(begin, first.find("\r\n", begin) - begin);
    EXPECT_EQ(etag, browser_client().etag);
    for (const std::string& known : {etag, "W/" + etag, "\"other\", " + etag, std::string("*")}) {
        peer.send(get("/fanfare.js", "If-None-Match: " + known + "\r\n"));
        const std::string response = peer.take_bytes();
        EXPECT_EQ(status_of(response), 304) << known;
        EXPECT_TRUE(response.ends_with("\r\n\r\n")) << "no body";
        EXPECT_NE(response.find("ETag: " + etag + "\r\n"), std::string::npos);
    }
    peer.send(get("/fanfare.js", "If-None-Match: \"other\"\r\n"));
    EXPECT_EQ(status_of(peer.take_response()), 200);
}

TEST(HttpSurface, ExamplesAreServedWhereTheyAreAskedFor) {
    const std::pair<const char*, EmbeddedFile> pages[] = {
        {"/examples/chat.html", example_chat()},
        {"/examples/dashboard.html", example_dashboard()},
        {"/examples/raw.html", example_raw()}};
    World without;
    WorldOptions options;
    options.settings.examples = true;
    World with(options);
    const Peer refused = without.connect();
    const Peer served = with.connect();
    for (const auto& [path, file] : pages) {
        refused.send(get(path));
        EXPECT_EQ(status_of(refused.take_response()), 404) << path;
        served.send(get(path));
        const std::string response = served.take_response();
        EXPECT_EQ(status_of(response), 200) << path;
        EXPECT_NE(response.find("Content-Type: text/html; charset=utf-8\r\n"), std::string::npos);
        EXPECT_EQ(body_of(response), file.bytes) << path;
    }
    served.send(get("/examples/nothing.html"));
    EXPECT_EQ(status_of(served.take_response()), 404);
}

TEST(HttpSurface, HealthAndReadinessAreTold) {
    World world;
    const Peer peer = world.connect();
    peer.send(get("/healthz") + get("/readyz"));
    EXPECT_EQ(body_of(peer.take_response()), "ok\n");
    EXPECT_EQ(body_of(peer.take_response()), "ready\n");
}

TEST(HttpSurface, AnotherShardThatHangsIsUnhealthy) {
    World world({.shards_count = 2});
    const Peer peer = world.connect(0);
    world.jump(6 * base::ns_per_s);
    peer.socket().inbound = get("/healthz");
    for (int count = 0; count < 5; ++count) world.turn(0);
    EXPECT_EQ(status_of(peer.take_response()), 503);
    world.settle();
    peer.send(get("/healthz"));
    EXPECT_EQ(status_of(peer.take_response()), 200);
}

// An answer that comes through the lanes: the owner is another shard.
class RemotePost : public ::testing::Test {
  protected:
    RemotePost() : world_({.shards_count = 2}), path_("/topics/" + world_.topic_owned_by(1)) {}

    // Turns of shard 0 only: the owner does not answer yet.
    void turn_alone() {
        for (int count = 0; count < 5; ++count) world_.turn(0);
    }

    World world_;
    const std::string path_;
};

TEST_F(RemotePost, IsAnsweredByTheOwner) {
    const Peer subscriber = world_.client(1);
    subscriber.say(R"({"op":"subscribe","id":1,"filter":"#"})");
    subscriber.take_texts();
    const Peer peer = world_.connect(0);
    peer.send(post(path_, "application/json", "1") + get("/healthz"));
    EXPECT_EQ(body_of(peer.take_response()), "{\"op\":\"published\"}\n");
    EXPECT_EQ(body_of(peer.take_response()), "ok\n");
    EXPECT_EQ(subscriber.take_texts().size(), 1u);
}

TEST_F(RemotePost, KeepsTheOrderOfAnswers) {
    const Peer peer = world_.connect(0);
    peer.socket().inbound = post(path_, "application/json", "1") + get("/healthz");
    turn_alone();
    EXPECT_EQ(peer.take_bytes(), "") << "the second request waits for the first";
    world_.settle();
    EXPECT_EQ(body_of(peer.take_response()), "{\"op\":\"published\"}\n");
    EXPECT_EQ(body_of(peer.take_response()), "ok\n");
}

TEST_F(RemotePost, BuffersALimitedAmountMeanwhile) {
    const Peer peer = world_.connect(0);
    peer.socket().inbound = post(path_, "application/json", "1");
    constexpr uint32_t requests_count = 6'000;
    for (uint32_t index = 0; index < requests_count; ++index)
        peer.socket().inbound += get("/healthz");
    const size_t all = peer.socket().inbound.size();
    for (int count = 0; count < 100; ++count) world_.turn(0);
    const size_t taken = all - peer.socket().inbound.size();
    EXPECT_GT(taken, 64u * 1024);
    EXPECT_LT(taken, 8u * 1024 + 64 * 1024 + 64 * 1024 + 3 * 16 * 1024);
    world_.settle();
    for (uint32_t index = 0; index <= requests_count; ++index) {
        ASSERT_EQ(status_of(peer.take_response()), 200) << index;
    }
}

TEST_F(RemotePost, OfAHalfClosedClientIsAnswered) {
    const Peer peer = world_.connect(0);
    peer.socket().inbound = post(path_, "application/json", "1");
    peer.socket().peer_finished = true;
    turn_alone();
    EXPECT_FALSE(peer.is_closed());
    world_.settle();
    EXPECT_EQ(status_of(peer.take_response()), 200);
    EXPECT_TRUE(peer.is_closed());
}

TEST_F(RemotePost, FollowedByAnUpgradeOfAHalfClosedClientEnds) {
    const Peer peer = world_.connect(0);
    peer.socket().inbound = post(path_, "application/json", "1") + Peer::upgrade_request();
    peer.socket().peer_finished = true;
    turn_alone();
    world_.settle();
    EXPECT_TRUE(peer.is_closed()) << "nothing would ever come from it";
}

TEST_F(RemotePost, OfAClientThatResetIsForgotten) {
    const Peer peer = world_.connect(0);
    peer.socket().inbound = post(path_, "application/json", "1");
    turn_alone();
    peer.socket().error = ECONNRESET;
    turn_alone();
    EXPECT_TRUE(peer.is_closed());
    world_.settle();
    EXPECT_EQ(world_.metric(Metric::messages_published_total), 1u);
}

TEST_F(RemotePost, IsNotTimedOutWhileTheOwnerIsSlow) {
    const Peer peer = world_.connect(0);
    peer.socket().inbound = post(path_, "application/json", "1");
    turn_alone();
    for (int second = 0; second < 30; ++second) {
        world_.jump(base::ns_per_s);
        turn_alone();
    }
    EXPECT_EQ(peer.take_bytes(), "");
    world_.settle();
    EXPECT_EQ(status_of(peer.take_response()), 200);
}

TEST(HttpSurfaceLanes, APublishWaitsForRoomAndIsDoneOnce) {
    WorldOptions options{.shards_count = 2};
    options.settings.lane_bytes = 8 * base::kib;
    World world(options);
    const Peer subscriber = world.client(0);
    const std::string topic = world.topic_owned_by(1);
    subscriber.say(R"({"op":"subscribe","id":1,"filter":")" + topic + "\"}");
    subscriber.take_texts();
    std::vector<Peer> publishers;
    publishers.reserve(40);
    for (int index = 0; index < 40; ++index) {
        publishers.push_back(world.connect(0));
    }
    for (const Peer& publisher : publishers) {
        publisher.socket().inbound = post("/topics/" + topic, "text/plain", std::string(900, 'x'));
    }
    for (int count = 0; count < 10; ++count) world.turn(0);
    EXPECT_GT(world.metric(Metric::pauses_total), 0u) << "the lane should be full";
    world.settle();
    for (const Peer& publisher : publishers) EXPECT_EQ(status_of(publisher.take_response()), 200);
    EXPECT_EQ(subscriber.take_texts().size(), publishers.size());
}

}  // namespace
}  // namespace broker
