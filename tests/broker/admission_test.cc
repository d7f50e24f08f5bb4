#include "broker/admission.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/broker/shard_world.h"

namespace broker {
namespace {

using testing::Peer;
using testing::World;
using testing::WorldOptions;

const std::string proxy_address = "10.0.0.1";

WorldOptions two_per_address(uint32_t shards_count = 1) {
    WorldOptions options;
    options.shards_count = shards_count;
    options.settings.connections_per_address = 2;
    return options;
}

WorldOptions behind_proxies(bool proxy_protocol) {
    WorldOptions options = two_per_address();
    options.log_level = LogLevel::debug;
    options.settings.trusted_proxies = {"10.0.0.0/8", "2001:db8:ffff::/48"};
    options.settings.proxy_protocol = proxy_protocol;
    return options;
}

std::string forwarded_for(std::string_view value) {
    return "X-Forwarded-For: " + std::string(value) + "\r\n";
}

// A PROXY protocol header for a client at 192.0.2.`last`, or for the proxy itself.
std::string proxy_header(char last) {
    std::string header("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02", 19);
    header += last;
    return header + std::string("\x0a\0\0\1\x12\x34\0\x50", 8);
}
const std::string local_header("\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", 16);

uint16_t status_of(const std::string& response) {
    if (!response.starts_with("HTTP/1.1 ")) return 0;
    return static_cast<uint16_t>(std::stoi(response.substr(9, 3)));
}

uint16_t upgrade_status(const Peer& peer, std::string_view extra_fields = {}) {
    peer.send(Peer::upgrade_request(extra_fields));
    return status_of(peer.take_response());
}

// Who the broker says has been upgraded since the last call.
std::vector<std::string> upgraded_clients(World& world) {
    std::vector<std::string> clients;
    for (const std::string& line : world.take_log()) {
        const size_t at = line.find("msg=upgraded client=");
        if (at != std::string::npos) clients.push_back(line.substr(at + 20));
    }
    return clients;
}
using Clients = std::vector<std::string>;

TEST(Admission, AnAddressHasSoManyConnectionsOverAllShards) {
    World world(two_per_address(2));
    const Peer first = world.connect_from("192.0.2.1", 0);
    const Peer second = world.connect_from("192.0.2.1", 1);
    first.upgrade();
    second.upgrade();
    const Peer third = world.connect_from("192.0.2.1", 0);
    EXPECT_EQ(world.metric(Metric::connections_refused), 1U);
    third.send(Peer::upgrade_request());
    const std::string refusal = third.take_response();
    EXPECT_EQ(status_of(refusal), 429);
    EXPECT_NE(refusal.find("Retry-After: 5\r\n"), std::string::npos);
    EXPECT_NE(refusal.find("this address has as many connections as it may"), std::string::npos);
    EXPECT_EQ(world.refusals(Refused::connections_per_address), 1U);
    third.finish();
    EXPECT_EQ(world.metric(Metric::connections_refused), 0U);
    EXPECT_EQ(upgrade_status(world.connect_from("192.0.2.2")), 101);
    // Those that were refused took no place, and those that leave make one.
    const Peer again = world.connect_from("192.0.2.1", 1);
    EXPECT_EQ(upgrade_status(again), 429);
    again.finish();
    first.finish();
    EXPECT_EQ(upgrade_status(world.connect_from("192.0.2.1", 1)), 101);
}

TEST(Admission, ConnectionsCountWhateverTheyAsk) {
    World world(two_per_address());
    const Peer first = world.connect_from("2001:db8::1");
    world.connect_from("2001:db8::2");
    const Peer third = world.connect_from("2001:db8::3");
    third.send("POST /topics/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1");
    EXPECT_EQ(status_of(third.take_response()), 429);
    EXPECT_EQ(world.metric(Metric::messages_published_total), 0U);
    const Peer fourth = world.connect_from("2001:db8::4");
    fourth.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    EXPECT_EQ(status_of(fourth.take_response()), 200) << "a probe is answered all the same";
    EXPECT_EQ(upgrade_status(world.connect_from("2001:db8:0:1::1")), 101) << "another network";
    EXPECT_EQ(upgrade_status(first), 101);
}

TEST(Admission, FewWaitToBeToldAndTheOthersAreCut) {
    World world(two_per_address());
    std::vector<Peer> peers;
    for (int count = 0; count < 2 + 32; ++count) peers.push_back(world.connect_from("192.0.2.1"));
    for (const Peer& peer : peers) EXPECT_FALSE(peer.is_closed());
    EXPECT_TRUE(world.connect_from("192.0.2.1").is_closed());
    EXPECT_EQ(world.metric(Metric::connections), 34U);
    EXPECT_EQ(world.refusals(Refused::connections_per_address), 33U);
    peers[33].finish();
    EXPECT_FALSE(world.connect_from("192.0.2.1").is_closed()) << "one of them has been told";
    EXPECT_EQ(upgrade_status(world.connect_from("192.0.2.2")), 101);
}

TEST(Admission, WithoutALimitNobodyIsCounted) {
    World world;
    for (int count = 0; count < 50; ++count) {
        EXPECT_EQ(upgrade_status(world.connect_from("192.0.2.1")), 101);
    }
}

TEST(Admission, UpgradesHaveARateOverAllShards) {
    WorldOptions options;
    options.shards_count = 2;
    options.settings.upgrades_per_second = 4;
    World world(options);
    for (io::ShardId id = 0; id < 4; ++id) {
        EXPECT_EQ(upgrade_status(world.connect_from("192.0.2.1", id % 2)), 101);
    }
    for (io::ShardId id = 0; id < 2; ++id) {
        const Peer peer = world.connect_from("192.0.2.2", id);
        peer.send(Peer::upgrade_request());
        const std::string refusal = peer.take_response();
        EXPECT_EQ(status_of(refusal), 503);
        EXPECT_NE(refusal.find("Retry-After: 5\r\n"), std::string::npos);
        EXPECT_NE(refusal.find("too many WebSockets are being opened"), std::string::npos);
    }
    EXPECT_EQ(world.refusals(Refused::upgrade_rate), 2U);
    const Peer other = world.connect_from("192.0.2.3");
    other.send("POST /topics/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1");
    EXPECT_EQ(status_of(other.take_response()), 200) << "only upgrades are counted";
    world.run_for(base::ns_per_s / 4);
    EXPECT_EQ(upgrade_status(world.connect_from("192.0.2.3")), 101);
    EXPECT_EQ(upgrade_status(world.connect_from("192.0.2.3")), 503);
}

TEST(Admission, TheAddressIsKnown) {
    WorldOptions options;
    options.log_level = LogLevel::debug;
    World world(options);
    EXPECT_EQ(upgrade_status(world.connect_from("192.0.2.1")), 101);
    EXPECT_EQ(upgrade_status(world.connect_from("2001:db8::1")), 101);
    EXPECT_EQ(upgrade_status(world.connect_from("::ffff:192.0.2.2")), 101);
    EXPECT_EQ(upgrade_status(world.connect()), 101);
    EXPECT_EQ(upgraded_clients(world), (Clients{"192.0.2.1", "2001:db8::1", "192.0.2.2", "unix"}));
}

TEST(Admission, XForwardedForIsBelievedAsFarAsProxiesAreTrusted) {
    World world(behind_proxies(false));
    const auto client_of = [&](const std::string& address, const std::string& fields) {
        const Peer peer = world.connect_from(address);
        EXPECT_EQ(upgrade_status(peer, fields), 101);
        peer.finish();
        return upgraded_clients(world);
    };
    EXPECT_EQ(client_of(proxy_address, forwarded_for("192.0.2.1")), Clients{"192.0.2.1"});
    EXPECT_EQ(client_of(proxy_address, forwarded_for("192.0.2.9, 192.0.2.1, 10.7.7.7")),
              Clients{"192.0.2.1"})
        << "the first from the right that is no proxy; what is left of it, a client can make up";
    EXPECT_EQ(client_of(proxy_address, forwarded_for("192.0.2.9") + forwarded_for("192.0.2.1")),
              Clients{"192.0.2.1"});
    EXPECT_EQ(client_of("2001:db8:ffff::2", forwarded_for("[2001:db8::7]:1234")),
              Clients{"2001:db8::7"});
    EXPECT_EQ(client_of(proxy_address, forwarded_for("10.1.1.1, 10.2.2.2")), Clients{"10.1.1.1"})
        << "all of them are proxies";
    EXPECT_EQ(client_of(proxy_address, forwarded_for("192.0.2.1, unknown")), Clients{"10.0.0.1"});
    EXPECT_EQ(client_of(proxy_address, ""), Clients{"10.0.0.1"});
    EXPECT_EQ(client_of("192.0.2.3", forwarded_for("192.0.2.1")), Clients{"192.0.2.3"})
        << "who is not trusted says nothing";
}

TEST(Admission, UnixSocketsAreTrustedByName) {
    WorldOptions options;
    options.settings.trusted_proxies = {"unix"};
    options.log_level = LogLevel::debug;
    World world(options);
    EXPECT_EQ(upgrade_status(world.connect(), forwarded_for("192.0.2.1")), 101);
    EXPECT_EQ(upgrade_status(world.connect_from("192.0.2.2"), forwarded_for("192.0.2.1")), 101);
    EXPECT_EQ(upgraded_clients(world), (Clients{"192.0.2.1", "192.0.2.2"}));
}

TEST(Admission, ClientsBehindAProxyAreCountedAndProxiesAreNot) {
    World world(behind_proxies(false));
    std::vector<Peer> peers;
    for (int count = 0; count < 2; ++count) {
        peers.push_back(world.connect_from(proxy_address));
        EXPECT_EQ(upgrade_status(peers.back(), forwarded_for("192.0.2.1")), 101);
    }
    const Peer third = world.connect_from(proxy_address);
    EXPECT_EQ(upgrade_status(third, forwarded_for("192.0.2.1")), 429);
    EXPECT_EQ(upgrade_status(world.connect_from("192.0.2.1")), 429) << "also without the proxy";
    EXPECT_EQ(upgrade_status(world.connect_from(proxy_address), forwarded_for("192.0.2.2")), 101);
    for (int count = 0; count < 5; ++count) {
        EXPECT_EQ(upgrade_status(world.connect_from(proxy_address)), 101);
    }
    peers[0].finish();
    EXPECT_EQ(upgrade_status(world.connect_from(proxy_address), forwarded_for("192.0.2.1")), 101);
}

TEST(Admission, AProxyHeaderTellsTheClient) {
    World world(behind_proxies(true));
    for (int count = 0; count < 2; ++count) {
        const Peer peer = world.connect_from(proxy_address);
        peer.send(proxy_header(5) + Peer::upgrade_request(forwarded_for("192.0.2.77")));
        EXPECT_EQ(status_of(peer.take_response()), 101);
    }
    const Peer third = world.connect_from(proxy_address);
    for (const char byte : proxy_header(5)) third.send({&byte, 1});
    EXPECT_EQ(world.metric(Metric::connections_refused), 1U);
    EXPECT_EQ(upgrade_status(third), 429);
    const Peer other = world.connect_from(proxy_address);
    other.send(proxy_header(6));
    EXPECT_EQ(upgrade_status(other), 101);
    EXPECT_EQ(upgraded_clients(world), (Clients{"192.0.2.5", "192.0.2.5", "192.0.2.6"}));
}

TEST(Admission, AProxyMaySpeakForItself) {
    World world(behind_proxies(true));
    for (int count = 0; count < 5; ++count) {
        const Peer peer = world.connect_from(proxy_address);
        peer.send(local_header + "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        EXPECT_EQ(status_of(peer.take_response()), 200);
        EXPECT_EQ(upgrade_status(peer), 101) << "not limited";
    }
}

TEST(Admission, AProxyMustSayWhoItSpeaksFor) {
    World world(behind_proxies(true));
    const Peer silent = world.connect_from(proxy_address);
    silent.send(Peer::upgrade_request());
    const std::string refusal = silent.take_response();
    EXPECT_EQ(status_of(refusal), 400);
    EXPECT_NE(refusal.find("PROXY protocol v2"), std::string::npos);
    EXPECT_TRUE(silent.socket().write_shut);
    EXPECT_EQ(world.refusals(Refused::proxy_protocol), 1U);
    const Peer slow = world.connect_from(proxy_address);
    slow.send(proxy_header(5).substr(0, 20));
    world.run_for(world.settings.handshake_timeout_ns + base::ns_per_s);
    EXPECT_EQ(status_of(slow.take_response()), 408);
}

TEST(Admission, OnlyProxiesMaySayWhoTheySpeakFor) {
    World world(behind_proxies(true));
    EXPECT_EQ(upgrade_status(world.connect_from("192.0.2.1")), 101) << "no header is wanted";
    const Peer liar = world.connect_from("192.0.2.1");
    liar.send(proxy_header(5) + Peer::upgrade_request());
    EXPECT_EQ(status_of(liar.take_response()), 400);
    World off(behind_proxies(false));
    const Peer unexpected = off.connect_from(proxy_address);
    unexpected.send(proxy_header(5) + Peer::upgrade_request());
    EXPECT_EQ(status_of(unexpected.take_response()), 400);
}

TEST(Admission, ThoseBehindAProxyAreCutTooWhenEnoughWait) {
    World world(behind_proxies(true));
    for (int count = 0; count < 2 + 32; ++count) {
        const Peer peer = world.connect_from(proxy_address);
        peer.send(proxy_header(5));
        EXPECT_FALSE(peer.is_closed());
    }
    const Peer cut = world.connect_from(proxy_address);
    cut.send(proxy_header(5) + Peer::upgrade_request());
    EXPECT_EQ(cut.take_bytes(), "");
    EXPECT_TRUE(cut.is_closed());
}

TEST(Admission, EachLimitOfARequestIsCounted) {
    WorldOptions options;
    options.settings.http_head_bytes_max = 256;
    options.settings.message_bytes_max = 128;
    options.settings.connections_max = 4;
    options.settings.subscriptions_max = 1;
    World world(options);
    const Peer head = world.connect();
    head.send("GET / HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(300, 'x'));
    EXPECT_EQ(status_of(head.take_response()), 431);
    EXPECT_EQ(world.refusals(Refused::http_head), 1U);
    head.finish();
    const Peer body = world.connect();
    body.send("POST /topics/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 129\r\n\r\n");
    EXPECT_EQ(status_of(body.take_response()), 413);
    body.finish();
    const Peer dawdler = world.connect();
    dawdler.send("GET / HTT");
    world.run_for(world.settings.handshake_timeout_ns + base::ns_per_s);
    EXPECT_EQ(status_of(dawdler.take_response()), 408);
    EXPECT_EQ(world.refusals(Refused::handshake_timeout), 1U);
    dawdler.finish();
    const Peer client = world.client();
    client.say(R"({"op":"subscribe","filters":["a","b"]})");
    EXPECT_EQ(testing::error_code(client.take_texts()[0]), "too_many_subscriptions");
    EXPECT_EQ(world.refusals(Refused::subscriptions), 1U);
    client.say(std::string(129, ' '));
    EXPECT_EQ(client.take_frames()[0].close_code, 1009);
    EXPECT_EQ(world.refusals(Refused::message), 2U);
    std::vector<Peer> others;
    for (int count = 0; count < 4; ++count) others.push_back(world.connect());
    EXPECT_EQ(upgrade_status(others.back()), 503);
    EXPECT_EQ(world.refusals(Refused::connections), 1U);
}

}  // namespace
}  // namespace broker
