// floor: what a delivery costs at least, whatever the server is: one prebuilt frame written to many
// sockets by a program that does nothing else.
//
//     floor CLIENTS MODE OUTSTANDING PAYLOAD SECONDS [WRITER_CORE READER_CORE]
//
// MODE is `send`: a loop of send(2); or `uring`: all sends of a round in one submission. A round is
// OUTSTANDING frames to every client in one send each, as a server coalesces what is published
// within one of its turns; the next one begins when all clients have read it, so that nothing piles
// up in the kernel's buffers. The readers are a child process, which takes the bytes and looks at
// none.
//
// One line of JSON at the end: the writer's CPU time per delivery, and deliveries per second. The
// handshake is left out: sockets on loopback, TCP, are all there is. For Linux with io_uring.

#include <arpa/inet.h>
#include <liburing.h>
#include <linux/futex.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

#include "codec/frame.h"

namespace {

constexpr size_t receive_bytes = 256 * 1024;
constexpr uint32_t submissions_max = 4'096;
// Before what is measured: the sockets' buffers grow, the readers' pages come in.
constexpr double warmup_s = 0.5;

[[noreturn]] [[gnu::format(printf, 1, 2)]] void fail(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    std::fputs("floor: ", stderr);
    std::vfprintf(stderr, format, arguments);
    std::fputc('\n', stderr);
    va_end(arguments);
    std::exit(1);
}

double seconds_of(clockid_t clock) {
    timespec time{};
    clock_gettime(clock, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

double number(const char* text) {
    double value = 0;
    const char* const end = text + std::strlen(text);
    if (std::from_chars(text, end, value).ptr != end || value <= 0) fail("not a number: %s", text);
    return value;
}

// As long on the wire as a delivery of the broker's with this payload in the topic bench/0.
std::string frame_of(size_t payload_bytes) {
    const std::string text =
        R"({"op":"message","topic":"bench/0","data":")" + std::string(payload_bytes, 'x') + "\"}";
    uint8_t header[codec::frame_header_bytes_max];
    const uint32_t header_bytes = codec::encode_frame_header(
        {.opcode = codec::Opcode::text, .payload_bytes = text.size()}, header);
    return std::string(reinterpret_cast<const char*>(header), header_bytes) + text;
}

void pin(const char* core) {
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(std::strtoul(core, nullptr, 10), &cores);
    if (sched_setaffinity(0, sizeof cores, &cores) != 0) fail("cannot run on core %s", core);
}

// What the two processes share: how many rounds all readers together have read.
struct Progress {
    std::atomic<uint32_t> rounds_read{0};

    void publish(uint32_t rounds) {
        if (rounds_read.exchange(rounds) == rounds) return;
        syscall(SYS_futex, &rounds_read, FUTEX_WAKE, 1, nullptr, nullptr, 0);
    }
    void await(uint32_t rounds) {
        while (true) {
            const uint32_t seen = rounds_read.load();
            if (seen >= rounds) return;
            syscall(SYS_futex, &rounds_read, FUTEX_WAIT, seen, nullptr, nullptr, 0);
        }
    }
};

// The child: connects, then reads until the writer has gone.
[[noreturn]] void read_all(const sockaddr_in& address, size_t clients_count, uint64_t round_bytes,
                           Progress& progress) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int epoll = epoll_create1(0);
    for (size_t index = 0; index < clients_count; ++index) {
        const int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
            fail("connect: %s", std::strerror(errno));
        }
        epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl");
    }
    std::vector<char> buffer(receive_bytes);
    uint64_t read_bytes = 0;
    while (true) {
        epoll_event events[256];
        const int count = epoll_wait(epoll, events, std::size(events), -1);
        for (int index = 0; index < count; ++index) {
            const ssize_t received = recv(events[index].data.fd, buffer.data(), buffer.size(), 0);
            if (received <= 0) _exit(0);
            read_bytes += static_cast<uint64_t>(received);
        }
        progress.publish(static_cast<uint32_t>(read_bytes / round_bytes));
    }
}

