#include "tools/output.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "io/base/units.h"

namespace tools {

bool write_all(int fd, std::string_view text) {
    while (!text.empty()) {
        const ssize_t written_bytes = write(fd, text.data(), text.size());
        if (written_bytes >= 0) {
            text.remove_prefix(static_cast<size_t>(written_bytes));
        } else if (errno == EAGAIN) {
            // Somebody else who shares the terminal or pipe has made it non-blocking.
            pollfd watched{.fd = fd, .events = POLLOUT, .revents = 0};
            static_cast<void>(poll(&watched, 1, -1));
        } else if (errno != EINTR) {
            return false;
        }
    }
    return true;
}

std::string output_problem(int error_number) {
    if (error_number == EPIPE) return "";
    return std::string("cannot write the output: ") + strerror(error_number);
}

bool put_out(int fd, int status_fd, std::string_view program, std::string_view text) {
    if (write_all(fd, text)) return true;
    const std::string problem = output_problem(errno);
    if (!problem.empty()) say(status_fd, program, problem);
    return problem.empty();
}

void say(int fd, std::string_view program, std::string_view line) {
    std::string text(program);
    text += ": ";
    text += line;
    text += '\n';
    static_cast<void>(write_all(fd, text));
}

std::string readable_wait(uint64_t wait_ns) {
    const uint64_t tenths = base::div_ceil(wait_ns, base::ns_per_s / 10);
    std::string text = std::to_string(tenths / 10);
    if (tenths < 100) text += "." + std::to_string(tenths % 10);
    return text + " s";
}

}  // namespace tools
