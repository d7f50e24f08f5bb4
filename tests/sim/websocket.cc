#include "tests/sim/websocket.h"

#include <cstring>

#include "codec/upgrade.h"
#include "io/base/check.h"
#include "io/base/units.h"
#include "tests/sim/payloads.h"

namespace sim {

namespace {

// Whatever the broker may send: the largest message of a client, escaped by the broker, and some
// more.
constexpr uint64_t message_bytes_max = 8 * base::mib;

void append_length(std::string& frame, uint8_t mask_bit, uint64_t bytes, bool is_minimal) {
    if (bytes < 126 && is_minimal) {
        frame.push_back(static_cast<char>(mask_bit | bytes));
        return;
    }
    const bool is_short = bytes < 65'536;
    frame.push_back(static_cast<char>(mask_bit | (is_short ? 126 : 127)));
    for (int shift = is_short ? 8 : 56; shift >= 0; shift -= 8) {
        frame.push_back(static_cast<char>((bytes >> shift) & 0xff));
    }
}

}  // namespace

std::string make_frame(base::Prng& prng, const FrameShape& shape, std::string_view payload) {
    std::string frame;
    frame.push_back(static_cast<char>((shape.fin ? 0x80 : 0) | shape.reserved_bits |
                                      static_cast<uint8_t>(shape.opcode)));
    append_length(frame, shape.is_masked ? 0x80 : 0, payload.size(), shape.is_length_minimal);
    if (!shape.is_masked) return frame.append(payload);
    uint8_t key[4];
    for (uint8_t& byte : key) byte = static_cast<uint8_t>(prng.below(256));
    frame.append(reinterpret_cast<const char*>(key), sizeof key);
    for (size_t at = 0; at < payload.size(); ++at) {
        frame.push_back(static_cast<char>(static_cast<uint8_t>(payload[at]) ^ key[at & 3]));
    }
    return frame;
}

std::string make_close(base::Prng& prng, uint16_t code, std::string_view reason) {
    std::string payload;
    payload.push_back(static_cast<char>(code >> 8));
    payload.push_back(static_cast<char>(code & 0xff));
    payload.append(reason);
    return make_frame(prng, {.opcode = codec::Opcode::close}, payload);
}

std::string WebSocketSide::request(base::Prng& prng, std::string_view path, Offer offer) {
    std::string nonce;
    for (uint32_t index = 0; index < 16; ++index) {
        nonce.push_back(static_cast<char>(prng.below(256)));
    }
    key_ = encode_base64(nonce);
    std::string text = "GET " + std::string(path) +
                       " HTTP/1.1\r\nHost: localhost:7788\r\nUpgrade: websocket\r\n"
                       "Connection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                       "Sec-WebSocket-Key: " +
                       key_ + "\r\n";
    if (prng.below(2) == 0) text += "Sec-WebSocket-Protocol: fanfare.v1\r\n";
    if (offer == Offer::deflate) {
        text += "Sec-WebSocket-Extensions: permessage-deflate";
        // A window that only small messages fit, so that one fan-out has both forms.
        if (prng.below(3) == 0) text += "; server_max_window_bits=9";
        text += "\r\n";
    }
    return text + "\r\n";
}

WebSocketSide::Answer WebSocketSide::read_answer(std::string& incoming, uint32_t& status) {
    const size_t end = incoming.find("\r\n\r\n");
    if (end == std::string::npos) return Answer::need_more;
    const std::string head = incoming.substr(0, end + 2);
    if (!head.starts_with("HTTP/1.1 ") || head.size() < 12) {
        status = 0;
        return Answer::refused;
    }
    status = static_cast<uint32_t>(std::stoul(head.substr(9, 3)));
    if (status != 101) return Answer::refused;
    char accept[28];
    codec::accept_of_key(key_, accept);
    const std::string field =
        "Sec-WebSocket-Accept: " + std::string(accept, sizeof accept) + "\r\n";
    if (head.find(field) == std::string::npos) {
        status = 0;
        return Answer::refused;
    }
    is_deflated_ = head.find("Sec-WebSocket-Extensions: permessage-deflate") != std::string::npos;
    incoming.erase(0, end + 4);
    return Answer::accepted;
}

void WebSocketSide::feed(std::string& incoming) {
    if (incoming.empty()) return;
    std::vector<uint8_t> grown(input_.size() + incoming.size() + base::readable_padding_bytes);
    if (!input_.empty()) std::memcpy(grown.data(), input_.data(), input_.size());
    std::memcpy(grown.data() + input_.size(), incoming.data(), incoming.size());
    const size_t bytes = input_.size() + incoming.size();
    memory_ = std::move(grown);
    input_ = std::span(memory_).first(bytes);
    incoming.clear();
}

Said WebSocketSide::next() {
    Said said;
    if (input_.empty()) return said;
    const codec::Decoded decoded = decoder_.next(
        input_, {.message_bytes_max = message_bytes_max, .allows_compression = is_deflated_});
    said.kind = decoded.kind;
    said.close_code = decoded.close_code;
    std::span<const uint8_t> payload = decoded.payload;
    if (decoded.is_compressed) {
        if (inflater_ == nullptr) {
            inflater_ = std::make_unique<codec::Inflater>(codec::InflaterSettings{});
        }
        const codec::Inflated inflated = inflater_->inflate_message(
            payload, {.message_bytes_max = message_bytes_max, .is_text = true});
        if (inflated.violation != codec::Violation::none) {
            said.kind = codec::Decoded::Kind::violation;
            return said;
        }
        payload = inflated.plain;
        said.was_compressed = true;
    }
    said.payload.assign(reinterpret_cast<const char*>(payload.data()), payload.size());
    return said;
}

std::string WebSocketSide::compress(std::string_view text) {
    if (deflater_ == nullptr) {
        deflater_ = std::make_unique<codec::Deflater>(codec::DeflaterSettings{});
    }
    const std::span<const uint8_t> payload = deflater_->compress(text);
    return {reinterpret_cast<const char*>(payload.data()), payload.size()};
}

}  // namespace sim
