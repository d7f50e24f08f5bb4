#include "io/listener.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <utility>

#include "io/base/check.h"
#include "io/peer_address.h"

namespace io {

namespace {

constexpr int backlog_count = 4096;
constexpr std::string_view unix_prefix = "unix:";
// A second in all.
constexpr int lock_tries_max = 100;
constexpr long lock_pause_ns = 10'000'000;

// A descriptor that is closed unless it is handed on.
class OwnedFd {
  public:
    explicit OwnedFd(int fd) : fd_(fd) {}
    OwnedFd(OwnedFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    OwnedFd& operator=(OwnedFd&&) = delete;
    ~OwnedFd() {
        if (fd_ >= 0) ::close(fd_);
    }
    int get() const { return fd_; }
    bool is_open() const { return fd_ >= 0; }
    int release() { return std::exchange(fd_, -1); }

  private:
    int fd_;
};

std::string quoted(std::string_view text) {
    std::string result(1, '"');
    result += text;
    result += '"';
    return result;
}

bool parse_port(std::string_view text, uint16_t& port) {
    if (text.empty() || text.size() > 5) return false;
    uint32_t value = 0;
    const auto [end, result] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (result != std::errc{} || end != text.data() + text.size() || value > UINT16_MAX)
        return false;
    port = static_cast<uint16_t>(value);
    return true;
}

template <class Address>
void store(const Address& from, socklen_t length, ListenAddress& address) {
    address = ListenAddress{};
    std::memcpy(&address.storage, &from, sizeof from);
    address.length = length;
}

bool parse_unix(std::string_view text, ListenAddress& address, std::string& error) {
    const std::string_view path = text.substr(unix_prefix.size());
    sockaddr_un socket{};
    if (path.empty()) {
        error = quoted(text) + " names no file: write unix:/path/of/the/socket";
        return false;
    }
    // One byte is for the terminating zero. The length is the kernel's (unix(7)), not ours.
    if (path.size() >= sizeof socket.sun_path || path.find('\0') != std::string_view::npos) {
        error = quoted(text) + ": the path of a Unix socket has at most " +
                std::to_string(sizeof socket.sun_path - 1) + " bytes and no zero byte";
        return false;
    }
    socket.sun_family = AF_UNIX;
    std::memcpy(socket.sun_path, path.data(), path.size());
    store(socket, static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1),
          address);
    return true;
}

bool parse_ipv6(const std::string& host, uint16_t port, ListenAddress& address) {
    sockaddr_in6 socket{};
    if (inet_pton(AF_INET6, host.c_str(), &socket.sin6_addr) != 1) return false;
    // An IPv4 address in IPv6 form would never be reached: the sockets are IPV6_V6ONLY.
    if (IN6_IS_ADDR_V4MAPPED(&socket.sin6_addr)) return false;
    socket.sin6_family = AF_INET6;
    socket.sin6_port = htons(port);
    store(socket, sizeof socket, address);
    return true;
}

bool parse_ipv4(const std::string& host, uint16_t port, ListenAddress& address) {
    sockaddr_in socket{};
    if (inet_pton(AF_INET, host.c_str(), &socket.sin_addr) != 1) return false;
    socket.sin_family = AF_INET;
    socket.sin_port = htons(port);
    store(socket, sizeof socket, address);
    return true;
}

std::string open_error_text(const std::string& wanted, int error_number) {
    switch (error_number) {
        case EADDRINUSE:
            return wanted +
                   " is in use by another process (another Fanfare?): stop it, or choose another " +
                   (wanted.starts_with(unix_prefix) ? "path" : "port") + " with --listen";
        case EACCES:
        case EPERM:
            return wanted +
                   ": permission denied: choose a port from 1024 up, or allow this one with sysctl "
                   "net.ipv4.ip_unprivileged_port_start or the capability CAP_NET_BIND_SERVICE; "
                   "for "
                   "a Unix socket, make its directory writable";
        case EADDRNOTAVAIL:
            return wanted +
                   ": this machine has no such address: `ip address` lists what it has; 0.0.0.0 or "
                   "[::] stands for all of them";
        case EAFNOSUPPORT:
            return wanted + ": this machine has no IPv6: choose an IPv4 address with --listen";
        case EMFILE: return wanted + ": too many open files: raise the limit (ulimit -n)";
        case ENOENT:
        case ENOTDIR: return wanted + ": the directory of the socket does not exist: create it";
    }
    return wanted + ": " + std::strerror(error_number);
}

Listening failed(const std::string& wanted, int error_number) {
    Listening listening;
    listening.error = open_error_text(wanted, error_number);
    listening.error_number = error_number;
    return listening;
}

bool set_option(int fd, int level, int name, int value) {
    return setsockopt(fd, level, name, &value, sizeof value) == 0;
}

// Everything about a listening TCP socket but its port group; its descriptor is -1 after an error.
OwnedFd tcp_socket(const ListenAddress& address, const ConnectionOptions& options) {
    const int family = address.storage.ss_family;
    OwnedFd fd(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd.is_open()) return fd;
    // SO_REUSEADDR lets a restarted broker bind although connections of the last one are in
    // TIME_WAIT; it does not let two sockets listen on one port (socket(7)).
    const int unsent_bytes_max = static_cast<int>(options.unsent_bytes_max);
    const int unacknowledged_ms_max = static_cast<int>(options.unacknowledged_ms_max);
    const bool is_set =
        set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1) &&
        set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1) &&
        set_option(fd.get(), IPPROTO_TCP, TCP_NOTSENT_LOWAT, unsent_bytes_max) &&
        set_option(fd.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, unacknowledged_ms_max) &&
        // "[::]:80" beside "0.0.0.0:80" must be possible, and one must not quietly include the
        // other.
        (family != AF_INET6 || set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1));
    return is_set ? std::move(fd) : OwnedFd(-1);
}

