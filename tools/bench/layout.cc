#include "tools/bench/layout.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace bench {

// The publishers come first, then the subscribers; in `echo` each connection is both.
Layout::Layout(const Plan& plan) : plan_(plan), topics_count_(plan.topics) {
    switch (plan.scenario) {
        case Scenario::fanout:
        case Scenario::rooms:
        case Scenario::reconnect:
            publishers_count_ = plan.publishers;
            subscribers_count_ = plan.clients;
            break;
        case Scenario::wildcards:
            publishers_count_ = plan.publishers;
            subscribers_count_ = plan.clients;
            side_ = std::max(1U, static_cast<uint32_t>(std::sqrt(topics_count_)));
            topics_count_ = side_ * side_;
            break;
        case Scenario::fanin:
            publishers_count_ = plan.clients;
            subscribers_count_ = 1;
            break;
        case Scenario::echo:
            publishers_count_ = plan.clients;
            subscribers_count_ = plan.clients;
            break;
        case Scenario::churn:
        case Scenario::idle:
        case Scenario::listen: subscribers_count_ = plan.clients; break;
    }
    const bool is_both = plan.scenario == Scenario::echo;
    connections_count_ = is_both ? plan.clients : publishers_count_ + subscribers_count_;
    count_deliveries();
}

Role Layout::role_of(uint32_t connection) const {
    if (plan_.scenario == Scenario::echo) return {.publisher = connection, .subscribes = true};
    if (connection < publishers_count_) return {.publisher = connection};
    return {.subscribes = true, .is_cut = plan_.scenario == Scenario::reconnect};
}

Layout::Reach Layout::reach_of(uint32_t subscriber) const {
    if (plan_.scenario != Scenario::wildcards) return Reach::topic;
    switch (subscriber % 3) {
        case 0: return Reach::topic;
        case 1: return Reach::row;
        default: return Reach::column;
    }
}

std::string Layout::filter_of(uint32_t connection) const {
    const uint32_t subscriber =
        plan_.scenario == Scenario::echo ? connection : connection - publishers_count_;
    const uint32_t topic = subscriber % topics_count_;
    switch (reach_of(subscriber)) {
        case Reach::topic: break;
        case Reach::row: return plan_.topic_prefix + "/" + std::to_string(topic / side_) + "/+";
        case Reach::column: return plan_.topic_prefix + "/+/" + std::to_string(topic % side_);
    }
    return topic_name(topic);
}

std::string Layout::topic_name(uint32_t topic) const {
    if (plan_.scenario != Scenario::wildcards) {
        return plan_.topic_prefix + "/" + std::to_string(topic);
    }
    return plan_.topic_prefix + "/" + std::to_string(topic / side_) + "/" +
           std::to_string(topic % side_);
}

// Publisher p takes the topics p, p + P, p + 2 P … modulo the number of topics, which comes round
// after topics / gcd(topics, P) messages.
Turn Layout::turn_of(uint32_t publisher, uint64_t n) const {
    const bool is_own = plan_.scenario == Scenario::echo || plan_.dialect == DialectKind::nchan;
    if (is_own || topics_count_ == 1) return {publisher % topics_count_, n};
    // At least 1, which the analyser cannot know.
    const uint64_t round = std::max(1U, topics_count_ / std::gcd(topics_count_, publishers_count_));
    const uint64_t step = n % round;
    return {static_cast<uint32_t>((publisher + step * publishers_count_) % topics_count_),
            n / round};
}

uint32_t Layout::deliveries_of(uint32_t topic) const {
    return deliveries_[topic];
}

void Layout::count_deliveries() {
    deliveries_.assign(topics_count_, 0);
    std::vector<uint32_t> rows(side_, 0);
    std::vector<uint32_t> columns(side_, 0);
    for (uint32_t subscriber = 0; subscriber < subscribers_count_; ++subscriber) {
        const uint32_t topic = subscriber % topics_count_;
        switch (reach_of(subscriber)) {
            case Reach::topic: ++deliveries_[topic]; break;
            case Reach::row: ++rows[topic / side_]; break;
            case Reach::column: ++columns[topic % side_]; break;
        }
    }
    for (uint32_t topic = 0; topic < topics_count_; ++topic) {
        if (plan_.scenario == Scenario::wildcards) {
            deliveries_[topic] += rows[topic / side_] + columns[topic % side_];
        }
        deliveries_max_ = std::max(deliveries_max_, deliveries_[topic]);
    }
}

}  // namespace bench
