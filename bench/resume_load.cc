// resume_load: subscribers that come back, in numbers, for bench/run_resume.py.
//
//     resume_load SCENARIO PORT BROKER_PID CLIENTS BEHIND
//
// SCENARIO is what is measured; all have messages of 64 bytes in 500 topics under sensors/#:
//     same     CLIENTS connected clients resume at one place, BEHIND messages back
//     spread   the same, but each from another place: from BEHIND to 2 * BEHIND messages back
//     fanout   BEHIND messages are published to as many live subscribers
//     storm    CLIENTS clients connect and resume, each about BEHIND messages back, while 100
//              others get a message every 10 ms, whose delay is measured
//     arrival  the same, but they only subscribe
//
// One thread and epoll; one line of JSON at the end. Every client counts what it gets: a message
// too much or too few ends the run with an error.

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bench/load_socket.h"

namespace {

using load::fail;
using load::member;
using load::now_ns;
using load::number;
using load::process_cpu_ns;
using load::text_frame;

constexpr uint32_t topics_count = 500;
constexpr uint32_t commands_per_frame = 100;
constexpr uint32_t unanswered_max = 1'000;
constexpr uint32_t connecting_max = 1'000;  // within the usual backlog of a listener
constexpr uint32_t established_count = 100;
constexpr uint64_t tick_ns = 10'000'000;
constexpr uint64_t calm_ns = 1'000'000'000;
constexpr uint64_t timeout_ns = 120'000'000'000;
constexpr size_t receive_bytes = 1 << 20;
constexpr std::string_view payload =
    "\"sixty-four bytes of payload, the quotes included, as they are.\"";
static_assert(payload.size() == 64);

enum class Role : uint8_t { publisher, established, client };
enum class State : uint8_t { connecting, upgrading, open, live };

struct Peer {
    int fd = -1;
    Role role = Role::client;
    State state = State::connecting;
    std::string partial;        // of a frame that has not come whole
    std::string first_command;  // sent with welcome
    uint64_t messages_count = 0;
    uint64_t messages_expected = 0;
};

class Load {
  public:
    Load(uint16_t port, int broker_pid) : port_(port), broker_pid_(broker_pid) {
        epoll_ = epoll_create1(0);
        urgent_epoll_ = epoll_create1(0);
        if (epoll_ < 0 || urgent_epoll_ < 0) fail("epoll_create1: %s", std::strerror(errno));
        Peer& publisher = connect(Role::publisher, {});
        publisher_ = &publisher;
        run_until([&] { return publisher.state == State::open; });
    }

    void prepare_history(uint64_t messages_count);
    void catch_up(std::string_view name, uint32_t clients_count, uint64_t behind, bool is_spread);
    void fan_out(uint32_t clients_count, uint64_t messages_count);
    void storm(std::string_view name, uint32_t clients_count, uint64_t behind, bool resumes);

  private:
    // At the beginning of what is measured, and at its end.
    struct Moment {
        uint64_t time_ns, broker_cpu_ns, load_cpu_ns;
    };
    Moment moment() const {
        return {now_ns(), process_cpu_ns(broker_pid_), process_cpu_ns(getpid())};
    }
    void report(std::string_view name, uint32_t clients_count, const Moment& begin,
                std::string_view more = {});

    Peer& connect(Role role, std::string first_command);
    void connect_clients(uint32_t count);
    void send(Peer& peer, std::string_view bytes);
    void publish(uint64_t count);
    void tick();
    void handle_events(int timeout_ms);
    void handle_urgent();
    void receive(Peer& peer);
    size_t take(Peer& peer, std::string_view bytes);
    void on_text(Peer& peer, std::string_view json);
    void on_published(std::string_view json);
    std::string resume_command(uint64_t behind) const;

    template <typename Condition>
    void run_until(Condition condition) {
        const uint64_t deadline_ns = now_ns() + timeout_ns;
        while (!condition()) {
            if (now_ns() > deadline_ns)
                fail("timed out: %u of %zu live", live_count_, peers_.size());
            handle_events(1);
        }
    }

