#include "tools/bench/broker_watch.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "io/base/units.h"
#include "tools/output.h"

namespace bench {
namespace {

constexpr size_t metrics_bytes_max = 4 * base::mib;

std::string read_text(const std::string& path) {
    const std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
}

// proc(5): the fields of /proc/PID/stat stand behind the name, which may hold spaces and brackets;
// 14 and 15 are the ticks in user and in kernel mode.
void read_ticks(const std::string& stat, ProcessUsage& usage) {
    const size_t name_end = stat.rfind(')');
    if (name_end == std::string::npos) return;
    std::istringstream fields(stat.substr(name_end + 1));
    std::string skipped;
    for (int field = 3; field < 14; ++field) fields >> skipped;
    uint64_t user_ticks = 0;
    uint64_t system_ticks = 0;
    fields >> user_ticks >> system_ticks;
    const auto ticks_per_s = static_cast<uint64_t>(std::max(1L, sysconf(_SC_CLK_TCK)));
    usage.user_ns = user_ticks * (base::ns_per_s / ticks_per_s);
    usage.system_ns = system_ticks * (base::ns_per_s / ticks_per_s);
}

uint64_t largest_rise(const std::map<pid_t, uint64_t>& before,
                      const std::map<pid_t, uint64_t>& after) {
    uint64_t most = 0;
    for (const auto& [thread, value] : after) {
        const auto earlier = before.find(thread);
        const uint64_t began = earlier == before.end() ? 0 : earlier->second;
        most = std::max(most, value - std::min(began, value));
    }
    return most;
}

}  // namespace

ProcessUsage read_process(int pid) {
    ProcessUsage usage;
    if (pid <= 0) return usage;
    const std::string folder = "/proc/" + std::to_string(pid);
    const std::string stat = read_text(folder + "/stat");
    if (stat.empty()) return usage;
    usage.is_known = true;
    read_ticks(stat, usage);
    std::istringstream memory(read_text(folder + "/statm"));
    uint64_t all_pages = 0;
    uint64_t resident_pages = 0;
    uint64_t file_pages = 0;
    memory >> all_pages >> resident_pages >> file_pages;
    const auto page_bytes = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    usage.resident_bytes = resident_pages * page_bytes;
    usage.anonymous_bytes = (resident_pages - std::min(resident_pages, file_pages)) * page_bytes;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder + "/task", error)) {
        std::istringstream schedstat(read_text(entry.path().string() + "/schedstat"));
        uint64_t run_ns = 0;
        uint64_t wait_ns = 0;
        // The thread has ended, or the kernel does not count.
        if (!(schedstat >> run_ns >> wait_ns)) continue;
        const pid_t thread = std::atoi(entry.path().filename().c_str());
        usage.thread_run_ns[thread] = run_ns;
        usage.thread_wait_ns[thread] = wait_ns;
        usage.run_ns += run_ns;
    }
    if (usage.run_ns == 0) usage.run_ns = usage.user_ns + usage.system_ns;
    return usage;
}

uint64_t busiest_thread_ns(const ProcessUsage& before, const ProcessUsage& after) {
    return largest_rise(before.thread_run_ns, after.thread_run_ns);
}

uint64_t longest_wait_ns(const ProcessUsage& before, const ProcessUsage& after) {
    return largest_rise(before.thread_wait_ns, after.thread_wait_ns);
}

std::map<std::string, double> parse_metrics(std::string_view text) {
    std::map<std::string, double> sums;
    while (!text.empty()) {
        std::string_view line = text.substr(0, text.find('\n'));
        text.remove_prefix(std::min(line.size() + 1, text.size()));
        const size_t space = line.rfind(' ');
        if (line.empty() || line[0] == '#' || space == std::string_view::npos) continue;
        double value = 0;
        const char* const line_end = line.data() + line.size();
        if (std::from_chars(line.data() + space + 1, line_end, value).ec != std::errc{}) continue;
        line = line.substr(0, space);
        sums[std::string(line.substr(0, line.find('{')))] += value;
    }
    return sums;
}

std::map<std::string, double> read_metrics(const tools::Url& url, const Address& address) {
    const int fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return {};
    const timeval timeout{.tv_sec = 2, .tv_usec = 0};
    static_cast<void>(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout));
    static_cast<void>(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout));
    std::string answer;
    const auto* const to = reinterpret_cast<const sockaddr*>(&address.storage);
    const std::string request =
        "GET /metrics HTTP/1.1\r\nHost: " + url.host_field() + "\r\nConnection: close\r\n\r\n";
    if (connect(fd, to, address.bytes) == 0 && tools::write_all(fd, request)) {
        char part[16 * base::kib];
        ssize_t count = 0;
        while (answer.size() < metrics_bytes_max && (count = recv(fd, part, sizeof part, 0)) > 0) {
            answer.append(part, static_cast<size_t>(count));
        }
    }
    ::close(fd);
    const size_t head_end = answer.find("\r\n\r\n");
    if (!answer.starts_with("HTTP/1.1 200") || head_end == std::string::npos) return {};
    return parse_metrics(std::string_view(answer).substr(head_end + 4));
}

}  // namespace bench
