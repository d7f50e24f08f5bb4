// Lifecycle: how connections begin and end: the transitions of Connection's state machine that are
// not about what was said.
//
// Owner: a shard. Thread: its shard's.
// Invariants:
//  1. Closing is done properly: the last bytes leave, writing is shut down, input is discarded
//     until the peer's end of stream, and only then the descriptor is closed, so that no reset eats
//     the last words. Every step has a bound in time, discarding has one in bytes.
//  2. reactor.close() is called once per connection, when nothing is in flight.
//  3. A client that is told to come back later (4100 to 4199) is told when, by a goodbye before the
//     Close frame. Who closes with Queued::flush has said it.
//  4. Leaving `open` gives up everything that the connection held (subscriptions, stash, decoder's
//     memory).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "broker/close_codes.h"
#include "broker/connection.h"
#include "broker/joins.h"
#include "broker/metrics.h"
#include "broker/outbox.h"
#include "broker/replays.h"
#include "broker/settings.h"
#include "broker/slow_consumers.h"
#include "broker/subscriptions.h"
#include "io/base/prng.h"
#include "io/timer_wheel.h"

namespace broker {

class Lifecycle {
  public:
    Lifecycle(io::Reactor& reactor, base::Slab<Connection>& connections, io::TimerWheel& timers,
              Outbox& outbox, Subscriptions& subscriptions, Replays& replays,
              SlowConsumers& slow_consumers, Joins& joins, Compression& compression,
              base::Prng& prng, ShardMetrics& metrics, const Settings& settings);

    base::Slot accept(io::Socket socket, uint16_t listener);

    // Arms the receive if the connection wants bytes and it is not armed. In every state.
    void read_on(base::Slot slot);

    // After what a connection keeps of its input has changed (in its decoder, its stash, or of an
    // HTTP request): brings the gauge of that memory up to date.
    void account_reassembly(Connection& connection);

    // What happens to the bytes that are queued when a WebSocket is closed by us.
    enum class Queued : uint8_t { flush, drop };
    // Sends a Close frame and ends the connection. `reason` is static text of at most 123 bytes.
    // Only in state open.
    void close_websocket(base::Slot slot, CloseCode code, std::string_view reason, Queued queued);
    // Answers the peer's Close frame with its own code and ends the connection. Only in state open.
    void close_answered(base::Slot slot, uint16_t code);
    // Ends an HTTP connection after what is queued has left. Only in state http.
    void close_http(base::Slot slot);
    // Cuts the connection: nothing more is sent. In every state.
    void abort(base::Slot slot);

    // Events of the reactor, after the flags in the connection have been brought up to date.
    void peer_ended(base::Slot slot);
    void discarded(base::Slot slot, uint32_t bytes);
    // A receive or a send has ended: moves a closing connection on.
    void advance(base::Slot slot);
    void closed(base::Slot slot);
    // The timer of a connection in closing or lingering.
    void timed_out(base::Slot slot);

  private:
    static constexpr uint32_t discarded_bytes_max = 1 << 20;
    // When a client that is told to come back later is to do so. The spread is what keeps many that
    // were slow at once, or closed for want of memory, from coming back as one.
    static constexpr uint64_t return_ms_min = 1'000;
    static constexpr uint64_t return_ms_max = 5'000;

    void begin_closing(base::Slot slot, Connection& connection);
    void append_goodbye(base::Slot slot, const Connection& connection);
    void append_close_frame(base::Slot slot, Connection& connection);
    void drop_and_append_close_frame(base::Slot slot, Connection& connection);
    void leave_open(base::Slot slot, Connection& connection);
    void join(base::Slot slot, Connection& connection);

    io::Reactor& reactor_;
    base::Slab<Connection>& connections_;
    io::TimerWheel& timers_;
    Outbox& outbox_;
    Subscriptions& subscriptions_;
    Replays& replays_;
    SlowConsumers& slow_consumers_;
    Joins& joins_;
    Compression& compression_;
    base::Prng& prng_;
    ShardMetrics& metrics_;
    const Settings& settings_;
    // Scratch.
    std::vector<std::string> gone_;
    std::string json_;
};

}  // namespace broker
