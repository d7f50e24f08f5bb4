#include "tools/sub.h"

#include <unistd.h>

#include <algorithm>
#include <optional>

#include "codec/command.h"
#include "codec/reply.h"
#include "io/base/units.h"
#include "tools/backoff.h"
#include "tools/clock.h"
#include "tools/exit_code.h"
#include "tools/message_format.h"
#include "tools/output.h"
#include "tools/seed.h"
#include "tools/session.h"
#include "tools/terminal.h"
#include "topics/name.h"

namespace tools {
namespace {

constexpr std::string_view program = "fanfare sub";

// Printed at the latest then, even while more arrives.
constexpr size_t printed_at_once_bytes = 64 * base::kib;

MessageFormat choose_format(const SubOptions& options) {
    const bool is_terminal = isatty(options.out_fd) == 1;
    const MessageFormat readable = is_terminal && !options.no_color
                                       ? MessageFormat::readable_coloured
                                       : MessageFormat::readable;
    switch (options.format) {
        case SubFormat::automatic: return is_terminal ? readable : MessageFormat::json_line;
        case SubFormat::readable: return readable;
        case SubFormat::json: return MessageFormat::json_line;
    }
    return MessageFormat::json_line;
}

class Subscriber {
  public:
    Subscriber(const SubOptions& options, uint64_t seed)
        : options_(options), format_(choose_format(options)), session_(seed), backoff_(seed) {}

    int run();

  private:
    std::string check_arguments();
    std::string subscribe_command() const;
    std::optional<int> listen();
    std::optional<int> handle_message();
    std::optional<int> handle_error();
    std::optional<int> wait_to_reconnect();
    bool is_count_reached() const {
        return options_.count > 0 && received_count_ == options_.count;
    }
    bool print();
    int on_timeout() const { return options_.count > 0 ? exit_timeout : exit_ok; }
    void say_status(const std::string& line) const { say(options_.status_fd, program, line); }

    const SubOptions& options_;
    const MessageFormat format_;
    Url url_;
    uint64_t deadline_ns_ = base::never_ns;

