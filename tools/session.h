// Session: one connection to the broker in its native dialect, from the welcome to the end, with
// the reason of the end and what it means for coming back.
//
// Owner: `fanfare sub` or `fanfare pub`. Thread: one.
// Invariants:
//  1. open() has succeeded exactly when the broker's welcome has been read.
//  2. A broker that is silent for a heartbeat and its timeout is taken for gone, as it would take
//     us.
//  3. After Event::ended, ending() says why, and next() goes on answering Event::ended until the
//     next open().
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "io/base/units.h"
#include "tools/broker_message.h"
#include "tools/url.h"
#include "tools/ws_client.h"

namespace tools {

struct Ending {
    enum class Kind : uint8_t {
        lost,     // the network or the broker's process; coming back makes sense
        refused,  // the broker said that coming back makes no sense
        foreign,  // not a Fanfare broker
    };
    Kind kind = Kind::lost;
    std::string reason;           // for the user
    uint64_t retry_after_ns = 0;  // what the broker asked for
};

class Session {
  public:
    // No broker takes longer than this for its half of the handshake and the welcome.
    static constexpr uint64_t open_timeout_ns = 10 * base::ns_per_s;

    explicit Session(uint64_t seed) : client_(seed) {}

    // Connects and waits for the welcome. False: see ending().
    [[nodiscard]] bool open(const Url& url, uint64_t deadline_ns);

    void send(std::string_view command) { client_.send_text(command); }
    uint64_t unsent_bytes() const { return client_.unsent_bytes(); }

    enum class Event : uint8_t {
        message,   // message() and frame() are what the broker said
        readable,  // the other descriptor
        timeout,
        ended,
    };
    [[nodiscard]] Event next(uint64_t deadline_ns, int also_readable_fd);

    // Leaves in good order: what was queued is sent, then Close.
    void close();
    // Ends it from our side as if the connection had been lost, e.g. because the broker is
    // overloaded.
    void give_up(std::string reason);

    const BrokerMessage& message() const { return message_; }
    // The frame of the last message; lives until the next call of next().
    std::string_view frame() const { return frame_; }
    const Ending& ending() const { return ending_; }
    // When the broker was heard last, be it by a pong.
    uint64_t last_heard_ns() const { return client_.last_heard_ns(); }
    uint64_t message_bytes_max() const { return message_bytes_max_; }
    // How many publishes the broker takes; 0: any number.
    uint64_t publishes_per_second() const { return publishes_per_second_; }

  private:
    Event end(Ending ending);
    Event end_closed(uint16_t close_code, std::string_view reason);
    void note_goodbye();

    WsClient client_;
    BrokerMessageReader reader_;
    BrokerMessage message_;
    std::string_view frame_;
    Ending ending_;
    bool is_open_ = false;  // from the start of open() to the event that ends the connection

    // From the welcome.
    uint64_t silence_max_ns_ = base::never_ns;
    uint64_t message_bytes_max_ = 0;
    uint64_t publishes_per_second_ = 0;

    // From the goodbye, for the ending that follows it.
    std::string goodbye_reason_;
    uint64_t retry_after_ns_ = 0;
};

}  // namespace tools
