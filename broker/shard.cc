#include "broker/shard.h"

#include <algorithm>
#include <cerrno>

#include "broker/admission.h"
#include "broker/compression.h"
#include "broker/connection.h"
#include "broker/connections_query.h"
#include "broker/courier.h"
#include "broker/fanout.h"
#include "broker/heads.h"
#include "broker/heartbeat.h"
#include "broker/history_replies.h"
#include "broker/http_surface.h"
#include "broker/io_errors.h"
#include "broker/joins.h"
#include "broker/lifecycle.h"
#include "broker/memory_budget.h"
#include "broker/outbox.h"
#include "broker/overload.h"
#include "broker/pacing.h"
#include "broker/partitions.h"
#include "broker/replays.h"
#include "broker/session.h"
#include "broker/shedding.h"
#include "broker/shortages.h"
#include "broker/shutdown.h"
#include "broker/slow_consumers.h"
#include "broker/subscriptions.h"
#include "codec/command.h"
#include "codec/reply.h"
#include "io/base/prng.h"
#include "io/base/units.h"
#include "io/timer_wheel.h"
#include "topics/router.h"

namespace broker {

using State = ConnectionState;

namespace {

constexpr uint32_t accepts_per_listener_max = 16;
constexpr uint32_t records_per_lane_and_turn_max = 1'024;
constexpr uint32_t timers_per_turn_max = 256;
// How soon a full lane is looked at again: its consumer does not wake its producer.
constexpr uint64_t lane_retry_ns = base::ns_per_ms;
// Owners tell other shards how far their partitions have come at least this often.
constexpr uint64_t heads_interval_ns = base::ns_per_s;
// A page of history costs up to some 0.3 ms to find: a lane with many requests waits a turn.
constexpr uint32_t history_reads_per_turn_max = 16;
// Messages or topics that one read looks at.
constexpr uint32_t history_scan_steps_max = 16'384;
constexpr uint32_t expired_topics_per_turn_max = 256;
constexpr uint32_t shortened_messages_per_turn_max = 4'096;
// An idle shard still turns this often, so that /healthz can tell it from one that hangs.
constexpr uint64_t idle_turn_ns = base::ns_per_s;
// Messages outlive their time one by one: an idle shard lets so much of it come together.
constexpr uint64_t expiry_interval_ns = 64 * base::ns_per_ms;

}  // namespace

uint32_t sockets_per_shard(const Settings& settings) {
    return static_cast<uint32_t>(settings.connections_max) + refusal_slots_count;
}

uint32_t accepts_per_listener(size_t listeners_count) {
    return static_cast<uint32_t>(
        std::clamp<size_t>(refusal_slots_count / listeners_count, 1, accepts_per_listener_max));
}

struct Shard::Impl {
    explicit Impl(const ShardContext& shard_context);

    void turn();
    uint64_t wait_until_ns();
    uint64_t busy_until_ns(uint64_t deadline_ns);

    // Events of the reactor.
    void dispatch(const io::Event& event);
    void on_accept(const io::Event& event);
    void on_recv(const io::Event& event);
    void on_recv_bytes(base::Slot slot, Connection& connection, std::span<uint8_t> bytes);
    void on_recv_end(base::Slot slot, Connection& connection, int32_t result);
    void on_send(const io::Event& event);
    void on_send_failed(base::Slot slot, int32_t result);
    void starved_rearm();

    // Records of other shards.
    void deliver_drain();
    void forward_drain();
    void on_result(Record& record);
    void on_request(io::ShardId from, Record& record);
    void read_history(io::ShardId from, const Record& record);

    // What is done of itself.
    void replays_advance();
    void history_tend();
    void heads_tell(io::ShardId shard);
    void heads_offer();
    void timers_expire();
    void doomed_close();

    // Requests of main.
    void requests_take();
    void settings_take();
    void stop_begin();

    void log(LogLevel level, std::string_view message, std::initializer_list<LogField> fields = {});
    void gauges_update();

    // Constant after construction.
    const ShardContext context;
    Settings settings;  // changed by requests_take() only
    const Partitions partitions;
    ShardMetrics& metrics;
    const uint16_t listeners_count;