    Session session_;
    Backoff backoff_;
    std::string unprinted_;
    uint64_t received_count_ = 0;
    bool was_subscribed_ = false;  // at least once, so a new connection is a reconnect
};

std::string Subscriber::check_arguments() {
    const std::string url_problem = parse_url(options_.url, url_);
    if (!url_problem.empty()) return "--url " + options_.url + ": " + url_problem;
    if (options_.filters.empty()) return "give at least one filter, e.g. 'news/#'";
    if (options_.filters.size() > codec::commands_per_frame_max)
        return "at most 1,000 filters can be given at once";
    for (const std::string& filter : options_.filters) {
        const topics::NameError error = topics::check_filter(filter);
        if (error != topics::NameError::none) {
            return "the filter '" + escaped_for_terminal(filter) +
                   "': " + std::string(topics::describe(error));
        }
    }
    return "";
}

int Subscriber::run() {
    const std::string problem = check_arguments();
    if (!problem.empty()) {
        say_status(problem);
        return exit_usage;
    }
    if (options_.timeout_ns > 0) deadline_ns_ = monotonic_ns() + options_.timeout_ns;
    while (true) {
        if (session_.open(url_, deadline_ns_)) {
            session_.send(subscribe_command());
            if (const std::optional<int> exit_code = listen()) {
                session_.close();
                return *exit_code;
            }
        }
        // Here the connection has ended, or was never made.
        if (const std::optional<int> exit_code = wait_to_reconnect()) return *exit_code;
    }
}

std::string Subscriber::subscribe_command() const {
    std::string command = R"({"op":"subscribe","id":1,"filters":[)";
    for (const std::string& filter : options_.filters) {
        if (&filter != &options_.filters.front()) command += ',';
        codec::append_json_string(command, filter);
    }
    return command + "]}";
}

// Prints messages until the program is to end (the exit code) or the connection has ended
// (nothing).
std::optional<int> Subscriber::listen() {
    while (true) {
        // While more waits to be read, printing waits too: one write for many messages. A deadline
        // in the past makes next() answer at once.
        Session::Event event = session_.next(unprinted_.empty() ? deadline_ns_ : 0, -1);
        if (event == Session::Event::timeout && !unprinted_.empty()) {
            if (!print()) return exit_ok;
            event = session_.next(deadline_ns_, -1);
        }
        switch (event) {
            case Session::Event::message:
                if (const std::optional<int> exit_code = handle_message()) return exit_code;
                break;
            case Session::Event::ended: return print() ? std::nullopt : std::optional(exit_ok);
            case Session::Event::readable:
            case Session::Event::timeout: break;
        }
        if (unprinted_.size() >= printed_at_once_bytes && !print()) return exit_ok;
        // A stream that never pauses must not outrun the timeout.
        if (monotonic_ns() >= deadline_ns_) return print() ? on_timeout() : exit_ok;
    }
}

std::optional<int> Subscriber::handle_message() {
    const BrokerMessage& message = session_.message();
    switch (message.op) {
        case BrokerMessage::Op::message:
            append_line(unprinted_, format_, message, session_.frame());
            received_count_ += 1;
            if (!is_count_reached()) return std::nullopt;
            static_cast<void>(print());
            return exit_ok;
        case BrokerMessage::Op::gap:
            append_line(unprinted_, format_, message, session_.frame());
            return std::nullopt;
        case BrokerMessage::Op::subscribed:
            say_status(was_subscribed_ ? "connected again to " + url_.place() +
                                             "; what was published meanwhile may be missing"
                                       : "connected to " + url_.place());
            was_subscribed_ = true;
            backoff_.reset();
            return std::nullopt;
        case BrokerMessage::Op::error: return handle_error();
        case BrokerMessage::Op::goodbye:  // the session keeps it for the ending, which follows
        case BrokerMessage::Op::welcome:
        case BrokerMessage::Op::published:
        case BrokerMessage::Op::other: return std::nullopt;
    }
    return std::nullopt;
}

std::optional<int> Subscriber::handle_error() {
    const BrokerMessage& error = session_.message();
    const std::string text = escaped_for_terminal(error.code + ": " + error.reason);
    // These two are about the moment; a draining broker ends the connection itself.
    if (error.code == "draining") return std::nullopt;
    if (error.code == "overloaded") {
        session_.give_up("the broker did not subscribe: " + text);
        return std::nullopt;
    }
    say_status("the broker refused the subscription: " + text);
    return exit_refused;
}

// Waits for the next attempt (nothing), or answers the exit code when there is none.
std::optional<int> Subscriber::wait_to_reconnect() {
    const Ending& ending = session_.ending();
    if (monotonic_ns() >= deadline_ns_ && was_subscribed_) return on_timeout();
    switch (ending.kind) {
        case Ending::Kind::refused: say_status(ending.reason); return exit_refused;
        case Ending::Kind::foreign: say_status(ending.reason); return exit_cannot_connect;
        case Ending::Kind::lost: break;
    }
    // A first attempt that fails is a wrong address or a broker that is not running: say so at
    // once.
    if (!was_subscribed_ || !options_.reconnect) {
        say_status(ending.reason);
        return exit_cannot_connect;
    }
    const uint64_t wait_ns = backoff_.next_ns(ending.retry_after_ns);
    say_status(ending.reason + "; reconnecting in " + readable_wait(wait_ns));
    const uint64_t again_ns = monotonic_ns() + wait_ns;
    if (again_ns >= deadline_ns_) {
        sleep_until(deadline_ns_);
        return on_timeout();
    }
    sleep_until(again_ns);
    return std::nullopt;
}

// False when nobody reads any more, as after `| head -1`: a good reason to end, and no error.
bool Subscriber::print() {
    const bool is_written = write_all(options_.out_fd, unprinted_);
    unprinted_.clear();
    return is_written;
}

}  // namespace

int run_sub(const SubOptions& options) {
    Subscriber subscriber(options, seed_or_random(options.seed));
    return subscriber.run();
}

}  // namespace tools
