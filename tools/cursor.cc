#include "tools/cursor.h"

#include <algorithm>

#include "codec/reply.h"

namespace tools {

uint64_t Cursor::offset_of(uint32_t partition) const {
    const auto found = offsets.find(partition);
    return found == offsets.end() ? 0 : found->second;
}

void Cursor::raise(const codec::Position& position) {
    if (position.is_none()) return;
    uint64_t& offset = offsets[position.partition];
    offset = std::max(offset, position.offset);
}

void Cursor::merge(const Cursor& other) {
    if (other.is_none()) return;
    if (epoch != other.epoch) {
        *this = other;
        return;
    }
    for (const auto& [partition, offset] : other.offsets) raise({partition, offset});
}

void append_cursor(std::string& out, const Cursor& cursor) {
    out += R"({"epoch":)";
    codec::append_json_string(out, cursor.epoch);
    out += R"(,"pos":[)";
    bool is_first = true;
    for (const auto& [partition, offset] : cursor.offsets) {
        out += is_first ? "\"" : ",\"";
        codec::append_position(out, {partition, offset});
        out += '"';
        is_first = false;
    }
    out += "]}";
}

}  // namespace tools
