#include "bench/swarm.h"

#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <iterator>

namespace load {

Swarm::Swarm(const char* address, uint16_t port)
    : address_(address), port_(port), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    raise_descriptor_limit();
}

void Swarm::watch(Peer& peer, uint32_t events, int operation) {
    epoll_event event{.events = events, .data = {.ptr = &peer}};
    if (epoll_ctl(epoll_, operation, peer.socket.fd, &event) != 0) {
        fail("epoll_ctl: %s", std::strerror(errno));
    }
}

void Swarm::read(Peer& peer, bool is_wanted) {
    watch(peer, is_wanted ? uint32_t{EPOLLIN} : 0u, EPOLL_CTL_MOD);
}

Peer& Swarm::connect(const std::string& filter, int window_bytes) {
    run_until([&] { return connecting_count_ < connecting_max; });
    Peer& peer = peers_.emplace_back();
    if (!filter.empty()) {
        peer.first_command =
            text_frame("{\"op\":\"subscribe\",\"id\":1,\"filter\":\"" + filter + "\"}");
        peer.newest.resize(topics_count);
    }
    begin_connecting(peer, window_bytes);
    return peer;
}

void Swarm::begin_connecting(Peer& peer, int window_bytes) {
    peer.socket.connect(address_, port_, window_bytes);
    watch(peer, EPOLLOUT, EPOLL_CTL_ADD);
    ++connecting_count_;
}

void Swarm::come_back() {
    for (Peer& peer : peers_) {
        if (connecting_count_ == connecting_max) return;
        if (peer.socket.fd < 0) begin_connecting(peer, 0);
    }
}

void Swarm::leave(Peer& peer) {
    if (peer.is_live) --live_count_;
    peer.is_live = false;
    peer.socket.close();
}

void Swarm::leave_down_to(size_t count) {
    while (peers_.size() > count) {
        leave(peers_.back());
        peers_.pop_back();
    }
}

void Swarm::handle(int timeout_ms) {
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
                                    if (code != 4100 && !may_be_ended)
                                        fail("the broker closes a connection with %u", code);
                                    peer.was_cut = true;
                                });
        if (!was_open && peer.socket.state == LoadSocket::State::open) {
            --connecting_count_;
            peer.socket.send(peer.first_command);
        }
        if (goes_on) continue;
        if (!was_open && may_be_refused) {
            ++refused_count_;
            --connecting_count_;
        } else if (may_be_ended) {
            if (!was_open) --connecting_count_;
        } else if (!peer.was_cut) {
            fail("the broker ended a connection");
        }
        leave(peer);
    }
}

// {"op":"message","topic":"…","pos":"…","data":["…",TOPIC,NUMBER,TIME]}
void Swarm::on_message(Peer& peer, std::string_view json) {
    const size_t data = json.find(',', json.rfind('['));
    const size_t first = json.find(',', data + 1);
    const size_t second = json.find(',', first + 1);
    const auto topic = static_cast<uint32_t>(number(json.substr(data + 1, first - data - 1)));
    const auto serial = static_cast<uint32_t>(number(json.substr(first + 1, second - first - 1)));
    if (serial <= peer.newest[topic]) fail("%u after %u", serial, peer.newest[topic]);
    peer.newest[topic] = serial;
    ++peer.messages_count;
    if (!is_measured) return;
    const std::string_view time = json.substr(second + 1, json.size() - second - 3);
    delays_ns.push_back(now_ns() - number(time));
}

void Swarm::on_text(Peer& peer, std::string_view json) {
    const std::string_view op = json.substr(7);
    if (op.starts_with("message\"")) {
        on_message(peer, json);
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
    } else if (!op.starts_with("welcome\"") && !op.starts_with("position\"") &&
               !op.starts_with("goodbye\"")) {
        fail("unexpected: %.*s", static_cast<int>(json.size()), json.data());
    }
}

void Witnesses::begin() {
    swarm.delays_ns.clear();
    swarm.is_measured = true;
    is_over_ = false;
    thread_ = std::thread([this] {
        const sched_param before_others{.sched_priority = 20};
        is_first = pthread_setschedparam(pthread_self(), SCHED_FIFO, &before_others) == 0;
        while (!is_over_) swarm.handle(1);
    });
}

void Witnesses::end() {
    is_over_ = true;
    thread_.join();
    swarm.is_measured = false;
}

double Witnesses::delay_ms(double percent) {
    std::vector<uint64_t>& delays_ns = swarm.delays_ns;
    if (delays_ns.empty()) fail("nothing was measured");
    const auto count = static_cast<double>(delays_ns.size());
    const size_t place = std::min(delays_ns.size() - 1, static_cast<size_t>(count * percent / 100));
    std::nth_element(delays_ns.begin(), delays_ns.begin() + static_cast<std::ptrdiff_t>(place),
                     delays_ns.end());
    return static_cast<double>(delays_ns[place]) / 1e6;
}

}  // namespace load
