// Settings: everything that can be configured and every limit, each with its one name, default,
// unit and reason, in one table that the command line, the environment, the TOML file, --help, the
// documentation and a test share.
//
// The name "heartbeat-interval" is the flag --heartbeat-interval, the variable
// FANFARE_HEARTBEAT_INTERVAL and the key heartbeat_interval, in this order of precedence.
//
// Owner: main builds one and validates it; each shard has a copy, of which main may exchange a part
// (broker/settings_exchange.h). Thread: its owner's.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "io/base/units.h"
#include "topics/topic_rules.h"

namespace broker {

enum class LogLevel : uint8_t { error, warn, info, debug };

struct Settings {
    std::vector<std::string> listen = {"127.0.0.1:7788", "[::1]:7788"};
    std::string admin_listen = "127.0.0.1:7789";
    bool allow_anonymous = false;
    std::vector<std::string> allowed_origins;
    uint64_t workers = 0;  // 0: auto
    bool pin = false;
    bool plain_descriptors = false;
    bool echo = false;
    bool examples = false;
    bool compression = true;
    uint64_t compression_threshold_bytes = 256;
    uint64_t compression_contexts_max = 0;
    uint64_t partitions = 64;
    LogLevel log_level = LogLevel::info;

    std::vector<topics::TopicRule> topic_rules;       // the first that matches decides
    uint64_t history_memory_bytes = 256 * base::mib;  // of all shards together
    uint64_t idempotency_window_ns = 300 * base::ns_per_s;
    uint64_t idempotency_keys_max = 100'000;  // of each shard; 0: none
    std::string state_dir;                    // empty: nothing outlives the process

    uint64_t connections_max = 10'000;
    uint64_t connections_per_address = 0;  // this and the rates: 0 is off
    uint64_t upgrades_per_second = 0;      // of all shards together
    std::vector<std::string> trusted_proxies;
    bool proxy_protocol = false;
    uint64_t commands_per_second = 0;  // these three of each connection
    uint64_t publishes_per_second = 0;
    uint64_t inbound_bytes_per_second = 0;
    uint64_t subscriptions_max = 1'024;
    uint64_t message_bytes_max = 64 * base::kib;
    // Not configurable: the echo path is for test suites.
    uint64_t echo_message_bytes_max = 64 * base::mib;
    uint64_t fragments_max = 1'024;
    uint64_t http_head_bytes_max = 8 * base::kib;
    uint64_t outbound_soft_bytes = 256 * base::kib;
    uint64_t outbound_hard_bytes = base::mib;
    uint64_t unsent_bytes_max = 64 * base::kib;
    uint64_t memory_bytes_max = 0;  // 0: auto, half of what the process may use
    uint64_t overload_delay_ns = 100 * base::ns_per_ms;
    uint64_t outbound_time_ns = 10 * base::ns_per_s;
    uint64_t lane_bytes = base::mib;
    uint64_t recv_buffers_count = 256;
    uint64_t recv_buffer_bytes = 16 * base::kib;

    uint64_t handshake_timeout_ns = 10 * base::ns_per_s;
    uint64_t keep_alive_timeout_ns = 60 * base::ns_per_s;
    uint64_t heartbeat_interval_ns = 25 * base::ns_per_s;
    uint64_t heartbeat_timeout_ns = 20 * base::ns_per_s;
    uint64_t close_timeout_ns = 5 * base::ns_per_s;
    uint64_t drain_delay_ns = 0;
    uint64_t drain_timeout_ns = 25 * base::ns_per_s;
    uint64_t drain_spread_ns = 10 * base::ns_per_s;
};

// What a setting's text looks like.
enum class SettingKind : uint8_t {
    flag,
    on_off,
    text,
    list,
    rules,
    number,
    workers,
    size,
    size_or_auto,
    duration,
    log_level
};

struct Setting {
    std::string_view name;  // with dashes, as the flag
    SettingKind kind;
    std::variant<bool Settings::*, std::string Settings::*, std::vector<std::string> Settings::*,
                 std::vector<topics::TopicRule> Settings::*, uint64_t Settings::*,
                 LogLevel Settings::*>
        member;
    uint64_t least;  // numbers, sizes, durations: the accepted range, both ends included
    uint64_t most;
    std::string_view help;  // one sentence: what, and why the default
    // Whether SIGHUP changes it in a running broker: nothing was built from it, and no client was
    // told of it in its welcome.
    bool is_reloadable = false;
};

std::span<const Setting> settings_table();
const Setting* find_setting(std::string_view name);

// "FANFARE_HEARTBEAT_INTERVAL" and "heartbeat_interval" for "heartbeat-interval".
std::string environment_name(const Setting& setting);
std::string toml_name(const Setting& setting);

// Sets one value from its text; a list and the rules take all values at once. Answers an error
// message that names the setting, the value and what would be right; empty when all is well.
[[nodiscard]] std::string apply_setting(const Setting& setting, std::span<const std::string> values,
                                        Settings& settings);
// The value as text that apply_setting takes back; a list is joined by commas, which it does not
// take back.
std::string setting_text(const Setting& setting, const Settings& settings);

// What a reload of the configuration says about one setting.
struct SettingChange {
    const Setting* setting;
    std::string before;
    std::string after;
};
// What differs between two settings, in the order of the table.
[[nodiscard]] std::vector<SettingChange> changes_between(const Settings& before,
                                                         const Settings& after);
void copy_reloadable(const Settings& from, Settings& to);

// The relations between settings. An error message, or empty.
[[nodiscard]] std::string validate_settings(const Settings& settings);

}  // namespace broker
