// Faults: what goes wrong in a simulated run, how often, and how often it really did.
//
// Owner: World; the kernels and the network ask it. Thread: its World's.
// Invariants:
//  1. swarm() activates each kind in a third of the seeds (rare ones in two thirds) and then draws
//     how likely it is, so that runs differ from each other instead of all being average.
//  2. After heal() nothing fires any more.
//  3. Every firing is counted; a kind that never fires over many seeds is a hole in the simulation.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "io/base/prng.h"

namespace sim {

// X(name, what it stands for)
#define FANFARE_SIM_FAULTS(X)                                                                 \
    X(recv_short, "a receive brings fewer bytes than wait: TCP cuts anywhere")                \
    X(recv_ended, "a receive ends (more == false) although data follows")                     \
    X(recv_no_buffers, "-ENOBUFS while other receives hold buffers")                          \
    X(recv_delayed, "bytes that arrived are reported later")                                  \
    X(send_short, "a send takes fewer bytes than there is room for")                          \
    X(send_piecewise, "a send takes a piece, stays in flight and takes the next piece later") \
    X(send_delayed, "a send stays untouched for a while")                                     \
    X(zero_window, "the peer's window is shut for up to minutes")                             \
    X(connection_reset, "a connection breaks, at any moment")                                 \
    X(reset_discards, "a reset eats what the peer had not read yet")                          \
    X(cancel_lost, "a stopped receive still brings what won the race")                        \
    X(data_after_shutdown, "a receive goes on for a while after shutdown")                    \
    X(close_delayed, "the event of a close comes late; its descriptor is reused before")      \
    X(accept_failed, "an accept fails with -EMFILE, -ENFILE or -ENOMEM")                      \
    X(accept_aborted, "a connection ends before it is accepted: -ECONNABORTED")               \
    X(turn_spurious, "a turn returns early with nothing")                                     \
    X(turn_limited, "a turn brings only a few of the events that are ready")                  \
    X(shard_stalled, "a core is kept from its shard for a while")                             \
    X(time_jump, "time jumps: 1 ns, or minutes as after a suspended machine")

enum class Fault : uint8_t {
#define FANFARE_X(name, meaning) name,
    FANFARE_SIM_FAULTS(FANFARE_X)
#undef FANFARE_X
};

inline constexpr std::array all_faults = {
#define FANFARE_X(name, meaning) Fault::name,
    FANFARE_SIM_FAULTS(FANFARE_X)
#undef FANFARE_X
};
inline constexpr uint32_t faults_count = all_faults.size();

const char* name_of(Fault fault);

using FaultOptions = std::array<base::Ratio, faults_count>;
using FaultCounts = std::array<uint64_t, faults_count>;

FaultOptions swarm(base::Prng& prng);
// One line per active fault, for the trace.
std::string describe(const FaultOptions& options);

class Faults {
  public:
    Faults(const FaultOptions& options, uint64_t seed) : options_(options), prng_(seed) {}

    [[nodiscard]] bool fires(Fault fault);
    void heal() { is_healed_ = true; }
    bool is_healed() const { return is_healed_; }

    const FaultCounts& counts() const { return counts_; }
    // The generator for the details of a fault: how short, how late.
    base::Prng& prng() { return prng_; }

  private:
    const FaultOptions options_;
    base::Prng prng_;
    FaultCounts counts_{};
    bool is_healed_ = false;
};

}  // namespace sim
