// StreamGaps: what a slow subscriber was told to have missed of its live stream, and which missing
// messages that excuses (PROTOCOL.md, "Slow consumers").
//
// A gap stands in the stream where its messages are missing. So it excuses what lies above all that
// had come before it, and of each topic what lies below the next message that comes; and nothing
// that lies below a `position` behind it, which is told only to those who have arrived.
//
// Owner: Subscriber. Thread: its World's.
// Invariants:
//  1. A gap excuses messages that its filter matches, of its topic if it names one, sent before it.
//  2. `missed` is checked by the sum over a subscription's life (Subscriber::check_counts): a
//     single gap does not say which messages it counts, all of them together do.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "codec/gap.h"
#include "tests/sim/cursor.h"
#include "tests/sim/ledger.h"

namespace sim {

// As it stood on the wire.
struct ToldGap {
    std::string filter;
    std::string topic;  // empty: none
    std::optional<uint64_t> missed;
    std::string code;
};

class StreamGaps {
  public:
    explicit StreamGaps(const Ledger& ledger) : ledger_(ledger) {}

    struct Gap {
        uint32_t filter = 0;
        std::optional<uint32_t> topic;
        std::optional<uint64_t> missed;
        codec::GapCode code = codec::GapCode::slow_consumer;
        uint64_t step = 0;
        Cursor behind = {};                         // what is missing lies above it
        std::map<uint32_t, uint64_t> below = {};    // and, by topic, below this
        std::optional<Cursor> upto = std::nullopt;  // and not above this
    };

    void add(Gap gap) { gaps_.push_back(std::move(gap)); }
    // What came next.
    void pushed(uint32_t topic, const Place& place);
    void position(const Cursor& cursor);

    bool excuses(MessageId message) const { return is_excused(message, false); }
    // By a gap that does not promise a newer message of the topic.
    bool excuses_newest(MessageId message) const { return is_excused(message, true); }
    size_t count() const { return gaps_.size(); }
    // Of the gaps of a filter from the first-th on: how many messages they tell, unless one cannot
    // say.
    struct Sum {
        uint64_t messages_count = 0;
        bool is_exact = true;
    };
    Sum sum_of(uint32_t filter, size_t first) const;

  private:
    bool concerns(const Gap& gap, uint32_t topic) const {
        return ledger_.matches(gap.filter, topic) && (!gap.topic || *gap.topic == topic);
    }
    bool is_excused(MessageId message, bool is_newest) const;

    const Ledger& ledger_;
    std::vector<Gap> gaps_;
};

}  // namespace sim
