// instructions: a shard at work, for counting what its user side executes.
//
//     instructions SCENARIO CLIENTS OUTSTANDING ROUNDS
//
// One thread plays both sides in turn: it writes what the clients say, lets the shard work it off
// in counted_turn(), and takes what has arrived. So a run is the same every time, and callgrind,
// told to count inside of counted_turn() only (bench/instructions.py does), counts the broker and
// nothing else, over the reactor that is shipped and real sockets.
//
//     fanout     a publisher writes OUTSTANDING messages at once, for CLIENTS subscribers
//     rooms      the same, for rooms of ten
//     one        the same, for rooms of one
//     crossing   the same, and the subscribers are another shard's than the publisher: each message
//                crosses once, half of them before their topic's shard has given them their order,
//                half after it
//     fanin      OUTSTANDING messages for one subscriber, each from another one of CLIENTS
//     upgrade    CLIENTS connect and upgrade
//     subscribe  they do, and subscribe
//     close      they do, subscribe, and close with a Close frame
//     idle       CLIENTS subscribers do nothing but answer pings
//
// One line of JSON at the end: how many of what is counted there were.

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "broker/gate.h"
#include "broker/listeners.h"
#include "broker/log.h"
#include "broker/metrics.h"
#include "broker/settings.h"
#include "broker/shard.h"
#include "codec/frame.h"
#include "io/base/units.h"
#include "io/listener.h"
#include "io/mesh.h"
#include "io/uring/reactor_uring.h"
#include "topics/topic_rules.h"

// What callgrind is told to count. Not inlined, and known by its name.
extern "C" [[gnu::noinline]] void counted_turn(broker::Shard& shard) {
    shard.turn();
}

namespace {

using broker::Metric;

constexpr size_t payload_bytes = 64;
constexpr uint32_t room_subscribers = 10;
constexpr std::string_view upgrade_request =
    "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

[[noreturn]] void fail(const char* what) {
    std::fprintf(stderr, "instructions: %s: %s\n", what, std::strerror(errno));
    std::exit(1);
}

// With the key 0, which masks nothing.
std::string client_frame(codec::Opcode opcode, std::string_view payload) {
    constexpr uint8_t key[4] = {};
    uint8_t header[codec::frame_header_bytes_max];
    const uint32_t header_bytes = codec::encode_masked_frame_header(
        {.opcode = opcode, .payload_bytes = payload.size()}, key, header);
    return std::string(reinterpret_cast<const char*>(header), header_bytes).append(payload);
}

std::string publish_frame(uint32_t topic) {
    return client_frame(codec::Opcode::text, "{\"op\":\"publish\",\"topic\":\"bench/" +
                                                 std::to_string(topic) + "\",\"data\":\"" +
                                                 std::string(payload_bytes, 'x') + "\"}");
}

std::string subscribe_frame(uint32_t topic) {
    return client_frame(codec::Opcode::text, R"({"op":"subscribe","id":1,"filter":"bench/)" +
                                                 std::to_string(topic) + "\"}");
}

// What main builds, in one thread: the shards are turned one after the other. Each listens on a
// port of its own.
class Broker {
  public:
    Broker(const broker::Settings& settings, uint32_t shards_count)
        : settings_(settings),
          mesh_({.shards_count = shards_count,
                 .deliver_bytes = settings.lane_bytes,
                 .forward_bytes = settings.lane_bytes}),
          metrics_(shards_count, "bench"),
          log_(shards_count, broker::LogLevel::error),
          gate_(settings_, shards_count),
          rules_(settings.topic_rules),
          group_(shards_count),
          workers_(shards_count) {
        for (uint32_t id = 0; id < shards_count; ++id) make_worker(id);
    }

    // Whether callgrind counts the turns from here on.
    void count(bool is_counted) { is_counted_ = is_counted; }

