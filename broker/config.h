// Config: where settings come from: flags before environment variables before a TOML file before
// defaults.
//
// Pure but for reading the named file; used by main once at start.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "broker/settings.h"

namespace broker {

struct ConfigSources {
    // "NAME=value" of every environment variable that begins with FANFARE_.
    std::vector<std::string> environment;
    // What the command line set: the setting and its values.
    std::vector<std::pair<const Setting*, std::vector<std::string>>> flags;
    std::string file;  // empty: none
};

// Fills and validates `settings`. Answers an error message that names the place (flag, variable, or
// file and key) and what would be right; empty when all is well.
[[nodiscard]] std::string load_settings(const ConfigSources& sources, Settings& settings);

// All settings as a TOML file that load_settings takes back, each with its help as a comment.
std::string settings_toml(const Settings& settings);

}  // namespace broker
