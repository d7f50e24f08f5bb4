// Writing to a descriptor, and the small settings of how: for the results (stdout) and the status
// lines (stderr).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tools {

// Writes all of it, waiting as long as the reader takes. False when it cannot be written: errno
// tells why.
[[nodiscard]] bool write_all(int fd, std::string_view text);

// What to tell the user of results that could not be written. Empty when the reader has left, as
// after `| head -1`: that is a good reason to end, and no error.
std::string output_problem(int error_number);

// The results of a program that prints them at once. False when they could not be written, which
// was told to the user on `status_fd`.
[[nodiscard]] bool put_out(int fd, int status_fd, std::string_view program, std::string_view text);

// One line for the user on `fd`, led by the program's name, as is the habit of Unix tools. What
// fails is ignored: there is nobody left to tell.
void say(int fd, std::string_view program, std::string_view line);

// "0.4 s", "12 s": a wait as a person reads it.
std::string readable_wait(uint64_t wait_ns);

}  // namespace tools
