#include "codec/frame_decoder.h"

#include <algorithm>
#include <cstring>

#include "codec/kernels.h"
#include "io/base/check.h"
#include "io/base/units.h"

namespace codec {
namespace {

constexpr uint8_t fin_bit = 0x80;
constexpr uint8_t reserved_bits_mask = 0x70;
constexpr uint8_t compressed_bit = 0x40;  // RSV1 (RFC 7692 §6)
constexpr uint8_t opcode_mask = 0x0f;
constexpr uint8_t control_bit = 0x08;
constexpr uint8_t mask_bit = 0x80;
constexpr uint8_t length_mask = 0x7f;
constexpr uint8_t length_is_16_bits = 126;
constexpr uint8_t length_is_64_bits = 127;
constexpr uint32_t key_bytes = 4;
constexpr uint32_t close_code_bytes = 2;
constexpr uint16_t close_code_absent = 1005;

// The first buffer of a message in pieces: small enough to cost little when a hundred thousand
// peers dawdle.
constexpr uint64_t message_capacity_bytes_min = 512;

uint64_t get_big_endian(std::span<const uint8_t> bytes) {
    uint64_t value = 0;
    for (const uint8_t byte : bytes) value = value << 8 | byte;
    return value;
}

bool is_control(Opcode opcode) {
    return (static_cast<uint8_t>(opcode) & control_bit) != 0;
}

// A Close's payload as far as it has arrived.
Violation check_close(std::span<const uint8_t> payload, bool is_whole) {
    if (payload.size() < close_code_bytes) return Violation::none;
    const uint64_t code = get_big_endian(payload.first(close_code_bytes));
    if (!is_close_code_sendable(static_cast<uint16_t>(code))) return Violation::close_code_invalid;
    Utf8Check reason;
    if (!reason.feed(payload.subspan(close_code_bytes))) return Violation::utf8_invalid;
    return is_whole && !reason.is_complete() ? Violation::utf8_invalid : Violation::none;
}

Decoded need_more() {
    return {.kind = Decoded::Kind::need_more, .payload = {}};
}

}  // namespace

uint16_t close_code_of(Violation violation) {
    constexpr uint16_t protocol_error = 1002;
    constexpr uint16_t invalid_payload = 1007;
    constexpr uint16_t policy_violation = 1008;
    constexpr uint16_t too_big = 1009;
    switch (violation) {
        case Violation::none: break;
        case Violation::reserved_bits:
        case Violation::reserved_opcode:
        case Violation::mask_missing:
        case Violation::mask_unexpected:
        case Violation::length_not_minimal:
        case Violation::length_too_long:
        case Violation::control_fragmented:
        case Violation::control_too_long:
        case Violation::continuation_unexpected:
        case Violation::continuation_missing:
        case Violation::close_payload_short:
        case Violation::close_code_invalid: return protocol_error;
        case Violation::message_too_big: return too_big;
        case Violation::fragments_too_many: return policy_violation;
        case Violation::utf8_invalid:
        case Violation::deflate_invalid: return invalid_payload;
    }
    UNREACHABLE();
}

const char* describe(Violation violation) {
    switch (violation) {
        case Violation::none: return "no violation";
        case Violation::reserved_bits:
            return "a reserved bit is set that no extension gave a meaning";
        case Violation::reserved_opcode: return "the opcode is reserved";
        case Violation::mask_missing: return "frames from a client must be masked";
        case Violation::mask_unexpected: return "frames from a server must not be masked";
        case Violation::length_not_minimal: return "the length is not in its shortest encoding";
        case Violation::length_too_long: return "the most significant bit of the length is set";
        case Violation::control_fragmented: return "a control frame must not be fragmented";
        case Violation::control_too_long: return "a control frame carries at most 125 bytes";
        case Violation::continuation_unexpected:
            return "a continuation without a message to continue";
        case Violation::continuation_missing: return "a new message before the last one ended";
        case Violation::message_too_big: return "the message is larger than the limit";
        case Violation::fragments_too_many:
            return "the message is divided into more frames than the limit";
        case Violation::utf8_invalid: return "text must be valid UTF-8";
        case Violation::close_payload_short: return "a close payload of one byte holds no code";
        case Violation::close_code_invalid: return "this close code must not be sent";
        case Violation::deflate_invalid: return "the compressed message cannot be inflated";
    }
    UNREACHABLE();
}

struct FrameDecoder::Pieces {
    // The parts of a message, unmasked. Null: none came yet.
    std::unique_ptr<uint8_t[]> message;
    // The payload of a control frame, from its first piece until it was handed out.
    std::unique_ptr<uint8_t[]> control;
    // Payload bytes of the current frame that have not arrived.
    uint64_t frame_bytes_left = 0;
    uint32_t message_bytes = 0;
    uint32_t message_capacity_bytes = 0;  // without the padding
    uint32_t key = 0;                     // turned to the next byte of the current frame
    uint16_t fragments_count = 0;         // of the unfinished message
    // The beginning of a header; empty once the header was read.
    uint8_t header[frame_header_bytes_max];
    uint8_t header_bytes = 0;
    uint8_t control_bytes = 0;
    bool frame_fin = false;
    bool is_message_compressed = false;  // the message that has begun and has not ended
    // True from the call that handed the message out to the next one, which frees it.
    bool message_delivered = false;
    Utf8Check utf8;  // of the unfinished text message, unless it is compressed
};

FrameDecoder::FrameDecoder(Role role) : role_(role) {}
FrameDecoder::~FrameDecoder() = default;
FrameDecoder::FrameDecoder(FrameDecoder&&) noexcept = default;
FrameDecoder& FrameDecoder::operator=(FrameDecoder&&) noexcept = default;

Decoded FrameDecoder::next(std::span<uint8_t>& input, const FrameLimits& limits) {
    CHECK(state_ != State::dead);
    CHECK(limits.message_bytes_max <= message_bytes_ceiling);
    release_delivered();
    while (true) {
        Decoded decoded = need_more();
        switch (state_) {
            case State::header: {
                if (input.empty()) return decoded;
                Header header;
                const Violation violation = take_header(input, limits, header);
                if (violation != Violation::none) return fail(violation);
                if (header.header_bytes == 0) return decoded;
                if (begin_payload(header, input, decoded)) return decoded;
                break;
            }
            case State::data_payload:
                if (take_data(input, limits, decoded)) return decoded;
                break;
            case State::control_payload:
                if (take_control(input, decoded)) return decoded;
                break;
            case State::closed: input = input.last(0); return decoded;
            case State::dead: UNREACHABLE();
        }
    }
}

FrameDecoder::Pieces& FrameDecoder::pieces() {
    if (pieces_ == nullptr) pieces_ = std::make_unique<Pieces>();
    return *pieces_;
}

uint64_t FrameDecoder::buffered_bytes() const {
    if (pieces_ == nullptr) return 0;
    const uint64_t padding = base::readable_padding_bytes;
    return (pieces_->message ? pieces_->message_capacity_bytes + padding : 0) +
           (pieces_->control ? control_payload_bytes_max + padding : 0);
}

Violation FrameDecoder::check_first_byte(uint8_t byte, const FrameLimits& limits) const {
    const uint8_t opcode = byte & opcode_mask;
    // RFC 7692 §6.1 and §6.2: neither control frames nor the later frames of a message carry it.
    const bool may_be_compressed =
        limits.allows_compression && (opcode == static_cast<uint8_t>(Opcode::text) ||
                                      opcode == static_cast<uint8_t>(Opcode::binary));
    const uint8_t known_bits = may_be_compressed ? compressed_bit : 0;
    if ((byte & reserved_bits_mask & ~known_bits) != 0) return Violation::reserved_bits;
    if ((opcode > 0x2 && opcode < 0x8) || opcode > 0xa) return Violation::reserved_opcode;
    if ((opcode & control_bit) != 0) {
        return (byte & fin_bit) == 0 ? Violation::control_fragmented : Violation::none;
    }
    const bool is_continuation = opcode == static_cast<uint8_t>(Opcode::continuation);
    const bool is_inside_message = message_opcode_ != Opcode::continuation;
    if (is_continuation && is_inside_message && limits.fragments_max > 0 &&
        pieces_->fragments_count >= limits.fragments_max) {
        return Violation::fragments_too_many;
    }
    if (is_continuation == is_inside_message) return Violation::none;
    return is_continuation ? Violation::continuation_unexpected : Violation::continuation_missing;
}

// Reads what there is of a header, in the order of the bytes, so that the first violation is the
// same however the bytes were split. header.header_bytes is 0 when bytes are missing.
Violation FrameDecoder::parse_header(std::span<const uint8_t> bytes, const FrameLimits& limits,
                                     Header& header) const {
    header.header_bytes = 0;
    const Violation violation = check_first_byte(bytes[0], limits);
    if (violation != Violation::none) return violation;
    header.opcode = static_cast<Opcode>(bytes[0] & opcode_mask);
    header.fin = (bytes[0] & fin_bit) != 0;
    header.is_compressed = (bytes[0] & compressed_bit) != 0;
    if (bytes.size() < 2) return Violation::none;

    const bool is_masked = (bytes[1] & mask_bit) != 0;
    if (is_masked && role_ == Role::client) return Violation::mask_unexpected;
    if (!is_masked && role_ == Role::server) return Violation::mask_missing;
    const uint8_t length = bytes[1] & length_mask;
    uint32_t header_bytes = 2;
    header.payload_bytes = length;
    if (is_control(header.opcode)) {
        if (length > control_payload_bytes_max) return Violation::control_too_long;
        if (header.opcode == Opcode::close && length == 1) return Violation::close_payload_short;
    } else {
        if (length == length_is_16_bits) {
            header_bytes = 4;
            if (bytes.size() < header_bytes) return Violation::none;
            header.payload_bytes = get_big_endian(bytes.subspan(2, 2));
            if (header.payload_bytes < length_is_16_bits) return Violation::length_not_minimal;
        } else if (length == length_is_64_bits) {
            header_bytes = 10;
            if (bytes.size() > 2 && (bytes[2] & 0x80) != 0) return Violation::length_too_long;
            if (bytes.size() < header_bytes) return Violation::none;
            header.payload_bytes = get_big_endian(bytes.subspan(2, 8));
            if (header.payload_bytes <= UINT16_MAX) return Violation::length_not_minimal;
        }
        const uint64_t earlier_bytes = pieces_ == nullptr ? 0 : pieces_->message_bytes;
        if (header.payload_bytes > limits.message_bytes_max ||
            earlier_bytes + header.payload_bytes > limits.message_bytes_max) {
            return Violation::message_too_big;
        }
    }
    header.key = 0;
    if (is_masked) {
        if (bytes.size() < header_bytes + key_bytes) return Violation::none;
        std::memcpy(&header.key, bytes.data() + header_bytes, key_bytes);
        header_bytes += key_bytes;
    }
    header.header_bytes = header_bytes;
    return Violation::none;
}

// Reads a header from the input, or from the pieces when its beginning came earlier, and consumes
// it.
Violation FrameDecoder::take_header(std::span<uint8_t>& input, const FrameLimits& limits,
                                    Header& header) {
    const size_t held_bytes = pieces_ == nullptr ? 0 : pieces_->header_bytes;
    std::span<const uint8_t> bytes = input;
    if (held_bytes > 0) {
        const size_t taken = std::min(sizeof pieces_->header - held_bytes, input.size());
        std::memcpy(pieces_->header + held_bytes, input.data(), taken);
        bytes = {pieces_->header, held_bytes + taken};
    }
    const Violation violation = parse_header(bytes, limits, header);
    if (violation != Violation::none) return violation;
    if (header.header_bytes > 0) {
        input = input.subspan(header.header_bytes - held_bytes);
        if (held_bytes > 0) pieces_->header_bytes = 0;
        return Violation::none;
    }
    // An unfinished header is shorter than the longest one, so all of the input went there.
    Pieces& held = pieces();
    if (held_bytes == 0) std::memcpy(held.header, input.data(), input.size());
    held.header_bytes = static_cast<uint8_t>(held_bytes + input.size());
    input = input.last(0);
    return Violation::none;
}

// True: `decoded` is to be handed out, because all of the payload stands in the input and needs no
// buffer.
bool FrameDecoder::begin_payload(const Header& header, std::span<uint8_t>& input,
                                 Decoded& decoded) {
    const bool is_whole = header.payload_bytes <= input.size();
    const bool is_alone = header.fin && header.opcode != Opcode::continuation;
    if (is_whole && is_alone) {
        const std::span<uint8_t> payload = input.first(header.payload_bytes);
        input = input.subspan(header.payload_bytes);
        if (header.key != 0) unmask(payload, header.key);
        frame_opcode_ = header.opcode;
        decoded =
            is_control(header.opcode) ? finish_control(payload) : whole_message(header, payload);
        return true;
    }
    frame_opcode_ = header.opcode;
    Pieces& held = pieces();
    held.frame_fin = header.fin;
    held.frame_bytes_left = header.payload_bytes;
    held.key = header.key;
    if (is_control(header.opcode)) {
        held.control =
            std::make_unique<uint8_t[]>(control_payload_bytes_max + base::readable_padding_bytes);
        held.control_bytes = 0;
        state_ = State::control_payload;
        return false;
    }
    if (header.opcode != Opcode::continuation) {
        message_opcode_ = header.opcode;
        held.is_message_compressed = header.is_compressed;
        held.utf8 = Utf8Check();
        held.fragments_count = 0;
    }
    if (held.fragments_count < UINT16_MAX) ++held.fragments_count;
    state_ = State::data_payload;
    return false;
}

// A message in one frame that stands whole in the input.
Decoded FrameDecoder::whole_message(const Header& header, std::span<uint8_t> payload) {
    const bool is_text = header.opcode == Opcode::text;
    if (is_text && !header.is_compressed && !is_utf8(payload)) return fail(Violation::utf8_invalid);
    return {.kind = is_text ? Decoded::Kind::text : Decoded::Kind::binary,
            .is_compressed = header.is_compressed,
            .payload = payload};
}

// Moves what has arrived of a data frame to the message. True: `decoded` is to be handed out.
bool FrameDecoder::take_data(std::span<uint8_t>& input, const FrameLimits& limits,
                             Decoded& decoded) {
    Pieces& held = *pieces_;
    const bool is_plain_text = message_opcode_ == Opcode::text && !held.is_message_compressed;
    const size_t taken = std::min<uint64_t>(held.frame_bytes_left, input.size());
    if (taken > 0) {
        reserve(held.message_bytes + taken, limits.message_bytes_max);
        const std::span<uint8_t> piece(held.message.get() + held.message_bytes, taken);
        std::memcpy(piece.data(), input.data(), taken);
        if (held.key != 0) unmask(piece, held.key);
        held.key = advanced_masking_key(held.key, taken);
        held.message_bytes += static_cast<uint32_t>(taken);
        held.frame_bytes_left -= taken;
        input = input.subspan(taken);
        if (is_plain_text && !held.utf8.feed(piece)) {
            decoded = fail(Violation::utf8_invalid);
            return true;
        }
    }
    if (held.frame_bytes_left > 0) return true;
    state_ = State::header;
    if (!held.frame_fin) return false;
    if (is_plain_text && !held.utf8.is_complete()) {
        decoded = fail(Violation::utf8_invalid);
        return true;
    }
    decoded.kind = message_opcode_ == Opcode::text ? Decoded::Kind::text : Decoded::Kind::binary;
    decoded.is_compressed = held.is_message_compressed;
    // A message of empty fragments has no buffer; what follows the input is as readable.
    decoded.payload =
        held.message ? std::span<uint8_t>(held.message.get(), held.message_bytes) : input.first(0);
    message_opcode_ = Opcode::continuation;
    held.message_delivered = true;
    return true;
}

// Moves what has arrived of a control frame to its buffer. True: `decoded` is to be handed out.
bool FrameDecoder::take_control(std::span<uint8_t>& input, Decoded& decoded) {
    Pieces& held = *pieces_;
    const size_t taken = std::min<uint64_t>(held.frame_bytes_left, input.size());
    const std::span<uint8_t> piece(held.control.get() + held.control_bytes, taken);
    if (taken > 0) std::memcpy(piece.data(), input.data(), taken);
    if (held.key != 0) unmask(piece, held.key);
    held.key = advanced_masking_key(held.key, taken);
    held.control_bytes = static_cast<uint8_t>(held.control_bytes + taken);
    held.frame_bytes_left -= taken;
    input = input.subspan(taken);
    const std::span<uint8_t> payload(held.control.get(), held.control_bytes);
    if (held.frame_bytes_left == 0) {
        state_ = State::header;
        decoded = finish_control(payload);
        return true;
    }
    if (frame_opcode_ == Opcode::close) {
        const Violation violation = check_close(payload, false);
        if (violation != Violation::none) decoded = fail(violation);
    }
    return true;
}

Decoded FrameDecoder::finish_control(std::span<uint8_t> payload) {
    if (frame_opcode_ == Opcode::ping) return {.kind = Decoded::Kind::ping, .payload = payload};
    if (frame_opcode_ == Opcode::pong) return {.kind = Decoded::Kind::pong, .payload = payload};
    CHECK(frame_opcode_ == Opcode::close);
    const Violation violation = check_close(payload, true);
    if (violation != Violation::none) return fail(violation);
    state_ = State::closed;
    if (payload.empty()) {
        return {.kind = Decoded::Kind::close, .close_code = close_code_absent, .payload = payload};
    }
    const uint64_t code = get_big_endian(payload.first(close_code_bytes));
    return {.kind = Decoded::Kind::close,
            .close_code = static_cast<uint16_t>(code),
            .payload = payload.subspan(close_code_bytes)};
}

Decoded FrameDecoder::fail(Violation violation) {
    state_ = State::dead;
    pieces_.reset();
    return {.kind = Decoded::Kind::violation, .violation = violation, .payload = {}};
}

// Room for so many bytes of the message. Doubles, so that a message in many small pieces is copied
// a bounded number of times, but never beyond the limit.
void FrameDecoder::reserve(uint64_t bytes_count, uint64_t message_bytes_max) {
    CHECK(bytes_count <= message_bytes_max);
    Pieces& held = *pieces_;
    if (bytes_count <= held.message_capacity_bytes) return;
    const uint64_t doubled =
        std::max<uint64_t>(uint64_t{held.message_capacity_bytes} * 2, message_capacity_bytes_min);
    const uint64_t capacity = std::max(bytes_count, std::min(doubled, message_bytes_max));
    auto grown = std::make_unique_for_overwrite<uint8_t[]>(capacity + base::readable_padding_bytes);
    if (held.message_bytes > 0) std::memcpy(grown.get(), held.message.get(), held.message_bytes);
    std::memset(grown.get() + capacity, 0, base::readable_padding_bytes);
    held.message = std::move(grown);
    held.message_capacity_bytes = static_cast<uint32_t>(capacity);
}

// What the last call handed out dies now: an idle connection holds no buffers.
void FrameDecoder::release_delivered() {
    if (pieces_ == nullptr) return;
    const bool is_between_messages = state_ != State::data_payload &&
                                     state_ != State::control_payload &&
                                     message_opcode_ == Opcode::continuation;
    if (is_between_messages && pieces_->header_bytes == 0) {
        pieces_.reset();
        return;
    }
    if (pieces_->message_delivered) {
        pieces_->message.reset();
        pieces_->message_capacity_bytes = 0;
        pieces_->message_bytes = 0;
        pieces_->message_delivered = false;
    }
    if (state_ != State::control_payload) pieces_->control.reset();
}

}  // namespace codec
