#include "io/uring/reactor_uring.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "io/uring/reactor_impl.h"

namespace io {

// --- Requests ---

void Reactor::Impl::cancel(Ring& ring, Token target) {
    io_uring_sqe* const sqe = ring.prepare();
    io_uring_prep_cancel64(sqe, target.pack(), 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    tag(sqe, Token{{}, TokenOp::cancel});
}

Socket Reactor::Impl::adopt(int fd) {
    for (const std::unique_ptr<Ring>& ring : rings) {
        if (ring->adopted_free.empty()) continue;
        const SocketPlace place{ring->number, ring->adopted_free.back()};
        if (ring->is_direct()) {
            // The entry is free and the ring is ours, so only memory can be short.
            const int result = io_uring_register_files_update(&ring->ring, place.entry, &fd, 1);
            if (result != 1) return Socket{};
            ::close(fd);  // the table has a reference of its own
        } else {
            ring->plain[place.entry] = fd;
        }
        ring->adopted_free.pop_back();
        Ring::SocketState& state = ring->state_of(place.entry);
        state = Ring::SocketState{};
        state.is_open = true;
        return place.socket();
    }
    return Socket{};
}

void Reactor::Impl::recv_start(Socket socket, base::Slot slot) {
    const SocketPlace place = SocketPlace::of(socket);
    Ring& ring = ring_of(place);
    CHECK(ring.state_of(place.entry).is_open);
    io_uring_sqe* const sqe = ring.prepare();
    // The length must be zero: a bound per shot is -EINVAL before Linux 6.17.
    io_uring_prep_recv_multishot(sqe, -1, nullptr, 0, 0);
    ring.aim(sqe, place.entry);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = RecvBuffers::group;
    tag(sqe, Token{slot, TokenOp::recv});
    ++ring.receives_armed;
}

void Reactor::Impl::recv_stop(Socket socket, base::Slot slot) {
    cancel(ring_of(SocketPlace::of(socket)), Token{slot, TokenOp::recv});
}

void Reactor::Impl::send(Socket socket, base::Slot slot, std::span<const iovec> parts) {
    const SocketPlace place = SocketPlace::of(socket);
    Ring& ring = ring_of(place);
    CHECK(ring.state_of(place.entry).is_open);
    CHECK(!parts.empty() && parts.size() <= iovecs_per_send_max);
    io_uring_sqe* const sqe = ring.prepare();
    if (parts.size() == 1) {
        DCHECK(parts[0].iov_len > 0);
        io_uring_prep_send(sqe, -1, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL);
    } else {
        io_uring_prep_sendmsg(sqe, -1, ring.arena.add(parts), MSG_NOSIGNAL);
    }
    ring.aim(sqe, place.entry);
    tag(sqe, Token{slot, TokenOp::send});
    ++ring.sends;
}

// The kernel hands a shutdown to a worker thread, whose wake-up costs several times what the
// shutdown does. So, where it can be done, the socket is lent a descriptor for a moment, on which
// shutdown(2) is called when it is there. A socket that has one anyway waits for its turn by a
// request that does nothing, so that what was asked for before goes first here too.
void Reactor::Impl::shutdown(Socket socket, Direction direction) {
    const SocketPlace place = SocketPlace::of(socket);
    Ring& ring = ring_of(place);
    Ring::SocketState& state = ring.state_of(place.entry);
    CHECK(state.is_open && state.shutdowns < UINT8_MAX);
    ++state.shutdowns;
    ++ring.shutdowns;
    const int how = direction == Direction::write ? SHUT_WR : SHUT_RDWR;
    if (ring.is_direct() && !rings.front()->can_install) {
        shutdown_by_worker(ring, place.entry, how);
        return;
    }
    io_uring_sqe* const sqe = ring.prepare();
    if (ring.is_direct()) {
        prep_fixed_fd_install(sqe, static_cast<int>(place.entry));
        sqe->flags |= IOSQE_FIXED_FILE;
    } else {
        io_uring_prep_nop(sqe);
    }
    tag(sqe, Token{{place.entry, static_cast<uint32_t>(how)}, TokenOp::install});
}

void Reactor::Impl::shutdown_by_worker(Ring& ring, uint32_t entry, int how) {
    io_uring_sqe* const sqe = ring.prepare();
    io_uring_prep_shutdown(sqe, -1, how);
    ring.aim(sqe, entry);
    tag(sqe, Token{{entry, 0}, TokenOp::shutdown});
}

void Reactor::Impl::close(Socket socket, base::Slot slot) {
    const SocketPlace place = SocketPlace::of(socket);
    Ring& ring = ring_of(place);
    Ring::SocketState& state = ring.state_of(place.entry);
    CHECK(state.is_open);
    state.is_open = false;
    state.close_slot = slot;
    // Until its completion a shutdown names an entry of the table. A close that overtook it would
    // let it end whatever connection has the entry by then.
    if (state.shutdowns > 0) {
        state.is_closing = true;
        return;
    }
    close_submit(ring, place.entry);
}

// Once the kernel has closed an accepted socket of its table, the entry can belong to a new
// connection, so the completion names the slot. An entry that is ours to give is given away only
// after the completion, which names it.
void Reactor::Impl::close_submit(Ring& ring, uint32_t entry) {
    io_uring_sqe* const sqe = ring.prepare();
    if (ring.is_direct()) {
        io_uring_prep_close_direct(sqe, entry);
    } else {
        io_uring_prep_close(sqe, ring.plain[entry]);
    }
    if (ring.is_direct() && entry < ring.accepted_max) {
        tag(sqe, Token{ring.state_of(entry).close_slot, TokenOp::close});
    } else {
        tag(sqe, Token{{entry, 0}, TokenOp::close_entry});
    }
    ++ring.closes;
}

void Reactor::Impl::wake(ShardId shard) {
    CHECK(shard < is_wake_sent.size() && shard != self);
    if (is_wake_sent[shard]) return;
    is_wake_sent[shard] = true;
    const int ring_fd = group.members_[shard].ring_fd.load();
    if (ring_fd < 0) return;  // not built yet, or gone: nobody sleeps there
    io_uring_sqe* const sqe = rings.front()->prepare();
    io_uring_prep_msg_ring(sqe, ring_fd, 0, Token{{self, 0}, TokenOp::wake_arrived}.pack(), 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    tag(sqe, Token{{shard, 0}, TokenOp::wake_sent});
}

// --- The turn ---

void Reactor::Impl::turn(uint64_t deadline_ns) {
    if (!is_started) start();
    DCHECK(issuer == std::this_thread::get_id());
    for (const std::unique_ptr<Ring>& ring : rings) ring->buffers.recycle();
    events.clear();
    std::fill(is_wake_sent.begin(), is_wake_sent.end(), false);
    if (!is_wake_read_armed) wake_read_arm();
    accepts_arm();
    for (size_t number = 0; number < listeners.size(); ++number) {
        stopping_advance(static_cast<uint16_t>(number));
    }
    wait(deadline_ns);
    has_overflowed = false;
    for (const std::unique_ptr<Ring>& ring : rings) {
        has_overflowed |= io_uring_cq_has_overflow(&ring->ring);
    }
    collect();
}

void Reactor::Impl::wake_read_arm() {
    io_uring_sqe* const sqe = rings.front()->prepare();
    const int fd = group.members_[self].event_fd.load();
    io_uring_prep_read(sqe, fd, &wake_word, sizeof wake_word, 0);
    tag(sqe, Token{{}, TokenOp::wake_read});
    is_wake_read_armed = true;
}

// With one ring this is one system call: it hands over the requests, lets the kernel work out
// completions (DEFER_TASKRUN), and waits for the first one. Each further ring that has requests or
// completions costs another, before the first ring waits for all of them: what happens on them from
// then on ends its wait (Ring).
void Reactor::Impl::wait(uint64_t deadline_ns) {
    Ring& first = *rings.front();
    bool has_news = !events.empty() || first.has_completions();
    for (size_t number = 1; number < rings.size(); ++number) {
        Ring& further = *rings[number];
        further.advance();
        has_news |= further.has_completions() || further.has_work();
    }
    if (has_news || deadline_ns == 0) {
        first.look();
        return;
    }
    first.wait(deadline_ns);
    for (size_t number = 1; number < rings.size(); ++number) rings[number]->advance();
}

// The rings take turns in being the first, so that none starves when events are many.
void Reactor::Impl::collect() {
    if (++collected_first >= rings.size()) collected_first = 0;
    for (size_t number = collected_first; number < rings.size(); ++number) collect(*rings[number]);
    for (size_t number = 0; number < collected_first; ++number) collect(*rings[number]);
}

void Reactor::Impl::collect(Ring& ring) {
    unsigned head = 0;
    unsigned seen_count = 0;
    const io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(&ring.ring, head, cqe) {
        if (events.size() >= options.events_per_turn_max) break;
        complete(ring, *cqe);
        ++seen_count;
    }
    io_uring_cq_advance(&ring.ring, seen_count);
}

void Reactor::Impl::complete(Ring& ring, const io_uring_cqe& cqe) {
    const Token token = Token::unpack(cqe.user_data);
    switch (token.op) {
        case TokenOp::accept: on_accept(ring, token.slot.index, cqe.res); return;
        case TokenOp::recv: on_recv(ring, token.slot, cqe); return;
        case TokenOp::send:
            --ring.sends;
            events.push_back(Event{.op = Op::send, .result = cqe.res, .slot = token.slot});
            return;
        case TokenOp::close:
            --ring.accepted_held;
            on_close(ring, token.slot, cqe.res);
            return;
        case TokenOp::close_entry:
            if (token.slot.index < ring.accepted_max) --ring.accepted_held;
            ring.give_back(token.slot.index);
            on_close(ring, ring.state_of(token.slot.index).close_slot, cqe.res);
            return;
        // Whatever shutdown(2) answered is fine: -ENOTCONN says that the peer was faster.
        case TokenOp::shutdown: on_shutdown(ring, token.slot.index); return;
        case TokenOp::install:
            on_installed(ring, token.slot.index, static_cast<int>(token.slot.generation), cqe.res);
            return;
        // -ENOENT and -EALREADY: the request had ended or was about to, and its own completion says
        // how.
        case TokenOp::cancel: return;
        // -EBADFD: the other ring was not enabled yet. -EOVERFLOW, -ENOMEM: its queue is full, so
        // it is awake, but that is no proof that it looks once more. -EBADF: it is gone. The slower
        // way works whenever there is somebody to wake.
        case TokenOp::wake_sent: group.wake_from_outside(token.slot.index); return;
        // That turn() returns is all that was wanted.
        case TokenOp::wake_arrived: return;
        case TokenOp::wake_read: is_wake_read_armed = false; return;
    }
    UNREACHABLE();  // every token is ours
}

void Reactor::Impl::on_recv(Ring& ring, base::Slot slot, const io_uring_cqe& cqe) {
    const bool more = (cqe.flags & IORING_CQE_F_MORE) != 0;
    if (!more) --ring.receives_armed;
    Event event{.op = Op::recv, .more = more, .result = cqe.res, .slot = slot};
    // A buffer that was taken comes home whatever the result is.
    if ((cqe.flags & IORING_CQE_F_BUFFER) != 0) {
        const uint16_t buffer = static_cast<uint16_t>(cqe.flags >> IORING_CQE_BUFFER_SHIFT);
        event.bytes = ring.buffers.lend(buffer, cqe.res > 0 ? static_cast<uint32_t>(cqe.res) : 0);
    }
    events.push_back(event);
}

void Reactor::Impl::on_close(Ring& ring, base::Slot slot, int32_t result) {
    --ring.closes;
    events.push_back(Event{.op = Op::close, .result = result, .slot = slot});
}

void Reactor::Impl::on_installed(Ring& ring, uint32_t entry, int how, int32_t fd) {
    if (!ring.is_direct()) {
        static_cast<void>(::shutdown(ring.plain[entry], how));
        on_shutdown(ring, entry);
        return;
    }
    // -EMFILE, -ENFILE, -ENOMEM: there is no room for a descriptor.
    if (fd < 0) {
        shutdown_by_worker(ring, entry, how);
        return;
    }
    static_cast<void>(::shutdown(fd, how));
    ::close(fd);  // the table has a reference of its own
    on_shutdown(ring, entry);
}

void Reactor::Impl::on_shutdown(Ring& ring, uint32_t entry) {
    Ring::SocketState& state = ring.state_of(entry);
    CHECK(state.shutdowns > 0);
    --state.shutdowns;
    --ring.shutdowns;
    if (state.shutdowns > 0 || !state.is_closing) return;
    state.is_closing = false;
    close_submit(ring, entry);
}

// --- The end ---

uint32_t Reactor::Impl::in_flight_count(const Ring& ring) const {
    const bool has_wake_read = is_wake_read_armed && ring.number == 0;
    return ring.in_flight_count() + (has_wake_read ? 1 : 0);
}

// Takes back what is with the kernel, so that no buffer and no payload is written or read after
// this. The sockets themselves end with the ring.
void Reactor::Impl::finish(Ring& ring) {
    if (is_started) CHECK(issuer == std::this_thread::get_id());
    // A round takes a tenth of a second only when nothing comes back, which would be an error of
    // ours or the kernel's. One that brings something may bring little: the kernel works out a few
    // dozen completions per wait, however many there are.
    constexpr uint32_t vain_rounds_max = 100;
    uint32_t vain_rounds_count = 0;
    uint32_t left_before = UINT32_MAX;
    while (is_started && in_flight_count(ring) > 0) {
        const uint32_t left = in_flight_count(ring);
        vain_rounds_count = left < left_before ? 0 : vain_rounds_count + 1;
        CHECK(vain_rounds_count < vain_rounds_max);
        ring.buffers.recycle();
        events.clear();
        // Asked for once, because it goes through all that is in flight; and again when that brings
        // nothing more.
        if (left_before == UINT32_MAX || vain_rounds_count > 0) {
            io_uring_sqe* const sqe = ring.prepare();
            io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
            sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
            tag(sqe, Token{{}, TokenOp::cancel});
        }
        left_before = left;
        if (ring.has_completions()) {
            ring.look();
        } else {
            ring.wait(clock_ns() + 100 * base::ns_per_ms);
        }
        collect(ring);
    }
    ring.buffers.recycle();
    CHECK(ring.buffers.lent_count() == 0);
}

Reactor::Impl::~Impl() {
    if (group.members_[self].ring_fd.load() < 0) return;  // it was not opened
    for (const std::unique_ptr<Ring>& ring : rings) finish(*ring);
    group.members_[self].ring_fd.store(-1);
    rings.clear();
    for (const Listener& listener : listeners) {
        if (listener.fd >= 0) ::close(listener.fd);
    }
}

// --- The seam ---

Reactor::Reactor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)), now_ns_(clock_ns()) {}
Reactor::~Reactor() = default;

uint16_t Reactor::listener_add(int listening_fd) {
    return impl_->listener_add(listening_fd);
}
void Reactor::accept_start(uint16_t listener) {
    impl_->accept_start(listener);
}
void Reactor::accept_stop(uint16_t listener) {
    impl_->accept_stop(listener);
}
Socket Reactor::adopt(int fd) {
    return impl_->adopt(fd);
}
void Reactor::recv_start(Socket socket, base::Slot slot) {
    impl_->recv_start(socket, slot);
}
void Reactor::recv_stop(Socket socket, base::Slot slot) {
    impl_->recv_stop(socket, slot);
}
void Reactor::send(Socket socket, base::Slot slot, std::span<const iovec> parts) {
    impl_->send(socket, slot, parts);
}
void Reactor::shutdown(Socket socket, Direction direction) {
    impl_->shutdown(socket, direction);
}
void Reactor::close(Socket socket, base::Slot slot) {
    impl_->close(socket, slot);
}
void Reactor::wake(ShardId shard) {
    impl_->wake(shard);
}

std::span<const Event> Reactor::turn(uint64_t deadline_ns) {
    busy_ns_ = clock_ns() - now_ns_;
    impl_->turn(deadline_ns);
    if (impl_->has_overflowed) ++overflows_count_;
    now_ns_ = clock_ns();
    return impl_->events;
}

}  // namespace io
