// A broker of one or several shards over scripted reactors, stepped by one thread, and the peers
// that talk to it.
//
// Owner: a test. Thread: the test's.
// Invariant: at its end the world stops the broker and requires that nothing is left: no
// connection, no socket that was not closed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "broker/listeners.h"
#include "broker/log.h"
#include "broker/metrics.h"
#include "broker/partitions.h"
#include "broker/settings.h"
#include "broker/shard.h"
#include "codec/frame.h"
#include "codec/frame_decoder.h"
#include "io/base/units.h"
#include "io/mesh.h"
#include "tests/broker/reactor_fake.h"

namespace broker::testing {

struct WorldOptions {
    uint32_t shards_count = 1;
    Settings settings{};
    std::vector<ListenerRole> listeners = {ListenerRole{}};
    uint64_t seed = 1;
    LogLevel log_level = LogLevel::info;
};

// A masked frame, as a client sends it.
std::string client_frame(codec::Opcode opcode, std::string_view payload, bool fin = true);
// The payload of a Close frame.
std::string close_payload(uint16_t code, std::string_view reason);

// What a subscriber gets: `payload` is the whole member, e.g. "data":1. A message with a position
// has it as text.
std::string message_text(std::string_view topic, std::string_view payload);
std::string message_text(std::string_view topic, std::string_view position,
                         std::string_view payload);
// A cursor of the world's epoch, e.g. of {"5:1"}, by rising partition.
std::string cursor_text(const std::vector<std::string>& positions);
// The answer to a subscribe command; `rest` are members behind `recoverable`, with their comma.
std::string subscribed_text(std::string_view id, const std::vector<std::string>& positions = {},
                            bool is_recoverable = false, std::string_view rest = {});
// Commands (or other JSON values) as one array.
std::string array_of(const std::vector<std::string>& values);
// The code of an error's text; what came instead when it is none.
std::string error_code(const std::string& text);

// A frame from the broker.
struct Frame {
    codec::Decoded::Kind kind;
    uint16_t close_code = 0;
    std::string payload;

    friend bool operator==(const Frame&, const Frame&) = default;
};

class World;

// One client. A value: copies are the same client.
class Peer {
  public:
    Peer(World& world, io::ShardId shard, uint32_t number)
        : world_(&world), shard_(shard), number_(number) {}

    FakeSocket& socket() const;

    // Sends bytes, and lets the broker handle them.
    void send(std::string_view bytes) const;
    void say(std::string_view json) const { send(client_frame(codec::Opcode::text, json)); }
    // Subscribes, and requires that the answer came.
    void subscribe(std::string_view filter) const;
    void finish() const;         // the end of the peer's stream
    void fail(int error) const;  // every operation ends with this errno
    void stall() const { socket().send_room_bytes = 0; }
    void read_on() const;  // after stall()

    // What came since the last call.
    std::string take_bytes() const;
    std::vector<Frame> take_frames() const;
    // The payloads of text frames that came since the last call; nothing else may have come.
    std::vector<std::string> take_texts() const;
    // One HTTP response, head and body; empty if there is none.
    std::string take_response() const;

    // Opens the WebSocket and takes the response and the welcome.
    void upgrade(std::string_view extra_fields = {}) const;
    // The request of the upgrade, for tests of the surface.
    static std::string upgrade_request(std::string_view extra_fields = {});

    bool is_closed() const { return socket().is_closed; }

  private:
    World* world_;
    io::ShardId shard_;
    uint32_t number_;
};

class World {
  public:
    explicit World(const WorldOptions& options = {});
    ~World();
    World(const World&) = delete;
    World& operator=(const World&) = delete;

    Peer connect(io::ShardId shard = 0, uint16_t listener = 0);
    // From an address: "192.0.2.1" or "2001:db8::1".
    Peer connect_from(std::string_view address, io::ShardId shard = 0);
    // Connected, upgraded and welcomed.
    Peer client(io::ShardId shard = 0, std::string_view extra_fields = {});

    // One turn of one shard, of all shards, or as many as it takes until nothing happens any more
    // at this time.
    void turn(io::ShardId shard) { shards_[shard]->turn(); }
    void turn_all();
    void settle();
    // Moves time from one deadline of the broker to the next, and settles at each.
    void run_for(uint64_t duration_ns);
    // Moves time at once, as a machine that slept does; nothing is handled.
    void jump(uint64_t duration_ns);

    void request(io::Request request);
    // Has all shards take new settings, at once.
    void reload(const Settings& fresh);
    bool is_stopped() const;

    io::Reactor::Impl& kernel(io::ShardId shard = 0) { return reactors_[shard]->impl(); }
    Shard& shard(io::ShardId id = 0) { return *shards_[id]; }
    io::Mesh& mesh() { return mesh_; }
    uint64_t metric(Metric metric) const;  // the sum over all shards
    uint64_t closed_count(uint16_t code) const;
    uint64_t gaps_count() const;  // whatever their code
    uint64_t observed_count(Distribution distribution) const;
    uint64_t observed_ns_sum(Distribution distribution) const;
    void set_kernel_socket_bytes(uint64_t bytes) { metrics_.set_kernel_socket_bytes(bytes); }
    uint64_t refusals(Refused refused) const;  // the sum over all shards
    std::vector<std::string> take_log();
    uint64_t now_ns() const { return now_ns_; }
    // "partition:offset" of a message of this topic.
    std::string position_text(std::string_view topic, uint64_t offset) const;
    uint32_t partition_of(std::string_view topic) const { return partitions().partition_of(topic); }

    // A topic that the shard owns; `number` chooses among many.
    std::string topic_owned_by(io::ShardId shard, uint32_t number = 0) const;

    const Settings settings;

  private:
    static constexpr uint64_t hash_seed = 42;

    bool is_busy(io::ShardId shard);
    Partitions partitions() const {
        return {settings.partitions, static_cast<uint32_t>(shards_.size()), hash_seed};
    }

    const std::vector<ListenerRole> listeners_;
    io::Mesh mesh_;
    SettingsExchange exchange_;
    MetricsRegistry metrics_;
    Log log_;
    Gate gate_;
    const topics::TopicRules rules_;
    uint64_t now_ns_ = 1'000 * base::ns_per_s;
    std::vector<std::unique_ptr<io::Reactor>> reactors_;
    std::vector<std::unique_ptr<Shard>> shards_;
};

}  // namespace broker::testing