    const uint16_t port_;
    const int broker_pid_;
    int epoll_;
    int urgent_epoll_;  // of those whose delay is measured
    std::deque<Peer> peers_;
    Peer* publisher_ = nullptr;
    std::vector<char> buffer_ = std::vector<char>(receive_bytes * 2);
    uint32_t connecting_count_ = 0;
    uint32_t live_count_ = 0;  // of the clients
    uint64_t deliveries_count_ = 0;
    uint64_t sent_count_ = 0;
    uint64_t answered_count_ = 0;
    // In the order of publishing.
    std::vector<std::pair<uint32_t, uint64_t>> positions_;
    std::string epoch_;
    bool ticks_ = false;
    uint64_t next_tick_ns_ = 0;
    std::vector<uint64_t> delays_ns_;
};

Peer& Load::connect(Role role, std::string first_command) {
    Peer& peer = peers_.emplace_back();
    peer.role = role;
    peer.first_command = std::move(first_command);
    peer.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (peer.fd < 0) fail("socket: %s", std::strerror(errno));
    const int yes = 1;
    setsockopt(peer.fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port_);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(peer.fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 &&
        errno != EINPROGRESS) {
        fail("connect: %s", std::strerror(errno));
    }
    epoll_event event{.events = EPOLLOUT, .data = {.ptr = &peer}};
    const int epoll = role == Role::established ? urgent_epoll_ : epoll_;
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, peer.fd, &event) != 0) fail("epoll_ctl");
    ++connecting_count_;
    return peer;
}

void Load::send(Peer& peer, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = ::send(peer.fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent >= 0) {
            bytes.remove_prefix(static_cast<size_t>(sent));
            continue;
        }
        if (errno != EAGAIN) fail("send: %s", std::strerror(errno));
        pollfd wait{.fd = peer.fd, .events = POLLOUT, .revents = 0};
        if (poll(&wait, 1, 10'000) != 1) fail("the broker does not read");
    }
}

void Load::handle_events(int timeout_ms) {
    epoll_event events[64];
    handle_urgent();
    const int count = epoll_wait(epoll_, events, std::size(events), timeout_ms);
    for (int index = 0; index < count; ++index) {
        if (index % 8 == 7) handle_urgent();
        receive(*static_cast<Peer*>(events[index].data.ptr));
    }
}

void Load::handle_urgent() {
    epoll_event events[established_count];
    tick();
    const int count = epoll_wait(urgent_epoll_, events, std::size(events), 0);
    for (int index = 0; index < count; ++index) {
        receive(*static_cast<Peer*>(events[index].data.ptr));
    }
}

void Load::tick() {
    if (!ticks_ || now_ns() < next_tick_ns_) return;
    next_tick_ns_ = std::max(next_tick_ns_ + tick_ns, now_ns());
    send(*publisher_, text_frame("{\"op\":\"publish\",\"topic\":\"ticks\",\"data\":" +
                                 std::to_string(now_ns()) + "}"));
}

void Load::receive(Peer& peer) {
    if (peer.state == State::connecting) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(peer.fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error != 0) fail("connect: %s", std::strerror(error));
        peer.state = State::upgrading;
        send(peer,
             "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
             "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
             "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n");
        epoll_event event{.events = EPOLLIN, .data = {.ptr = &peer}};
        const int epoll = peer.role == Role::established ? urgent_epoll_ : epoll_;
        epoll_ctl(epoll, EPOLL_CTL_MOD, peer.fd, &event);
        return;
    }
    const size_t kept = peer.partial.size();
    std::memcpy(buffer_.data(), peer.partial.data(), kept);
    const ssize_t received = recv(peer.fd, buffer_.data() + kept, receive_bytes, 0);
    if (received < 0 && errno == EAGAIN) return;
    if (received <= 0) fail("the broker ended a connection");
    const std::string_view bytes(buffer_.data(), kept + static_cast<size_t>(received));
    peer.partial = bytes.substr(take(peer, bytes));
}

// Handles what has come whole; answers its size.
size_t Load::take(Peer& peer, std::string_view bytes) {
    size_t at = 0;
    if (peer.state == State::upgrading) {
        const size_t end = bytes.find("\r\n\r\n");
        if (end == std::string_view::npos) return 0;
        if (!bytes.starts_with("HTTP/1.1 101 ")) fail("no upgrade");
        at = end + 4;
        peer.state = State::open;
        --connecting_count_;
        if (!peer.first_command.empty()) send(peer, peer.first_command);
        peer.first_command = {};
    }
    const auto byte = [&](size_t index) { return static_cast<uint8_t>(bytes[index]); };
    while (bytes.size() >= at + 4) {  // no frame of the broker is shorter, but for empty pings
        size_t size = byte(at + 1);
        size_t head = 2;
        if (size == 126) {
            size = size_t{byte(at + 2)} << 8 | byte(at + 3);
            head = 4;
        } else if (size == 127) {
            fail("a frame beyond 64 KiB");
        }
        if (bytes.size() < at + head + size) break;
        if (byte(at) == 0x81) on_text(peer, bytes.substr(at + head, size));
        if (byte(at) == 0x88) fail("the broker closes a connection");
        at += head + size;
    }
    return at;
}

