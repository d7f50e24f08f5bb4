#include "tools/sub.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <optional>

#include "codec/command.h"
#include "codec/reply.h"
#include "codec/start.h"
#include "io/base/units.h"
#include "tools/backoff.h"
#include "tools/clock.h"
#include "tools/cursor_file.h"
#include "tools/exit_code.h"
#include "tools/message_format.h"
#include "tools/output.h"
#include "tools/seed.h"
#include "tools/session.h"
#include "tools/signal_hold.h"
#include "tools/subscription_state.h"
#include "tools/terminal.h"
#include "topics/name.h"

namespace tools {
namespace {

constexpr std::string_view program = "fanfare sub";

// Printed at the latest then, even while more arrives.
constexpr size_t printed_at_once_bytes = 64 * base::kib;

// Between two writes of the cursor file: what a crash may make the next run repeat.
constexpr uint64_t save_interval_ns = base::ns_per_s;

class Subscriber {
  public:
    Subscriber(const SubOptions& options, uint64_t seed)
        : options_(options),
          is_terminal_(isatty(options.out_fd) == 1),
          format_(choose_format(options.format, options.out_fd, options.no_color)),
          session_(seed),
          backoff_(seed),
          file_(options.cursor_file, options.filters, options.url) {}

    int run();

  private:
    std::string check_arguments();
    std::string load_place();
    std::string subscribe_command() const;
    std::optional<int> listen();
    std::optional<int> handle_message();
    std::optional<int> handle_error();
    std::optional<int> take_message();
    void note_subscribed();
    void note_live();
    void tell_loss(const std::string& addition);
    void note_end();
    std::optional<int> wait_to_reconnect();
    int finish(int exit_code);
    bool is_count_reached() const {
        return options_.count > 0 && received_count_ == options_.count;
    }
    bool print();
    bool print_by_pages();
    bool print_piece(std::string_view piece);
    void prepare_to_stop();
    void save_place();
    uint64_t save_due_ns() const {
        return file_.is_used() && has_moved_ ? next_save_ns_ : base::never_ns;
    }
    int on_timeout() const { return options_.count > 0 ? exit_timeout : exit_ok; }
    void say_status(const std::string& line) const { say(options_.status_fd, program, line); }

    const SubOptions& options_;
    const bool is_terminal_;
    const MessageFormat format_;
    Url url_;
    uint64_t deadline_ns_ = base::never_ns;

    Session session_;
    Backoff backoff_;
    std::string unprinted_;
    uint64_t received_count_ = 0;
    bool was_subscribed_ = false;  // at least once, so a new connection is a reconnect

    // Where the subscription stands.
    SubscriptionState state_{0, {}};
    bool is_subscribed_ = false;       // on this connection
    bool is_recoverable_ = false;      // as the broker said there
    bool is_recovering_ = false;       // an exact resume on its way to `live`
    uint64_t caught_up_count_ = 0;     // messages of replays since the last `live`
    std::string maybe_missing_since_;  // the time until which nothing can be missing; may be empty

    // Keeping the place.
    CursorFile file_;
    Cursor saved_;            // as it stands in the file
    bool has_moved_ = false;  // the cursor, since it was saved
    uint64_t next_save_ns_ = 0;
    bool has_save_failed_ = false;       // the last time
    bool has_reader_gone_ = false;       // so not all that was printed was read by anybody
    std::string output_problem_;         // why, unless it just left
    std::optional<SignalHold> signals_;  // while there may be a place to save
    bool is_stopping_ = false;           // for a signal that has come
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
    if (options_.last_count > codec::last_max) return "--last takes at most 1,000,000";
    return load_place();
}

std::string Subscriber::load_place() {
    const std::string problem = file_.load();
    if (!problem.empty()) return "--cursor-file " + file_.path() + ": " + problem;
    saved_ = file_.cursor();
    maybe_missing_since_ = escaped_for_terminal(file_.time());
    if (options_.last_count > 0 && !saved_.is_none())
        say_status("--last is not used, since " + file_.path() + " tells where to continue");
    state_ = SubscriptionState(static_cast<uint32_t>(options_.last_count), saved_);
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
            if (file_.is_used()) signals_.emplace();
            const std::optional<int> exit_code = listen();
            note_end();
            // A signal that is held ends the process here.
            signals_.reset();
            if (exit_code.has_value()) {
                session_.close();
                return finish(*exit_code);
            }
        }
        // Here the connection has ended, or was never made.
        if (const std::optional<int> exit_code = wait_to_reconnect()) return finish(*exit_code);
    }
}

