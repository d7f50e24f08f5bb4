#include "io/listener.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "io/peer_address.h"

namespace {

using io::ListenAddress;
using io::Listening;

ListenAddress parsed(const std::string& text) {
    ListenAddress address;
    std::string error;
    EXPECT_TRUE(io::parse_listen_address(text, address, error)) << error;
    EXPECT_TRUE(error.empty());
    return address;
}

std::string parse_error(const std::string& text) {
    ListenAddress address;
    std::string error;
    EXPECT_FALSE(io::parse_listen_address(text, address, error)) << text;
    EXPECT_NE(error.find("\"" + text + "\""), std::string::npos) << error;
    return error;
}

void close_all(const Listening& listening) {
    for (const int fd : listening.fds) close(fd);
}

// A connected client; -1 when the connection was refused.
int connect_to(const std::string& text) {
    const ListenAddress address = parsed(text);
    const int fd = socket(address.storage.ss_family, SOCK_STREAM, 0);
    if (connect(fd, reinterpret_cast<const sockaddr*>(&address.storage), address.length) == 0) {
        return fd;
    }
    close(fd);
    return -1;
}

int option(int fd, int level, int name) {
    int value = -1;
    socklen_t length = sizeof value;
    EXPECT_EQ(getsockopt(fd, level, name, &value, &length), 0);
    return value;
}

bool has_ipv6() {
    const int fd = socket(AF_INET6, SOCK_STREAM, 0);
    if (fd < 0) return false;
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_addr = in6addr_loopback;
    const bool is_bound =
        bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    close(fd);
    return is_bound;
}

class TemporaryDirectory {
  public:
    TemporaryDirectory() {
        char name[] = "/tmp/listener_test.XXXXXX";
        path_ = mkdtemp(name);
    }
    ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
    std::string operator/(const std::string& name) const { return path_ + "/" + name; }

