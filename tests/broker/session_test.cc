#include "broker/session.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "codec/errors.h"
#include "tests/broker/shard_world.h"

namespace broker {
namespace {

using codec::Opcode;
using testing::array_of;
using testing::client_frame;
using testing::close_payload;
using testing::error_code;
using testing::Frame;
using testing::message_text;
using testing::Peer;
using testing::subscribed_text;
using testing::World;
using testing::WorldOptions;
using Texts = std::vector<std::string>;

TEST(Session, SubscribesPublishesAndUnsubscribes) {
    World world;
    const Peer reader = world.client();
    const Peer writer = world.client();
    reader.say(R"({"op":"subscribe","id":"s","filter":"news/+"})");
    EXPECT_EQ(reader.take_texts(), Texts{subscribed_text("\"s\"")});
    writer.say(R"({"op":"publish","id":1,"topic":"news/uk","data": {"n" : 1.0} })");
    EXPECT_EQ(writer.take_texts(), Texts{R"({"op":"published","id":1})"});
    EXPECT_EQ(reader.take_texts(), Texts{message_text("news/uk", R"("data":{"n" : 1.0})")});
    writer.say(R"({"op":"publish","topic":"news/de","text":"Gr\u00fc\u00dfe"})");
    EXPECT_EQ(writer.take_texts(), Texts{}) << "without an id a publish is not answered";
    EXPECT_EQ(reader.take_texts(), Texts{message_text("news/de",
                                                      "\"text\":\"Gr\xc3\xbc\xc3\x9f"
                                                      "e\"")});
    writer.say(R"({"op":"publish","topic":"news/fr","base64":"AP8Q"})");
    EXPECT_EQ(reader.take_texts(), Texts{message_text("news/fr", R"("base64":"AP8Q")")});
    writer.say(R"({"op":"publish","topic":"other","data":1})");
    EXPECT_EQ(reader.take_texts(), Texts{});
    reader.say(R"({"op":"unsubscribe","id":2,"filter":"news/+"})");
    EXPECT_EQ(reader.take_texts(), Texts{R"({"op":"unsubscribed","id":2})"});
    writer.say(R"({"op":"publish","topic":"news/uk","data":1})");
    EXPECT_EQ(reader.take_texts(), Texts{});
}

TEST(Session, AMessageComesOnceHoweverManyFiltersMatch) {
    World world;
    const Peer peer = world.client();
    peer.say(R"({"op":"subscribe","filters":["#","a/+","a/b","a/#"]})");
    peer.take_texts();
    peer.say(R"({"op":"publish","topic":"a/b","data":1})");
    EXPECT_EQ(peer.take_texts(), Texts{message_text("a/b", R"("data":1)")});
}

TEST(Session, EchoFalseLeavesThePublisherOut) {
    World world;
    const Peer publisher = world.client();
    const Peer other = world.client();
    for (const Peer& peer : {publisher, other}) peer.subscribe("a");
    publisher.say(R"({"op":"publish","id":1,"topic":"a","data":1,"echo":false})");
    EXPECT_EQ(publisher.take_texts(), Texts{R"({"op":"published","id":1})"});
    EXPECT_EQ(other.take_texts().size(), 1u);
    publisher.say(R"({"op":"publish","topic":"a","data":2,"echo":true})");
    EXPECT_EQ(publisher.take_texts().size(), 1u);
}

TEST(Session, PingsAreAnsweredInOrder) {
    World world;
    const Peer peer = world.client();
    peer.say(R"([{"op":"ping","id":1},{"op":"ping","id":"two"},{"op":"ping"}])");
    EXPECT_EQ(peer.take_texts(), (Texts{R"({"op":"pong","id":1})", R"({"op":"pong","id":"two"})",
                                        R"({"op":"pong"})"}));
}

TEST(Session, ErrorsNameTheirCode) {
    struct Case {
        const char* command;
        const char* code;
    };
    const Case cases[] = {
        {"{", "invalid_json"},
        {"", "invalid_json"},
        {R"({"op":"ping","op":"ping"})", "invalid_json"},
        {R"("ping")", "invalid_command"},
        {R"([[]])", "invalid_command"},
        {R"({"op":"dance","id":1})", "unknown_op"},
        {R"({"op":"ping","id":1.5})", "invalid_id"},
        {R"({"op":"ping","extra":1})", "invalid_command"},
        {R"({"op":"publish","topic":"a"})", "invalid_command"},
        {R"({"op":"publish","topic":"","data":1})", "invalid_topic"},
        {R"({"op":"publish","topic":"a/#","data":1})", "invalid_topic"},
        {R"({"op":"publish","topic":"$SYS/x","data":1})", "forbidden"},
        {R"({"op":"publish","topic":"a","base64":"***"})", "invalid_payload"},
        {R"({"op":"subscribe","filter":"a/#/b"})", "invalid_filter"},
        {R"({"op":"subscribe","filters":["good","a+"]})", "invalid_filter"},
        {R"({"op":"unsubscribe","filter":"never"})", "not_subscribed"},
        {R"({"op":"unsubscribe","filter":"a/#/b"})", "not_subscribed"},
        {R"({"op":"history","topic":"a","last":1})", "no_history"},
        {R"({"op":"history","topic":"a/+"})", "invalid_topic"},
        {R"({"op":"history","topic":"a","last":0})", "invalid_command"},
        {R"({"op":"subscribe","filter":"a","start":"then"})", "invalid_command"},
        {R"({"op":"subscribe","filter":"a","start":{"last":1000001}})", "invalid_command"},
        {R"({"op":"publish","topic":"a","data":1,"key":""})", "invalid_command"},
        {R"({"op":"auth","token":"x"})", "not_supported"},
    };
    World world;
    const Peer peer = world.client();
    uint64_t errors_count = 0;
    for (const Case& one : cases) {
        peer.say(one.command);
        const Texts texts = peer.take_texts();
        ASSERT_EQ(texts.size(), 1u) << one.command;
        EXPECT_EQ(error_code(texts[0]), one.code) << one.command;
        EXPECT_EQ(world.metric(Metric::errors_total), ++errors_count);
    }
    EXPECT_EQ(world.metric(Metric::subscriptions), 0u) << "a refused command changes nothing";
    EXPECT_EQ(world.metric(Metric::messages_published_total), 0u);
}

TEST(Session, AnErrorStopsNoOtherCommandOfItsFrame) {
    World world;
    const Peer peer = world.client();
    peer.say(R"([{"op":"ping","id":1},{"op":"dance","id":2},{"op":"ping","id":3}])");
    const Texts texts = peer.take_texts();
    ASSERT_EQ(texts.size(), 3u);
    EXPECT_EQ(texts[0], R"({"op":"pong","id":1})");
    EXPECT_TRUE(texts[1].starts_with(R"({"op":"error","id":2,"code":"unknown_op")"));
    EXPECT_EQ(texts[2], R"({"op":"pong","id":3})");
    EXPECT_EQ(world.metric(Metric::commands_total), 3u);
}

TEST(Session, ABrokenFrameExecutesNothing) {
    World world;
    const Peer peer = world.client();
    peer.say(R"([{"op":"subscribe","filter":"a"},{"op":"publish","topic":"a","data":{"x":}}])");
    EXPECT_EQ(peer.take_texts().size(), 1u);
    EXPECT_EQ(world.metric(Metric::subscriptions), 0u);
}

TEST(Session, ExecutesAThousandCommandsOfAFrameAndNotOneMore) {
    World world;
    const Peer peer = world.client();
    peer.subscribe("a");
    Texts commands;
    for (int index = 0; index < 1'000; ++index) {
        commands.push_back(R"({"op":"publish","topic":"a","data":)" + std::to_string(index) + "}");
    }
    peer.say(array_of(commands));
    const Texts texts = peer.take_texts();
    ASSERT_EQ(texts.size(), 1'000u);
    for (int index = 0; index < 1'000; ++index) {
        EXPECT_EQ(texts[static_cast<size_t>(index)],
                  message_text("a", "\"data\":" + std::to_string(index)));
    }
    commands.emplace_back(R"({"op":"ping"})");
    peer.say(array_of(commands));
    ASSERT_EQ(peer.take_texts().size(), 1u);
    EXPECT_EQ(world.metric(Metric::messages_published_total), 1'000u);
}

TEST(Session, SubscriptionsAreLimited) {
    WorldOptions options;
    options.settings.subscriptions_max = 3;
    World world(options);
    const Peer peer = world.client();
    peer.say(R"({"op":"subscribe","id":1,"filters":["a","b","c","d"]})");
    EXPECT_EQ(error_code(peer.take_texts().at(0)), "too_many_subscriptions");
    EXPECT_EQ(world.metric(Metric::subscriptions), 0u) << "all or none";
    peer.say(R"({"op":"subscribe","id":2,"filters":["a","b","c"]})");
    EXPECT_EQ(peer.take_texts(), Texts{subscribed_text("2")});
    peer.say(R"({"op":"subscribe","id":3,"filters":["c","a"]})");
    EXPECT_EQ(peer.take_texts(), Texts{subscribed_text("3")}) << "these are there already";
    peer.say(R"({"op":"subscribe","id":4,"filters":["a","d"]})");
    EXPECT_EQ(error_code(peer.take_texts().at(0)), "too_many_subscriptions");
    peer.say(R"({"op":"unsubscribe","id":5,"filters":["a"]})");
    peer.take_texts();
    peer.say(R"({"op":"subscribe","id":6,"filter":"d"})");
    EXPECT_EQ(peer.take_texts(), Texts{subscribed_text("6")});
    EXPECT_EQ(world.metric(Metric::subscriptions), 3u);
    EXPECT_EQ(world.metric(Metric::filters), 3u);
}

TEST(Session, UnsubscribeIsAllOrNothing) {
    World world;
    const Peer peer = world.client();
    peer.subscribe("a");
    peer.say(R"({"op":"unsubscribe","id":1,"filters":["a","b"]})");
    EXPECT_EQ(error_code(peer.take_texts().at(0)), "not_subscribed");
    peer.say(R"({"op":"publish","topic":"a","data":1})");
    EXPECT_EQ(peer.take_texts().size(), 1u);
}

TEST(Session, LimitsAndKindsOfFramesHaveTheirCloseCodes) {
    struct Case {
        const char* what;
        std::string bytes;
        uint16_t code;
    };
    const std::string unmasked("\x81\x02hi", 4);
    const Case cases[] = {
        {"binary", client_frame(Opcode::binary, "x"), 1003},
        {"not masked", unmasked, 1002},
        {"a reserved opcode", client_frame(static_cast<Opcode>(3), ""), 1002},
        {"a continuation of nothing", client_frame(Opcode::continuation, ""), 1002},
        {"a close code that must not be sent", client_frame(Opcode::close, close_payload(1005, "")),
         1002},
        {"text that is not UTF-8", client_frame(Opcode::text, "\xff"), 1007},
        {"a message beyond the limit", client_frame(Opcode::text, std::string(65'537, ' ')), 1009},
    };
    for (const Case& one : cases) {
        SCOPED_TRACE(one.what);
        World world;
        const Peer peer = world.client();
        peer.send(one.bytes + client_frame(Opcode::text, R"({"op":"ping","id":1})"));
        const std::vector<Frame> frames = peer.take_frames();
        ASSERT_EQ(frames.size(), 1u) << "nothing is executed after it";
        EXPECT_EQ(frames[0].kind, codec::Decoded::Kind::close);
        EXPECT_EQ(frames[0].close_code, one.code);
        EXPECT_NE(frames[0].payload, "");
        EXPECT_TRUE(peer.socket().write_shut);
        EXPECT_FALSE(peer.is_closed());
        peer.finish();
        EXPECT_TRUE(peer.is_closed());
        EXPECT_EQ(world.closed_count(one.code), 1u);
    }
}

TEST(Session, TheLargestMessageIsTaken) {
    World world;
    const Peer peer = world.client();
    const std::string command = R"({"op":"ping","id":1})";
    peer.say(command + std::string(65'536 - command.size(), ' '));
    EXPECT_EQ(peer.take_texts().size(), 1u);
}

TEST(Session, PingFramesAreEchoed) {
    World world;
    const Peer peer = world.client();
    const std::string longest(125, 'p');
    peer.send(client_frame(Opcode::ping, "") + client_frame(Opcode::ping, longest) +
              client_frame(Opcode::pong, "unasked"));
    EXPECT_EQ(peer.take_frames(), (std::vector<Frame>{{codec::Decoded::Kind::pong, 0, ""},
                                                      {codec::Decoded::Kind::pong, 0, longest}}));
}

// Two clients in turn, so that none of the pongs lies beside the one before it: each is two bytes
// and an entry of a list.
TEST(Session, PongsThatLieApartDoNotGrowTheirListWithoutEnd) {
    WorldOptions options;
    options.settings.outbound_soft_bytes = 4 * base::kib;
    World world(options);
    const Peer peers[] = {world.client(), world.client()};
    for (const Peer& peer : peers) peer.stall();
    constexpr uint32_t entries_max = 4 * base::kib / sizeof(Range);
    for (uint32_t count = 0; count < entries_max; ++count) {
        for (const Peer& peer : peers) peer.send(client_frame(Opcode::ping, ""));
    }
    EXPECT_EQ(world.metric(Metric::pauses_total), 0u);
    for (uint32_t count = 0; count < 3; ++count) {
        for (const Peer& peer : peers) peer.send(client_frame(Opcode::ping, ""));
    }
    EXPECT_EQ(world.metric(Metric::pauses_total), 2u);
    for (const Peer& peer : peers) {
        peer.read_on();
        world.settle();
        EXPECT_EQ(peer.take_frames().size(), entries_max + 3) << "none is lost";
    }
}

TEST(Session, FragmentsAreOneMessageAndCountedWhileTheyWait) {
    World world;
    const Peer peer = world.client();
    const std::string command = R"({"op":"ping","id":1})" + std::string(1'000, ' ');
    peer.send(client_frame(Opcode::text, command.substr(0, 500), false));
    EXPECT_GE(world.metric(Metric::reassembly_bytes), 500u);
    peer.send(client_frame(Opcode::ping, "between"));
    EXPECT_EQ(peer.take_frames().size(), 1u);
    peer.send(client_frame(Opcode::continuation, command.substr(500)));
    EXPECT_EQ(peer.take_texts(), Texts{R"({"op":"pong","id":1})"});
    peer.send(client_frame(Opcode::text, "x", false));
    EXPECT_GT(world.metric(Metric::reassembly_bytes), 0u);
    peer.fail(ECONNRESET);
    EXPECT_EQ(world.metric(Metric::reassembly_bytes), 0u);
}

TEST(Session, BytesMayArriveInAnyPieces) {
    for (const uint64_t piece : {1u, 2u, 3u, 50u}) {
        World world;
        const Peer peer = world.client();
        peer.socket().recv_bytes_max = piece;
        peer.socket().recv_ends_early = piece == 3;
        peer.socket().send_bytes_max = piece;
        peer.send(client_frame(Opcode::text, R"({"op":"subscribe","id":1,"filter":"a"})") +
                  client_frame(Opcode::text, R"({"op":"publish","topic":"a","data":[1,2,3]})"));
        EXPECT_EQ(peer.take_texts(),
                  (Texts{subscribed_text("1"), message_text("a", R"("data":[1,2,3])")}));
    }
}

TEST(Session, AClientsCloseIsEchoed) {
    for (const bool has_code : {true, false}) {
        World world;
        const Peer peer = world.client();
        peer.send(client_frame(Opcode::close, has_code ? close_payload(1000, "bye") : "") +
                  client_frame(Opcode::text, R"({"op":"ping","id":1})"));
        const std::vector<Frame> frames = peer.take_frames();
        ASSERT_EQ(frames.size(), 1u);
        EXPECT_EQ(frames[0].kind, codec::Decoded::Kind::close);
        EXPECT_EQ(frames[0].close_code, has_code ? 1000 : 1005);
        EXPECT_TRUE(peer.socket().write_shut);
        peer.finish();
        EXPECT_TRUE(peer.is_closed());
        EXPECT_EQ(world.closed_count(has_code ? 1000 : 1005), 1u);
    }
}

TEST(Session, TheEchoPathSendsEveryMessageBack) {
    WorldOptions options;
    options.settings.echo = true;
    World world(options);
    std::string request = Peer::upgrade_request("Sec-WebSocket-Protocol: anything\r\n");
    request.replace(request.find("/ws"), 3, "/echo");
    const Peer peer = world.connect();
    peer.send(request);
    const std::string response = peer.take_response();
    EXPECT_TRUE(response.starts_with("HTTP/1.1 101 "));
    EXPECT_NE(response.find("Sec-WebSocket-Protocol: anything\r\n"), std::string::npos);
    const std::string large(200'000, 'x');
    peer.send(client_frame(Opcode::text, "not JSON") + client_frame(Opcode::binary, large) +
              client_frame(Opcode::text, "in two ", false) +
              client_frame(Opcode::continuation, "parts"));
    EXPECT_EQ(peer.take_frames(),
              (std::vector<Frame>{{codec::Decoded::Kind::text, 0, "not JSON"},
                                  {codec::Decoded::Kind::binary, 0, large},
                                  {codec::Decoded::Kind::text, 0, "in two parts"}}));
}

TEST(Session, ThereIsNoEchoPathUnlessAskedFor) {
    World world;
    std::string request = Peer::upgrade_request();
    request.replace(request.find("/ws"), 3, "/echo");
    const Peer peer = world.connect();
    peer.send(request);
    EXPECT_TRUE(peer.take_response().starts_with("HTTP/1.1 404 "));
}

TEST(Session, ASlowConsumerIsClosedAtAFramesBoundary) {
    WorldOptions options;
    options.settings.outbound_soft_bytes = 2'000;
    options.settings.outbound_hard_bytes = 10'000;
    World world(options);
    const Peer slow = world.client();
    const Peer fast = world.client();
    const Peer publisher = world.client();
    for (const Peer& peer : {slow, fast}) peer.subscribe("a");
    slow.socket().send_room_bytes = 1'234;  // ends inside a frame
    const std::string command =
        R"({"op":"publish","topic":"a","text":")" + std::string(900, 'x') + "\"}";
    for (int count = 0; count < 10; ++count) publisher.say(command);
    EXPECT_EQ(world.metric(Metric::websockets), 3u) << "within the limit";
    for (int count = 0; count < 10; ++count) publisher.say(command);
    EXPECT_EQ(fast.take_texts().size(), 20u) << "others are not disturbed";
    EXPECT_EQ(world.metric(Metric::websockets), 2u);
    EXPECT_EQ(world.metric(Metric::subscriptions), 1u);
    slow.read_on();
    const std::vector<Frame> frames = slow.take_frames();
    ASSERT_GE(frames.size(), 2u);
    for (size_t index = 0; index + 1 < frames.size(); ++index) {
        EXPECT_EQ(frames[index].kind, codec::Decoded::Kind::text);
    }
    EXPECT_EQ(frames.back().close_code, 4100);
    EXPECT_TRUE(slow.socket().write_shut);
    slow.finish();
    EXPECT_TRUE(slow.is_closed());
    EXPECT_EQ(world.closed_count(4100), 1u);
}

TEST(Session, ASlowConsumerThatNeverReadsIsCut) {
    WorldOptions options;
    options.settings.outbound_soft_bytes = 2'000;
    options.settings.outbound_hard_bytes = 10'000;
    World world(options);
    const Peer slow = world.client();
    slow.subscribe("a");
    slow.stall();
    const Peer publisher = world.client();
    for (int count = 0; count < 20; ++count) {
        publisher.say(R"({"op":"publish","topic":"a","text":")" + std::string(900, 'x') + "\"}");
    }
    EXPECT_FALSE(slow.is_closed());
    world.run_for(world.settings.close_timeout_ns + base::ns_per_s);
    EXPECT_TRUE(slow.is_closed());
    EXPECT_EQ(world.metric(Metric::outbound_bytes), 0u);
}

// In the turn in which it passes the limit: what it says then could not be answered.
TEST(Session, AConnectionThatIsAboutToBeClosedIsNotListenedTo) {
    WorldOptions options;
    options.settings.outbound_soft_bytes = 1'024;
    options.settings.outbound_hard_bytes = 1'024;
    World world(options);
    const Peer reader = world.client();
    reader.subscribe("a");
    const Peer deaf = world.client();
    deaf.stall();
    std::vector<std::string> commands(500, R"({"op":"ping","id":1})");
    commands.push_back(R"({"op":"publish","topic":"a","data":1})");
    deaf.say(array_of(commands));
    EXPECT_EQ(world.metric(Metric::websockets), 1U);
    EXPECT_LT(world.metric(Metric::commands_total), 100U);
    EXPECT_TRUE(reader.take_texts().empty());
    deaf.read_on();
    EXPECT_EQ(deaf.take_frames().back().close_code, 4100);
}

TEST(Session, AMessageLargerThanTheLimitReachesAnEmptyQueue) {
    WorldOptions options;
    options.settings.outbound_soft_bytes = 1'000;
    options.settings.outbound_hard_bytes = 1'024;
    World world(options);
    const Peer peer = world.client();
    peer.subscribe("a");
    peer.say(R"({"op":"publish","topic":"a","text":")" + std::string(60'000, 'x') + "\"}");
    EXPECT_EQ(peer.take_texts().size(), 1u);
}

TEST(Session, WhoDoesNotReadItsRepliesIsNotReadFrom) {
    WorldOptions options;
    options.settings.outbound_soft_bytes = 1'000;
    World world(options);
    const Peer peer = world.client();
    peer.stall();
    constexpr int pings_count = 2'000;
    for (int index = 0; index < pings_count; ++index) {
        peer.socket().inbound +=
            client_frame(Opcode::text, R"({"op":"ping","id":)" + std::to_string(index) + "}");
    }
    world.settle();
    EXPECT_LT(world.metric(Metric::outbound_bytes), 1'100u);
    EXPECT_FALSE(peer.socket().inbound.empty()) << "the rest stays in the kernel";
    EXPECT_FALSE(peer.socket().recv_armed);
    EXPECT_EQ(world.metric(Metric::pauses_total), 1u);
    peer.read_on();
    const Texts texts = peer.take_texts();
    ASSERT_EQ(texts.size(), static_cast<size_t>(pings_count));
    for (int index = 0; index < pings_count; ++index) {
        EXPECT_EQ(texts[static_cast<size_t>(index)],
                  R"({"op":"pong","id":)" + std::to_string(index) + "}");
    }
    EXPECT_TRUE(peer.socket().recv_armed);
}

TEST(Session, APauseCanFallIntoTheMiddleOfAFrame) {
    WorldOptions options;
    options.settings.outbound_soft_bytes = 1'000;
    World world(options);
    const Peer peer = world.client();
    peer.stall();
    Texts commands;
    for (int index = 0; index < 1'000; ++index) {
        commands.push_back(R"({"op":"ping","id":)" + std::to_string(index) + "}");
    }
    peer.send(client_frame(Opcode::text, array_of(commands)) + client_frame(Opcode::ping, "after"));
    EXPECT_LT(world.metric(Metric::commands_total), 100u);
    peer.read_on();
    const std::vector<Frame> frames = peer.take_frames();
    ASSERT_EQ(frames.size(), 1'001u);
    EXPECT_EQ(frames[999].payload, R"({"op":"pong","id":999})");
    EXPECT_EQ(frames[1'000].kind, codec::Decoded::Kind::pong);
    EXPECT_EQ(world.metric(Metric::commands_total), 1'000u) << "each once";
}

TEST(Session, WhatWasSaidBeforeTheEndIsStillDone) {
    WorldOptions options;
    options.settings.outbound_soft_bytes = 1'000;
    World world(options);
    const Peer reader = world.client();
    reader.subscribe("a");
    const Peer peer = world.client();
    peer.stall();
    Texts commands;
    for (int index = 0; index < 100; ++index) commands.push_back(R"({"op":"ping","id":1234567})");
    commands.emplace_back(R"({"op":"publish","topic":"a","data":1})");
    peer.socket().inbound = client_frame(Opcode::text, array_of(commands));
    peer.finish();
    EXPECT_EQ(reader.take_texts(), Texts{});
    peer.read_on();
    EXPECT_EQ(reader.take_texts().size(), 1u);
    EXPECT_TRUE(peer.is_closed());
}

TEST(Session, AResetEndsAPausedConnectionToo) {
    WorldOptions options;
    options.settings.outbound_soft_bytes = 1'000;
    World world(options);
    const Peer peer = world.client();
    peer.stall();
    for (int index = 0; index < 100; ++index)
        peer.socket().inbound += client_frame(Opcode::ping, "0123456789");
    world.settle();
    ASSERT_EQ(world.metric(Metric::pauses_total), 1u);
    peer.fail(ECONNRESET);
    EXPECT_TRUE(peer.is_closed());
    EXPECT_EQ(world.closed_count(1006), 1u);
}

}  // namespace
}  // namespace broker
