// PublishFlow: the publishes of one client that are not confirmed yet: which is to be sent next,
// and when, so that they keep their order and the broker's rates (PROTOCOL.md, "Asking too fast").
//
//     unsent -> out -> confirmed, or refused for good
//        ^       |
//        +-------+   refused for the rate, or the connection was lost
//
// Where the broker tells its rates, the flow keeps below them; where it refuses all the same, the
// flow stops until all that is out was answered and the time is up that the refusal told. Nothing
// of a series gets past a refused one of it, so the order stays.
//
// Owner: `fanfare pub`. Thread: one. Pure: time is given.
// Invariants:
//  1. What is sent, is sent in the order of the ids; whatever is sent again stands before what was
//     never sent.
//  2. After a refusal nothing is sent before the time that it told.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "io/base/units.h"
#include "tools/backoff.h"

namespace tools {

class PublishFlow {
  public:
    explicit PublishFlow(uint64_t seed) : backoff_(seed) {}

    // A new connection, whose broker takes so many publishes a second (0: any number): all is to be
    // sent again.
    void connected(uint64_t publishes_per_second);
    // What it may add to a command on its way out.
    uint32_t added_bytes_max() const;
    // A command with this id, which is higher than all before.
    void add(uint64_t id, std::string command);
    void confirmed(uint64_t id);
    // Refused for good.
    void given_up(uint64_t id);
    // Refused for the rate; `retry_ns` 0: the broker does not say when to come again.
    void rate_limited(uint64_t id, uint64_t retry_ns, uint64_t now_ns);

    // What is to be sent now, if anything is; it then counts as sent.
    [[nodiscard]] std::optional<std::string> next(uint64_t now_ns);
    // When next() should be asked again if nothing else happens before.
    uint64_t next_at_ns() const;

    size_t count() const { return commands_.size(); }
    bool is_empty() const { return commands_.empty(); }
    // Since when nothing but refusals has come on this connection; 0: that is not so.
    uint64_t refused_since_ns() const { return refused_since_ns_; }

  private:
    void keep_to(uint64_t publishes_per_second);

    std::map<uint64_t, std::string> commands_;  // by id
    std::set<uint64_t> unsent_;

    // The pace. A burst is let through that is half of the broker's, so that what the network
    // bunches together is not refused.
    bool is_limited_ = false;
    bool is_told_ = false;  // by the broker, which then knows what a series is
    uint64_t interval_ns_ = 0;
    uint64_t lead_ns_ = 0;     // how far the sending may be ahead of the pace
    uint64_t pace_at_ns_ = 0;  // when the next would be due without a lead
    bool is_held_ = false;     // something was refused
    uint64_t held_until_ns_ = 0;
    uint32_t series_ = 1;
    uint64_t refused_since_ns_ = 0;
    Backoff backoff_;
};

}  // namespace tools