bool bind_and_listen(int fd, const ListenAddress& address) {
    return bind(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.length) == 0 &&
           listen(fd, backlog_count) == 0;
}

// The address that a socket has really got.
bool bound_address(int fd, ListenAddress& bound) {
    bound.length = sizeof bound.storage;
    return getsockname(fd, reinterpret_cast<sockaddr*>(&bound.storage), &bound.length) == 0;
}

// The first socket binds and listens without SO_REUSEPORT: the kernel refuses it when anybody else
// listens there. Only then it joins, or rather founds, the group (SO_REUSEPORT may be set later),
// so there is no moment at which a second broker could slip in, and port 0 is chosen once for all
// shards.
Listening open_tcp(const ListenAddress& address, uint32_t shards_count,
                   const ConnectionOptions& options) {
    const std::string wanted = address_text(address.storage, address.length);
    std::vector<OwnedFd> group;
    ListenAddress bound;
    for (uint32_t shard = 0; shard < shards_count; ++shard) {
        group.push_back(tcp_socket(address, options));
        const int fd = group.back().get();
        const bool is_first = shard == 0;
        if (fd < 0) return failed(wanted, errno);
        if (!is_first && !set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1)) return failed(wanted, errno);
        if (!bind_and_listen(fd, is_first ? address : bound)) return failed(wanted, errno);
        if (is_first && !bound_address(fd, bound)) return failed(wanted, errno);
        if (is_first && !set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1)) return failed(wanted, errno);
    }
    Listening listening;
    for (OwnedFd& fd : group) listening.fds.push_back(fd.release());
    listening.bound = address_text(bound.storage, bound.length);
    listening.is_loopback = is_loopback(bound.storage);
    return listening;
}

// Removes the file that a dead broker left behind. Answers 0, or why the path cannot be used.
int unix_path_clear(const ListenAddress& address, const char* path) {
    struct stat status;
    if (lstat(path, &status) != 0) return errno == ENOENT ? 0 : errno;
    // connect() to any other kind of file is refused too, so look before it is taken for a dead
    // socket.
    if (!S_ISSOCK(status.st_mode)) return EEXIST;
    // Not blocking: a living broker with a full queue answers EAGAIN.
    OwnedFd probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!probe.is_open()) return errno;
    const auto* const generic = reinterpret_cast<const sockaddr*>(&address.storage);
    if (connect(probe.get(), generic, address.length) == 0) return EADDRINUSE;
    if (errno != ECONNREFUSED) return errno == EAGAIN || errno == EPROTOTYPE ? EADDRINUSE : errno;
    return unlink(path) == 0 || errno == ENOENT ? 0 : errno;
}

