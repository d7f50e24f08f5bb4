#include "tests/broker/sent_check.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <span>
#include <string>

#include "codec/command.h"
#include "codec/frame_decoder.h"
#include "codec/inflater.h"
#include "codec/position.h"
#include "io/base/check.h"
#include "io/base/units.h"

namespace broker::testing {
namespace {

using codec::Decoded;

constexpr uint64_t message_bytes_max = base::mib;

// The number behind `name`, 0 without it.
uint64_t number_behind(std::string_view text, std::string_view name) {
    const size_t at = text.find(name);
    uint64_t number = 0;
    if (at == std::string_view::npos) return number;
    std::from_chars(text.data() + at + name.size(), text.data() + text.size(), number);
    return number;
}

// The texts of one connection of the native dialect.
class Texts {
  public:
    void take(std::string_view text) {
        // It keeps only memory from input to input.
        static codec::CommandParser parser(3);
        CHECK(text.starts_with(R"({"op":")") && parser.validate_json(text));
        const bool is_welcome = text.starts_with(R"({"op":"welcome",)");
        CHECK(is_first_ ? is_welcome || text.starts_with(R"({"op":"goodbye",)") : !is_welcome);
        is_first_ = false;
        if (text.starts_with(R"({"op":"message",)")) {
            take_message(text);
        } else if (text.starts_with(R"({"op":"replay",)")) {
            CHECK(announced_count_ == 0);
            announced_count_ = number_behind(text, R"(,"count":)");
            CHECK(announced_count_ > 0);
        } else if (text.starts_with(R"({"op":"live",)")) {
            CHECK(announced_count_ == 0);
            replayed_.clear();
        } else if (text.starts_with(R"({"op":"unsubscribed")")) {
            // A replay whose filters are all given up ends here, without a "live". Which filters
            // these were, and whether another replay goes on, is not in the text; the simulator's
            // oracle knows.
            CHECK(announced_count_ == 0);
            replayed_.clear();
        }
    }

  private:
    void take_message(std::string_view text) {
        constexpr std::string_view opening = R"({"op":"message","topic":")";
        CHECK(text.starts_with(opening));
        size_t topic_end = opening.size();
        while (text[topic_end] != '"') topic_end += text[topic_end] == '\\' ? 2u : 1u;
        text.remove_prefix(topic_end + 1);
        const bool is_announced = announced_count_ > 0;
        if (is_announced) --announced_count_;
        constexpr std::string_view member = R"(,"pos":")";
        CHECK(text.starts_with(member) || !is_announced);
        if (!text.starts_with(member)) return;
        text.remove_prefix(member.size());
        codec::Position position;
        CHECK(codec::parse_position(text.substr(0, text.find('"')), position));
        uint64_t& offset = (is_announced ? replayed_ : live_)[position.partition];
        CHECK(position.offset > offset);
        offset = position.offset;
    }

    bool is_first_ = true;
    uint64_t announced_count_ = 0;
    // The last offset by partition.
    std::map<uint32_t, uint64_t> replayed_;  // of the replay that has begun
    std::map<uint32_t, uint64_t> live_;
};

void check_frames(std::string_view bytes, Sent kind, bool allows_compression) {
    static codec::Inflater inflater{{}};
    std::string copy(bytes);
    copy.resize(bytes.size() + base::readable_padding_bytes);
    std::span<uint8_t> input{reinterpret_cast<uint8_t*>(copy.data()), bytes.size()};
    codec::FrameDecoder decoder(codec::Role::client);
    Texts texts;
    while (true) {
        const Decoded decoded = decoder.next(input, {.message_bytes_max = message_bytes_max,
                                                     .allows_compression = allows_compression});
        if (decoded.kind == Decoded::Kind::need_more) return;
        CHECK(decoded.kind != Decoded::Kind::violation);
        CHECK(decoded.kind != Decoded::Kind::close || input.empty());
        if (kind == Sent::unknown) continue;
        CHECK(decoded.kind != Decoded::Kind::binary);
        if (decoded.kind != Decoded::Kind::text) continue;
        std::span<const uint8_t> text = decoded.payload;
        if (decoded.is_compressed) {
            const codec::Inflated inflated = inflater.inflate_message(
                text, {.message_bytes_max = message_bytes_max, .is_text = true});
            CHECK(inflated.violation == codec::Violation::none);
            text = inflated.plain;
        }
        texts.take({reinterpret_cast<const char*>(text.data()), text.size()});
    }
}

}  // namespace

void check_sent(std::string_view bytes, Sent kind) {
    constexpr std::string_view version = "HTTP/1.1 ";
    while (!bytes.empty()) {
        const size_t compared = std::min(bytes.size(), version.size());
        CHECK(bytes.substr(0, compared) == version.substr(0, compared));
        const size_t head_end = bytes.find("\r\n\r\n");
        if (head_end == std::string_view::npos) return;
        const std::string_view head = bytes.substr(0, head_end + 2);
        bytes.remove_prefix(head_end + 4);
        if (head.substr(version.size(), 3) == "101") {
            const bool is_compressed = head.find("permessage-deflate") != std::string_view::npos;
            return check_frames(bytes, kind, is_compressed);
        }
        // The answer to a HEAD tells of content that it does not have; none of ours begins so.
        if (bytes.starts_with(version)) continue;
        const uint64_t content_bytes = number_behind(head, "\r\nContent-Length: ");
        bytes.remove_prefix(std::min<uint64_t>(content_bytes, bytes.size()));
    }
}

}  // namespace broker::testing
