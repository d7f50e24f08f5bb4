#include "broker/reloader.h"

#include <string>
#include <utility>

#include "broker/memory_budget.h"

namespace broker {

const Settings* Reloader::reload(const LogWriter& writer) {
    Settings fresh;
    std::string error = load_settings(sources_, fresh);
    Settings next = running_;
    copy_reloadable(fresh, next);
    next.history_memory_bytes =
        fitting_history_bytes(next.history_memory_bytes, next.memory_bytes_max);
    if (error.empty()) error = validate_settings(next);
    if (!error.empty()) {
        writer.write_now(LogLevel::error, "the configuration is invalid; nothing has changed",
                         {{"error", error}});
        return nullptr;
    }
    uint64_t changed_count = 0;
    uint64_t refused_count = 0;
    for (const SettingChange& change : changes_between(configured_, fresh)) {
        const bool is_done = change.setting->is_reloadable;
        ++(is_done ? changed_count : refused_count);
        writer.write_now(
            is_done ? LogLevel::info : LogLevel::warn,
            is_done ? "a setting has changed" : "a setting has changed that only a restart applies",
            {{"name", std::string(change.setting->name)},
             {"before", change.before},
             {"after", change.after}});
    }
    writer.write_now(
        LogLevel::info, "configuration reloaded",
        {{"changed", std::to_string(changed_count)}, {"refused", std::to_string(refused_count)}});
    copy_reloadable(fresh, configured_);
    running_ = std::move(next);
    return changed_count > 0 ? &running_ : nullptr;
}

}  // namespace broker
