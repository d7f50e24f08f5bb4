#include "tools/pub.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "codec/command.h"
#include "codec/utf8.h"
#include "io/base/check.h"
#include "tools/backoff.h"
#include "tools/clock.h"
#include "tools/exit_code.h"
#include "tools/line_reader.h"
#include "tools/output.h"
#include "tools/publish_flow.h"
#include "tools/publish_frame.h"
#include "tools/seed.h"
#include "tools/session.h"
#include "tools/terminal.h"
#include "topics/name.h"

namespace tools {
namespace {

constexpr std::string_view program = "fanfare pub";

// Enough to keep a connection busy; beyond it reading the input waits for the broker.
constexpr uint64_t unsent_bytes_max = base::mib;
// More than any broker asks for in earnest.
constexpr uint64_t retry_ms_max = 60'000;

class Publisher {
  public:
    Publisher(const PubOptions& options, uint64_t seed)
        : options_(options),
          lines_(options.in_fd),
          encoder_(options.topic, options.kind, seed),
          session_(seed),
          flow_(seed),
          backoff_(seed) {}

    int run();

  private:
    std::string check_arguments();
    std::string take_single_message();
    std::string check_key() const;
    std::string key_of(uint64_t id) const;
    std::optional<int> publish();
    void send_due();
    void take_more();
    void take(std::string_view data);
    std::optional<int> give_up_if_refused();
    std::optional<int> handle_message();
    std::optional<int> handle_error();
    std::optional<int> wait_to_reconnect();

    bool reads_lines() const { return !single_.has_value(); }
    bool has_room() const {
        return flow_.count() < publish_window_count && session_.unsent_bytes() < unsent_bytes_max;
    }
    std::string name_of(uint64_t id) const {
        return reads_lines() ? "line " + std::to_string(id) : "the message";
    }
    void say_status(const std::string& line) const { say(options_.status_fd, program, line); }
    void reject(uint64_t id, const std::string& why) {
        say_status(name_of(id) + ": " + why);
        has_bad_input_ = true;
    }

    const PubOptions& options_;
    Url url_;
    LineReader lines_;
    std::optional<std::string> single_;  // the one message, where lines are not read
    bool is_input_done_ = false;

    PublishEncoder encoder_;
    Session session_;
    PublishFlow flow_;  // what is not confirmed, by its id, which is the number of its line
    Backoff backoff_;
    bool was_connected_ = false;  // at least once
    // Since when nothing has been confirmed for want of a connection; 0 while there is one that
    // works.
    uint64_t trouble_since_ns_ = 0;

