#include "broker/pacing.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/broker/shard_world.h"

namespace broker {
namespace {

using codec::Opcode;
using testing::array_of;
using testing::client_frame;
using testing::error_code;
using testing::Frame;
using testing::message_text;
using testing::Peer;
using testing::World;
using testing::WorldOptions;
using Texts = std::vector<std::string>;

const std::string ping = R"({"op":"ping","id":1})";
const std::string pong = R"({"op":"pong","id":1})";

// Ten per second, after sixteen at once.
WorldOptions ten_commands() {
    WorldOptions options;
    options.settings.commands_per_second = 10;
    options.settings.subscriptions_max = 8;
    return options;
}

WorldOptions five_publishes() {
    WorldOptions options;
    options.settings.publishes_per_second = 5;
    return options;
}

std::string publish_command(int id) {
    return R"({"op":"publish","id":)" + std::to_string(id) + R"(,"topic":"a","data":0})";
}

TEST(Pacing, IsOffUnlessItIsSet) {
    World world;
    const Peer peer = world.client();
    for (int round = 0; round < 5; ++round) {
        peer.say(array_of(Texts(1'000, ping)));
        EXPECT_EQ(peer.take_texts(), Texts(1'000, pong));
    }
}

TEST(Pacing, CommandsBeyondTheRateAreRefused) {
    World world(ten_commands());
    const Peer peer = world.client();
    peer.say(array_of(Texts(16, ping)));
    EXPECT_EQ(peer.take_texts(), Texts(16, pong));
    peer.say(ping);
    EXPECT_EQ(peer.take_texts(), Texts{R"({"op":"error","id":1,"code":"rate_limited",)"
                                       R"("reason":"this connection asks faster than it may",)"
                                       R"("retry_ms":100})"});
    EXPECT_EQ(world.refusals(Refused::command_rate), 1U);
    world.run_for(99 * base::ns_per_ms);
    peer.say(ping);
    EXPECT_EQ(error_code(peer.take_texts()[0]), "rate_limited");
    world.run_for(base::ns_per_ms);
    peer.say(array_of({ping, ping}));
    const Texts texts = peer.take_texts();
    EXPECT_EQ(texts[0], pong);
    EXPECT_EQ(error_code(texts[1]), "rate_limited");
    EXPECT_EQ(world.metric(Metric::errors_total), 3U);
    // Another connection has a rate of its own.
    const Peer other = world.client();
    other.say(ping);
    EXPECT_EQ(other.take_texts(), Texts{pong});
}

TEST(Pacing, ARefusedCommandIsNotExecuted) {
    World world(ten_commands());
    const Peer peer = world.client();
    peer.say(array_of(Texts(16, ping)));
    peer.take_texts();
    peer.say(R"({"op":"subscribe","id":2,"filter":"a"})");
    EXPECT_EQ(error_code(peer.take_texts()[0]), "rate_limited");
    EXPECT_EQ(world.metric(Metric::subscriptions), 0U);
}

TEST(Pacing, WhoComesBackWithAllItsSubscriptionsIsNotRefused) {
    WorldOptions options;
    options.settings.commands_per_second = 1;
    World world(options);
    const Peer peer = world.client();
    for (uint64_t count = 0; count < options.settings.subscriptions_max; ++count) {
        peer.say(R"({"op":"subscribe","filter":"t/)" + std::to_string(count) + "\"}");
        peer.say(R"({"op":"unsubscribe","filter":"t/)" + std::to_string(count) + "\"}");
    }
    EXPECT_EQ(peer.take_texts().size(), 2 * options.settings.subscriptions_max);
    EXPECT_EQ(world.refusals(Refused::command_rate), 0U);
    peer.say(ping);
    EXPECT_EQ(error_code(peer.take_texts()[0]), "rate_limited");
}

TEST(Pacing, WhatIsNoCommandCountsAsOne) {
    World world(ten_commands());
    const Peer peer = world.client();
    for (int count = 0; count < 16; ++count) {
        peer.say("{");
        EXPECT_EQ(error_code(peer.take_texts()[0]), "invalid_json");
    }
    peer.say("{");
    EXPECT_EQ(error_code(peer.take_texts()[0]), "rate_limited");
}

TEST(Pacing, ControlFramesCountAndAreNotAnsweredBeyondTheRate) {
    World world(ten_commands());
    const Peer peer = world.client();
    std::string pings;
    for (int count = 0; count < 8; ++count) {
        pings += client_frame(Opcode::ping, "x") + client_frame(Opcode::pong, "x");
    }
    peer.send(pings);
    EXPECT_EQ(peer.take_frames().size(), 8U);
    EXPECT_EQ(world.refusals(Refused::command_rate), 0U);
    peer.send(client_frame(Opcode::ping, "y"));
    peer.send(client_frame(Opcode::pong, "y"));
    EXPECT_EQ(peer.take_frames().size(), 0U);
    EXPECT_EQ(world.refusals(Refused::command_rate), 2U);
    world.run_for(100 * base::ns_per_ms);
    peer.send(client_frame(Opcode::ping, "z"));
    EXPECT_EQ(peer.take_frames().size(), 1U);
}

TEST(Pacing, WhoGoesOnAllTheSameIsClosed) {
    World world(ten_commands());
    const Peer peer = world.client();
    peer.say(array_of(Texts(16, ping)));
    peer.take_texts();
    peer.say(array_of(Texts(Pacing::refusals_burst, ping)));
    const Texts refusals = peer.take_texts();
    EXPECT_EQ(refusals.size(), Pacing::refusals_burst);
    EXPECT_EQ(error_code(refusals.back()), "rate_limited");
    peer.say(array_of({ping, ping}));
    const std::vector<Frame> frames = peer.take_frames();
    ASSERT_EQ(frames.size(), 3U) << "the error, the goodbye, the Close frame, and nothing more";
    EXPECT_EQ(error_code(frames[0].payload), "rate_limited");
    EXPECT_TRUE(frames[1].payload.starts_with(R"({"op":"goodbye","code":"rate_limited",)"));
    EXPECT_TRUE(frames[1].payload.ends_with(R"("retry_ms":1600})"));
    EXPECT_EQ(frames[2].close_code, 4101);
    peer.finish();
    EXPECT_TRUE(peer.is_closed());
    EXPECT_EQ(world.closed_count(4101), 1U);
}

// The rest of a frame whose commands had to wait for their client stands in memory that the close
// gives up.
TEST(Pacing, WhoGoesOnIsClosedInTheMiddleOfAFrameThatHadToWait) {
    WorldOptions options = ten_commands();
    options.settings.outbound_soft_bytes = 1'024;
    World world(options);
    const Peer peer = world.client();
    peer.say(array_of(Texts(1'000, ping)));
    EXPECT_EQ(peer.take_texts().size(), 1'000U);
    EXPECT_GT(world.metric(Metric::pauses_total), 1U);
    peer.say(array_of(Texts(1'000, ping)));
    const std::vector<Frame> frames = peer.take_frames();
    EXPECT_EQ(frames.size(), 17U + 2U);
    EXPECT_EQ(frames.back().close_code, 4101);
    peer.finish();
    EXPECT_TRUE(peer.is_closed());
}

TEST(Pacing, WhoIsRefusedNowAndThenIsNotClosed) {
    World world(ten_commands());
    const Peer peer = world.client();
    for (int seconds = 0; seconds < 200; ++seconds) {
        peer.say(array_of(Texts(20, ping)));  // ten too many, each second
        EXPECT_EQ(peer.take_texts().size(), 20U);
        world.run_for(base::ns_per_s);
        // The broker's own pings.
        static_cast<void>(peer.take_frames());
    }
    EXPECT_GE(world.refusals(Refused::command_rate), 1'900U);
    EXPECT_FALSE(peer.is_closed());
}

TEST(Pacing, FloodsOfControlFramesAreClosed) {
    World world(ten_commands());
    const Peer peer = world.client();
    std::string pings;
    for (uint64_t count = 0; count < 16 + Pacing::refusals_burst; ++count) {
        pings += client_frame(Opcode::ping, "");
    }
    peer.send(pings);
    EXPECT_EQ(peer.take_frames().size(), 16U);
    peer.send(client_frame(Opcode::ping, ""));
    EXPECT_EQ(peer.take_frames().back().close_code, 4101);
}

TEST(Pacing, PublishesHaveARateOfTheirOwn) {
    World world(five_publishes());
    const Peer reader = world.client();
    reader.subscribe("a");
    const Peer writer = world.client();
    for (int id = 1; id <= 5; ++id) writer.say(publish_command(id));
    EXPECT_EQ(writer.take_texts().back(), R"({"op":"published","id":5})");
    writer.say(publish_command(6));
    const Texts texts = writer.take_texts();
    EXPECT_EQ(error_code(texts[0]), "rate_limited");
    EXPECT_NE(texts[0].find(R"("retry_ms":200})"), std::string::npos);
    writer.say(array_of(Texts(100, ping)));
    EXPECT_EQ(writer.take_texts(), Texts(100, pong)) << "other commands are not limited";
    EXPECT_EQ(world.refusals(Refused::publish_rate), 1U);
    EXPECT_EQ(world.refusals(Refused::command_rate), 0U);
    EXPECT_EQ(reader.take_texts(), Texts(5, message_text("a", R"("data":0)")));
    world.run_for(200 * base::ns_per_ms);
    writer.say(publish_command(7));
    EXPECT_EQ(writer.take_texts(), Texts{R"({"op":"published","id":7})"});
}

TEST(Pacing, ABurstOfPublishesPassesWholeInOneFrame) {
    WorldOptions options;
    options.settings.publishes_per_second = 7;  // which does not divide a second
    World world(options);
    const Peer writer = world.client();
    Texts commands;
    for (int id = 1; id <= 8; ++id) commands.push_back(publish_command(id));
    writer.say(array_of(commands));
    const Texts texts = writer.take_texts();
    ASSERT_EQ(texts.size(), 8U);
    EXPECT_EQ(texts[6], R"({"op":"published","id":7})");
    EXPECT_EQ(error_code(texts[7]), "rate_limited");
}

TEST(Pacing, TheWelcomeTellsTheRates) {
    WorldOptions options;
    options.settings.commands_per_second = 100;
    options.settings.publishes_per_second = 10;
    World world(options);
    const Peer peer = world.connect();
    peer.send(Peer::upgrade_request());
    peer.take_response();
    EXPECT_TRUE(peer.take_texts()[0].ends_with(
        R"("max_commands_per_second":100,"max_publishes_per_second":10})"));
}

TEST(Pacing, TheAnswerToABrokersPingIsFree) {
    WorldOptions options;
    options.settings.commands_per_second = 1;
    options.settings.subscriptions_max = 1;  // a burst of two
    World world(options);
    const Peer peer = world.client();
    world.run_for(options.settings.heartbeat_interval_ns + base::ns_per_s);
    const std::vector<Frame> frames = peer.take_frames();
    ASSERT_EQ(frames.size(), 1U);
    ASSERT_EQ(frames[0].kind, codec::Decoded::Kind::ping);
    const std::string answer = client_frame(Opcode::pong, frames[0].payload);
    peer.send(answer);
    peer.say(array_of({ping, ping}));
    EXPECT_EQ(peer.take_texts(), Texts(2, pong));
    EXPECT_EQ(world.refusals(Refused::command_rate), 0U);
    peer.send(answer);
    EXPECT_EQ(world.refusals(Refused::command_rate), 1U) << "said twice";
}

std::string publish_in_series(int id, int series) {
    std::string command = publish_command(id);
    command.insert(command.size() - 1, ",\"series\":" + std::to_string(series));
    return command;
}

// What was sent before the refusal was read does not overtake what was refused.
TEST(Pacing, AfterARefusedPublishTheRestOfItsSeriesIsRefused) {
    World world(five_publishes());
    const Peer writer = world.client();
    Texts commands;
    for (int id = 1; id <= 6; ++id) commands.push_back(publish_in_series(id, 1));
    writer.say(array_of(commands));
    EXPECT_EQ(error_code(writer.take_texts().back()), "rate_limited");
    world.run_for(base::ns_per_s / 2);  // room for two
    writer.say(publish_in_series(7, 1));
    const Texts texts = writer.take_texts();
    EXPECT_EQ(error_code(texts[0]), "rate_limited");
    EXPECT_TRUE(texts[0].ends_with(R"("retry_ms":1})")) << texts[0];
    writer.say(publish_in_series(6, 2));
    EXPECT_EQ(writer.take_texts(), Texts{R"({"op":"published","id":6})"});
    writer.say(publish_command(8));
    EXPECT_EQ(writer.take_texts(), Texts{R"({"op":"published","id":8})"}) << "of no series";
    EXPECT_EQ(world.refusals(Refused::publish_rate), 2U);
}

TEST(Pacing, ARefusedPublishOfNoSeriesBreaksNone) {
    World world(five_publishes());
    const Peer writer = world.client();
    Texts commands;
    for (int id = 1; id <= 5; ++id) commands.push_back(publish_in_series(id, 1));
    commands.push_back(publish_command(6));
    writer.say(array_of(commands));
    EXPECT_EQ(error_code(writer.take_texts().back()), "rate_limited");
    world.run_for(base::ns_per_s / 5);
    writer.say(publish_in_series(7, 1));
    EXPECT_EQ(writer.take_texts(), Texts{R"({"op":"published","id":7})"});
}

TEST(Pacing, WhoGoesOnWithABrokenSeriesIsClosed) {
    World world(five_publishes());
    const Peer writer = world.client();
    for (int id = 1; id <= 6; ++id) writer.say(publish_in_series(id, 1));
    writer.take_texts();
    world.run_for(base::ns_per_s);
    Texts commands(Pacing::refusals_burst, publish_in_series(7, 1));
    writer.say(array_of(commands));
    writer.say(publish_in_series(8, 1));
    EXPECT_EQ(writer.take_frames().back().close_code, 4101);
}

TEST(Pacing, ACommandThatWaitsPaysOnce) {
    WorldOptions options;
    options.shards_count = 2;
    options.settings.commands_per_second = 1;
    options.settings.subscriptions_max = 1;  // a burst of two
    World world(options);
    const Peer peer = world.client();
    // The second waits for the first, which waits for the other shard.
    peer.say(array_of({R"({"op":"subscribe","id":1,"filter":"#"})",
                       R"({"op":"unsubscribe","id":2,"filter":"#"})", ping}));
    const Texts texts = peer.take_texts();
    ASSERT_EQ(texts.size(), 3U);
    EXPECT_EQ(error_code(texts[0]), "rate_limited") << "errors overtake";
    EXPECT_TRUE(texts[1].starts_with(R"({"op":"subscribed")"));
    EXPECT_EQ(texts[2], R"({"op":"unsubscribed","id":2})");
    EXPECT_GE(world.metric(Metric::pauses_total), 1U);
}

TEST(Pacing, TheEchoPathKnowsNoRates) {
    WorldOptions options = ten_commands();
    options.settings.echo = true;
    options.settings.inbound_bytes_per_second = base::kib;
    options.settings.fragments_max = 2;
    World world(options);
    const Peer peer = world.connect();
    std::string request = Peer::upgrade_request();
    request.replace(4, 3, "/echo");
    peer.send(request);
    EXPECT_TRUE(peer.take_response().starts_with("HTTP/1.1 101 "));
    for (int count = 0; count < 50; ++count) peer.send(client_frame(Opcode::ping, "x"));
    EXPECT_EQ(peer.take_frames().size(), 50U);
    peer.say(std::string(10'000, 'x'));
    peer.send(client_frame(Opcode::text, "a", false) +
              client_frame(Opcode::continuation, "b", false) +
              client_frame(Opcode::continuation, "c"));
    EXPECT_EQ(peer.take_texts(), (Texts{std::string(10'000, 'x'), "abc"}));
}

TEST(Pacing, FragmentsBeyondTheLimitClose) {
    WorldOptions options;
    options.settings.fragments_max = 3;
    World world(options);
    const Peer peer = world.client();
    const std::string begin = client_frame(Opcode::text, R"({"op":"ping",)", false);
    const std::string last = client_frame(Opcode::continuation, R"("id":1})");
    const std::string empty = client_frame(Opcode::continuation, "", false);
    peer.send(begin + empty + last);
    EXPECT_EQ(peer.take_texts(), Texts{pong}) << "three of them";
    peer.send(begin + last);
    EXPECT_EQ(peer.take_texts(), Texts{pong}) << "each message is counted by itself";
    EXPECT_EQ(world.refusals(Refused::fragments), 0U);
    peer.send(begin + empty + empty + last);
    EXPECT_EQ(peer.take_frames().at(0).close_code, 1008);
    EXPECT_EQ(world.refusals(Refused::fragments), 1U);
}

WorldOptions slow_inbound() {
    WorldOptions options;
    options.settings.inbound_bytes_per_second = base::kib;
    return options;
}

// A frame of so many bytes, header included.
std::string frame_of(size_t bytes) {
    return client_frame(Opcode::text,
                        R"({"op":"ping","id":1)" + std::string(bytes - 8 - 20, ' ') + "}");
}

TEST(Pacing, BytesBeyondTheRateAreNotRead) {
    World world(slow_inbound());
    const Peer peer = world.client();
    peer.send(frame_of(1'024));
    EXPECT_EQ(peer.take_texts(), Texts{pong});
    EXPECT_EQ(world.refusals(Refused::inbound_rate), 0U) << "a burst of a second's worth";
    peer.send(frame_of(512));
    EXPECT_EQ(peer.take_texts(), Texts{pong}) << "what has been read is handled";
    EXPECT_EQ(world.refusals(Refused::inbound_rate), 1U);
    const uint64_t received_bytes = world.metric(Metric::received_bytes_total);
    peer.send(client_frame(Opcode::text, ping));
    EXPECT_EQ(peer.take_texts(), Texts{});
    EXPECT_EQ(world.metric(Metric::received_bytes_total), received_bytes) << "left in the kernel";
    world.run_for(499 * base::ns_per_ms);
    EXPECT_EQ(peer.take_texts(), Texts{});
    world.run_for(2 * base::ns_per_ms);
    EXPECT_EQ(peer.take_texts(), Texts{pong});
}

TEST(Pacing, BytesFlowAtTheRate) {
    World world(slow_inbound());
    const Peer peer = world.client();
    peer.socket().recv_bytes_max = 256;
    for (int count = 0; count < 200; ++count) peer.socket().inbound += frame_of(128);
    world.settle();
    uint64_t count = peer.take_texts().size();
    EXPECT_GE(count, 8U);  // a burst
    EXPECT_LE(count, 8U + 2);
    world.run_for(10 * base::ns_per_s);
    count += peer.take_texts().size();
    EXPECT_GE(count, 88U);
    EXPECT_LE(count, 88U + 4) << "a receive too many, and one that could not be stopped";
}

TEST(Pacing, WhatArrivedBeforeTheStopWaitsForItsTimeToo) {
    World world(slow_inbound());
    const Peer peer = world.client();
    // The second receive is on its way when the first one asks for a stop.
    peer.socket().recv_bytes_max = 2'048;
    peer.socket().inbound = frame_of(2'048) + frame_of(2'048);
    world.settle();
    EXPECT_EQ(peer.take_texts(), Texts{pong});
    EXPECT_GE(world.metric(Metric::received_bytes_total), 4'096U);
    world.run_for(2'990 * base::ns_per_ms);
    EXPECT_EQ(peer.take_texts(), Texts{});
    world.run_for(20 * base::ns_per_ms);
    EXPECT_EQ(peer.take_texts(), Texts{pong});
}

TEST(Pacing, WhatWasSaidBeforeTheEndIsDoneBeforeIt) {
    World world(slow_inbound());
    const Peer reader = world.client();
    reader.subscribe("a");
    const Peer peer = world.client();
    peer.send(frame_of(2'048));
    peer.say(publish_command(1));
    peer.finish();
    EXPECT_EQ(reader.take_texts(), Texts{});
    EXPECT_FALSE(peer.is_closed());
    world.run_for(2 * base::ns_per_s);
    EXPECT_EQ(reader.take_texts(), Texts{message_text("a", R"("data":0)")});
    EXPECT_TRUE(peer.is_closed());
}

TEST(Pacing, WhoIsNotReadFromIsNotEvictedForItsSilence) {
    WorldOptions options = slow_inbound();
    options.settings.heartbeat_interval_ns = base::ns_per_s;
    options.settings.heartbeat_timeout_ns = base::ns_per_s;
    World world(options);
    const Peer peer = world.client();
    peer.send(frame_of(8 * 1'024));
    world.run_for(6 * base::ns_per_s);
    EXPECT_EQ(world.closed_count(4200), 0U);
    EXPECT_FALSE(peer.socket().write_shut);
    world.run_for(6 * base::ns_per_s);
    EXPECT_TRUE(peer.socket().write_shut || peer.is_closed()) << "but then it is";
}

TEST(Pacing, PostsAreLimitedAsPublishesAre) {
    World world(five_publishes());
    const Peer peer = world.connect();
    const std::string post =
        "POST /topics/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1";
    for (int count = 0; count < 5; ++count) {
        peer.send(post);
        EXPECT_TRUE(peer.take_response().starts_with("HTTP/1.1 200 "));
    }
    peer.send(post);
    const std::string refused = peer.take_response();
    EXPECT_TRUE(refused.starts_with("HTTP/1.1 429 ")) << refused;
    EXPECT_NE(refused.find("Retry-After: 1\r\n"), std::string::npos);
    EXPECT_EQ(refused.find("Connection: close\r\n"), std::string::npos);
    EXPECT_EQ(world.metric(Metric::messages_published_total), 5U);
    EXPECT_EQ(world.refusals(Refused::publish_rate), 1U);
    world.run_for(200 * base::ns_per_ms);
    peer.send(post);
    EXPECT_TRUE(peer.take_response().starts_with("HTTP/1.1 200 "));
    for (uint64_t count = 1; count < Pacing::refusals_burst; ++count) {
        peer.send(post);
        ASSERT_TRUE(peer.take_response().starts_with("HTTP/1.1 429 "));
    }
    // Some more, because refusals are forgiven in time.
    for (int count = 0; count < 4; ++count) peer.send(post);
    EXPECT_NE(peer.take_bytes().find("Connection: close\r\n"), std::string::npos);
    EXPECT_TRUE(peer.socket().write_shut);
}

}  // namespace
}  // namespace broker
