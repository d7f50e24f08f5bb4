#include "tests/tools/fake_broker.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "codec/upgrade.h"
#include "io/base/check.h"
#include "io/base/units.h"

namespace tools_test {
namespace {

constexpr uint32_t patience_ms = 5'000;

sockaddr_in loopback(uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

// Answers the bound descriptor and fills the port that the kernel chose.
int bind_loopback(uint16_t& port) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    sockaddr_in address = loopback(0);
    CHECK(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    socklen_t address_bytes = sizeof address;
    CHECK(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &address_bytes) == 0);
    port = ntohs(address.sin_port);
    return fd;
}

int bind_unix(const std::string& path) {
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    CHECK(path.size() < sizeof address.sun_path);
    memcpy(address.sun_path, path.data(), path.size());
    unlink(path.c_str());
    CHECK(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    return fd;
}

std::string url_of_port(uint16_t port) {
    return "ws://127.0.0.1:" + std::to_string(port);
}

}  // namespace

FakeConnection::FakeConnection(int fd) : fd_(fd) {}

FakeConnection::~FakeConnection() {
    if (fd_ >= 0) close(fd_);
}

bool FakeConnection::fill(uint32_t timeout_ms) {
    pollfd watched{.fd = fd_, .events = POLLIN, .revents = 0};
    if (poll(&watched, 1, static_cast<int>(timeout_ms)) <= 0) return false;
    received_.assign(65'536 + base::readable_padding_bytes, '\0');
    const ssize_t count = recv(fd_, received_.data(), 65'536, 0);
    if (count <= 0) return false;
    undecoded_ = {reinterpret_cast<uint8_t*>(received_.data()), static_cast<size_t>(count)};
    return true;
}

std::string FakeConnection::read_request() {
    std::string request;
    while (request.find("\r\n\r\n") == std::string::npos) {
        if (!fill(patience_ms)) return "";
        request.append(undecoded_.begin(), undecoded_.end());
        undecoded_ = {};
    }
    return request;
}

void FakeConnection::accept(std::string_view frames) {
    const std::string request = read_request();
    const std::string field = "Sec-WebSocket-Key: ";
    const size_t key = request.find(field);
    if (key == std::string::npos) return;
    char accept_value[28];
    codec::accept_of_key(std::string_view(request).substr(key + field.size(), 24), accept_value);
    std::string answer =
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Protocol: fanfare.v1\r\nSec-WebSocket-Accept: ";
    answer.append(accept_value, sizeof accept_value);
    answer += "\r\n\r\n";
    answer += frames;
    send_raw(answer);
}

void FakeConnection::welcome(uint64_t heartbeat_ms, uint64_t timeout_ms,
                             uint64_t message_bytes_max) {
    accept(text_frame(R"({"op":"welcome","client":"c","epoch":"e","heartbeat_ms":)" +
                      std::to_string(heartbeat_ms) + R"(,"timeout_ms":)" +
                      std::to_string(timeout_ms) + R"(,"max_message_bytes":)" +
                      std::to_string(message_bytes_max) + R"(,"max_subscriptions":1024})"));
}

FakeConnection::Received FakeConnection::receive(uint32_t timeout_ms) {
    while (true) {
        const codec::Decoded decoded = decoder_.next(undecoded_, {.message_bytes_max = base::mib});
        if (decoded.kind != codec::Decoded::Kind::need_more) {
            return {.kind = decoded.kind,
                    .close_code = decoded.close_code,
                    .payload = std::string(decoded.payload.begin(), decoded.payload.end())};
        }
        if (!fill(timeout_ms)) return {};
    }
}

std::string FakeConnection::read_text() {
    Received received = receive();
    return received.kind == codec::Decoded::Kind::text ? std::move(received.payload) : "";
}

bool FakeConnection::is_quiet_for(uint32_t wait_ms) {
    if (!undecoded_.empty()) return false;
    pollfd watched{.fd = fd_, .events = POLLIN, .revents = 0};
    return poll(&watched, 1, static_cast<int>(wait_ms)) == 0;
}

void FakeConnection::send_raw(std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t count = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (count < 0) return;  // the client is gone, as some tests want it
        bytes.remove_prefix(static_cast<size_t>(count));
    }
}

void FakeConnection::confirm(std::string_view publish_command) {
    const std::string_view field = R"("id":)";
    const size_t begin = publish_command.find(field) + field.size();
    const std::string_view id =
        publish_command.substr(begin, publish_command.find(',', begin) - begin);
    send_text(R"({"op":"published","id":)" + std::string(id) + "}");
}

void FakeConnection::send_close(uint16_t code, std::string_view reason) {
    std::string payload = {static_cast<char>(code >> 8), static_cast<char>(code & 0xff)};
    payload += reason;
    send_raw(frame(codec::Opcode::close, payload));
}

void FakeConnection::reset() {
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    CHECK(setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
    close(std::exchange(fd_, -1));
}

std::string FakeConnection::frame(codec::Opcode opcode, std::string_view payload) {
    uint8_t header[codec::frame_header_bytes_max];
    const uint32_t header_bytes =
        codec::encode_frame_header({.opcode = opcode, .payload_bytes = payload.size()}, header);
    return std::string(reinterpret_cast<const char*>(header), header_bytes) + std::string(payload);
}

std::string FakeConnection::text_frame(std::string_view text) {
    return frame(codec::Opcode::text, text);
}

FakeBroker::FakeBroker(Script script, const std::string& socket_path) : script_(std::move(script)) {
    if (socket_path.empty()) {
        uint16_t port = 0;
        listener_ = bind_loopback(port);
        url_ = url_of_port(port);
    } else {
        listener_ = bind_unix(socket_path);
        url_ = "unix:" + socket_path;
    }
    CHECK(listen(listener_, 16) == 0);
    thread_ = std::thread([this] { run(); });
}

FakeBroker::~FakeBroker() {
    // Wakes accept(2) with EINVAL.
    shutdown(listener_, SHUT_RDWR);
    thread_.join();
    close(listener_);
}

void FakeBroker::run() {
    for (int number = 0;; ++number) {
        const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
        if (fd < 0) return;
        FakeConnection connection(fd);
        script_(connection, number);
    }
}

std::string closed_url() {
    uint16_t port = 0;
    // The kernel does not give the port of a socket that was just closed to the next who asks for
    // any.
    close(bind_loopback(port));
    return url_of_port(port);
}

}  // namespace tools_test
