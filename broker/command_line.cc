#include "broker/command_line.h"

#include <optional>

#include "broker/units.h"

namespace broker {

CLI::Option* add_duration(CLI::App& command, const std::string& flag, uint64_t& ns,
                          const std::string& help) {
    return command
        .add_option_function<std::string>(
            flag,
            [&ns, flag](const std::string& text) {
                const std::optional<uint64_t> parsed = parse_duration_ns(text);
                if (!parsed) {
                    throw CLI::ValidationError(
                        flag,
                        "'" + text + "' is not a duration with its unit, such as 5s or 250ms");
                }
                ns = *parsed;
            },
            help)
        ->type_name("DURATION");
}

}  // namespace broker
