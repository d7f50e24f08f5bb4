#include "tests/broker/shard_world.h"

#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "codec/ip_address.h"
#include "io/base/check.h"

namespace broker::testing {

std::string client_frame(codec::Opcode opcode, std::string_view payload, bool fin) {
    const uint8_t key[4] = {0x12, 0xab, 0x34, 0xcd};
    uint8_t header[codec::frame_header_bytes_max];
    const uint32_t header_bytes = codec::encode_masked_frame_header(
        {.opcode = opcode, .fin = fin, .payload_bytes = payload.size()}, key, header);
    std::string frame(reinterpret_cast<const char*>(header), header_bytes);
    for (size_t index = 0; index < payload.size(); ++index) {
        frame += static_cast<char>(static_cast<uint8_t>(payload[index]) ^ key[index % 4]);
    }
    return frame;
}

std::string close_payload(uint16_t code, std::string_view reason) {
    std::string payload{static_cast<char>(code >> 8), static_cast<char>(code & 0xff)};
    return payload.append(reason);
}

std::string message_text(std::string_view topic, std::string_view payload) {
    return "{\"op\":\"message\",\"topic\":\"" + std::string(topic) + "\"," + std::string(payload) +
           "}";
}

std::string message_text(std::string_view topic, std::string_view position,
                         std::string_view payload) {
    return message_text(topic, "\"pos\":\"" + std::string(position) + "\"," + std::string(payload));
}

std::string cursor_text(const std::vector<std::string>& positions) {
    std::vector<std::string> quoted;
    for (const std::string& position : positions) quoted.push_back("\"" + position + "\"");
    return R"({"epoch":"epoch","pos":)" + array_of(quoted) + "}";
}

std::string subscribed_text(std::string_view id, const std::vector<std::string>& positions,
                            bool is_recoverable, std::string_view rest) {
    std::string text = R"({"op":"subscribed")";
    if (!id.empty()) text.append(R"(,"id":)").append(id);
    text.append(R"(,"cursor":)").append(cursor_text(positions));
    text.append(is_recoverable ? R"(,"recoverable":true)" : R"(,"recoverable":false)");
    return text.append(rest) + "}";
}

std::string array_of(const std::vector<std::string>& values) {
    std::string text = "[";
    for (const std::string& value : values) {
        if (text.size() > 1) text += ',';
        text += value;
    }
    return text + "]";
}

std::string error_code(const std::string& text) {
    const size_t begin = text.find("\"code\":\"");
    if (!text.starts_with("{\"op\":\"error\"") || begin == std::string::npos) {
        return "no error: " + text;
    }
    return text.substr(begin + 8, text.find('"', begin + 8) - begin - 8);
}

FakeSocket& Peer::socket() const {
    return world_->kernel(shard_).sockets[number_];
}

void Peer::send(std::string_view bytes) const {
    socket().inbound.append(bytes);
    world_->settle();
}

void Peer::subscribe(std::string_view filter) const {
    say("{\"op\":\"subscribe\",\"filter\":\"" + std::string(filter) + "\"}");
    const std::vector<std::string> texts = take_texts();
    CHECK(texts.size() == 1 && texts[0].starts_with("{\"op\":\"subscribed\","));
}

void Peer::finish() const {
    socket().peer_finished = true;
    world_->settle();
}

void Peer::fail(int error) const {
    socket().error = error;
    world_->settle();
}

void Peer::read_on() const {
    socket().send_room_bytes = UINT64_MAX;
    world_->settle();
}

std::string Peer::take_bytes() const {
    return std::exchange(socket().outbound, {});
}

std::vector<Frame> Peer::take_frames() const {
    std::string& outbound = socket().outbound;
    const size_t bytes_count = outbound.size();
    outbound.resize(bytes_count + base::readable_padding_bytes);
    std::span<uint8_t> input{reinterpret_cast<uint8_t*>(outbound.data()), bytes_count};
    codec::FrameDecoder decoder(codec::Role::client);
    std::vector<Frame> frames;
    while (true) {
        const codec::Decoded decoded =
            decoder.next(input, {.message_bytes_max = uint64_t{1} << 28});
        if (decoded.kind == codec::Decoded::Kind::need_more) break;
        CHECK(decoded.kind != codec::Decoded::Kind::violation);
        frames.push_back(
            {decoded.kind,
             decoded.close_code,
             {reinterpret_cast<const char*>(decoded.payload.data()), decoded.payload.size()}});
    }
    CHECK(decoder.buffered_bytes() == 0);  // only whole frames came
    outbound.clear();
    return frames;
}

std::vector<std::string> Peer::take_texts() const {
    std::vector<std::string> texts;
    for (Frame& frame : take_frames()) {
        CHECK(frame.kind == codec::Decoded::Kind::text);
        texts.push_back(std::move(frame.payload));
    }
    return texts;
}

std::string Peer::take_response() const {
    std::string& outbound = socket().outbound;
    const size_t head_end = outbound.find("\r\n\r\n");
    if (head_end == std::string::npos) return {};
    size_t bytes = head_end + 4;
    const size_t field = outbound.substr(0, head_end).find("Content-Length: ");
    if (field != std::string::npos) {
        size_t content_bytes = 0;
        const char* const begin = outbound.data() + field + 16;
        std::from_chars(begin, outbound.data() + head_end, content_bytes);
        bytes += content_bytes;
    }
    CHECK(outbound.size() >= bytes);
    std::string response = outbound.substr(0, bytes);
    outbound.erase(0, bytes);
    return response;
}

std::string Peer::upgrade_request(std::string_view extra_fields) {
    return "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
           "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n" +
           std::string(extra_fields) + "\r\n";
}

void Peer::upgrade(std::string_view extra_fields) const {
    send(upgrade_request(extra_fields));
    CHECK(take_response().starts_with("HTTP/1.1 101 "));
    const std::vector<std::string> texts = take_texts();
    CHECK(texts.size() == 1 && texts[0].starts_with("{\"op\":\"welcome\""));
}

World::World(const WorldOptions& options)
    : settings(options.settings),
      listeners_(options.listeners),
      mesh_({.shards_count = options.shards_count,
             .deliver_bytes = options.settings.lane_bytes,
             .forward_bytes = options.settings.lane_bytes}),
      exchange_(options.shards_count),
      metrics_(options.shards_count, "test"),
      log_(options.shards_count, options.log_level),
      gate_(settings, hash_seed),
      rules_(settings.topic_rules) {
    for (io::ShardId id = 0; id < options.shards_count; ++id) {
        auto impl = std::make_unique<io::Reactor::Impl>();
        impl->now_ns = now_ns_;
        reactors_.push_back(std::make_unique<io::Reactor>(std::move(impl)));
        for (size_t count = 0; count < listeners_.size(); ++count) reactors_[id]->listener_add(-1);
        shards_.push_back(std::make_unique<Shard>(ShardContext{.id = id,
                                                               .reactor = *reactors_[id],
                                                               .mesh = mesh_,
                                                               .settings = settings,
                                                               .metrics = metrics_,
                                                               .log = log_,
                                                               .gate = gate_,
                                                               .listeners = listeners_,
                                                               .epoch = "epoch",
                                                               .hash_seed = hash_seed,
                                                               .rules = rules_,
                                                               .random_seed = options.seed + id,
                                                               .settings_exchange = &exchange_}));
    }
    settle();
}

World::~World() {
    request(io::Request::stop_now);
    for (int round = 0; round < 100 && !is_stopped(); ++round) turn_all();
    for (const std::unique_ptr<Shard>& shard : shards_) {
        CHECK(shard->is_stopped());
        CHECK(shard->connections_count() == 0);
    }
    for (const std::unique_ptr<io::Reactor>& reactor : reactors_) {
        for (const FakeSocket& socket : reactor->impl().sockets) {
            CHECK(socket.is_closed || socket.slot.is_none());
        }
        for (const io::Reactor::Impl::Listener& listener : reactor->impl().listeners) {
            CHECK(listener.is_stopped);
        }
    }
    // What was subscribed, queued or half received is given up.
    CHECK(metric(Metric::subscriptions) == 0);
    CHECK(metric(Metric::subscriptions_catching_up) == 0);
    CHECK(metric(Metric::outbound_bytes) == 0);
    CHECK(metric(Metric::reassembly_bytes) == 0);
    CHECK(metric(Metric::websockets) == 0);
}

Peer World::connect(io::ShardId shard, uint16_t listener) {
    const uint32_t number = kernel(shard).connect(listener);
    settle();
    return Peer(*this, shard, number);
}

Peer World::connect_from(std::string_view address, io::ShardId shard) {
    const uint32_t number = kernel(shard).connect(0);
    io::PeerAddress& peer = kernel(shard).sockets[number].peer;
    const codec::IpAddress parsed = codec::parse_ip_address(address).value();
    if (parsed.is_v4()) {
        sockaddr_in v4{};
        v4.sin_family = AF_INET;
        std::memcpy(&v4.sin_addr, parsed.bytes.data() + 12, sizeof v4.sin_addr);
        std::memcpy(&peer.storage, &v4, sizeof v4);
        peer.length = sizeof v4;
    } else {
        sockaddr_in6 v6{};
        v6.sin6_family = AF_INET6;
        std::memcpy(&v6.sin6_addr, parsed.bytes.data(), sizeof v6.sin6_addr);
        std::memcpy(&peer.storage, &v6, sizeof v6);
        peer.length = sizeof v6;
    }
    settle();
    return Peer(*this, shard, number);
}

Peer World::client(io::ShardId shard, std::string_view extra_fields) {
    const Peer peer = connect(shard);
    peer.upgrade(extra_fields);
    return peer;
}

void World::turn_all() {
    for (const std::unique_ptr<Shard>& shard : shards_) shard->turn();
}

bool World::is_busy(io::ShardId shard) {
    const io::Reactor::Impl& impl = kernel(shard);
    return !impl.events.empty() || impl.deadline_ns <= impl.now_ns;
}

void World::settle() {
    // A shard that wrote to another one did so in its turn, and the other may have had its own
    // before: it says so in the next round. One shard alone has nothing to wait for when it says
    // so.
    const int quiet_rounds_wanted = shards_.size() == 1 ? 1 : 2;
    int quiet_rounds = 0;
    for (int round = 0; quiet_rounds < quiet_rounds_wanted; ++round) {
        CHECK(round < 20'000);
        bool is_quiet = true;
        for (io::ShardId id = 0; id < shards_.size(); ++id) {
            turn(id);
            is_quiet = is_quiet && !is_busy(id);
        }
        quiet_rounds = is_quiet ? quiet_rounds + 1 : 0;
    }
}

void World::jump(uint64_t duration_ns) {
    now_ns_ += duration_ns;
    for (const std::unique_ptr<io::Reactor>& reactor : reactors_) reactor->impl().now_ns = now_ns_;
}

void World::run_for(uint64_t duration_ns) {
    const uint64_t end_ns = now_ns_ + duration_ns;
    while (now_ns_ < end_ns) {
        uint64_t next_ns = end_ns;
        for (const std::unique_ptr<io::Reactor>& reactor : reactors_) {
            next_ns =
                std::min(next_ns, std::max(reactor->impl().deadline_ns, now_ns_ + base::ns_per_ms));
        }
        jump(next_ns - now_ns_);
        settle();
    }
}

void World::request(io::Request request) {
    for (io::ShardId id = 0; id < shards_.size(); ++id) mesh_.request(id, request);
}

void World::reload(const Settings& fresh) {
    exchange_.offer(fresh);
    request(io::Request::reload);
    settle();
    CHECK(exchange_.is_taken());
}

bool World::is_stopped() const {
    return std::all_of(shards_.begin(), shards_.end(),
                       [](const std::unique_ptr<Shard>& shard) { return shard->is_stopped(); });
}

uint64_t World::metric(Metric metric) const {
    uint64_t sum = 0;
    for (io::ShardId id = 0; id < shards_.size(); ++id) sum += metrics_.shard(id).get(metric);
    return sum;
}

uint64_t World::closed_count(uint16_t code) const {
    uint64_t sum = 0;
    for (size_t row = 0; row < std::size(closed_codes); ++row) {
        if (closed_codes[row] != code) continue;
        for (io::ShardId id = 0; id < shards_.size(); ++id) sum += metrics_.shard(id).closed(row);
    }
    return sum;
}

uint64_t World::refusals(Refused refused) const {
    uint64_t sum = 0;
    for (io::ShardId id = 0; id < shards_.size(); ++id) sum += metrics_.shard(id).refusals(refused);
    return sum;
}

uint64_t World::gaps_count() const {
    uint64_t sum = 0;
    for (uint8_t number = 0; number < static_cast<uint8_t>(codec::GapCode::count); ++number) {
        for (io::ShardId id = 0; id < shards_.size(); ++id) {
            sum += metrics_.shard(id).gaps(codec::GapCode{number});
        }
    }
    return sum;
}

uint64_t World::observed_count(Distribution distribution) const {
    uint64_t sum = 0;
    for (io::ShardId id = 0; id < shards_.size(); ++id) {
        sum += metrics_.shard(id).observed_count(distribution);
    }
    return sum;
}

uint64_t World::observed_ns_sum(Distribution distribution) const {
    uint64_t sum = 0;
    for (io::ShardId id = 0; id < shards_.size(); ++id) {
        sum += metrics_.shard(id).observed_ns_sum(distribution);
    }
    return sum;
}

std::vector<std::string> World::take_log() {
    std::vector<std::string> lines;
    uint64_t now_ns = 0;
    std::string line;
    while (log_.read(now_ns, line)) lines.push_back(line);
    return lines;
}

std::string World::position_text(std::string_view topic, uint64_t offset) const {
    return std::to_string(partition_of(topic)) + ":" + std::to_string(offset);
}

std::string World::topic_owned_by(io::ShardId shard, uint32_t number) const {
    for (uint32_t index = 0;; ++index) {
        const std::string topic = "topic/" + std::to_string(index);
        if (partitions().owner_of(topic) == shard && number-- == 0) return topic;
    }
}

}  // namespace broker::testing
