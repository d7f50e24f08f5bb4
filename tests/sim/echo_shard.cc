#include "tests/sim/echo_shard.h"

#include <cerrno>
#include <utility>

namespace sim {

EchoShard::EchoShard(io::ShardId id, io::Reactor& reactor, io::Mesh& mesh)
    : id_(id), reactor_(reactor), mesh_(mesh) {
    reactor_.accept_start(0);
}

void EchoShard::turn() {
    const bool may_wait = mesh_.sleep_begin(id_);
    const std::span<const io::Event> events = reactor_.turn(may_wait ? base::never_ns : 0);
    mesh_.sleep_end(id_);
    for (const io::Event& event : events) dispatch(event);
    if ((mesh_.requests_take(id_) & static_cast<uint32_t>(io::Request::stop)) == 0) return;
    is_stopping_ = true;
    reactor_.accept_stop(0);
    echoes_.for_each([this](base::Slot slot, Echo& echo) {
        if (!echo.is_ended) reactor_.shutdown(echo.socket, io::Direction::both);
        echo.is_ended = true;
        echo.waiting.clear();
        advance(slot, echo);
    });
}

void EchoShard::dispatch(const io::Event& event) {
    switch (event.op) {
        case io::Op::accept: on_accept(event); return;
        case io::Op::recv: on_recv(event); return;
        case io::Op::send: on_send(event); return;
        case io::Op::close: echoes_.release(event.slot); return;
    }
}

void EchoShard::on_accept(const io::Event& event) {
    if (event.result == -ECANCELED) {
        is_listening_ = false;
    } else if (event.result < 0) {
        if (!is_stopping_) reactor_.accept_start(0);
    } else {
        const base::Slot slot =
            echoes_.take(Echo{.socket = event.socket, .waiting = {}, .in_flight = {}});
        reactor_.recv_start(event.socket, slot);
        if (is_stopping_) reactor_.shutdown(event.socket, io::Direction::both);
    }
}

void EchoShard::on_recv(const io::Event& event) {
    Echo& echo = echoes_.at(event.slot);
    echo.is_receiving = event.more;
    if (event.result > 0 && !echo.is_ended) {
        echo.waiting.append(reinterpret_cast<const char*>(event.bytes.data()), event.bytes.size());
    }
    const bool is_alive = event.result > 0 || event.result == -ENOBUFS;
    if (!is_alive) echo.is_ended = true;
    if (!echo.is_receiving && is_alive) {
        echo.is_receiving = true;
        reactor_.recv_start(echo.socket, event.slot);
    }
    advance(event.slot, echo);
}

void EchoShard::on_send(const io::Event& event) {
    Echo& echo = echoes_.at(event.slot);
    if (event.result < 0) {
        echo.waiting.clear();
        if (!echo.is_ended) reactor_.shutdown(echo.socket, io::Direction::both);
        echo.is_ended = true;
    } else {
        echo.waiting.insert(0, echo.in_flight.substr(static_cast<size_t>(event.result)));
    }
    echo.in_flight.clear();
    advance(event.slot, echo);
}

void EchoShard::advance(base::Slot slot, Echo& echo) {
    if (!echo.in_flight.empty() || echo.is_closing) return;
    if (!echo.waiting.empty()) {
        echo.in_flight = std::exchange(echo.waiting, {});
        const iovec part{echo.in_flight.data(), echo.in_flight.size()};
        reactor_.send(echo.socket, slot, {&part, 1});
    } else if (echo.is_ended && !echo.is_receiving) {
        echo.is_closing = true;
        reactor_.close(echo.socket, slot);
    }
}

}  // namespace sim
