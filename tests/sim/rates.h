// Rates: what one connection asked and how it was answered, held against the rates that the broker
// was told to allow (PROTOCOL.md, "Asking too fast").
//
// Nobody outside sees when the broker looks at a command, only that it lies between the moment at
// which it was sent and the one at which its answer came. So each rule is tried with the moments
// that suit the broker best:
//  - A refusal is just if the commands before it can have emptied the bucket: some stretch of them
//    can have been done in so short a time that the burst and what the rate gave meanwhile had no
//    room for one more.
//  - After a refused publish of a series, those that were sent behind it are refused too, whatever
//    the bucket holds.
//  - What was surely done must fit into the burst and what the rate gave from the sending of the
//    first to the answer of the last, for every stretch.
//  - Whoever was refused is told a wait of at least 1 ms and at most the time of one token.
//  - A connection is closed with 4101 only after as many refusals as PROTOCOL.md says, and must be
//    closed when it was refused more often than is forgiven in time.
//
// Owner: Oracle, one per session, or a peer without one. Thread: its World's.
// Invariant: a broken rule is thrown as Violation, promise "rates".
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/sim/network.h"
#include "tests/sim/scenario.h"

namespace sim {

class Rates {
  public:
    // Refusals that are forgiven at once, and each second (PROTOCOL.md: "some 1,000 refusals and
    // then ten more each second").
    static constexpr uint64_t refusals_burst = 1'000;
    static constexpr uint64_t refusals_per_second = 10;

    enum class Kind : uint8_t {
        command,
        publish,  // also a POST; counts as a command too
        control,  // a ping or pong frame: counts as a command, and a refusal is not answered
    };
    using Id = uint32_t;

    Rates(const Clock& clock, const Limits& limits, std::string name)
        : clock_(clock), limits_(limits), name_(std::move(name)) {}

    // In the order of sending. `is_named`: it has an id, so that its answer can be told apart.
    // `series`: of a publish, 0 for none.
    Id asked(Kind kind, bool is_named = true, uint32_t series = 0);
    void done(Id id);
    // `retry_ms` as it was told; the answer over HTTP tells whole seconds.
    enum class Unit : uint8_t { milliseconds, seconds };
    void refused(Id id, uint64_t retry, Unit unit = Unit::milliseconds);
    // An error without an id.
    void refused_unnamed(uint64_t retry_ms);
    // The broker's Close frame came with 4101.
    void closed_for_rate() const;
    // When all that was answered is known.
    void audit() const;

    uint64_t refusals_count() const { return refusals_count_; }

  private:
    struct Ask {
        Kind kind = Kind::command;
        uint32_t series = 0;
        bool is_refused = false;
        bool is_done = false;
        uint64_t asked_ns = 0;
        uint64_t done_by_ns = base::never_ns;
    };
    struct Bucket {
        uint64_t per_second = 0;  // 0: off
        uint64_t burst = 0;
        bool publishes_only = false;

        bool counts(Kind kind) const { return !publishes_only || kind == Kind::publish; }
        // How many tokens there can be in a stretch of time.
        double tokens(uint64_t span_ns) const;
    };

    Bucket commands() const;
    Bucket publishes() const;
    // Whether an earlier one of its series was refused.
    bool is_behind_refused(const Ask& ask, Id id) const;
    bool can_be_empty(const Bucket& bucket, Id id) const;
    void check_wait(uint64_t retry, Unit unit) const;
    void count_refusal(uint64_t asked_ns);
    void audit(const Bucket& bucket) const;
    [[noreturn]] void complain(const std::string& text) const;

    const Clock& clock_;
    const Limits& limits_;
    const std::string name_;
    std::vector<Ask> asks_;
    std::map<uint32_t, Id> first_refused_;  // by series
    uint64_t unnamed_count_ = 0;            // publishes without an id that may still be refused
    uint64_t controls_count_ = 0;
    uint64_t refusals_count_ = 0;
    uint64_t refusable_since_ns_ = 0;  // when what was first refused was asked
};

}  // namespace sim