    bool has_bad_input_ = false;
    bool has_refusal_ = false;
};

std::string Publisher::check_arguments() {
    const std::string url_problem = parse_url(options_.url, url_);
    if (!url_problem.empty()) return "--url " + options_.url + ": " + url_problem;
    const topics::NameError error = topics::check_publishable(options_.topic);
    if (error != topics::NameError::none) {
        return "the topic '" + escaped_for_terminal(options_.topic) +
               "': " + std::string(topics::describe(error));
    }
    if (!options_.data.has_value() && isatty(options_.in_fd) == 1) {
        return "give DATA, or - to publish each line that is typed";
    }
    const std::string problem = take_single_message();
    return problem.empty() ? check_key() : problem;
}

// After take_single_message(), which tells whether lines are read.
std::string Publisher::check_key() const {
    static_assert(line_key_bytes_max ==
                  codec::command_key_bytes_max - 1 - std::numeric_limits<uint64_t>::digits10 - 1);
    if (!options_.key.has_value()) return "";
    const std::string& key = *options_.key;
    if (key.empty()) return "the key is empty";
    if (!codec::is_utf8({reinterpret_cast<const uint8_t*>(key.data()), key.size()}))
        return "the key is not UTF-8";
    const uint32_t bytes_max = reads_lines() ? line_key_bytes_max : codec::command_key_bytes_max;
    if (key.size() <= bytes_max) return "";
    return "the key is longer than " + std::to_string(bytes_max) + " bytes" +
           (reads_lines() ? ", which leave room for a line's number" : "");
}

std::string Publisher::key_of(uint64_t id) const {
    if (!options_.key.has_value()) return "";
    return reads_lines() ? *options_.key + "-" + std::to_string(id) : *options_.key;
}

std::string Publisher::take_single_message() {
    if (options_.data.has_value() && *options_.data != "-") {
        single_ = *options_.data;
    } else if (options_.kind == PubKind::binary) {
        std::string input;
        if (!lines_.read_all(LineReader::line_bytes_max, input))
            return "the input is longer than 16 MiB";
        if (lines_.error() != 0)
            return std::string("cannot read the input: ") + strerror(lines_.error());
        single_ = std::move(input);
    }
    return "";
}

int Publisher::run() {
    const std::string problem = check_arguments();
    if (!problem.empty()) {
        say_status(problem);
        return exit_usage;
    }
    while (true) {
        if (session_.open(url_, base::never_ns)) {
            was_connected_ = true;
            if (flow_.is_empty()) trouble_since_ns_ = 0;
            if (const std::optional<int> exit_code = publish()) {
                session_.close();
                return *exit_code;
            }
        }
        if (const std::optional<int> exit_code = wait_to_reconnect()) return *exit_code;
    }
}

// Publishes until all is confirmed or the broker refuses for good (the exit code), or the
// connection has ended (nothing).
std::optional<int> Publisher::publish() {
    flow_.connected(session_.publishes_per_second());
    while (true) {
        take_more();
        send_due();
        if (is_input_done_ && flow_.is_empty()) {
            if (has_refusal_) return exit_refused;
            return has_bad_input_ ? exit_usage : exit_ok;
        }
        if (const std::optional<int> exit_code = give_up_if_refused()) return exit_code;
        const bool wants_input = !is_input_done_ && has_room();
        switch (session_.next(flow_.next_at_ns(), wants_input ? options_.in_fd : -1)) {
            case Session::Event::message:
                if (const std::optional<int> exit_code = handle_message()) return exit_code;
                break;
            case Session::Event::readable: lines_.read_more(); break;
            case Session::Event::timeout: break;
            case Session::Event::ended: return std::nullopt;
        }
    }
}

void Publisher::send_due() {
    while (const std::optional<std::string> command = flow_.next(monotonic_ns())) {
        session_.send(*command);
    }
}

// A broker that refuses all for so long does not mean the rate that it tells.
std::optional<int> Publisher::give_up_if_refused() {
    const uint64_t since_ns = flow_.refused_since_ns();
    if (since_ns == 0 || monotonic_ns() - since_ns <= options_.give_up_after_ns) {
        return std::nullopt;
    }
    say_status("rate_limited: the broker has refused everything for " +
               readable_wait(options_.give_up_after_ns));
    say_status("not confirmed: " + std::to_string(flow_.count()) + " of the messages");
    return exit_refused;
}

// Takes what of the input is there and has room in the window.
void Publisher::take_more() {
    if (!reads_lines()) {
        if (!std::exchange(is_input_done_, true)) take(*single_);
        return;
    }
    std::string_view line;
    while (!is_input_done_ && has_room()) {
        switch (lines_.next(line)) {
            case LineReader::Next::line: take(line); break;
            case LineReader::Next::too_long:
                reject(lines_.lines_count(), "longer than 16 MiB");
                break;
            case LineReader::Next::empty: return;
            case LineReader::Next::end:
                is_input_done_ = true;
                if (lines_.error() == 0) break;
                say_status(std::string("cannot read the input: ") + strerror(lines_.error()));
                has_bad_input_ = true;
                break;
        }
    }
}

void Publisher::take(std::string_view data) {
    const uint64_t id = reads_lines() ? lines_.lines_count() : 1;
    std::string frame;
    const std::string problem = encoder_.encode(id, key_of(id), data, frame);
    if (!problem.empty()) {
        reject(id, problem);
        return;
    }
    // A longer one would cost the connection, with everything in flight.
    const uint64_t frame_bytes_max = session_.message_bytes_max();
    const uint64_t frame_bytes = frame.size() + flow_.added_bytes_max();
    if (frame_bytes_max > 0 && frame_bytes > frame_bytes_max) {
        reject(id, std::to_string(frame_bytes) + " bytes as a command; this broker takes at most " +
                       std::to_string(frame_bytes_max));
        return;
    }
    flow_.add(id, std::move(frame));
}

std::optional<int> Publisher::handle_message() {
    const BrokerMessage& message = session_.message();
    switch (message.op) {
        case BrokerMessage::Op::published:
            if (message.id.has_value()) flow_.confirmed(*message.id);
            trouble_since_ns_ = 0;
            backoff_.reset();
            return std::nullopt;
        case BrokerMessage::Op::error: return handle_error();
        case BrokerMessage::Op::goodbye:  // the session keeps it for the ending, which follows
        case BrokerMessage::Op::welcome:
        case BrokerMessage::Op::subscribed:
        case BrokerMessage::Op::message:
        case BrokerMessage::Op::replay:
        case BrokerMessage::Op::live:
        case BrokerMessage::Op::position:
        case BrokerMessage::Op::gap:
        case BrokerMessage::Op::history:
        case BrokerMessage::Op::other: return std::nullopt;
    }
    UNREACHABLE();
}

std::optional<int> Publisher::handle_error() {
    const BrokerMessage& error = session_.message();
    const std::string text = escaped_for_terminal(error.code + ": " + error.reason);
    // These two are about the moment, so the message stays in flight, to be sent again over the
    // next connection. A draining broker ends this one itself.
    if (error.code == "draining") return std::nullopt;
    if (error.code == "overloaded") {
        session_.give_up(text);
        return std::nullopt;
    }
    if (!error.id.has_value()) {
        say_status("the broker refused a command: " + text);
        return exit_refused;
    }
    if (error.code == "rate_limited") {
        const uint64_t retry_ms = std::min(error.retry_ms, retry_ms_max);
        flow_.rate_limited(*error.id, retry_ms * base::ns_per_ms, monotonic_ns());
        return std::nullopt;
    }
    say_status(name_of(*error.id) + ": " + text);
    flow_.given_up(*error.id);
    has_refusal_ = true;
    return std::nullopt;
}

// Waits for the next attempt (nothing), or answers the exit code when there is none.
std::optional<int> Publisher::wait_to_reconnect() {
    const Ending& ending = session_.ending();
    const uint64_t now_ns = monotonic_ns();
    if (trouble_since_ns_ == 0) trouble_since_ns_ = now_ns;
    const uint64_t wait_ns = backoff_.next_ns(ending.retry_after_ns);
    const bool is_hopeless = now_ns + wait_ns - trouble_since_ns_ > options_.give_up_after_ns;
    if (ending.kind != Ending::Kind::lost || !was_connected_ || is_hopeless) {
        say_status(ending.reason);
        if (!flow_.is_empty())
            say_status("not confirmed: " + std::to_string(flow_.count()) + " of the messages");
        return ending.kind == Ending::Kind::refused ? exit_refused : exit_cannot_connect;
    }
    say_status(ending.reason + "; reconnecting in " + readable_wait(wait_ns));
    sleep_until(now_ns + wait_ns);
    return std::nullopt;
}

}  // namespace

int run_pub(const PubOptions& options) {
    Publisher publisher(options, seed_or_random(options.seed));
    return publisher.run();
}

}  // namespace tools
