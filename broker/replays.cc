#include "broker/replays.h"

#include <algorithm>
#include <utility>

#include "codec/deflater.h"
#include "topics/filter_relation.h"
#include "topics/name.h"

namespace broker {

using State = CatchUp::State;

namespace {

// What an announcement takes in the queue, at most: the object, an id, a number, a header.
constexpr uint64_t announcement_bytes_max = 160;

// What lies above the place of the live stream is not left to it any more, but for what is not to
// come at all. The replay has not gone on since the stream fell behind, so it has queued nothing
// above that either.
void fall_to(CatchUp& replay, const CatchUp& lag, const CatchUp::Part& stream) {
    for (const codec::Position& silent : lag.silent) {
        const bool is_known =
            std::find(replay.silent.begin(), replay.silent.end(), silent) != replay.silent.end();
        if (silent.partition == stream.partition && !is_known) replay.silent.push_back(silent);
    }
    for (CatchUp::Part& part : replay.lagging) {
        if (part.partition != stream.partition) continue;
        part.position = std::min(part.position, stream.position);
        part.joined_at = std::min(part.joined_at, stream.position);
        return;
    }
    replay.lagging.push_back({.partition = stream.partition,
                              .is_proven = true,
                              .position = stream.position,
                              .joined_at = stream.position});
}

}  // namespace

Replays::Replays(const Parts& parts)
    : parts_(parts),
      pages_(parts.courier, parts.partitions, parts.heads, parts.history, lists_, parts.outbox,
             parts.metrics,
             parts.rules.messages_surely_kept(parts.settings.message_bytes_max,
                                              Pages::loss_age_ns_max)) {}

// --- beginning

void Replays::begin(base::Slot slot, const SubscribeRequest& request) {
    Connection& connection = parts_.connections.at(slot);
    if (request.starts_now()) {
        // What was lost before is not this subscription's loss.
        parts_.slow_consumers.settle(slot);
        for (const std::string& filter : request.filters) {
            parts_.subscriptions.go_live(slot.index, filter);
        }
        tell_subscribed(slot, request, stream_of(connection, request), std::nullopt);
        live_filters_changed(slot, connection);
        return;
    }
    CatchUp& catch_up = *connection.catch_up;
    CHECK(catch_up.state == State::joining);
    catch_up.request = request;
    catch_up.number = ++last_number_;
    if (request.start == codec::Start::Kind::last) {
        begin_last(slot, connection);
    } else {
        begin_after(slot, connection);
    }
}

void Replays::begin_last(base::Slot slot, Connection& connection) {
    CatchUp& catch_up = *connection.catch_up;
    const std::span<const codec::Position> heads = heads_of(catch_up.request);
    for (const codec::Position& head : heads) {
        catch_up.lagging.push_back({.partition = head.partition,
                                    .is_proven = true,
                                    .joined_at = stream_position(connection, head.partition),
                                    .newest_until = head.offset});
    }
    parts_.slow_consumers.settle(slot);
    // Where the newest end, even if the connection's live stream has not come that far.
    tell_subscribed(slot, catch_up.request, heads_of(catch_up.request), std::nullopt);
    subscribe(slot, catch_up);
    start_reading(slot, connection);
}

void Replays::begin_after(base::Slot slot, Connection& connection) {
    CatchUp& catch_up = *connection.catch_up;
    const SubscribeRequest& request = catch_up.request;
    if (request.epoch != parts_.epoch) {
        refuse(slot, connection, codec::Recovery::epoch_changed);
        return;
    }
    if (!request.positions.empty() &&
        request.positions.back().partition >= parts_.partitions.count()) {
        refuse(slot, connection, codec::Recovery::invalid_position);
        return;
    }
    for (const codec::Position& known : known_of(request)) {
        const uint64_t head = parts_.heads.of(known.partition);
        if (known.offset == head) continue;  // there is nothing to recover
        catch_up.lagging.push_back({.partition = known.partition,
                                    .position = known.offset,
                                    .joined_at = stream_position(connection, known.partition)});
    }
    catch_up.state = State::proving;
    subscribe(slot, catch_up);
    make_ready(slot, catch_up);
}

void Replays::subscribe(base::Slot slot, CatchUp& catch_up) {
    catch_up.list = lists_.acquire(catch_up.request.filter_views());
    for (const std::string& filter : catch_up.request.filters) {
        parts_.subscriptions.catch_up(slot.index, filter);
    }
}

void Replays::start_reading(base::Slot slot, Connection& connection) {
    connection.catch_up->state = State::reading;
    changed_.push_back(slot);
    make_ready(slot, *connection.catch_up);
}

// --- going on

void Replays::advance() {
    const uint64_t now_ns = parts_.reactor.now_ns();
    own_reads_left_ = own_reads_per_turn_max;
    bytes_queued_ = 0;
    pages_.trim(now_ns);
    for (size_t count = starved_.count(); count > 0; --count) {
        const base::Slot slot = starved_.pop();
        Connection* connection = parts_.connections.find(slot);
        if (connection == nullptr) continue;
        for (CatchUp* catch_up : all_of(*connection)) {
            if (catch_up == nullptr || !std::exchange(catch_up->is_starved, false)) continue;
            make_ready(slot, *catch_up);
        }
    }
    for (uint32_t steps = 0; steps < replays_per_turn_max && has_ready() && own_reads_left_ > 0 &&
                             bytes_queued_ < bytes_per_turn_max;
         ++steps) {
        go_on(arrived_.is_empty() ? ready_.pop() : arrived_.pop());
    }
}

void Replays::go_on(base::Slot slot) {
    Connection* connection = parts_.connections.find(slot);
    if (connection == nullptr) return;
    for (const CatchUp::Kind kind : {CatchUp::Kind::replay, CatchUp::Kind::stream}) {
        const bool is_replay = kind == CatchUp::Kind::replay;
        CatchUp* catch_up = (is_replay ? connection->catch_up : connection->stream_lag).get();
        if (catch_up == nullptr || !std::exchange(catch_up->is_ready, false)) continue;
        if (is_replay && is_draining_) continue;
        Step step = Step::waiting;
        if (catch_up->state == State::proving) {
            step = prove(slot, *connection);
        } else if (catch_up->state == State::reading) {
            step = read(slot, *connection, *catch_up);
        }
        if (step == Step::again) make_ready(slot, *catch_up);
    }
}

Replays::Step Replays::prove(base::Slot slot, Connection& connection) {
    CatchUp& catch_up = *connection.catch_up;
    bool is_waiting = false;
    for (CatchUp::Part& part : catch_up.lagging) {
        if (part.is_proven) continue;
        if (part.is_waiting) {
            is_waiting = true;
            continue;
        }
        const uint64_t head = parts_.heads.of(part.partition);
        if (part.position == head) {
            part.is_proven = true;
            continue;
        }
        const bool is_own = parts_.partitions.owner_of(part.partition) == parts_.courier.self();
        if (part.position > head && (is_own || part.was_answered)) {
            refuse(slot, connection, codec::Recovery::invalid_position);
            return Step::waiting;
        }
        const Pages::Page* page = next_page(slot, catch_up, part, Pages::proving_bytes_max);
        if (page == nullptr) {
            // A part that found no room is starved, all others wait for their page.
            is_waiting = true;
            continue;
        }
        // What was evicted after the page was read counts too, unless the page has all there is.
        const bool has_all = page->upto >= head;
        const bool is_fresh =
            part.was_answered || page->read_at_ns == parts_.reactor.now_ns() ||
            (is_own && page->evictions == parts_.history.evictions(part.partition));
        if (page->floor <= part.position && !has_all && !is_fresh) {
            page = ask_anew(slot, catch_up, part, Pages::proving_bytes_max);
            if (page == nullptr) {
                is_waiting = true;
                continue;
            }
        }
        if (page->floor > part.position) {
            refuse(slot, connection, codec::Recovery::evicted);
            return Step::waiting;
        }
        part.is_proven = true;
    }
    if (is_waiting) return own_reads_left_ == 0 ? Step::again : Step::waiting;
    // What waits lies below the join, and is not to come behind it.
    parts_.slow_consumers.settle(slot);
    tell_subscribed(slot, catch_up.request, known_of(catch_up.request), codec::Recovery::recovered);
    start_reading(slot, connection);
    return Step::waiting;  // start_reading() made it ready
}

Replays::Step Replays::read(base::Slot slot, Connection& connection, CatchUp& catch_up) {
    if (connection.is_doomed) return Step::waiting;
    // A replay leaves out what the live filters have delivered, so it must not overtake them.
    const bool must_wait =
        catch_up.kind == CatchUp::Kind::replay && connection.stream_lag != nullptr;
    if (must_wait) return Step::waiting;
    drop_arrived(catch_up);
    if (catch_up.lagging.empty()) {
        arrived(slot, connection, catch_up);
        return Step::waiting;
    }
    // What waits of the live stream comes before what lags.
    if (SlowConsumers::has_waiting(connection) ||
        2 * connection.queue.backlog_bytes() > parts_.settings.outbound_soft_bytes) {
        catch_up.wants_room = true;
        return Step::waiting;
    }
    // What a step queues leaves in one send, so the little that many parts have is put together.
    const uint64_t step_end = bytes_queued_ + Pages::payload_bytes_max;
    const size_t parts_count = catch_up.lagging.size();
    Step step = Step::waiting;
    for (size_t count = 0; count < parts_count && bytes_queued_ < step_end; ++count) {
        CatchUp::Part& part = catch_up.lagging[catch_up.turn++ % parts_count];
        if (part.is_waiting) continue;
        Pages::Page* page = next_page(slot, catch_up, part, Pages::payload_bytes_max);
        if (page == nullptr) {
            if (own_reads_left_ == 0) return Step::again;
            continue;
        }
        if (!queue_page(slot, connection, catch_up, part, *page)) {
            --catch_up.turn;  // or the same parts would miss their turn again and again
            catch_up.wants_room = true;
            return Step::waiting;
        }
        step = Step::again;
    }
    return step;
}

Pages::Key Replays::key_of(const CatchUp& catch_up, const CatchUp::Part& part) {
    Pages::Key key{.list = catch_up.list, .partition = part.partition};
    if (part.position < part.newest_until) {
        key.last = catch_up.request.last;
        key.until = part.newest_until;
    }
    return key;
}

Pages::Page* Replays::next_page(base::Slot slot, CatchUp& catch_up, CatchUp::Part& part,
                                uint32_t bytes_max) {
    Pages::Page* page = pages_.find(key_of(catch_up, part),
                                    {.after = part.position, .lost_since = part.evictions_known});
    if (page == nullptr) page = ask_anew(slot, catch_up, part, bytes_max);
    // Somebody else may have begun with the newest a little earlier: then this replay goes on from
    // where that one's newest end, and gets what came after them as well.
    if (page != nullptr && page->key.last > 0) part.newest_until = page->key.until;
    return page;
}

Pages::Page* Replays::ask_anew(base::Slot slot, CatchUp& catch_up, CatchUp::Part& part,
                               uint32_t bytes_max) {
    const Pages::Key key = key_of(catch_up, part);
    const Pages::Place place{.after = part.position, .lost_since = part.evictions_known};
    const bool is_own = parts_.partitions.owner_of(part.partition) == parts_.courier.self();
    if (is_own && own_reads_left_ == 0) return nullptr;
    const uint64_t now_ns = parts_.reactor.now_ns();
    switch (pages_.ask(key, place, bytes_max, {slot, catch_up.number, part.partition}, now_ns)) {
        case Pages::Asked::pending: part.is_waiting = true; return nullptr;
        case Pages::Asked::no_room: make_starved(slot, catch_up); return nullptr;
        case Pages::Asked::read: break;
    }
    --own_reads_left_;
    Pages::Page* page = pages_.find(key, place);
    CHECK(page != nullptr);
    return page;
}

bool Replays::is_left_out(base::Slot slot, const CatchUp& catch_up, const CatchUp::Part& part,
                          uint64_t offset, std::string_view topic) const {
    const codec::Position position{part.partition, offset};
    if (std::find(catch_up.silent.begin(), catch_up.silent.end(), position) !=
        catch_up.silent.end()) {
        return true;
    }
    if (catch_up.kind == CatchUp::Kind::stream || offset <= part.joined_at) return false;
    if (parts_.subscriptions.live().wants(slot.index, topic)) return true;
    return std::any_of(catch_up.left.begin(), catch_up.left.end(), [&](const CatchUp::Left& left) {
        return offset <= left.heads[part.partition] &&
               std::any_of(
                   left.filters.begin(), left.filters.end(),
                   [&](const std::string& filter) { return topics::matches(filter, topic); });
    });
}

uint64_t Replays::room_bytes(const Connection& connection) const {
    const uint64_t backlog = connection.queue.backlog_bytes();
    const uint64_t soft = parts_.settings.outbound_soft_bytes;
    return backlog < soft ? soft - backlog : 0;
}

bool Replays::queue_page(base::Slot slot, Connection& connection, CatchUp& catch_up,
                         CatchUp::Part& part, Pages::Page& page) {
    const bool is_empty = connection.queue.is_empty();
    // Who begins with the newest takes what there is: only what was sequenced after the join can be
    // lost so far.
    const bool begins_newest = part.position == 0 && part.newest_until > 0;
    const bool loses = page.evictions > part.evictions_known && !page.filters_lost.empty() &&
                       page.floor > (begins_newest ? part.newest_until : part.position);
    const auto first = std::upper_bound(
        page.entries.begin(), page.entries.end(), part.position,
        [](uint64_t position, const Pages::Entry& entry) { return position < entry.offset; });
    const size_t first_entry = static_cast<size_t>(first - page.entries.begin());
    const bool is_compressed =
        connection.deflate_window_bits != 0 &&
        codec::fits_window(page.message_bytes_most, connection.deflate_window_bits);
    if (is_compressed) pages_.compress(page);
    const Range& all = is_compressed ? page.compressed : page.plain;
    const auto end_of = [&](size_t entry) {
        return is_compressed ? page.entries[entry].compressed_end : page.entries[entry].plain_end;
    };
    const bool is_stream = catch_up.kind == CatchUp::Kind::stream;
    const bool has_exclusions =
        !catch_up.silent.empty() || !catch_up.left.empty() ||
        (!is_stream && parts_.subscriptions.live().subscriptions_count(slot.index) > 0);

    // As many messages as there is room for, as few pieces as they are.
    const uint64_t room = room_bytes(connection);
    const uint64_t losses_bytes = loses ? losses_bytes_max(catch_up, page) : 0;
    uint64_t wanted = losses_bytes + announcement_bytes_max;
    uint32_t messages_count = 0;
    size_t entry = first_entry;
    runs_.clear();
    for (; entry < page.entries.size(); ++entry) {
        const uint64_t offset = page.entries[entry].offset;
        if (has_exclusions && is_left_out(slot, catch_up, part, offset, page.topic(entry))) {
            continue;
        }
        const uint32_t begin = entry == 0 ? 0 : end_of(entry - 1);
        const uint32_t end = end_of(entry);
        wanted += end - begin;
        // An empty queue takes any message, as with live ones.
        if (wanted > room && !(is_empty && messages_count == 0)) break;
        ++messages_count;
        if (!runs_.empty() && runs_.back().end == all.begin + begin) {
            runs_.back().end = all.begin + end;
        } else {
            runs_.push_back({all.chunk, all.begin + begin, all.begin + end});
        }
    }
    const bool is_complete = entry == page.entries.size();
    if (messages_count == 0 && !is_complete) return false;
    if (!is_empty && room < losses_bytes) return false;
    if (loses) tell_losses(slot, catch_up, page);
    if (loses || begins_newest) part.evictions_known = page.evictions;
    if (messages_count > 0) queue_runs(slot, catch_up, messages_count);
    part.position = is_complete ? page.upto : page.entries[entry - 1].offset;
    const bool was_full = catch_up.silent.size() >= CatchUp::silent_max;
    std::erase_if(catch_up.silent, [&](const codec::Position& silent) {
        return silent.partition == part.partition && silent.offset <= part.position;
    });
    if (was_full) changed_.push_back(slot);
    return true;
}

void Replays::queue_runs(base::Slot slot, const CatchUp& catch_up, uint32_t messages_count) {
    json_.clear();
    if (catch_up.kind == CatchUp::Kind::stream) {
        parts_.outbox.send_stored(slot, runs_);
    } else {
        codec::append_replay(json_, catch_up.request.id, messages_count);
        parts_.outbox.send_announced(slot, json_, runs_);
    }
    parts_.metrics.add(Metric::deliveries_total, messages_count);
    parts_.metrics.add(Metric::replayed_messages_total, messages_count);
    bytes_queued_ += json_.size();
    for (const Range& run : runs_) bytes_queued_ += run.size();
}

uint64_t Replays::losses_bytes_max(const CatchUp& catch_up, const Pages::Page& page) {
    uint64_t bytes = 0;
    for (const uint32_t index : page.filters_lost) {
        // The filter may stand there twice, each byte escaped.
        bytes += announcement_bytes_max + 12 * catch_up.request.filters[index].size();
    }
    return bytes;
}

void Replays::tell_losses(base::Slot slot, const CatchUp& catch_up, const Pages::Page& page) {
    const codec::GapCode code = catch_up.kind == CatchUp::Kind::stream
                                    ? codec::GapCode::slow_consumer
                                    : codec::GapCode::evicted;
    for (const uint32_t index : page.filters_lost) {
        const std::string& filter = catch_up.request.filters[index];
        json_.clear();
        codec::append_gap(json_, catch_up.request.id, filter,
                          topics::has_wildcard(filter) ? std::string_view() : filter, std::nullopt,
                          code);
        // There is room, or the queue is empty and takes anything.
        parts_.outbox.send_unlimited(slot, codec::Opcode::text, json_);
        parts_.metrics.count_gap(code);
    }
}

void Replays::drop_arrived(CatchUp& catch_up) {
    std::erase_if(catch_up.lagging, [this](const CatchUp::Part& part) {
        return part.position >= parts_.heads.of(part.partition);
    });
}

void Replays::on_page_end(uint32_t token, HistoryExtent extent) {
    waiters_.clear();
    pages_.on_end(token, std::move(extent), parts_.reactor.now_ns(), waiters_);
    for (const Pages::Waiter& waiter : waiters_) {
        Connection* connection = parts_.connections.find(waiter.slot);
        if (connection == nullptr) continue;
        for (CatchUp* catch_up : all_of(*connection)) {
            if (catch_up == nullptr || catch_up->number != waiter.replay) continue;
            for (CatchUp::Part& part : catch_up->lagging) {
                if (part.partition != waiter.partition) continue;
                part.is_waiting = false;
                part.was_answered = true;
            }
            if (catch_up->is_ready) continue;
            catch_up->is_ready = true;
            arrived_.push(waiter.slot);
        }
    }
}

// --- the present

void Replays::on_live_message(uint32_t subscriber, const codec::Position& position,
                              std::string_view json) {
    const base::Slot slot = parts_.connections.slot_of(subscriber);
    Connection& connection = parts_.connections.at(slot);
    CatchUp& catch_up = *connection.catch_up;
    if (catch_up.lags_in(position.partition)) return;  // it will be read
    const bool fits = connection.stream_lag == nullptr && !SlowConsumers::has_waiting(connection) &&
                      (connection.queue.is_empty() ||
                       json.size() + announcement_bytes_max <= room_bytes(connection));
    if (!catch_up.is_told() || !fits) {
        catch_up.lagging.push_back({.partition = position.partition,
                                    .is_proven = true,
                                    .position = position.offset - 1,
                                    .joined_at = position.offset - 1});
        make_ready(slot, catch_up);
        return;
    }
    json_.clear();
    codec::append_replay(json_, catch_up.request.id, 1);
    parts_.outbox.send_announced_text(slot, json_, json);
    parts_.metrics.add(Metric::deliveries_total);
    parts_.metrics.add(Metric::replayed_messages_total);
}

void Replays::fall_behind(base::Slot slot, const codec::Position& position) {
    Connection& connection = parts_.connections.at(slot);
    if (connection.is_doomed) return;
    if (connection.stream_lag == nullptr) {
        connection.stream_lag = std::make_unique<CatchUp>();
        connection.stream_lag->kind = CatchUp::Kind::stream;
        connection.stream_lag->state = State::reading;
        connection.stream_lag->number = ++last_number_;
        connection.update_slow();
        live_filters_changed(slot, connection);
        parts_.metrics.set(Metric::streams_behind, ++streams_behind_count_);
        parts_.metrics.add(Metric::streams_behind_total);
    }
    connection.stream_lag->lagging.push_back({.partition = position.partition,
                                              .is_proven = true,
                                              .position = position.offset - 1,
                                              .joined_at = position.offset - 1});
    make_ready(slot, *connection.stream_lag);
}

void Replays::live_filters_changed(base::Slot slot, Connection& connection) {
    if (connection.stream_lag == nullptr) return;
    CatchUp& lag = *connection.stream_lag;
    filters_.clear();
    parts_.subscriptions.live().filters_of(slot.index, filters_);
    if (filters_.empty()) {
        end_lag(slot, connection);
        return;
    }
    const std::vector<std::string>& before = lag.request.filters;
    const bool has_new =
        std::any_of(filters_.begin(), filters_.end(), [&before](std::string_view filter) {
            return std::find(before.begin(), before.end(), filter) == before.end();
        });
    // A new filter was not told of what it lost, whatever was told before.
    if (has_new) {
        for (CatchUp::Part& part : lag.lagging) part.evictions_known = 0;
    }
    lag.request.filters.assign(filters_.begin(), filters_.end());
    set_filters(slot, lag);
}

void Replays::set_filters(base::Slot slot, CatchUp& catch_up) {
    const FilterLists::Id before = catch_up.list;
    catch_up.list = lists_.acquire(catch_up.request.filter_views());
    if (before != FilterLists::none) lists_.release(before);
    // Pages that were asked for were of the other list.
    for (CatchUp::Part& part : catch_up.lagging) part.is_waiting = false;
    make_ready(slot, catch_up);
}

void Replays::end_lag(base::Slot slot, Connection& connection) {
    lists_.release(connection.stream_lag->list);
    connection.stream_lag.reset();
    connection.update_slow();
    parts_.metrics.set(Metric::streams_behind, --streams_behind_count_);
    // What waited for it: a replay, or a command.
    if (connection.catch_up != nullptr) make_ready(slot, *connection.catch_up);
    changed_.push_back(slot);
}

void Replays::on_silent_publish(Connection& connection, const PublishResult& result) {
    // A duplicate's position is that of the first, which may have been published for all to hear.
    if (result.position.is_none() || result.is_duplicate) return;
    for (CatchUp* catch_up : all_of(connection)) {
        if (catch_up == nullptr || catch_up->state == State::idle) continue;
        // Where the replay is at head, the message has passed it by.
        if (catch_up->state == State::joining || catch_up->lags_in(result.position.partition)) {
            catch_up->silent.push_back(result.position);
        }
    }
}

bool Replays::is_silent_full(const Connection& connection) {
    const std::array<CatchUp*, 2> all = all_of(connection);
    return std::any_of(all.begin(), all.end(), [](const CatchUp* catch_up) {
        return catch_up != nullptr && catch_up->silent.size() >= CatchUp::silent_max;
    });
}

void Replays::on_unsubscribe(base::Slot slot, Connection& connection,
                             std::span<const std::string_view> filters) {
    if (connection.catch_up == nullptr || connection.catch_up->state != State::reading) return;
    CatchUp& catch_up = *connection.catch_up;
    CatchUp::Left left;
    for (const std::string_view filter : filters) {
        if (!parts_.subscriptions.live().is_subscribed(slot.index, filter)) continue;
        const bool matters =
            std::any_of(catch_up.request.filters.begin(), catch_up.request.filters.end(),
                        [&](const std::string& own) { return topics::overlaps(own, filter); });
        if (matters) left.filters.emplace_back(filter);
    }
    if (!left.filters.empty()) {
        left.heads.assign(parts_.heads.all().begin(), parts_.heads.all().end());
        if (connection.stream_lag != nullptr) {
            for (const CatchUp::Part& part : connection.stream_lag->lagging) {
                left.heads[part.partition] = part.position;
                fall_to(catch_up, *connection.stream_lag, part);
            }
        }
        catch_up.left.push_back(std::move(left));
    }
    std::vector<std::string>& own = catch_up.request.filters;
    const size_t before_count = own.size();
    std::erase_if(own, [&](const std::string& filter) {
        return std::find(filters.begin(), filters.end(), filter) != filters.end();
    });
    if (own.size() == before_count) return;
    if (own.empty()) {
        end(slot, catch_up);
        return;
    }
    set_filters(slot, catch_up);
}

void Replays::on_sent(base::Slot slot, Connection& connection) {
    if (connection.catch_up == nullptr && connection.stream_lag == nullptr) return;
    if (2 * connection.queue.backlog_bytes() > parts_.settings.outbound_soft_bytes) return;
    for (CatchUp* catch_up : all_of(connection)) {
        if (catch_up == nullptr || !std::exchange(catch_up->wants_room, false)) continue;
        make_ready(slot, *catch_up);
    }
}

// --- the end

void Replays::refuse(base::Slot slot, Connection& connection, codec::Recovery recovery) {
    CatchUp& catch_up = *connection.catch_up;
    parts_.slow_consumers.settle(slot);
    tell_subscribed(slot, catch_up.request, stream_of(connection, catch_up.request), recovery);
    go_live(slot, connection);
}

void Replays::arrived(base::Slot slot, Connection& connection, CatchUp& catch_up) {
    if (catch_up.kind == CatchUp::Kind::stream) {
        end_lag(slot, connection);
        return;
    }
    go_live(slot, connection);
}

void Replays::go_live(base::Slot slot, Connection& connection) {
    CatchUp& catch_up = *connection.catch_up;
    parts_.slow_consumers.settle(slot);
    for (const std::string& filter : catch_up.request.filters) {
        parts_.subscriptions.go_live(slot.index, filter);
    }
    json_.clear();
    codec::append_live(json_, catch_up.request.id,
                       {parts_.epoch, stream_of(connection, catch_up.request)});
    parts_.outbox.send_ordered(slot, json_);
    end(slot, catch_up);
    live_filters_changed(slot, connection);
}

void Replays::end(base::Slot slot, CatchUp& catch_up) {
    forget_replay(catch_up);
    changed_.push_back(slot);
}

void Replays::forget_replay(CatchUp& catch_up) {
    if (catch_up.list != FilterLists::none) lists_.release(catch_up.list);
    std::deque<SubscribeRequest> waiting = std::move(catch_up.waiting);
    catch_up = CatchUp{};
    catch_up.waiting = std::move(waiting);
}

void Replays::forget(Connection& connection) {
    if (connection.stream_lag != nullptr) {
        lists_.release(connection.stream_lag->list);
        connection.stream_lag.reset();
        parts_.metrics.set(Metric::streams_behind, --streams_behind_count_);
    }
    if (connection.catch_up == nullptr) return;
    forget_replay(*connection.catch_up);
    connection.catch_up.reset();
}

std::vector<base::Slot> Replays::take_changed() {
    return std::exchange(changed_, {});
}

// --- telling

void Replays::tell_subscribed(base::Slot slot, const SubscribeRequest& request,
                              std::span<const codec::Position> positions,
                              std::optional<codec::Recovery> recovery) {
    const bool recoverable =
        std::all_of(request.filters.begin(), request.filters.end(),
                    [this](const std::string& filter) { return parts_.rules.keep_all_of(filter); });
    json_.clear();
    codec::append_subscribed(
        json_, request.id,
        {.cursor = {parts_.epoch, positions}, .recoverable = recoverable, .recovery = recovery});
    parts_.outbox.send_ordered(slot, json_);
    if (recovery == codec::Recovery::recovered) parts_.metrics.add(Metric::resumes_total);
    if (recovery && recovery != codec::Recovery::recovered) {
        parts_.metrics.add(Metric::resumes_refused_total);
    }
}

std::span<const codec::Position> Replays::heads_of(const SubscribeRequest& request) {
    positions_.clear();
    parts_.heads.append_cursor(request.filter_views(), positions_);
    return positions_;
}

std::span<const codec::Position> Replays::stream_of(const Connection& connection,
                                                    const SubscribeRequest& request) {
    static_cast<void>(heads_of(request));
    for (codec::Position& position : positions_) {
        position.offset = stream_position(connection, position.partition);
    }
    return positions_;
}

uint64_t Replays::stream_position(const Connection& connection, uint32_t partition) const {
    if (connection.stream_lag != nullptr) {
        for (const CatchUp::Part& part : connection.stream_lag->lagging) {
            if (part.partition == partition) return part.position;
        }
    }
    return parts_.heads.of(partition);
}

std::span<const codec::Position> Replays::known_of(const SubscribeRequest& request) {
    positions_.clear();
    auto known = request.positions.begin();
    parts_.partitions.for_each_of(request.filter_views(), [&](uint32_t partition) {
        while (known != request.positions.end() && known->partition < partition) ++known;
        const bool is_known = known != request.positions.end() && known->partition == partition;
        positions_.push_back({partition, is_known ? known->offset : 0});
    });
    return positions_;
}

void Replays::tell_position(base::Slot slot) {
    Connection& connection = parts_.connections.at(slot);
    const uint32_t version = parts_.heads.version();
    if (connection.position_version == version) return;
    // Its stream is not there yet; it is told another time.
    if (connection.is_slow) return;
    if (parts_.subscriptions.live().subscriptions_count(slot.index) == 0) return;
    connection.position_version = version;
    if (position_version_ != version) {
        positions_.clear();
        parts_.heads.append_cursor({}, positions_);
        position_json_.clear();
        codec::append_position_told(position_json_, {parts_.epoch, positions_});
        position_version_ = version;
    }
    parts_.outbox.send_ordered(slot, position_json_);
}

void Replays::make_ready(base::Slot slot, CatchUp& catch_up) {
    if (catch_up.is_ready) return;
    catch_up.is_ready = true;
    ready_.push(slot);
}

void Replays::make_starved(base::Slot slot, CatchUp& catch_up) {
    if (catch_up.is_starved) return;
    catch_up.is_starved = true;
    starved_.push(slot);
}

}  // namespace broker
