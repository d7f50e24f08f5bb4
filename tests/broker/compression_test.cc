#include "broker/compression.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "codec/inflater.h"
#include "io/base/units.h"
#include "tests/broker/shard_world.h"

namespace broker {
namespace {

using testing::client_frame;
using testing::message_text;
using testing::Peer;
using testing::World;
using testing::WorldOptions;

constexpr std::string_view offer = "Sec-WebSocket-Extensions: permessage-deflate\r\n";
constexpr std::string_view small_window_offer =
    "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=9\r\n";

// The messages that came since the last call, inflated where they were compressed.
struct Received {
    std::vector<std::string> messages;
    uint32_t compressed_count = 0;
    uint64_t wire_bytes = 0;
};

Received take(const Peer& peer) {
    Received received;
    std::string bytes = peer.take_bytes();
    received.wire_bytes = bytes.size();
    bytes.append(base::readable_padding_bytes, '\0');
    std::span<uint8_t> input(reinterpret_cast<uint8_t*>(bytes.data()),
                             bytes.size() - base::readable_padding_bytes);
    codec::FrameDecoder decoder(codec::Role::client);
    codec::Inflater inflater{codec::InflaterSettings{}};
    const codec::FrameLimits limits{.message_bytes_max = base::mib, .allows_compression = true};
    while (true) {
        const codec::Decoded decoded = decoder.next(input, limits);
        if (decoded.kind != codec::Decoded::Kind::text) return received;
        std::span<const uint8_t> plain = decoded.payload;
        if (decoded.is_compressed) {
            ++received.compressed_count;
            plain = inflater.inflate_message(decoded.payload, {base::mib, true}).plain;
        }
        received.messages.emplace_back(reinterpret_cast<const char*>(plain.data()), plain.size());
    }
}

std::string compressible(size_t bytes) {
    return "\"" + std::string(bytes, 'x') + "\"";
}

void publish(const Peer& peer, const std::string& json) {
    peer.say(R"({"op":"publish","topic":"t","data":)" + json + "}");
}

TEST(Compression, OncePerMessageForAllWhoShareIt) {
    World world;
    std::vector<Peer> peers;
    for (int count = 0; count < 10; ++count)
        peers.push_back(world.client(0, count < 7 ? offer : ""));
    for (const Peer& peer : peers) peer.subscribe("t");
    publish(peers[0], compressible(1024));
    for (size_t index = 0; index < peers.size(); ++index) {
        const Received received = take(peers[index]);
        ASSERT_EQ(received.messages.size(), 1u);
        EXPECT_EQ(received.messages[0], message_text("t", "\"data\":" + compressible(1024)));
        EXPECT_EQ(received.compressed_count, index < 7 ? 1u : 0u);
        EXPECT_EQ(received.wire_bytes < 200, index < 7);
    }
    EXPECT_EQ(world.metric(Metric::messages_compressed_total), 1u);
    EXPECT_EQ(world.metric(Metric::deliveries_total), 10u);
}

TEST(Compression, NotWithoutSomebodyWhoWantsIt) {
    World world;
    const Peer peer = world.client();
    peer.subscribe("t");
    publish(peer, compressible(1024));
    EXPECT_EQ(take(peer).messages.size(), 1u);
    EXPECT_EQ(world.metric(Metric::messages_compressed_total), 0u);
}

TEST(Compression, ThresholdOnBothSides) {
    const std::string frame_around = message_text("t", R"("data":"")");
    const size_t at_threshold = 256 - frame_around.size();
    World world;
    const Peer peer = world.client(0, offer);
    peer.subscribe("t");
    publish(peer, compressible(at_threshold - 1));
    EXPECT_EQ(take(peer).compressed_count, 0u);
    publish(peer, compressible(at_threshold));
    EXPECT_EQ(take(peer).compressed_count, 1u);
}

TEST(Compression, ASmallerWindowGetsWhatFitsItAndTheRestPlain) {
    World world;
    const Peer small = world.client(0, small_window_offer);
    const Peer full = world.client(0, offer);
    for (const Peer& peer : {small, full}) peer.subscribe("t");
    publish(full, compressible(400));  // the whole object stays below 2^9
    EXPECT_EQ(take(small).compressed_count, 1u);
    EXPECT_EQ(take(full).compressed_count, 1u);
    publish(full, compressible(600));
    const Received received = take(small);
    EXPECT_EQ(received.compressed_count, 0u);
    EXPECT_EQ(received.messages.size(), 1u);
    EXPECT_EQ(take(full).compressed_count, 1u);
}

TEST(Compression, WhatDoesNotBecomeSmallerGoesOutAsItIs) {
    WorldOptions options;
    options.settings.compression_threshold_bytes = 0;
    World world(options);
    const Peer peer = world.client(0, offer);
    peer.subscribe("t");
    publish(peer, "1");  // so short an object does not repeat itself enough
    EXPECT_EQ(world.metric(Metric::messages_compressed_total), 1u) << "it was tried";
    const Received received = take(peer);
    EXPECT_EQ(received.messages, std::vector<std::string>{message_text("t", R"("data":1)")});
    EXPECT_EQ(received.compressed_count, 0u);
}

TEST(Compression, CompressedCommandsAreUnderstood) {
    World world;
    const Peer peer = world.client(0, offer);
    codec::Deflater deflater{codec::DeflaterSettings{}};
    const std::span<const uint8_t> payload = deflater.compress(R"({"op":"ping","id":7})");
    std::string frame = client_frame(
        codec::Opcode::text, {reinterpret_cast<const char*>(payload.data()), payload.size()});
    frame[0] = static_cast<char>(frame[0] | 0x40);  // RSV1
    peer.send(frame);
    EXPECT_EQ(take(peer).messages, std::vector<std::string>{R"({"op":"pong","id":7})"});
    EXPECT_EQ(world.metric(Metric::messages_inflated_total), 1u);
}

TEST(Compression, ABombMeetsTheLimitForMessages) {
    WorldOptions options;
    options.settings.message_bytes_max = 4096;
    World world(options);
    const Peer peer = world.client(0, offer);
    codec::Deflater deflater{codec::DeflaterSettings{}};
    const std::span<const uint8_t> payload = deflater.compress(std::string(1 << 19, ' '));
    ASSERT_LT(payload.size(), 4096u);
    std::string frame = client_frame(
        codec::Opcode::text, {reinterpret_cast<const char*>(payload.data()), payload.size()});
    frame[0] = static_cast<char>(frame[0] | 0x40);
    peer.send(frame);
    const std::vector<testing::Frame> frames = peer.take_frames();
    ASSERT_EQ(frames.size(), 1u);
    EXPECT_EQ(frames[0].close_code, 1009);
}

TEST(Compression, OffMeansDeclined) {
    WorldOptions options;
    options.settings.compression = false;
    World world(options);
    const Peer peer = world.client(0, offer);
    std::string frame = client_frame(codec::Opcode::text, "x");
    frame[0] = static_cast<char>(frame[0] | 0x40);
    peer.send(frame);
    const std::vector<testing::Frame> frames = peer.take_frames();
    ASSERT_EQ(frames.size(), 1u);
    EXPECT_EQ(frames[0].close_code, 1002) << "RSV1 was not negotiated";
}

TEST(Compression, WindowsAreGrantedWithinTheBudget) {
    Settings settings;
    settings.compression_contexts_max = 2;
    ShardMetrics metrics;
    Compression compression(settings, 1, metrics);
    const codec::DeflateParameters keeps{.client_no_context_takeover = false};
    const auto first = compression.context_for(keeps, false);
    auto second = compression.context_for(keeps, false);
    ASSERT_NE(first, nullptr);
    codec::HttpRequest request;
    request.fields[0] = {"Sec-WebSocket-Extensions", "permessage-deflate"};
    request.fields_count = 1;
    EXPECT_TRUE(compression.decide(request, false).parameters.client_no_context_takeover);
    compression.context_gone(second.get());
    second.reset();
    EXPECT_FALSE(compression.decide(request, false).parameters.client_no_context_takeover);
    EXPECT_TRUE(compression.decide(request, false).parameters.server_no_context_takeover);
    EXPECT_FALSE(compression.decide(request, true).parameters.server_no_context_takeover) << "echo";
}

}  // namespace
}  // namespace broker
