#include "tests/sim/connections_list.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <set>

#include "tests/sim/ledger.h"
#include "tests/sim/payloads.h"

namespace sim {

namespace {

// Reads one row; complains in the name of who asked.
class RowReader {
  public:
    RowReader(const std::string& who, std::string_view row) : who_(who), row_(row) {
        if (!read_members(row, members_)) complain("is no object");
    }

    [[noreturn]] void complain(const std::string& what) const {
        violated("operator", who_ + " is told of a connection what " + what + ": " + row_);
    }
    std::string text(std::string_view key) const {
        std::string text;
        if (!read_string(value_of(members_, key), text)) complain("has no " + std::string(key));
        return text;
    }
    uint64_t number(std::string_view key) const {
        const std::string_view value = value_of(members_, key);
        uint64_t number = 0;
        const char* const end = value.data() + value.size();
        const bool is_number = std::from_chars(value.data(), end, number).ptr == end;
        if (value.empty() || !is_number) complain("has no " + std::string(key));
        return number;
    }
    bool flag(std::string_view key) const {
        const std::string_view value = value_of(members_, key);
        if (value != "true" && value != "false") complain("has no " + std::string(key));
        return value == "true";
    }

  private:
    const std::string& who_;
    const std::string row_;
    std::vector<JsonMember> members_;
};

// "1-42-7": the shard, the place and the generation.
std::optional<std::array<uint64_t, 3>> read_id(std::string_view text) {
    std::array<uint64_t, 3> parts{};
    const char* at = text.data();
    const char* const end = at + text.size();
    for (size_t index = 0; index < parts.size(); ++index) {
        if (index > 0 && (at == end || *at++ != '-')) return std::nullopt;
        const std::from_chars_result read = std::from_chars(at, end, parts[index]);
        if (read.ec != std::errc()) return std::nullopt;
        at = read.ptr;
    }
    if (at != end) return std::nullopt;
    return parts;
}

ListedConnection read_row(const RowReader& reader, const ListRequest& request) {
    ListedConnection row;
    row.id = reader.text("id");
    const std::optional<std::array<uint64_t, 3>> parts = read_id(row.id);
    if (!parts) reader.complain("has an id that is none");
    row.shard = static_cast<io::ShardId>((*parts)[0]);
    row.place = (*parts)[1];
    const std::optional<ConnectionId> connection = connection_of_address(reader.text("address"));
    if (!connection) reader.complain("has an address that nobody has");
    row.connection = *connection;
    row.state = reader.text("state");
    row.is_websocket = reader.flag("websocket");
    const bool is_leaving =
        row.state == "closing" || row.state == "lingering" || row.state == "joining";
    const bool is_known = is_leaving || row.state == (row.is_websocket ? "open" : "http");
    if (!is_known) reader.complain("has a state that cannot be");
    // The seconds are rounded down.
    const uint64_t connected_ms_max = (reader.number("connected_s") + 1) * 1'000;
    if (reader.number("last_life_ms") > connected_ms_max) reader.complain("lives after its time");
    const uint64_t filters_count = reader.number("subscriptions") + reader.number("catching_up");
    const bool is_open = row.state == "open";
    if (filters_count > 0 && !is_open) reader.complain("subscribes although it is not open");
    const uint64_t waiting_bytes = reader.number("outbound_bytes") + reader.number("held_bytes");
    const uint64_t lag_ms = reader.number("lag_ms");
    row.sorted_by = request.is_by_lag ? lag_ms : waiting_bytes;
    for (const std::string_view key : {"slow", "behind", "paused", "browser", "compressed"}) {
        static_cast<void>(reader.flag(key));
    }
    return row;
}

// Where the milliseconds of two are the same, either may have waited longer.
bool may_stand_before(const ListRequest& request, const ListedConnection& one,
                      const ListedConnection& other) {
    if (one.sorted_by != other.sorted_by) return one.sorted_by > other.sorted_by;
    if (request.is_by_lag) return true;
    return std::pair(one.shard, one.place) < std::pair(other.shard, other.place);
}

}  // namespace

bool ConnectionsList::has(ConnectionId connection) const {
    return std::any_of(rows.begin(), rows.end(), [connection](const ListedConnection& row) {
        return row.connection == connection;
    });
}

ConnectionsList read_connections_list(const std::string& who, const ListRequest& request,
                                      std::string_view body) {
    const auto complain = [&](const std::string& what) {
        violated("operator", who + " gets a list of connections that " + what + ": " +
                                 std::string(body.substr(0, 2'000)));
    };
    // There are line breaks between the rows, and a string can have none.
    std::string line(body);
    std::erase(line, '\n');
    std::vector<JsonMember> members;
    std::vector<std::string_view> elements;
    if (!body.ends_with('\n') || !read_members(line, members) ||
        !read_elements(value_of(members, "connections"), elements)) {
        complain("is none");
    }
    ConnectionsList list;
    const std::string_view count = value_of(members, "connections_count");
    const char* const count_end = count.data() + count.size();
    const std::from_chars_result read =
        std::from_chars(count.data(), count_end, list.connections_count);
    if (count.empty() || read.ptr != count_end) complain("has no connections_count");
    std::set<std::string> ids;
    std::set<ConnectionId> connections;
    for (const std::string_view element : elements) {
        list.rows.push_back(read_row(RowReader(who, element), request));
        const ListedConnection& row = list.rows.back();
        if (!ids.insert(row.id).second) complain("has " + row.id + " twice");
        if (!connections.insert(row.connection).second) complain("has a connection twice");
    }
    if (list.rows.size() != std::min<uint64_t>(request.limit, list.connections_count)) {
        complain("has " + std::to_string(list.rows.size()) + " rows");
    }
    for (size_t index = 1; index < list.rows.size(); ++index) {
        if (may_stand_before(request, list.rows[index - 1], list.rows[index])) continue;
        complain("is not sorted at " + list.rows[index].id);
    }
    return list;
}

}  // namespace sim
