#include "tools/history.h"

#include <cerrno>
#include <optional>
#include <string_view>

#include "codec/reply.h"
#include "io/base/units.h"
#include "tools/clock.h"
#include "tools/exit_code.h"
#include "tools/output.h"
#include "tools/seed.h"
#include "tools/session.h"
#include "tools/terminal.h"
#include "topics/name.h"

namespace tools {
namespace {

constexpr std::string_view program = "fanfare history";

// A broker that does not answer a page within this is taken for gone.
constexpr uint64_t answer_timeout_ns = 30 * base::ns_per_s;

class HistoryPrinter {
  public:
    HistoryPrinter(const HistoryOptions& options, uint64_t seed)
        : options_(options),
          format_(choose_format(options.format, options.out_fd, options.no_color)),
          session_(seed) {}

    int run();

  private:
    std::string check_arguments();
    void ask();
    std::optional<int> handle_message();
    std::optional<int> print_page();
    int end_without_answer();
    void say_status(const std::string& line) const { say(options_.status_fd, program, line); }

    const HistoryOptions& options_;
    const MessageFormat format_;
    Url url_;
    Session session_;
    BrokerMessageReader reader_;  // of single messages
    Cursor cursor_;               // where the next page begins; none before the first
};

std::string HistoryPrinter::check_arguments() {
    const std::string url_problem = parse_url(options_.url, url_);
    if (!url_problem.empty()) return "--url " + options_.url + ": " + url_problem;
    const topics::NameError error = topics::check_topic(options_.topic);
    if (error != topics::NameError::none) {
        return "the topic '" + escaped_for_terminal(options_.topic) +
               "': " + std::string(topics::describe(error));
    }
    if (options_.last_count < 1 || options_.last_count > codec::last_max)
        return "--last takes 1 to 1,000,000";
    return "";
}

int HistoryPrinter::run() {
    const std::string problem = check_arguments();
    if (!problem.empty()) {
        say_status(problem);
        return exit_usage;
    }
    if (!session_.open(url_, base::never_ns)) return end_without_answer();
    ask();
    uint64_t deadline_ns = monotonic_ns() + answer_timeout_ns;
    while (true) {
        switch (session_.next(deadline_ns, -1)) {
            case Session::Event::message: break;
            case Session::Event::ended: return end_without_answer();
            case Session::Event::readable:
            case Session::Event::timeout:
                session_.give_up("the broker does not answer");
                return end_without_answer();
        }
        const bool is_page = session_.message().op == BrokerMessage::Op::history;
        if (const std::optional<int> exit_code = handle_message()) {
            session_.close();
            return *exit_code;
        }
        if (is_page) deadline_ns = monotonic_ns() + answer_timeout_ns;
    }
}

void HistoryPrinter::ask() {
    std::string command = R"({"op":"history","id":1,"topic":)";
    codec::append_json_string(command, options_.topic);
    if (cursor_.is_none()) {
        command += R"(,"last":)" + std::to_string(options_.last_count);
    } else {
        command += R"(,"after":)";
        append_cursor(command, cursor_);
    }
    session_.send(command + "}");
}

// Answers the exit code when all has been said.
std::optional<int> HistoryPrinter::handle_message() {
    const BrokerMessage& message = session_.message();
    if (message.op == BrokerMessage::Op::history) return print_page();
    if (message.op != BrokerMessage::Op::error) return std::nullopt;
    say_status("the broker refused: " + escaped_for_terminal(message.code + ": " + message.reason));
    return exit_refused;
}

std::optional<int> HistoryPrinter::print_page() {
    const BrokerMessage& page = session_.message();
    if (page.recovered == false) {
        // Between two pages, so the next is not what followed.
        say_status("some messages are missing: " +
                   escaped_for_terminal(page.reason + " (" + page.code + ")"));
    }
    std::string head = R"({"op":"message","topic":)";
    codec::append_json_string(head, options_.topic);
    std::string lines;
    for (const std::string& object : page.messages) {
        if (!object.starts_with('{')) continue;  // this broker does not speak fanfare.v1
        // What `fanfare sub` gets for it: the same members after the topic.
        std::string frame = head + "," + object.substr(1);
        const size_t frame_bytes = frame.size();
        frame.append(base::readable_padding_bytes, '\0');
        const std::string_view text = std::string_view(frame).substr(0, frame_bytes);
        BrokerMessage message;
        if (reader_.read(text, message)) append_line(lines, format_, message, text);
    }
    if (!write_all(options_.out_fd, lines)) {
        const std::string problem = output_problem(errno);
        if (problem.empty()) return exit_ok;
        say_status(problem);
        return exit_usage;
    }
    if (!page.has_more) return exit_ok;
    cursor_ = page.cursor;
    ask();
    return std::nullopt;
}

int HistoryPrinter::end_without_answer() {
    say_status(session_.ending().reason);
    return session_.ending().kind == Ending::Kind::refused ? exit_refused : exit_cannot_connect;
}

}  // namespace

int run_history(const HistoryOptions& options) {
    HistoryPrinter printer(options, seed_or_random(options.seed));
    return printer.run();
}

}  // namespace tools
