// Compression: permessage-deflate (RFC 7692) as a shard uses it.
//
// A window is 40 KiB and more per connection, so by default no message depends on another one, in
// either direction, and one Inflater and one Deflater serve all connections of the shard. What is
// broadcast is compressed once per message and shard, and shared by all subscribers whose window
// fits the message.
//
// Owner: a shard. Thread: its shard's.
// Invariants:
//  1. A client may keep its window (and we one for it, inflater_bytes) only within the budget of
//     compression-context-takeover, and on the echo path. We never need ours for what is broadcast.
//  2. A message below the threshold, above compressed_bytes_max (which would hold the core up), or
//     that does not become smaller goes out as it is.
//  3. An inflated message obeys the limit for messages: a bomb is stopped there.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "broker/metrics.h"
#include "broker/settings.h"
#include "codec/deflate_offer.h"
#include "codec/deflater.h"
#include "codec/inflater.h"

namespace broker {

// What a connection keeps when a context was granted to it; null members: the shard's serve it.
struct DeflateContext {
    std::unique_ptr<codec::Inflater> inflater;
    std::unique_ptr<codec::Deflater> deflater;  // the echo path only
};

class Compression {
  public:
    // zlib takes about a millisecond for so much.
    static constexpr uint64_t compressed_bytes_max = 64 * base::kib;

    Compression(const Settings& settings, uint32_t shards_count, ShardMetrics& metrics);

    // The answer to the offers of an upgrade; not accepted when compression is off.
    codec::DeflateDecision decide(const codec::HttpRequest& request, bool is_echo);
    // After the upgrade: null when the shard's own serve the connection.
    std::unique_ptr<DeflateContext> context_for(const codec::DeflateParameters& parameters,
                                                bool is_echo);
    // When a connection ends that had one.
    void context_gone(const DeflateContext* context);

    // The payload for all who share it, to be sent with RSV1; empty: send the message as it is.
    std::span<const uint8_t> compress_shared(std::string_view message);
    // For one connection on the echo path, whatever the size.
    std::span<const uint8_t> compress_for(const DeflateContext* context, std::string_view message);
    codec::Inflated inflate(const DeflateContext* context, std::span<const uint8_t> payload,
                            const codec::InflateLimits& limits);

  private:
    const Settings& settings_;
    const uint32_t shards_count_;
    ShardMetrics& metrics_;
    uint64_t contexts_count_ = 0;
    codec::Inflater inflater_{codec::InflaterSettings{}};
    codec::Deflater deflater_{codec::DeflaterSettings{}};
};

}  // namespace broker
