// Reloads: the new settings that a scenario brings in the midst of a run, and which of them the
// shards may go by at the moment: the old ones and the new, until all shards have taken these.
//
// Owner: World, which hands them over; peers ask. Thread: the World's.
// Invariant: one offer at a time; the next one is made when all shards have taken it.
#pragma once

#include <cstdint>

#include "tests/sim/scenario.h"

namespace sim {

class Reloads {
  public:
    explicit Reloads(const Scenario& scenario) : scenario_(scenario) {}

    // The settings to offer now; null: none.
    const ReloadableLimits* due(uint64_t now_ns) const;
    void offered();
    void taken() { taken_count_ = offers_count_; }
    bool is_pending() const { return taken_count_ < offers_count_; }
    // What was said between two offers was judged by the limits that were told then.
    uint32_t offers_count() const { return offers_count_; }

    uint32_t head_bytes_least() const;
    uint32_t head_bytes_most() const;

  private:
    // As they were before any offer, or after so many.
    const ReloadableLimits& limits_after(uint32_t offers_count) const;

    const Scenario& scenario_;
    uint32_t offers_count_ = 0;
    uint32_t taken_count_ = 0;
};

}  // namespace sim
