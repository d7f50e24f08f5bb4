// Network: the connections between simulated peers and the broker's simulated kernels.
//
// A connection is two byte pipes with a capacity (the buffers of both kernels and what is on the
// way) and a latency in virtual time. The peers' side is called by peers, the broker's side by the
// kernels of sim/reactor_sim.h. Nothing here decides by chance except where a fault is asked for.
//
// Owner: World. Thread: its World's.
// Invariants:
//  1. Bytes of one direction arrive whole, once and in order, unless the connection is reset.
//  2. A connection's id is never reused within a run.
//  3. Whoever may be able to go on because of a change is told: `look_at_ns` of the peer's side and
//     of the shard is lowered to when the change can be seen.
// Limits: a pipe never holds more than its capacity.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/units.h"
#include "io/reactor.h"
#include "tests/sim/faults.h"

namespace sim {

// Virtual time, and a count of steps that orders what happens at one moment.
struct Clock {
    uint64_t now_ns = 0;
    uint64_t step = 0;
    bool has_jumped = false;  // by a fault, at any time: what lasted a moment may seem long
};

// The deliberate mistakes of the simulated world that prove that its alarms ring; see sim_main.cc.
enum class Plant : uint8_t {
    none,
    drop_frame,       // a piece of what the broker sent is lost
    duplicate_frame,  // a message reaches a peer twice
    swap_frames,      // two messages change places
    corrupt_byte,     // a byte of a payload changes
    lose_wake,        // a shard is not woken
    drop_pong,        // a peer's answer to a ping is lost
    leak_socket,      // a close is not carried out
    // By the clients.
    drop_replayed,       // an announced message is lost
    duplicate_replayed,  // an announced message is read twice
    falsify_cursor,      // a client comes back with another position than it was told
    lose_gap,            // a gap of a live stream is lost
    miscount_gap,        // a gap is read with one message more than it tells
};

class Pipe {
  public:
    explicit Pipe(uint32_t capacity_bytes) : capacity_bytes_(capacity_bytes) {}

    uint32_t room_bytes() const { return capacity_bytes_ - size_bytes(); }
    uint32_t size_bytes() const { return static_cast<uint32_t>(bytes_.size() - head_); }
    void write(std::span<const uint8_t> bytes, uint64_t due_ns);
    void finish(uint64_t due_ns);
    // Forgets what was not read; the peer's reset ate it.
    void discard();

    uint32_t readable_bytes(uint64_t now_ns) const;
    uint32_t read(std::span<uint8_t> out, uint64_t now_ns);
    std::span<const uint8_t> unread() const { return std::span(bytes_).subspan(head_); }
    bool is_finished() const { return is_finished_; }
    // All was read and the end of the stream has arrived.
    bool is_at_end(uint64_t now_ns) const;
    // When the next byte, or the end, arrives; base::never_ns when nothing is under way.
    uint64_t next_due_ns() const;

  private:
    struct Segment {
        uint64_t due_ns;
        uint32_t bytes;
    };
    const uint32_t capacity_bytes_;
    std::vector<uint8_t> bytes_;
    size_t head_ = 0;
    std::deque<Segment> segments_;
    uint64_t last_due_ns_ = 0;
    bool is_finished_ = false;
};

using ConnectionId = uint32_t;
inline constexpr ConnectionId no_connection = UINT32_MAX;

// Every peer has an address of its own: 10.a.b.c, with the bytes of the connection's number.
uint32_t address_of(ConnectionId id);
std::optional<ConnectionId> connection_of_address(std::string_view address);

struct ConnectionOptions {
    uint32_t to_broker_bytes = 65'536;
    uint32_t to_peer_bytes = 65'536;
    uint64_t latency_ns = 1'000'000;
};

struct Connection {
    Connection(ConnectionId connection_id, io::ShardId shard_id, const ConnectionOptions& options)
        : id(connection_id),
          shard(shard_id),
          latency_ns(options.latency_ns),
          to_broker(options.to_broker_bytes),
          to_peer(options.to_peer_bytes) {}

