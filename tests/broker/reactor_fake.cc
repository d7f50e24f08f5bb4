#include "tests/broker/reactor_fake.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "io/base/check.h"
#include "io/base/units.h"

namespace io {

uint32_t Reactor::Impl::connect(uint16_t listener) {
    const uint32_t number = static_cast<uint32_t>(sockets.size());
    sockets.emplace_back();
    listeners[listener].waiting.push_back(number);
    return number;
}

Reactor::Impl::Socket& Reactor::Impl::at(io::Socket socket, base::Slot slot) {
    CHECK(socket.value < sockets.size());
    Socket& found = sockets[socket.value];
    CHECK(!found.close_requested);
    if (found.slot.is_none()) found.slot = slot;
    CHECK(found.slot == slot);
    return found;
}

void Reactor::Impl::turn(uint64_t deadline) {
    ++turns_count;
    deadline_ns = deadline;
    events.clear();
    lent_.clear();
    const auto listeners_count = static_cast<uint16_t>(listeners.size());
    for (uint16_t number = 0; number < listeners_count; ++number) accept(number);
    uint32_t buffers_left = buffers_count;
    for (size_t step = 0; step < sockets.size(); ++step) {
        // Another one is the first in every turn, so that scarce buffers go round.
        const uint32_t number = static_cast<uint32_t>((step + turns_count) % sockets.size());
        Socket& socket = sockets[number];
        if (socket.recv_armed) recv(number, buffers_left);
        if (socket.send_in_flight) send(number);
        if (!socket.close_requested || socket.is_closed) continue;
        socket.is_closed = true;
        events.push_back({.op = Op::close, .slot = socket.slot});
    }
}

void Reactor::Impl::accept(uint16_t number) {
    Listener& listener = listeners[number];
    while (listener.is_armed) {
        Event event{.op = Op::accept, .listener = number};
        if (!listener.errors.empty()) {
            event.result = -listener.errors.front();
            listener.errors.pop_front();
            listener.is_armed = false;
        } else if (!listener.waiting.empty()) {
            event.socket = io::Socket{listener.waiting.front()};
            event.peer = &sockets[event.socket.value].peer;
            listener.waiting.pop_front();
        } else {
            break;
        }
        events.push_back(event);
    }
    if (!listener.is_stopping) return;
    listener.is_stopping = false;
    listener.is_armed = false;
    listener.is_stopped = true;
    events.push_back({.op = Op::accept, .listener = number, .result = -ECANCELED});
}

void Reactor::Impl::recv_end(uint32_t number, int32_t result) {
    Socket& socket = sockets[number];
    socket.recv_armed = false;
    socket.recv_stopping = false;
    socket.recv_ended_turn = turns_count;
    events.push_back({.op = Op::recv, .result = result, .slot = socket.slot});
}

void Reactor::Impl::recv(uint32_t number, uint32_t& buffers_left) {
    Socket& socket = sockets[number];
    if (socket.error != 0) return recv_end(number, -socket.error);
    if (!socket.recv_errors.empty()) {
        const int error = socket.recv_errors.front();
        socket.recv_errors.pop_front();
        return recv_end(number, -error);
    }
    if (socket.both_shut) return recv_end(number, 0);
    if (!socket.inbound.empty()) {
        if (buffers_left == 0) return recv_end(number, -ENOBUFS);
        --buffers_left;
        const size_t bytes = std::min<uint64_t>(socket.inbound.size(), socket.recv_bytes_max);
        lent_.push_back(std::make_unique<uint8_t[]>(bytes + base::readable_padding_bytes));
        std::memcpy(lent_.back().get(), socket.inbound.data(), bytes);
        socket.inbound.erase(0, bytes);
        if (socket.recv_ends_early) {
            socket.recv_armed = false;
            socket.recv_ended_turn = turns_count;
        }
        events.push_back({.op = Op::recv,
                          .more = socket.recv_armed,
                          .result = static_cast<int32_t>(bytes),
                          .slot = socket.slot,
                          .bytes = {lent_.back().get(), bytes}});
        if (!socket.recv_armed) return;
    }
    if (socket.recv_stopping) return recv_end(number, -ECANCELED);
    if (socket.inbound.empty() && socket.peer_finished) recv_end(number, 0);
}

void Reactor::Impl::send_end(uint32_t number, int32_t result) {
    Socket& socket = sockets[number];
    socket.send_in_flight = false;
    events.push_back({.op = Op::send, .result = result, .slot = socket.slot});
}

void Reactor::Impl::send(uint32_t number) {
    Socket& socket = sockets[number];
    if (socket.error != 0) return send_end(number, -socket.error);
    if (!socket.send_errors.empty()) {
        const int error = socket.send_errors.front();
        socket.send_errors.pop_front();
        return send_end(number, -error);
    }
    if (socket.both_shut || socket.write_shut) return send_end(number, -EPIPE);
    std::string now;
    for (const iovec& part : socket.parts)
        now.append(static_cast<const char*>(part.iov_base), part.iov_len);
    CHECK(now == socket.parts_copy);
    const uint64_t bytes =
        std::min({uint64_t{now.size()}, socket.send_room_bytes, socket.send_bytes_max});
    if (bytes == 0) return;  // the kernel has no room: the send waits
    if (socket.send_room_bytes != UINT64_MAX) socket.send_room_bytes -= bytes;
    socket.outbound.append(now, 0, bytes);
    send_end(number, static_cast<int32_t>(bytes));
}

Reactor::Reactor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)), now_ns_(impl_->now_ns) {}

