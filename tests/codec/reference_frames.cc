#include "tests/codec/reference_frames.h"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "tests/codec/reference_utf8.h"

namespace codec::testing {
namespace {

using Kind = Decoded::Kind;

bool is_sendable(uint32_t code) {
    if (code >= 3000 && code <= 4999) return true;
    constexpr uint32_t registered[] = {1000, 1001, 1002, 1003, 1007, 1008,
                                       1009, 1010, 1011, 1012, 1013, 1014};
    return std::find(std::begin(registered), std::end(registered), code) != std::end(registered);
}

class Reading {
  public:
    Reading(Role role, const FrameLimits& limits, std::string_view wire)
        : role_(role), limits_(limits), wire_(wire) {}

    ReferenceFrames read() {
        while (!is_closed_ && read_frame()) {
        }
        return result_;
    }

  private:
    // Of the frame that is being read.
    struct Frame {
        bool fin;
        bool rsv1;
        uint32_t opcode;
        bool is_control() const { return opcode >= 8; }
    };

    std::optional<uint8_t> byte() {
        if (at_ == wire_.size()) return std::nullopt;
        return static_cast<uint8_t>(wire_[at_++]);
    }

    void blame(bool is_wrong, Violation violation) {
        if (is_wrong) result_.violations.push_back(violation);
    }
    bool is_right() const { return result_.violations.empty(); }

    // False, here and below: there is no more to read, or no sense in it.
    bool read_frame() {
        const std::optional<uint8_t> first = byte();
        if (!first) return false;
        const Frame frame = {
            .fin = *first >= 0x80, .rsv1 = (*first & 0x40) != 0, .opcode = *first & 0x0fu};
        blame_first_byte(frame, (*first & 0x30) != 0);
        if (!is_right()) return false;
        uint64_t payload_bytes = 0;
        if (!read_length(frame, payload_bytes)) return false;
        std::string key(4, '\0');
        for (size_t index = 0; role_ == Role::server && index < key.size(); ++index) {
            const std::optional<uint8_t> one = byte();
            if (!one) return false;
            key[index] = static_cast<char>(*one);
        }
        std::string payload(wire_.substr(at_, payload_bytes));
        at_ += payload.size();
        for (size_t index = 0; index < payload.size(); ++index) {
            payload[index] = static_cast<char>(payload[index] ^ key[index % 4]);
        }
        const bool is_whole = payload.size() == payload_bytes;
        if (frame.is_control()) {
            take_control(frame, payload, is_whole);
        } else {
            take_data(frame, payload, is_whole);
        }
        return is_right() && is_whole;
    }

    void blame_first_byte(const Frame& frame, bool has_rsv2_or_3) {
        const bool is_known = frame.opcode <= 2 || (frame.opcode >= 8 && frame.opcode <= 10);
        const bool begins_message = frame.opcode == 1 || frame.opcode == 2;
        const bool may_be_compressed = limits_.allows_compression && begins_message;
        blame(has_rsv2_or_3 || (frame.rsv1 && !may_be_compressed), Violation::reserved_bits);
        blame(!is_known, Violation::reserved_opcode);
        blame(frame.is_control() && !frame.fin, Violation::control_fragmented);
        blame(begins_message && message_, Violation::continuation_missing);
        blame(frame.opcode == 0 && !message_, Violation::continuation_unexpected);
        blame(frame.opcode == 0 && message_ && limits_.fragments_max > 0 &&
                  fragments_count_ == limits_.fragments_max,
              Violation::fragments_too_many);
    }