void Load::on_text(Peer& peer, std::string_view json) {
    const auto is = [&](std::string_view op) { return json.substr(7).starts_with(op); };
    if (is("message\"")) {
        ++peer.messages_count;
        if (peer.role == Role::established) {
            delays_ns_.push_back(now_ns() - number(member(json, "\"data\":")));
        } else {
            ++deliveries_count_;
        }
    } else if (is("published\"")) {
        on_published(json);
    } else if (is("welcome\"")) {
        epoch_ = member(json, "\"epoch\":\"");
    } else if (is("subscribed\"")) {
        if (json.find("\"recovered\":false") != std::string_view::npos) fail("not recovered");
        if (json.find("\"recovered\":true") != std::string_view::npos) return;  // live follows
        peer.state = State::live;
        live_count_ += peer.role == Role::client ? 1 : 0;
    } else if (is("live\"")) {
        if (peer.messages_count != peer.messages_expected) {
            fail("%lu messages instead of %lu", peer.messages_count, peer.messages_expected);
        }
        peer.state = State::live;
        ++live_count_;
    } else if (!is("replay\"") && !is("position\"")) {
        fail("unexpected: %.*s", static_cast<int>(json.size()), json.data());
    }
}

void Load::on_published(std::string_view json) {
    ++answered_count_;
    const std::string_view position = member(json, "\"pos\":\"");
    const size_t colon = position.find(':');
    if (colon == std::string_view::npos) fail("no position");
    const uint64_t index = number(member(json, "\"id\":"));
    if (positions_.size() <= index) positions_.resize(index + 1);
    positions_[index] = {static_cast<uint32_t>(number(position.substr(0, colon))),
                         number(position.substr(colon + 1))};
}

void Load::publish(uint64_t count) {
    std::string json = "[";
    for (; count > 0; --count) {
        json.append(json.size() > 1 ? "," : "").append("{\"op\":\"publish\",\"id\":");
        json.append(std::to_string(sent_count_)).append(",\"topic\":\"sensors/");
        json.append(std::to_string(sent_count_ % topics_count)).append("\",\"data\":");
        json.append(payload).append("}");
        ++sent_count_;
    }
    send(*publisher_, text_frame(json + "]"));
}

void Load::prepare_history(uint64_t messages_count) {
    while (sent_count_ < messages_count) {
        publish(std::min<uint64_t>(commands_per_frame, messages_count - sent_count_));
        run_until([&] { return sent_count_ - answered_count_ < unanswered_max; });
    }
    run_until([&] { return answered_count_ == sent_count_; });
}

// Subscribes behind the messages that were published before the last `behind`.
std::string Load::resume_command(uint64_t behind) const {
    std::map<uint32_t, uint64_t> cursor;
    for (uint64_t index = 0; index + behind < positions_.size(); ++index) {
        cursor[positions_[index].first] = positions_[index].second;
    }
    std::string json =
        "{\"op\":\"subscribe\",\"id\":1,\"filter\":\"sensors/"
        "#\",\"start\":{\"after\":{\"epoch\":\"";
    json.append(epoch_).append("\",\"pos\":[");
    for (const auto& [partition, offset] : cursor) {
        json.append(json.back() == '[' ? "\"" : ",\"").append(std::to_string(partition));
        json.append(":").append(std::to_string(offset)).append("\"");
    }
    return text_frame(json + "]}}}");
}

void Load::connect_clients(uint32_t count) {
    for (uint32_t index = 0; index < count; ++index) {
        connect(Role::client, {});
        run_until([&] { return connecting_count_ < connecting_max; });
    }
    run_until([&] { return connecting_count_ == 0; });
}

