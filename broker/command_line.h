// What the subcommands' flags have in common. For main and the files beside it only.
#pragma once

#include <cstdint>
#include <string>

#include <CLI/CLI.hpp>

namespace broker {

// A flag whose value has a unit, as in 250ms; the wrong ones are refused with an example.
CLI::Option* add_duration(CLI::App& command, const std::string& flag, uint64_t& ns,
                          const std::string& help);

}  // namespace broker
