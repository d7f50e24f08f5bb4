#include "tests/sim/network.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "io/base/check.h"

namespace sim {

void Pipe::write(std::span<const uint8_t> bytes, uint64_t due_ns) {
    CHECK(!is_finished_ && bytes.size() <= room_bytes());
    if (bytes.empty()) return;
    // A later byte never overtakes an earlier one.
    last_due_ns_ = std::max(last_due_ns_, due_ns);
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    segments_.push_back({last_due_ns_, static_cast<uint32_t>(bytes.size())});
}

void Pipe::finish(uint64_t due_ns) {
    if (is_finished_) return;
    is_finished_ = true;
    last_due_ns_ = std::max(last_due_ns_, due_ns);
}

void Pipe::discard() {
    bytes_.clear();
    head_ = 0;
    segments_.clear();
}

uint32_t Pipe::readable_bytes(uint64_t now_ns) const {
    uint32_t total = 0;
    for (const Segment& segment : segments_) {
        if (segment.due_ns > now_ns) break;
        total += segment.bytes;
    }
    return total;
}

uint32_t Pipe::read(std::span<uint8_t> out, uint64_t now_ns) {
    uint32_t taken = 0;
    while (!segments_.empty() && segments_.front().due_ns <= now_ns && taken < out.size()) {
        Segment& segment = segments_.front();
        const uint32_t piece = std::min(segment.bytes, static_cast<uint32_t>(out.size()) - taken);
        std::memcpy(out.data() + taken, bytes_.data() + head_, piece);
        head_ += piece;
        taken += piece;
        segment.bytes -= piece;
        if (segment.bytes == 0) segments_.pop_front();
    }
    if (head_ > bytes_.size() / 2) {
        bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<ptrdiff_t>(head_));
        head_ = 0;
    }
    return taken;
}

bool Pipe::is_at_end(uint64_t now_ns) const {
    return is_finished_ && segments_.empty() && last_due_ns_ <= now_ns;
}

uint64_t Pipe::next_due_ns() const {
    if (!segments_.empty()) return segments_.front().due_ns;
    return is_finished_ ? last_due_ns_ : base::never_ns;
}

uint32_t address_of(ConnectionId id) {
    CHECK(id < 1u << 24);
    return 10u << 24 | id;
}

std::optional<ConnectionId> connection_of_address(std::string_view address) {
    uint32_t bits = 0;
    const char* at = address.data();
    const char* const end = at + address.size();
    for (uint32_t index = 0; index < 4; ++index) {
        if (index > 0 && (at == end || *at++ != '.')) return std::nullopt;
        uint8_t byte = 0;
        const std::from_chars_result read = std::from_chars(at, end, byte);
        if (read.ec != std::errc()) return std::nullopt;
        at = read.ptr;
        bits = bits << 8 | byte;
    }
    if (at != end || bits >> 24 != 10) return std::nullopt;
    return bits & 0xffffff;
}

Network::Network(Clock& clock, Faults& faults, uint32_t shards_count, Plant plant, uint64_t seed)
    : clock_(clock),
      faults_(faults),
      plant_(plant),
      plant_prng_(seed),
      queues_(shards_count),
      is_listening_(shards_count, true),
      has_wake_(shards_count, false),
      look_at_ns_(shards_count, 0) {}

void Network::tell_shard(const Connection& connection, uint64_t at_ns) {
    uint64_t& look_at_ns = look_at_ns_[connection.shard];
    look_at_ns = std::min(look_at_ns, at_ns);
}

void Network::tell_peer(Connection& connection, uint64_t at_ns) {
    connection.look_at_ns = std::min(connection.look_at_ns, at_ns);
}

ConnectionId Network::connect(io::ShardId shard, const ConnectionOptions& options) {
    const ConnectionId id = connections_count();
    connections_.push_back(std::make_unique<Connection>(id, shard, options));
    Connection& connection = *connections_.back();
    connection.connect_due_ns = clock_.now_ns + connection.latency_ns;
    if (!is_listening_[shard]) {
        connection.broken_for_peer_at_ns = connection.connect_due_ns;
        tell_peer(connection, connection.connect_due_ns);
        return id;
    }
    queues_[shard].push_back(id);
    tell_shard(connection, connection.connect_due_ns);
    return id;
}