    const ConnectionId id;
    const io::ShardId shard;
    const uint64_t latency_ns;
    Pipe to_broker;
    Pipe to_peer;
    uint64_t connect_due_ns = 0;  // when it stands in the listener's queue
    uint64_t accepted_at_ns = base::never_ns;
    uint64_t window_shut_until_ns = 0;  // nothing leaves the broker before
    // When each side's kernel learns of a reset.
    uint64_t broken_for_broker_at_ns = base::never_ns;
    uint64_t broken_for_peer_at_ns = base::never_ns;
    uint64_t look_at_ns = base::never_ns;  // when the peer should look
    bool is_broken_by_fault = false;       // neither side wanted this end
    bool is_peer_gone = false;             // the peer closed, or vanished
    bool is_vanished = false;              // without a word: nothing is read, nothing is answered
    bool has_spoken = false;               // the broker, on it: it has surely been accepted
    bool is_shut_by_broker = false;        // its write direction
    bool is_closed_by_broker = false;
    uint64_t closed_at_ns = base::never_ns;  // by the broker
    // When the broker stopped waiting for anything, by a shutdown both ways or by the close; and
    // whether it could still have sent something.
    uint64_t given_up_at_ns = base::never_ns;
    bool was_blocked_when_given_up = false;
    // What a reset ate after the broker had closed. Nobody but the oracle reads it.
    std::vector<uint8_t> eaten;
};

class Network {
  public:
    Network(Clock& clock, Faults& faults, uint32_t shards_count, Plant plant, uint64_t seed);

    // The peers' side.
    ConnectionId connect(io::ShardId shard, const ConnectionOptions& options);
    // Answer how many bytes were taken or brought; 0 when there is no room or nothing (yet).
    uint32_t write(ConnectionId id, std::span<const uint8_t> bytes);
    uint32_t read(ConnectionId id, std::span<uint8_t> out);
    bool is_at_end(ConnectionId id) const;
    bool is_broken(ConnectionId id) const;  // for the peer
    void finish(ConnectionId id);           // FIN
    void reset(ConnectionId id);            // RST
    void vanish(ConnectionId id);
    // The peer's process is gone: FIN if all was read, else RST, as close(2) does.
    void peer_close(ConnectionId id);

    // The broker's side.
    std::deque<ConnectionId>& queue(io::ShardId shard) { return queues_[shard]; }
    uint32_t take_from_broker(Connection& connection, std::span<const uint8_t> bytes);
    uint32_t room_to_peer(const Connection& connection) const;
    uint32_t bring_to_broker(Connection& connection, std::span<uint8_t> out);
    void shut_by_broker(Connection& connection);
    void give_up_by_broker(Connection& connection);
    void close_by_broker(Connection& connection);
    // Neither side: the line breaks.
    void break_by_fault(Connection& connection);
    void listener_close(io::ShardId shard);
    void wake(io::ShardId shard);
    [[nodiscard]] bool wake_take(io::ShardId shard);
    bool has_wake(io::ShardId shard) const { return has_wake_[shard]; }

    Connection& at(ConnectionId id) { return *connections_[id]; }
    const Connection& at(ConnectionId id) const { return *connections_[id]; }
    uint32_t connections_count() const { return static_cast<uint32_t>(connections_.size()); }
    // When the kernel of a shard should look at its sockets again.
    uint64_t& look_at_ns(io::ShardId shard) { return look_at_ns_[shard]; }
    Clock& clock() { return clock_; }
    Faults& faults() { return faults_; }
    Plant plant() const { return plant_; }
    // Whether the planted mistake happens now.
    [[nodiscard]] bool plant_fires(Plant plant);

    // A running hash of all that happened, to compare two runs of a seed.
    void mix(uint64_t value);
    void mix_bytes(std::span<const uint8_t> bytes);
    uint64_t hash() const { return hash_; }
    uint64_t bytes_to_peers() const { return bytes_to_peers_; }

  private:
    void tell_shard(const Connection& connection, uint64_t at_ns);
    static void tell_peer(Connection& connection, uint64_t at_ns);
    static void eat(Connection& connection);

    Clock& clock_;
    Faults& faults_;
    const Plant plant_;
    base::Prng plant_prng_;
    std::vector<std::unique_ptr<Connection>> connections_;
    // Per shard: connections that wait to be accepted.
    std::vector<std::deque<ConnectionId>> queues_;
    std::vector<bool> is_listening_;
    std::vector<bool> has_wake_;
    std::vector<uint64_t> look_at_ns_;
    uint64_t hash_ = 0x6a09e667f3bcc908;
    uint64_t bytes_to_peers_ = 0;
};

}  // namespace sim