// Two brokers that start at once could both find the file dead, and the slower one would unlink the
// living file of the faster. So the directory is locked from the look until the socket listens;
// closing unlocks.
OwnedFd unix_directory_lock(const std::string& path) {
    const size_t slash = path.rfind('/');
    const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    OwnedFd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.is_open()) return fd;
    // A broker holds it for a moment, but whoever may read the directory may lock it, and keep it.
    // Then, and where the file system cannot lock, the small race is accepted.
    for (int tries = 1; flock(fd.get(), LOCK_EX | LOCK_NB) != 0; ++tries) {
        if (errno != EWOULDBLOCK || tries == lock_tries_max) break;
        const timespec pause{0, lock_pause_ns};
        nanosleep(&pause, nullptr);
    }
    return fd;
}

Listening open_unix(const ListenAddress& address, uint32_t shards_count) {
    const std::string wanted = address_text(address.storage, address.length);
    const std::string path = wanted.substr(unix_prefix.size());
    const OwnedFd lock = unix_directory_lock(path);
    const int reason = unix_path_clear(address, path.c_str());
    if (reason == EEXIST) {
        Listening listening = failed(wanted, reason);
        listening.error =
            wanted + ": the file exists and is not a socket: remove it, or choose another path";
        return listening;
    }
    if (reason != 0) return failed(wanted, reason);

    std::vector<OwnedFd> duplicates;
    duplicates.emplace_back(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!duplicates[0].is_open()) return failed(wanted, errno);
    if (!bind_and_listen(duplicates[0].get(), address)) return failed(wanted, errno);
    while (duplicates.size() < shards_count) {
        duplicates.emplace_back(fcntl(duplicates[0].get(), F_DUPFD_CLOEXEC, 0));
        if (!duplicates.back().is_open()) {
            const int error_number = errno;
            unlink(path.c_str());
            return failed(wanted, error_number);
        }
    }
    Listening listening;
    for (OwnedFd& fd : duplicates) listening.fds.push_back(fd.release());
    listening.bound = wanted;
    listening.is_loopback = true;
    return listening;
}

}  // namespace

bool parse_listen_address(std::string_view text, ListenAddress& address, std::string& error) {
    if (text.starts_with(unix_prefix)) return parse_unix(text, address, error);
    const std::string whole = quoted(text);
    const size_t colon = text.rfind(':');
    uint16_t port = 0;
    if (colon == std::string_view::npos || !parse_port(text.substr(colon + 1), port)) {
        error = whole +
                " has no port from 0 to 65535 at its end: write for example 127.0.0.1:7788, "
                "[::1]:7788 or unix:/run/fanfare.sock";
        return false;
    }
    const std::string_view host = text.substr(0, colon);
    if (host.empty()) {
        error = whole + " does not say which address: write 127.0.0.1" + std::string(text) +
                " to be reached from this machine only, or 0.0.0.0" + std::string(text) +
                " to be reached from everywhere";
        return false;
    }
    const bool is_bracketed = host.size() >= 2 && host.front() == '[' && host.back() == ']';
    if (is_bracketed) {
        if (parse_ipv6(std::string(host.substr(1, host.size() - 2)), port, address)) return true;
        error =
            whole + ": between the brackets stands no IPv6 address (IPv4 is written without them)";
        return false;
    }
    if (parse_ipv4(std::string(host), port, address)) return true;
    error =
        whole + ": " + std::string(host) +
        " is not an IPv4 address; names are not looked up, and IPv6 stands in brackets: [::1]:7788";
    return false;
}

Listening open_listening(const ListenAddress& address, uint32_t shards_count,
                         const ConnectionOptions& options) {
    CHECK(shards_count >= 1);
    if (address.storage.ss_family == AF_UNIX) return open_unix(address, shards_count);
    return open_tcp(address, shards_count, options);
}

void drop_new_handshakes(int listening_fd) {
    // Classic BPF (socket(7), SO_ATTACH_FILTER); it sees a segment from its TCP header on (RFC 9293
    // section 3.1): the flags are byte 13, SYN is 2 and ACK 16. Whoever has had its SYN answered
    // may still complete its handshake.
    constexpr uint32_t flags_offset = 13;
    constexpr uint32_t syn = 0x02;
    constexpr uint32_t syn_and_ack = 0x12;
    sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, flags_offset),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, syn_and_ack),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, syn, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0),           // dropped
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),  // all of it is let through
    };
    const sock_fprog program{std::size(code), code};
    // Where it is forbidden (seccomp), or the socket is one of a Unix path, which never runs it,
    // those who come in the last moment are reset, as they would be without this.
    static_cast<void>(
        setsockopt(listening_fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
}

}  // namespace io
