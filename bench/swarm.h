// Swarm: the subscribers of a load that one thread serves; Witnesses: those of them whose delays
// are measured, with a thread of their own.
//
// A load that reads for a thousand clients is itself late by milliseconds, and would measure its
// own turns. So a few clients among the many are served before all other work of the processor:
// their delays are the broker's.
//
// Owner: the scenario. Thread: that of the owner; between begin() and end() the witnesses belong to
// their own.
// Invariants:
//  1. Every message of every client is checked: numbers rise within a topic; who reads quickly is
//     told of no gap; the broker closes nobody but with 4100, unless it may. Anything else ends the
//     program.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "bench/load_socket.h"

namespace load {

inline constexpr uint32_t topics_count = 100;  // numbered in the messages

struct Peer {
    LoadSocket socket;
    std::string first_command;
    bool is_live = false;  // subscribed
    bool is_slow = false;  // belongs to those that stop reading now and then
    bool was_cut = false;  // the broker closed it with 4100
    uint64_t messages_count = 0;
    uint64_t missed_count = 0;     // as gaps said
    bool has_unknown_gap = false;  // one did not say how many
    std::vector<uint32_t> newest;  // by topic: the newest number that came
};

class Swarm {
  public:
    Swarm(const char* address, uint16_t port);

    static constexpr uint32_t connecting_max = 1'000;  // within the usual backlog of a listener

    // Connects and subscribes, if there is a filter. Waits while as many as may be are connecting.
    Peer& connect(const std::string& filter, int window_bytes = 0);
    void leave(Peer& peer);
    // Those that were ended connect again, as many as may be connecting.
    void come_back();
    // Those that joined last, down to `count`.
    void leave_down_to(size_t count);
    void read(Peer& peer, bool is_wanted);

    // Serves the clients once, waiting for them for at most this long.
    void handle(int timeout_ms);
    // Serves them until it is so, or ends the program after two minutes.
    template <class Condition>
    void run_until(Condition condition) {
        const uint64_t deadline_ns = now_ns() + timeout_ns;
        while (!condition()) {
            if (now_ns() > deadline_ns) fail("timed out: %u are live", live_count_);
            handle(1);
        }
    }

    std::deque<Peer>& peers() { return peers_; }
    uint32_t connecting_count() const { return connecting_count_; }
    uint32_t live_count() const { return live_count_; }
    uint64_t refused_count() const { return refused_count_; }
    // Whether the broker may refuse who connects from now on.
    bool may_be_refused = false;
    // Whether it may end connections, with whatever code or none.
    bool may_be_ended = false;
    // Whether to note how long each message was under way.
    bool is_measured = false;
    std::vector<uint64_t> delays_ns;

  private:
    static constexpr uint64_t timeout_ns = 120'000'000'000;

    void begin_connecting(Peer& peer, int window_bytes);
    void watch(Peer& peer, uint32_t events, int operation);
    void on_text(Peer& peer, std::string_view json);
    void on_message(Peer& peer, std::string_view json);

    const char* const address_;
    const uint16_t port_;
    const int epoll_;
    std::deque<Peer> peers_;
    uint32_t connecting_count_ = 0;
    uint32_t live_count_ = 0;
    uint64_t refused_count_ = 0;
};

class Witnesses {
  public:
    Witnesses(const char* address, uint16_t port) : swarm(address, port) {}

    // The thread serves the swarm from here, and measures,
    void begin();
    // to here.
    void end();
    // The delay, in ms, that `percent` of those measured did not pass.
    double delay_ms(double percent);

    // The caller's outside begin() and end().
    Swarm swarm;
    // The kernel allowed the thread to go first (SCHED_FIFO); else delays include the load's own.
    std::atomic<bool> is_first = false;

  private:
    std::thread thread_;
    std::atomic<bool> is_over_ = false;
};

}  // namespace load
