#include "tests/sim/reactor_sim.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "io/base/check.h"
#include "io/base/units.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace sim {

namespace {

constexpr uint64_t send_look_ns = 10 * base::ns_per_ms;

uint64_t hash_bytes(uint64_t hash, std::span<const uint8_t> bytes) {
    size_t at = 0;
    for (; at + 8 <= bytes.size(); at += 8) {
        uint64_t word;
        std::memcpy(&word, bytes.data() + at, 8);
        hash = std::rotl(hash ^ word, 29) * 0x9e3779b97f4a7c15;
    }
    uint64_t rest = bytes.size();
    for (; at < bytes.size(); ++at) rest = (rest << 8) | bytes[at];
    return std::rotl(hash ^ rest, 29) * 0x9e3779b97f4a7c15;
}

io::PeerAddress peer_address_of(ConnectionId connection) {
    io::PeerAddress peer{};
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(1'024 + connection % 60'000));
    address.sin_addr.s_addr = htonl(address_of(connection));
    std::memcpy(&peer.storage, &address, sizeof address);
    peer.length = sizeof address;
    return peer;
}

}  // namespace

Kernel::Kernel(Network& network, io::ShardId shard, const SimReactorOptions& options)
    : network_(network),
      faults_(network.faults()),
      shard_(shard),
      options_(options),
      buffer_stride_(base::align_up<uint32_t>(
          options.buffer_bytes + static_cast<uint32_t>(base::readable_padding_bytes), 64)),
      buffers_(std::make_unique<uint8_t[]>(size_t{buffer_stride_} * options.buffers_count)) {
    CHECK(options.buffers_count > 0 && options.buffer_bytes > 0 && options.sockets_max > 0);
    for (uint32_t buffer = options.buffers_count; buffer-- > 0;) {
        buffers_home_.push_back(buffer);
        poison(buffer);
    }
    sockets_.resize(options.sockets_max);
    for (uint32_t index = options.sockets_max; index-- > 0;) sockets_free_.push_back(index);
}

Kernel::~Kernel() {
    for (uint32_t buffer = 0; buffer < options_.buffers_count; ++buffer) {
        unpoison(buffer, buffer_stride_ - static_cast<uint32_t>(base::readable_padding_bytes));
    }
}

void Kernel::poison(uint32_t buffer) {
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(buffer_at(buffer), buffer_stride_);
#endif
    std::memset(buffer_at(buffer), 0xdd, buffer_stride_);
#if defined(__SANITIZE_ADDRESS__)
    __asan_poison_memory_region(buffer_at(buffer), buffer_stride_);
#endif
}

void Kernel::unpoison([[maybe_unused]] uint32_t buffer, [[maybe_unused]] uint32_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
    // Exactly the bytes and the padding that the contract promises, not the rest of the buffer.
    __asan_unpoison_memory_region(buffer_at(buffer), bytes + base::readable_padding_bytes);
#endif
}

// The requests ------------------------------------------------------------------------------------

uint16_t Kernel::listener_add() {
    CHECK(turns_count_ == 0);
    listeners_.push_back({});
    return static_cast<uint16_t>(listeners_.size() - 1);
}

void Kernel::accept_start(uint16_t listener) {
    CHECK(listener < listeners_.size());
    Listener& state = listeners_[listener];
    CHECK(!state.is_asked && !state.is_stop_asked);
    state.is_asked = true;
    requests_.push_back({Request::Kind::accept_start, listener, {}});
}

void Kernel::accept_stop(uint16_t listener) {
    CHECK(listener < listeners_.size());
    Listener& state = listeners_[listener];
    if (state.is_stop_asked) {  // the second time: at once
        state.is_hurried = true;
        look_again(now_ns());
        return;
    }
    state.is_stop_asked = true;
    requests_.push_back({Request::Kind::accept_stop, listener, {}});
}

Kernel::SocketState& Kernel::open_socket(io::Socket socket, base::Slot slot) {
    CHECK(socket.value < sockets_.size());
    SocketState& state = sockets_[socket.value];
    CHECK(state.is_open && !state.is_close_asked);
    // A descriptor is reused at once, so a request for a closed one would hit another's connection:
    // the slot tells.
    if (state.slot.is_none()) state.slot = slot;
    CHECK(state.slot == slot && !slot.is_none());
    return state;
}

