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
//         messages a second to CROWD subscribers of another topic, which are in processes of their
//         own (bench/crowd_processes.h).
//     overload_load crowd PORT PID ESTABLISHED CLIENTS SECONDS
//         ESTABLISHED clients get 20 messages a second, while CLIENTS connect at once and leave,
//         again and again.
//     overload_load hold ADDRESS PORT CLIENTS
//         CLIENTS connect, subscribe to `held`, and read and answer pings until the input ends.
//         Those that the broker ends come back. It prints "held" whenever all of them are there.
//
// What is measured are the delays of the witnesses (bench/swarm.h): each twentieth of those who
// read, the room, the established. One line of JSON at the end. A message too much, too few or out
// of order ends the program with an error.

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "bench/crowd_processes.h"
#include "bench/swarm.h"

namespace {

using load::fail;
using load::now_ns;
using load::number;
using load::Peer;
using load::Swarm;
using load::text_frame;
using load::topics_count;
using load::Witnesses;

constexpr int slow_window_bytes = 16 * 1024;
constexpr uint32_t witness_share = 20;  // of so many who read, one is a witness
constexpr uint64_t second_ns = 1'000'000'000;

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

class Load {
  public:
    Load(const char* address, uint16_t port, int broker_pid)
        : address_(address),
          port_(port),
          broker_pid_(broker_pid),
          swarm_(address, port),
          witnesses_(address, port) {
        publisher_ = &swarm_.connect({});
        swarm_.run_until([&] { return swarm_.connecting_count() == 0; });
    }

    void slow(uint32_t subscribers_count, uint32_t slow_count, uint64_t rate, uint64_t bytes,
              uint64_t seconds, uint32_t rounds, const std::string& prefix);
    void room(uint32_t crowd_count, uint64_t seconds, uint32_t rounds);
    void crowd(uint32_t established_count, uint32_t clients_count, uint64_t seconds);

  private:
    void publish(const std::string& topic, uint32_t topic_number, uint32_t number);
    // Publishes `rate` messages a second in `topics` topics for a while, beginning now.
    void publish_for(uint64_t duration_ns, uint64_t rate, const std::string& prefix);
    // Until all clients have subscribed.
    void settle();
    // Until all have all that was published, or were told of what they have not.
    void complete(Swarm& swarm) const;
    void slow_read(bool is_wanted);

    const char* const address_;
    const uint16_t port_;
    const int broker_pid_;
    Swarm swarm_;
    Witnesses witnesses_;
    Peer* publisher_ = nullptr;
    std::vector<uint32_t> published_ = std::vector<uint32_t>(topics_count);  // numbers, by topic
    uint64_t published_count_ = 0;
    std::string padding_;  // of messages
    uint64_t resident_most_bytes_ = 0;
};

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
        swarm_.handle(0);
        if (now < resident_at_ns + second_ns / 10) continue;
        resident_at_ns = now;
        resident_most_bytes_ = std::max(resident_most_bytes_, load::resident_bytes(broker_pid_));
    }
}

void Load::settle() {
    for (Swarm* const swarm : {&swarm_, &witnesses_.swarm}) {
        const auto wanted_count = static_cast<size_t>(
            std::count_if(swarm->peers().begin(), swarm->peers().end(),
                          [](const Peer& peer) { return !peer.newest.empty(); }));
        swarm->run_until([&] { return swarm->live_count() == wanted_count; });
    }
}

void Load::complete(Swarm& swarm) const {
    swarm.run_until([&] {
        return std::all_of(swarm.peers().begin(), swarm.peers().end(), [&](const Peer& peer) {
            if (&peer == publisher_ || peer.was_cut) return true;
            if (peer.has_unknown_gap) return peer.newest == published_;
            return peer.messages_count + peer.missed_count == published_count_;
        });
    });
}

void Load::slow_read(bool is_wanted) {
    for (Peer& peer : swarm_.peers()) {
        if (peer.is_slow && !peer.was_cut) swarm_.read(peer, is_wanted);
    }
}

