#include "codec/start_reader.h"

#include <algorithm>
#include <charconv>
#include <system_error>

#include "codec/quote.h"
#include "io/base/check.h"

namespace codec {

bool StartReader::read_start(const JsonValue& value, Start& start) {
    if (value.type == JsonType::string && reader_.unescape(value) == "now") {
        start.kind = Start::Kind::now;
        return true;
    }
    if (value.type != JsonType::object) {
        return refuse("start", " is neither \"now\" nor an object with last or after");
    }
    reader_.go_to(value.first_token);
    CHECK(reader_.enter());
    uint32_t members_count = 0;
    std::string_view name;
    while (next_key(name)) {
        ++members_count;
        if (name == "last") {
            JsonValue last;
            CHECK(reader_.read_value(last));
            if (!read_last("start.last", last, start)) return false;
        } else if (name == "after") {
            if (!read_cursor("start.after", start)) return false;
        } else {
            return refuse_unknown("start", name);
        }
    }
    if (members_count == 1) return true;
    return refuse("start",
                  members_count == 0 ? " has neither last nor after" : " has both last and after");
}

bool StartReader::read_last(std::string_view path, const JsonValue& value, Start& start) {
    const char* const end = value.raw.data() + value.raw.size();
    const std::from_chars_result result = std::from_chars(value.raw.data(), end, start.last);
    const bool is_number = result.ec == std::errc() && result.ptr == end;
    if (!is_number || start.last == 0 || start.last > last_max) {
        return refuse(path, " is not an integer from 1 to 1,000,000");
    }
    start.kind = Start::Kind::last;
    return true;
}

bool StartReader::read_after(std::string_view path, const JsonValue& value, Start& start) {
    reader_.go_to(value.first_token);
    return read_cursor(path, start);
}

// The value that comes next. It is entered at once instead of being read as a whole first: its keys
// have been read once already, and must not be read more than twice.
bool StartReader::read_cursor(std::string_view path, Start& start) {
    if (reader_.peek() != '{') return refuse(path, " is not an object with epoch and pos");
    CHECK(reader_.enter());
    bool has_epoch = false;
    bool has_positions = false;
    std::string_view name;
    while (next_key(name)) {
        if (name == "epoch") {
            has_epoch = true;
            if (!read_epoch(path, start)) return false;
        } else if (name == "pos") {
            has_positions = true;
            if (!read_positions(path)) return false;
        } else {
            return refuse_unknown(path, name);
        }
    }
    if (!has_epoch) return refuse(path, ".epoch is missing");
    if (!has_positions) return refuse(path, ".pos is missing");
    start.kind = Start::Kind::after;
    return true;
}

bool StartReader::read_epoch(std::string_view path, Start& start) {
    JsonValue value;
    CHECK(reader_.read_value(value));
    if (value.type != JsonType::string) return refuse(path, ".epoch is not a string");
    start.after.epoch = reader_.unescape(value);
    if (start.after.epoch.empty()) return refuse(path, ".epoch is empty");
    if (start.after.epoch.size() > cursor_epoch_bytes_max) {
        return refuse(path, ".epoch is longer than 64 bytes");
    }
    return true;
}

bool StartReader::read_positions(std::string_view path) {
    if (reader_.peek() != '[') return refuse(path, ".pos is not an array");
    CHECK(reader_.enter());
    const size_t begin = positions_.size();
    for (uint32_t index = 0; next_member(); ++index) {
        if (index == cursor_positions_max) return refuse(path, ".pos has more than 4,096 entries");
        if (reader_.peek() != '"') return refuse_entry(path, index, " is not a string");
        JsonValue value;
        CHECK(reader_.read_value(value));
        const std::string_view text = reader_.unescape(value);
        Position position;
        if (!parse_position(text, position)) {
            refuse_entry(path, index, " is not \"partition:offset\" but ");
            append_quoted(reasons_, text);
            return false;
        }
        positions_.push_back(position);
    }
    return sort_positions(path, begin);
}

// What the broker has told is sorted already.
bool StartReader::sort_positions(std::string_view path, size_t begin) {
    const std::span<Position> sorted = std::span(positions_).subspan(begin);
    if (!std::ranges::is_sorted(sorted, {}, &Position::partition)) {
        std::ranges::sort(sorted, {}, &Position::partition);
    }
    const auto twice = std::ranges::adjacent_find(sorted, {}, &Position::partition);
    if (twice == sorted.end()) return true;
    refuse(path, ".pos has partition ");
    reasons_.append(std::to_string(twice->partition)).append(" twice");
    return false;
}

// Whether the container that was entered has another member.
bool StartReader::next_member() {
    bool has_member = false;
    CHECK(reader_.next_member(has_member));
    return has_member;
}

bool StartReader::next_key(std::string_view& name) {
    if (!next_member()) return false;
    CHECK(reader_.read_key(name));
    return true;
}

bool StartReader::refuse(std::string_view path, std::string_view what) {
    reasons_.append(path).append(what);
    return false;
}

bool StartReader::refuse_entry(std::string_view path, uint32_t index, std::string_view what) {
    reasons_.append(path).append(".pos[").append(std::to_string(index)).append("]").append(what);
    return false;
}

bool StartReader::refuse_unknown(std::string_view path, std::string_view name) {
    reasons_.append(path).append(" has no field ");
    append_quoted(reasons_, name);
    return false;
}

}  // namespace codec