    void turn() {
        for (io::ShardId id = 0; id < workers_.size(); ++id) {
            // Or one that has nothing to do would wait, and hold up the other.
            if (workers_.size() > 1) group_.wake_from_outside(id);
            turn(*workers_[id].shard);
        }
    }

    // Turns until the metric says `value`, and everything queued has been sent.
    void turn_until(Metric metric, uint64_t value) {
        while (get(metric) != value || get(Metric::outbound_bytes) > 0) turn();
    }

    void stop() {
        is_counted_ = false;
        for (io::ShardId id = 0; id < workers_.size(); ++id) {
            mesh_.request(id, io::Request::stop_now);
        }
        for (const Worker& worker : workers_) {
            while (!worker.shard->is_stopped()) turn();
        }
    }

    // The sum of all shards.
    uint64_t get(Metric metric) {
        uint64_t sum = 0;
        for (io::ShardId id = 0; id < workers_.size(); ++id) sum += metrics_.shard(id).get(metric);
        return sum;
    }
    uint64_t turns_count() const { return turns_count_; }
    uint32_t shards_count() const { return static_cast<uint32_t>(workers_.size()); }
    uint16_t port(io::ShardId shard) const { return workers_[shard].port; }

  private:
    struct Worker {
        std::unique_ptr<io::Reactor> reactor;
        std::unique_ptr<broker::Shard> shard;
        uint16_t port = 0;
    };

    void make_worker(io::ShardId id) {
        Worker& worker = workers_[id];
        io::ListenAddress any_port;
        std::string error;
        if (!io::parse_listen_address("127.0.0.1:0", any_port, error)) fail(error.c_str());
        io::Listening listening = io::open_listening(
            any_port, 1, {.unsent_bytes_max = static_cast<uint32_t>(settings_.unsent_bytes_max)});
        if (!listening.error.empty()) fail(listening.error.c_str());
        const std::string_view port =
            std::string_view(listening.bound).substr(listening.bound.rfind(':') + 1);
        std::from_chars(port.data(), port.data() + port.size(), worker.port);
        worker.reactor = io::make_reactor(
            group_, id,
            {.accepted_max = broker::sockets_per_shard(settings_),
             .adopted_max = 0,
             .recv_buffers_count = static_cast<uint32_t>(settings_.recv_buffers_count),
             .recv_buffer_bytes = static_cast<uint32_t>(settings_.recv_buffer_bytes)},
            error);
        if (worker.reactor == nullptr) fail(error.c_str());
        worker.reactor->listener_add(listening.fds[0]);
        worker.shard =
            std::make_unique<broker::Shard>(broker::ShardContext{.id = id,
                                                                 .reactor = *worker.reactor,
                                                                 .mesh = mesh_,
                                                                 .settings = settings_,
                                                                 .metrics = metrics_,
                                                                 .log = log_,
                                                                 .gate = gate_,
                                                                 .listeners = listeners_,
                                                                 .epoch = "epoch",
                                                                 .hash_seed = 42,
                                                                 .rules = rules_,
                                                                 .random_seed = 1});
    }

    void turn(broker::Shard& shard) {
        if (is_counted_) {
            counted_turn(shard);
            ++turns_count_;
        } else {
            shard.turn();
        }
    }

    const broker::Settings settings_;
    io::Mesh mesh_;
    broker::MetricsRegistry metrics_;
    broker::Log log_;
    broker::Gate gate_;
    const topics::TopicRules rules_;
    const std::vector<broker::ListenerRole> listeners_ = {broker::ListenerRole{}};
    io::UringGroup group_;
    std::vector<Worker> workers_;
    uint64_t turns_count_ = 0;
    bool is_counted_ = false;
};

