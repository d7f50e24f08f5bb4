// What a simulated client says.
#include <algorithm>
#include <utility>

#include "tests/sim/client.h"

namespace sim {

namespace {

// A start as the member of a command; nothing for now, which is the default.
std::string member_of(const Start& start, base::Prng& prng) {
    switch (start.kind) {
        case Start::Kind::now: return prng.below(4) == 0 ? ",\"start\":\"now\"" : "";
        case Start::Kind::last: return ",\"start\":{\"last\":" + std::to_string(start.last) + "}";
        case Start::Kind::after:
            return ",\"start\":{\"after\":" + write_cursor(start.after, prng) + "}";
    }
    return {};
}

}  // namespace

bool Client::may_act() const {
    if (state_ != State::open || !is_welcomed_ || is_close_sent_) return false;
    if (waiting_.size() >= habits_.commands_waiting_max) return false;
    return (!is_healed_ && actions_count_ < habits_.actions_max) || last_words_ > 0;
}

void Client::act() {
    next_action_ns_ = now_ns() + prng_.below(habits_.think_ns_max + 1);
    ++actions_count_;
    if (last_words_ > 0) --last_words_;
    act_once();
}

void Client::act_once() {
    const uint32_t total = habits_.publish + habits_.subscribe + habits_.unsubscribe +
                           habits_.history + habits_.ping + habits_.leave + habits_.reset +
                           habits_.vanish;
    uint64_t choice = prng_.below(total + 1);
    const auto falls = [&choice](uint32_t weight) {
        if (choice < weight) return true;
        choice -= weight;
        return false;
    };
    if (falls(habits_.publish)) {
        std::vector<std::string> commands;
        // Bursts fill lanes and queues.
        const uint64_t count = prng_.below(40) == 0  ? prng_.between(20, 150)
                               : prng_.below(4) == 0 ? prng_.between(2, 6)
                                                     : 1;
        while (commands.size() < count) commands.push_back(command_publish());
        send_commands(std::move(commands));
    } else if (falls(habits_.subscribe)) {
        send_commands({command_subscribe()});
    } else if (falls(habits_.unsubscribe)) {
        send_commands({command_unsubscribe()});
    } else if (falls(habits_.history)) {
        send_commands({command_history()});
    } else if (falls(habits_.ping)) {
        send_commands({command_ping()});
    } else if (falls(habits_.leave)) {
        leave();
    } else if (falls(habits_.reset) || falls(habits_.vanish)) {
        const bool is_reset = prng_.below(2) == 0;
        trace(is_reset ? "resets" : "vanishes");
        is_close_sent_ = true;
        end_session(0);
        if (is_reset) {
            wire_.reset();
        } else {
            wire_.vanish();
        }
        state_ = State::absent;
    }
}

void Client::leave() {
    is_close_sent_ = true;
    wire_.queue(make_close(prng_, 1000, "bye"));
}

std::string Client::next_id() {
    const std::string number = std::to_string(++ids_count_);
    return prng_.below(2) == 0 ? number : quote("c" + number);
}

std::string Client::command_publish() {
    const bool is_again = !keyed_.empty() && prng_.below(6) == 0;
    if (is_again) {
        const Keyed& keyed = keyed_[prng_.below(keyed_.size())];
        return command_publish(keyed.topic, keyed.key);
    }
    const std::string topic = any_topic();
    if (prng_.below(6) != 0) return command_publish(topic, "");
    // Keys of its own, and some that others use on other topics and on this one.
    const bool is_own = prng_.below(3) != 0;
    const std::string key =
        is_own ? name_ + "." + std::to_string(++keys_count_) : "k" + std::to_string(prng_.below(3));
    keyed_.push_back({topic, key});
    return command_publish(topic, key);
}

std::string Client::command_publish(const std::string& topic, const std::string& key) {
    Oracle& oracle = around_.oracle;
    const Scenario& scenario = around_.scenario;
    const bool echo = prng_.below(8) != 0;
    const std::string id = prng_.below(5) == 0 ? std::string() : next_id();
    std::string head = "{\"op\":\"publish\",\"topic\":" + quote(topic);
    if (!id.empty()) head += ",\"id\":" + id;
    const uint32_t series = id.empty() ? 0 : series_;
    if (series != 0) head += ",\"series\":" + std::to_string(series);
    if (!echo) head += ",\"echo\":false";
    if (!key.empty()) head += ",\"key\":" + quote(key);
    const uint32_t bytes_wanted =
        static_cast<uint32_t>(prng_.below(scenario.payload_bytes_max + 1));
    MadePayload payload = make_payload(prng_, oracle.next_message(), bytes_wanted);
    if (head.size() + payload.member.size() + 2 > scenario.limits.message_bytes_max) {
        payload = make_payload(prng_, oracle.next_message(), 0);
    }
    const MessageId message = oracle.publish_sent(session_, {.topic = topic,
                                                             .kind = payload.kind,
                                                             .bytes = std::move(payload.bytes),
                                                             .echo = echo,
                                                             .key = key});
    if (id.empty()) {
        oracle.rates(session_).asked(Rates::Kind::publish, false);
    } else {
        expect(id, {.kind = Kind::publish,
                    .message = message,
                    .topic = topic,
                    .key = key,
                    .series = series});
    }
    return head + "," + payload.member + "}";
}

Start Client::draw_start() {
    Start start;
    const uint64_t choice = prng_.below(8);
    if (choice < 4) return start;
    if (choice < 6) {
        start.kind = Start::Kind::last;
        constexpr uint32_t counts[] = {1, 2, 5, 50, 1'000'000};
        start.last = counts[prng_.below(std::size(counts))];
        return start;
    }
    // From where it is, from where it once was, or from the very beginning.
    const Subscriber& subscriber = around_.oracle.subscriber(session_);
    start.kind = Start::Kind::after;
    start.after.epoch = subscriber.epoch();
    if (choice == 6) start.after = prng_.below(2) == 0 ? subscriber.told_cursor() : older_;
    if (start.after.epoch.empty()) start.after.epoch = subscriber.epoch();
    return start;
}

std::string Client::command_subscribe() {
    const Subscriber& subscriber = around_.oracle.subscriber(session_);
    const Start start = draw_start();
    std::vector<std::string> filters;
    const uint64_t count = prng_.below(4) == 0 ? prng_.between(2, 3) : 1;
    for (uint64_t attempt = 0; attempt < count; ++attempt) {
        const std::string& filter = any_filter();
        // What is live can be asked for again, from another point on.
        const bool is_again = start.kind != Start::Kind::now && subscriber.is_live(filter);
        if (!is_again && !subscriber.is_absent(filter)) continue;
        if (std::find(filters.begin(), filters.end(), filter) != filters.end()) continue;
        filters.push_back(filter);
    }
    if (filters.empty()) return command_ping();
    return command_subscribe(filters, start);
}

std::string Client::command_subscribe(const std::vector<std::string>& filters, Start start) {
    const std::string id = next_id();
    std::string head = "{\"op\":\"subscribe\",\"id\":" + id;
    if (filters.size() == 1) {
        head += ",\"filter\":" + quote(filters[0]);
    } else {
        head += ",\"filters\":[" + quote(filters[0]);
        for (size_t index = 1; index < filters.size(); ++index) head += "," + quote(filters[index]);
        head += "]";
    }
    std::string begin = member_of(start, prng_);
    if (head.size() + begin.size() + 1 > around_.scenario.limits.message_bytes_max) {
        // Where messages are that small, there is no room for a cursor of many partitions.
        start = {};
        begin.clear();
    }
    if (start.kind == Start::Kind::after && !start.after.cursor.offsets().empty() &&
        around_.network.plant_fires(Plant::falsify_cursor)) {
        Start falsified = start;
        const auto& [partition, offset] = *start.after.cursor.offsets().begin();
        falsified.after.cursor.set(partition, offset + 1);
        begin = member_of(falsified, prng_);
    }
    expect(id, {.kind = Kind::subscribe,
                .filters = filters,
                .subscription = around_.oracle.subscribe_sent(session_, filters, start)});
    return head + begin + "}";
}

void Client::come_back() {
    std::vector<Bookmark> bookmarks = std::exchange(bookmarks_, {});
    std::vector<std::string> commands;
    // What was published with a key and not answered is published once more.
    for (const Keyed& keyed : unsure_) {
        if (prng_.below(2) == 0) commands.push_back(command_publish(keyed.topic, keyed.key));
    }
    const bool resumes = is_healed_ || habits_.comes_back || prng_.below(2) == 0;
    for (Bookmark& bookmark : bookmarks) {
        if (!resumes) break;
        if (!is_healed_) disturb(bookmark.start);
        commands.push_back(command_subscribe(bookmark.filters, std::move(bookmark.start)));
    }
    if (!commands.empty()) send_commands(std::move(commands));
}

void Client::disturb(Start& start) {
    // One that was disturbed before and not answered is asked again as it was.
    if (start.kind != Start::Kind::after || start.lie != Start::Lie::none) return;
    Cursor& cursor = start.after.cursor;
    switch (prng_.below(14)) {
        case 0:
            start.after.epoch += "x";
            start.lie = Start::Lie::foreign_epoch;
            return;
        case 1:
            // A partition that is not there, or an offset that nobody has reached.
            cursor.set(static_cast<uint32_t>(
                           prng_.below(2 * uint64_t{around_.scenario.limits.partitions})),
                       1'000'000'000);
            start.lie = Start::Lie::future;
            return;
        case 2: cursor = Cursor(); return;
        case 3:
            if (!cursor.offsets().empty()) cursor.set(cursor.offsets().begin()->first, 0);
            return;
        case 4:
            if (older_.epoch == start.after.epoch) start.after = older_;
            return;
        case 5:
            start.kind = Start::Kind::last;
            start.last = static_cast<uint32_t>(prng_.between(1, 20));
            return;
        default: return;
    }
}

std::string Client::command_history() {
    Start start{.kind = Start::Kind::last, .last = 100};
    const uint64_t choice = prng_.below(4);
    if (choice == 0) {
        start = {.kind = Start::Kind::after, .after = older_};
        start.after.epoch = around_.oracle.subscriber(session_).epoch();
    } else if (choice < 3) {
        start.last = static_cast<uint32_t>(prng_.between(1, 2'000));
    }
    return command_history(any_topic(), start);
}

std::string Client::command_history(const std::string& topic, const Start& start) {
    const std::string id = next_id();
    std::string command = "{\"op\":\"history\",\"id\":" + id + ",\"topic\":" + quote(topic);
    if (start.kind == Start::Kind::after) {
        command += ",\"after\":" + write_cursor(start.after, prng_);
    } else if (start.last != 100) {
        command += ",\"last\":" + std::to_string(start.last);
    }
    if (command.size() + 1 > around_.scenario.limits.message_bytes_max) return command_ping();
    around_.oracle.subscriber(session_).history_asked();
    expect(id, {.kind = Kind::history,
                .history = {
                    .topic = topic, .start = start, .sent_step = around_.network.clock().step}});
    return command + "}";
}

std::string Client::command_unsubscribe() {
    Subscriber& subscriber = around_.oracle.subscriber(session_);
    const std::vector<std::string> choices = subscriber.leavable();
    if (choices.empty()) return command_ping();
    const std::string filter = choices[prng_.below(choices.size())];
    subscriber.unsubscribe_sent({filter});
    const std::string id = next_id();
    expect(id, {.kind = Kind::unsubscribe, .filters = {filter}});
    return "{\"op\":\"unsubscribe\",\"id\":" + id + ",\"filter\":" + quote(filter) + "}";
}

std::string Client::command_ping() {
    const std::string id = next_id();
    expect(id, {.kind = Kind::ping});
    return "{\"op\":\"ping\",\"id\":" + id + "}";
}

void Client::expect(const std::string& id, Waiting waiting) {
    const bool is_publish = waiting.kind == Kind::publish;
    waiting.ask = around_.oracle.rates(session_).asked(
        is_publish ? Rates::Kind::publish : Rates::Kind::command, true, waiting.series);
    waiting_[id] = std::move(waiting);
}

void Client::send_control(codec::Opcode opcode, std::string_view payload) {
    around_.oracle.rates(session_).asked(Rates::Kind::control);
    wire_.queue(make_frame(prng_, {.opcode = opcode}, payload));
}

void Client::send_commands(std::vector<std::string> commands) {
    around_.oracle.subscriber(session_).commanded(commands.size());
    for (size_t next = 0; next < commands.size();) {
        // As many as fit into one message, as an array; a single one stands alone.
        std::string text = commands[next++];
        bool is_array = false;
        while (next < commands.size() && text.size() + commands[next].size() + 3 <=
                                             around_.scenario.limits.message_bytes_max) {
            text += "," + commands[next++];
            is_array = true;
        }
        if (is_array) text = "[" + text + "]";
        trace("> " + text.substr(0, 200));
        uint8_t reserved_bits = 0;
        if (side_.is_deflated() && prng_.below(2) == 0) {
            const std::string compressed = side_.compress(text);
            // The limit for messages holds for the compressed form as well.
            if (compressed.size() < text.size()) {
                text = compressed;
                reserved_bits = 0x40;  // RSV1, on the first frame only
            }
        }
        if (prng_.below(4) != 0) {
            wire_.queue(make_frame(prng_, {.reserved_bits = reserved_bits}, text));
            continue;
        }
        // In fragments, with a ping between them (RFC 6455 §5.4 allows that).
        const size_t cut = prng_.below(text.size() + 1);
        wire_.queue(make_frame(prng_, {.fin = false, .reserved_bits = reserved_bits},
                               std::string_view(text).substr(0, cut)));
        send_control(codec::Opcode::ping, "between");
        wire_.queue(make_frame(prng_, {.opcode = codec::Opcode::continuation},
                               std::string_view(text).substr(cut)));
    }
}

}  // namespace sim
