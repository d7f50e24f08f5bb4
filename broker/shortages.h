// Shortages: what to do while the machine is short of something (descriptors, the kernel's memory):
// wait a little and try again, and say so once when it begins and once when it is over. What is
// done about the broker's own budget of memory stands in Shedding and where it is refused; here it
// is said.
//
// Owner: a shard. Thread: its shard's.
// Invariants:
//  1. Nothing is tried again in the turn in which it failed, and only so many per round, so that a
//     lasting shortage costs little time.
//  2. Whatever waits here is bounded elsewhere: a connection whose sends fail meets the limit of
//     its queue, one whose receives fail its heartbeat, and both the timers of their states.
//  3. A shortage is over when it has not shown for quiet_ns; until then it logs nothing more. The
//     budget's shows as long as its level is not calm, or is full, also while nobody is concerned.
#pragma once

#include <cstdint>
#include <vector>

#include "broker/lifecycle.h"
#include "broker/log.h"
#include "broker/memory_budget.h"
#include "broker/metrics.h"
#include "broker/outbox.h"
#include "broker/slot_fifo.h"
#include "io/base/units.h"
#include "io/reactor.h"

namespace broker {

class Shortages {
  public:
    struct Parts {
        io::Reactor& reactor;
        base::Slab<Connection>& connections;
        Lifecycle& lifecycle;
        Outbox& outbox;
        const MemoryBudget& memory;
        ShardMetrics& metrics;
        Log& log;
    };
    Shortages(const Parts& parts, io::ShardId shard, uint16_t listeners_count);

    // The listener does not accept any more until it is started again.
    void accept_failed(uint16_t listener, int32_t result);
    // The receive has ended, the send took nothing, and the connection is whole.
    void receive_failed(base::Slot slot, Connection& connection, int32_t result);
    void send_failed(base::Slot slot, int32_t result);
    // A connection that held so much was closed for want of memory.
    void shed(uint64_t held_bytes);

    // Once a turn: tries again what is due, as to listeners only while the shard accepts; notes
    // whether the kernel had to keep completions, and what was refused for want of memory; says
    // what is over.
    void tend(bool is_accepting);
    uint64_t next_deadline_ns() const;

  private:
    enum class Kind : uint8_t { accept, receive, send, completions, shed, refused, count };

    static constexpr uint64_t accept_retry_ns = 100 * base::ns_per_ms;
    static constexpr uint64_t retry_ns = 10 * base::ns_per_ms;
    static constexpr uint32_t retries_per_round_max = 64;
    static constexpr uint64_t quiet_ns = 5 * base::ns_per_s;

    struct Episode {
        uint64_t count = 0;  // 0: there is none
        uint64_t bytes = 0;  // that those held who were shed
        uint64_t began_ns = 0;
        uint64_t last_ns = 0;
    };

    Episode& episode_of(Kind kind) { return episodes_[static_cast<uint8_t>(kind)]; }
    void happened(Kind kind, uint64_t count, const LogField& detail);
    void failed(Kind kind, int32_t result);
    void look_at_memory();
    void accepts_retry(bool is_accepting);
    void receives_retry();
    void sends_retry();
    void say_what_is_over();
    void log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields);

    const Parts parts_;
    const io::ShardId shard_;
    const uint16_t listeners_count_;
    Episode episodes_[static_cast<uint8_t>(Kind::count)];
    std::vector<bool> listener_failed_;
    uint64_t accept_retry_at_ns_ = base::never_ns;
    uint64_t retry_at_ns_ = base::never_ns;  // of receives and sends
    uint64_t quiet_at_ns_ = base::never_ns;  // when an episode may be over
    uint64_t overflows_seen_ = 0;
    uint64_t refusals_seen_ = 0;
    SlotFifo receives_;
    SlotFifo sends_;
};

}  // namespace broker
