#include "broker/connection_row.h"

#include <charconv>
#include <tuple>

#include "io/base/units.h"

namespace broker {

namespace {

// Takes a decimal number, written in the one way, off the front.
std::optional<uint32_t> take_number(std::string_view& text) {
    uint32_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc()) return std::nullopt;
    const auto digits = static_cast<size_t>(end - text.data());
    if (digits > 1 && text.front() == '0') return std::nullopt;
    text.remove_prefix(digits);
    return number;
}

bool take_dash(std::string_view& text) {
    if (!text.starts_with('-')) return false;
    text.remove_prefix(1);
    return true;
}

std::string_view name_of(ConnectionState state) {
    switch (state) {
        case ConnectionState::http: return "http";
        case ConnectionState::open: return "open";
        case ConnectionState::closing: return "closing";
        case ConnectionState::lingering: return "lingering";
        case ConnectionState::joining: return "joining";
        case ConnectionState::closed: return "closed";
    }
    return "";
}

uint64_t key_of(ConnectionsSort sort, const ConnectionRow& row) {
    switch (sort) {
        case ConnectionsSort::outbound_bytes: return row.outbound_bytes + row.held_bytes;
        case ConnectionsSort::lag: return row.lag_ns;
    }
    return 0;
}

void append_member(std::string& out, std::string_view name, std::string_view value) {
    out.append(",\"").append(name).append("\":").append(value);
}

void append_number(std::string& out, std::string_view name, uint64_t value) {
    append_member(out, name, std::to_string(value));
}

void append_flag(std::string& out, std::string_view name, bool value) {
    append_member(out, name, value ? "true" : "false");
}

// All values are numbers, addresses and words of ours: nothing needs an escape.
void append_row(std::string& out, const ConnectionRow& row) {
    out.append("{\"id\":\"").append(text_of(row.id)).append("\"");
    const std::string address = codec::ip_address_text(row.address);
    append_member(out, "address", row.address.is_none() ? "null" : "\"" + address + "\"");
    out.append(",\"state\":\"").append(name_of(row.state)).append("\"");
    append_flag(out, "websocket", row.is_websocket);
    append_number(out, "connected_s", row.connected_ns / base::ns_per_s);
    append_number(out, "last_life_ms", row.silent_ns / base::ns_per_ms);
    append_number(out, "subscriptions", row.subscriptions_count);
    append_number(out, "catching_up", row.catching_up_count);
    append_number(out, "outbound_bytes", row.outbound_bytes);
    append_number(out, "held_bytes", row.held_bytes);
    append_number(out, "lag_ms", row.lag_ns / base::ns_per_ms);
    append_flag(out, "slow", row.is_slow);
    append_flag(out, "behind", row.is_behind);
    append_flag(out, "paused", row.is_paused);
    append_flag(out, "browser", row.is_browser);
    append_flag(out, "compressed", row.is_compressed);
    out.append("}");
}

}  // namespace

std::string text_of(const ConnectionId& id) {
    return std::to_string(id.shard) + "-" + std::to_string(id.slot.index) + "-" +
           std::to_string(id.slot.generation);
}

std::optional<ConnectionId> parse_connection_id(std::string_view text) {
    const std::optional<uint32_t> shard = take_number(text);
    if (!shard || !take_dash(text)) return std::nullopt;
    const std::optional<uint32_t> index = take_number(text);
    if (!index || !take_dash(text)) return std::nullopt;
    const std::optional<uint32_t> generation = take_number(text);
    if (!generation || !text.empty()) return std::nullopt;
    return ConnectionId{*shard, {*index, *generation}};
}

std::string_view parse_connections_question(std::string_view query, ConnectionsQuestion& question) {
    while (!query.empty()) {
        const size_t end = query.find('&');
        const std::string_view member = query.substr(0, end);
        query = end == std::string_view::npos ? std::string_view() : query.substr(end + 1);
        if (member == "sort=outbound_bytes") {
            question.sort = ConnectionsSort::outbound_bytes;
        } else if (member == "sort=lag") {
            question.sort = ConnectionsSort::lag;
        } else if (member.starts_with("limit=")) {
            std::string_view value = member.substr(6);
            const std::optional<uint32_t> limit = take_number(value);
            if (!limit || !value.empty() || *limit == 0 ||
                *limit > ConnectionsQuestion::limit_max) {
                return "limit is a number from 1 to 1000";
            }
            question.limit = *limit;
        } else if (member.starts_with("sort=")) {
            return "sort is outbound_bytes or lag";
        } else {
            return "known parameters are sort and limit";
        }
    }
    return {};
}

bool stands_before(ConnectionsSort sort, const ConnectionRow& one, const ConnectionRow& other) {
    const uint64_t one_key = key_of(sort, one);
    const uint64_t other_key = key_of(sort, other);
    if (one_key != other_key) return one_key > other_key;
    return std::tie(one.id.shard, one.id.slot.index) <
           std::tie(other.id.shard, other.id.slot.index);
}

void append_connections(std::string& out, std::span<const ConnectionRow> rows,
                        uint64_t connections_count) {
    out.append("{\"connections_count\":").append(std::to_string(connections_count));
    out.append(",\"connections\":[");
    for (const ConnectionRow& row : rows) {
        if (&row != rows.data()) out.append(",\n");
        append_row(out, row);
    }
    out.append("]}\n");
}

}  // namespace broker
