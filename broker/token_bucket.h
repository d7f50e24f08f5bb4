// TokenBucket: how often something may happen, in eight bytes: the generic cell rate algorithm
// (ITU-T I.371). Instead of tokens it keeps the time at which the bucket will be full again.
//
// Owner: whoever is limited holds one by value; the rate stands elsewhere, once for many of them.
// Thread: its owner's. Pure: time is given.
// Invariants:
//  1. In any span of time at most burst + span * rate tokens are taken by take(), and whoever takes
//     no more than that is never refused, but for rounding: a take costs up to 1 ns too much. A
//     burst of TokenRate::one_by_one() passes whole all the same.
//  2. Time that goes back (between two shards' clocks) or jumps ahead gives no more than a burst.
#pragma once

#include <cstdint>

#include "io/base/units.h"

namespace broker {

class TokenRate {
  public:
    // The product of a remainder and a second must fit into 64 bits.
    static constexpr uint64_t per_second_max = uint64_t{1} << 34;

    TokenRate() = default;  // off
    // per_second 0: off. The burst is at least one token.
    TokenRate(uint64_t per_second, uint64_t burst)
        : per_second_(per_second),
          burst_ns_(per_second == 0 ? 0 : cost_ns(burst < 1 ? 1 : burst)) {}

    // For tokens that are taken one by one. The burst is rounded up as they are, or the last of a
    // burst in one moment would be refused for a few ns.
    static TokenRate one_by_one(uint64_t per_second, uint64_t burst) {
        TokenRate rate(per_second, burst);
        if (!rate.is_off()) rate.burst_ns_ = (burst < 1 ? 1 : burst) * rate.cost_ns(1);
        return rate;
    }

    bool is_off() const { return per_second_ == 0; }
    uint64_t burst_ns() const { return burst_ns_; }  // how long an empty bucket takes to fill
    // Only if it is not off.
    uint64_t cost_ns(uint64_t tokens) const {
        const uint64_t rest = tokens % per_second_ * base::ns_per_s;
        return tokens / per_second_ * base::ns_per_s + rest / per_second_ +
               (rest % per_second_ == 0 ? 0 : 1);
    }

  private:
    uint64_t per_second_ = 0;
    uint64_t burst_ns_ = 0;
};

class TokenBucket {
  public:
    // How long until so many tokens are there; 0: they are there now.
    uint64_t wait_ns(const TokenRate& rate, uint64_t tokens, uint64_t now_ns) const {
        if (rate.is_off()) return 0;
        // More than a burst is never there: then what is asked for is a full bucket.
        uint64_t cost_ns = rate.cost_ns(tokens);
        if (cost_ns > rate.burst_ns()) cost_ns = rate.burst_ns();
        const uint64_t missing_ns = full_at_ns_ > now_ns ? full_at_ns_ - now_ns : 0;
        return missing_ns + cost_ns > rate.burst_ns() ? missing_ns + cost_ns - rate.burst_ns() : 0;
    }

    // Takes the tokens, whether they are there or not: what is missing is a debt, which
    // wait_ns(rate, 0, …) tells.
    void charge(const TokenRate& rate, uint64_t tokens, uint64_t now_ns) {
        if (rate.is_off()) return;
        full_at_ns_ = (full_at_ns_ > now_ns ? full_at_ns_ : now_ns) + rate.cost_ns(tokens);
    }

    // Takes the tokens if they are there.
    [[nodiscard]] bool take(const TokenRate& rate, uint64_t tokens, uint64_t now_ns) {
        if (wait_ns(rate, tokens, now_ns) > 0) return false;
        charge(rate, tokens, now_ns);
        return true;
    }

  private:
    uint64_t full_at_ns_ = 0;
};

}  // namespace broker