int listen_anywhere(sockaddr_in& address) {
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t address_bytes = sizeof address;
    if (bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
        listen(listener, 4'096) != 0 ||
        getsockname(listener, reinterpret_cast<sockaddr*>(&address), &address_bytes) != 0) {
        fail("cannot listen: %s", std::strerror(errno));
    }
    return listener;
}

std::vector<int> accept_clients(int listener, size_t count) {
    std::vector<int> clients;
    while (clients.size() < count) {
        const int fd = accept(listener, nullptr, nullptr);
        if (fd < 0) fail("accept: %s", std::strerror(errno));
        const int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        clients.push_back(fd);
    }
    return clients;
}

// Writes the rest of what the kernel took a part of, waiting for the reader.
bool finish_send(int fd, std::string_view rest) {
    while (!rest.empty()) {
        const ssize_t sent = send(fd, rest.data(), rest.size(), MSG_NOSIGNAL);
        if (sent <= 0) return false;
        rest.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
}

// False when a reader has gone, which ends the run.
bool send_round(const std::vector<int>& clients, std::string_view bytes) {
    for (const int fd : clients) {
        if (!finish_send(fd, bytes)) return false;
    }
    return true;
}

class Ring {
  public:
    Ring() {
        io_uring_params params{};
        params.flags =
            IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL;
        if (io_uring_queue_init_params(submissions_max, &ring_, &params) != 0) {
            fail("this kernel refuses io_uring");
        }
    }
    ~Ring() { io_uring_queue_exit(&ring_); }
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;

    void hold(const std::vector<int>& clients) {
        if (io_uring_register_files(&ring_, clients.data(),
                                    static_cast<unsigned>(clients.size())) != 0) {
            fail("cannot register the sockets");
        }
    }

    bool send_round(const std::vector<int>& clients, std::string_view bytes) {
        for (size_t begin = 0; begin < clients.size(); begin += submissions_max) {
            const size_t end = std::min(begin + submissions_max, clients.size());
            if (!send_part(clients, begin, end, bytes)) return false;
        }
        return true;
    }

  private:
    bool send_part(const std::vector<int>& clients, size_t begin, size_t end,
                   std::string_view bytes) {
        for (size_t index = begin; index < end; ++index) {
            io_uring_sqe* const sqe = io_uring_get_sqe(&ring_);
            io_uring_prep_send(sqe, static_cast<int>(index), bytes.data(), bytes.size(),
                               MSG_NOSIGNAL);
            sqe->flags |= IOSQE_FIXED_FILE;
            io_uring_sqe_set_data64(sqe, index);
        }
        size_t left = end - begin;
        bool is_good = io_uring_submit_and_wait(&ring_, static_cast<unsigned>(left)) >= 0;
        while (left > 0) {
            io_uring_cqe* cqe = nullptr;
            if (io_uring_wait_cqe(&ring_, &cqe) != 0) return false;
            const int result = cqe->res;
            const int fd = clients[io_uring_cqe_get_data64(cqe)];
            io_uring_cqe_seen(&ring_, cqe);
            --left;
            if (result <= 0 || !finish_send(fd, bytes.substr(static_cast<size_t>(result)))) {
                is_good = false;
            }
        }
        return is_good;
    }

    io_uring ring_{};
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 6 && argc != 8) {
        fail("usage: floor CLIENTS send|uring OUTSTANDING PAYLOAD SECONDS [WRITER READER]");
    }
    const std::string_view mode = argv[2];
    if (mode != "send" && mode != "uring") fail("the mode is send or uring, not %s", argv[2]);
    const auto clients_count = static_cast<size_t>(number(argv[1]));
    const auto outstanding = static_cast<uint64_t>(number(argv[3]));
    const double duration_s = number(argv[5]);
    if (clients_count == 0 || outstanding == 0) fail("CLIENTS and OUTSTANDING are at least 1");
    rlimit descriptors{};
    getrlimit(RLIMIT_NOFILE, &descriptors);
    descriptors.rlim_cur = descriptors.rlim_max;
    setrlimit(RLIMIT_NOFILE, &descriptors);

    const std::string frame = frame_of(static_cast<size_t>(number(argv[4])));
    std::string bytes;
    for (uint64_t index = 0; index < outstanding; ++index) bytes += frame;
    void* const shared =
        mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) fail("mmap: %s", std::strerror(errno));
    Progress& progress = *new (shared) Progress;
    sockaddr_in address{};
    const int listener = listen_anywhere(address);
    if (fork() == 0) {
        close(listener);
        if (argc == 8) pin(argv[7]);
        read_all(address, clients_count, bytes.size() * clients_count, progress);
    }
    if (argc == 8) pin(argv[6]);
    const std::vector<int> clients = accept_clients(listener, clients_count);
    Ring ring;
    if (mode == "uring") ring.hold(clients);

    const double start_s = seconds_of(CLOCK_MONOTONIC);
    double begin_s = 0;
    double begin_cpu_s = 0;
    uint32_t rounds_count = 0;
    uint32_t rounds_before = 0;
    while (true) {
        const double now_s = seconds_of(CLOCK_MONOTONIC);
        if (begin_s == 0 && now_s - start_s >= warmup_s) {
            begin_s = now_s;
            begin_cpu_s = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
            rounds_before = rounds_count;
        }
        if (begin_s != 0 && now_s - begin_s >= duration_s) break;
        const bool is_good =
            mode == "send" ? send_round(clients, bytes) : ring.send_round(clients, bytes);
        if (!is_good) fail("a reader went away");
        progress.await(++rounds_count);
    }
    const double wall_s = seconds_of(CLOCK_MONOTONIC) - begin_s;
    const double cpu_s = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - begin_cpu_s;
    const uint64_t messages = (rounds_count - rounds_before) * outstanding;
    const auto deliveries = static_cast<double>(messages * clients.size());
    std::printf(
        "{\"mode\":\"%s\",\"clients\":%zu,\"outstanding\":%lu,\"frame_bytes\":%zu,"
        "\"cpu_us_per_delivery\":%.4f,\"delivered_per_s\":%.0f,\"cpu_share\":%.3f}\n",
        argv[2], clients.size(), outstanding, frame.size(), cpu_s * 1e6 / deliveries,
        deliveries / wall_s, cpu_s / wall_s);
    return 0;
}
