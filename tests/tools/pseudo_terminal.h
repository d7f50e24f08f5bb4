// PseudoTerminal: a terminal for tests, to be given as stdin or stdout of what is tested.
#pragma once

#include <string>

namespace tools_test {

class PseudoTerminal {
  public:
    PseudoTerminal();
    ~PseudoTerminal();
    PseudoTerminal(const PseudoTerminal&) = delete;
    PseudoTerminal& operator=(const PseudoTerminal&) = delete;

    // False where there are none, as in a chroot without /dev/pts; such a test is skipped.
    bool is_there() const { return line_fd_ >= 0; }
    // What the tested program believes to be its terminal.
    int line_fd() const { return line_fd_; }
    // What was written to it, as a person would see it.
    std::string printed() const;

  private:
    int screen_fd_;
    int line_fd_ = -1;
};

}  // namespace tools_test
