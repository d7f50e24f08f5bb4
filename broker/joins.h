// Joins: subscriptions on their way into the router, by the join rule.
//
// A filter that can match topics of other shards must be known to their owners before it may count
// as subscribed: interest is told to every owner that can match, each acknowledges (and says how
// far its partitions have come), and with the last acknowledgement all filters of the command enter
// the local subscriptions, in the same turn. From then on whatever an owner sequences reaches them.
//
// Owner: a shard. Thread: its shard's.
// Invariants:
//  1. The owners know a filter (or are about to: lanes keep order) exactly while a local
//     subscription has it or a join waits with it.
//  2. A join ends in one completion, whether its connection still lives or not.
//  3. An acknowledgement of an earlier life of a filter is recognised by its token and ignored.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "broker/courier.h"
#include "broker/partitions.h"
#include "broker/subscribe_request.h"
#include "broker/subscriptions.h"
#include "io/base/slab.h"

namespace broker {

// A subscribe command whose filters have all been joined.
struct Joined {
    base::Slot slot;
    SubscribeRequest request;
};

class Joins {
  public:
    Joins(Courier& courier, const Partitions& partitions, const Subscriptions& subscriptions);
    ~Joins();

    // Starts a join. True: there is nothing to wait for, the caller subscribes at once.
    [[nodiscard]] bool subscribe(base::Slot slot, const SubscribeRequest& request);
    // An owner's acknowledgement. Appends the joins that became complete by it to `completed`; the
    // caller subscribes those whose connection lives and then calls finish() for each.
    void acknowledged(uint32_t token, std::vector<Joined>& completed);
    void finish(const Joined& joined);

    // After the last local subscription of a filter has gone.
    void filter_gone(std::string_view filter);
    // The broker stops: nobody is told any more.
    void stop() { is_stopping_ = true; }

    uint32_t waiting_count() const { return joins_.size(); }

  private:
    struct Waiting {
        Joined joined;
        uint32_t filters_left;  // not yet acknowledged by all their owners
    };
    // A filter that at least one join waits with.
    struct Pending {
        uint32_t token;
        uint32_t acks_left;
        uint32_t joins_count;
        std::vector<base::Slot> joins;  // those that wait for acks_left to become 0
    };

    // The shards that own topics which the filter can match, this one left out.
    template <class Visitor>
    void for_each_owner(std::string_view filter, Visitor visit) const;
    bool has_remote_owner(std::string_view filter) const;
    bool is_established(const std::string& filter) const;
    Pending& pend(const std::string& filter);
    void forget(std::string_view filter);

    Courier& courier_;
    const Partitions& partitions_;
    const Subscriptions& subscriptions_;
    base::Slab<Waiting> joins_{UINT32_MAX - 1};
    // Never iterated: the order of a hash table must not show in what the broker does.
    std::unordered_map<std::string, Pending> pending_;
    std::unordered_map<uint32_t, std::string> filter_of_token_;
    uint32_t next_token_ = 1;
    bool is_stopping_ = false;
};

}  // namespace broker