void Kernel::recv_start(io::Socket socket, base::Slot slot) {
    SocketState& state = open_socket(socket, slot);
    CHECK(!state.is_recv_asked);
    state.is_recv_asked = true;
    requests_.push_back({Request::Kind::recv_start, socket.value, slot});
}

void Kernel::recv_stop(io::Socket socket, base::Slot slot) {
    SocketState& state = open_socket(socket, slot);
    // The receive may have ended by an event of this very turn that the caller has not come to yet.
    if (!state.is_recv_asked && state.recv_ended_turn == turns_count_) return;
    CHECK(state.is_recv_asked && !state.is_recv_stop_asked);
    state.is_recv_stop_asked = true;
    requests_.push_back({Request::Kind::recv_stop, socket.value, slot});
}

void Kernel::send(io::Socket socket, base::Slot slot, std::span<const iovec> parts) {
    SocketState& state = open_socket(socket, slot);
    CHECK(!state.is_send_asked);
    CHECK(!parts.empty() && parts.size() <= io::iovecs_per_send_max);
    state.is_send_asked = true;
    state.parts.clear();
    uint64_t total = 0;
    for (const iovec& part : parts) {
        state.parts.emplace_back(static_cast<const uint8_t*>(part.iov_base), part.iov_len);
        total += part.iov_len;
    }
    CHECK(total > 0 && total <= INT32_MAX);
    state.send_bytes = static_cast<uint32_t>(total);
    state.send_taken = 0;
    state.parts_hash = hash_of(state);
    requests_.push_back({Request::Kind::send, socket.value, slot});
}

void Kernel::shutdown(io::Socket socket, io::Direction direction) {
    CHECK(socket.value < sockets_.size());
    const SocketState& state = sockets_[socket.value];
    CHECK(state.is_open && !state.is_close_asked);
    requests_.push_back({Request::Kind::shutdown, socket.value, state.slot, direction});
}

void Kernel::close(io::Socket socket, base::Slot slot) {
    SocketState& state = open_socket(socket, slot);
    CHECK(!state.is_recv_asked && !state.is_send_asked);
    state.is_close_asked = true;
    requests_.push_back({Request::Kind::close, socket.value, slot});
}

void Kernel::wake(io::ShardId shard) {
    CHECK(shard != shard_);
    if (wakes_.size() <= shard) wakes_.resize(shard + 1, false);
    wakes_[shard] = true;
}

// Turns -------------------------------------------------------------------------------------------

std::span<const io::Event> Kernel::turn(uint64_t deadline_ns) {
    ++turns_count_;
    buffers_return();
    submit();
    deadline_ns_ = deadline_ns;
    CHECK(fiber_ != nullptr);
    fiber_->pause();

    events_.clear();
    peers_.clear();
    static_cast<void>(network_.wake_take(shard_));
    uint64_t limit = options_.events_per_turn_max;
    if (faults_.fires(Fault::turn_limited)) limit = faults_.prng().between(0, 3);
    // Completions come in order, but a late one (of a close) does not hold up those behind it.
    for (auto at = completions_.begin(); at != completions_.end() && events_.size() < limit;) {
        if (at->due_ns > now_ns()) {
            ++at;
            continue;
        }
        hand_out(*at);
        at = completions_.erase(at);
    }
    events_total_ += events_.size();
    return events_;
}

void Kernel::hand_out(const Completion& completion) {
    events_.push_back(completion.event);
    io::Event& event = events_.back();
    if (completion.buffer != none) buffers_lent_.push_back(completion.buffer);
    network_.mix((uint64_t{shard_} << 48) ^ (static_cast<uint64_t>(event.op) << 40) ^
                 (static_cast<uint64_t>(event.more) << 33) ^ static_cast<uint32_t>(event.result));
    network_.mix(event.slot.index);
    network_.mix(now_ns());
    switch (event.op) {
        case io::Op::accept:
            if (event.result == 0) {
                peers_.push_back(peer_address_of(completion.connection));
                event.peer = &peers_.back();
            } else {
                listeners_[event.listener].is_asked = false;
            }
            return;
        case io::Op::recv:
            if (!event.more) {
                sockets_[completion.socket].is_recv_asked = false;
                sockets_[completion.socket].is_recv_stop_asked = false;
                sockets_[completion.socket].recv_ended_turn = turns_count_;
            }
            return;
        case io::Op::send: sockets_[completion.socket].is_send_asked = false; return;
        case io::Op::close: return;
    }
}