class Client {
  public:
    explicit Client(uint16_t port) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
            fail("connect");
        }
        const int on = 1;
        setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    ~Client() { hang_up(); }
    Client(Client&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Client& operator=(Client&&) = delete;

    void hang_up() {
        if (fd_ >= 0) close(std::exchange(fd_, -1));
    }
    void write(std::string_view bytes) const {
        if (send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) !=
            static_cast<ssize_t>(bytes.size())) {
            fail("send");
        }
    }
    // What has arrived; without an argument nobody looks at it.
    void take(std::string* all = nullptr) const {
        static char bytes[256 * 1024];
        while (true) {
            const ssize_t received = recv(fd_, bytes, sizeof bytes, MSG_DONTWAIT);
            if (received <= 0) return;
            if (all != nullptr) all->append(bytes, static_cast<size_t>(received));
        }
    }

  private:
    int fd_;
};

class Clients {
  public:
    Clients(Broker& broker, uint32_t count, io::ShardId shard = 0)
        : broker_(broker), port_(broker.port(shard)), count_(count) {}

    void connect_all() {
        const uint64_t before = broker_.get(Metric::websockets);
        for (uint32_t index = 0; index < count_; ++index) {
            clients_.emplace_back(port_);
            clients_.back().write(upgrade_request);
        }
        broker_.turn_until(Metric::websockets, before + count_);
        take_all();
    }
    void subscribe_all(uint32_t room_size) {
        const uint64_t before = broker_.get(Metric::subscriptions);
        for (uint32_t index = 0; index < count_; ++index) {
            clients_[index].write(subscribe_frame(index / room_size));
        }
        broker_.turn_until(Metric::subscriptions, before + count_);
        take_all();
    }
    // The close is the clients' idea: a Close frame, its answer, the end of both streams.
    void close_all() {
        const uint64_t after = broker_.get(Metric::connections) - count_;
        for (const Client& client : clients_) {
            client.write(client_frame(codec::Opcode::close, "\x03\xe8"));
        }
        broker_.turn_until(Metric::websockets, broker_.get(Metric::websockets) - count_);
        for (Client& client : clients_) client.hang_up();
        broker_.turn_until(Metric::connections, after);
    }
    void take_all() const {
        for (const Client& client : clients_) client.take();
    }
    // Answers what are all pings; how many.
    uint32_t answer_pings() const {
        uint32_t answered_count = 0;
        std::string bytes;
        for (const Client& client : clients_) {
            bytes.clear();
            client.take(&bytes);
            constexpr size_t ping_bytes = 4;
            if (bytes.size() != ping_bytes) continue;
            client.write(client_frame(codec::Opcode::pong, bytes.substr(2)));
            ++answered_count;
        }
        return answered_count;
    }
    const Client& operator[](uint32_t index) const { return clients_[index]; }

  private:
    Broker& broker_;
    const uint16_t port_;
    const uint32_t count_;
    std::vector<Client> clients_;
};

struct Run {
    std::string_view scenario;
    uint32_t clients;
    uint32_t outstanding;
    uint32_t rounds;
};

// The first round warms up: memory is taken, buffers grow.
template <class Round>
uint64_t measure(Broker& broker, uint64_t per_round, uint32_t rounds, Round round) {
    round();
    broker.count(true);
    for (uint32_t number = 0; number < rounds; ++number) round();
    broker.count(false);
    return per_round * rounds;
}

uint32_t room_of(const Run& run) {
    if (run.scenario == "fanout") return run.clients;
    return run.scenario == "rooms" ? room_subscribers : 1;
}

uint64_t fan_out(Broker& broker, const Run& run) {
    const uint32_t room = room_of(run);
    const uint32_t rooms_count = run.clients / room;
    Clients subscribers(broker, run.clients, broker.shards_count() - 1);
    Clients publisher(broker, 1);
    subscribers.connect_all();
    subscribers.subscribe_all(room);
    publisher.connect_all();
    std::string frames;
    for (uint32_t number = 0; number < run.outstanding; ++number) {
        frames += publish_frame(number % rooms_count);
    }
    const uint64_t deliveries = uint64_t{run.outstanding} * room;
    return measure(broker, deliveries, run.rounds, [&] {
        const uint64_t before = broker.get(Metric::deliveries_total);
        publisher[0].write(frames);
        broker.turn_until(Metric::deliveries_total, before + deliveries);
        subscribers.take_all();
    });
}

