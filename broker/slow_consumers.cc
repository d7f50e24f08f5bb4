#include "broker/slow_consumers.h"

#include <algorithm>
#include <iterator>
#include <optional>

#include "codec/reply.h"
#include "topics/name.h"

namespace broker {

using topics::OnSlow;

SlowConsumers::SlowConsumers(io::Reactor& reactor, base::Slab<Connection>& connections,
                             Outbox& outbox, const Subscriptions& subscriptions,
                             ShardMetrics& metrics, const Settings& settings)
    : reactor_(reactor),
      connections_(connections),
      outbox_(outbox),
      subscriptions_(subscriptions),
      metrics_(metrics),
      settings_(settings) {}

SlowConsumers::~SlowConsumers() {
    CHECK(held_bytes_ == 0);
}

Overflow& SlowConsumers::overflow_of(base::Slot slot, Connection& connection) {
    if (connection.overflow == nullptr) {
        connection.overflow = std::make_unique<Overflow>();
        slow_.push(slot);
        ++slow_count_;
        metrics_.add(Metric::slow_consumers_total);
    }
    return *connection.overflow;
}

void SlowConsumers::end_overflow(Connection& connection) {
    connection.overflow.reset();
    --slow_count_;
}

void SlowConsumers::deliver(base::Slot slot, std::string_view topic, OutboundMessage& message,
                            OnSlow policy) {
    Connection& connection = connections_.at(slot);
    if (connection.is_doomed) return;
    if (!has_waiting(connection)) {
        if (outbox_.has_room(connection, message)) {
            outbox_.push(slot, connection, message);
            return;
        }
        if (policy == OnSlow::disconnect) {
            Overflow& overflow = overflow_of(slot, connection);
            if (overflow.above_soft_since_ns == 0) {
                overflow.above_soft_since_ns = reactor_.now_ns();
            }
            outbox_.push_or_doom(slot, connection, message);
            return;
        }
    }
    overflow_of(slot, connection);
    hold(connection, topic, outbox_.frame_alone(connection, message), policy);
    if (!make_fit(connection)) outbox_.doom(slot, connection);
    connection.update_slow();
}

void SlowConsumers::hold(Connection& connection, std::string_view topic, const Range& frame,
                         OnSlow policy) {
    Overflow& overflow = *connection.overflow;
    const uint64_t number = overflow.first_number + overflow.held.size();
    Overflow::Message message{.topic = std::string(topic),
                              .frame = frame,
                              .since_ns = reactor_.now_ns(),
                              .policy = policy};
    if (policy == OnSlow::conflate) {
        const auto [place, is_new] = overflow.newest.try_emplace(message.topic, number);
        if (!is_new) {
            Overflow::Message& older = overflow.held[place->second - overflow.first_number];
            lose(overflow, older, codec::GapCode::conflated);
            metrics_.add(Metric::messages_conflated_total);
            place->second = number;
            take_out(connection, older);
        }
    }
    overflow.held_bytes += message.cost_bytes();
    held_bytes_ += message.cost_bytes();
    ++overflow.held_count;
    ChunkPool::retain(frame);
    overflow.held.push_back(std::move(message));
    compact(overflow);
}

// The message leaves its place without being queued; its topic's entry in `newest` is the caller's.
void SlowConsumers::take_out(Connection& connection, Overflow::Message& message) {
    Overflow& overflow = *connection.overflow;
    overflow.held_bytes -= message.cost_bytes();
    held_bytes_ -= message.cost_bytes();
    --overflow.held_count;
    outbox_.release(message.frame);
    message.frame = Range{};
    message.topic = std::string();
}

// Entries without a message must not pile up: at the front they go at once, and when half of all
// are such, all of them go.
void SlowConsumers::compact(Overflow& overflow) {
    while (!overflow.held.empty() && !overflow.held.front().is_there()) {
        overflow.held.pop_front();
        ++overflow.first_number;
    }
    if (overflow.held.size() <= 2 * size_t{overflow.held_count}) return;
    std::erase_if(overflow.held,
                  [](const Overflow::Message& message) { return !message.is_there(); });
    for (size_t place = 0; place < overflow.held.size(); ++place) {
        const Overflow::Message& message = overflow.held[place];
        if (message.policy != OnSlow::conflate) continue;
        overflow.newest[message.topic] = overflow.first_number + place;
    }
}

void SlowConsumers::lose(Overflow& overflow, const Overflow::Message& message,
                         codec::GapCode code) {
    if (overflow.losses_are_many) return;
    if (overflow.losses.size() == Overflow::losses_max &&
        !overflow.losses.contains(message.topic)) {
        overflow.losses.clear();
        overflow.losses_are_many = true;
        return;
    }
    ++overflow.losses[message.topic][static_cast<size_t>(code)];
}

bool SlowConsumers::make_fit(Connection& connection) {
    Overflow& overflow = *connection.overflow;
    const auto fits = [&] {
        return connection.queue.backlog_bytes() + overflow.held_bytes <=
               settings_.outbound_hard_bytes;
    };
    for (size_t place = 0; place < overflow.held.size() && !fits(); ++place) {
        Overflow::Message& message = overflow.held[place];
        if (message.is_there() && message.policy != OnSlow::disconnect) drop(connection, message);
    }
    compact(overflow);
    // One message is let through, however large: where nothing is held, it is what is queued.
    return overflow.held_count == 0 || fits();
}

void SlowConsumers::drop(Connection& connection, Overflow::Message& message) {
    Overflow& overflow = *connection.overflow;
    lose(overflow, message, codec::GapCode::slow_consumer);
    metrics_.add(Metric::messages_dropped_total);
    if (message.policy == OnSlow::conflate) overflow.newest.erase(message.topic);
    take_out(connection, message);
}

void SlowConsumers::drop_aged(Connection& connection, uint64_t now_ns) {
    Overflow& overflow = *connection.overflow;
    for (Overflow::Message& message : overflow.held) {
        if (message.since_ns + settings_.outbound_time_ns > now_ns) break;  // as all that follow
        if (message.is_there() && message.policy == OnSlow::drop_oldest) drop(connection, message);
    }
    compact(overflow);
}

void SlowConsumers::tell_losses(base::Slot slot, Connection& connection) {
    Overflow& overflow = *connection.overflow;
    if (!overflow.has_losses()) return;
    filters_.clear();
    subscriptions_.live().filters_of(slot.index, filters_);
    // A subscription that is catching up gets messages without positions as they come, and leaves
    // to a live filter of the connection what that one matches too.
    if (connection.catch_up != nullptr && connection.catch_up->is_told()) {
        for (const std::string& filter : connection.catch_up->request.filters) {
            if (!subscriptions_.live().is_subscribed(slot.index, filter))
                filters_.push_back(filter);
        }
    }
    // Each pair of a topic and a filter costs a comparison, all in this turn.
    if (filters_.size() * overflow.losses.size() > compared_per_telling_max) {
        overflow.losses.clear();
        overflow.losses_are_many = true;
    }
    for (const std::string_view filter : filters_) {
        for (uint8_t number = 0; number < static_cast<uint8_t>(codec::GapCode::count); ++number) {
            const codec::GapCode code{number};
            std::optional<uint64_t> missed;
            std::string_view topic;
            bool has_several = false;
            for (const auto& [lost_topic, counts] : overflow.losses) {
                if (counts[number] == 0 || !topics::matches(filter, lost_topic)) continue;
                has_several = missed.has_value();
                topic = lost_topic;
                missed = missed.value_or(0) + counts[number];
            }
            const bool is_unknown =
                overflow.losses_are_many && code == codec::GapCode::slow_consumer;
            if (!missed && !is_unknown) continue;
            json_.clear();
            codec::append_gap(json_, {}, filter, has_several ? std::string_view() : topic, missed,
                              code);
            outbox_.send_unlimited(slot, codec::Opcode::text, json_);
            metrics_.count_gap(code);
        }
    }
    overflow.losses.clear();
    overflow.losses_are_many = false;
}

void SlowConsumers::queue_first(base::Slot slot, Connection& connection) {
    Overflow& overflow = *connection.overflow;
    Overflow::Message& message = overflow.held.front();
    CHECK(message.is_there());
    if (message.policy == OnSlow::conflate) overflow.newest.erase(message.topic);
    outbox_.push_frame(slot, connection, message.frame);
    metrics_.add(Metric::deliveries_total);
    take_out(connection, message);
    compact(overflow);
}

void SlowConsumers::settle(base::Slot slot) {
    Connection& connection = connections_.at(slot);
    if (!has_waiting(connection) || connection.is_doomed) return;
    tell_losses(slot, connection);
    while (connection.overflow->held_count > 0) queue_first(slot, connection);
    connection.update_slow();
}

void SlowConsumers::on_sent(base::Slot slot, Connection& connection) {
    if (connection.overflow == nullptr) return;
    Overflow& overflow = *connection.overflow;
    const uint64_t soft_bytes = settings_.outbound_soft_bytes;
    if (connection.queue.backlog_bytes() <= soft_bytes) overflow.above_soft_since_ns = 0;
    if (overflow.is_idle() || connection.is_doomed) return;
    if (2 * connection.queue.backlog_bytes() > soft_bytes) return;
    tell_losses(slot, connection);
    while (overflow.held_count > 0) {
        const uint64_t backlog = connection.queue.backlog_bytes();
        if (backlog > 0 && backlog + overflow.held.front().frame.size() > soft_bytes) break;
        queue_first(slot, connection);
    }
    connection.update_slow();
}

void SlowConsumers::forget(Connection& connection) {
    if (connection.overflow == nullptr) return;
    for (Overflow::Message& message : connection.overflow->held) {
        if (message.is_there()) take_out(connection, message);
    }
    end_overflow(connection);
}

void SlowConsumers::tend() {
    metrics_.set(Metric::held_bytes, held_bytes_);
    metrics_.set(Metric::slow_consumers, slow_count_);
    const uint64_t now_ns = reactor_.now_ns();
    if (slow_.is_empty() || now_ns < tended_at_ns_ + tend_interval_ns) return;
    tended_at_ns_ = now_ns;
    for (size_t count = std::min<size_t>(slow_.count(), tended_per_turn_max); count > 0; --count) {
        const base::Slot slot = slow_.pop();
        Connection* connection = connections_.find(slot);
        if (connection == nullptr || connection->overflow == nullptr) continue;
        Overflow& overflow = *connection->overflow;
        drop_aged(*connection, now_ns);
        const auto oldest = std::find_if(
            overflow.held.begin(), overflow.held.end(), [](const Overflow::Message& message) {
                return message.is_there() && message.policy == OnSlow::disconnect;
            });
        const bool has_aged = oldest != overflow.held.end() &&
                              oldest->since_ns + settings_.outbound_time_ns <= now_ns;
        const bool is_long_above =
            overflow.above_soft_since_ns != 0 &&
            overflow.above_soft_since_ns + settings_.outbound_time_ns <= now_ns;
        if (has_aged || is_long_above) outbox_.doom(slot, *connection);
        if (overflow.is_idle() && overflow.above_soft_since_ns == 0) {
            end_overflow(*connection);
            continue;
        }
        slow_.push(slot);
    }
}

}  // namespace broker
