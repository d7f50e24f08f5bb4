#include "tools/bench/connector.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

namespace bench {
namespace {

// Connections from one source address before the next one is taken. It has some 28,000 ports, of
// which the kernel tries the even ones first, one after the other from a random place: when most of
// those are taken, by these connections or by earlier ones that wait for their end, the search
// costs more than all else of a connection.
constexpr uint64_t connections_per_source = 5'000;
constexpr uint64_t loopback_sources_max = 250;  // 127.0.0.1 to 127.0.0.250

bool is_ipv4_loopback(const Address& address) {
    if (address.storage.ss_family != AF_INET) return false;
    sockaddr_in ipv4{};
    std::memcpy(&ipv4, &address.storage, sizeof ipv4);
    return ntohl(ipv4.sin_addr.s_addr) >> 24 == 127;
}

Address loopback_source(uint64_t index) {
    sockaddr_in ipv4{};
    ipv4.sin_family = AF_INET;
    ipv4.sin_addr.s_addr = htonl(INADDR_LOOPBACK + static_cast<uint32_t>(index));
    Address address{.bytes = sizeof ipv4};
    std::memcpy(&address.storage, &ipv4, sizeof ipv4);
    return address;
}

std::string look_up(const std::string& host, const char* port, int flags, Address& address) {
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags;
    addrinfo* found = nullptr;
    const int status = getaddrinfo(host.c_str(), port, &hints, &found);
    if (status == EAI_SYSTEM) return std::strerror(errno);
    if (status != 0) return gai_strerror(status);
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, freeaddrinfo);
    std::memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
    address.bytes = found->ai_addrlen;
    return "";
}

}  // namespace

std::string resolve(const tools::Url& url, Address& address) {
    if (!url.is_unix()) {
        return look_up(url.host, std::to_string(url.port).c_str(), AI_NUMERICSERV, address);
    }
    sockaddr_un local{};
    local.sun_family = AF_UNIX;
    // parse_url has checked the length.
    std::memcpy(local.sun_path, url.socket_path.data(), url.socket_path.size());
    std::memcpy(&address.storage, &local, sizeof local);
    address.bytes = sizeof local;
    return "";
}

std::string parse_source(const std::string& text, Address& address) {
    return look_up(text, nullptr, AI_NUMERICHOST, address);
}

std::string check_source(const Address& source, const Address& target) {
    if (source.storage.ss_family != target.storage.ss_family) {
        return "the server's address is of another family";
    }
    const int fd = socket(source.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return std::strerror(errno);
    const auto* const address = reinterpret_cast<const sockaddr*>(&source.storage);
    std::string problem;
    if (bind(fd, address, source.bytes) != 0) {
        problem =
            errno == EADDRNOTAVAIL ? "this machine has no such address" : std::strerror(errno);
    }
    ::close(fd);
    return problem;
}

Connector::Connector(const Address& target, std::span<const Address> sources, uint32_t first_number,
                     uint32_t step)
    : target_(target), sources_(sources), step_(step), number_(first_number) {
    epoll_ = epoll_create1(EPOLL_CLOEXEC);
}

Connector::~Connector() {
    for (const int fd : fds_) {
        if (fd >= 0) ::close(fd);
    }
    if (is_made()) ::close(epoll_);
}

int Connector::bind_source(int fd) {
    Address source;
    if (!sources_.empty()) {
        source = sources_[number_ % sources_.size()];
    } else if (is_ipv4_loopback(target_)) {
        source = loopback_source(number_ / connections_per_source % loopback_sources_max);
    } else {
        return 0;
    }
    // The port is chosen with connect(2), when the other end is known, so that the same port can
    // serve several destinations.
    const int on = 1;
    static_cast<void>(setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on));
    const auto* const address = reinterpret_cast<const sockaddr*>(&source.storage);
    return bind(fd, address, source.bytes) == 0 ? 0 : errno;
}

int Connector::start(uint32_t client) {
    const int fd = socket(target_.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return errno;
    const int on = 1;
    // It does not exist for Unix sockets, and a failure costs only some latency.
    static_cast<void>(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
    int error = bind_source(fd);
    number_ += step_;
    if (error == 0) {
        const auto* const address = reinterpret_cast<const sockaddr*>(&target_.storage);
        const int result = ::connect(fd, address, target_.bytes);
        if (result != 0 && errno != EINPROGRESS) error = errno;
    }
    epoll_event event{.events = EPOLLOUT, .data = {.u32 = client}};
    if (error == 0 && epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) error = errno;
    if (error != 0) {
        ::close(fd);
        return error;
    }
    if (fds_.size() <= client) fds_.resize(client + 1, -1);
    fds_[client] = fd;
    ++connecting_count_;
    return 0;
}

std::span<const Connector::Outcome> Connector::collect() {
    outcomes_.clear();
    if (connecting_count_ == 0) return outcomes_;
    epoll_event events[connecting_max];
    const int count = epoll_wait(epoll_, events, connecting_max, 0);
    for (int index = 0; index < count; ++index) {
        const uint32_t client = events[index].data.u32;
        const int fd = fds_[client];
        fds_[client] = -1;
        --connecting_count_;
        int error = 0;
        socklen_t error_bytes = sizeof error;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_bytes) != 0) error = errno;
        // The ring's table will refer to the file; an epoll that still knew it would keep telling.
        static_cast<void>(epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr));
        if (error != 0) ::close(fd);
        outcomes_.push_back({client, error == 0 ? fd : -1, error});
    }
    return outcomes_;
}

}  // namespace bench