    bool read_length(const Frame& frame, uint64_t& payload_bytes) {
        const std::optional<uint8_t> second = byte();
        if (!second) return false;
        const bool is_masked = *second >= 0x80;
        payload_bytes = *second & 0x7f;
        blame(!is_masked && role_ == Role::server, Violation::mask_missing);
        blame(is_masked && role_ == Role::client, Violation::mask_unexpected);
        blame(frame.is_control() && payload_bytes > 125, Violation::control_too_long);
        blame(frame.opcode == 8 && payload_bytes == 1, Violation::close_payload_short);
        const uint32_t length_bytes = payload_bytes == 126 ? 2 : payload_bytes == 127 ? 8 : 0;
        if (is_right() && length_bytes > 0) {
            payload_bytes = 0;
            for (uint32_t index = 0; index < length_bytes; ++index) {
                const std::optional<uint8_t> one = byte();
                if (!one) return false;
                blame(length_bytes == 8 && index == 0 && *one >= 0x80, Violation::length_too_long);
                if (!is_right()) return false;
                payload_bytes = payload_bytes << 8 | *one;
            }
            const uint64_t shorter_max = length_bytes == 2 ? 125 : UINT16_MAX;
            blame(payload_bytes <= shorter_max, Violation::length_not_minimal);
        }
        const uint64_t earlier_bytes = message_ ? message_->payload.size() : 0;
        blame(!frame.is_control() && earlier_bytes + payload_bytes > limits_.message_bytes_max,
              Violation::message_too_big);
        return is_right();
    }

    void take_control(const Frame& frame, const std::string& payload, bool is_whole) {
        if (frame.opcode == 8 && payload.size() >= 2) {
            const uint32_t code = static_cast<uint32_t>(static_cast<uint8_t>(payload[0])) << 8 |
                                  static_cast<uint8_t>(payload[1]);
            blame(!is_sendable(code), Violation::close_code_invalid);
            if (!is_right()) return;
            const Utf8 reason = utf8_of(std::string_view(payload).substr(2));
            blame(reason == Utf8::invalid || (is_whole && reason == Utf8::unfinished),
                  Violation::utf8_invalid);
            if (!is_right() || !is_whole) return;
            is_closed_ = true;
            result_.outcomes.push_back(
                {Kind::close, Violation::none, static_cast<uint16_t>(code), payload.substr(2)});
            return;
        }
        if (!is_whole) return;
        is_closed_ = frame.opcode == 8;
        const Kind kind = is_closed_ ? Kind::close : frame.opcode == 9 ? Kind::ping : Kind::pong;
        constexpr uint16_t no_code = 1005;
        result_.outcomes.push_back(
            {kind, Violation::none, is_closed_ ? no_code : uint16_t{0}, payload});
    }

    void take_data(const Frame& frame, const std::string& payload, bool is_whole) {
        if (!message_) {
            const Kind kind = frame.opcode == 1 ? Kind::text : Kind::binary;
            message_ = Outcome{kind, Violation::none, 0, "", frame.rsv1};
            fragments_count_ = 0;
        }
        ++fragments_count_;
        message_->payload += payload;
        const bool is_end = frame.fin && is_whole;
        if (message_->kind == Kind::text && !message_->is_compressed) {
            const Utf8 text = utf8_of(message_->payload);
            blame(text == Utf8::invalid || (is_end && text == Utf8::unfinished),
                  Violation::utf8_invalid);
        }
        if (!is_right() || !is_end) return;
        result_.outcomes.push_back(*message_);
        message_.reset();
    }

    const Role role_;
    const FrameLimits limits_;
    const std::string_view wire_;
    size_t at_ = 0;
    bool is_closed_ = false;
    std::optional<Outcome> message_;  // has begun and has not ended
    uint32_t fragments_count_ = 0;
    ReferenceFrames result_;
};

}  // namespace

ReferenceFrames reference_frames(Role role, const FrameLimits& limits, std::string_view wire) {
    return Reading(role, limits, wire).read();
}

std::string find_frame_disagreement(Role role, const FrameLimits& limits, std::string_view wire,
                                    const std::vector<Outcome>& outcomes) {
    const ReferenceFrames reference = reference_frames(role, limits, wire);
    std::vector<Outcome> ours = outcomes;
    if (!ours.empty() && ours.back().kind == Kind::violation) {
        const auto& blamed = reference.violations;
        const Violation violation = ours.back().violation;
        if (std::find(blamed.begin(), blamed.end(), violation) == blamed.end()) {
            return std::string("ours refuses: ").append(codec::describe(violation));
        }
        ours.pop_back();
    } else if (!reference.violations.empty()) {
        return std::string("ours accepts: ").append(codec::describe(reference.violations.front()));
    }
    if (ours == reference.outcomes) return "";
    return "ours:\n" + describe(ours) + "the reference:\n" + describe(reference.outcomes);
}

}  // namespace codec::testing