// What stands when the program ends: whether all was printed and the place is safe counts too.
int Subscriber::finish(int exit_code) {
    if (!output_problem_.empty()) {
        say_status(output_problem_);
        return exit_usage;
    }
    if (!file_.is_used()) return exit_code;
    if (has_save_failed_ && exit_code == exit_ok) return exit_usage;
    if (saved_.is_none() && was_subscribed_ && !has_save_failed_ && !has_reader_gone_)
        say_status(file_.path() + " was not written, for there is no place yet to continue at");
    return exit_code;
}

std::string Subscriber::subscribe_command() const {
    std::string command = R"({"op":"subscribe","id":1,"filters":[)";
    for (const std::string& filter : options_.filters) {
        if (&filter != &options_.filters.front()) command += ',';
        codec::append_json_string(command, filter);
    }
    command += ']';
    state_.append_start(command);
    return command + "}";
}

// Prints messages until the program is to end (the exit code) or the connection has ended
// (nothing).
std::optional<int> Subscriber::listen() {
    const int signal_fd = signals_.has_value() ? signals_->fd() : -1;
    while (!is_stopping_) {
        // While more waits to be read, printing waits too: one write for many messages. A deadline
        // in the past makes next() answer at once.
        const uint64_t wake_ns = std::min(deadline_ns_, save_due_ns());
        Session::Event event = session_.next(unprinted_.empty() ? wake_ns : 0, signal_fd);
        if (event == Session::Event::timeout && !unprinted_.empty()) {
            if (!print()) return exit_ok;
            event = session_.next(wake_ns, signal_fd);
        }
        switch (event) {
            case Session::Event::message:
                if (const std::optional<int> exit_code = handle_message()) return exit_code;
                break;
            case Session::Event::ended: return print() ? std::nullopt : std::optional(exit_ok);
            case Session::Event::readable: prepare_to_stop(); return exit_ok;
            case Session::Event::timeout: break;
        }
        if (unprinted_.size() >= printed_at_once_bytes && !print()) return exit_ok;
        // A stream that never pauses must not outrun the timeout, nor the cursor file.
        const uint64_t now_ns = monotonic_ns();
        if (now_ns >= deadline_ns_) return print() ? on_timeout() : exit_ok;
        if (now_ns >= save_due_ns()) {
            if (!print()) return exit_ok;
            save_place();
        }
    }
    return exit_ok;
}

std::optional<int> Subscriber::handle_message() {
    const BrokerMessage& message = session_.message();
    switch (message.op) {
        case BrokerMessage::Op::message: return take_message();
        case BrokerMessage::Op::replay:
            state_.note_replay(message.messages_count);
            return std::nullopt;
        case BrokerMessage::Op::live: note_live(); return std::nullopt;
        case BrokerMessage::Op::position:
            state_.note_position(message.cursor);
            has_moved_ = true;
            return std::nullopt;
        case BrokerMessage::Op::gap: tell_loss(""); return std::nullopt;
        case BrokerMessage::Op::subscribed: note_subscribed(); return std::nullopt;
        case BrokerMessage::Op::error: return handle_error();
        case BrokerMessage::Op::goodbye:  // the session keeps it for the ending, which follows
        case BrokerMessage::Op::welcome:
        case BrokerMessage::Op::published:
        case BrokerMessage::Op::history:
        case BrokerMessage::Op::other: return std::nullopt;
    }
    return std::nullopt;
}

std::optional<int> Subscriber::take_message() {
    const SubscriptionState::Arrival arrival = state_.note_message(session_.message().position);
    if (!arrival.is_new) return std::nullopt;
    if (arrival.is_replayed) caught_up_count_ += 1;
    has_moved_ = true;
    append_line(unprinted_, format_, session_.message(), session_.frame());
    received_count_ += 1;
    if (!is_count_reached()) return std::nullopt;
    static_cast<void>(print());
    return exit_ok;
}

void Subscriber::note_subscribed() {
    const BrokerMessage& message = session_.message();
    if (!was_subscribed_) {
        say_status("connected to " + url_.place());
    } else if (state_.starts_now()) {
        say_status("connected again to " + url_.place() +
                   "; what was published meanwhile may be missing");
    } else {
        say_status("connected again to " + url_.place());
    }
    is_recovering_ = message.recovered == true;
    is_recoverable_ = message.is_recoverable;
    if (message.recovered == false) {
        const std::string since =
            maybe_missing_since_.empty() ? "" : " since " + maybe_missing_since_;
        tell_loss("; messages may be missing" + since);
    }
    state_.note_subscribed(message.cursor);
    has_moved_ = true;
    is_subscribed_ = true;
    was_subscribed_ = true;
    backoff_.reset();
}

