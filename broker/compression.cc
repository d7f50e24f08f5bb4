#include "broker/compression.h"

#include "io/base/units.h"

namespace broker {

Compression::Compression(const Settings& settings, uint32_t shards_count, ShardMetrics& metrics)
    : settings_(settings), shards_count_(shards_count), metrics_(metrics) {}

codec::DeflateDecision Compression::decide(const codec::HttpRequest& request, bool is_echo) {
    if (!settings_.compression) return {};
    const uint64_t contexts_max = settings_.compression_contexts_max / shards_count_;
    return codec::decide_deflate(
        request, {.server_context_takeover = is_echo,
                  .client_context_takeover = is_echo || contexts_count_ < contexts_max});
}

std::unique_ptr<DeflateContext> Compression::context_for(const codec::DeflateParameters& parameters,
                                                         bool is_echo) {
    const bool keeps_inbound = !parameters.client_no_context_takeover;
    if (!keeps_inbound && !is_echo) return nullptr;
    auto context = std::make_unique<DeflateContext>();
    if (keeps_inbound) {
        context->inflater = std::make_unique<codec::Inflater>(codec::InflaterSettings{
            .window_bits = parameters.client_window_bits, .has_context_takeover = true});
        ++contexts_count_;
    }
    if (is_echo) {
        context->deflater = std::make_unique<codec::Deflater>(codec::DeflaterSettings{
            .window_bits = parameters.server_window_bits,
            .has_context_takeover = !parameters.server_no_context_takeover});
    }
    return context;
}

void Compression::context_gone(const DeflateContext* context) {
    if (context != nullptr && context->inflater != nullptr) --contexts_count_;
}

std::span<const uint8_t> Compression::compress_shared(std::string_view message) {
    const uint64_t threshold_bytes = settings_.compression_threshold_bytes;
    if (message.size() < threshold_bytes || message.size() > compressed_bytes_max) return {};
    metrics_.add(Metric::messages_compressed_total);
    const std::span<const uint8_t> payload = deflater_.compress(message);
    return payload.size() < message.size() ? payload : std::span<const uint8_t>{};
}

std::span<const uint8_t> Compression::compress_for(const DeflateContext* context,
                                                   std::string_view message) {
    metrics_.add(Metric::messages_compressed_total);
    const bool has_own = context != nullptr && context->deflater != nullptr;
    return has_own ? context->deflater->compress(message) : deflater_.compress(message);
}

codec::Inflated Compression::inflate(const DeflateContext* context,
                                     std::span<const uint8_t> payload,
                                     const codec::InflateLimits& limits) {
    metrics_.add(Metric::messages_inflated_total);
    const bool has_own = context != nullptr && context->inflater != nullptr;
    return (has_own ? *context->inflater : inflater_).inflate_message(payload, limits);
}

}  // namespace broker
