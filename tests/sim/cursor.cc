#include "tests/sim/cursor.h"

#include <algorithm>
#include <charconv>
#include <utility>
#include <vector>

#include "tests/sim/payloads.h"

namespace sim {

namespace {

template <typename Number>
bool read_number(std::string_view text, Number& number) {
    if (text.empty() || (text.size() > 1 && text[0] == '0')) return false;
    const char* const end = text.data() + text.size();
    const auto read = std::from_chars(text.data(), end, number);
    return read.ec == std::errc() && read.ptr == end;
}

}  // namespace

std::string describe(const Place& place) {
    return std::to_string(place.partition) + ":" + std::to_string(place.offset);
}

std::optional<Place> read_place(std::string_view text) {
    const size_t colon = text.find(':');
    Place place;
    if (colon == std::string_view::npos || !read_number(text.substr(0, colon), place.partition) ||
        !read_number(text.substr(colon + 1), place.offset) || place.offset == 0) {
        return std::nullopt;
    }
    return place;
}

uint64_t Cursor::of(uint32_t partition) const {
    const auto found = offsets_.find(partition);
    return found == offsets_.end() ? 0 : found->second;
}

void Cursor::raise(const Place& place) {
    if (place.offset > of(place.partition)) offsets_[place.partition] = place.offset;
}

void Cursor::raise(const Cursor& other) {
    for (const auto& [partition, offset] : other.offsets_) raise({partition, offset});
}

void Cursor::set(uint32_t partition, uint64_t offset) {
    if (offset == 0) {
        offsets_.erase(partition);
    } else {
        offsets_[partition] = offset;
    }
}

std::string describe(const Cursor& cursor) {
    std::string text = "[";
    for (const auto& [partition, offset] : cursor.offsets()) {
        if (text.size() > 1) text += " ";
        text += describe(Place{partition, offset});
    }
    return text + "]";
}

std::optional<ToldCursor> read_cursor(std::string_view text) {
    std::vector<JsonMember> members;
    std::vector<std::string_view> elements;
    ToldCursor told;
    if (!read_members(text, members) || members.size() != 2 ||
        !read_string(value_of(members, "epoch"), told.epoch) ||
        !read_elements(value_of(members, "pos"), elements)) {
        return std::nullopt;
    }
    std::optional<uint32_t> previous;
    for (const std::string_view element : elements) {
        std::string place_text;
        if (!read_string(element, place_text)) return std::nullopt;
        const std::optional<Place> place = read_place(place_text);
        if (!place || (previous && *previous >= place->partition)) return std::nullopt;
        previous = place->partition;
        told.cursor.raise(*place);
    }
    return told;
}

std::string write_cursor(const ToldCursor& told, base::Prng& prng) {
    std::vector<std::string> places;
    for (const auto& [partition, offset] : told.cursor.offsets()) {
        places.push_back(quote(describe(Place{partition, offset})));
    }
    const bool is_shuffled = prng.below(4) == 0;
    for (size_t left = is_shuffled ? places.size() : 0; left > 1; --left) {
        std::swap(places[left - 1], places[prng.below(left)]);
    }
    std::string text = "{\"epoch\":" + quote(told.epoch) + ",\"pos\":[";
    for (size_t index = 0; index < places.size(); ++index) {
        if (index > 0) text += ",";
        text += places[index];
    }
    return text + "]}";
}

}  // namespace sim