void Kernel::buffers_return() {
    for (const uint32_t buffer : buffers_lent_) {
        buffers_home_.push_back(buffer);
        poison(buffer);
    }
    buffers_lent_.clear();
}

void Kernel::submit() {
    for (const Request& request : requests_) submit_one(request);
    requests_.clear();
    for (io::ShardId shard = 0; shard < wakes_.size(); ++shard) {
        if (wakes_[shard]) network_.wake(shard);
        wakes_[shard] = false;
    }
    look_again(now_ns());
}

void Kernel::submit_one(const Request& request) {
    switch (request.kind) {
        case Request::Kind::accept_start: listeners_[request.target].is_armed = true; return;
        case Request::Kind::accept_stop: listeners_[request.target].is_stopping = true; return;
        case Request::Kind::recv_start: sockets_[request.target].is_recv_armed = true; return;
        case Request::Kind::recv_stop:
            // Too late is legal: the last event is on its way already.
            if (sockets_[request.target].is_recv_armed)
                sockets_[request.target].is_recv_stopping = true;
            return;
        case Request::Kind::send: sockets_[request.target].is_sending = true; return;
        case Request::Kind::shutdown: {
            SocketState& state = sockets_[request.target];
            network_.shut_by_broker(network_.at(state.connection));
            if (request.direction == io::Direction::write) return;
            network_.give_up_by_broker(network_.at(state.connection));
            // Linux goes on reporting what arrives after SHUT_RD, for as long as the receive lives.
            state.shut_read_from_ns = now_ns();
            if (faults_.fires(Fault::data_after_shutdown)) {
                state.shut_read_from_ns += faults_.prng().below(base::ns_per_s);
            }
            return;
        }
        case Request::Kind::close: submit_close(request.target, request.slot); return;
    }
}

void Kernel::submit_close(uint32_t index, base::Slot slot) {
    SocketState& state = sockets_[index];
    CHECK(!state.is_recv_armed && !state.is_sending);
    Completion completion;
    completion.due_ns = faults_.fires(Fault::close_delayed) ? soon_ns() : now_ns();
    completion.event = io::Event{.op = io::Op::close, .slot = slot, .socket = {index}};
    completions_.push_back(completion);
    if (network_.plant_fires(Plant::leak_socket)) return;
    network_.close_by_broker(network_.at(state.connection));
    state = SocketState{};
    sockets_free_.push_back(index);
    --sockets_count_;
}

// The kernel's work -------------------------------------------------------------------------------

void Kernel::look_again(uint64_t at_ns) {
    uint64_t& look_at_ns = network_.look_at_ns(shard_);
    look_at_ns = std::min(look_at_ns, at_ns);
}

uint64_t Kernel::soon_ns() {
    return now_ns() + faults_.prng().below(20 * base::ns_per_ms);
}

bool Kernel::maybe_hold(Fault fault, uint64_t& hold_ns) {
    if (hold_ns <= now_ns() && faults_.fires(fault)) hold_ns = soon_ns();
    if (hold_ns <= now_ns() || faults_.is_healed()) return false;
    look_again(hold_ns);
    return true;
}

void Kernel::work() {
    network_.look_at_ns(shard_) = base::never_ns;
    const auto listeners_count = static_cast<uint16_t>(listeners_.size());
    for (uint16_t number = 0; number < listeners_count; ++number) accept_work(number);
    const uint32_t count = static_cast<uint32_t>(sockets_.size());
    if (sockets_count_ == 0) return;
    const uint32_t first = static_cast<uint32_t>(faults_.prng().below(count));
    for (uint32_t step = 0; step < count; ++step) {
        const uint32_t index = (first + step) % count;
        SocketState& state = sockets_[index];
        if (!state.is_open || state.is_close_asked) continue;
        Connection& connection = network_.at(state.connection);
        if ((state.is_recv_armed || state.is_sending) && !connection.is_broken_by_fault &&
            faults_.fires(Fault::connection_reset)) {
            network_.break_by_fault(connection);
        }
        if (faults_.prng().below(2) == 0) {
            send_work(index);
            recv_work(index);
        } else {
            recv_work(index);
            send_work(index);
        }
    }
}

