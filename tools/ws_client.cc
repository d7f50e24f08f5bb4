#include "tools/ws_client.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "codec/base64.h"
#include "io/base/units.h"
#include "tools/clock.h"
#include "tools/handshake.h"
#include "tools/terminal.h"

namespace tools {
namespace {

constexpr size_t receive_bytes = 64 * base::kib;

// "connection refused" rather than glibc's "Connection refused": it stands in the middle of a
// sentence.
std::string error_text(int error) {
    std::string text = strerror(error);
    if (!text.empty() && text[0] >= 'A' && text[0] <= 'Z')
        text[0] = static_cast<char>(text[0] | 0x20);
    return text;
}

// Waits until a connect(2) in progress has ended. Answers its error number, 0 for success.
int finish_connect(int fd, uint64_t deadline_ns) {
    pollfd watched{.fd = fd, .events = POLLOUT, .revents = 0};
    while (true) {
        const int ready_count = poll(&watched, 1, poll_timeout_ms(deadline_ns));
        if (ready_count > 0) break;
        if (ready_count == 0) return ETIMEDOUT;
        if (errno != EINTR) return errno;
    }
    int error = 0;
    socklen_t error_bytes = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_bytes) != 0) return errno;
    return error;
}

// Answers a connected descriptor, or the negative error number.
int connect_to(int family, const sockaddr* address, socklen_t address_bytes, uint64_t deadline_ns) {
    const int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int error = ::connect(fd, address, address_bytes) == 0 ? 0 : errno;
    // EINTR leaves the attempt going on, exactly like EINPROGRESS (connect(2)).
    if (error == EINPROGRESS || error == EINTR) error = finish_connect(fd, deadline_ns);
    if (error == 0) return fd;
    ::close(fd);
    return -error;
}

int connect_unix(const std::string& path, uint64_t deadline_ns) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path, path.data(), std::min(path.size(), sizeof address.sun_path - 1));
    return connect_to(AF_UNIX, reinterpret_cast<const sockaddr*>(&address), sizeof address,
                      deadline_ns);
}

}  // namespace

WsClient::WsClient(uint64_t seed)
    : prng_(seed),
      decoder_(codec::Role::client),
      received_(receive_bytes + base::readable_padding_bytes) {}

WsClient::~WsClient() {
    drop();
}

void WsClient::drop() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
    decoder_ = codec::FrameDecoder(codec::Role::client);
    undecoded_ = {};
    outgoing_.clear();
    outgoing_sent_bytes_ = 0;
}

ConnectFailure WsClient::connect(const Url& url, uint64_t deadline_ns) {
    drop();
    const std::string problem = open_socket(url, deadline_ns);
    if (!problem.empty()) {
        return {.kind = ConnectFailure::Kind::unreachable,
                .message = "cannot connect to " + url.place() + ": " + problem};
    }
    last_heard_ns_ = monotonic_ns();
    ConnectFailure failure = shake_hands(url, deadline_ns);
    if (!failure.message.empty()) drop();
    return failure;
}

std::string WsClient::open_socket(const Url& url, uint64_t deadline_ns) {
    if (!url.is_unix()) return open_tcp(url, deadline_ns);
    fd_ = connect_unix(url.socket_path, deadline_ns);
    if (fd_ >= 0) return "";
    const int error = -std::exchange(fd_, -1);
    const bool is_absent = error == ECONNREFUSED || error == ENOENT;
    return error_text(error) +
           (is_absent ? ". Is the broker running? Start it with 'fanfare serve --listen unix:" +
                            url.socket_path + "'"
                      : "");
}

std::string WsClient::open_tcp(const Url& url, uint64_t deadline_ns) {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV;
    addrinfo* found = nullptr;
    const int status =
        getaddrinfo(url.host.c_str(), std::to_string(url.port).c_str(), &hints, &found);
    if (status == EAI_SYSTEM) return error_text(errno);
    if (status != 0) return std::string("the name cannot be resolved: ") + gai_strerror(status);
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, freeaddrinfo);

    int error = 0;
    for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
        const int fd =
            connect_to(address->ai_family, address->ai_addr, address->ai_addrlen, deadline_ns);
        if (fd >= 0) {
            fd_ = fd;
            const int on = 1;
            // Without it a lone publish could wait for the acknowledgement of the one before; a
            // failure costs only that.
            static_cast<void>(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
            return "";
        }
        error = -fd;
    }
    return error_text(error) +
           (error == ECONNREFUSED ? ". Is the broker running? Start it with 'fanfare serve'" : "");
}