void Load::slow(uint32_t subscribers_count, uint32_t slow_count, uint64_t rate, uint64_t bytes,
                uint64_t seconds, uint32_t rounds, const std::string& prefix) {
    padding_.assign(bytes, 'x');
    const std::string filter = prefix + "/#";
    for (uint32_t index = 0; index < subscribers_count; ++index) {
        const bool is_slow = index < slow_count;
        if (!is_slow && index % witness_share == 0) {
            witnesses_.swarm.connect(filter);
        } else {
            swarm_.connect(filter, is_slow ? slow_window_bytes : 0).is_slow = is_slow;
        }
    }
    settle();
    const uint64_t resident_before_bytes = load::resident_bytes(broker_pid_);
    witnesses_.begin();
    publish_for(second_ns, rate, prefix);  // warms up
    witnesses_.end();
    complete(swarm_);
    complete(witnesses_.swarm);
    std::vector<double> calm_ms;
    std::vector<double> slow_ms;
    std::vector<double> ratios;
    const uint64_t cpu_ns = load::process_cpu_ns(broker_pid_);
    const uint64_t begin_ns = now_ns();
    for (uint32_t round = 0; round < rounds; ++round) {
        for (const bool is_calm : {true, false}) {
            if (!is_calm) slow_read(false);
            witnesses_.begin();
            publish_for(seconds * second_ns, rate, prefix);
            witnesses_.end();
            (is_calm ? calm_ms : slow_ms).push_back(witnesses_.delay_ms(99));
            if (!is_calm) slow_read(true);
            complete(swarm_);
            complete(witnesses_.swarm);
        }
        ratios.push_back(slow_ms.back() / calm_ms.back());
    }
    uint64_t missed_count = 0;
    uint32_t cut_count = 0;
    uint32_t unknown_count = 0;
    for (const Peer& peer : swarm_.peers()) {
        missed_count += peer.missed_count;
        cut_count += peer.was_cut ? 1u : 0u;
        unknown_count += peer.has_unknown_gap ? 1u : 0u;
    }
    std::printf(
        "{\"scenario\":\"slow\",\"calm_p99_ms\":%.3f,\"slow_p99_ms\":%.3f,\"ratio\":%.3f,"
        "\"published\":%lu,\"missed\":%lu,\"unknown\":%u,\"cut\":%u,\"resident_before_bytes\":%lu,"
        "\"resident_most_bytes\":%lu,\"broker_core\":%.3f,\"witnesses_first\":%s}\n",
        median(calm_ms), median(slow_ms), median(ratios), published_count_, missed_count,
        unknown_count, cut_count, resident_before_bytes, resident_most_bytes_,
        static_cast<double>(load::process_cpu_ns(broker_pid_) - cpu_ns) /
            static_cast<double>(now_ns() - begin_ns),
        witnesses_.is_first ? "true" : "false");
}

// In a process of the crowd: connects, and answers each number with a byte when all have so many.
void serve_crowd(Swarm& swarm, uint32_t clients_count, int questions_fd, int answers_fd) {
    for (uint32_t index = 0; index < clients_count; ++index) swarm.connect("crowd");
    swarm.run_until([&] { return swarm.live_count() == clients_count; });
    load::step_back();
    pollfd question{.fd = questions_fd, .events = POLLIN, .revents = 0};
    while (poll(&question, 1, 0) >= 0) {
        swarm.handle(1);
        if (question.revents == 0) continue;
        uint64_t wanted_count = 0;
        if (read(questions_fd, &wanted_count, sizeof wanted_count) !=
            static_cast<ssize_t>(sizeof wanted_count)) {
            return;  // whoever measures has ended
        }
        swarm.run_until([&] {
            return std::all_of(swarm.peers().begin(), swarm.peers().end(), [&](const Peer& peer) {
                return peer.messages_count >= wanted_count;
            });
        });
        const char answer = 1;
        if (write(answers_fd, &answer, 1) != 1) return;
    }
}

void Load::room(uint32_t crowd_count, uint64_t seconds, uint32_t rounds) {
    const load::CrowdProcesses crowd(
        crowd_count, [this](uint32_t clients_count, int questions_fd, int answers_fd) {
            Swarm swarm(address_, port_);
            serve_crowd(swarm, clients_count, questions_fd, answers_fd);
        });
    for (uint32_t index = 0; index < 10; ++index) witnesses_.swarm.connect("room/#");
    settle();
    uint64_t crowd_published = 0;
    std::vector<double> calm_ms;
    std::vector<double> busy_ms;
    uint64_t busy_cpu_ns = 0;
    uint64_t busy_ns = 0;
    for (uint32_t round = 0; round < rounds; ++round) {
        for (const bool is_calm : {true, false}) {
            witnesses_.begin();
            const uint64_t cpu_ns = load::process_cpu_ns(broker_pid_);
            const uint64_t begin_ns = now_ns();
            for (uint64_t tenth = 0; tenth < 10 * seconds; ++tenth) {
                if (!is_calm) publish("crowd", 0, static_cast<uint32_t>(++crowd_published));
                publish_for(second_ns / 10, 100, "room");
            }
            if (!is_calm) {
                busy_cpu_ns += load::process_cpu_ns(broker_pid_) - cpu_ns;
                busy_ns += now_ns() - begin_ns;
            }
            witnesses_.end();
            (is_calm ? calm_ms : busy_ms).push_back(witnesses_.delay_ms(99));
            crowd.ask(crowd_published);
            crowd.wait();
            complete(witnesses_.swarm);
        }
    }
    std::printf(
        "{\"scenario\":\"room\",\"crowd\":%u,\"calm_p99_ms\":%.3f,\"busy_p99_ms\":%.3f,"
        "\"busy_broker_core\":%.3f,\"witnesses_first\":%s}\n",
        crowd_count, median(calm_ms), median(busy_ms),
        static_cast<double>(busy_cpu_ns) / static_cast<double>(std::max<uint64_t>(busy_ns, 1)),
        witnesses_.is_first ? "true" : "false");
}

