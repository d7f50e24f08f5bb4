#include "tools/cursor_reader.h"

#include <string_view>
#include <utility>

namespace tools {
namespace {

bool read_positions(simdjson::ondemand::value& field, Cursor& cursor) {
    simdjson::ondemand::array entries;
    if (field.get_array().get(entries) != simdjson::SUCCESS) return false;
    bool is_right = true;
    for (auto entry : entries) {
        std::string_view text;
        codec::Position position;
        if (entry.get_string().get(text) == simdjson::SUCCESS &&
            codec::parse_position(text, position)) {
            cursor.raise(position);
        } else {
            is_right = false;
        }
    }
    return is_right;
}

}  // namespace

bool read_cursor(simdjson::ondemand::value& field, Cursor& cursor) {
    cursor = {};
    simdjson::ondemand::object object;
    if (field.get_object().get(object) != simdjson::SUCCESS) return false;
    bool has_positions = false;
    bool is_right = true;
    for (auto entry : object) {
        simdjson::ondemand::field member;
        std::string_view key;
        if (std::move(entry).get(member) != simdjson::SUCCESS) return false;
        if (member.unescaped_key().get(key) != simdjson::SUCCESS) return false;
        if (key == "epoch") {
            std::string_view epoch;
            is_right &= member.value().get_string().get(epoch) == simdjson::SUCCESS;
            cursor.epoch = epoch;
        } else if (key == "pos") {
            is_right &= read_positions(member.value(), cursor);
            has_positions = true;
        }
    }
    return is_right && has_positions && !cursor.is_none();
}

}  // namespace tools
