// HistoryPage: an answer to a history command, and whether it can be right. Pure but for what the
// ledger learns from it; any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tests/sim/ledger.h"
#include "tests/sim/subscriber.h"

namespace sim {

struct HistoryRequest {
    std::string topic;
    Start start;  // last or after
    uint64_t sent_step = 0;
};

struct HistoryPage {
    struct Message {
        Place place;
        codec::PayloadKind kind = codec::PayloadKind::json;
        std::string bytes;
    };
    std::vector<Message> messages;
    ToldCursor cursor;
    bool has_more = false;
    std::optional<Recovery> recovery;
};

// Throws Violation. `who` got the page.
void check_history_page(Ledger& ledger, const Limits& limits, const std::string& who,
                        const HistoryRequest& request, const HistoryPage& page);

}  // namespace sim
