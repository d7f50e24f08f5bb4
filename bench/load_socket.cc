#include "bench/load_socket.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <vector>

namespace load {

namespace {

constexpr size_t receive_bytes = 1 << 20;

}  // namespace

void fail(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    std::fputs("load: ", stderr);
    std::vfprintf(stderr, format, arguments);
    std::fputc('\n', stderr);
    va_end(arguments);
    std::exit(1);
}

uint64_t now_ns() {
    timespec time{};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

uint64_t process_cpu_ns(int pid) {
    uint64_t sum_ns = 0;
    const std::string folder = "/proc/" + std::to_string(pid) + "/task";
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        uint64_t run_ns = 0;
        std::ifstream(entry.path() / "schedstat") >> run_ns;
        sum_ns += run_ns;
    }
    return sum_ns;
}

uint64_t resident_bytes(int pid) {
    std::ifstream status("/proc/" + std::to_string(pid) + "/status");
    std::string line;
    while (std::getline(status, line)) {
        if (line.starts_with("VmRSS:")) return std::stoull(line.substr(6)) * 1024;
    }
    fail("no VmRSS of process %d", pid);
}

void raise_descriptor_limit() {
    rlimit descriptors{};
    getrlimit(RLIMIT_NOFILE, &descriptors);
    descriptors.rlim_cur = descriptors.rlim_max;
    setrlimit(RLIMIT_NOFILE, &descriptors);
}

std::string_view member(std::string_view json, std::string_view name) {
    const size_t at = json.find(name);
    if (at == std::string_view::npos) return {};
    const std::string_view rest = json.substr(at + name.size());
    return rest.substr(0, rest.find_first_of("\",}"));
}

uint64_t number(std::string_view text) {
    uint64_t value = 0;
    const char* end = text.data() + text.size();
    const std::from_chars_result result = std::from_chars(text.data(), end, value);
    if (text.empty() || result.ec != std::errc() || result.ptr != end) {
        fail("not a number: %.*s", static_cast<int>(text.size()), text.data());
    }
    return value;
}

std::string text_frame(std::string_view text) {
    std::string frame{'\x81'};
    const size_t size = text.size();
    if (size < 126) {
        frame.push_back(static_cast<char>(0x80 | size));
    } else {
        if (size > 65'535) fail("a frame of %zu bytes", size);
        frame.push_back(static_cast<char>(0x80 | 126));
        frame.push_back(static_cast<char>(size >> 8));
        frame.push_back(static_cast<char>(size & 0xFF));
    }
    frame.append(4, '\0').append(text);
    return frame;
}

void LoadSocket::connect(const char* address, uint16_t port, int window_bytes) {
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) fail("socket: %s", std::strerror(errno));
    const int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (window_bytes > 0) {
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &window_bytes, sizeof window_bytes);
    }
    sockaddr_in place{};
    place.sin_family = AF_INET;
    place.sin_port = htons(port);
    if (inet_pton(AF_INET, address, &place.sin_addr) != 1) fail("no address: %s", address);
    if (::connect(fd, reinterpret_cast<sockaddr*>(&place), sizeof place) != 0 &&
        errno != EINPROGRESS) {
        fail("connect: %s", std::strerror(errno));
    }
    state = State::connecting;
    partial.clear();
}

bool LoadSocket::connected() {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return false;
    state = State::upgrading;
    send(
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n");
    return true;
}

void LoadSocket::send(std::string_view bytes) const {
    while (!bytes.empty()) {
        const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent >= 0) {
            bytes.remove_prefix(static_cast<size_t>(sent));
            continue;
        }
        if (errno == ECONNRESET || errno == EPIPE) return;  // the next receive tells
        if (errno != EAGAIN) fail("send: %s", std::strerror(errno));
        pollfd wait{.fd = fd, .events = POLLOUT, .revents = 0};
        if (poll(&wait, 1, 10'000) != 1) fail("the broker does not read");
    }
}

void LoadSocket::close() {
    if (fd >= 0) ::close(fd);
    fd = -1;
    partial = {};
}

bool LoadSocket::read_more(std::string_view& bytes) {
    static thread_local std::vector<char> buffer(2 * receive_bytes);
    const size_t kept = partial.size();
    if (kept > receive_bytes) fail("a frame beyond 1 MiB");
    std::memcpy(buffer.data(), partial.data(), kept);
    const ssize_t received = recv(fd, buffer.data() + kept, receive_bytes, 0);
    if (received < 0 && errno == EAGAIN) {
        bytes = {buffer.data(), kept};
        return true;
    }
    if (received <= 0) return false;
    bytes = {buffer.data(), kept + static_cast<size_t>(received)};
    return true;
}

bool LoadSocket::take_response(std::string_view bytes, size_t& at) {
    const size_t end = bytes.find("\r\n\r\n");
    if (end == std::string_view::npos) return true;
    if (!bytes.starts_with("HTTP/1.1 101 ")) return false;
    at = end + 4;
    state = State::open;
    return true;
}

bool LoadSocket::next_frame(std::string_view bytes, size_t& at, Frame& frame) {
    const auto byte = [&](size_t index) { return static_cast<uint8_t>(bytes[at + index]); };
    const size_t left = bytes.size() - at;
    if (left < 2) return false;
    size_t size = byte(1);
    size_t head = 2;
    if (size == 126) {
        if (left < 4) return false;
        size = size_t{byte(2)} << 8 | byte(3);
        head = 4;
    } else if (size == 127) {
        fail("a frame beyond 64 KiB");
    }
    if (left < head + size) return false;
    frame = {static_cast<uint8_t>(byte(0) & 0x0F), bytes.substr(at + head, size)};
    at += head + size;
    return true;
}

void LoadSocket::send_pong(std::string_view payload) const {
    std::string frame{'\x8A', static_cast<char>(0x80 | payload.size()), 0, 0, 0, 0};
    send(frame.append(payload));
}

uint16_t LoadSocket::close_code_of(std::string_view payload) {
    if (payload.size() < 2) return 1005;
    return static_cast<uint16_t>(static_cast<uint8_t>(payload[0]) << 8 |
                                 static_cast<uint8_t>(payload[1]));
}

}  // namespace load
