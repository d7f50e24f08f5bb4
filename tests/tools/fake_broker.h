// FakeBroker: a server on a loopback port (or a Unix socket) whose every move is a script of the
// test.
//
// Owner: a test. Thread: the script runs on the fake's own thread, one connection after the other;
// what it shares with the test is read after the destructor, or is atomic. Every wait in it ends
// after some seconds, so that a client that does wrong fails the test instead of hanging it.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <thread>

#include "codec/frame_decoder.h"

namespace tools_test {

class FakeConnection {
  public:
    explicit FakeConnection(int fd);
    ~FakeConnection();
    FakeConnection(const FakeConnection&) = delete;
    FakeConnection& operator=(const FakeConnection&) = delete;

    // Reads the upgrade request, head and all. Empty when the client went away.
    std::string read_request();
    // Reads the request and answers 101, followed in the same write by `frames`.
    void accept(std::string_view frames = "");
    // accept() with a welcome that names these limits.
    void welcome(uint64_t heartbeat_ms = 25'000, uint64_t timeout_ms = 20'000,
                 uint64_t message_bytes_max = 65'536);

    struct Received {
        // need_more: the connection ended, or nothing came.
        codec::Decoded::Kind kind = codec::Decoded::Kind::need_more;
        uint16_t close_code = 0;
        std::string payload;
    };
    Received receive(uint32_t timeout_ms = 5'000);
    // The next message; empty when something else came.
    std::string read_text();
    // Whether the client sends nothing for that long.
    bool is_quiet_for(uint32_t wait_ms);

    void send_raw(std::string_view bytes);
    void send_text(std::string_view text) { send_raw(text_frame(text)); }
    // `{"op":"published","id":…}` for the id that stands in a publish command.
    void confirm(std::string_view publish_command);
    void send_close(uint16_t code, std::string_view reason = "");
    // Ends the connection with a reset.
    void reset();

    static std::string text_frame(std::string_view text);
    static std::string frame(codec::Opcode opcode, std::string_view payload);

  private:
    bool fill(uint32_t timeout_ms);

    int fd_;
    codec::FrameDecoder decoder_{codec::Role::server};
    std::string received_;  // with the decoder's padding
    std::span<uint8_t> undecoded_;
};

class FakeBroker {
  public:
    // `script` is called with each connection and its number, from 0.
    using Script = std::function<void(FakeConnection&, int)>;
    explicit FakeBroker(Script script, const std::string& socket_path = "");
    ~FakeBroker();

    const std::string& url() const { return url_; }

  private:
    void run();

    const Script script_;
    int listener_ = -1;
    std::string url_;
    std::thread thread_;
};

// A URL on which nobody listens.
std::string closed_url();

}  // namespace tools_test