bool Kernel::is_turn_due() const {
    if (deadline_ns_ <= now_ns() || network_.has_wake(shard_)) return true;
    return std::any_of(completions_.begin(), completions_.end(),
                       [this](const Completion& each) { return each.due_ns <= now_ns(); });
}

uint64_t Kernel::ready_at_ns() const {
    if (network_.has_wake(shard_)) return 0;
    uint64_t at_ns = std::min(deadline_ns_, network_.look_at_ns(shard_));
    for (const Completion& completion : completions_) at_ns = std::min(at_ns, completion.due_ns);
    return at_ns;
}

void Kernel::accept_work(uint16_t number) {
    Listener& listener = listeners_[number];
    if (listener.is_closed) return;
    std::deque<ConnectionId>& queue = network_.queue(shard_);
    if (listener.is_stopping) {
        while (!listener.is_hurried && !queue.empty() &&
               network_.at(queue.front()).connect_due_ns <= now_ns()) {
            if (sockets_free_.empty()) return;
            if (faults_.fires(Fault::accept_failed)) break;  // as far as it can be emptied
            accept_one(number);
        }
        accept_end(number);
        return;
    }
    while (listener.is_armed && !queue.empty()) {
        Connection& connection = network_.at(queue.front());
        if (connection.connect_due_ns > now_ns()) {
            look_again(connection.connect_due_ns);
            return;
        }
        if (sockets_free_.empty())
            return;  // looked at again after each submit, so after each close
        int32_t error = 0;
        if (faults_.fires(Fault::accept_failed)) {
            constexpr int32_t errors[] = {-EMFILE, -ENFILE, -ENOMEM};
            error = errors[faults_.prng().below(3)];
        } else if (faults_.fires(Fault::accept_aborted)) {
            network_.break_by_fault(connection);
            queue.pop_front();
            error = -ECONNABORTED;
        }
        if (error == 0) {
            accept_one(number);
            continue;
        }
        listener.is_armed = false;
        Completion completion;
        completion.event = io::Event{.op = io::Op::accept, .listener = number, .result = error};
        completions_.push_back(completion);
    }
}

void Kernel::accept_one(uint16_t number) {
    std::deque<ConnectionId>& queue = network_.queue(shard_);
    const ConnectionId id = queue.front();
    queue.pop_front();
    const uint32_t index = sockets_free_.back();
    sockets_free_.pop_back();
    ++sockets_count_;
    sockets_[index].is_open = true;
    sockets_[index].connection = id;
    network_.at(id).accepted_at_ns = now_ns();
    Completion completion;
    completion.event = io::Event{.op = io::Op::accept, .listener = number, .socket = {index}};
    completion.connection = id;
    completions_.push_back(completion);
}

void Kernel::accept_end(uint16_t number) {
    Listener& listener = listeners_[number];
    listener.is_closed = true;
    listener.is_armed = false;
    network_.listener_close(shard_);
    Completion completion;
    completion.event = io::Event{.op = io::Op::accept, .listener = number, .result = -ECANCELED};
    completions_.push_back(completion);
}

void Kernel::complete(uint32_t index, io::Op op, int32_t result, bool more) {
    Completion completion;
    completion.socket = index;
    completion.event =
        io::Event{.op = op, .more = more, .result = result, .slot = sockets_[index].slot};
    completions_.push_back(completion);
}

void Kernel::recv_end(uint32_t index, int32_t result) {
    sockets_[index].is_recv_armed = false;
    sockets_[index].is_recv_stopping = false;
    complete(index, io::Op::recv, result, false);
}

