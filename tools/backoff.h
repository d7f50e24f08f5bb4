// When to try again after a connection ended. Pure; any thread.
#pragma once

#include <cstdint>

#include "io/base/prng.h"
#include "io/base/units.h"

namespace tools {

// Whether a client should come back after this close code, as PROTOCOL.md's table says: 4000 to
// 4099 and what says that the client itself is wrong (1002, 1003, 1007 to 1010) mean no, because
// the same would happen again; so does 1000. Everything else means yes, the end without a Close
// frame (1005, 1006) included.
bool may_reconnect(uint16_t close_code);

// Exponential backoff with full jitter: the wait is uniform between nothing and a bound that
// doubles from 0.1 s up to 10 s, so that the many clients of a broker that restarts do not come
// back in step.
class Backoff {
  public:
    static constexpr uint64_t first_bound_ns = 100 * base::ns_per_ms;
    static constexpr uint64_t last_bound_ns = 10 * base::ns_per_s;

    explicit Backoff(uint64_t seed) : prng_(seed) {}

    // The wait before the next attempt: at least what the broker asked for in goodbye's retry_ms.
    uint64_t next_ns(uint64_t asked_for_ns);
    // To be called when a connection works.
    void reset() { bound_ns_ = first_bound_ns; }

  private:
    base::Prng prng_;
    uint64_t bound_ns_ = first_bound_ns;
};

}  // namespace tools
