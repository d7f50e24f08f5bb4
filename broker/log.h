// Log: structured lines from the shards to one reader, never blocking a shard.
//
// A line is logfmt: level=info shard=0 msg="draining" connections=12. The time is added by the
// reader, which alone reads a wall clock.
//
// Owner: main builds one. Threads: write() on the shard's own thread, read() on one reader's
// thread.
// Invariants: each shard has its own level; lines of one shard arrive in order; a line that does
// not fit is dropped and counted.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "broker/settings.h"
#include "io/lane.h"
#include "io/reactor.h"

namespace broker {

struct LogField {
    std::string_view key;
    std::string value;
};

class Log {
  public:
    Log(uint32_t shards_count, LogLevel level);

    // For lines of main's own, which have no lane. On the reader's thread.
    bool wants(LogLevel level) const { return level <= level_; }
    void set_level(LogLevel level) { level_ = level; }
    // For lines of the shard, on its thread.
    void set_level(io::ShardId shard, LogLevel level) { lanes_[shard]->level = level; }
    // False when the line was dropped because the reader is behind.
    bool write(io::ShardId shard, LogLevel level, uint64_t now_ns, std::string_view message,
               std::initializer_list<LogField> fields = {});

    // The next line of any shard, with the time of the shard's clock at which it was written.
    // False: there is none.
    [[nodiscard]] bool read(uint64_t& now_ns, std::string& line);

  private:
    static constexpr uint64_t lane_bytes = 64 * 1024;
    static constexpr size_t line_bytes_max = 4 * 1024;

    // A cache line of its own, because the level is the shard's.
    struct alignas(64) ShardLog {
        explicit ShardLog(LogLevel shard_level) : lane(lane_bytes), level(shard_level) {}
        io::Lane lane;
        LogLevel level;
    };

    LogLevel level_;
    std::vector<std::unique_ptr<ShardLog>> lanes_;  // one per shard
};

// Appends ` key=value`, the value in quotes when it needs them.
void append_log_field(std::string& line, std::string_view key, std::string_view value);
std::string_view name_of(LogLevel level);

}  // namespace broker