void Kernel::recv_work(uint32_t index) {
    SocketState& state = sockets_[index];
    if (!state.is_recv_armed) return;
    Connection& connection = network_.at(state.connection);
    if (!state.is_recv_stopping && maybe_hold(Fault::recv_delayed, state.recv_hold_ns)) return;
    const bool is_broken = connection.broken_for_broker_at_ns <= now_ns();
    uint32_t readable = connection.to_broker.readable_bytes(now_ns());
    if (state.is_recv_stopping) {
        if (readable > 0 && !is_broken && faults_.fires(Fault::cancel_lost)) {
            static_cast<void>(recv_piece(index, readable));
        }
        if (state.is_recv_armed) recv_end(index, -ECANCELED);
        return;
    }
    if (is_broken) {
        constexpr int32_t errors[] = {-ECONNRESET, -ETIMEDOUT, -EHOSTUNREACH};
        const uint64_t choice = connection.is_broken_by_fault ? faults_.prng().below(3) : 0;
        // The kernel reports an error once; afterwards the stream is simply at its end.
        recv_end(index, state.is_error_reported ? 0 : errors[choice]);
        state.is_error_reported = true;
        return;
    }
    if (state.shut_read_from_ns <= now_ns()) {
        recv_end(index, 0);
        return;
    }
    while (readable > 0 && state.is_recv_armed) {
        const bool is_starved =
            buffers_home_.empty() || (buffers_home_.size() < options_.buffers_count &&
                                      faults_.fires(Fault::recv_no_buffers));
        if (is_starved || !recv_piece(index, readable)) {
            recv_end(index, -ENOBUFS);
            return;
        }
        readable = connection.to_broker.readable_bytes(now_ns());
    }
    if (!state.is_recv_armed) return;
    if (connection.to_broker.is_at_end(now_ns())) {
        recv_end(index, 0);
        return;
    }
    look_again(std::min({connection.to_broker.next_due_ns(), connection.broken_for_broker_at_ns,
                         state.shut_read_from_ns}));
}

bool Kernel::recv_piece(uint32_t index, uint32_t readable) {
    if (buffers_home_.empty()) return false;
    SocketState& state = sockets_[index];
    uint32_t bytes = std::min(readable, options_.buffer_bytes);
    if (faults_.fires(Fault::recv_short)) {
        bytes = static_cast<uint32_t>(faults_.prng().between(1, std::min<uint32_t>(bytes, 16)));
    }
    const uint32_t buffer = buffers_home_.back();
    buffers_home_.pop_back();
    unpoison(buffer, bytes);
    const std::span<uint8_t> out(buffer_at(buffer), bytes);
    CHECK(network_.bring_to_broker(network_.at(state.connection), out) == bytes);
    const bool more = !faults_.fires(Fault::recv_ended);
    complete(index, io::Op::recv, static_cast<int32_t>(bytes), more);
    completions_.back().event.bytes = out;
    completions_.back().buffer = buffer;
    if (!more) {
        state.is_recv_armed = false;
        state.is_recv_stopping = false;
    }
    return true;
}

void Kernel::send_end(uint32_t index, int32_t result) {
    SocketState& state = sockets_[index];
    if (result > 0 && static_cast<uint32_t>(result) < state.send_bytes) ++sends_partial_;
    state.is_sending = false;
    state.parts.clear();
    complete(index, io::Op::send, result, false);
}

uint64_t Kernel::hash_of(const SocketState& state) {
    uint64_t hash = 0;
    for (const std::span<const uint8_t> part : state.parts) hash = hash_bytes(hash, part);
    return hash;
}

void Kernel::send_take(SocketState& state, Connection& connection, uint32_t bytes) {
    uint32_t skip = state.send_taken;
    for (std::span<const uint8_t> part : state.parts) {
        if (skip >= part.size()) {
            skip -= static_cast<uint32_t>(part.size());
            continue;
        }
        part = part.subspan(skip);
        skip = 0;
        if (part.size() > bytes) part = part.first(bytes);
        if (part.empty()) return;
        network_.take_from_broker(connection, part);
        state.send_taken += static_cast<uint32_t>(part.size());
        bytes -= static_cast<uint32_t>(part.size());
    }
}

