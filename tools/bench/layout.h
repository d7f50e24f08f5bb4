// Layout: who subscribes to what, who publishes where, and how many deliveries follow: the
// scenarios as arithmetic. Pure; const once built, so any thread.
//
// Connections are numbered from 0, publishers from 0, topics from 0.
// Invariants:
//  1. What a publisher's n-th message is (its topic, its number in that topic) follows from n
//     alone, so a receiver knows what comes next.
//  2. deliveries_of(topic) counts the connections of which role_of and subscribes_to say so.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tools/bench/plan.h"

namespace bench {

inline constexpr uint32_t no_publisher = UINT32_MAX;

struct Role {
    uint32_t publisher = no_publisher;
    bool subscribes = false;
    bool is_cut = false;  // reconnect: one of those that are cut

    bool publishes() const { return publisher != no_publisher; }
};

// The publisher's n-th message.
struct Turn {
    uint32_t topic;
    uint64_t sequence;
};

class Layout {
  public:
    // `plan` is complete, and outlives this.
    explicit Layout(const Plan& plan);

    uint32_t connections_count() const { return connections_count_; }
    uint32_t subscribers_count() const { return subscribers_count_; }
    uint32_t publishers_count() const { return publishers_count_; }
    uint32_t topics_count() const { return topics_count_; }

    Role role_of(uint32_t connection) const;
    // What it subscribes to, with / between levels and MQTT's wildcards.
    std::string filter_of(uint32_t connection) const;
    std::string topic_name(uint32_t topic) const;
    Turn turn_of(uint32_t publisher, uint64_t n) const;

    // How many connections get what is published there.
    uint32_t deliveries_of(uint32_t topic) const;
    uint32_t deliveries_max() const { return deliveries_max_; }

  private:
    // wildcards: the topics are a square of side_ × side_, and of three clients one subscribes to a
    // topic, one to its row and one to its column.
    enum class Reach : uint8_t { topic, row, column };
    Reach reach_of(uint32_t subscriber) const;
    void count_deliveries();

    const Plan& plan_;
    uint32_t side_ = 1;
    uint32_t topics_count_;
    uint32_t publishers_count_ = 0;
    uint32_t subscribers_count_ = 0;
    uint32_t connections_count_ = 0;
    std::vector<uint32_t> deliveries_;  // by topic
    uint32_t deliveries_max_ = 0;
};

}  // namespace bench
