// HttpPost: reads what a POST wants to publish: one message at /topics/<topic>, or a batch of them
// at /api/publish.
//
// Owner: HttpSurface. Thread: its shard's.
// Invariants:
//  1. A request is read completely before anything of it is published: what is refused has
//     published nothing.
//  2. The same request is read the same way each time.
//  3. Views of a message die with the next request that is read, and with the request.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "broker/cross_core.h"
#include "codec/command.h"
#include "codec/errors.h"
#include "codec/http.h"
#include "codec/payload.h"

namespace broker {

struct PostedMessage {
    std::string_view topic;
    codec::Payload payload;
    std::string_view key;  // empty: none
};

struct PostRefusal {
    uint16_t status = 0;  // 0: nothing to refuse
    codec::ErrorCode code = codec::ErrorCode::none;
    std::string reason;
};

class HttpPost {
  public:
    explicit HttpPost(codec::CommandParser& parser) : parser_(parser) {}

    // `topic` is percent-encoded. `body` must be followed by base::readable_padding_bytes.
    PostRefusal read_message(const codec::HttpRequest& request, std::string_view topic,
                             std::string_view body, PostedMessage& message);

    // All messages of a batch; then message() hands out each of them.
    PostRefusal read_batch(std::string_view body, uint32_t& messages_count);
    PostedMessage message(uint32_t index) const;

    // The answer to a batch, with its line feed.
    static void append_results(std::string& out, std::span<const PublishResult> results);

  private:
    PostRefusal read_payload(const codec::HttpRequest& request, std::string_view body,
                             codec::Payload& payload);

    codec::CommandParser& parser_;
    std::string topic_;  // scratch
};

}  // namespace broker