uint32_t Network::write(ConnectionId id, std::span<const uint8_t> bytes) {
    Connection& connection = at(id);
    CHECK(!connection.is_peer_gone && !connection.to_broker.is_finished());
    if (is_broken(id) || connection.broken_for_broker_at_ns != base::never_ns) return 0;
    const uint64_t due_ns = clock_.now_ns + connection.latency_ns;
    if (connection.is_closed_by_broker) {
        // Nobody is there any more: the broker's kernel answers with a reset.
        connection.broken_for_peer_at_ns = due_ns;
        if (faults_.fires(Fault::reset_discards)) eat(connection);
        tell_peer(connection, due_ns);
        return static_cast<uint32_t>(bytes.size());
    }
    const uint64_t taken = std::min<uint64_t>(bytes.size(), connection.to_broker.room_bytes());
    connection.to_broker.write(bytes.first(taken), due_ns);
    if (taken > 0) tell_shard(connection, due_ns);
    return static_cast<uint32_t>(taken);
}

uint32_t Network::read(ConnectionId id, std::span<uint8_t> out) {
    Connection& connection = at(id);
    CHECK(!connection.is_peer_gone);
    const uint32_t taken = connection.to_peer.read(out, clock_.now_ns);
    if (taken > 0) {
        mix(id);
        mix_bytes(out.first(taken));
        bytes_to_peers_ += taken;
        tell_shard(connection, clock_.now_ns);
    }
    connection.look_at_ns =
        std::min(connection.to_peer.next_due_ns(), connection.broken_for_peer_at_ns);
    return taken;
}

bool Network::is_at_end(ConnectionId id) const {
    return at(id).to_peer.is_at_end(clock_.now_ns);
}

bool Network::is_broken(ConnectionId id) const {
    return at(id).broken_for_peer_at_ns <= clock_.now_ns;
}

void Network::finish(ConnectionId id) {
    Connection& connection = at(id);
    CHECK(!connection.is_peer_gone);
    const uint64_t due_ns = clock_.now_ns + connection.latency_ns;
    connection.to_broker.finish(due_ns);
    tell_shard(connection, due_ns);
}

void Network::reset(ConnectionId id) {
    Connection& connection = at(id);
    if (connection.is_peer_gone) return;
    connection.is_peer_gone = true;
    connection.to_peer.discard();
    const uint64_t due_ns = clock_.now_ns + connection.latency_ns;
    connection.broken_for_broker_at_ns = std::min(connection.broken_for_broker_at_ns, due_ns);
    tell_shard(connection, due_ns);
}

void Network::vanish(ConnectionId id) {
    Connection& connection = at(id);
    connection.is_peer_gone = true;
    connection.is_vanished = true;
}

void Network::peer_close(ConnectionId id) {
    Connection& connection = at(id);
    if (connection.is_peer_gone) return;
    if (connection.to_peer.size_bytes() > 0) {
        reset(id);
        return;
    }
    finish(id);
    connection.is_peer_gone = true;
}

uint32_t Network::room_to_peer(const Connection& connection) const {
    if (connection.window_shut_until_ns > clock_.now_ns && !faults_.is_healed()) return 0;
    // A peer that closed in good order still takes what was under way, and drops it.
    if (connection.is_peer_gone && !connection.is_vanished) return UINT32_MAX;
    return connection.to_peer.room_bytes();
}

uint32_t Network::take_from_broker(Connection& connection, std::span<const uint8_t> bytes) {
    const uint64_t due_ns = clock_.now_ns + connection.latency_ns;
    connection.has_spoken = true;
    if (connection.is_peer_gone && !connection.is_vanished) {
        // Bytes for a process that is gone are answered with a reset.
        connection.broken_for_broker_at_ns =
            std::min(connection.broken_for_broker_at_ns, due_ns + connection.latency_ns);
        tell_shard(connection, due_ns + connection.latency_ns);
        return static_cast<uint32_t>(bytes.size());
    }
    connection.to_peer.write(bytes, due_ns);
    tell_peer(connection, due_ns);
    return static_cast<uint32_t>(bytes.size());
}