ConnectFailure WsClient::shake_hands(const Url& url, uint64_t deadline_ns) {
    char nonce[16];
    for (char& byte : nonce) byte = static_cast<char>(prng_.below(256));
    std::string key;
    codec::append_base64(key, std::string_view(nonce, sizeof nonce));
    append_handshake_request(outgoing_, url, key);

    std::string answer_text;
    bool has_ended = false;
    while (true) {
        const HandshakeAnswer answer = read_handshake_answer(answer_text, key);
        switch (answer.kind) {
            case HandshakeAnswer::Kind::accepted: {
                // Frames may have come in the same segment as the answer; they fit, because what
                // was received of the answer never exceeds its limit by more than one recv.
                const std::string_view rest =
                    std::string_view(answer_text).substr(answer.head_bytes);
                if (received_.size() < rest.size() + base::readable_padding_bytes) {
                    received_.resize(rest.size() + base::readable_padding_bytes);
                }
                std::ranges::copy(rest, received_.begin());
                undecoded_ = std::span(received_).first(rest.size());
                return {};
            }
            case HandshakeAnswer::Kind::refused: {
                const std::string_view body =
                    std::string_view(answer_text).substr(answer.head_bytes);
                const uint64_t wanted_bytes =
                    std::min<uint64_t>(answer.body_bytes, handshake_answer_bytes_max);
                if (body.size() >= wanted_bytes || has_ended) {
                    return explain_refusal(url, answer.status, body);
                }
                break;
            }
            case HandshakeAnswer::Kind::not_a_websocket:
                return {.kind = ConnectFailure::Kind::foreign,
                        .message = url.place() +
                                   " is not a Fanfare broker: " + std::string(answer.problem)};
            case HandshakeAnswer::Kind::need_more: break;
        }
        if (has_ended) {
            return {.kind = ConnectFailure::Kind::unreachable,
                    .message = url.place() + " did not answer the handshake: " + problem_};
        }
        const Ready ready = poll_once(deadline_ns, -1);
        if (ready.has_timed_out) {
            problem_ = "no answer in time";
            has_ended = true;
        } else if (ready.is_socket_readable) {
            has_ended = receive_some() == Progress::broken;
            answer_text.append(undecoded_.begin(), undecoded_.end());
            undecoded_ = {};
        }
    }
}

ConnectFailure WsClient::explain_refusal(const Url& url, uint16_t status,
                                         std::string_view body) const {
    std::string message =
        url.place() + " refused the connection with HTTP " + std::to_string(status);
    const std::string_view first_line = body.substr(0, body.find_first_of("\r\n"));
    if (!first_line.empty()) message += ": " + escaped_for_terminal(first_line.substr(0, 300));
    // 5xx and 429 are about the moment; every other status answers the request itself, and stays.
    const bool is_passing = status >= 500 || status == 429;
    return {.kind = is_passing ? ConnectFailure::Kind::unreachable : ConnectFailure::Kind::refused,
            .message = std::move(message)};
}

void WsClient::queue_frame(codec::Opcode opcode, std::span<const uint8_t> payload) {
    if (outgoing_sent_bytes_ == outgoing_.size()) {
        outgoing_.clear();
        outgoing_sent_bytes_ = 0;
    }
    const uint64_t random = prng_.next();
    uint8_t key[4];
    memcpy(key, &random, sizeof key);
    uint8_t header[codec::frame_header_bytes_max];
    const uint32_t header_bytes = codec::encode_masked_frame_header(
        {.opcode = opcode, .payload_bytes = payload.size()}, key, header);
    outgoing_.append(reinterpret_cast<const char*>(header), header_bytes);
    const size_t payload_begin = outgoing_.size();
    outgoing_.resize(payload_begin + payload.size());
    for (size_t index = 0; index < payload.size(); ++index) {
        outgoing_[payload_begin + index] = static_cast<char>(payload[index] ^ key[index % 4]);
    }
}

void WsClient::queue_close(uint16_t code) {
    const uint8_t payload[2] = {static_cast<uint8_t>(code >> 8), static_cast<uint8_t>(code & 0xff)};
    queue_frame(codec::Opcode::close, payload);
}

