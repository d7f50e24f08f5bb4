// The exit codes that `fanfare sub` and `fanfare pub` share. They stand in --help, so scripts rely
// on them.
#pragma once

#include <string_view>

namespace tools {

inline constexpr int exit_ok = 0;
inline constexpr int exit_usage = 1;  // wrong arguments or input, or no room for the output
inline constexpr int exit_cannot_connect =
    2;                                  // no broker there, or the connection was lost for good
inline constexpr int exit_timeout = 3;  // sub: --timeout passed before --count messages came
inline constexpr int exit_refused = 4;  // the broker said no

// For the foot of --help.
inline constexpr std::string_view exit_codes_help =
    "Exit codes:\n"
    "  0  all went well: the count was reached, or everything was published\n"
    "  1  the arguments or the input are wrong, or the output cannot be written\n"
    "  2  cannot connect to the broker, or the connection was lost for good\n"
    "  3  --timeout passed before --count messages came\n"
    "  4  the broker refused; the message says why\n";

}  // namespace tools
