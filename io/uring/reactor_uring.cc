#include "io/uring/reactor_uring.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "io/uring/reactor_impl.h"

namespace io {

uint64_t clock_ns() {
    timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return static_cast<uint64_t>(now.tv_sec) * base::ns_per_s + static_cast<uint64_t>(now.tv_nsec);
}

// --- Requests ---

// The next free submission. Requests are never linked, so when the queue is full it can be handed
// over at any moment; that costs a system call beside that of the turn.
io_uring_sqe* Reactor::Impl::prepare() {
    while (true) {
        io_uring_sqe* const sqe = io_uring_get_sqe(&ring);
        if (sqe != nullptr) return sqe;
        // Before the first turn nothing can be submitted: more requests than the queue holds are an
        // error.
        CHECK(is_started);
        // -EAGAIN (no memory for a request) makes this a loop. The kernel waits for memory this
        // small rather than to refuse it, so it does not spin for long.
        submitted(io_uring_submit(&ring));
    }
}

void Reactor::Impl::cancel(Token target) {
    io_uring_sqe* const sqe = prepare();
    io_uring_prep_cancel64(sqe, target.pack(), 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    tag(sqe, Token{{}, TokenOp::cancel});
}

Socket Reactor::Impl::adopt(int fd) {
    if (adopted_free.empty() || sockets_free() == 0) return Socket{};
    const uint32_t index = adopted_free.back();
    // The entry is free and the ring is ours, so only memory can be short.
    const int result = io_uring_register_files_update(&ring, index, &fd, 1);
    if (result != 1) return Socket{};
    ::close(fd);  // the table has a reference of its own
    adopted_free.pop_back();
    sockets[index] = SocketState{};
    sockets[index].is_open = true;
    ++sockets_held;
    return Socket{index};
}

void Reactor::Impl::recv_start(Socket socket, base::Slot slot) {
    CHECK(state_of(socket).is_open);
    io_uring_sqe* const sqe = prepare();
    // The length must be zero: a bound per shot is -EINVAL before Linux 6.17.
    io_uring_prep_recv_multishot(sqe, static_cast<int>(socket.value), nullptr, 0, 0);
    sqe->flags |= IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
    sqe->buf_group = RecvBuffers::group;
    tag(sqe, Token{slot, TokenOp::recv});
    ++receives_armed;
}

void Reactor::Impl::recv_stop(base::Slot slot) {
    cancel(Token{slot, TokenOp::recv});
}

void Reactor::Impl::send(Socket socket, base::Slot slot, std::span<const iovec> parts) {
    CHECK(state_of(socket).is_open);
    CHECK(!parts.empty() && parts.size() <= iovecs_per_send_max);
    io_uring_sqe* const sqe = prepare();
    const int fd = static_cast<int>(socket.value);
    if (parts.size() == 1) {
        DCHECK(parts[0].iov_len > 0);
        io_uring_prep_send(sqe, fd, parts[0].iov_base, parts[0].iov_len, MSG_NOSIGNAL);
    } else {
        io_uring_prep_sendmsg(sqe, fd, arena.add(parts), MSG_NOSIGNAL);
    }
    sqe->flags |= IOSQE_FIXED_FILE;
    tag(sqe, Token{slot, TokenOp::send});
    ++sends;
}

void Reactor::Impl::shutdown(Socket socket, Direction direction) {
    SocketState& state = state_of(socket);
    CHECK(state.is_open && state.shutdowns < UINT8_MAX);
    io_uring_sqe* const sqe = prepare();
    const int how = direction == Direction::write ? SHUT_WR : SHUT_RDWR;
    io_uring_prep_shutdown(sqe, static_cast<int>(socket.value), how);
    sqe->flags |= IOSQE_FIXED_FILE;
    tag(sqe, Token{{socket.value, 0}, TokenOp::shutdown});
    ++state.shutdowns;
    ++shutdowns;
}

void Reactor::Impl::close(Socket socket, base::Slot slot) {
    SocketState& state = state_of(socket);
    CHECK(state.is_open);
    state.is_open = false;
    // The kernel hands a shutdown to a worker thread, which looks the descriptor up when it gets
    // there. A close that overtook it would let it end whatever connection has the descriptor by
    // then.
    if (state.shutdowns > 0) {
        state.is_closing = true;
        state.close_slot = slot;
        return;
    }
    close_submit(socket, slot);
}

void Reactor::Impl::close_submit(Socket socket, base::Slot slot) {
    io_uring_sqe* const sqe = prepare();
    io_uring_prep_close_direct(sqe, socket.value);
    // The slot is all that the completion needs to name: once the kernel has closed, the entry can
    // belong to a new connection.
    tag(sqe, Token{slot, TokenOp::close});
    ++closes;
    if (socket.value >= options.sockets_max) adopted_closing.push_back({slot, socket.value});
}

void Reactor::Impl::wake(ShardId shard) {
    CHECK(shard < is_wake_sent.size() && shard != self);
    if (is_wake_sent[shard]) return;
    is_wake_sent[shard] = true;
    const int ring_fd = group.members_[shard].ring_fd.load();
    if (ring_fd < 0) return;  // not built yet, or gone: nobody sleeps there
    io_uring_sqe* const sqe = prepare();
    io_uring_prep_msg_ring(sqe, ring_fd, 0, Token{{self, 0}, TokenOp::wake_arrived}.pack(), 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    tag(sqe, Token{{shard, 0}, TokenOp::wake_sent});
}

// --- The turn ---

void Reactor::Impl::turn(uint64_t deadline_ns) {
    if (!is_started) start();
    DCHECK(issuer == std::this_thread::get_id());
    buffers.recycle();
    events.clear();
    std::fill(is_wake_sent.begin(), is_wake_sent.end(), false);
    if (!is_wake_read_armed) wake_read_arm();
    accepts_arm();
    for (uint16_t number = 0; number < listeners.size(); ++number) stopping_advance(number);
    wait(deadline_ns);
    has_overflowed = io_uring_cq_has_overflow(&ring);
    if (io_uring_sq_ready(&ring) == 0) arena.reset();
    collect();
}

void Reactor::Impl::wake_read_arm() {
    io_uring_sqe* const sqe = prepare();
    const int fd = group.members_[self].event_fd.load();
    io_uring_prep_read(sqe, fd, &wake_word, sizeof wake_word, 0);
    tag(sqe, Token{{}, TokenOp::wake_read});
    is_wake_read_armed = true;
}

// The one system call of the turn: hands over the requests, lets the kernel work out completions
// (DEFER_TASKRUN), and waits for the first one.
void Reactor::Impl::wait(uint64_t deadline_ns) {
    const bool has_news = !events.empty() || io_uring_cq_ready(&ring) > 0;
    if (!has_news && deadline_ns == base::never_ns) {
        submitted(io_uring_submit_and_wait(&ring, 1));
        return;
    }
    // Asked here once more, because the shard's work since the last turn has taken time too. It is
    // not published: now_ns() is sampled after the wait.
    const uint64_t now_ns = has_news || deadline_ns == 0 ? deadline_ns : clock_ns();
    if (deadline_ns <= now_ns) {
        submitted(io_uring_submit_and_get_events(&ring));
        return;
    }
    const uint64_t left_ns = deadline_ns - now_ns;
    __kernel_timespec timeout{};
    timeout.tv_sec = static_cast<int64_t>(left_ns / base::ns_per_s);
    timeout.tv_nsec = static_cast<int64_t>(left_ns % base::ns_per_s);
    io_uring_cqe* first = nullptr;  // collect() looks for itself
    submitted(io_uring_submit_and_wait_timeout(&ring, &first, 1, &timeout, nullptr));
}

// io_uring_enter(2): how a submission or a wait can fail.
void Reactor::Impl::submitted(int result) const {
    if (result >= 0) return;
    switch (-result) {
        // The deadline came first, or a signal did.
        case ETIME:
        case EINTR:
        // The kernel had no memory for a request, or for its notes on a thread that is new to the
        // ring; or it holds completions that wait for room in the queue, which collect() makes.
        // What it did not take stays in the ring and goes out with the next submission.
        case EAGAIN:
        case ENOMEM:
        case EBUSY: return;
    }
    // EBADF, EBADFD, EEXIST, EFAULT, EINVAL, ENXIO, EOPNOTSUPP: the ring is used wrongly, for
    // example from a second thread (EEXIST).
    base::check_failed(__FILE__, __LINE__, std::strerror(-result));
}

void Reactor::Impl::collect() {
    unsigned head = 0;
    unsigned seen_count = 0;
    const io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(&ring, head, cqe) {
        if (events.size() >= options.events_per_turn_max) break;
        complete(*cqe);
        ++seen_count;
    }
    io_uring_cq_advance(&ring, seen_count);
}

void Reactor::Impl::complete(const io_uring_cqe& cqe) {
    const Token token = Token::unpack(cqe.user_data);
    switch (token.op) {
        case TokenOp::accept: on_accept(token.slot.index, cqe.res); return;
        case TokenOp::recv: on_recv(token.slot, cqe); return;
        case TokenOp::send:
            --sends;
            events.push_back(Event{.op = Op::send, .result = cqe.res, .slot = token.slot});
            return;
        case TokenOp::close: on_close(token.slot, cqe.res); return;
        // Whatever shutdown(2) answered is fine: -ENOTCONN says that the peer was faster.
        case TokenOp::shutdown: on_shutdown(Socket{token.slot.index}); return;
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

void Reactor::Impl::on_recv(base::Slot slot, const io_uring_cqe& cqe) {
    const bool more = (cqe.flags & IORING_CQE_F_MORE) != 0;
    if (!more) --receives_armed;
    Event event{.op = Op::recv, .more = more, .result = cqe.res, .slot = slot};
    // A buffer that was taken comes home whatever the result is.
    if ((cqe.flags & IORING_CQE_F_BUFFER) != 0) {
        const uint16_t buffer = static_cast<uint16_t>(cqe.flags >> IORING_CQE_BUFFER_SHIFT);
        event.bytes = buffers.lend(buffer, cqe.res > 0 ? static_cast<uint32_t>(cqe.res) : 0);
    }
    events.push_back(event);
}

void Reactor::Impl::on_close(base::Slot slot, int32_t result) {
    --closes;
    --sockets_held;
    for (AdoptedClosing& closing : adopted_closing) {
        if (closing.slot != slot) continue;
        adopted_free.push_back(closing.socket);
        closing = adopted_closing.back();
        adopted_closing.pop_back();
        break;
    }
    events.push_back(Event{.op = Op::close, .result = result, .slot = slot});
}

void Reactor::Impl::on_shutdown(Socket socket) {
    SocketState& state = state_of(socket);
    CHECK(state.shutdowns > 0);
    --state.shutdowns;
    --shutdowns;
    if (state.shutdowns > 0 || !state.is_closing) return;
    state.is_closing = false;
    close_submit(socket, state.close_slot);
}

// --- The end ---

uint32_t Reactor::Impl::in_flight_count() const {
    return accepts_armed + receives_armed + sends + closes + shutdowns +
           (is_wake_read_armed ? 1 : 0);
}

// Takes back what is with the kernel, so that no buffer and no payload is written or read after
// this. The sockets themselves end with the ring.
void Reactor::Impl::finish() {
    if (is_started) CHECK(issuer == std::this_thread::get_id());
    // A round takes a tenth of a second only when nothing comes back, which would be an error of
    // ours or the kernel's. One that brings something may bring little: the kernel works out a few
    // dozen completions per wait, however many there are.
    constexpr uint32_t vain_rounds_max = 100;
    uint32_t vain_rounds_count = 0;
    uint32_t left_before = UINT32_MAX;
    while (is_started && in_flight_count() > 0) {
        const uint32_t left = in_flight_count();
        vain_rounds_count = left < left_before ? 0 : vain_rounds_count + 1;
        CHECK(vain_rounds_count < vain_rounds_max);
        buffers.recycle();
        events.clear();
        // Asked for once, because it goes through all that is in flight; and again when that brings
        // nothing more.
        if (left_before == UINT32_MAX || vain_rounds_count > 0) {
            io_uring_sqe* const sqe = prepare();
            io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
            sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
            tag(sqe, Token{{}, TokenOp::cancel});
        }
        left_before = left;
        wait(clock_ns() + 100 * base::ns_per_ms);
        collect();
    }
    buffers.recycle();
    CHECK(buffers.lent_count() == 0);
}

Reactor::Impl::~Impl() {
    if (!is_ring_open) return;
    finish();
    group.members_[self].ring_fd.store(-1);
    buffers.close(ring);
    io_uring_queue_exit(&ring);
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
// The slot names the receive, because it is in its token; the socket is for implementations that
// need it.
void Reactor::recv_stop(Socket, base::Slot slot) {
    impl_->recv_stop(slot);
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
