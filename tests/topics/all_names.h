// All names over a small alphabet: what the model tests draw from, and compare exhaustively.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "topics/name.h"

namespace topics {

// All names of at most `levels_max` levels from the alphabet that `check` accepts.
inline std::vector<std::string> all_names(const std::vector<std::string>& alphabet,
                                          uint32_t levels_max,
                                          NameError (*check)(std::string_view)) {
    std::vector<std::string> names;
    std::vector<std::string> prefixes = {""};
    for (uint32_t level = 0; level < levels_max; ++level) {
        std::vector<std::string> longer;
        for (const std::string& prefix : prefixes) {
            for (const std::string& word : alphabet) longer.push_back(prefix + word);
        }
        for (std::string& name : longer) {
            if (check(name) == NameError::none) names.push_back(name);
            name += "/";
        }
        prefixes = longer;
    }
    return names;
}

}  // namespace topics
