// How the io_uring reactor accepts, and how it stops to.

#include <unistd.h>

#include <cerrno>

#include "io/listener.h"
#include "io/uring/reactor_impl.h"

namespace io {

namespace {

// What becomes of an accept that failed.
enum class AcceptFailure : uint8_t { again, paused, cancelled };

AcceptFailure accept_failure(int error_number) {
    switch (error_number) {
        // accept_stop or the reactor's end.
        case ECANCELED: return AcceptFailure::cancelled;
        // The peer gave up while it waited in the queue, or another shard of a Unix socket was
        // faster.
        case ECONNABORTED:
        case EINTR:
        case EAGAIN:
        // Errors of the network that were already pending on the new connection; accept(2) says to
        // treat them like EAGAIN. EPERM: the firewall forbids this one.
        case ENETDOWN:
        case EPROTO:
        case ENOPROTOOPT:
        case EHOSTDOWN:
        case ENONET:
        case EHOSTUNREACH:
        case EOPNOTSUPP:
        case ENETUNREACH:
        case ETIMEDOUT:
        case EPERM: return AcceptFailure::again;
        // Nothing is wrong with the connection, but the machine is short of something, and trying
        // again at once would spin.
        case EMFILE:
        case ENFILE:
        case ENOBUFS:
        case ENOMEM: return AcceptFailure::paused;
    }
    // Unknown: do not spin on it, and let the caller see it.
    return AcceptFailure::paused;
}

}  // namespace

uint16_t Reactor::Impl::listener_add(int listening_fd) {
    CHECK(!is_started && listeners.size() < UINT16_MAX);
    const uint16_t number = static_cast<uint16_t>(listeners.size());
    Listener& listener = listeners.emplace_back();
    listener.fd = listening_fd;
    for (uint32_t count = 0; count < options.accepts_per_listener; ++count) {
        listener.idle.push_back(static_cast<uint32_t>(accepts.size()));
        accepts.push_back(AcceptEntry{.peer = {}, .listener = number});
    }
    return number;
}

void Reactor::Impl::accept_start(uint16_t number) {
    Listener& listener = listener_at(number);
    CHECK(listener.state == ListenerState::paused || listener.state == ListenerState::accepting);
    listener.state = ListenerState::accepting;
}

void Reactor::Impl::accept_stop(uint16_t number) {
    Listener& listener = listener_at(number);
    if (listener.state == ListenerState::stopped) return;
    if (listener.state == ListenerState::stopping) {
        listener.is_drained = true;  // as far as the caller has the patience
        return;
    }
    listener.state = ListenerState::stopping;
    drop_new_handshakes(listener.fd);
    for (uint32_t index = 0; index < accepts.size(); ++index) {
        const AcceptEntry& entry = accepts[index];
        if (entry.is_armed && entry.listener == number) {
            cancel(*entry.ring, Token{{index, 0}, TokenOp::accept});
        }
    }
}

Ring* Reactor::Impl::ring_with_room() const {
    for (const std::unique_ptr<Ring>& ring : rings) {
        if (ring->accepts_free() > 0) return ring.get();
    }
    return nullptr;
}

// Single accepts and not a multishot one: that would write all peers' addresses into one place, and
// a direct descriptor cannot be asked for its peer later (getpeername(2) wants a real one).
Token Reactor::Impl::accept_arm(Ring& ring, Listener& listener) {
    const uint32_t index = listener.idle.back();
    listener.idle.pop_back();
    AcceptEntry& entry = accepts[index];
    entry.is_armed = true;
    entry.ring = &ring;
    entry.peer.length = sizeof entry.peer.storage;
    ++ring.accepts_armed;
    io_uring_sqe* const sqe = ring.prepare();
    auto* const address = reinterpret_cast<sockaddr*>(&entry.peer.storage);
    if (ring.is_direct()) {
        io_uring_prep_accept_direct(sqe, listener.fd, address, &entry.peer.length, 0,
                                    file_index_any);
    } else {
        io_uring_prep_accept(sqe, listener.fd, address, &entry.peer.length, SOCK_CLOEXEC);
    }
    const Token token{{index, 0}, TokenOp::accept};
    tag(sqe, token);
    return token;
}

// Never more accepts than free entries of a ring: with a full table the kernel would accept and
// then close, and the peer would see a reset. So further connections wait in the queue of the
// listener. The listeners take turns, that the last entries do not all go to one.
void Reactor::Impl::accepts_arm() {
    bool is_any_armed = true;
    while (is_any_armed) {
        is_any_armed = false;
        for (Listener& listener : listeners) {
            if (listener.state != ListenerState::accepting || listener.idle.empty()) continue;
            Ring* const ring = ring_with_room();
            if (ring == nullptr) return;
            accept_arm(*ring, listener);
            is_any_armed = true;
        }
    }
}

// Closing a listening socket resets what waits in its queue, so first the queue, to which nobody is
// added any more, is emptied, as room becomes free in the table. Each accept is followed by its own
// cancellation: it either finds a connection at once, or is cancelled at once, which says that the
// queue is empty.
void Reactor::Impl::stopping_advance(uint16_t number) {
    Listener& listener = listeners[number];
    if (listener.state != ListenerState::stopping) return;
    const bool is_any_armed = listener.idle.size() < options.accepts_per_listener;
    if (is_any_armed) return;
    if (!listener.is_drained) {
        listener.is_draining = true;
        Ring* ring = ring_with_room();
        while (!listener.idle.empty() && ring != nullptr) {
            cancel(*ring, accept_arm(*ring, listener));
            ring = ring_with_room();
        }
        return;
    }
    ::close(listener.fd);
    listener.fd = -1;
    listener.state = ListenerState::stopped;
    events.push_back(Event{.op = Op::accept, .listener = number, .result = -ECANCELED});
}

void Reactor::Impl::on_accept(Ring& ring, uint32_t entry_index, int32_t result) {
    AcceptEntry& entry = accepts[entry_index];
    CHECK(entry.is_armed && entry.ring == &ring);
    entry.is_armed = false;
    --ring.accepts_armed;
    Listener& listener = listeners[entry.listener];
    listener.idle.push_back(entry_index);
    if (result >= 0) {
        const SocketPlace place{ring.number, ring.accepted(result)};
        Ring::SocketState& state = ring.state_of(place.entry);
        CHECK(!state.is_open && !state.is_closing);
        state = Ring::SocketState{};
        state.is_open = true;
        ++ring.accepted_held;
        events.push_back(Event{.op = Op::accept,
                               .listener = entry.listener,
                               .socket = place.socket(),
                               .peer = &entry.peer});
        return;
    }
    switch (accept_failure(-result)) {
        case AcceptFailure::again: return;
        case AcceptFailure::cancelled:
            // It says that the queue is empty only of an accept that was armed to empty it.
            if (listener.is_draining) listener.is_drained = true;
            return;
        case AcceptFailure::paused:
            if (listener.state == ListenerState::stopping) {
                listener.is_drained = true;  // as far as it can be
                return;
            }
            // The other accepts of this listener fail for the same reason; one event is enough.
            if (listener.state != ListenerState::accepting) return;
            listener.state = ListenerState::paused;
            events.push_back(Event{.op = Op::accept, .listener = entry.listener, .result = result});
            return;
    }
}

}  // namespace io