void Kernel::send_work(uint32_t index) {
    SocketState& state = sockets_[index];
    if (!state.is_sending) return;
    Connection& connection = network_.at(state.connection);
    // The payload belongs to the kernel until the event; whoever changed it meanwhile is caught
    // here.
    CHECK(hash_of(state) == state.parts_hash);
    const bool is_broken = connection.broken_for_broker_at_ns <= now_ns();
    if (is_broken || connection.is_shut_by_broker) {
        int32_t error = -EPIPE;
        if (is_broken && !state.is_error_reported) error = -ECONNRESET;
        if (is_broken) state.is_error_reported = true;
        send_end(index, state.send_taken > 0 ? static_cast<int32_t>(state.send_taken) : error);
        return;
    }
    if (maybe_hold(Fault::send_delayed, state.send_hold_ns)) return;
    if (connection.window_shut_until_ns <= now_ns() && faults_.fires(Fault::zero_window)) {
        connection.window_shut_until_ns = now_ns() + faults_.prng().below(3 * 60 * base::ns_per_s);
    }
    const uint32_t left = state.send_bytes - state.send_taken;
    uint32_t bytes = std::min(left, network_.room_to_peer(connection));
    if (bytes == 0) {
        const bool is_shut = connection.window_shut_until_ns > now_ns();
        uint64_t at_ns = is_shut ? connection.window_shut_until_ns : base::never_ns;
        if (is_shut && faults_.is_healed()) at_ns = now_ns() + send_look_ns;
        look_again(std::min(at_ns, connection.broken_for_broker_at_ns));
        return;
    }
    if (faults_.fires(Fault::send_short)) {
        bytes = static_cast<uint32_t>(faults_.prng().between(1, std::min<uint32_t>(bytes, 32)));
    }
    send_take(state, connection, bytes);
    const bool is_all = state.send_taken == state.send_bytes;
    if (!is_all && faults_.fires(Fault::send_piecewise)) {
        look_again(now_ns());
        return;
    }
    send_end(index, static_cast<int32_t>(state.send_taken));
}

std::string Kernel::leftovers() const {
    std::string text;
    const auto count = [&text](const char* what, uint64_t amount) {
        if (amount > 0) text += std::to_string(amount) + " " + what + ", ";
    };
    count("sockets open", sockets_count_);
    count("requests never submitted", requests_.size());
    count("completions never taken", completions_.size());
    const uint64_t home = buffers_home_.size() + buffers_lent_.size();
    count("receive buffers not home", options_.buffers_count - home);
    uint64_t listening = 0;
    for (const Listener& listener : listeners_) listening += listener.is_closed ? 0 : 1;
    count("listeners open", listening);
    if (!text.empty()) text = "shard " + std::to_string(shard_) + ": " + text;
    return text;
}

}  // namespace sim

// The link-time seam: what io/reactor.h declares, over the kernel above.
namespace io {

struct Reactor::Impl {
    sim::Kernel& kernel;
};

Reactor::Reactor(std::unique_ptr<Impl> impl)
    : impl_(std::move(impl)), now_ns_(impl_->kernel.now_ns()) {}

Reactor::~Reactor() = default;

uint16_t Reactor::listener_add(int) {
    return impl_->kernel.listener_add();
}

void Reactor::accept_start(uint16_t listener) {
    impl_->kernel.accept_start(listener);
}

void Reactor::accept_stop(uint16_t listener) {
    impl_->kernel.accept_stop(listener);
}

Socket Reactor::adopt(int) {
    return {};  // no simulated connection begins as a descriptor
}

void Reactor::recv_start(Socket socket, base::Slot slot) {
    impl_->kernel.recv_start(socket, slot);
}

void Reactor::recv_stop(Socket socket, base::Slot slot) {
    impl_->kernel.recv_stop(socket, slot);
}

void Reactor::send(Socket socket, base::Slot slot, std::span<const iovec> parts) {
    impl_->kernel.send(socket, slot, parts);
}

void Reactor::shutdown(Socket socket, Direction direction) {
    impl_->kernel.shutdown(socket, direction);
}

void Reactor::close(Socket socket, base::Slot slot) {
    impl_->kernel.close(socket, slot);
}

void Reactor::wake(ShardId shard) {
    impl_->kernel.wake(shard);
}

std::span<const Event> Reactor::turn(uint64_t deadline_ns) {
    const std::span<const Event> events = impl_->kernel.turn(deadline_ns);
    now_ns_ = impl_->kernel.now_ns();
    return events;
}

}  // namespace io

namespace sim {

std::unique_ptr<io::Reactor> make_reactor(Kernel& kernel) {
    return std::make_unique<io::Reactor>(
        std::make_unique<io::Reactor::Impl>(io::Reactor::Impl{kernel}));
}

}  // namespace sim
