#include "broker/log.h"

#include <algorithm>
#include <cstring>

namespace broker {

namespace {

// What would move a terminal's cursor, or break the line in two.
bool is_control(char character) {
    return static_cast<unsigned char>(character) < 0x20 || character == 0x7f;
}

}  // namespace

Log::Log(uint32_t shards_count, LogLevel level) : level_(level) {
    for (uint32_t shard = 0; shard < shards_count; ++shard) {
        lanes_.push_back(std::make_unique<ShardLog>(level));
    }
}

bool Log::write(io::ShardId shard, LogLevel level, uint64_t now_ns, std::string_view message,
                std::initializer_list<LogField> fields) {
    ShardLog& log = *lanes_[shard];
    if (level > log.level) return true;
    std::string line = "level=" + std::string(name_of(level)) + " shard=" + std::to_string(shard);
    append_log_field(line, "msg", message);
    for (const LogField& field : fields) append_log_field(line, field.key, field.value);
    if (line.size() > line_bytes_max) line.resize(line_bytes_max);
    const std::span<uint8_t> record =
        log.lane.reserve(static_cast<uint32_t>(sizeof now_ns + line.size()));
    if (record.empty()) return false;
    std::memcpy(record.data(), &now_ns, sizeof now_ns);
    std::memcpy(record.data() + sizeof now_ns, line.data(), line.size());
    log.lane.commit();
    return true;
}

bool Log::read(uint64_t& now_ns, std::string& line) {
    for (const std::unique_ptr<ShardLog>& log : lanes_) {
        const std::span<const uint8_t> record = log->lane.front();
        if (record.empty()) continue;
        std::memcpy(&now_ns, record.data(), sizeof now_ns);
        line.assign(reinterpret_cast<const char*>(record.data()) + sizeof now_ns,
                    record.size() - sizeof now_ns);
        log->lane.pop();
        return true;
    }
    return false;
}

void append_log_field(std::string& line, std::string_view key, std::string_view value) {
    line.append(" ").append(key).append("=");
    const bool is_bare = !value.empty() &&
                         value.find_first_of(" \"=\\") == std::string_view::npos &&
                         std::none_of(value.begin(), value.end(), is_control);
    if (is_bare) {
        line.append(value);
        return;
    }
    line += '"';
    for (const char character : value) {
        if (character == '"' || character == '\\') line += '\\';
        line += is_control(character) ? ' ' : character;
    }
    line += '"';
}

std::string_view name_of(LogLevel level) {
    switch (level) {
        case LogLevel::error: return "error";
        case LogLevel::warn: return "warn";
        case LogLevel::info: return "info";
        case LogLevel::debug: return "debug";
    }
    return "";
}

}  // namespace broker
