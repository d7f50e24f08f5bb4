// WsClient: one WebSocket connection as a client, over TCP or a Unix socket, for the command line's
// clients.
//
// Owner: a Session holds one by value.
// Thread: one; calls block up to a deadline on CLOCK_MONOTONIC.
// Invariants:
//  1. wait() both reads and writes: who only sends must still call it, so that a broker that stops
//     reading until its answers are read cannot wait for us while we wait for it.
//  2. Pings are answered inside wait(); the caller never sees ping and pong.
//  3. Nothing throws and no signal is raised: a broken connection is Incoming::Kind::lost, with a
//     sentence.
//  4. Incoming::payload lives until the next call.
// Limits: a message of at most message_bytes_max. Resolving a name may block longer than the
// deadline, because getaddrinfo(3) takes none.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "codec/frame_decoder.h"
#include "io/base/prng.h"
#include "tools/url.h"

namespace tools {

struct Incoming {
    enum class Kind : uint8_t {
        text,      // payload
        readable,  // the other descriptor given to wait() has something to read, or has ended
        timeout,   // the deadline passed
        closed,    // a Close frame came and was answered: close_code, payload is its reason
        lost,      // the connection ended without one: problem
    };
    Kind kind;
    uint16_t close_code = 0;
    // For text, followed by base::readable_padding_bytes readable bytes.
    std::string_view payload = {};
    std::string_view problem = {};
};

// Why connect() failed.
struct ConnectFailure {
    enum class Kind : uint8_t {
        unreachable,  // no connection, or it broke: trying again later makes sense
        refused,      // an HTTP answer that says no for good
        foreign,      // something that is not a WebSocket server
    };
    Kind kind = Kind::unreachable;
    std::string message;  // one or two sentences for the user; empty: connected
};

class WsClient {
  public:
    static constexpr uint64_t message_bytes_max = 64 * 1024 * 1024;

    // `seed` gives the handshake's key and the masks, which must be unpredictable (RFC 6455 §5.3,
    // §10.3).
    explicit WsClient(uint64_t seed);
    ~WsClient();
    WsClient(const WsClient&) = delete;
    WsClient& operator=(const WsClient&) = delete;

    // Drops the connection there may be, and makes a new one.
    [[nodiscard]] ConnectFailure connect(const Url& url, uint64_t deadline_ns);

    // Queues a text message; wait() and flush() send it.
    void send_text(std::string_view text);
    uint64_t unsent_bytes() const { return outgoing_.size() - outgoing_sent_bytes_; }

    // Waits for whatever comes first. `also_readable_fd` is watched too unless it is -1.
    [[nodiscard]] Incoming wait(uint64_t deadline_ns, int also_readable_fd);

    // Sends Close with 1000, waits for the answer up to the deadline, and drops the connection.
    void close(uint64_t deadline_ns);

    // When bytes came last.
    uint64_t last_heard_ns() const { return last_heard_ns_; }

  private:
    enum class Progress : uint8_t { done, again, broken };

    // What poll(2) told: the socket can be read (or has an end or an error to tell), the other
    // descriptor can.
    struct Ready {
        bool is_socket_readable = false;
        bool is_other_readable = false;
        bool has_timed_out = false;
    };

    std::string open_socket(const Url& url, uint64_t deadline_ns);
    std::string open_tcp(const Url& url, uint64_t deadline_ns);
    ConnectFailure shake_hands(const Url& url, uint64_t deadline_ns);
    ConnectFailure explain_refusal(const Url& url, uint16_t status, std::string_view body) const;
    void drop();

    Ready poll_once(uint64_t deadline_ns, int also_readable_fd);
    Progress send_some();
    Progress receive_some();
    // Takes the next thing out of what was received; `wants_more` when the decoder is at its end.
    Incoming decode(bool& wants_more);
    Incoming lost();
    void queue_frame(codec::Opcode opcode, std::span<const uint8_t> payload);
    void queue_close(uint16_t code);

    base::Prng prng_;
    int fd_ = -1;
    codec::FrameDecoder decoder_;
    // What recv(2) fills, followed by the padding that the decoder's contract wants.
    std::vector<uint8_t> received_;
    std::span<uint8_t> undecoded_;  // the part of received_ that the decoder has not seen
    std::string outgoing_;          // whole frames; the first outgoing_sent_bytes_ are gone
    uint64_t outgoing_sent_bytes_ = 0;
    uint64_t last_heard_ns_ = 0;
    std::string problem_;  // what lost() says
    std::string reason_;   // of a Close frame: answering it may reuse the decoder's memory
};

}  // namespace tools
