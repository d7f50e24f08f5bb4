// FrameDecoder: received bytes in, whole messages and control frames out (RFC 6455 §5),
// incrementally, with payloads unmasked in place.
//
// Owner: a connection holds one by value. Thread: its shard's. No clock, no socket; the only
// allocation is the buffer of a message that does not lie whole in one piece of input.
//
// How it is pulled:
//     while (true) {
//         const Decoded decoded = decoder.next(input, limits);  // takes from the front of input
//         if (decoded.kind == Decoded::Kind::need_more) break;  // input is empty now
//         …
//     }
//
// Invariants:
//  1. The same bytes give the same sequence of results (violations included), however they are
//     split.
//  2. A violation is reported as early as the bytes allow: a bad header before its payload, the
//     first impossible byte of UTF-8 as soon as it arrived. After one, the decoder is dead: it must
//     not be asked again.
//  3. A message never holds more memory than min(bytes received of it, message_bytes_max) rounded
//     up by growth: a length that was only announced costs nothing.
//  4. Decoded::payload is followed by base::readable_padding_bytes readable bytes, and lives until
//     the next call of next() or until the input's memory dies, whichever comes first.
//  5. After Kind::close nothing more is decoded (RFC 6455 §1.4, §5.5.1): what follows is dropped,
//     and every further call answers need_more.
//  6. A compressed message (RFC 7692 §6) is handed out as it came, whole and compressed, because
//     what inflates it belongs to the shard or to the connection. Whoever inflates it checks its
//     UTF-8 (Inflater does both).
//
// Limits: FrameLimits::message_bytes_max for messages, compressed or not, itself at most
// message_bytes_ceiling; FrameLimits::fragments_max; 125 bytes for control frames.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "codec/frame.h"
#include "codec/utf8.h"

namespace codec {

// What a peer did wrong. Never a reason to CHECK.
enum class Violation : uint8_t {
    none,
    reserved_bits,            // RSV2 or RSV3, or RSV1 where it was not negotiated or not allowed
    reserved_opcode,          // 3 to 7, 0xB to 0xF
    mask_missing,             // RFC 6455 §5.1, for a server
    mask_unexpected,          // the same, for a client
    length_not_minimal,       // §5.2
    length_too_long,          // §5.2, the most significant bit of a 64-bit length
    control_fragmented,       // §5.5
    control_too_long,         // §5.5
    continuation_unexpected,  // §5.4
    continuation_missing,     // §5.4, a new data frame inside a fragmented message
    message_too_big,          // our limit
    fragments_too_many,       // the same
    utf8_invalid,             // §8.1, in a text message or a close reason
    close_payload_short,      // §5.5.1, a payload of one byte
    close_code_invalid,       // §7.4
    deflate_invalid,          // RFC 7692 §7.2.2; found by Inflater
};

// The close code that answers a violation: 1002, 1007, 1008 or 1009. 1008 stands for too many
// fragments: a client that is told 1009 would send less and not otherwise. RFC 7692 names none for
// a message that cannot be inflated. The framing was right and the content of the message is not
// what its first frame says, which is what RFC 6455 §7.4.1 has 1007 for, as for text that is not
// UTF-8.
uint16_t close_code_of(Violation violation);
// One sentence for the close reason and the log; at most 123 bytes.
const char* describe(Violation violation);

enum class Role : uint8_t {
    server,  // frames must be masked
    client,  // frames must not be masked
};

// No configured limit may be above this: the decoder counts a message's bytes in 32 bits.
inline constexpr uint64_t message_bytes_ceiling = uint64_t{1} << 30;

struct FrameLimits {
    uint64_t message_bytes_max;
    // Frames of one message; 0: any number. A frame costs its six bytes of header at least, and the
    // same work whether there is something in it or not.
    uint16_t fragments_max = 0;
    // permessage-deflate was negotiated: RSV1 on the first frame of a message says that it is
    // compressed.
    bool allows_compression = false;
};

struct Decoded {
    enum class Kind : uint8_t { need_more, text, binary, ping, pong, close, violation };
    Kind kind;
    Violation violation = Violation::none;  // kind violation
    uint16_t close_code = 0;                // kind close; 1005 when the frame carried none
    bool is_compressed = false;             // kind text and binary: the payload is to be inflated
    std::span<uint8_t> payload;  // the whole message; of a ping or pong; the reason of a close
};

class FrameDecoder {
  public:
    explicit FrameDecoder(Role role);
    ~FrameDecoder();
    FrameDecoder(FrameDecoder&&) noexcept;
    FrameDecoder& operator=(FrameDecoder&&) noexcept;

    // Consumes from the front of `input`, which must be writable (it is unmasked in place) and
    // followed by base::readable_padding_bytes readable bytes.
    [[nodiscard]] Decoded next(std::span<uint8_t>& input, const FrameLimits& limits);

    // The memory that the parts of an unfinished message or control frame hold, in bytes.
    uint64_t buffered_bytes() const;

  private:
    enum class State : uint8_t {
        header,           // between frames, or inside a header that came in pieces
        data_payload,     // inside a data frame whose payload came in pieces
        control_payload,  // the same for a control frame
        closed,           // a Close was handed out
        dead,             // a violation was handed out
    };

    // A header that stands whole in the input or in the pieces.
    struct Header {
        Opcode opcode;
        bool fin;
        bool is_compressed;     // RSV1
        uint32_t header_bytes;  // 0: not all of it is there yet
        uint32_t key;           // 0 for a frame without a mask, which leaves the payload as it is
        uint64_t payload_bytes;
    };

    Violation parse_header(std::span<const uint8_t> bytes, const FrameLimits& limits,
                           Header& header) const;
    Violation check_first_byte(uint8_t byte, const FrameLimits& limits) const;
    Violation take_header(std::span<uint8_t>& input, const FrameLimits& limits, Header& header);
    bool begin_payload(const Header& header, std::span<uint8_t>& input, Decoded& decoded);
    bool take_data(std::span<uint8_t>& input, const FrameLimits& limits, Decoded& decoded);
    bool take_control(std::span<uint8_t>& input, Decoded& decoded);
    Decoded finish_control(std::span<uint8_t> payload);
    Decoded whole_message(const Header& header, std::span<uint8_t> payload);
    Decoded fail(Violation violation);
    void reserve(uint64_t bytes_count, uint64_t message_bytes_max);
    void release_delivered();

    struct Pieces;
    Pieces& pieces();

    // What came in pieces, of a header, a frame or a message; null between messages, which is where
    // a decoder is most of its life.
    std::unique_ptr<Pieces> pieces_;
    State state_ = State::header;
    Role role_;
    Opcode frame_opcode_ = Opcode::continuation;
    // The kind of the message that has begun and has not ended; continuation: there is none.
    Opcode message_opcode_ = Opcode::continuation;
};

static_assert(sizeof(FrameDecoder) <= 16);

}  // namespace codec