  private:
    std::string path_;
};

TEST(listener, parses_what_it_writes) {
    for (const std::string text :
         {"127.0.0.1:7788", "0.0.0.0:80", "[::1]:7788", "[::]:0", "[2001:db8::7]:65535",
          "255.255.255.255:1", "unix:/run/fanfare.sock", "unix:relative"}) {
        const ListenAddress address = parsed(text);
        EXPECT_EQ(io::address_text(address.storage, address.length), text);
    }
}

TEST(listener, says_what_is_wrong_with_an_address) {
    EXPECT_NE(parse_error(":7788").find("127.0.0.1:7788"), std::string::npos);
    EXPECT_NE(parse_error(":7788").find("0.0.0.0:7788"), std::string::npos);
    EXPECT_NE(parse_error("localhost:7788").find("names are not looked up"), std::string::npos);
    for (const char* const text :
         {"", "7788", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:+1",
          "127.0.0.1: 1", "127.0.0.1:1x", "127.0.0.1:000080"}) {
        EXPECT_NE(parse_error(text).find("no port"), std::string::npos) << text;
    }
    for (const char* const text : {"::1:7788", "127.0.0:7788", "[::1:7788", "256.0.0.1:1"}) {
        EXPECT_NE(parse_error(text).find("not an IPv4 address"), std::string::npos) << text;
    }
    for (const char* const text : {"[]:1", "[127.0.0.1]:1", "[::g]:1", "[::ffff:127.0.0.1]:1"}) {
        EXPECT_NE(parse_error(text).find("no IPv6 address"), std::string::npos) << text;
    }
    EXPECT_NE(parse_error("unix:").find("names no file"), std::string::npos);
}

TEST(listener, a_unix_path_has_the_length_that_the_kernel_allows) {
    const size_t path_bytes_max = sizeof(sockaddr_un::sun_path) - 1;
    parsed("unix:" + std::string(path_bytes_max, 'x'));
    EXPECT_NE(parse_error("unix:" + std::string(path_bytes_max + 1, 'x')).find("107 bytes"),
              std::string::npos);
}

TEST(listener, knows_what_only_this_machine_can_reach) {
    for (const char* const text : {"127.0.0.1:1", "127.255.0.9:1", "[::1]:1", "unix:/x"}) {
        EXPECT_TRUE(io::is_loopback(parsed(text).storage)) << text;
    }
    for (const char* const text :
         {"0.0.0.0:1", "128.0.0.1:1", "126.9.9.9:1", "[::]:1", "[::2]:1"}) {
        EXPECT_FALSE(io::is_loopback(parsed(text).storage)) << text;
    }
}

TEST(listener, port_0_is_chosen_once_for_all_shards) {
    const Listening listening = io::open_listening(parsed("127.0.0.1:0"), 3);
    ASSERT_TRUE(listening.error.empty()) << listening.error;
    EXPECT_EQ(listening.error_number, 0);
    ASSERT_EQ(listening.fds.size(), 3u);
    EXPECT_TRUE(listening.is_loopback);
    EXPECT_NE(listening.bound, "127.0.0.1:0");
    for (const int fd : listening.fds) {
        ListenAddress bound;
        bound.length = sizeof bound.storage;
        ASSERT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&bound.storage), &bound.length), 0);
        EXPECT_EQ(io::address_text(bound.storage, bound.length), listening.bound);
        EXPECT_EQ(option(fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
        EXPECT_NE(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    }
    close_all(listening);
}

TEST(listener, the_kernel_spreads_connections_over_all_shards) {
    const Listening listening = io::open_listening(parsed("127.0.0.1:0"), 3);
    ASSERT_TRUE(listening.error.empty()) << listening.error;
    std::vector<int> clients;
    std::vector<uint32_t> counts(3, 0);
    // The kernel hashes the client's port, so 300 connections miss one of three shards practically
    // never.
    for (int count = 0; count < 300; ++count) {
        clients.push_back(connect_to(listening.bound));
        ASSERT_GE(clients.back(), 0);
    }
    for (size_t shard = 0; shard < 3; ++shard) {
        pollfd ready{listening.fds[shard], POLLIN, 0};
        while (poll(&ready, 1, 0) == 1) {
            close(accept(listening.fds[shard], nullptr, nullptr));
            ++counts[shard];
        }
        EXPECT_GT(counts[shard], 0u) << shard;
    }
    EXPECT_EQ(counts[0] + counts[1] + counts[2], 300u);
    for (const int client : clients) close(client);
    close_all(listening);
}

TEST(listener, accepted_connections_inherit_their_options) {
    const io::ConnectionOptions options{.unsent_bytes_max = 12'345,
                                        .unacknowledged_ms_max = 45'000};
    std::vector<std::string> places = {"127.0.0.1:0"};
    if (has_ipv6()) places.emplace_back("[::1]:0");
    for (const std::string& place : places) {
        const Listening listening = io::open_listening(parsed(place), 2, options);
        ASSERT_TRUE(listening.error.empty()) << listening.error;
        for (const int listening_fd : listening.fds) {
            EXPECT_EQ(option(listening_fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 45'000);
        }
        const int client = connect_to(listening.bound);
        pollfd waiting[2] = {{listening.fds[0], POLLIN, 0}, {listening.fds[1], POLLIN, 0}};
        ASSERT_EQ(poll(waiting, 2, 5'000), 1);
        const int chosen = (waiting[0].revents & POLLIN) != 0 ? 0 : 1;
        const int accepted = accept(listening.fds[static_cast<size_t>(chosen)], nullptr, nullptr);
        EXPECT_EQ(option(accepted, IPPROTO_TCP, TCP_NODELAY), 1);
        EXPECT_EQ(option(accepted, IPPROTO_TCP, TCP_NOTSENT_LOWAT), 12'345);
        EXPECT_EQ(option(accepted, IPPROTO_TCP, TCP_USER_TIMEOUT), 45'000);
        close(client);
        close(accepted);
        close_all(listening);
    }
}

// Not blocking; where the connection stands is read with `connection_error`.
int connect_begin(const std::string& text) {
    const ListenAddress address = parsed(text);
    const int fd = socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    const auto* const generic = reinterpret_cast<const sockaddr*>(&address.storage);
    EXPECT_TRUE(connect(fd, generic, address.length) == 0 || errno == EINPROGRESS);
    return fd;
}

// 0: connected; EINPROGRESS: not within the time.
int connection_error(int fd, int timeout_ms) {
    pollfd wanted{.fd = fd, .events = POLLOUT, .revents = 0};
    if (poll(&wanted, 1, timeout_ms) == 0) return EINPROGRESS;
    return option(fd, SOL_SOCKET, SO_ERROR);
}

TEST(listener, who_comes_while_it_closes_is_not_reset_but_comes_again) {
    const Listening listening = io::open_listening(parsed("127.0.0.1:0"), 1);
    ASSERT_EQ(listening.error, "");
    const int early = connect_begin(listening.bound);
    EXPECT_EQ(connection_error(early, 1'000), 0);
    io::drop_new_handshakes(listening.fds[0]);
    const int late = connect_begin(listening.bound);
    EXPECT_EQ(connection_error(late, 200), EINPROGRESS);

    // Who had waited in the queue is let in and served.
    const int accepted = accept(listening.fds[0], nullptr, nullptr);
    ASSERT_GE(accepted, 0);
    char byte = 0;
    EXPECT_EQ(write(early, "a", 1), 1);
    EXPECT_EQ(read(accepted, &byte, 1), 1);
    EXPECT_EQ(write(accepted, "b", 1), 1);
    ASSERT_EQ(connection_error(early, 1'000), 0);
    EXPECT_EQ(byte, 'a');

    // A successor takes the port within the second after which the SYN is repeated.
    close_all(listening);
    const Listening successor = io::open_listening(parsed(listening.bound), 1);
    ASSERT_EQ(successor.error, "");
    EXPECT_EQ(connection_error(late, 10'000), 0);
    for (const int fd : {early, late, accepted}) close(fd);
    close_all(successor);
}

TEST(listener, who_is_too_late_is_refused) {
    const Listening listening = io::open_listening(parsed("127.0.0.1:0"), 1);
    ASSERT_EQ(listening.error, "");
    io::drop_new_handshakes(listening.fds[0]);
    const int late = connect_begin(listening.bound);
    EXPECT_EQ(connection_error(late, 100), EINPROGRESS);
    close_all(listening);
    EXPECT_EQ(connection_error(late, 10'000), ECONNREFUSED);
    close(late);
}

TEST(listener, options_have_defaults) {
    const Listening listening = io::open_listening(parsed("127.0.0.1:0"), 1);
    ASSERT_TRUE(listening.error.empty()) << listening.error;
    EXPECT_EQ(option(listening.fds[0], IPPROTO_TCP, TCP_NOTSENT_LOWAT), 65'536);
    EXPECT_EQ(option(listening.fds[0], IPPROTO_TCP, TCP_USER_TIMEOUT), 0) << "the kernel's";
    close_all(listening);
}

TEST(listener, two_cannot_share_a_port) {
    for (const uint32_t shards_count : {1u, 2u}) {
        const Listening first = io::open_listening(parsed("127.0.0.1:0"), shards_count);
        ASSERT_TRUE(first.error.empty()) << first.error;
        const Listening second = io::open_listening(parsed(first.bound), shards_count);
        EXPECT_TRUE(second.fds.empty());
        EXPECT_EQ(second.error_number, EADDRINUSE);
        EXPECT_EQ(second.error, first.bound +
                                    " is in use by another process (another Fanfare?): stop it, or "
                                    "choose another port with --listen");
        // The wildcard address includes the specific one.
        const std::string port = first.bound.substr(first.bound.rfind(':'));
        const Listening wildcard = io::open_listening(parsed("0.0.0.0" + port), 1);
        EXPECT_EQ(wildcard.error_number, EADDRINUSE);
        close_all(first);
        const Listening third = io::open_listening(parsed(first.bound), shards_count);
        EXPECT_TRUE(third.error.empty()) << third.error;
        close_all(third);
    }
}

TEST(listener, a_port_with_connections_in_time_wait_can_be_opened_again) {
    const Listening first = io::open_listening(parsed("127.0.0.1:0"), 2);
    ASSERT_TRUE(first.error.empty()) << first.error;
    const int client = connect_to(first.bound);
    ASSERT_GE(client, 0);
    for (const int fd : first.fds) {
        pollfd ready{fd, POLLIN, 0};
        // The side that closes first keeps the port in TIME_WAIT.
        if (poll(&ready, 1, 0) == 1) close(accept(fd, nullptr, nullptr));
    }
    close_all(first);
    close(client);
    const Listening second = io::open_listening(parsed(first.bound), 2);
    EXPECT_TRUE(second.error.empty()) << second.error;
    close_all(second);
}

TEST(listener, an_address_of_another_machine_is_explained) {
    const Listening listening = io::open_listening(parsed("192.0.2.1:0"), 1);
    EXPECT_EQ(listening.error_number, EADDRNOTAVAIL);
    EXPECT_NE(listening.error.find("no such address"), std::string::npos) << listening.error;
}

TEST(listener, ipv6_leaves_the_same_port_of_ipv4_alone) {
    if (!has_ipv6()) GTEST_SKIP() << "this machine has no IPv6";
    const Listening six = io::open_listening(parsed("[::]:0"), 2);
    ASSERT_TRUE(six.error.empty()) << six.error;
    EXPECT_FALSE(six.is_loopback);
    ASSERT_EQ(six.bound.substr(0, 5), "[::]:");
    const std::string port = six.bound.substr(5);
    EXPECT_EQ(connect_to("127.0.0.1:" + port), -1);
    const Listening four = io::open_listening(parsed("0.0.0.0:" + port), 2);
    EXPECT_TRUE(four.error.empty()) << four.error;
    const int client = connect_to("[::1]:" + port);
    EXPECT_GE(client, 0);
    close(client);
    close_all(six);
    close_all(four);
}

TEST(listener, unix_shards_share_one_socket) {
    const TemporaryDirectory directory;
    const std::string text = "unix:" + (directory / "socket");
    const Listening listening = io::open_listening(parsed(text), 3);
    ASSERT_TRUE(listening.error.empty()) << listening.error;
    ASSERT_EQ(listening.fds.size(), 3u);
    EXPECT_EQ(listening.bound, text);
    EXPECT_TRUE(listening.is_loopback);
    for (const int fd : listening.fds) {
        const int client = connect_to(text);
        io::PeerAddress peer{};
        peer.length = sizeof peer.storage;
        const int accepted = accept(fd, reinterpret_cast<sockaddr*>(&peer.storage), &peer.length);
        ASSERT_GE(accepted, 0);
        EXPECT_EQ(io::peer_text(peer), "unix");
        close(client);
        close(accepted);
    }
    close_all(listening);
}

TEST(listener, a_living_unix_socket_is_respected_and_a_dead_one_replaced) {
    const TemporaryDirectory directory;
    const std::string text = "unix:" + (directory / "socket");
    const Listening first = io::open_listening(parsed(text), 1);
    ASSERT_TRUE(first.error.empty()) << first.error;
    const Listening second = io::open_listening(parsed(text), 1);
    EXPECT_EQ(second.error_number, EADDRINUSE);
    EXPECT_NE(second.error.find(text + " is in use"), std::string::npos) << second.error;
    const int client = connect_to(text);
    EXPECT_GE(client, 0);  // the refused attempt did no harm
    close(client);
    close_all(first);
    EXPECT_TRUE(std::filesystem::exists(directory / "socket"));
    const Listening third = io::open_listening(parsed(text), 1);
    EXPECT_TRUE(third.error.empty()) << third.error;
    close_all(third);
}

// Whoever may read a directory may lock it, as tools do that clean up in it.
TEST(listener, a_directory_that_others_keep_locked_is_used_all_the_same) {
    const TemporaryDirectory directory;
    const int fd = open((directory / "").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ASSERT_EQ(flock(fd, LOCK_SH), 0);
    const Listening listening = io::open_listening(parsed("unix:" + (directory / "socket")), 1);
    EXPECT_EQ(listening.error, "");
    close_all(listening);
    close(fd);
}

// A client can bind its end to a path that fills the address to its last byte; the kernel then
// counts a terminating zero for which there is no room (unix(7)).
TEST(listener, the_longest_path_of_a_peer_is_written_whole) {
    const TemporaryDirectory directory;
    const std::string text = "unix:" + (directory / "socket");
    const Listening listening = io::open_listening(parsed(text), 1);
    ASSERT_EQ(listening.error, "");
    sockaddr_un own{};
    own.sun_family = AF_UNIX;
    std::string path = directory / "";
    path.resize(sizeof own.sun_path, 'p');
    std::memcpy(own.sun_path, path.data(), path.size());
    const int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_EQ(bind(client, reinterpret_cast<const sockaddr*>(&own), sizeof own), 0);
    const ListenAddress address = parsed(text);
    const auto* const generic = reinterpret_cast<const sockaddr*>(&address.storage);
    ASSERT_EQ(connect(client, generic, address.length), 0);
    io::PeerAddress peer{};
    peer.length = sizeof peer.storage;
    const int accepted =
        accept(listening.fds[0], reinterpret_cast<sockaddr*>(&peer.storage), &peer.length);
    ASSERT_GE(accepted, 0);
    EXPECT_EQ(peer.length, sizeof own + 1);
    EXPECT_EQ(io::peer_text(peer), "unix:" + path);
    close(client);
    close(accepted);
    close_all(listening);
}

TEST(listener, a_file_that_is_no_socket_is_left_alone) {
    const TemporaryDirectory directory;
    std::ofstream(directory / "notes") << "precious";
    const Listening listening = io::open_listening(parsed("unix:" + (directory / "notes")), 1);
    EXPECT_EQ(listening.error_number, EEXIST);
    EXPECT_NE(listening.error.find("not a socket"), std::string::npos) << listening.error;
    EXPECT_EQ(std::filesystem::file_size(directory / "notes"), 8u);
}

TEST(listener, a_missing_directory_is_explained) {
    const TemporaryDirectory directory;
    const Listening listening =
        io::open_listening(parsed("unix:" + (directory / "no/such/socket")), 1);
    EXPECT_EQ(listening.error_number, ENOENT);
    EXPECT_NE(listening.error.find("does not exist"), std::string::npos) << listening.error;
}

}  // namespace
