// overload_load: subscribers that misbehave beside others that do not, for bench/run_overload.py
// and the end-to-end tests.
//
//     overload_load slow PORT PID SUBSCRIBERS SLOW RATE BYTES SECONDS ROUNDS PREFIX
//         SUBSCRIBERS clients of PREFIX/#, RATE messages of some BYTES a second in 100 topics.
//         Rounds of SECONDS in which all read, and of SECONDS in which SLOW of them do not;
//         afterwards they read on. Every message of every client is accounted for: it arrives in
//         order, or a gap counts it.
//     overload_load room PORT PID CROWD SECONDS ROUNDS
//         a room of 10 clients that get 100 messages a second; rounds without more, and with 10
//         messages a second to CROWD subscribers of another topic.
//     overload_load crowd PORT PID ESTABLISHED CLIENTS SECONDS
//         ESTABLISHED clients get 20 messages a second, while CLIENTS connect at once and leave,
//         again and again.
//     overload_load hold ADDRESS PORT CLIENTS
//         CLIENTS connect, subscribe, print "held" and answer pings until the input ends.
//
// One thread and epoll; one line of JSON at the end. A message too much, too few or out of order
// ends the program with an error.

#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "bench/load_socket.h"

namespace {

using load::fail;
using load::LoadSocket;
using load::member;
using load::now_ns;
using load::number;
using load::text_frame;

constexpr uint32_t topics_count = 100;
constexpr uint32_t connecting_max = 1'000;  // within the usual backlog of a listener
constexpr int slow_window_bytes = 16 * 1024;
constexpr uint64_t second_ns = 1'000'000'000;
constexpr uint64_t timeout_ns = 120 * second_ns;

struct Peer {
    LoadSocket socket;
    std::string first_command;
    bool is_live = false;
    bool is_slow = false;      // belongs to those that stop reading
    bool is_measured = false;  // its delays count
    bool was_cut = false;      // the broker closed it with 4100
    uint64_t messages_count = 0;
    uint64_t missed_count = 0;     // as gaps said
    bool has_unknown_gap = false;  // one did not say how many
    std::vector<uint32_t> newest;  // by topic: the newest number that came
};

// The value of a percentile, in ms.
double percentile_ms(std::vector<uint64_t>& delays_ns, double percent) {
    if (delays_ns.empty()) fail("nothing was measured");
    const size_t place =
        std::min(delays_ns.size() - 1,
                 static_cast<size_t>(static_cast<double>(delays_ns.size()) * percent / 100));
    std::nth_element(delays_ns.begin(), delays_ns.begin() + static_cast<std::ptrdiff_t>(place),
                     delays_ns.end());
    return static_cast<double>(delays_ns[place]) / 1e6;
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

class Load {
  public:
    Load(const char* address, uint16_t port, int broker_pid)
        : address_(address), port_(port), broker_pid_(broker_pid), epoll_(epoll_create1(0)) {
        load::raise_descriptor_limit();
    }

    void slow(uint32_t subscribers_count, uint32_t slow_count, uint64_t rate, uint64_t bytes,
              uint64_t seconds, uint32_t rounds, const std::string& prefix);
    void room(uint32_t crowd_count, uint64_t seconds, uint32_t rounds);
    void crowd(uint32_t established_count, uint32_t clients_count, uint64_t seconds);
    void hold(uint32_t clients_count);

  private:
    Peer& connect(const std::string& filter, int window_bytes = 0);
    void connect_publisher();
    void publish(const std::string& topic, uint32_t topic_number, uint32_t number);
    void watch(Peer& peer, uint32_t events, int operation);
    void handle(int timeout_ms);
    void on_text(Peer& peer, std::string_view json);
    void leave(Peer& peer);
    // Publishes `rate` messages a second in `topics` topics for a while, beginning now.
    void publish_for(uint64_t duration_ns, uint64_t rate, const std::string& prefix);
    template <class Condition>
    void run_until(Condition condition) {
        const uint64_t deadline_ns = now_ns() + timeout_ns;
        while (!condition()) {
            if (now_ns() > deadline_ns) {
                for (const Peer& peer : peers_) {
                    if (peer.messages_count + peer.missed_count == published_count_) continue;
                    std::fprintf(stderr, "%lu messages and %lu missed of %lu\n",
                                 peer.messages_count, peer.missed_count, published_count_);
                }
                fail("timed out: %u are live", live_count_);
            }
            handle(1);
        }
    }

    const char* const address_;
    const uint16_t port_;
    const int broker_pid_;
    const int epoll_;
    std::deque<Peer> peers_;
    Peer* publisher_ = nullptr;
    uint32_t connecting_count_ = 0;
    uint32_t live_count_ = 0;
    uint64_t refused_count_ = 0;
    bool may_be_refused_ = false;
    std::vector<uint32_t> published_ = std::vector<uint32_t>(topics_count);  // numbers, by topic
    uint64_t published_count_ = 0;
    std::string padding_;  // of messages
    std::vector<uint64_t> delays_ns_;
    uint64_t resident_most_bytes_ = 0;
};

void Load::watch(Peer& peer, uint32_t events, int operation) {
    epoll_event event{.events = events, .data = {.ptr = &peer}};
    if (epoll_ctl(epoll_, operation, peer.socket.fd, &event) != 0) {
        fail("epoll_ctl: %s", std::strerror(errno));
    }
}

Peer& Load::connect(const std::string& filter, int window_bytes) {
    run_until([&] { return connecting_count_ < connecting_max; });
    Peer& peer = peers_.emplace_back();
    if (!filter.empty()) {
        peer.first_command =
            text_frame("{\"op\":\"subscribe\",\"id\":1,\"filter\":\"" + filter + "\"}");
        peer.newest.resize(topics_count);
    }
    peer.socket.connect(address_, port_, window_bytes);
    watch(peer, EPOLLOUT, EPOLL_CTL_ADD);
    ++connecting_count_;
    return peer;
}

void Load::connect_publisher() {
    publisher_ = &connect({});
    run_until([&] { return connecting_count_ == 0; });
}

void Load::handle(int timeout_ms) {
    epoll_event events[128];
    const int count = epoll_wait(epoll_, events, std::size(events), timeout_ms);
    for (int index = 0; index < count; ++index) {
        Peer& peer = *static_cast<Peer*>(events[index].data.ptr);
        if (peer.socket.fd < 0) continue;
        if (peer.socket.state == LoadSocket::State::connecting) {
            if (!peer.socket.connected()) fail("cannot connect");
            watch(peer, EPOLLIN, EPOLL_CTL_MOD);
            continue;
        }
        const bool was_open = peer.socket.state == LoadSocket::State::open;
        const bool goes_on =
            peer.socket.receive([&](std::string_view json) { on_text(peer, json); },
                                [&](uint16_t code) {
                                    if (code != 4100)
                                        fail("the broker closes a connection with %u", code);
                                    peer.was_cut = true;
                                });
        if (!was_open && peer.socket.state == LoadSocket::State::open) {
            --connecting_count_;
            peer.socket.send(peer.first_command);
        }
        if (goes_on) continue;
        if (!was_open && may_be_refused_) {
            ++refused_count_;
            --connecting_count_;
        } else if (!peer.was_cut) {
            fail("the broker ended a connection");
        }
        leave(peer);
    }
}

void Load::leave(Peer& peer) {
    if (peer.is_live) --live_count_;
    peer.is_live = false;
    peer.socket.close();
}

// {"op":"message","topic":"…","pos":"…","data":["…",TOPIC,NUMBER,TIME]}
void Load::on_text(Peer& peer, std::string_view json) {
    const std::string_view op = json.substr(7);
    if (op.starts_with("message\"")) {
        const size_t data = json.find(',', json.rfind('['));
        const size_t first = json.find(',', data + 1);
        const size_t second = json.find(',', first + 1);
        const auto topic = static_cast<uint32_t>(number(json.substr(data + 1, first - data - 1)));
        const auto serial =
            static_cast<uint32_t>(number(json.substr(first + 1, second - first - 1)));
        if (serial <= peer.newest[topic]) fail("%u after %u", serial, peer.newest[topic]);
        peer.newest[topic] = serial;
        ++peer.messages_count;
        if (peer.is_measured) {
            const std::string_view time = json.substr(second + 1, json.size() - second - 3);
            delays_ns_.push_back(now_ns() - number(time));
        }
    } else if (op.starts_with("subscribed\"")) {
        peer.is_live = true;
        ++live_count_;
    } else if (op.starts_with("gap\"")) {
        if (!peer.is_slow) fail("a quick reader is told of a gap");
        const std::string_view missed = member(json, "\"missed\":");
        if (missed == "null") {
            peer.has_unknown_gap = true;
        } else {
            peer.missed_count += number(missed);
        }
    } else if (!op.starts_with("welcome\"") && !op.starts_with("position\"")) {
        fail("unexpected: %.*s", static_cast<int>(json.size()), json.data());
    }
}

void Load::publish(const std::string& topic, uint32_t topic_number, uint32_t serial) {
    publisher_->socket.send(text_frame("{\"op\":\"publish\",\"topic\":\"" + topic +
                                       "\",\"data\":[\"" + padding_ + "\"," +
                                       std::to_string(topic_number) + "," + std::to_string(serial) +
                                       "," + std::to_string(now_ns()) + "]}"));
}

void Load::publish_for(uint64_t duration_ns, uint64_t rate, const std::string& prefix) {
    const uint64_t begin_ns = now_ns();
    uint64_t resident_at_ns = begin_ns;
    for (uint64_t count = 0; count < rate * duration_ns / second_ns;) {
        const uint64_t due_ns = begin_ns + count * second_ns / rate;
        const uint64_t now = now_ns();
        if (now >= due_ns) {
            const uint32_t topic = static_cast<uint32_t>(published_count_ % topics_count);
            publish(prefix + "/" + std::to_string(topic), topic, ++published_[topic]);
            ++published_count_;
            ++count;
        }
        handle(0);
        if (now < resident_at_ns + second_ns / 10) continue;
        resident_at_ns = now;
        resident_most_bytes_ = std::max(resident_most_bytes_, load::resident_bytes(broker_pid_));
    }
}

void Load::slow(uint32_t subscribers_count, uint32_t slow_count, uint64_t rate, uint64_t bytes,
                uint64_t seconds, uint32_t rounds, const std::string& prefix) {
    padding_.assign(bytes, 'x');
    connect_publisher();
    for (uint32_t index = 0; index < subscribers_count; ++index) {
        const bool is_slow = index < slow_count;
        Peer& peer = connect(prefix + "/#", is_slow ? slow_window_bytes : 0);
        peer.is_slow = is_slow;
        peer.is_measured = !peer.is_slow;
    }
    run_until([&] { return live_count_ == subscribers_count; });
    const uint64_t resident_before_bytes = load::resident_bytes(broker_pid_);
    const auto all_have_all = [&] {
        return std::all_of(peers_.begin(), peers_.end(), [&](const Peer& peer) {
            if (&peer == publisher_ || peer.was_cut) return true;
            if (peer.has_unknown_gap) return peer.newest == published_;
            return peer.messages_count + peer.missed_count == published_count_;
        });
    };
    publish_for(second_ns, rate, prefix);  // warms up
    run_until(all_have_all);
    std::vector<double> calm_ms;
    std::vector<double> slow_ms;
    std::vector<double> ratios;
    const uint64_t cpu_ns = load::process_cpu_ns(broker_pid_);
    const uint64_t begin_ns = now_ns();
    for (uint32_t round = 0; round < rounds; ++round) {
        for (const bool is_calm : {true, false}) {
            for (Peer& peer : peers_) {
                if (!is_calm && peer.is_slow && !peer.was_cut) watch(peer, 0, EPOLL_CTL_MOD);
            }
            delays_ns_.clear();
            publish_for(seconds * second_ns, rate, prefix);
            (is_calm ? calm_ms : slow_ms).push_back(percentile_ms(delays_ns_, 99));
            for (Peer& peer : peers_) {
                if (!is_calm && peer.is_slow && !peer.was_cut) watch(peer, EPOLLIN, EPOLL_CTL_MOD);
            }
            run_until(all_have_all);
        }
        ratios.push_back(slow_ms.back() / calm_ms.back());
    }
    uint64_t missed_count = 0;
    uint32_t cut_count = 0;
    uint32_t unknown_count = 0;
    for (const Peer& peer : peers_) {
        missed_count += peer.missed_count;
        cut_count += peer.was_cut ? 1u : 0u;
        unknown_count += peer.has_unknown_gap ? 1u : 0u;
    }
    std::printf(
        "{\"scenario\":\"slow\",\"calm_p99_ms\":%.3f,\"slow_p99_ms\":%.3f,\"ratio\":%.3f,"
        "\"published\":%lu,\"missed\":%lu,\"unknown\":%u,\"cut\":%u,\"resident_before_bytes\":%lu,"
        "\"resident_most_bytes\":%lu,\"broker_core\":%.3f}\n",
        median(calm_ms), median(slow_ms), median(ratios), published_count_, missed_count,
        unknown_count, cut_count, resident_before_bytes, resident_most_bytes_,
        static_cast<double>(load::process_cpu_ns(broker_pid_) - cpu_ns) /
            static_cast<double>(now_ns() - begin_ns));
}

void Load::room(uint32_t crowd_count, uint64_t seconds, uint32_t rounds) {
    connect_publisher();
    for (uint32_t index = 0; index < 10; ++index) connect("room/#").is_measured = true;
    for (uint32_t index = 0; index < crowd_count; ++index) connect("crowd");
    run_until([&] { return live_count_ == crowd_count + 10; });
    uint64_t crowd_published = 0;
    const auto crowd_has_all = [&] {
        return std::all_of(peers_.begin(), peers_.end(), [&](const Peer& peer) {
            return &peer == publisher_ || peer.is_measured ||
                   peer.messages_count == crowd_published;
        });
    };
    std::vector<double> calm_ms;
    std::vector<double> busy_ms;
    for (uint32_t round = 0; round < rounds; ++round) {
        for (const bool is_calm : {true, false}) {
            delays_ns_.clear();
            for (uint64_t tenth = 0; tenth < 10 * seconds; ++tenth) {
                if (!is_calm) publish("crowd", 0, static_cast<uint32_t>(++crowd_published));
                publish_for(second_ns / 10, 100, "room");
            }
            (is_calm ? calm_ms : busy_ms).push_back(percentile_ms(delays_ns_, 99));
            run_until(crowd_has_all);
        }
    }
    std::printf("{\"scenario\":\"room\",\"calm_p99_ms\":%.3f,\"busy_p99_ms\":%.3f}\n",
                median(calm_ms), median(busy_ms));
}

void Load::crowd(uint32_t established_count, uint32_t clients_count, uint64_t seconds) {
    connect_publisher();
    for (uint32_t index = 0; index < established_count; ++index) {
        connect("steady/#").is_measured = true;
    }
    run_until([&] { return live_count_ == established_count; });
    const auto all_have_all = [&] {
        return std::all_of(peers_.begin(), peers_.end(), [&](const Peer& peer) {
            return !peer.is_measured || peer.messages_count == published_count_;
        });
    };
    publish_for(seconds * second_ns, 20, "steady");
    run_until(all_have_all);
    const double calm_ms = percentile_ms(delays_ns_, 99);
    delays_ns_.clear();
    may_be_refused_ = true;
    const size_t steady_count = peers_.size();
    uint64_t arrived_count = 0;
    const uint64_t begin_ns = now_ns();
    uint64_t steady_sent = 0;
    while (now_ns() < begin_ns + seconds * second_ns) {
        uint32_t asked = 0;
        while (asked < clients_count || connecting_count_ > 0) {
            if (asked < clients_count && connecting_count_ < connecting_max) {
                connect("other");
                ++asked;
            }
            if (now_ns() >= begin_ns + steady_sent * second_ns / 20) {
                publish("steady/0", 0, ++published_[0]);
                ++published_count_;
                ++steady_sent;
            }
            handle(0);
        }
        for (size_t index = steady_count; index < peers_.size(); ++index) {
            arrived_count += peers_[index].socket.state == LoadSocket::State::open ? 1u : 0u;
            leave(peers_[index]);
        }
        peers_.resize(steady_count);
    }
    run_until(all_have_all);
    std::printf(
        "{\"scenario\":\"crowd\",\"calm_p99_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f,"
        "\"arrived\":%lu,\"refused\":%lu,\"seconds\":%.2f}\n",
        calm_ms, percentile_ms(delays_ns_, 99), percentile_ms(delays_ns_, 100), arrived_count,
        refused_count_, static_cast<double>(now_ns() - begin_ns) / 1e9);
}

void Load::hold(uint32_t clients_count) {
    for (uint32_t index = 0; index < clients_count; ++index) connect("held");
    run_until([&] { return live_count_ == clients_count; });
    std::puts("held");
    std::fflush(stdout);
    pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    while (poll(&input, 1, 0) == 0) handle(100);
}

}  // namespace

int main(int argc, char** argv) {
    const std::string_view scenario = argc > 1 ? argv[1] : "";
    const auto argument = [&](int index) { return number(argv[index]); };
    const auto small = [&](int index) { return static_cast<uint32_t>(argument(index)); };
    const auto make = [&] {
        return Load("127.0.0.1", static_cast<uint16_t>(argument(2)), static_cast<int>(argument(3)));
    };
    if (scenario == "slow" && argc == 11) {
        make().slow(small(4), small(5), argument(6), argument(7), argument(8), small(9), argv[10]);
    } else if (scenario == "room" && argc == 7) {
        make().room(small(4), argument(5), small(6));
    } else if (scenario == "crowd" && argc == 7) {
        make().crowd(small(4), small(5), argument(6));
    } else if (scenario == "hold" && argc == 5) {
        Load(argv[2], static_cast<uint16_t>(argument(3)), 0).hold(small(4));
    } else {
        fail("usage: overload_load slow|room|crowd|hold …; see the source");
    }
    return 0;
}
