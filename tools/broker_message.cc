#include "tools/broker_message.h"

#include <simdjson.h>

#include "io/base/units.h"
#include "tools/cursor_reader.h"

namespace tools {
namespace {

using simdjson::ondemand::value;

static_assert(base::readable_padding_bytes >= simdjson::SIMDJSON_PADDING);

BrokerMessage::Op op_of(std::string_view name) {
    struct Row {
        std::string_view name;
        BrokerMessage::Op op;
    };
    static constexpr Row rows[] = {
        {"welcome", BrokerMessage::Op::welcome},     {"subscribed", BrokerMessage::Op::subscribed},
        {"published", BrokerMessage::Op::published}, {"message", BrokerMessage::Op::message},
        {"replay", BrokerMessage::Op::replay},       {"live", BrokerMessage::Op::live},
        {"position", BrokerMessage::Op::position},   {"gap", BrokerMessage::Op::gap},
        {"history", BrokerMessage::Op::history},     {"error", BrokerMessage::Op::error},
        {"goodbye", BrokerMessage::Op::goodbye},
    };
    for (const Row& row : rows) {
        if (row.name == name) return row.op;
    }
    return BrokerMessage::Op::other;
}

std::string text_of(value& field) {
    std::string_view text;
    return field.get_string().get(text) == simdjson::SUCCESS ? std::string(text) : "";
}

std::optional<uint64_t> number_of(value& field) {
    uint64_t number = 0;
    if (field.get_uint64().get(number) != simdjson::SUCCESS) return std::nullopt;
    return number;
}

std::optional<bool> boolean_of(value& field) {
    bool boolean = false;
    if (field.get_bool().get(boolean) != simdjson::SUCCESS) return std::nullopt;
    return boolean;
}

// A position that is not one counts as none: the cursor then stays where it was, and what follows
// comes again after a reconnect.
codec::Position position_of(value& field) {
    codec::Position position;
    return codec::parse_position(text_of(field), position) ? position : codec::Position{};
}

// The field's JSON text as it stands in the frame. A number is never parsed: 1e400 is a fine one in
// JSON.
std::string json_of(value& field) {
    simdjson::ondemand::json_type type{};
    if (field.type().get(type) != simdjson::SUCCESS) return "";
    std::string_view json;
    switch (type) {
        case simdjson::ondemand::json_type::array: {
            simdjson::ondemand::array array;
            if (field.get_array().get(array) != simdjson::SUCCESS) return "";
            if (array.raw_json().get(json) != simdjson::SUCCESS) return "";
            break;
        }
        case simdjson::ondemand::json_type::object: {
            simdjson::ondemand::object object;
            if (field.get_object().get(object) != simdjson::SUCCESS) return "";
            if (object.raw_json().get(json) != simdjson::SUCCESS) return "";
            break;
        }
        case simdjson::ondemand::json_type::number:
        case simdjson::ondemand::json_type::string:
        case simdjson::ondemand::json_type::boolean:
        case simdjson::ondemand::json_type::null: json = field.raw_json_token(); break;
    }
    // What simdjson answers runs up to the next token, so white space before a comma or brace
    // stands in it.
    return std::string(json.substr(0, json.find_last_not_of(" \t\r\n") + 1));
}

void read_payload(BrokerMessage::PayloadKind kind, value& field, BrokerMessage& message) {
    message.payload_kind = kind;
    message.payload = kind == BrokerMessage::PayloadKind::json ? json_of(field) : text_of(field);
}

void read_messages(value& field, BrokerMessage& message) {
    simdjson::ondemand::array entries;
    if (field.get_array().get(entries) != simdjson::SUCCESS) return;
    for (auto entry : entries) {
        value element;
        if (std::move(entry).get(element) != simdjson::SUCCESS) return;
        message.messages.push_back(json_of(element));
    }
}

void read_field(std::string_view key, value& field, BrokerMessage& message) {
    if (key == "id") {
        message.id = number_of(field);
    } else if (key == "topic") {
        message.topic = text_of(field);
    } else if (key == "filter") {
        message.filter = text_of(field);
    } else if (key == "code") {
        message.code = text_of(field);
    } else if (key == "reason") {
        message.reason = text_of(field);
    } else if (key == "data") {
        read_payload(BrokerMessage::PayloadKind::json, field, message);
    } else if (key == "text") {
        read_payload(BrokerMessage::PayloadKind::text, field, message);
    } else if (key == "base64") {
        read_payload(BrokerMessage::PayloadKind::binary, field, message);
    } else if (key == "pos") {
        message.position = position_of(field);
    } else if (key == "cursor") {
        static_cast<void>(read_cursor(field, message.cursor));
    } else if (key == "recoverable") {
        message.is_recoverable = boolean_of(field).value_or(false);
    } else if (key == "recovered") {
        message.recovered = boolean_of(field);
    } else if (key == "count") {
        message.messages_count = number_of(field).value_or(0);
    } else if (key == "more") {
        message.has_more = boolean_of(field).value_or(false);
    } else if (key == "messages") {
        read_messages(field, message);
    } else if (key == "missed") {
        message.missed = number_of(field);
    } else if (key == "retry_ms") {
        message.retry_ms = number_of(field).value_or(0);
    } else if (key == "heartbeat_ms") {
        message.heartbeat_ms = number_of(field).value_or(0);
    } else if (key == "timeout_ms") {
        message.timeout_ms = number_of(field).value_or(0);
    } else if (key == "max_message_bytes") {
        message.message_bytes_max = number_of(field).value_or(0);
    } else if (key == "max_commands_per_second") {
        message.commands_per_second = number_of(field).value_or(0);
    } else if (key == "max_publishes_per_second") {
        message.publishes_per_second = number_of(field).value_or(0);
    }
}

}  // namespace

struct BrokerMessageReader::Impl {
    simdjson::ondemand::parser parser;
};

BrokerMessageReader::BrokerMessageReader() : impl_(std::make_unique<Impl>()) {}
BrokerMessageReader::~BrokerMessageReader() = default;

bool BrokerMessageReader::read(std::string_view frame, BrokerMessage& message) {
    message = {};
    bool has_op = false;
    const simdjson::padded_string_view padded(frame.data(), frame.size(),
                                              frame.size() + base::readable_padding_bytes);
    simdjson::ondemand::document document;
    if (impl_->parser.iterate(padded).get(document) != simdjson::SUCCESS) return false;
    simdjson::ondemand::object object;
    if (document.get_object().get(object) != simdjson::SUCCESS) return false;
    for (auto entry : object) {
        simdjson::ondemand::field field;
        if (std::move(entry).get(field) != simdjson::SUCCESS) return false;
        std::string_view key;
        if (field.unescaped_key().get(key) != simdjson::SUCCESS) return false;
        if (key == "op") {
            message.op = op_of(text_of(field.value()));
            has_op = true;
        } else {
            read_field(key, field.value(), message);
        }
    }
    return has_op;
}

std::string minified(std::string_view json) {
    // simdjson writes whole vectors.
    std::string out(json.size() + base::readable_padding_bytes, '\0');
    size_t out_bytes = 0;
    if (simdjson::minify(json.data(), json.size(), out.data(), out_bytes) != simdjson::SUCCESS)
        return std::string(json);
    out.resize(out_bytes);
    return out;
}

}  // namespace tools
