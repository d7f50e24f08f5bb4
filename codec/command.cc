#include "codec/command.h"

#include <bit>
#include <charconv>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "codec/base64.h"
#include "codec/quote.h"
#include "codec/start_reader.h"
#include "io/base/check.h"

namespace codec {
namespace {

// The fields that any command of the protocol has.
enum class Field : uint8_t {
    op,
    id,
    filter,
    filters,
    topic,
    data,
    text,
    base64,
    echo,
    key,
    start,
    last,
    after,
    token,
    series,
};
constexpr uint32_t fields_count = 15;

constexpr std::string_view field_names[fields_count] = {
    "op",   "id",  "filter", "filters", "topic", "data",  "text",   "base64",
    "echo", "key", "start",  "last",    "after", "token", "series",
};

constexpr uint32_t bit(Field field) {
    return uint32_t{1} << static_cast<uint32_t>(field);
}

constexpr uint32_t filter_fields = bit(Field::filter) | bit(Field::filters);
constexpr uint32_t payload_fields = bit(Field::data) | bit(Field::text) | bit(Field::base64);
// Of a message in a batch. Nobody is connected to whom it could come back, so there is no echo; and
// a batch is refused as a whole, so it needs no series.
constexpr uint32_t message_fields = bit(Field::topic) | payload_fields | bit(Field::key);

// The name's length leaves at most four candidates.
bool find_field(std::string_view name, Field& field) {
    const auto is = [&](Field candidate) {
        field = candidate;
        return name == field_names[static_cast<uint32_t>(candidate)];
    };
    switch (name.size()) {
        case 2: return is(Field::op) || is(Field::id);
        case 3: return is(Field::key);
        case 4: return is(Field::data) || is(Field::text) || is(Field::echo) || is(Field::last);
        case 5: return is(Field::topic) || is(Field::start) || is(Field::after) || is(Field::token);
        case 6: return is(Field::filter) || is(Field::base64) || is(Field::series);
        case 7: return is(Field::filters);
        default: return false;
    }
}

CommandOp find_op(std::string_view name) {
#define FANFARE_X(op) \
    if (name == #op) return CommandOp::op;
    FANFARE_COMMAND_OPS(FANFARE_X)
#undef FANFARE_X
    return CommandOp::none;
}

// The fields a command may have besides op and id.
uint32_t allowed_fields(CommandOp op) {
    switch (op) {
        case CommandOp::subscribe: return filter_fields | bit(Field::start);
        case CommandOp::unsubscribe: return filter_fields;
        case CommandOp::publish: return message_fields | bit(Field::echo) | bit(Field::series);
        case CommandOp::history: return bit(Field::topic) | bit(Field::last) | bit(Field::after);
        case CommandOp::auth: return bit(Field::token);
        case CommandOp::ping:
        case CommandOp::none: return 0;
    }
    UNREACHABLE();
}

bool is_integer(std::string_view number) {
    return number.find_first_of(".eE") == std::string_view::npos;
}

}  // namespace

struct CommandParser::Impl {
    // A command, and where its parts stand in buffers that may still grow while the frame is
    // walked.
    struct Slot {
        Command command;
        uint32_t filters_begin = 0;
        uint32_t filters_count = 0;
        uint32_t positions_begin = 0;
        uint32_t positions_count = 0;
        uint32_t reason_begin = 0;
        uint32_t reason_bytes = 0;  // 0: the reason is a literal
    };

    explicit Impl(uint64_t seed) : reader(seed) {}

    void begin();
    Result parse(std::string_view frame);
    Result parse_batch(std::string_view body);
    Result finish(bool is_valid, const char* shape_reason);
    bool walk_batch(const char** shape_reason);
    bool walk_array(const char** shape_reason);
    bool walk_command();
    void link_views();

    void interpret(Slot& slot);
    bool interpret_id(Slot& slot);
    bool interpret_op(Slot& slot);
    bool check_fields(Slot& slot);
    bool interpret_subscribe(Slot& slot);
    bool interpret_history(Slot& slot);
    template <class Read>
    bool interpret_start(Slot& slot, Read read);
    bool interpret_filters(Slot& slot);
    bool interpret_filter_list(Slot& slot);
    bool interpret_publish(Slot& slot);
    bool interpret_topic(Slot& slot);
    bool interpret_key(Slot& slot);
    bool interpret_series(Slot& slot);
    bool interpret_payload(Slot& slot);
    bool decode_binary(const JsonValue& value, Slot& slot);

