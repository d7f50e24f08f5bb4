// MQTT 3.1.1 over WebSocket, as much of it as a load needs (§ are those of the OASIS standard).

#include <cstdio>
#include <optional>

#include "tools/bench/dialects.h"

namespace bench {
namespace {

constexpr uint8_t packet_connect = 0x10;
constexpr uint8_t packet_connack = 0x20;
constexpr uint8_t packet_publish = 0x30;
constexpr uint8_t packet_subscribe = 0x82;  // with the flags that §3.8.1 demands
constexpr uint8_t packet_suback = 0x90;
constexpr uint32_t length_bytes_max = 4;  // §2.2.3

void append_byte(std::string& out, size_t value) {
    out += static_cast<char>(value & 0xff);
}

void append_u16(std::string& out, size_t value) {
    append_byte(out, value >> 8);
    append_byte(out, value);
}

void append_string(std::string& out, std::string_view text) {
    append_u16(out, text.size());
    out += text;
}

void append_head(std::string& out, uint8_t packet, size_t length) {
    append_byte(out, packet);
    do {
        const size_t more = length >= 128 ? 0x80 : 0;
        append_byte(out, (length & 0x7f) | more);
        length >>= 7;
    } while (length > 0);
}

uint8_t byte_at(std::string_view bytes, size_t index) {
    return static_cast<uint8_t>(bytes[index]);
}

struct Head {
    uint8_t packet;
    size_t head_bytes;
    size_t length;
};

// Nothing while it is not there in full. A length of more than four bytes is read as four.
std::optional<Head> read_head(std::string_view bytes) {
    size_t length = 0;
    for (size_t index = 1; index <= length_bytes_max && index < bytes.size(); ++index) {
        length |= size_t{byte_at(bytes, index) & 0x7fU} << (7 * (index - 1));
        if ((byte_at(bytes, index) & 0x80) == 0 || index == length_bytes_max) {
            return Head{byte_at(bytes, 0), index + 1, length};
        }
    }
    return std::nullopt;
}

}  // namespace

// A server ends the older one of two connections with the same name, so loads that run at the same
// time must not share names. Every server takes 23 letters and digits (§3.1.3.1): these 13, and up
// to 10 of the connection's number.
MqttDialect::MqttDialect(uint64_t seed) {
    constexpr uint64_t mask = (uint64_t{1} << 48) - 1;
    char text[16];
    std::snprintf(text, sizeof text, "b%012llx", static_cast<unsigned long long>(seed & mask));
    client_prefix_ = text;
}

void MqttDialect::append_opening(std::string& out, uint32_t connection, const Role& role,
                                 std::string_view filter, const tools::Cursor*) const {
    // §3.1: protocol MQTT, level 4, a clean session, no keep-alive. The server chooses no name, for
    // some refuse an empty one.
    std::string connect;
    append_string(connect, "MQTT");
    append_byte(connect, 4);
    append_byte(connect, 2);
    append_u16(connect, 0);
    append_string(connect, client_prefix_ + std::to_string(connection));
    append_head(out, packet_connect, connect.size());
    out += connect;
    if (!role.subscribes) return;
    std::string subscribe;
    append_u16(subscribe, 1);
    append_string(subscribe, filter);
    append_byte(subscribe, 0);
    append_head(out, packet_subscribe, subscribe.size());
    out += subscribe;
}

void MqttDialect::append_publish(std::string& out, std::string_view topic, uint64_t,
                                 std::string_view payload) const {
    append_head(out, packet_publish, 2 + topic.size() + payload.size());
    append_string(out, topic);
    out += payload;
}

Incoming MqttDialect::next(std::string_view& rest) const {
    const std::optional<Head> head = read_head(rest);
    if (!head || rest.size() < head->head_bytes + head->length) {
        return {.kind = Incoming::Kind::need_more};
    }
    const std::string_view body = rest.substr(head->head_bytes, head->length);
    rest.remove_prefix(head->head_bytes + head->length);
    switch (head->packet & 0xf0) {
        case packet_connack:
            if (body.size() == 2 && body[1] == 0) return {.kind = Incoming::Kind::answered};
            return {.kind = Incoming::Kind::refused, .payload = "CONNACK refuses the connection"};
        case packet_suback:
            if (body.size() == 3 && byte_at(body, 2) < 0x80) {
                return {.kind = Incoming::Kind::answered};
            }
            return {.kind = Incoming::Kind::refused, .payload = "SUBACK refuses the subscription"};
        case packet_publish: break;
        default: return {};
    }
    if (body.size() < 2) return {};
    const size_t topic_bytes = size_t{byte_at(body, 0)} << 8 | byte_at(body, 1);
    if (body.size() < 2 + topic_bytes) return {};
    return {.kind = Incoming::Kind::delivery, .payload = body.substr(2 + topic_bytes)};
}

}  // namespace bench