void Subscriber::note_live() {
    state_.note_live(session_.message().cursor);
    has_moved_ = true;
    if (is_recovering_) {
        std::string line = "resumed, " + std::to_string(caught_up_count_);
        line += caught_up_count_ == 1 ? " message caught up" : " messages caught up";
        if (!is_recoverable_) line += "; of topics without history some may be missing";
        say_status(line);
    }
    is_recovering_ = false;
    caught_up_count_ = 0;
}

// In the stream the loss stands where it is; the sentence is for whoever looks after the program.
void Subscriber::tell_loss(const std::string& addition) {
    const BrokerMessage& message = session_.message();
    append_line(unprinted_, format_, message, session_.frame());
    say_status(escaped_for_terminal(loss_sentence(message)) + addition);
}

// The connection has ended, or the program is about to.
void Subscriber::note_end() {
    if (is_subscribed_) {
        const uint64_t silent_ns = monotonic_ns() - session_.last_heard_ns();
        maybe_missing_since_ =
            utc_text(utc_seconds() - static_cast<int64_t>(silent_ns / base::ns_per_s));
    }
    is_subscribed_ = false;
    is_recovering_ = false;
    static_cast<void>(print());
    if (has_moved_) save_place();
    state_.note_end();
}

// All up to the cursor has been printed when this is called.
void Subscriber::save_place() {
    has_moved_ = false;
    next_save_ns_ = monotonic_ns() + save_interval_ns;
    if (!file_.is_used() || has_reader_gone_) return;
    if (!state_.can_resume() || state_.cursor() == saved_) return;
    const std::string problem = file_.save(state_.cursor());
    if (problem.empty()) {
        saved_ = state_.cursor();
        has_save_failed_ = false;
        return;
    }
    if (!has_save_failed_) say_status("the place cannot be kept: " + problem);
    has_save_failed_ = true;
    has_moved_ = true;
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

// False when nothing can be written any more, which ends the program.
bool Subscriber::print() {
    if (has_reader_gone_) return false;
    const bool is_written = signals_.has_value() ? print_by_pages() : print_piece(unprinted_);
    unprinted_.clear();
    has_reader_gone_ = !is_written;
    return is_written;
}

// A signal must be heard while messages come without a pause, and while the reader takes its time:
// what is writable has room for a page.
bool Subscriber::print_by_pages() {
    std::string_view rest = unprinted_;
    while (!rest.empty()) {
        pollfd watched[2] = {{.fd = options_.out_fd, .events = POLLOUT, .revents = 0},
                             {.fd = signals_->fd(), .events = POLLIN, .revents = 0}};
        if (poll(watched, 2, -1) < 0) continue;  // EINTR, or ENOMEM, which passes
        is_stopping_ |= watched[1].revents != 0;
        const bool is_writable = watched[0].revents != 0;
        if (!is_writable && is_stopping_) return false;
        if (!is_writable) continue;
        // But for a terminal, whose user can hold it.
        const bool may_wait = is_terminal_ && !is_stopping_;
        if (may_wait) signals_->pause();
        const std::string_view page = rest.substr(0, PIPE_BUF);
        const bool is_written = print_piece(page);
        if (may_wait) signals_->resume();
        if (!is_written) return false;
        rest.remove_prefix(page.size());
    }
    return true;
}

bool Subscriber::print_piece(std::string_view piece) {
    const bool is_written = write_all(options_.out_fd, piece);
    if (!is_written) output_problem_ = output_problem(errno);
    return is_written;
}

// A signal has come. A reader that takes nothing at this moment is not waited for: then the place
// of the last save stands, and the next run repeats what has come since.
void Subscriber::prepare_to_stop() {
    is_stopping_ = true;
    pollfd watched{.fd = options_.out_fd, .events = POLLOUT, .revents = 0};
    has_reader_gone_ |= poll(&watched, 1, 0) != 1;
}

}  // namespace

int run_sub(const SubOptions& options) {
    Subscriber subscriber(options, seed_or_random(options.seed));
    return subscriber.run();
}

}  // namespace tools
