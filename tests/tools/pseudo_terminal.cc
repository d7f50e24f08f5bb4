#include "tests/tools/pseudo_terminal.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

namespace tools_test {

PseudoTerminal::PseudoTerminal() : screen_fd_(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)) {
    if (screen_fd_ < 0 || grantpt(screen_fd_) != 0 || unlockpt(screen_fd_) != 0) return;
    const char* name = ptsname(screen_fd_);
    if (name != nullptr) line_fd_ = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

PseudoTerminal::~PseudoTerminal() {
    if (line_fd_ >= 0) close(line_fd_);
    if (screen_fd_ >= 0) close(screen_fd_);
}

std::string PseudoTerminal::printed() const {
    char text[256];
    const ssize_t count = read(screen_fd_, text, sizeof text);
    return count < 0 ? "" : std::string(text, static_cast<size_t>(count));
}

}  // namespace tools_test
