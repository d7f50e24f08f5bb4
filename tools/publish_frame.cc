#include "tools/publish_frame.h"

#include "codec/base64.h"
#include "codec/reply.h"
#include "codec/utf8.h"
#include "io/base/units.h"

namespace tools {
namespace {

bool is_utf8(std::string_view text) {
    return codec::is_utf8({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

}  // namespace

PublishEncoder::PublishEncoder(std::string_view topic, PubKind kind, uint64_t seed)
    : topic_(topic), kind_(kind), parser_(seed) {}

std::string PublishEncoder::encode(uint64_t id, std::string_view key, std::string_view data,
                                   std::string& frame) {
    PubKind kind = kind_;
    if (kind != PubKind::binary && !is_utf8(data)) return "not UTF-8; --binary publishes any bytes";
    if (kind == PubKind::automatic || kind == PubKind::json) {
        if (is_json(data)) {
            kind = PubKind::json;
        } else if (kind == PubKind::json) {
            return "not JSON (RFC 8259, no duplicate keys, at most 64 levels)";
        } else {
            kind = PubKind::text;
        }
    }
    build(id, key, data, kind, frame);
    return "";
}

// Both questions are needed. Data that is no JSON by itself (`1,"echo":false`) could make a fine
// command, and data at the limit of depth is beyond it once it stands inside a command.
bool PublishEncoder::is_json(std::string_view data) {
    padded_.assign(data);
    padded_.append(base::readable_padding_bytes, ' ');
    if (!parser_.validate_json(std::string_view(padded_).substr(0, data.size()))) return false;
    build(0, "", data, PubKind::json, padded_);
    const size_t frame_bytes = padded_.size();
    padded_.append(base::readable_padding_bytes, ' ');
    return parser_.parse(std::string_view(padded_).substr(0, frame_bytes)).error ==
           codec::ErrorCode::none;
}

void PublishEncoder::build(uint64_t id, std::string_view key, std::string_view data, PubKind kind,
                           std::string& frame) const {
    frame = R"({"op":"publish","id":)" + std::to_string(id) + R"(,"topic":)";
    codec::append_json_string(frame, topic_);
    if (!key.empty()) {
        frame += R"(,"key":)";
        codec::append_json_string(frame, key);
    }
    switch (kind) {
        case PubKind::automatic:
        case PubKind::json:
            frame += R"(,"data":)";
            frame += data;
            break;
        case PubKind::text:
            frame += R"(,"text":)";
            codec::append_json_string(frame, data);
            break;
        case PubKind::binary:
            frame += R"(,"base64":")";
            codec::append_base64(frame, data);
            frame += '"';
            break;
    }
    frame += '}';
}

}  // namespace tools
