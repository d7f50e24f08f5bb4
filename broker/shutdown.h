// Shutdown: a shard's stop, which is a drain: nobody who was promised something goes without it as
// long as the deadline allows, and nobody is surprised.
//
//   phase      what happens in it                                  it ends when
//   running    –                                                   a stop is requested
//   delaying   /readyz, upgrades and POSTs are answered 503; who   drain-delay has passed: load
//              is connected goes on as ever                        balancers look elsewhere by now
//   emptying   the listen queues are emptied and closed, each one  no listener is left, or
//              that waited there is told 503                       emptying_ns_max has passed
//   parting    goodbye to every client, each with a time of its    all were told
//              own to come back
//   quiescing  nothing more is executed; `quiesced` goes to every  all shards are quiesced, so all
//              shard behind what was forwarded                     forwarded to us is sequenced
//   draining   `drained` goes to every shard behind what was       all shards are drained, so all
//              sequenced                                           acknowledged is queued
//   closing    whoever has read its queue is closed with 1001, at  no connection, no listener,
//              a pace; slow streams are read from history to       nothing owed to another shard,
//              their end, others' questions are answered, and      all shards have caught up
//              then `caught_up` goes to all shards
//   stopped    –
//
// The deadline, drain-timeout after the end of delaying, ends each phase, and cuts the connections
// that are left.
//
// Owner: a shard. Thread: its shard's.
// Invariants:
//  1. All shards pass quiescing and draining together: no shard closes a client before every
//     message that was acknowledged to anybody is in the client's queue.
//  2. Every client is told goodbye before the first one is closed, so that whoever is closed late
//     knows its time too.
//  3. What a turn does is bounded: goodbyes, and connections looked at.
#pragma once

#include <cstdint>
#include <string>

#include "broker/connections_query.h"
#include "broker/courier.h"
#include "broker/http_surface.h"
#include "broker/joins.h"
#include "broker/lifecycle.h"
#include "broker/outbox.h"
#include "broker/replays.h"
#include "broker/session.h"
#include "broker/settings.h"
#include "broker/shard.h"
#include "broker/slot_fifo.h"
#include "io/base/prng.h"
#include "io/base/units.h"
#include "io/reactor.h"

namespace broker {

class Shutdown {
  public:
    struct Parts {
        io::Reactor& reactor;
        base::Slab<Connection>& connections;
        Outbox& outbox;
        Lifecycle& lifecycle;
        HttpSurface& http;
        Session& session;
        Joins& joins;
        Replays& replays;
        ConnectionsQuery& connections_query;
        Courier& courier;
        base::Prng& prng;
        const Settings& settings;
    };
    Shutdown(const Parts& parts, uint16_t listeners_count);

    // A stop is requested; again changes nothing.
    void begin();
    // The stop is to end at once: the deadline is now.
    void cut();

    // A connection was accepted; a listener has ended; another shard has said `quiesced`,
    // `drained`.
    void accepted(base::Slot slot);
    void listener_closed() { --listeners_open_; }
    void heard_quiesced() { ++quiesced_count_; }
    void heard_drained() { ++drained_count_; }
    void heard_caught_up() { ++caught_up_count_; }

    // Once a turn: does what is due, and goes on to the next phase.
    void advance();
    // When the next turn must come, at the latest.
    uint64_t next_deadline_ns() const;

    bool has_begun() const { return phase_ != Phase::running; }
    // Whether listeners accept, and may be started again when they failed.
    bool is_accepting() const { return phase_ <= Phase::delaying; }
    // Whether what clients ask for is done.
    bool is_working() const { return phase_ <= Phase::parting; }
    bool is_stopped() const { return phase_ == Phase::stopped; }
    const StopReport& report() const { return report_; }

  private:
    enum class Phase : uint8_t {
        running,
        delaying,
        emptying,
        parting,
        quiescing,
        draining,
        closing,
        stopped
    };

    // A client that connects without a pause must not hold up those who wait for their goodbye.
    static constexpr uint64_t emptying_ns_max = base::ns_per_s;
    static constexpr uint32_t goodbyes_per_turn_max = 1'024;
    static constexpr uint32_t looks_per_turn_max = 1'024;
    // Of all shards together: clients that ignore retry_ms come back as fast as they are closed,
    // and a broker takes some ten thousand of them a second. More when the deadline demands it.
    static constexpr uint64_t closes_per_second = 10'000;
    // Few clients are closed at once.
    static constexpr uint64_t closes_burst = 256;
    // A client that comes back at once may find the successor not listening yet.
    static constexpr uint64_t retry_ms_min = 500;
    // A full lane is looked at this often: its consumer does not wake its producer.
    static constexpr uint64_t look_interval_ns = base::ns_per_ms;

    bool is_late() const { return parts_.reactor.now_ns() >= deadline_ns_; }
    void begin_emptying();
    void begin_parting();
    void say_goodbyes();
    void say_goodbye(base::Slot slot, const Connection& connection);
    void begin_quiescing();
    void begin_draining();
    void begin_closing();
    void tell_caught_up();
    void close_some();
    // Closes a connection, or answers that it is not time yet.
    [[nodiscard]] bool close_one(base::Slot slot, Connection& connection);
    void cut_rest();

    const Parts parts_;
    const uint16_t listeners_count_;
    const uint32_t others_count_;
    Phase phase_ = Phase::running;
    uint64_t delay_until_ns_ = base::never_ns;
    uint64_t emptying_until_ns_ = base::never_ns;
    uint64_t deadline_ns_ = base::never_ns;
    uint16_t listeners_open_;
    uint32_t quiesced_count_ = 0;  // of the other shards
    uint32_t drained_count_ = 0;
    uint32_t caught_up_count_ = 0;
    bool caught_up_was_told_ = false;
    bool has_told_ = false;           // something to the other shards, in this turn
    SlotFifo untold_;                 // are to be told goodbye
    SlotFifo unclosed_;               // are to be closed
    uint64_t close_interval_ns_ = 0;  // between two WebSockets
    uint64_t close_due_ns_ = 0;       // of the next one
    uint64_t waiting_bytes_ = 0;      // in the queues when closing began
    StopReport report_;
    std::string json_;  // scratch
};

}  // namespace broker
