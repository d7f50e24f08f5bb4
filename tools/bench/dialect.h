// Dialect: what a client says to a server and what the server's answers mean, so that one load can
// drive several kinds of servers.
//
// Pure, and const once made: any thread. What a connection has received and not yet read is the
// connection's.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "tools/bench/layout.h"
#include "tools/bench/plan.h"
#include "tools/cursor.h"

namespace bench {

// One thing that the server said.
struct Incoming {
    enum class Kind : uint8_t {
        need_more,  // no whole thing is left; what is left over waits for more bytes
        delivery,   // `payload`, and where the server tells one, its `position`
        answered,   // one more of the answers that the client waits for before it is live
        ping,       // to be answered with pong()
        refused,    // the server said no; `payload` says why
        other,
    };
    Kind kind = Kind::other;
    std::string_view payload{};
    std::string_view position{};       // fanfare: "5:1042"
    std::string_view cursor_object{};  // fanfare: an object to be read in full for a cursor
};

class Dialect {
  public:
    virtual ~Dialect() = default;

    // What to offer in Sec-WebSocket-Protocol; empty: nothing.
    virtual std::string_view subprotocol() const = 0;
    virtual bool is_binary() const = 0;
    // Whether messages are pieces of one stream (frames mean nothing), or frame by frame.
    virtual bool is_stream() const = 0;
    // How many answers a client waits for before it is live.
    virtual uint32_t answers_count(const Role& role, bool resumes) const = 0;

    // What is sent once the connection is upgraded, as the payload of one frame; nothing appended:
    // no frame. `cursor` is where a client that comes back had been, null for others.
    virtual void append_opening(std::string& out, uint32_t connection, const Role& role,
                                std::string_view filter, const tools::Cursor* cursor) const = 0;
    virtual void append_publish(std::string& out, std::string_view topic, uint64_t sequence,
                                std::string_view payload) const = 0;
    virtual std::string_view pong() const { return {}; }

    // Takes the next thing from the front of `rest`: of a stream, or of the one message of a frame
    // (then `rest` is empty afterwards).
    virtual Incoming next(std::string_view& rest) const = 0;

  protected:
    Dialect() = default;
};

// `plan` is complete, and outlives the dialect.
[[nodiscard]] std::unique_ptr<Dialect> make_dialect(const Plan& plan);

// `text` with what stands in braces replaced.
std::string filled_in(std::string_view text, std::string_view topic, std::string_view sequence,
                      std::string_view payload);

}  // namespace bench
