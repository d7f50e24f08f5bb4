#include "broker/session.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "broker/heartbeat.h"
#include "codec/reply.h"
#include "io/base/units.h"
#include "topics/name.h"

namespace broker {

using State = ConnectionState;
using codec::Decoded;

namespace {

// What `subscribed` takes in the queue, at most: of each partition "4095:18446744073709551615" with
// its comma, and all else.
constexpr uint64_t position_bytes_max = 28;
constexpr uint64_t subscribed_bytes_max = 512;

std::string_view text_of(std::span<const uint8_t> bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Rounded up: whoever comes back after so long is not early.
uint64_t milliseconds_of(uint64_t ns) {
    return (ns + base::ns_per_ms - 1) / base::ns_per_ms;
}

}  // namespace

Session::Session(const Parts& parts, io::ShardId shard)
    : parts_(parts), shard_(shard), keeps_history_(!parts.settings.topic_rules.empty()) {}

bool Session::is_backlogged(const Connection& connection) const {
    const OutboundQueue& queue = connection.queue;
    return std::max<uint64_t>(queue.backlog_bytes(), queue.list_bytes()) >
           parts_.settings.outbound_soft_bytes;
}

bool Session::awaits_enough(const Connection& connection) const {
    if (connection.joins_pending == 0) return false;
    const uint64_t answer_bytes =
        subscribed_bytes_max + parts_.settings.partitions * position_bytes_max;
    return connection.queue.backlog_bytes() + (connection.joins_pending + 1) * answer_bytes >
           parts_.settings.outbound_soft_bytes;
}

void Session::receive(base::Slot slot, std::span<uint8_t> bytes) {
    Connection& connection = parts_.connections.at(slot);
    if (!connection.is_echo) {
        parts_.pacing.received(connection.pace, bytes.size(), parts_.reactor.now_ns());
    }
    if (connection.pause != Pause::none) {
        if (is_draining_) return;        // nobody will come back to it
        stash_input(connection, bytes);  // arrived before the receive could be stopped
        parts_.lifecycle.account_reassembly(connection);
        return;
    }
    const std::span<uint8_t> rest = pump(slot, connection, bytes);
    const bool is_paused = connection.pause != Pause::none;
    if (is_paused) stash_input(connection, rest);
    parts_.lifecycle.account_reassembly(connection);
    if (!is_paused && connection.state == State::open) slow_down(slot, connection);
}

void Session::slow_down(base::Slot slot, Connection& connection) {
    const uint64_t now_ns = parts_.reactor.now_ns();
    const uint64_t unread_ns = parts_.pacing.unread_ns(connection.pace, now_ns);
    if (unread_ns == 0) return;
    parts_.metrics.count_refusal(Refused::inbound_rate);
    unread_.push(now_ns + unread_ns, slot);
    pause(slot, connection, Pause::rate);
}

std::span<uint8_t> Session::pump(base::Slot slot, Connection& connection,
                                 std::span<uint8_t> bytes) {
    const codec::FrameLimits limits{
        .message_bytes_max = connection.is_echo ? parts_.settings.echo_message_bytes_max
                                                : parts_.settings.message_bytes_max,
        .fragments_max =
            static_cast<uint16_t>(connection.is_echo ? 0 : parts_.settings.fragments_max),
        .allows_compression = connection.deflate_window_bits != 0};
    // What a doomed one says would be done, but could not be answered any more.
    while (connection.state == State::open && !connection.is_doomed) {
        if (is_backlogged(connection)) {
            pause(slot, connection, Pause::backlog);
            return bytes;
        }
        const Decoded decoded = connection.decoder.next(bytes, limits);
        switch (decoded.kind) {
            case Decoded::Kind::need_more: return {};
            case Decoded::Kind::text:
            case Decoded::Kind::binary: {
                if (is_draining_) break;
                const Pause reason =
                    on_message(slot, connection, decoded, limits.message_bytes_max);
                if (reason == Pause::none) break;
                return bytes;
            }
            case Decoded::Kind::ping:
                // RFC 6455 §5.5.3 lets a server leave pings unanswered that are followed by others.
                if (!may_do(slot, connection, {.is_answered = false})) break;
                count_done(connection, Pacing::Kind::command);
                parts_.outbox.send_control(slot, codec::Opcode::pong, text_of(decoded.payload));
                break;
            case Decoded::Kind::pong:  // a sign of life, as any byte is
                // The answer to our own ping is free, others are not.
                if (Heartbeat::on_pong(connection, decoded.payload, parts_.reactor.now_ns(),
                                       parts_.metrics)) {
                    break;
                }
                if (!may_do(slot, connection, {.is_answered = false})) break;
                count_done(connection, Pacing::Kind::command);
                break;
            case Decoded::Kind::close:
                parts_.lifecycle.close_answered(slot, decoded.close_code);
                break;
            case Decoded::Kind::violation: violated(slot, decoded.violation); break;
        }
    }
    return {};
}

void Session::violated(base::Slot slot, codec::Violation violation) {
    if (violation == codec::Violation::message_too_big) {
        parts_.metrics.count_refusal(Refused::message);
    } else if (violation == codec::Violation::fragments_too_many) {
        parts_.metrics.count_refusal(Refused::fragments);
    }
    parts_.lifecycle.close_websocket(slot, static_cast<CloseCode>(codec::close_code_of(violation)),
                                     codec::describe(violation), Lifecycle::Queued::flush);
}

Pause Session::on_message(base::Slot slot, Connection& connection, const Decoded& decoded,
                          uint64_t message_bytes_max) {
    const bool is_text = decoded.kind == Decoded::Kind::text;
    if (!is_text && !connection.is_echo) {
        parts_.lifecycle.close_websocket(slot, CloseCode::unsupported_data,
                                         row_of(CloseCode::unsupported_data).reason,
                                         Lifecycle::Queued::flush);
        return Pause::none;
    }
    std::string_view message = text_of(decoded.payload);
    if (decoded.is_compressed) {
        const codec::Inflated inflated = parts_.compression.inflate(
            connection.deflate.get(), decoded.payload,
            {.message_bytes_max = message_bytes_max, .is_text = is_text});
        if (inflated.violation != codec::Violation::none) {
            violated(slot, inflated.violation);
            return Pause::none;
        }
        message = text_of(inflated.plain);
    }
    if (connection.is_echo) {
        parts_.outbox.send_echo(slot, is_text ? codec::Opcode::text : codec::Opcode::binary,
                                message);
        return Pause::none;
    }
    uint32_t next_command = 0;
    const Pause reason = execute_frame(slot, connection, message, next_command);
    if (reason == Pause::none) return reason;
    pause(slot, connection, reason);
    stash_frame(connection, message, next_command);
    return reason;
}

Pause Session::execute_frame(base::Slot slot, Connection& connection, std::string_view frame,
                             uint32_t& first) {
    const codec::CommandParser::Result result = parts_.parser.parse(frame);
    if (result.error != codec::ErrorCode::none) {
        if (!may_do(slot, connection, {})) return Pause::none;
        count_done(connection, Pacing::Kind::command);
        reply_error(slot, {}, result.error, result.reason);
        return Pause::none;
    }
    for (; first < result.commands_count; ++first) {
        if (connection.state != State::open || connection.is_doomed) return Pause::none;
        if (first > 0 && is_backlogged(connection)) return Pause::backlog;
        const codec::Command& command = parts_.parser.command(first);
        const Pacing::Kind kind =
            command.op == codec::CommandOp::publish ? Pacing::Kind::publish : Pacing::Kind::command;
        if (may_do(slot, connection, {kind, command.series, command.id})) {
            const Outcome outcome = execute(slot, connection, command);
            if (outcome == Outcome::pause_lanes) return Pause::lanes;
            if (outcome == Outcome::pause_join) return Pause::join;
            count_done(connection, kind);
        }
        parts_.metrics.add(Metric::commands_total);
    }
    return Pause::none;
}

bool Session::may_do(base::Slot slot, Connection& connection, const Ask& ask) {
    if (connection.is_echo) return true;
    const uint64_t now_ns = parts_.reactor.now_ns();
    const uint64_t wait_ns = parts_.pacing.wait_ns(connection.pace, ask.kind, ask.series, now_ns);
    if (wait_ns == 0) return true;
    if (ask.is_answered) {
        parts_.metrics.add(Metric::errors_total);
        json_.clear();
        codec::append_rate_limited(json_, ask.id, "this connection asks faster than it may",
                                   milliseconds_of(wait_ns));
        parts_.outbox.send_control(slot, codec::Opcode::text, json_);
    }
    if (!parts_.pacing.refused(connection.pace, ask.kind, ask.series, now_ns)) return false;
    const CloseCodeRow& row = row_of(CloseCode::rate_limited);
    json_.clear();
    codec::append_goodbye(json_, row.name, row.reason, milliseconds_of(parts_.pacing.return_ns()));
    parts_.outbox.send_control(slot, codec::Opcode::text, json_);
    parts_.lifecycle.close_websocket(slot, CloseCode::rate_limited, row.reason,
                                     Lifecycle::Queued::flush);
    return false;
}

void Session::count_done(Connection& connection, Pacing::Kind kind) {
    if (!connection.is_echo) {
        parts_.pacing.done(connection.pace, kind, parts_.reactor.now_ns());
    }
}

Session::Outcome Session::execute(base::Slot slot, Connection& connection,
                                  const codec::Command& command) {
    if (command.error != codec::ErrorCode::none) {
        reply_error(slot, command.id, command.error, command.reason);
        return Outcome::done;
    }
    switch (command.op) {
        case codec::CommandOp::subscribe: return subscribe(slot, connection, command);
        case codec::CommandOp::unsubscribe: return unsubscribe(slot, connection, command);
        case codec::CommandOp::publish: return publish(slot, connection, command);
        case codec::CommandOp::history: return history(slot, connection, command);
        case codec::CommandOp::ping:
            json_.clear();
            codec::append_pong(json_, command.id);
            parts_.outbox.send_control(slot, codec::Opcode::text, json_);
            return Outcome::done;
        case codec::CommandOp::auth:
        case codec::CommandOp::none:
            reply_error(slot, command.id, codec::ErrorCode::not_supported,
                        "this broker does not have that op yet");
            return Outcome::done;
    }
    UNREACHABLE();
}

Session::Outcome Session::subscribe(base::Slot slot, Connection& connection,
                                    const codec::Command& command) {
    for (const std::string_view filter : command.filters) {
        const topics::NameError error = topics::check_filter(filter);
        if (error == topics::NameError::none) continue;
        reply_error(slot, command.id, codec::ErrorCode::invalid_filter, topics::describe(error));
        return Outcome::done;
    }
    const uint64_t wanted = parts_.subscriptions.count(slot.index) + connection.joining_filters +
                            command.filters.size();
    if (wanted > parts_.settings.subscriptions_max) {
        // What is subscribed already costs nothing; look closer before refusing.
        uint64_t known = 0;
        for (const std::string_view filter : command.filters) {
            if (parts_.subscriptions.is_subscribed(slot.index, filter)) ++known;
        }
        if (wanted - known > parts_.settings.subscriptions_max) {
            parts_.metrics.count_refusal(Refused::subscriptions);
            reply_error(slot, command.id, codec::ErrorCode::too_many_subscriptions,
                        "the connection would have more subscriptions than max_subscriptions");
            return Outcome::done;
        }
    }
    const SubscribeRequest request(command);
    // While there is a replay no other subscription goes live, and a replay does not begin while
    // others are about to: what a live filter delivers and what a replay does would not be clear.
    if (connection.catch_up != nullptr || (!request.starts_now() && connection.joins_pending > 0)) {
        if (connection.catch_up != nullptr &&
            connection.catch_up->waiting.size() >= CatchUp::waiting_max) {
            return Outcome::pause_join;
        }
        if (connection.catch_up == nullptr) connection.catch_up = std::make_unique<CatchUp>();
        connection.catch_up->waiting.push_back(request);
        connection.joining_filters += static_cast<uint32_t>(request.filters.size());
        return Outcome::done;
    }
    // With the answer to any of these it is tried again.
    if (awaits_enough(connection)) return Outcome::pause_join;
    begin_subscribe(slot, connection, request);
    return Outcome::done;
}

void Session::begin_subscribe(base::Slot slot, Connection& connection,
                              const SubscribeRequest& request) {
    if (!request.starts_now()) {
        if (connection.catch_up == nullptr) connection.catch_up = std::make_unique<CatchUp>();
        connection.catch_up->state = CatchUp::State::joining;
    }
    if (parts_.joins.subscribe(slot, request)) {
        parts_.replays.begin(slot, request);
        return;
    }
    ++connection.joins_pending;
    connection.joining_filters += static_cast<uint32_t>(request.filters.size());
}

void Session::begin_waiting(base::Slot slot, Connection& connection) {
    while (connection.catch_up != nullptr && connection.catch_up->state == CatchUp::State::idle) {
        std::deque<SubscribeRequest>& waiting = connection.catch_up->waiting;
        if (waiting.empty()) {
            connection.catch_up.reset();
            return;
        }
        if (!waiting.front().starts_now() && connection.joins_pending > 0) return;
        const SubscribeRequest request = std::move(waiting.front());
        waiting.pop_front();
        connection.joining_filters -= static_cast<uint32_t>(request.filters.size());
        begin_subscribe(slot, connection, request);
    }
}

void Session::joined(const Joined& joined) {
    Connection* connection = parts_.connections.find(joined.slot);
    if (connection != nullptr && connection->state == State::open) {
        --connection->joins_pending;
        connection->joining_filters -= static_cast<uint32_t>(joined.request.filters.size());
        parts_.replays.begin(joined.slot, joined.request);
    }
    parts_.joins.finish(joined);
    if (connection != nullptr && connection->state == State::open) replay_changed(joined.slot);
}

void Session::history_answered(base::Slot slot) {
    Connection* connection = parts_.connections.find(slot);
    if (connection == nullptr || connection->state != State::open) return;
    connection->history_pending = false;
    if (connection->pause == Pause::join) resume(slot);
}

void Session::replay_changed(base::Slot slot) {
    Connection* connection = parts_.connections.find(slot);
    if (connection == nullptr || connection->state != State::open || is_draining_) return;
    begin_waiting(slot, *connection);
    if (connection->pause == Pause::join) resume(slot);
}

bool Session::is_unsettled(const Connection& connection,
                           std::span<const std::string_view> filters) {
    if (connection.joins_pending > 0) return true;
    if (connection.catch_up == nullptr) return false;
    const CatchUp& catch_up = *connection.catch_up;
    if (catch_up.state == CatchUp::State::joining || catch_up.state == CatchUp::State::proving ||
        catch_up.left.size() >= CatchUp::left_max) {
        return true;
    }
    return std::any_of(
        catch_up.waiting.begin(), catch_up.waiting.end(), [&](const SubscribeRequest& request) {
            return std::find_first_of(request.filters.begin(), request.filters.end(),
                                      filters.begin(), filters.end()) != request.filters.end();
        });
}

Session::Outcome Session::unsubscribe(base::Slot slot, Connection& connection,
                                      const codec::Command& command) {
    if (is_unsettled(connection, command.filters)) return Outcome::pause_join;
    for (const std::string_view filter : command.filters) {
        if (topics::check_filter(filter) == topics::NameError::none &&
            parts_.subscriptions.is_subscribed(slot.index, filter)) {
            continue;
        }
        reply_error(
            slot, command.id, codec::ErrorCode::not_subscribed,
            "this connection is not subscribed to (one of) the filters; nothing was changed");
        return Outcome::done;
    }
    parts_.slow_consumers.settle(slot);
    parts_.replays.on_unsubscribe(slot, connection, command.filters);
    for (const std::string_view filter : command.filters) {
        if (parts_.subscriptions.unsubscribe(slot.index, filter)) parts_.joins.filter_gone(filter);
    }
    parts_.replays.live_filters_changed(slot, connection);
    json_.clear();
    codec::append_unsubscribed(json_, command.id);
    parts_.outbox.send_ordered(slot, json_);
    return Outcome::done;
}

Session::Outcome Session::publish(base::Slot slot, Connection& connection,
                                  const codec::Command& command) {
    const topics::NameError error = topics::check_publishable(command.topic);
    if (error != topics::NameError::none) {
        const bool is_reserved = error == topics::NameError::reserved;
        reply_error(slot, command.id,
                    is_reserved ? codec::ErrorCode::forbidden : codec::ErrorCode::invalid_topic,
                    topics::describe(error));
        return Outcome::done;
    }
    if (parts_.memory.is_full()) {
        parts_.metrics.add(Metric::publishes_refused_total);
        parts_.metrics.count_refusal(Refused::memory);
        reply_error(slot, command.id, codec::ErrorCode::overloaded,
                    codec::meaning_of(codec::ErrorCode::overloaded));
        return Outcome::done;
    }
    // Commands are executed in order: who subscribes and then publishes gets the message, also
    // where another shard must know of the filter first.
    if (connection.joins_pending > 0) return Outcome::pause_join;
    if (!command.echo && Replays::is_silent_full(connection)) return Outcome::pause_join;
    const Publication publication{
        .origin = {.shard = shard_,
                   .slot = slot,
                   .echo = command.echo,
                   // A replay must know what it has to leave out.
                   .wants_answer = !command.id.empty() || (!command.echo && keeps_history_),
                   .id = command.id},
        .topic = command.topic,
        .payload = command.payload,
        .key = command.key,
    };
    PublishResult result;
    switch (parts_.fanout.publish(publication, result)) {
        case Fanout::Published::sequenced:
            if (!command.echo) parts_.replays.on_silent_publish(connection, result);
            reply_published(slot, command.id, result);
            return Outcome::done;
        case Fanout::Published::forwarded: return Outcome::done;
        case Fanout::Published::blocked: return Outcome::pause_lanes;
    }
    UNREACHABLE();
}

Session::Outcome Session::history(base::Slot slot, Connection& connection,
                                  const codec::Command& command) {
    const topics::NameError error = topics::check_topic(command.topic);
    if (error != topics::NameError::none) {
        reply_error(slot, command.id, codec::ErrorCode::invalid_topic, topics::describe(error));
        return Outcome::done;
    }
    // One at a time: the answers of other shards do not count as backlog before they are here.
    if (connection.history_pending) return Outcome::pause_join;
    switch (parts_.history_replies.ask(slot, command)) {
        case HistoryReplies::Asked::taken: return Outcome::done;
        case HistoryReplies::Asked::no_room: return Outcome::pause_lanes;
        case HistoryReplies::Asked::no_history:
            reply_error(slot, command.id, codec::ErrorCode::no_history,
                        "the rules keep no history for this topic");
            return Outcome::done;
    }
    UNREACHABLE();
}

void Session::published(base::Slot slot, const Origin& origin, const PublishResult& result) {
    if (!origin.echo) {
        parts_.replays.on_silent_publish(parts_.connections.at(slot), result);
    }
    reply_published(slot, origin.id, result);
}

// Not within the hard limit: the answers to all that was forwarded while nothing waited for the
// client may come at once, and it is not slow for that.
void Session::reply_published(base::Slot slot, std::string_view id, const PublishResult& result) {
    if (id.empty()) return;
    json_.clear();
    codec::append_published(json_, id, result.position, result.is_duplicate);
    parts_.outbox.send_control_unlimited(slot, json_);
}

void Session::reply_error(base::Slot slot, std::string_view id, codec::ErrorCode code,
                          std::string_view reason) {
    parts_.metrics.add(Metric::errors_total);
    json_.clear();
    codec::append_error(json_, id, code, reason);
    parts_.outbox.send_control(slot, codec::Opcode::text, json_);
}

void Session::pause(base::Slot slot, Connection& connection, Pause reason) {
    connection.pause = reason;
    if (reason == Pause::lanes) paused_.push(slot);
    parts_.metrics.add(Metric::pauses_total);
    if (connection.stash == nullptr) connection.stash = std::make_unique<Stash>();
    if (connection.recv_armed && !connection.recv_stopping) {
        connection.recv_stopping = true;
        parts_.reactor.recv_stop(connection.socket, slot);
    }
}

void Session::stash_frame(Connection& connection, std::string_view frame, uint32_t next_command) {
    Stash& stash = *connection.stash;
    stash.frame.resize(frame.size() + base::readable_padding_bytes);
    std::memcpy(stash.frame.data(), frame.data(), frame.size());
    stash.frame_bytes = frame.size();
    stash.next_command = next_command;
}

void Session::stash_input(Connection& connection, std::span<const uint8_t> rest) {
    if (rest.empty()) return;
    Stash& stash = *connection.stash;
    stash.input.resize(stash.input_end + rest.size() + base::readable_padding_bytes);
    std::memcpy(stash.input.data() + stash.input_end, rest.data(), rest.size());
    stash.input_end += rest.size();
}

void Session::resume(base::Slot slot) {
    if (is_draining_) return;
    Connection* connection = parts_.connections.find(slot);
    if (connection == nullptr || connection->state != State::open ||
        connection->pause == Pause::none) {
        return;
    }
    connection->pause = Pause::none;
    Stash& stash = *connection->stash;
    if (stash.frame_bytes > 0) {
        const std::string_view frame{reinterpret_cast<const char*>(stash.frame.data()),
                                     stash.frame_bytes};
        // A copy: with the last of too many refusals the connection closes, and the stash is gone.
        uint32_t next_command = stash.next_command;
        const Pause reason = execute_frame(slot, *connection, frame, next_command);
        if (connection->state != State::open) return;
        stash.next_command = next_command;
        if (reason != Pause::none) {
            pause(slot, *connection, reason);
            return;
        }
        stash.frame_bytes = 0;
    }
    const std::span<uint8_t> input{stash.input.data() + stash.input_begin,
                                   stash.input_end - stash.input_begin};
    const std::span<uint8_t> rest = pump(slot, *connection, input);
    if (connection->state != State::open) return;
    const bool is_paused = connection->pause != Pause::none;
    if (is_paused) {
        stash.input_begin = stash.input_end - rest.size();
    } else {
        connection->stash.reset();
    }
    parts_.lifecycle.account_reassembly(*connection);
    if (is_paused) return;
    if (connection->peer_ended) {
        parts_.lifecycle.abort(slot);  // which waited for what the peer had said before
        return;
    }
    slow_down(slot, *connection);
    parts_.lifecycle.read_on(slot);
}

void Session::resume_paused() {
    // Each is tried at most once a turn; one that stays blocked goes to the end.
    size_t count = paused_.count();
    if (count > resumes_per_turn_max) count = resumes_per_turn_max;
    for (; count > 0; --count) {
        const base::Slot slot = paused_.pop();
        const Connection* connection = parts_.connections.find(slot);
        if (connection != nullptr && connection->pause == Pause::lanes) resume(slot);
    }
    const uint64_t now_ns = parts_.reactor.now_ns();
    for (count = resumes_per_turn_max; count > 0 && unread_.next_ns() <= now_ns; --count) {
        const base::Slot slot = unread_.pop();
        const Connection* connection = parts_.connections.find(slot);
        if (connection == nullptr || connection->pause != Pause::rate) continue;
        // What arrived before the receive could be stopped was stashed, and has its time too.
        const uint64_t unread_ns = parts_.pacing.unread_ns(connection->pace, now_ns);
        if (unread_ns > 0) {
            unread_.push(now_ns + unread_ns, slot);
        } else {
            resume(slot);
        }
    }
}

void Session::sent(base::Slot slot, Connection& connection) {
    parts_.slow_consumers.on_sent(slot, connection);
    parts_.replays.on_sent(slot, connection);
    if (connection.pause == Pause::backlog && !is_backlogged(connection)) resume(slot);
}

}  // namespace broker