Reactor::~Reactor() = default;

uint16_t Reactor::listener_add(int) {
    impl_->listeners.emplace_back();
    return static_cast<uint16_t>(impl_->listeners.size() - 1);
}

void Reactor::accept_start(uint16_t listener) {
    Impl::Listener& found = impl_->listeners[listener];
    CHECK(!found.is_armed && !found.is_stopping && !found.is_stopped);
    found.is_armed = true;
    ++found.starts_count;
}

void Reactor::accept_stop(uint16_t listener) {
    Impl::Listener& found = impl_->listeners[listener];
    if (!found.is_stopped) found.is_stopping = true;
}

Socket Reactor::adopt(int) {
    return {};
}

void Reactor::recv_start(Socket socket, base::Slot slot) {
    Impl::Socket& found = impl_->at(socket, slot);
    CHECK(!found.recv_armed);
    found.recv_armed = true;
    ++found.recv_starts_count;
}

void Reactor::recv_stop(Socket socket, base::Slot slot) {
    Impl::Socket& found = impl_->at(socket, slot);
    // The receive's last event may stand behind the one that the caller is handling.
    CHECK(found.recv_armed || found.recv_ended_turn == impl_->turns_count);
    CHECK(!found.recv_stopping);
    found.recv_stopping = found.recv_armed;
}

void Reactor::send(Socket socket, base::Slot slot, std::span<const iovec> parts) {
    Impl::Socket& found = impl_->at(socket, slot);
    CHECK(!found.send_in_flight);
    CHECK(!parts.empty() && parts.size() <= iovecs_per_send_max);
    found.parts.assign(parts.begin(), parts.end());
    found.parts_copy.clear();
    for (const iovec& part : parts) {
        CHECK(part.iov_len > 0);
        found.parts_copy.append(static_cast<const char*>(part.iov_base), part.iov_len);
    }
    found.parts_count = static_cast<uint32_t>(parts.size());
    found.send_in_flight = true;
    ++found.sends_count;
}

void Reactor::shutdown(Socket socket, Direction direction) {
    CHECK(socket.value < impl_->sockets.size());
    Impl::Socket& found = impl_->sockets[socket.value];
    CHECK(!found.close_requested);
    switch (direction) {
        case Direction::write: found.write_shut = true; return;
        case Direction::both: found.both_shut = true; return;
    }
}

void Reactor::close(Socket socket, base::Slot slot) {
    Impl::Socket& found = impl_->at(socket, slot);
    CHECK(!found.recv_armed && !found.send_in_flight);
    found.close_requested = true;
}

void Reactor::wake(ShardId shard) {
    impl_->wakes.push_back(shard);
}

std::span<const Event> Reactor::turn(uint64_t deadline_ns) {
    now_ns_ = impl_->now_ns;
    busy_ns_ = impl_->busy_ns;
    impl_->turn(deadline_ns);
    return impl_->events;
}

}  // namespace io

namespace broker::testing {

std::unique_ptr<io::Reactor> make_fake_reactor() {
    return std::make_unique<io::Reactor>(std::make_unique<io::Reactor::Impl>());
}

}  // namespace broker::testing
