// LoadShard's receiving side: from bytes to deliveries.

#include <algorithm>

#include "codec/position.h"
#include "tools/bench/load_shard.h"

namespace bench {
namespace {

// More than any server's message here; what a server sends beyond it ends the run.
constexpr codec::FrameLimits frame_limits{.message_bytes_max = 16 * base::mib};

std::string_view text_of(std::span<const uint8_t> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

void LoadShard::on_frame_bytes(Client& client, std::span<uint8_t> bytes) {
    while (!bytes.empty()) {
        if (!client.is_mid_frame) bytes = bytes.subspan(take_whole_frames(client, bytes));
        if (bytes.empty() || !decode(client, bytes)) return;
    }
}

// The quick way, for what nearly all of the bytes are: whole unfragmented data frames of up to
// 64 KiB. Answers how many bytes those in front had; the decoder takes what is left.
size_t LoadShard::take_whole_frames(Client& client, std::span<uint8_t> bytes) {
    size_t at = 0;
    while (bytes.size() - at >= 4) {
        const uint8_t first = bytes[at];
        if (first != 0x81 && first != 0x82) break;  // FIN, no RSV, text or binary
        size_t payload_bytes = bytes[at + 1];
        size_t header_bytes = 2;
        if (payload_bytes == 126) {
            payload_bytes = size_t{bytes[at + 2]} << 8 | bytes[at + 3];
            header_bytes = 4;
        } else if (payload_bytes > 126) {
            break;  // longer, or masked, which the decoder refuses
        }
        if (bytes.size() - at < header_bytes + payload_bytes) break;
        on_message(client, text_of(bytes.subspan(at + header_bytes, payload_bytes)));
        at += header_bytes + payload_bytes;
    }
    return at;
}

// The thorough way, until a message is complete: then the quick one is open again. False when
// nothing is left to do with these bytes.
bool LoadShard::decode(Client& client, std::span<uint8_t>& bytes) {
    using Kind = codec::Decoded::Kind;
    client.is_mid_frame = true;
    while (true) {
        const codec::Decoded decoded = client.decoder.next(bytes, frame_limits);
        switch (decoded.kind) {
            case Kind::need_more: return false;
            case Kind::text:
            case Kind::binary:
                on_message(client, text_of(decoded.payload));
                client.is_mid_frame = false;
                return true;
            case Kind::ping:
                append_frame(client, codec::Opcode::pong, text_of(decoded.payload));
                break;
            case Kind::pong: break;
            case Kind::close:
                on_close_frame(client, decoded.close_code, text_of(decoded.payload));
                return false;
            case Kind::violation:
                if (client.state != Client::State::closing) {
                    end(client, "the server's frames break RFC 6455");
                }
                return false;
        }
    }
}

void LoadShard::on_close_frame(Client& client, uint16_t code, std::string_view reason) {
    if (client.state == Client::State::closing || client.is_leaving) return;
    std::string why = "the server closed it with " + std::to_string(code);
    if (!reason.empty()) why += " (" + std::string(reason) + ")";
    end(client, why);
}

void LoadShard::on_message(Client& client, std::string_view message) {
    if (plan_.scenario == Scenario::listen && client.state == Client::State::live) {
        on_delivery(client, {.kind = Incoming::Kind::delivery, .payload = message});
        return;
    }
    if (!dialect_.is_stream()) {
        on_things(client, message);
        return;
    }
    if (client.unread.empty()) {
        on_things(client, message);
        client.unread.assign(message);
        return;
    }
    client.unread += message;
    std::string_view rest = client.unread;
    on_things(client, rest);
    client.unread.erase(0, client.unread.size() - rest.size());
}

void LoadShard::on_things(Client& client, std::string_view& rest) {
    while (!rest.empty()) {
        const Incoming incoming = dialect_.next(rest);
        switch (incoming.kind) {
            case Incoming::Kind::need_more: return;
            case Incoming::Kind::delivery: on_delivery(client, incoming); break;
            case Incoming::Kind::answered: on_answered(client, incoming.cursor_object); break;
            case Incoming::Kind::ping:
                append_frame(client, codec::Opcode::binary, dialect_.pong());
                break;
            case Incoming::Kind::refused:
                board_.fail("the server refused: " + std::string(incoming.payload));
                break;
            case Incoming::Kind::other:
                if (!incoming.cursor_object.empty()) note_cursor(client, incoming.cursor_object);
                break;
        }
    }
}

// Another load's stamp, read with our cipher, names a publisher, a topic or a time that we never
// had.
bool LoadShard::is_ours(const Stamp& stamp) const {
    if (stamp.publisher >= layout_.publishers_count()) return false;
    if (stamp.topic >= layout_.topics_count()) return false;
    const uint64_t begin_ns = board_.publish_begin_ns.load(std::memory_order_relaxed);
    if (begin_ns == 0) return false;
    // The publisher's thread may have looked at the clock after this one.
    const uint64_t latest_ns = reactor_.now_ns() + base::ns_per_s;
    constexpr uint64_t time_mask = (uint64_t{1} << Stamp::time_bits) - 1;
    const uint64_t so_far_ns = std::min(latest_ns - begin_ns, time_mask);
    return ((latest_ns - stamp.time_ns) & time_mask) <= so_far_ns;
}

void LoadShard::on_delivery(Client& client, const Incoming& incoming) {
    if (!client.role.subscribes) return;
    // Whoever only listens has published nothing that could be known again.
    if (plan_.scenario == Scenario::listen) {
        ++delivered_now_;
        return;
    }
    const std::optional<Stamp> stamp = read_stamp(incoming.payload, plan_.seed);
    if (!stamp || !is_ours(*stamp)) {
        ++result_.foreign;
        return;
    }
    ++delivered_now_;
    const uint64_t latency_ns = age_ns(*stamp, reactor_.now_ns());
    const uint64_t sent_ns = reactor_.now_ns() - latency_ns;
    if (sent_ns >= measure_begin_ns_ && sent_ns < measure_end_ns_) {
        result_.latency_ns.record(latency_ns);
    }
    if (latency_ns > latency_max_now_ns_) latency_max_now_ns_ = latency_ns;
    if (client.check != nullptr) {
        client.check->take(incoming.payload, *stamp, plan_.payload.size_of(*stamp), result_.check);
    }
    if (client.cursor != nullptr && !incoming.position.empty()) {
        codec::Position position;
        if (codec::parse_position(incoming.position, position)) client.cursor->raise(position);
    }
}

}  // namespace bench
