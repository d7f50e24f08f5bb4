#include "broker/memory_budget.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>

#include "broker/control_groups.h"

namespace broker {

namespace {

constexpr Metric counted[] = {Metric::chunk_memory_bytes, Metric::held_bytes, Metric::history_bytes,
                              Metric::reassembly_bytes};

uint64_t page_bytes() {
    return static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

void MemoryBudget::update() {
    used_bytes_ = registry_.kernel_socket_bytes();
    for (io::ShardId shard = 0; shard < registry_.shards_count(); ++shard) {
        for (const Metric metric : counted) used_bytes_ += registry_.shard(shard).get(metric);
    }
    if (bytes_max_ == 0) return;
    if (used_bytes_ >= bytes_max_) {
        level_ = Level::full;
    } else {
        level_ = used_bytes_ >= bytes_max_ - bytes_max_ / 8 ? Level::near : Level::calm;
    }
}

uint64_t usable_memory_bytes() {
    const uint64_t machine = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * page_bytes();
    return std::min(machine, read_control_group_limits().memory_bytes);
}

uint64_t share_of_sockets(std::string_view sockstat, uint64_t connections_count) {
    // TCP: inuse 7 orphan 0 tw 2 alloc 9 mem 3
    constexpr std::string_view begin = "TCP: ";
    const size_t line = sockstat.find(begin);
    if (line == std::string_view::npos) return 0;
    const std::string text(sockstat.substr(line, sockstat.find('\n', line) - line));
    unsigned long long sockets = 0;
    unsigned long long pages = 0;
    const char* const counts = std::strstr(text.c_str(), " alloc ");
    if (counts == nullptr || std::sscanf(counts, " alloc %llu mem %llu", &sockets, &pages) != 2) {
        return 0;
    }
    const uint64_t bytes = pages * page_bytes();
    if (connections_count >= sockets) return bytes;
    return static_cast<uint64_t>(static_cast<double>(bytes) *
                                 static_cast<double>(connections_count) /
                                 static_cast<double>(sockets));
}

uint64_t kernel_socket_bytes(uint64_t connections_count) {
    std::FILE* file = std::fopen("/proc/net/sockstat", "re");
    if (file == nullptr) return 0;
    char text[1'024];
    const size_t bytes = std::fread(text, 1, sizeof text, file);
    std::fclose(file);
    return share_of_sockets({text, bytes}, connections_count);
}

}  // namespace broker
