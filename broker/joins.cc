#include "broker/joins.h"

#include <algorithm>
#include <utility>

#include "topics/name.h"

namespace broker {

Joins::Joins(Courier& courier, const Partitions& partitions, const Subscriptions& subscriptions)
    : courier_(courier), partitions_(partitions), subscriptions_(subscriptions) {}

Joins::~Joins() {
    // A stop can come while joins wait for shards that have stopped already.
    joins_.for_each([this](base::Slot slot, Waiting&) { joins_.release(slot); });
}

template <class Visitor>
void Joins::for_each_owner(std::string_view filter, Visitor visit) const {
    if (!topics::has_wildcard(filter)) {
        const io::ShardId owner = partitions_.owner_of(filter);
        if (owner != courier_.self()) visit(owner);
        return;
    }
    for (io::ShardId owner = 0; owner < courier_.shards_count(); ++owner) {
        if (owner != courier_.self()) visit(owner);
    }
}

bool Joins::has_remote_owner(std::string_view filter) const {
    bool found = false;
    for_each_owner(filter, [&found](io::ShardId) { found = true; });
    return found;
}

bool Joins::is_established(const std::string& filter) const {
    if (!has_remote_owner(filter)) return true;
    const auto pending = pending_.find(filter);
    if (pending != pending_.end()) return pending->second.acks_left == 0;
    return subscriptions_.has_filter(filter);
}

Joins::Pending& Joins::pend(const std::string& filter) {
    const bool was_established = is_established(filter);
    const auto [found, is_new] = pending_.try_emplace(filter);
    Pending& pending = found->second;
    ++pending.joins_count;
    if (!is_new) return pending;
    pending.token = next_token_++;
    filter_of_token_.emplace(pending.token, filter);
    if (was_established) return pending;
    for_each_owner(filter, [&](io::ShardId owner) {
        ++pending.acks_left;
        courier_.tell_interest(owner, RecordType::interest_add, filter, pending.token);
    });
    return pending;
}

bool Joins::subscribe(base::Slot slot, const SubscribeRequest& request) {
    const bool is_complete =
        std::all_of(request.filters.begin(), request.filters.end(),
                    [this](const std::string& filter) { return is_established(filter); });
    if (is_complete) return true;
    const base::Slot join = joins_.take(Waiting{{slot, request}, 0});
    Waiting& waiting = joins_.at(join);
    for (const std::string& filter : waiting.joined.request.filters) {
        Pending& pending = pend(filter);
        if (pending.acks_left == 0) continue;
        ++waiting.filters_left;
        pending.joins.push_back(join);
    }
    return false;
}

void Joins::acknowledged(uint32_t token, std::vector<Joined>& completed) {
    const auto filter = filter_of_token_.find(token);
    if (filter == filter_of_token_.end()) return;  // of an earlier life (invariant 3)
    Pending& pending = pending_.find(filter->second)->second;
    CHECK(pending.acks_left > 0);
    if (--pending.acks_left > 0) return;
    for (const base::Slot join : std::exchange(pending.joins, {})) {
        Waiting& waiting = joins_.at(join);
        if (--waiting.filters_left > 0) continue;
        completed.push_back(std::move(waiting.joined));
        joins_.release(join);
    }
}

void Joins::finish(const Joined& joined) {
    for (const std::string& filter : joined.request.filters) {
        const auto found = pending_.find(filter);
        CHECK(found != pending_.end());
        if (--found->second.joins_count > 0) continue;
        filter_of_token_.erase(found->second.token);
        pending_.erase(found);
        if (!subscriptions_.has_filter(filter)) forget(filter);
    }
}

void Joins::filter_gone(std::string_view filter) {
    if (pending_.contains(std::string(filter))) return;
    forget(filter);
}

void Joins::forget(std::string_view filter) {
    if (is_stopping_) return;
    for_each_owner(filter, [&](io::ShardId owner) {
        courier_.tell_interest(owner, RecordType::interest_remove, filter, 0);
    });
}

}  // namespace broker
