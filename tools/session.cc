#include "tools/session.h"

#include <algorithm>
#include <utility>

#include "io/base/check.h"
#include "io/base/units.h"
#include "tools/backoff.h"
#include "tools/clock.h"
#include "tools/terminal.h"

namespace tools {
namespace {

// More than any broker asks for in earnest; a mistake there must not put a client to sleep for
// days.
constexpr uint64_t milliseconds_max = 3'600'000;

constexpr uint64_t close_timeout_ns = base::ns_per_s;

Ending::Kind kind_of(ConnectFailure::Kind kind) {
    switch (kind) {
        case ConnectFailure::Kind::unreachable: return Ending::Kind::lost;
        case ConnectFailure::Kind::refused: return Ending::Kind::refused;
        case ConnectFailure::Kind::foreign: return Ending::Kind::foreign;
    }
    UNREACHABLE();
}

uint64_t deadline_after(uint64_t from_ns, uint64_t wait_ns) {
    return wait_ns >= base::never_ns - from_ns ? base::never_ns : from_ns + wait_ns;
}

}  // namespace

bool Session::open(const Url& url, uint64_t deadline_ns) {
    deadline_ns = std::min(deadline_ns, monotonic_ns() + open_timeout_ns);
    silence_max_ns_ = base::never_ns;
    message_bytes_max_ = 0;
    goodbye_reason_.clear();
    retry_after_ns_ = 0;
    ending_ = {};

    ConnectFailure failure = client_.connect(url, deadline_ns);
    if (!failure.message.empty()) {
        static_cast<void>(
            end({.kind = kind_of(failure.kind), .reason = std::move(failure.message)}));
        return false;
    }
    is_open_ = true;

    switch (next(deadline_ns, -1)) {
        case Event::message: break;
        case Event::ended: return false;
        case Event::readable:
        case Event::timeout:
            static_cast<void>(
                end({.reason = url.place() + " speaks WebSocket but sent no welcome in time"}));
            return false;
    }
    if (message_.op == BrokerMessage::Op::goodbye) {
        // A broker that is full or stopping says so after the upgrade, where scripts can read it;
        // the Close follows.
        while (next(deadline_ns, -1) == Event::message) {
        }
        static_cast<void>(end({.reason = goodbye_reason_, .retry_after_ns = retry_after_ns_}));
        return false;
    }
    if (message_.op != BrokerMessage::Op::welcome) {
        static_cast<void>(
            end({.kind = Ending::Kind::foreign,
                 .reason = url.place() +
                           " speaks WebSocket but is not a Fanfare broker: it sent no welcome"}));
        return false;
    }
    message_bytes_max_ = message_.message_bytes_max;
    // A publish is a command too.
    publishes_per_second_ = message_.publishes_per_second;
    if (publishes_per_second_ == 0 || (message_.commands_per_second > 0 &&
                                       message_.commands_per_second < publishes_per_second_)) {
        publishes_per_second_ = message_.commands_per_second;
    }
    const uint64_t silence_ms =
        std::min(message_.heartbeat_ms, milliseconds_max) + message_.timeout_ms;
    if (message_.heartbeat_ms > 0) {
        silence_max_ns_ = std::min(silence_ms, milliseconds_max) * base::ns_per_ms;
    }
    return true;
}

Session::Event Session::next(uint64_t deadline_ns, int also_readable_fd) {
    if (!is_open_) return Event::ended;
    const uint64_t silence_deadline_ns = deadline_after(client_.last_heard_ns(), silence_max_ns_);
    const Incoming incoming =
        client_.wait(std::min(deadline_ns, silence_deadline_ns), also_readable_fd);
    switch (incoming.kind) {
        case Incoming::Kind::text:
            frame_ = incoming.payload;
            if (!reader_.read(frame_, message_)) {
                return end({.kind = Ending::Kind::foreign,
                            .reason = "the broker sent something that is not fanfare.v1"});
            }
            if (message_.op == BrokerMessage::Op::goodbye) note_goodbye();
            return Event::message;
        case Incoming::Kind::readable: return Event::readable;
        case Incoming::Kind::timeout:
            if (monotonic_ns() < deadline_after(client_.last_heard_ns(), silence_max_ns_))
                return Event::timeout;
            return end({.reason = "no sign of life from the broker for " +
                                  std::to_string(silence_max_ns_ / base::ns_per_ms) + " ms"});
        case Incoming::Kind::closed: return end_closed(incoming.close_code, incoming.payload);
        case Incoming::Kind::lost:
            return end({.reason = goodbye_reason_.empty()
                                      ? "connection lost: " + std::string(incoming.problem)
                                      : goodbye_reason_,
                        .retry_after_ns = retry_after_ns_});
    }
    UNREACHABLE();
}

void Session::note_goodbye() {
    goodbye_reason_ = "the broker said goodbye: " + escaped_for_terminal(message_.code);
    if (!message_.reason.empty()) goodbye_reason_ += ": " + escaped_for_terminal(message_.reason);
    retry_after_ns_ = std::min(message_.retry_ms, milliseconds_max) * base::ns_per_ms;
}

// Only the first ending counts: what is heard afterwards says less.
Session::Event Session::end(Ending ending) {
    if (ending_.reason.empty()) ending_ = std::move(ending);
    is_open_ = false;
    return Event::ended;
}

Session::Event Session::end_closed(uint16_t close_code, std::string_view reason) {
    std::string text = goodbye_reason_;
    if (text.empty()) {
        text = "the broker closed the connection with " + std::to_string(close_code);
        if (!reason.empty()) text += ": " + escaped_for_terminal(reason);
    }
    return end({.kind = may_reconnect(close_code) ? Ending::Kind::lost : Ending::Kind::refused,
                .reason = std::move(text),
                .retry_after_ns = retry_after_ns_});
}

void Session::close() {
    client_.close(monotonic_ns() + close_timeout_ns);
    is_open_ = false;
}

void Session::give_up(std::string reason) {
    static_cast<void>(end({.reason = std::move(reason), .retry_after_ns = retry_after_ns_}));
    client_.close(monotonic_ns() + close_timeout_ns);
}

}  // namespace tools
