// From a line of input to the command that publishes it (PROTOCOL.md, op publish).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "codec/command.h"
#include "tools/pub.h"

namespace tools {

// Owner: `fanfare pub` holds one by value. Thread: one.
// Invariant: what is encoded here is a frame that the broker accepts as a frame, for it is checked
// by the very parser that the broker uses; so a bad line costs itself and not the connection.
class PublishEncoder {
  public:
    PublishEncoder(std::string_view topic, PubKind kind, uint64_t seed);

    // Fills `frame`. Answers what is wrong with the data, in a sentence; empty when all is well.
    // The key, empty for none, must be one that the broker takes.
    [[nodiscard]] std::string encode(uint64_t id, std::string_view key, std::string_view data,
                                     std::string& frame);

  private:
    void build(uint64_t id, std::string_view key, std::string_view data, PubKind kind,
               std::string& frame) const;
    bool is_json(std::string_view data);

    const std::string topic_;
    const PubKind kind_;
    codec::CommandParser parser_;
    std::string padded_;  // scratch: the data, and the readable bytes that the parser wants
};

}  // namespace tools