void Load::crowd(uint32_t established_count, uint32_t clients_count, uint64_t seconds) {
    for (uint32_t index = 0; index < established_count; ++index) {
        witnesses_.swarm.connect("steady/#");
    }
    settle();
    witnesses_.begin();
    publish_for(seconds * second_ns, 20, "steady");
    witnesses_.end();
    const double calm_ms = witnesses_.delay_ms(99);
    complete(witnesses_.swarm);
    swarm_.may_be_refused = true;
    const size_t steady_count = swarm_.peers().size();
    uint64_t arrived_count = 0;
    uint64_t steady_sent = 0;
    witnesses_.begin();
    const uint64_t begin_ns = now_ns();
    while (now_ns() < begin_ns + seconds * second_ns) {
        uint32_t asked = 0;
        while (asked < clients_count || swarm_.connecting_count() > 0) {
            if (asked < clients_count && swarm_.connecting_count() < Swarm::connecting_max) {
                swarm_.connect("other");
                ++asked;
            }
            if (now_ns() >= begin_ns + steady_sent * second_ns / 20) {
                publish("steady/0", 0, ++published_[0]);
                ++published_count_;
                ++steady_sent;
            }
            swarm_.handle(0);
        }
        for (size_t index = steady_count; index < swarm_.peers().size(); ++index) {
            const Peer& peer = swarm_.peers()[index];
            arrived_count += peer.socket.state == load::LoadSocket::State::open ? 1u : 0u;
        }
        swarm_.leave_down_to(steady_count);
    }
    const double took_s = static_cast<double>(now_ns() - begin_ns) / 1e9;
    witnesses_.end();
    complete(witnesses_.swarm);
    std::printf(
        "{\"scenario\":\"crowd\",\"calm_p99_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f,"
        "\"arrived\":%lu,\"refused\":%lu,\"seconds\":%.2f,\"witnesses_first\":%s}\n",
        calm_ms, witnesses_.delay_ms(99), witnesses_.delay_ms(100), arrived_count,
        swarm_.refused_count(), took_s, witnesses_.is_first ? "true" : "false");
}

void hold(Swarm& swarm, uint32_t clients_count) {
    swarm.may_be_ended = true;
    while (swarm.peers().size() < clients_count) swarm.connect("held");
    pollfd input{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    bool was_told = false;
    while (poll(&input, 1, 0) == 0) {
        swarm.handle(100);
        const bool all_are_there = swarm.live_count() == clients_count;
        if (all_are_there && !was_told) {
            std::puts("held");
            std::fflush(stdout);
        }
        was_told = all_are_there;
        if (!all_are_there) swarm.come_back();
    }
}

}  // namespace

int main(int argc, char** argv) {
    const std::string_view scenario = argc > 1 ? argv[1] : "";
    const auto argument = [&](int index) { return number(argv[index]); };
    const auto small = [&](int index) { return static_cast<uint32_t>(argument(index)); };
    if (scenario == "hold" && argc == 5) {
        Swarm swarm(argv[2], static_cast<uint16_t>(argument(3)));
        hold(swarm, small(4));
        return 0;
    }
    if (argc < 4) fail("usage: overload_load slow|room|crowd|hold …; see the source");
    Load load("127.0.0.1", static_cast<uint16_t>(argument(2)), static_cast<int>(argument(3)));
    if (scenario == "slow" && argc == 11) {
        load.slow(small(4), small(5), argument(6), argument(7), argument(8), small(9), argv[10]);
    } else if (scenario == "room" && argc == 7) {
        load.room(small(4), argument(5), small(6));
    } else if (scenario == "crowd" && argc == 7) {
        load.crowd(small(4), small(5), argument(6));
    } else {
        fail("usage: overload_load slow|room|crowd|hold …; see the source");
    }
    return 0;
}