uint32_t Network::bring_to_broker(Connection& connection, std::span<uint8_t> out) {
    const uint32_t taken = connection.to_broker.read(out, clock_.now_ns);
    tell_peer(connection, clock_.now_ns);  // there is room again
    return taken;
}

void Network::shut_by_broker(Connection& connection) {
    if (connection.is_shut_by_broker) return;
    connection.is_shut_by_broker = true;
    const uint64_t due_ns = clock_.now_ns + connection.latency_ns;
    connection.to_peer.finish(due_ns);
    tell_peer(connection, due_ns);
}

void Network::give_up_by_broker(Connection& connection) {
    if (connection.given_up_at_ns != base::never_ns) return;
    connection.given_up_at_ns = clock_.now_ns;
    connection.was_blocked_when_given_up = room_to_peer(connection) == 0;
}

void Network::eat(Connection& connection) {
    const std::span<const uint8_t> unread = connection.to_peer.unread();
    connection.eaten.assign(unread.begin(), unread.end());
    connection.to_peer.discard();
}

void Network::close_by_broker(Connection& connection) {
    CHECK(!connection.is_closed_by_broker);
    give_up_by_broker(connection);
    connection.is_closed_by_broker = true;
    connection.closed_at_ns = clock_.now_ns;
    const bool is_unread = connection.to_broker.size_bytes() > 0;
    if (is_unread && connection.broken_for_broker_at_ns > clock_.now_ns) {
        // close(2) with unread input resets, and the reset may eat what the peer has not read (RFC
        // 1122 §4.2.2.13). This is what lingering closes are for.
        const uint64_t due_ns = clock_.now_ns + connection.latency_ns;
        connection.broken_for_peer_at_ns = std::min(connection.broken_for_peer_at_ns, due_ns);
        if (faults_.fires(Fault::reset_discards)) eat(connection);
        connection.to_broker.discard();
        tell_peer(connection, due_ns);
        return;
    }
    shut_by_broker(connection);
}

void Network::break_by_fault(Connection& connection) {
    connection.is_broken_by_fault = true;
    const uint64_t now_ns = clock_.now_ns;
    const uint64_t later_ns = now_ns + faults_.prng().below(connection.latency_ns + 1);
    connection.broken_for_broker_at_ns = std::min(connection.broken_for_broker_at_ns, now_ns);
    connection.broken_for_peer_at_ns = std::min(connection.broken_for_peer_at_ns, later_ns);
    tell_peer(connection, later_ns);
    tell_shard(connection, now_ns);
}

void Network::listener_close(io::ShardId shard) {
    is_listening_[shard] = false;
    for (const ConnectionId id : queues_[shard]) {
        Connection& connection = at(id);
        connection.broken_for_peer_at_ns = clock_.now_ns + connection.latency_ns;
        connection.is_closed_by_broker = true;
        tell_peer(connection, connection.broken_for_peer_at_ns);
    }
    queues_[shard].clear();
}

void Network::wake(io::ShardId shard) {
    if (plant_fires(Plant::lose_wake)) return;
    has_wake_[shard] = true;
}

bool Network::wake_take(io::ShardId shard) {
    const bool had_wake = has_wake_[shard];
    has_wake_[shard] = false;
    return had_wake;
}

bool Network::plant_fires(Plant plant) {
    // Pings and gaps are rare, so every second one is lost; of all else there is plenty.
    const bool is_rare =
        plant == Plant::drop_pong || plant == Plant::lose_gap || plant == Plant::miscount_gap;
    const base::Ratio ratio = is_rare ? base::Ratio{1, 2} : base::Ratio{1, 50};
    return plant == plant_ && plant_prng_.chance(ratio);
}

void Network::mix(uint64_t value) {
    hash_ = std::rotl(hash_ ^ value, 29) * 0x9e3779b97f4a7c15;
}

void Network::mix_bytes(std::span<const uint8_t> bytes) {
    for (size_t at_byte = 0; at_byte < bytes.size(); at_byte += 8) {
        uint64_t word = 0;
        std::memcpy(&word, bytes.data() + at_byte, std::min<size_t>(8, bytes.size() - at_byte));
        mix(word);
    }
    mix(bytes.size());
}

}  // namespace sim