uint64_t fan_in(Broker& broker, const Run& run) {
    Clients publishers(broker, run.clients);
    Clients subscriber(broker, 1);
    publishers.connect_all();
    subscriber.connect_all();
    subscriber.subscribe_all(1);
    const std::string frame = publish_frame(0);
    return measure(broker, run.outstanding, run.rounds, [&] {
        for (uint32_t number = 0; number < run.outstanding; ++number) {
            publishers[number % run.clients].write(frame);
        }
        broker.turn_until(Metric::deliveries_total,
                          broker.get(Metric::deliveries_total) + run.outstanding);
        subscriber.take_all();
    });
}

// One part of a connection's life is counted, the others are gone through.
uint64_t come_and_go(Broker& broker, const Run& run) {
    const auto counted_if = [&](std::string_view scenario, bool is_warm, auto&& part) {
        broker.count(is_warm && run.scenario == scenario);
        part();
        broker.count(false);
    };
    for (uint32_t number = 0; number <= run.rounds; ++number) {
        const bool is_warm = number > 0;
        Clients clients(broker, run.clients);
        counted_if("upgrade", is_warm, [&] { clients.connect_all(); });
        counted_if("subscribe", is_warm, [&] { clients.subscribe_all(run.clients); });
        counted_if("close", is_warm, [&] { clients.close_all(); });
    }
    return uint64_t{run.clients} * run.rounds;
}

uint64_t idle(Broker& broker, const Run& run) {
    Clients clients(broker, run.clients);
    clients.connect_all();
    clients.subscribe_all(run.clients);
    broker.count(true);
    uint64_t answered_count = 0;
    while (answered_count < uint64_t{run.clients} * run.rounds) {
        broker.turn();
        answered_count += clients.answer_pings();
    }
    broker.count(false);
    return answered_count;
}

using Scenario = uint64_t (*)(Broker&, const Run&);

Scenario scenario_named(std::string_view name) {
    if (name == "fanout" || name == "rooms" || name == "one" || name == "crossing") return fan_out;
    if (name == "fanin") return fan_in;
    if (name == "upgrade" || name == "subscribe" || name == "close") return come_and_go;
    if (name == "idle") return idle;
    return nullptr;
}

uint32_t number(const char* text) {
    uint32_t value = 0;
    const char* const end = text + std::strlen(text);
    const std::from_chars_result result = std::from_chars(text, end, value);
    if (result.ec != std::errc() || result.ptr != end || value == 0) fail("not a number");
    return value;
}

}  // namespace

int main(int argc, char** argv) {
    const Scenario scenario = argc == 5 ? scenario_named(argv[1]) : nullptr;
    if (scenario == nullptr) {
        std::fputs(
            "usage: instructions fanout|rooms|one|crossing|fanin|upgrade|subscribe|close|idle "
            "CLIENTS OUTSTANDING ROUNDS\n",
            stderr);
        return 1;
    }
    const Run run{argv[1], number(argv[2]), number(argv[3]), number(argv[4])};
    rlimit descriptors{};
    getrlimit(RLIMIT_NOFILE, &descriptors);
    descriptors.rlim_cur = descriptors.rlim_max;
    setrlimit(RLIMIT_NOFILE, &descriptors);

    broker::Settings settings;
    settings.connections_max = run.clients + 16;
    if (run.scenario == "idle") settings.heartbeat_interval_ns = 2 * base::ns_per_s;
    Broker broker(settings, run.scenario == "crossing" ? 2 : 1);
    const uint64_t count = scenario(broker, run);
    broker.stop();
    std::printf("{\"count\":%lu,\"turns\":%lu,\"sends\":%lu}\n", count, broker.turns_count(),
                broker.get(Metric::sends_total));
    return 0;
}