void Load::catch_up(std::string_view name, uint32_t clients_count, uint64_t behind,
                    bool is_spread) {
    prepare_history(2 * behind + 1'000);
    connect_clients(clients_count);
    std::vector<std::string> commands;
    uint32_t client_index = 0;
    for (Peer& peer : peers_) {
        if (peer.role != Role::client) continue;
        peer.messages_expected = behind;
        if (is_spread) peer.messages_expected += behind * client_index++ / clients_count;
        if (commands.empty() || is_spread) {
            commands.push_back(resume_command(peer.messages_expected));
        }
    }
    const Moment begin = moment();
    client_index = 0;
    for (Peer& peer : peers_) {
        if (peer.role == Role::client) send(peer, commands[client_index++ % commands.size()]);
    }
    run_until([&] { return live_count_ == clients_count; });
    report(name, clients_count, begin);
}

void Load::fan_out(uint32_t clients_count, uint64_t messages_count) {
    connect_clients(clients_count);
    for (Peer& peer : peers_) {
        if (peer.role != Role::client) continue;
        send(peer, text_frame(R"({"op":"subscribe","id":1,"filter":"sensors/#"})"));
    }
    run_until([&] { return live_count_ == clients_count; });
    const Moment begin = moment();
    while (sent_count_ < messages_count) {
        publish(std::min<uint64_t>(commands_per_frame, messages_count - sent_count_));
        run_until([&] {
            return sent_count_ - answered_count_ < unanswered_max &&
                   sent_count_ - deliveries_count_ / clients_count < unanswered_max;
        });
    }
    run_until([&] { return deliveries_count_ >= messages_count * clients_count; });
    report("fanout", clients_count, begin);
    for (const Peer& peer : peers_) {
        if (peer.role == Role::client && peer.messages_count != messages_count) fail("a miscount");
    }
}

void Load::storm(std::string_view name, uint32_t clients_count, uint64_t behind, bool resumes) {
    prepare_history(20'000);
    for (uint32_t index = 0; index < established_count; ++index) {
        connect(Role::established, text_frame(R"({"op":"subscribe","id":1,"filter":"ticks"})"));
    }
    run_until([&] { return connecting_count_ == 0; });
    const auto p99_ms = [&] {
        std::sort(delays_ns_.begin(), delays_ns_.end());
        if (delays_ns_.empty()) fail("no ticks");
        return static_cast<double>(delays_ns_[delays_ns_.size() * 99 / 100]) / 1e6;
    };
    ticks_ = true;
    next_tick_ns_ = now_ns();
    const uint64_t storm_at_ns = now_ns() + calm_ns;
    run_until([&] { return now_ns() >= storm_at_ns; });
    const double calm_ms = p99_ms();
    delays_ns_.clear();

    // Not all of them saw their last message at the same time.
    std::vector<std::string> commands;
    for (uint64_t index = 0; index < behind && resumes; ++index) {
        commands.push_back(resume_command(behind / 2 + index));
    }
    if (!resumes) commands.push_back(text_frame(R"({"op":"subscribe","filter":"sensors/#"})"));
    const Moment begin = moment();
    for (uint32_t index = 0; index < clients_count; ++index) {
        Peer& peer = connect(Role::client, commands[index % commands.size()]);
        if (resumes) peer.messages_expected = behind / 2 + index % commands.size();
        run_until([&] { return connecting_count_ < connecting_max; });
    }
    run_until([&] { return live_count_ == clients_count; });
    ticks_ = false;
    const uint64_t most_ns = *std::max_element(delays_ns_.begin(), delays_ns_.end());
    char more[160];
    std::snprintf(more, sizeof more, ",\"calm_p99_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f",
                  calm_ms, p99_ms(), static_cast<double>(most_ns) / 1e6);
    report(name, clients_count, begin, more);
}

void Load::report(std::string_view name, uint32_t clients_count, const Moment& begin,
                  std::string_view more) {
    const Moment end = moment();
    std::printf(
        "{\"scenario\":\"%.*s\",\"clients\":%u,\"deliveries\":%lu,\"seconds\":%.4f,"
        "\"broker_cpu_s\":%.4f,\"load_cpu_s\":%.4f%.*s}\n",
        static_cast<int>(name.size()), name.data(), clients_count, deliveries_count_,
        static_cast<double>(end.time_ns - begin.time_ns) / 1e9,
        static_cast<double>(end.broker_cpu_ns - begin.broker_cpu_ns) / 1e9,
        static_cast<double>(end.load_cpu_ns - begin.load_cpu_ns) / 1e9,
        static_cast<int>(more.size()), more.data());
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 6) fail("usage: resume_load SCENARIO PORT BROKER_PID CLIENTS BEHIND");
    load::raise_descriptor_limit();
    const std::string_view scenario = argv[1];
    Load load(static_cast<uint16_t>(number(argv[2])), static_cast<int>(number(argv[3])));
    const auto clients_count = static_cast<uint32_t>(number(argv[4]));
    const uint64_t behind = number(argv[5]);
    if (scenario == "same" || scenario == "spread") {
        load.catch_up(scenario, clients_count, behind, scenario == "spread");
    } else if (scenario == "fanout") {
        load.fan_out(clients_count, behind);
    } else if (scenario == "storm" || scenario == "arrival") {
        load.storm(scenario, clients_count, behind, scenario == "storm");
    } else {
        fail("no such scenario: %s", argv[1]);
    }
    return 0;
}