void WsClient::send_text(std::string_view text) {
    queue_frame(codec::Opcode::text, {reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

WsClient::Ready WsClient::poll_once(uint64_t deadline_ns, int also_readable_fd) {
    // Sending comes first, so that a request leaves even when the deadline has passed already.
    const bool wants_to_send = unsent_bytes() > 0 && send_some() == Progress::again;
    // poll(2) ignores an entry whose descriptor is negative.
    pollfd watched[2] = {{.fd = fd_,
                          .events = static_cast<short>(wants_to_send ? POLLIN | POLLOUT : POLLIN),
                          .revents = 0},
                         {.fd = also_readable_fd, .events = POLLIN, .revents = 0}};
    const int ready_count = poll(watched, 2, poll_timeout_ms(deadline_ns));
    if (ready_count < 0) return {};  // EINTR, or ENOMEM, which passes; the caller asks again
    return {.is_socket_readable = (watched[0].revents & (POLLIN | POLLERR | POLLHUP)) != 0,
            .is_other_readable = watched[1].revents != 0,
            .has_timed_out = ready_count == 0};
}

WsClient::Progress WsClient::send_some() {
    while (unsent_bytes() > 0) {
        const ssize_t sent_bytes =
            ::send(fd_, outgoing_.data() + outgoing_sent_bytes_, unsent_bytes(), MSG_NOSIGNAL);
        if (sent_bytes >= 0) {
            outgoing_sent_bytes_ += static_cast<uint64_t>(sent_bytes);
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            // Keeps the buffer from growing without end while the peer takes it slowly.
            outgoing_.erase(0, outgoing_sent_bytes_);
            outgoing_sent_bytes_ = 0;
            return Progress::again;
        } else if (errno != EINTR) {
            // Whatever the peer said before it went is still to be read, so receiving reports the
            // end.
            outgoing_sent_bytes_ = outgoing_.size();
            return Progress::broken;
        }
    }
    return Progress::done;
}

WsClient::Progress WsClient::receive_some() {
    const ssize_t count =
        recv(fd_, received_.data(), received_.size() - base::readable_padding_bytes, 0);
    if (count > 0) {
        undecoded_ = std::span(received_).first(static_cast<size_t>(count));
        last_heard_ns_ = monotonic_ns();
        return Progress::done;
    }
    undecoded_ = {};
    if (count == 0) {
        problem_ = "the broker ended the connection without a close frame";
        return Progress::broken;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return Progress::again;
    problem_ = error_text(errno);
    return Progress::broken;
}

Incoming WsClient::lost() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
    return {.kind = Incoming::Kind::lost, .problem = problem_};
}

Incoming WsClient::decode(bool& wants_more) {
    wants_more = false;
    const codec::Decoded decoded =
        decoder_.next(undecoded_, {.message_bytes_max = message_bytes_max});
    const std::string_view payload(reinterpret_cast<const char*>(decoded.payload.data()),
                                   decoded.payload.size());
    switch (decoded.kind) {
        case codec::Decoded::Kind::need_more:
        case codec::Decoded::Kind::pong: break;
        case codec::Decoded::Kind::text: return {.kind = Incoming::Kind::text, .payload = payload};
        case codec::Decoded::Kind::ping: queue_frame(codec::Opcode::pong, decoded.payload); break;
        case codec::Decoded::Kind::binary:
            // fanfare.v1 has text frames only.
            queue_close(1003);
            static_cast<void>(send_some());
            problem_ = "the broker sent a binary frame, which fanfare.v1 does not have";
            return lost();
        case codec::Decoded::Kind::close:
            reason_ = payload;
            // 1005 stands for "no code"; it may not be sent (RFC 6455 §7.4.1).
            queue_close(decoded.close_code == 1005 ? 1000 : decoded.close_code);
            static_cast<void>(send_some());
            return {.kind = Incoming::Kind::closed,
                    .close_code = decoded.close_code,
                    .payload = reason_};
        case codec::Decoded::Kind::violation:
            queue_close(codec::close_code_of(decoded.violation));
            static_cast<void>(send_some());
            problem_ = std::string("the broker broke the WebSocket protocol: ") +
                       codec::describe(decoded.violation);
            return lost();
    }
    wants_more = true;
    return {.kind = Incoming::Kind::timeout};
}

Incoming WsClient::wait(uint64_t deadline_ns, int also_readable_fd) {
    if (fd_ < 0) return lost();
    bool has_received = false;
    while (true) {
        while (!undecoded_.empty()) {
            bool wants_more = false;
            const Incoming incoming = decode(wants_more);
            if (!wants_more) return incoming;
        }
        // What comes may be nothing but pings, without a pause.
        if (has_received && monotonic_ns() >= deadline_ns) return {.kind = Incoming::Kind::timeout};
        const Ready ready = poll_once(deadline_ns, also_readable_fd);
        if (ready.has_timed_out) return {.kind = Incoming::Kind::timeout};
        if (ready.is_socket_readable) {
            if (receive_some() == Progress::broken) return lost();
            has_received = true;
        } else if (ready.is_other_readable) {
            return {.kind = Incoming::Kind::readable};
        }
    }
}

void WsClient::close(uint64_t deadline_ns) {
    if (fd_ < 0) return;
    queue_close(1000);
    while (true) {
        const Incoming incoming = wait(deadline_ns, -1);
        if (incoming.kind != Incoming::Kind::text) break;
    }
    drop();
}

}  // namespace tools
