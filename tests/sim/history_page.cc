#include "tests/sim/history_page.h"

#include <algorithm>
#include <set>

namespace sim {

namespace {

constexpr uint64_t messages_max = 1'000;
constexpr uint64_t payload_bytes_max = 64 * 1024;

}  // namespace

void check_history_page(Ledger& ledger, const Limits& limits, const std::string& who,
                        const HistoryRequest& request, const HistoryPage& page) {
    const std::string what = who + "'s page of the history of " + request.topic;
    const auto complain = [&what](const std::string& text) { violated("history", what + text); };
    if (limits.history_rule_of(request.topic) == nullptr) complain(" is one of what is not kept");

    const uint32_t topic = ledger.topic_number(request.topic);
    std::set<MessageId> got;
    std::optional<Place> previous;
    uint64_t bytes = 0;
    for (const HistoryPage::Message& each : page.messages) {
        got.insert(ledger.seen(what, request.topic, each.kind, each.bytes, each.place));
        if (previous && *previous >= each.place) complain(" is not in order");
        previous = each.place;
        bytes += each.bytes.size();
    }
    const bool is_too_big = bytes > payload_bytes_max && page.messages.size() > 1;
    if (page.messages.size() > messages_max || is_too_big) complain(" is too large");

    const bool is_last = request.start.kind == Start::Kind::last;
    const bool can_be_evicted = ledger.surely_kept(topic) != UINT64_MAX;
    check_recovery(what, request.start, page.recovery, can_be_evicted, false);
    const bool is_exact = page.recovery && page.recovery->is_recovered;
    if (is_last && page.messages.size() > request.start.last) complain(" has more than was asked");
    if (page.cursor.cursor.offsets().size() > 1) complain(" has a cursor of many partitions");

    const std::optional<uint32_t> partition = ledger.partition_of(topic);
    if (!partition) return;  // nobody has seen a message of this topic yet
    const uint64_t upto = page.cursor.cursor.of(*partition);
    const uint64_t first = page.messages.empty() ? upto + 1 : page.messages.front().place.offset;
    const uint64_t after = is_exact ? request.start.after.cursor.of(*partition) : first - 1;
    if (previous && previous->offset > upto) complain(" has more than its cursor says");
    if (is_exact && !page.messages.empty() && first <= after) complain(" begins too early");
    if (page.has_more && upto <= after) complain(" does not come on");

    const auto& messages = ledger.partition(*partition);
    for (auto next = messages.upper_bound(after); next != messages.end() && next->first <= upto;
         ++next) {
        if (ledger.at(next->second).topic != topic || got.contains(next->second)) continue;
        complain(" has no " + ledger.describe(next->second));
    }
    const uint64_t newest = is_last ? request.start.last : UINT64_MAX;
    for (const MessageId message : ledger.surely_among_newest(topic, newest, request.sent_step)) {
        const uint64_t offset = ledger.at(message).place->offset;
        const bool is_later = page.has_more && offset > upto;
        const bool is_earlier = is_exact && offset <= after;
        if (is_later || is_earlier || got.contains(message)) continue;
        complain(" misses " + ledger.describe(message));
    }
    if (page.has_more) return;
    for (const MessageId message : ledger.messages_of(topic)) {
        const Ledger::Message& each = ledger.at(message);
        const bool is_known = each.place && each.acknowledged_step < request.sent_step;
        if (is_known && !each.is_repeat && each.place->offset > upto) {
            complain(" ends before " + ledger.describe(message));
        }
    }
}

}  // namespace sim