    bool has(Field field) const { return (present & bit(field)) != 0; }
    const JsonValue& value_of(Field field) const { return values[static_cast<uint32_t>(field)]; }
    static bool refuse(Slot& slot, ErrorCode code, std::string_view reason);
    void end_reason(Slot& slot, size_t begin);

    // Kept from frame to frame, for their memory.
    JsonReader reader;
    std::vector<Slot> slots;
    // What a slot is reset with. It is no constant: one of this size would be written by a string
    // instruction, which takes longer to start than a copy takes.
    const Slot empty_slot{};
    std::vector<std::string_view> filters;
    std::string reasons;
    StartReader start_reader{reader, reasons};

    uint32_t slots_count = 0;
    bool is_batch = false;  // the objects are messages: publishes that do not say so

    // Of the command that is being walked.
    uint32_t present = 0;
    JsonValue values[fields_count];
    bool has_unknown = false;
    std::string_view unknown_name;
};

CommandParser::CommandParser(uint64_t seed) : impl_(std::make_unique<Impl>(seed)) {}
CommandParser::~CommandParser() = default;

CommandParser::Result CommandParser::parse(std::string_view frame) {
    return impl_->parse(frame);
}

CommandParser::Result CommandParser::parse_batch(std::string_view body) {
    return impl_->parse_batch(body);
}

const Command& CommandParser::command(uint32_t index) const {
    CHECK(index < impl_->slots_count);
    return impl_->slots[index].command;
}

bool CommandParser::validate_json(std::string_view text, const char** reason) {
    JsonReader& reader = impl_->reader;
    impl_->slots_count = 0;
    JsonValue value;
    const bool is_read = reader.begin(text) && reader.read_value(value);
    if (is_read && reader.is_at_end()) return true;
    if (reason != nullptr) *reason = is_read ? "something follows the JSON value" : reader.reason();
    return false;
}

void CommandParser::Impl::begin() {
    slots_count = 0;
    filters.clear();
    start_reader.begin_frame();
    reasons.clear();
}

CommandParser::Result CommandParser::Impl::parse(std::string_view frame) {
    begin();
    is_batch = false;
    const char* shape_reason = nullptr;
    bool is_valid = reader.begin(frame);
    if (is_valid) {
        const char byte = reader.peek();
        if (byte == '{') {
            is_valid = walk_command();
        } else if (byte == '[') {
            is_valid = walk_array(&shape_reason);
        } else {
            JsonValue value;
            shape_reason = "the frame is neither an object nor an array of objects";
            is_valid = reader.read_value(value);
        }
    }
    return finish(is_valid, shape_reason);
}

CommandParser::Result CommandParser::Impl::parse_batch(std::string_view body) {
    begin();
    is_batch = true;
    const char* shape_reason = nullptr;
    const bool is_valid = reader.begin(body) && walk_batch(&shape_reason);
    return finish(is_valid, shape_reason);
}

CommandParser::Result CommandParser::Impl::finish(bool is_valid, const char* shape_reason) {
    Result result;
    if (!is_valid) {
        result.error = ErrorCode::invalid_json;
        result.reason = reader.reason();
    } else if (!reader.is_at_end()) {
        result.error = ErrorCode::invalid_json;
        result.reason = "something follows the JSON value";
    } else if (shape_reason != nullptr) {
        result.error = ErrorCode::invalid_command;
        result.reason = shape_reason;
    } else {
        link_views();
        result.commands_count = slots_count;
        return result;
    }
    slots_count = 0;
    return result;
}

bool CommandParser::Impl::walk_batch(const char** shape_reason) {
    JsonValue value;
    if (reader.peek() != '{') {
        *shape_reason = "the body is not an object";
        return reader.read_value(value);
    }
    if (!reader.enter()) return false;
    bool has_messages = false;
    while (true) {
        bool has_member = false;
        if (!reader.next_member(has_member)) return false;
        if (!has_member) break;
        std::string_view name;
        if (!reader.read_key(name)) return false;
        if (name == "messages" && reader.peek() == '[') {
            has_messages = true;
            if (!walk_array(shape_reason)) return false;
            continue;
        }
        *shape_reason = name == "messages" ? "messages is not an array"
                                           : "the body has another member than messages";
        if (!reader.read_value(value)) return false;
    }
    if (!has_messages && *shape_reason == nullptr) *shape_reason = "messages is missing";
    return true;
}

// Walks on after a wrong shape was found: what is not JSON is told first.
bool CommandParser::Impl::walk_array(const char** shape_reason) {
    if (!reader.enter()) return false;
    uint32_t members_count = 0;
    while (true) {
        bool has_member = false;
        if (!reader.next_member(has_member)) return false;
        if (!has_member) break;
        if (++members_count > commands_per_frame_max) {
            *shape_reason = "the array has more than 1,000 entries";
        } else if (reader.peek() != '{') {
            *shape_reason = "the array has something else than objects";
        }
        JsonValue value;
        const bool is_command = *shape_reason == nullptr;
        if (is_command ? !walk_command() : !reader.read_value(value)) return false;
    }
    if (members_count == 0) *shape_reason = "the array is empty";
    return true;
}

// Walks one object, noting where its fields stand. The meaning comes afterwards, because op may
// come last.
bool CommandParser::Impl::walk_command() {
    if (!reader.enter()) return false;
    present = 0;
    has_unknown = false;
    while (true) {
        bool has_member = false;
        if (!reader.next_member(has_member)) return false;
        if (!has_member) break;
        std::string_view name;
        if (!reader.read_key(name)) return false;
        // The value is read to where it is kept: copying what was just written in parts stalls.
        Field field;
        JsonValue unknown_value;
        JsonValue* value = &unknown_value;
        if (find_field(name, field)) {
            present |= bit(field);
            value = &values[static_cast<uint32_t>(field)];
        } else if (!has_unknown) {
            has_unknown = true;
            unknown_name = name;
        }
        if (!reader.read_value(*value)) return false;
    }
    if (slots_count == slots.size()) slots.emplace_back();
    Slot& slot = slots[slots_count++];
    slot = empty_slot;
    const JsonReader::Place place = reader.place();
    interpret(slot);
    reader.go_back(place);
    return true;
}

// Now that the buffers have stopped growing.
void CommandParser::Impl::link_views() {
    for (uint32_t index = 0; index < slots_count; ++index) {
        Slot& slot = slots[index];
        const std::span<const std::string_view> all(filters);
        slot.command.filters = all.subspan(slot.filters_begin, slot.filters_count);
        if (slot.positions_count > 0) {
            slot.command.start.after.positions =
                start_reader.positions().subspan(slot.positions_begin, slot.positions_count);
        }
        if (slot.reason_bytes > 0) {
            slot.command.reason = {reasons.data() + slot.reason_begin, slot.reason_bytes};
        }
    }
}

bool CommandParser::Impl::refuse(Slot& slot, ErrorCode code, std::string_view reason) {
    slot.command.error = code;
    slot.command.reason = reason;
    return false;
}

// A reason that was composed at the end of `reasons`.
void CommandParser::Impl::end_reason(Slot& slot, size_t begin) {
    slot.reason_begin = static_cast<uint32_t>(begin);
    slot.reason_bytes = static_cast<uint32_t>(reasons.size() - begin);
}

void CommandParser::Impl::interpret(Slot& slot) {
    if (is_batch) {
        slot.command.op = CommandOp::publish;
        if (check_fields(slot)) interpret_publish(slot);
        return;
    }
    if (!interpret_id(slot) || !interpret_op(slot) || !check_fields(slot)) return;
    switch (slot.command.op) {
        case CommandOp::subscribe: interpret_subscribe(slot); return;
        case CommandOp::unsubscribe: interpret_filters(slot); return;
        case CommandOp::publish: interpret_publish(slot); return;
        case CommandOp::history: interpret_history(slot); return;
        case CommandOp::auth:
            refuse(slot, ErrorCode::not_supported, "auth is not supported here");
            return;
        case CommandOp::ping: return;
        case CommandOp::none: break;
    }
    UNREACHABLE();
}

bool CommandParser::Impl::interpret_id(Slot& slot) {
    if (!has(Field::id)) return true;
    const JsonValue& value = value_of(Field::id);
    if (value.type == JsonType::number) {
        if (!is_integer(value.raw)) {
            return refuse(slot, ErrorCode::invalid_id, "the id is a number but no integer");
        }
        if (value.raw.size() > command_id_bytes_max) {
            return refuse(slot, ErrorCode::invalid_id, "the id is longer than 64 bytes");
        }
    } else if (value.type == JsonType::string) {
        constexpr size_t quotes_bytes = 2;
        if (value.raw.size() > command_id_bytes_max + quotes_bytes) {
            return refuse(slot, ErrorCode::invalid_id, "the id is longer than 64 bytes");
        }
    } else {
        return refuse(slot, ErrorCode::invalid_id, "the id is neither an integer nor a string");
    }
    slot.command.id = value.raw;
    return true;
}

bool CommandParser::Impl::interpret_op(Slot& slot) {
    if (!has(Field::op)) return refuse(slot, ErrorCode::invalid_command, "op is missing");
    const JsonValue& value = value_of(Field::op);
    if (value.type != JsonType::string) {
        return refuse(slot, ErrorCode::invalid_command, "op is not a string");
    }
    const std::string_view name = reader.unescape(value);
    slot.command.op = find_op(name);
    if (slot.command.op != CommandOp::none) return true;
    const size_t begin = reasons.size();
    reasons.append("no op is called ");
    append_quoted(reasons, name);
    end_reason(slot, begin);
    return refuse(slot, ErrorCode::unknown_op, "");
}

bool CommandParser::Impl::check_fields(Slot& slot) {
    if (has_unknown) {
        const size_t begin = reasons.size();
        reasons.append(is_batch ? "no message has a field " : "no command has a field ");
        append_quoted(reasons, unknown_name);
        end_reason(slot, begin);
        return refuse(slot, ErrorCode::invalid_command, "");
    }
    const uint32_t allowed =
        is_batch ? message_fields
                 : allowed_fields(slot.command.op) | bit(Field::op) | bit(Field::id);
    const uint32_t misplaced = present & ~allowed;
    if (misplaced == 0) return true;
    const size_t begin = reasons.size();
    reasons.append(is_batch ? "a message has no field " : "this op has no field ");
    append_quoted(reasons, field_names[std::countr_zero(misplaced)]);
    end_reason(slot, begin);
    return refuse(slot, ErrorCode::invalid_command, "");
}

bool CommandParser::Impl::interpret_subscribe(Slot& slot) {
    if (!interpret_filters(slot)) return false;
    if (!has(Field::start)) return true;
    return interpret_start(
        slot, [&](Start& start) { return start_reader.read_start(value_of(Field::start), start); });
}

bool CommandParser::Impl::interpret_history(Slot& slot) {
    if (!interpret_topic(slot)) return false;
    if (has(Field::last) && has(Field::after)) {
        return refuse(slot, ErrorCode::invalid_command, "there must not be both last and after");
    }
    if (has(Field::last)) {
        return interpret_start(slot, [&](Start& start) {
            return start_reader.read_last("last", value_of(Field::last), start);
        });
    }
    if (has(Field::after)) {
        return interpret_start(slot, [&](Start& start) {
            return start_reader.read_after("after", value_of(Field::after), start);
        });
    }
    slot.command.start.kind = Start::Kind::last;
    slot.command.start.last = history_last_default;
    return true;
}

// `read` fills in the start, or puts at the end of `reasons` why it cannot.
template <class Read>
bool CommandParser::Impl::interpret_start(Slot& slot, Read read) {
    const size_t reason_begin = reasons.size();
    const uint32_t positions_begin = start_reader.positions_count();
    Start start;
    if (!read(start)) {
        end_reason(slot, reason_begin);
        return refuse(slot, ErrorCode::invalid_command, "");
    }
    slot.command.start = start;
    slot.positions_begin = positions_begin;
    slot.positions_count = start_reader.positions_count() - positions_begin;
    return true;
}

bool CommandParser::Impl::interpret_filters(Slot& slot) {
    slot.filters_begin = static_cast<uint32_t>(filters.size());
    if (has(Field::filter) == has(Field::filters)) {
        return refuse(slot, ErrorCode::invalid_command,
                      "there must be either filter or filters, and not both");
    }
    if (has(Field::filters)) return interpret_filter_list(slot);
    const JsonValue& value = value_of(Field::filter);
    if (value.type != JsonType::string) {
        return refuse(slot, ErrorCode::invalid_command, "filter is not a string");
    }
    filters.push_back(reader.unescape(value));
    slot.filters_count = 1;
    return true;
}

// Walks the array a second time; the first walk has found it valid.
bool CommandParser::Impl::interpret_filter_list(Slot& slot) {
    const JsonValue& list = value_of(Field::filters);
    if (list.type != JsonType::array) {
        return refuse(slot, ErrorCode::invalid_command, "filters is not an array");
    }
    reader.go_to(list.first_token);
    CHECK(reader.enter());
    uint32_t filters_count = 0;
    while (true) {
        bool has_member = false;
        CHECK(reader.next_member(has_member));
        if (!has_member) break;
        JsonValue value;
        CHECK(reader.read_value(value));
        if (value.type != JsonType::string) {
            return refuse(slot, ErrorCode::invalid_command,
                          "filters has something else than strings");
        }
        if (++filters_count > filters_per_command_max) {
            return refuse(slot, ErrorCode::invalid_command, "filters has more than 1,000 entries");
        }
        filters.push_back(reader.unescape(value));
    }
    if (filters_count == 0) {
        return refuse(slot, ErrorCode::invalid_command, "filters is empty");
    }
    slot.filters_count = filters_count;
    return true;
}

bool CommandParser::Impl::interpret_publish(Slot& slot) {
    if (!interpret_topic(slot)) return false;
    if (has(Field::echo)) {
        const JsonValue& echo = value_of(Field::echo);
        if (echo.type != JsonType::boolean) {
            return refuse(slot, ErrorCode::invalid_command, "echo is neither true nor false");
        }
        slot.command.echo = echo.raw == "true";
    }
    if (has(Field::key) && !interpret_key(slot)) return false;
    if (has(Field::series) && !interpret_series(slot)) return false;
    return interpret_payload(slot);
}

bool CommandParser::Impl::interpret_topic(Slot& slot) {
    if (!has(Field::topic)) return refuse(slot, ErrorCode::invalid_command, "topic is missing");
    const JsonValue& topic = value_of(Field::topic);
    if (topic.type != JsonType::string) {
        return refuse(slot, ErrorCode::invalid_command, "topic is not a string");
    }
    slot.command.topic = reader.unescape(topic);
    return true;
}

bool CommandParser::Impl::interpret_key(Slot& slot) {
    const JsonValue& value = value_of(Field::key);
    if (value.type != JsonType::string) {
        return refuse(slot, ErrorCode::invalid_command, "key is not a string");
    }
    const std::string_view key = reader.unescape(value);
    if (key.empty()) return refuse(slot, ErrorCode::invalid_command, "key is empty");
    if (key.size() > command_key_bytes_max) {
        return refuse(slot, ErrorCode::invalid_command, "key is longer than 64 bytes");
    }
    slot.command.key = key;
    return true;
}

bool CommandParser::Impl::interpret_series(Slot& slot) {
    const JsonValue& value = value_of(Field::series);
    const char* const end = value.raw.data() + value.raw.size();
    const bool is_whole = value.type == JsonType::number && is_integer(value.raw);
    const auto [rest, error] = std::from_chars(value.raw.data(), end, slot.command.series);
    const bool is_read = is_whole && error == std::errc() && rest == end;
    if (is_read && slot.command.series >= 1 && slot.command.series <= command_series_max) {
        return true;
    }
    slot.command.series = 0;
    return refuse(slot, ErrorCode::invalid_command,
                  "series is not a whole number from 1 to 1,000,000,000");
}

bool CommandParser::Impl::interpret_payload(Slot& slot) {
    Payload& payload = slot.command.payload;
    if (std::popcount(present & payload_fields) != 1) {
        return refuse(slot, ErrorCode::invalid_command,
                      "there must be exactly one of data, text and base64");
    }
    if (has(Field::data)) {
        payload = {.kind = PayloadKind::json, .bytes = value_of(Field::data).raw};
        return true;
    }
    const bool is_text = has(Field::text);
    const JsonValue& value = value_of(is_text ? Field::text : Field::base64);
    if (value.type != JsonType::string) {
        return refuse(slot, ErrorCode::invalid_command,
                      is_text ? "text is not a string" : "base64 is not a string");
    }
    if (!is_text) return decode_binary(value, slot);
    payload = {.kind = PayloadKind::text, .bytes = reader.unescape(value)};
    return true;
}

bool CommandParser::Impl::decode_binary(const JsonValue& value, Slot& slot) {
    const std::string_view encoded = reader.unescape(value);
    char* const bytes = reader.take_scratch(base64_decoded_bytes_max(encoded.size()));
    const std::optional<size_t> bytes_count = decode_base64(encoded, bytes);
    if (!bytes_count) {
        return refuse(slot, ErrorCode::invalid_payload,
                      "base64 is not of the standard alphabet with padding");
    }
    slot.command.payload = {.kind = PayloadKind::binary, .bytes = {bytes, *bytes_count}};
    return true;
}

}  // namespace codec
