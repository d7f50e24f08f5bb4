// The client's side of RFC 6455 for simulated peers: the request, masked frames, and reading what
// the broker says.
//
// Owner: a peer holds one by value. Thread: its World's.
// Invariant: frames are written here by hand, so that they can also be wrong.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "codec/deflater.h"
#include "codec/frame_decoder.h"
#include "codec/inflater.h"
#include "io/base/prng.h"

namespace sim {

struct FrameShape {
    codec::Opcode opcode = codec::Opcode::text;
    bool fin = true;
    uint8_t reserved_bits = 0;  // 0x40, 0x20, 0x10
    bool is_masked = true;
    bool is_length_minimal = true;
};

std::string make_frame(base::Prng& prng, const FrameShape& shape, std::string_view payload);
std::string make_close(base::Prng& prng, uint16_t code, std::string_view reason);

// One thing the broker said. Kind need_more: nothing whole yet.
struct Said {
    codec::Decoded::Kind kind = codec::Decoded::Kind::need_more;
    uint16_t close_code = 0;
    std::string payload;
    bool was_compressed = false;
};

class WebSocketSide {
  public:
    enum class Answer : uint8_t { need_more, accepted, refused };

    enum class Offer : uint8_t { nothing, deflate };

    std::string request(base::Prng& prng, std::string_view path, Offer offer = Offer::nothing);
    // Looks for the answer at the front of `incoming` and takes it off. `status` is set when there
    // is one.
    Answer read_answer(std::string& incoming, uint32_t& status);
    // Adds bytes to what next() reads from.
    void feed(std::string& incoming);
    Said next();
    bool is_deflated() const { return is_deflated_; }
    // The payload of a compressed frame (RFC 7692 §7.2.1).
    std::string compress(std::string_view text);
    bool has_unread() const { return !input_.empty(); }

  private:
    std::string key_;
    bool is_deflated_ = false;                   // permessage-deflate was negotiated
    std::unique_ptr<codec::Inflater> inflater_;  // made when they are needed: they are large
    std::unique_ptr<codec::Deflater> deflater_;
    codec::FrameDecoder decoder_{codec::Role::client};
    std::vector<uint8_t> memory_;  // what input_ points into, followed by the readable padding
    std::span<uint8_t> input_;
};

}  // namespace sim