    // What the shard owns, in the order in which one needs the other.
    base::Prng prng;
    base::Slab<Connection> connections;
    io::TimerWheel timers;
    Subscriptions subscriptions;  // which connection wants what
    topics::Router interest;      // which other shard wants what of the partitions owned here
    topics::History history;      // of the partitions owned here
    topics::KeyWindow keys;       // the same
    codec::CommandParser parser;
    Courier courier;
    Heads heads;
    Compression compression;
    MemoryBudget memory;
    Overload overload;
    Outbox outbox;
    SlowConsumers slow_consumers;
    Joins joins;
    Replays replays;
    HistoryReplies history_replies;
    Lifecycle lifecycle;
    Admission admission;
    const Pacing pacing;
    Fanout fanout;
    Session session;
    ConnectionsQuery connections_query;
    HttpSurface http;
    Heartbeat heartbeat;
    Shortages shortages;
    Shedding shedding;
    Shutdown shutdown;

    // State of the loop.
    SlotFifo starved;                 // connections whose receive found no buffer
    uint32_t receives_count = 0;      // of this turn, which brought bytes
    uint32_t history_reads_left = 0;  // of this turn, for other shards
    uint64_t heads_offered_at_ns = 0;
    std::vector<Joined> joined;                 // scratch
    std::vector<codec::Position> heads_untold;  // scratch
    topics::History::Page page;                 // scratch
    uint64_t waited_until_ns = 0;
    bool forward_is_blocked = false;  // a request of another shard found no room for its results
    uint32_t forward_first = 0;       // of the other shards, whose requests are taken first
};

Shard::Impl::Impl(const ShardContext& shard_context)
    : context(shard_context),
      settings(context.settings),
      partitions(settings.partitions, context.mesh.shards_count(), context.hash_seed),
      metrics(context.metrics.shard(context.id)),
      listeners_count(static_cast<uint16_t>(context.listeners.size())),
      prng(context.random_seed),
      connections(2 * sockets_per_shard(settings)),
      timers(context.reactor.now_ns()),
      subscriptions(context.hash_seed),
      interest(context.hash_seed),
      history(context.rules, {.partitions_count = partitions.count(),
                              .hash_seed = context.hash_seed,
                              .scan_steps_max = history_scan_steps_max}),
      keys({.hash_seed = context.hash_seed,
            .window_ns = settings.idempotency_window_ns,
            .keys_max = settings.idempotency_keys_max}),
      parser(context.hash_seed),
      courier(context.id, context.mesh, context.reactor, settings.lane_bytes,
              partitions.owned_count_max()),
      heads(partitions, context.id),
      compression(settings, context.mesh.shards_count(), metrics),
      memory(context.metrics, settings.memory_bytes_max),
      overload(settings.overload_delay_ns),
      outbox(context.reactor, connections, compression, metrics, settings),
      slow_consumers(context.reactor, connections, outbox, subscriptions, metrics, settings),
      joins(courier, partitions, subscriptions),
      replays({context.reactor, connections, courier, partitions, heads, history, context.rules,
               subscriptions, outbox, slow_consumers, metrics, settings, context.epoch}),
      history_replies({connections, courier, partitions, heads, history, outbox, context.epoch}),
      lifecycle(context.reactor, connections, timers, outbox, subscriptions, replays,
                slow_consumers, joins, compression, prng, metrics, settings),
      admission(context.reactor, connections, context.gate, metrics, settings),
      pacing(settings, metrics),
      fanout({context.reactor, connections, courier, partitions, heads, history, keys,
              subscriptions, interest, replays, slow_consumers, outbox, context.rules, metrics}),
      session(
          {context.reactor, connections, outbox, lifecycle, fanout, joins, subscriptions, replays,
           slow_consumers, history_replies, parser, compression, pacing, memory, metrics, settings},
          context.id),
      connections_query(
          {context.reactor, connections, courier, lifecycle, subscriptions, admission}),
      http({context.reactor, connections, timers, outbox, lifecycle, fanout, admission, pacing,
            compression, session, parser, prng, context.metrics, memory, overload, settings,
            context.listeners, context.epoch, context.log},
           connections_query, context.id),
      heartbeat(context.reactor, connections, timers, outbox, lifecycle, replays, metrics,
                settings),
      shortages({context.reactor, connections, lifecycle, outbox, memory, metrics, context.log},
                context.id, listeners_count),
      shedding(context.reactor, connections, outbox, lifecycle, http, shortages, metrics),
      shutdown({context.reactor, connections, outbox, lifecycle, http, session, joins, replays,
                connections_query, courier, prng, settings},
               listeners_count) {
    for (uint16_t listener = 0; listener < listeners_count; ++listener) {
        context.reactor.accept_start(listener);
    }
    metrics.observe_turn(context.reactor.now_ns(), 0);
}

void Shard::Impl::turn() {
    const uint64_t deadline_ns = wait_until_ns();
    const bool may_wait = context.mesh.sleep_begin(context.id);
    waited_until_ns = may_wait ? deadline_ns : busy_until_ns(deadline_ns);
    const std::span<const io::Event> events = context.reactor.turn(waited_until_ns);
    context.mesh.sleep_end(context.id);

    receives_count = 0;
    memory.update();
    overload.turn_began(context.reactor.now_ns(), context.reactor.busy_ns());
    heartbeat.turn_begin(waited_until_ns);
    if (waited_until_ns != 0 && context.reactor.now_ns() >= waited_until_ns) {
        metrics.observe(Distribution::turn_delay_seconds,
                        context.reactor.now_ns() - waited_until_ns);
    }
    for (const io::Event& event : events) dispatch(event);
    requests_take();
    deliver_drain();
    forward_drain();
    timers_expire();
    session.resume_paused();
    http.resume_paused();
    connections_query.advance();
    for (const ConnectionsQuery::Answer& answer : connections_query.take_answers()) {
        http.answer(answer);
    }
    replays_advance();
    slow_consumers.tend();
    shedding.advance(memory.level());
    doomed_close();
    history_tend();
    heads_offer();
    starved_rearm();
    shortages.tend(shutdown.is_accepting());
    shutdown.advance();
    outbox.flush();
    courier.flush();
    metrics.add(Metric::events_total, events.size());
    gauges_update();
}

uint64_t Shard::Impl::wait_until_ns() {
    const uint64_t now_ns = context.reactor.now_ns();
    if (outbox.has_dirty() || !starved.is_empty()) return 0;
    if (replays.has_ready()) return 0;
    const uint64_t expiry_ns = history.next_expiry_ns();
    if (expiry_ns <= now_ns) return 0;  // more than one turn does
    uint64_t deadline_ns =
        std::min({timers.next_deadline_ns(), shortages.next_deadline_ns(), session.next_read_ns(),
                  shutdown.next_deadline_ns(), connections_query.next_ns(), now_ns + idle_turn_ns,
                  std::max(expiry_ns, now_ns + expiry_interval_ns)});
    if (session.has_paused() || http.has_paused() || replays.has_starved() || courier.owes()) {
        deadline_ns = std::min(deadline_ns, now_ns + lane_retry_ns);
    }
    if (memory.level() != MemoryBudget::Level::calm) {
        deadline_ns = std::min(deadline_ns, now_ns + Shedding::pause_ns);
    }
    return deadline_ns;
}

// Records wait, so there is work; but requests that lack room for their results are no reason to
// spin.
uint64_t Shard::Impl::busy_until_ns(uint64_t deadline_ns) {
    if (!forward_is_blocked) return 0;
    for (io::ShardId from = 0; from < context.mesh.shards_count(); ++from) {
        if (from != context.id && !context.mesh.deliver(from, context.id).is_empty()) return 0;
    }
    return std::min(deadline_ns, context.reactor.now_ns() + lane_retry_ns);
}

void Shard::Impl::dispatch(const io::Event& event) {
    switch (event.op) {
        case io::Op::accept: on_accept(event); return;
        case io::Op::recv: on_recv(event); return;
        case io::Op::send: on_send(event); return;
        case io::Op::close:
            admission.closed(event.slot);
            lifecycle.closed(event.slot);
            return;
    }
    UNREACHABLE();
}

void Shard::Impl::on_accept(const io::Event& event) {
    if (event.result == -ECANCELED) {
        shutdown.listener_closed();
        return;
    }
    if (event.result < 0) {
        shortages.accept_failed(event.listener, event.result);
        return;
    }
    // Those who are refused take no place from those who may come in, however long they stay.
    uint64_t admitted_count = 0;
    for (io::ShardId shard = 0; shard < context.mesh.shards_count(); ++shard) {
        const ShardMetrics& other = context.metrics.shard(shard);
        const uint64_t refused_count = other.get(Metric::connections_refused);
        const uint64_t all_count = other.get(Metric::connections);
        // The two cells of another shard are not read at one moment.
        if (all_count > refused_count) admitted_count += all_count - refused_count;
    }
    const base::Slot slot = lifecycle.accept(event.socket, event.listener);
    if (admitted_count >= settings.connections_max) {
        metrics.count_refusal(Refused::connections);
        connections.at(slot).is_over_limit = true;
        metrics.add(Metric::connections_refused);
    }
    if (!admission.accepted(slot, *event.peer)) {
        lifecycle.abort(slot);
        return;
    }
    http.accepted(slot);
    shutdown.accepted(slot);
}

void Shard::Impl::on_recv(const io::Event& event) {
    Connection& connection = connections.at(event.slot);
    connection.recv_armed = event.more;
    if (!event.more) connection.recv_stopping = false;
    if (event.result > 0) {
        ++receives_count;
        on_recv_bytes(event.slot, connection, event.bytes);
    } else {
        on_recv_end(event.slot, connection, event.result);
    }
    // The receive may have ended although more will follow, or have been stopped for a pause that
    // is over.
    if (Connection* still = connections.find(event.slot)) {
        if (still->state == State::joining) {
            lifecycle.advance(event.slot);
        } else {
            lifecycle.read_on(event.slot);
        }
    }
}

void Shard::Impl::on_recv_bytes(base::Slot slot, Connection& connection, std::span<uint8_t> bytes) {
    metrics.add(Metric::received_bytes_total, bytes.size());
    heartbeat.life(connection);
    switch (connection.state) {
        case State::http: http.receive(slot, bytes); return;
        case State::open: session.receive(slot, bytes); return;
        case State::closing:
        case State::lingering:
            lifecycle.discarded(slot, static_cast<uint32_t>(bytes.size()));
            return;
        case State::joining: return;
        case State::closed: break;
    }
    UNREACHABLE();
}

void Shard::Impl::on_recv_end(base::Slot slot, Connection& connection, int32_t result) {
    switch (receive_end_of(result)) {
        case ReceiveEnd::stream_end: lifecycle.peer_ended(slot); return;
        case ReceiveEnd::stopped: return;
        case ReceiveEnd::no_buffer:
            metrics.add(Metric::receives_starved_total);
            connection.recv_starved = true;
            starved.push(slot);
            return;
        case ReceiveEnd::no_memory: shortages.receive_failed(slot, connection, result); return;
        case ReceiveEnd::broken: lifecycle.abort(slot); return;
    }
    UNREACHABLE();
}

void Shard::Impl::on_send(const io::Event& event) {
    Connection& connection = connections.at(event.slot);
    outbox.sent(event.slot, connection, event.result);
    if (event.result < 0) {
        on_send_failed(event.slot, event.result);
        return;
    }
    heartbeat.sent(connection);
    switch (connection.state) {
        case State::http: http.sent(event.slot); return;
        case State::open: session.sent(event.slot, connection); return;
        case State::closing:
        case State::lingering:
        case State::joining: lifecycle.advance(event.slot); return;
        case State::closed: break;
    }
    UNREACHABLE();
}

void Shard::Impl::on_send_failed(base::Slot slot, int32_t result) {
    switch (send_failure_of(result)) {
        case SendFailure::no_memory: shortages.send_failed(slot, result); break;
        case SendFailure::broken: lifecycle.abort(slot); break;
    }
    lifecycle.advance(slot);
}

void Shard::Impl::starved_rearm() {
    // As many as buffers came home: what was lent in this turn returns when the next one begins. At
    // least one, since all are home when none was lent.
    uint32_t budget = std::max(receives_count, 1u);
    while (budget > 0 && !starved.is_empty()) {
        const base::Slot slot = starved.pop();
        Connection* connection = connections.find(slot);
        if (connection == nullptr || !connection->recv_starved) continue;
        connection->recv_starved = false;
        lifecycle.read_on(slot);
        --budget;
    }
}

void Shard::Impl::deliver_drain() {
    for (io::ShardId from = 0; from < context.mesh.shards_count(); ++from) {
        if (from == context.id) continue;
        io::Lane& lane = context.mesh.deliver(from, context.id);
        for (uint32_t count = 0; count < records_per_lane_and_turn_max; ++count) {
            const std::span<const uint8_t> bytes = lane.front();
            if (bytes.empty()) break;
            Record record = CrossCore::decode(bytes);
            on_result(record);
            lane.pop();
        }
    }
}

void Shard::Impl::on_result(Record& record) {
    switch (record.type) {
        case RecordType::message: fanout.deliver(record.publication); return;
        case RecordType::published: {
            const Origin& origin = record.publication.origin;
            const PublishResult result{record.publication.position, record.is_duplicate};
            // What was sequenced before it and matters here came before it in the lane.
            if (!result.position.is_none()) heads.advance(result.position);
            const Connection* connection = connections.find(origin.slot);
            if (connection == nullptr) return;
            if (connection->state == State::open) session.published(origin.slot, origin, result);
            if (connection->state == State::http) http.published(origin.slot, origin, result);
            return;
        }
        case RecordType::heads:
            for (const codec::Position& head : record.heads) heads.advance(head);
            return;
        case RecordType::history_message: {
            const uint32_t number = HistoryTokens::number_of(record.token);
            if (HistoryTokens::is_reply(record.token)) {
                history_replies.on_message(number, record.publication);
            } else {
                replays.on_page_message(number, record.publication);
            }
            return;
        }
        case RecordType::history_end: {
            const uint32_t number = HistoryTokens::number_of(record.token);
            if (HistoryTokens::is_reply(record.token)) {
                session.history_answered(history_replies.on_end(number, record.extent));
            } else {
                replays.on_page_end(number, std::move(record.extent));
            }
            return;
        }
        case RecordType::interest_ack:
            joined.clear();
            joins.acknowledged(record.token, joined);
            for (const Joined& one : joined) session.joined(one);
            return;
        case RecordType::connection_rows:
            connections_query.on_rows(record.token, record.rows);
            return;
        case RecordType::connections_end:
            connections_query.on_end(record.token, record.connections_count);
            return;
        case RecordType::connection_closed:
            connections_query.on_closed(record.publication.origin.slot, record.was_there);
            return;
        case RecordType::drained: shutdown.heard_drained(); return;
        case RecordType::caught_up: shutdown.heard_caught_up(); return;
        case RecordType::connections_read:
        case RecordType::connection_close:
        case RecordType::publish:
        case RecordType::interest_add:
        case RecordType::interest_remove:
        case RecordType::history_read:
        case RecordType::quiesced: break;
    }
    UNREACHABLE();
}

void Shard::Impl::forward_drain() {
    const uint32_t shards_count = context.mesh.shards_count();
    const uint32_t others_count = shards_count - 1;
    forward_is_blocked = false;
    history_reads_left = history_reads_per_turn_max;
    for (uint32_t step = 0; step < others_count; ++step) {
        // Each shard begins with its right-hand neighbour, so that no lane is always the last; but
        // after a lane with more to read than a turn does with the one behind it.
        const uint32_t place = (forward_first + step) % others_count;
        const io::ShardId from = (context.id + 1 + place) % shards_count;
        io::Lane& lane = context.mesh.forward(from, context.id);
        for (uint32_t count = 0; count < records_per_lane_and_turn_max; ++count) {
            const std::span<const uint8_t> bytes = lane.front();
            // A record is taken only when there is room for all that can follow from it.
            if (bytes.empty()) break;
            if (!courier.has_room_for_results(io::Lane::record_cost(bytes.size()))) {
                forward_is_blocked = true;
                break;
            }
            if (history_reads_left == 0) {
                forward_is_blocked = false;  // the next turn comes at once
                forward_first = (place + 1) % others_count;
                return;
            }
            Record record = CrossCore::decode(bytes);
            on_request(from, record);
            lane.pop();
        }
    }
}

void Shard::Impl::on_request(io::ShardId from, Record& record) {
    switch (record.type) {
        case RecordType::publish: {
            const PublishResult result = fanout.sequence(record.publication);
            const Origin& origin = record.publication.origin;
            if (origin.wants_answer) courier.write_published(origin, result);
            return;
        }
        case RecordType::interest_add:
            interest.subscribe(from, record.filter);
            heads_tell(from);
            courier.write_interest_ack(from, record.token);
            return;
        case RecordType::history_read: read_history(from, record); return;
        case RecordType::interest_remove: interest.unsubscribe(from, record.filter); return;
        case RecordType::connections_read:
            connections_query.on_read(from, record.token, record.question);
            return;
        case RecordType::connection_close:
            connections_query.on_close(from, record.publication.origin.slot, record.target);
            return;
        case RecordType::quiesced: shutdown.heard_quiesced(); return;
        case RecordType::connection_rows:
        case RecordType::connections_end:
        case RecordType::connection_closed:
        case RecordType::message:
        case RecordType::published:
        case RecordType::heads:
        case RecordType::interest_ack:
        case RecordType::history_message:
        case RecordType::history_end:
        case RecordType::drained:
        case RecordType::caught_up: break;
    }
    UNREACHABLE();
}

// As the owner: a page for another shard, as much of it as the lane has room for now.
void Shard::Impl::read_history(io::ShardId from, const Record& record) {
    --history_reads_left;
    const HistoryRequest& request = record.request;
    history.read({.partition = request.partition,
                  .after = request.after,
                  .until = request.until,
                  .last = request.last,
                  .lost_since = request.lost_since,
                  .filters = request.filters,
                  .payload_bytes_max = request.payload_bytes_max},
                 request.lost_above, page);
    HistoryExtent extent{.partition = request.partition,
                         .upto = page.upto,
                         .head = page.head,
                         .floor = page.floor,
                         .evictions = page.evictions,
                         .filters_lost = page.filters_lost};
    uint64_t reached = request.after;
    for (const topics::History::Message& message : page.messages) {
        const Publication publication{
            .origin = {},
            .topic = message.topic,
            .payload = {static_cast<codec::PayloadKind>(message.kind), message.payload},
            .position = {request.partition, message.offset}};
        const bool is_first = reached == request.after;
        if (!courier.write_history_message(from, record.token, publication, is_first)) {
            extent.upto = reached;
            break;
        }
        reached = message.offset;
    }
    heads.told(from, {request.partition, page.head});  // by the end of the page
    courier.write_history_end(from, record.token, extent);
}

void Shard::Impl::replays_advance() {
    if (shutdown.is_stopped()) return;
    replays.advance();
    for (const base::Slot slot : replays.take_changed()) session.replay_changed(slot);
}

void Shard::Impl::history_tend() {
    if (!context.rules.keep_anything()) return;
    const uint64_t now_ns = context.reactor.now_ns();
    if (now_ns >= history.next_expiry_ns()) history.expire(now_ns, expired_topics_per_turn_max);
    metrics.set(Metric::history_bytes, history.memory_bytes());
    metrics.set(Metric::history_messages, history.messages_count());
    // The budget is for all shards together; whoever keeps less than a fair share of it is not
    // shortened for the others.
    const uint64_t share = settings.history_memory_bytes / context.mesh.shards_count();
    if (history.memory_bytes() <= share) return;
    uint64_t all = 0;
    for (io::ShardId shard = 0; shard < context.mesh.shards_count(); ++shard) {
        all += context.metrics.shard(shard).get(Metric::history_bytes);
    }
    if (all <= settings.history_memory_bytes) return;
    const uint64_t excess = all - settings.history_memory_bytes;
    const uint64_t own = history.memory_bytes();
    history.shorten(std::max(share, own - std::min(own, excess)), shortened_messages_per_turn_max);
}

void Shard::Impl::heads_tell(io::ShardId shard) {
    heads_untold.clear();
    heads.take_untold(shard, heads_untold);
    if (!heads_untold.empty()) courier.write_heads(shard, heads_untold);
}

void Shard::Impl::heads_offer() {
    const uint64_t now_ns = context.reactor.now_ns();
    // A shard that has stopped takes no records any more.
    if (!shutdown.is_working() || !context.rules.keep_anything()) return;
    if (now_ns < heads_offered_at_ns + heads_interval_ns) return;
    heads_offered_at_ns = now_ns;
    for (io::ShardId shard = 0; shard < context.mesh.shards_count(); ++shard) {
        if (shard != context.id && courier.has_room_for_heads(shard)) heads_tell(shard);
    }
}

void Shard::Impl::timers_expire() {
    uint32_t expired[timers_per_turn_max];
    const uint32_t count = timers.expire(context.reactor.now_ns(), expired);
    for (uint32_t position = 0; position < count; ++position) {
        const base::Slot slot = connections.slot_of(expired[position]);
        switch (connections.at(slot).state) {
            case State::http: http.timed_out(slot); break;
            case State::open: heartbeat.timed_out(slot); break;
            case State::closing:
            case State::lingering: lifecycle.timed_out(slot); break;
            case State::joining:
            case State::closed: UNREACHABLE();
        }
    }
}

void Shard::Impl::doomed_close() {
    for (const base::Slot slot : outbox.take_doomed()) {
        const Connection* connection = connections.find(slot);
        if (connection == nullptr || connection->state != State::open) continue;
        lifecycle.close_websocket(slot, CloseCode::slow_consumer,
                                  row_of(CloseCode::slow_consumer).reason, Lifecycle::Queued::drop);
    }
}

void Shard::Impl::requests_take() {
    const uint32_t requests = context.mesh.requests_take(context.id);
    if ((requests & static_cast<uint32_t>(io::Request::stop)) != 0) stop_begin();
    if ((requests & static_cast<uint32_t>(io::Request::stop_now)) != 0) {
        stop_begin();
        shutdown.cut();
    }
    if ((requests & static_cast<uint32_t>(io::Request::reload)) != 0) settings_take();
}

void Shard::Impl::settings_take() {
    if (context.settings_exchange == nullptr) return;
    if (!context.settings_exchange->take(context.id, settings)) return;
    context.log.set_level(context.id, settings.log_level);
}

void Shard::Impl::stop_begin() {
    if (shutdown.has_begun()) return;
    log(LogLevel::info, "stopping", {{"connections", std::to_string(connections.size())}});
    shutdown.begin();
}

void Shard::Impl::log(LogLevel level, std::string_view message,
                      std::initializer_list<LogField> fields) {
    if (!context.log.write(context.id, level, context.reactor.now_ns(), message, fields)) {
        metrics.add(Metric::log_lines_dropped_total);
    }
}

void Shard::Impl::gauges_update() {
    metrics.set(Metric::subscriptions, subscriptions.live().subscriptions_count());
    metrics.set(Metric::filters, subscriptions.live().filters_count());
    metrics.set(Metric::subscriptions_catching_up,
                subscriptions.catching_up().subscriptions_count());
    metrics.set(Metric::is_overloaded, overload.is_overloaded() ? 1 : 0);
    metrics.add(Metric::turns_total);
    metrics.observe_turn(context.reactor.now_ns(), context.reactor.busy_ns());
}

Shard::Shard(const ShardContext& context) : impl_(std::make_unique<Impl>(context)) {}

Shard::~Shard() {
    // Records that arrived after the stop may carry gifts, which must not leak.
    for (io::ShardId from = 0; from < impl_->context.mesh.shards_count(); ++from) {
        if (from == impl_->context.id) continue;
        for (io::Lane* lane : {&impl_->context.mesh.deliver(from, impl_->context.id),
                               &impl_->context.mesh.forward(from, impl_->context.id)}) {
            while (!lane->front().empty()) {
                static_cast<void>(CrossCore::decode(lane->front()));
                lane->pop();
            }
        }
    }
}

void Shard::turn() {
    impl_->turn();
}

bool Shard::is_stopped() const {
    return impl_->shutdown.is_stopped();
}

const StopReport& Shard::stop_report() const {
    return impl_->shutdown.report();
}

uint32_t Shard::connections_count() const {
    return impl_->connections.size();
}

void Shard::history_restored() {
    for (uint32_t partition = 0; partition < impl_->partitions.count(); ++partition) {
        if (impl_->partitions.owner_of(partition) != impl_->context.id) continue;
        impl_->heads.advance({partition, impl_->history.head(partition)});
    }
}

topics::History& Shard::history() {
    return impl_->history;
}

topics::KeyWindow& Shard::keys() {
    return impl_->keys;
}

}  // namespace broker
