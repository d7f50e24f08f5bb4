#include "broker/settings.h"

#include <bit>
#include <optional>
#include <utility>

#include "broker/rule_text.h"
#include "broker/trusted_proxies.h"
#include "broker/units.h"
#include "io/base/check.h"

namespace broker {

namespace {

constexpr uint64_t second = base::ns_per_s;
constexpr uint64_t hour = 3600 * base::ns_per_s;
constexpr uint64_t lane_bytes_per_partition = 64;
// "4095:18446744073709551615", with its quotes and comma, and what else a `subscribe` has.
constexpr uint64_t cursor_bytes_per_partition = 28;
constexpr uint64_t command_bytes = 512;
// A receive brings some KiB at once; a lower rate would keep a connection waiting for minutes.
constexpr uint64_t inbound_bytes_per_second_min = base::kib;
using Kind = SettingKind;
constexpr bool reloadable = true;

const Setting table[] = {
    {"listen", Kind::list, &Settings::listen, 0, 0,
     "Where clients connect: HOST:PORT, [IPv6]:PORT or unix:/path. May be repeated."},
    {"admin-listen", Kind::text, &Settings::admin_listen, 0, 0,
     "Where /metrics, /healthz and /readyz answer when --listen is not loopback (there they always "
     "do)."},
    {"allow-anonymous", Kind::flag, &Settings::allow_anonymous, 0, 0,
     "Serve anybody who can reach a --listen that is not loopback. Without it such an address is "
     "refused."},
    {"allowed-origins", Kind::list, &Settings::allowed_origins, 0, 0,
     "Web origins accepted besides the broker's own host: https://app.example, or * for all. May "
     "be repeated.",
     reloadable},
    {"workers", Kind::workers, &Settings::workers, 1, 64,
     "Threads, each with its own connections; auto takes the processors that this process may "
     "use."},
    {"pin", Kind::flag, &Settings::pin, 0, 0,
     "Bind each worker to one processor. Off, because on a shared machine the scheduler knows "
     "better."},
    {"plain-descriptors", Kind::flag, &Settings::plain_descriptors, 0, 0,
     "Hold connections as open files and not in tables of io_uring. Kernels before 6.13 are served "
     "so in any case."},
    {"partitions", Kind::number, &Settings::partitions, 1, 4096,
     "Units of order and ownership that topics are hashed onto, whatever the number of workers."},
    {"topic-rule", Kind::rules, &Settings::topic_rules, 0, 0,
     "Topics that keep history, and how much: match=chat/#,history_messages=100,history_bytes=1MiB,"
     "history_ttl=1h. May be repeated; the first that matches decides."},
    {"history-memory", Kind::size, &Settings::history_memory_bytes, 64 * base::kib,
     1024 * 1024 * base::mib,
     "Memory for the history of all topics, of all workers together; beyond it the oldest messages "
     "of the largest topics go.",
     reloadable},
    {"idempotency-window", Kind::duration, &Settings::idempotency_window_ns, second / 10, 24 * hour,
     "How long a publish with a key is remembered, so that one that is repeated with the same key "
     "is not published twice."},
    {"idempotency-keys", Kind::number, &Settings::idempotency_keys_max, 0, 10'000'000,
     "Keys that each worker remembers at most, each about 60 bytes; 0 remembers none."},
    {"state-dir", Kind::text, &Settings::state_dir, 0, 0,
     "Directory that keeps history, positions and epoch over a clean stop. Without one they end "
     "with the process."},
    {"echo", Kind::flag, &Settings::echo, 0, 0,
     "Serve /echo, which sends every message back, for WebSocket test suites: any subprotocol, up "
     "to 64 MiB.",
     reloadable},
    {"examples", Kind::flag, &Settings::examples, 0, 0,
     "Serve /examples/chat.html and other pages to try the broker with."},
    {"compression", Kind::on_off, &Settings::compression, 0, 0,
     "permessage-deflate for clients that offer it; what is broadcast is compressed once for all "
     "of them.",
     reloadable},
    {"compression-threshold", Kind::size, &Settings::compression_threshold_bytes, 0, base::mib,
     "Messages below this go out as they are, because little is gained.", reloadable},
    {"compression-context-takeover", Kind::number, &Settings::compression_contexts_max, 0,
     1'000'000,
     "Clients that may keep their window between messages; each costs the broker about 40 KiB.",
     reloadable},
    {"log-level", Kind::log_level, &Settings::log_level, 0, 0,
     "error, warn, info or debug. Nothing is logged per connection below debug.", reloadable},
    {"connections-max", Kind::number, &Settings::connections_max, 1, 10'000'000,
     "Connections in all; further ones are answered 503."},
    {"connections-per-address", Kind::number, &Settings::connections_per_address, 0, 10'000'000,
     "Connections of one IPv4 address or one IPv6 network of 64 bits; further ones are answered "
     "429. 0: as many as there may be."},
    {"upgrade-rate", Kind::number, &Settings::upgrades_per_second, 0, 1'000'000,
     "WebSockets that may be opened per second, by all clients together; further ones are answered "
     "503. 0: any number."},
    {"trusted-proxies", Kind::list, &Settings::trusted_proxies, 0, 0,
     "Proxies whose word about their clients' addresses is believed: 10.0.0.0/8, 2001:db8::1, or "
     "unix. May be repeated."},
    {"proxy-protocol", Kind::on_off, &Settings::proxy_protocol, 0, 0,
     "Connections from trusted proxies must begin with a PROXY protocol v2 header."},
    {"command-rate", Kind::number, &Settings::commands_per_second, 0, 1'000'000,
     "Commands per second of one connection, after a burst of a second's worth or twice "
     "subscriptions-max; further ones are refused. 0: any number."},
    {"publish-rate", Kind::number, &Settings::publishes_per_second, 0, 1'000'000,
     "Publishes per second of one connection, WebSocket or HTTP, after a burst of a second's "
     "worth; further ones are refused. 0: any number."},
    {"inbound-rate", Kind::size, &Settings::inbound_bytes_per_second, 0, 16'384 * base::mib,
     "Bytes per second that are read from one WebSocket, after a burst of a second's worth; more "
     "waits in the kernel. 0: any number."},
    {"subscriptions-max", Kind::number, &Settings::subscriptions_max, 1, 1'000'000,
     "Subscriptions of one connection."},
    {"message-max", Kind::size, &Settings::message_bytes_max, 128, 16 * base::mib,
     "Largest message (all its frames together) and largest HTTP body that a client may send; with "
     "topic-rule at least 512B and 28 per partition."},
    {"fragments-max", Kind::number, &Settings::fragments_max, 1, 65'535,
     "Most frames that a client may divide one message into; beyond it 1008."},
    {"http-head-max", Kind::size, &Settings::http_head_bytes_max, 256, 64 * base::kib,
     "Largest HTTP request line and header fields; beyond it 431.", reloadable},
    {"outbound-soft", Kind::size, &Settings::outbound_soft_bytes, 128, 1024 * base::mib,
     "Unsent bytes of a connection above which nothing more is read from it, and messages are "
     "dealt "
     "with as on_slow of their topic's rule says.",
     reloadable},
    {"outbound-hard", Kind::size, &Settings::outbound_hard_bytes, base::kib, 1024 * base::mib,
     "Unsent bytes of a connection above which on_slow=conflate and drop_oldest drop, and others "
     "are closed as a slow consumer (4100).",
     reloadable},
    {"outbound-time", Kind::duration, &Settings::outbound_time_ns, second / 10, hour,
     "How long a connection may stay above outbound-soft with on_slow=disconnect, and how old what "
     "waits with drop_oldest may become.",
     reloadable},
    {"unsent-max", Kind::size, &Settings::unsent_bytes_max, 4 * base::kib, 1024 * base::mib,
     "Bytes of a TCP connection that the kernel takes before it can send them; more would hide a "
     "slow reader, and wait where no policy reaches."},
    {"memory-max", Kind::size_or_auto, &Settings::memory_bytes_max, base::mib,
     uint64_t{1024} * 1024 * base::mib,
     "Memory for queues, history, messages and requests that arrive and the kernel's socket "
     "buffers, of all workers together; auto takes half of what this process may use. Near it, "
     "those that hold the oldest "
     "messages are closed; at it, connections and publishes are refused."},
    {"overload-delay", Kind::duration, &Settings::overload_delay_ns, 0, hour,
     "When what was received waits longer than this for half a second, further WebSockets are "
     "refused with 503; 0s never does."},
    {"lane-size", Kind::size, &Settings::lane_bytes, 8 * base::kib, 256 * base::mib,
     "Bytes of each of the two rings between every ordered pair of workers; a power of two, at "
     "least 64 per partition."},
    {"recv-buffers", Kind::number, &Settings::recv_buffers_count, 2, 32'768,
     "Receive buffers that the connections of one worker share; a power of two."},
    {"recv-buffer-size", Kind::size, &Settings::recv_buffer_bytes, 64, base::mib,
     "Bytes of each receive buffer."},
    {"handshake-timeout", Kind::duration, &Settings::handshake_timeout_ns, second / 10, hour,
     "Time for a whole HTTP request to arrive, headers and body.", reloadable},
    {"keep-alive-timeout", Kind::duration, &Settings::keep_alive_timeout_ns, second / 10, hour,
     "How long an HTTP connection may wait for its next request.", reloadable},
    {"heartbeat-interval", Kind::duration, &Settings::heartbeat_interval_ns, second / 10, hour,
     "Silence after which a WebSocket client is pinged; with the timeout, 45 s live behind a 60 s "
     "proxy."},
    {"heartbeat-timeout", Kind::duration, &Settings::heartbeat_timeout_ns, second / 10, hour,
     "Time for any sign of life after the ping, before the client is evicted."},
    {"close-timeout", Kind::duration, &Settings::close_timeout_ns, second / 10, hour,
     "Time for the last bytes to leave and for the peer to close, before the connection is cut.",
     reloadable},
    {"drain-delay", Kind::duration, &Settings::drain_delay_ns, 0, hour,
     "How long a stopping broker goes on while /readyz says 503, so that load balancers look "
     "elsewhere first.",
     reloadable},
    {"drain-timeout", Kind::duration, &Settings::drain_timeout_ns, second / 10, hour,
     "Time that an orderly stop may take after drain-delay, before what is left is cut.",
     reloadable},
    {"drain-spread", Kind::duration, &Settings::drain_spread_ns, 0, hour,
     "Window over which the clients of a stopping broker are told to come back, so that they do "
     "not all come at once.",
     reloadable},
};

std::string with_separator(std::string_view name, char separator) {
    std::string out(name);
    for (char& character : out) {
        if (character == '-') character = separator;
    }
    return out;
}

std::string range_text(const Setting& setting) {
    if (setting.kind == Kind::size || setting.kind == Kind::size_or_auto) {
        return format_size(setting.least) + " to " + format_size(setting.most);
    }
    if (setting.kind == Kind::duration) {
        return format_duration(setting.least) + " to " + format_duration(setting.most);
    }
    return std::to_string(setting.least) + " to " + std::to_string(setting.most);
}

std::string complain(const Setting& setting, std::string_view value, std::string_view expected) {
    return std::string(setting.name) + ": '" + std::string(value) + "' is not " +
           std::string(expected);
}

std::string apply_number(const Setting& setting, std::string_view value, Settings& settings) {
    std::optional<uint64_t> number;
    std::string_view expected = "a number";
    switch (setting.kind) {
        case Kind::size:
            number = parse_size_bytes(value);
            expected = "a size such as 64KiB or 1MiB";
            break;
        case Kind::size_or_auto:
            if (value == "auto") {
                settings.*std::get<uint64_t Settings::*>(setting.member) = 0;
                return {};
            }
            number = parse_size_bytes(value);
            expected = "auto or a size such as 512MiB or 4GiB";
            break;
        case Kind::duration:
            number = parse_duration_ns(value);
            expected = "a duration with its unit, such as 25s or 250ms";
            break;
        case Kind::workers:
            if (value == "auto") {
                settings.*std::get<uint64_t Settings::*>(setting.member) = 0;
                return {};
            }
            number = parse_number(value);
            expected = "auto or a number";
            break;
        case Kind::number: number = parse_number(value); break;
        case Kind::flag:
        case Kind::on_off:
        case Kind::text:
        case Kind::list:
        case Kind::rules:
        case Kind::log_level: break;
    }
    if (!number) return complain(setting, value, expected);
    if (*number < setting.least || *number > setting.most) {
        return complain(setting, value, "in the range " + range_text(setting));
    }
    settings.*std::get<uint64_t Settings::*>(setting.member) = *number;
    return {};
}

std::string apply_one(const Setting& setting, std::string_view value, Settings& settings) {
    switch (setting.kind) {
        case Kind::flag:
            if (value != "true" && value != "false") {
                return complain(setting, value, "true or false");
            }
            settings.*std::get<bool Settings::*>(setting.member) = value == "true";
            return {};
        case Kind::on_off:
            if (value != "on" && value != "off") return complain(setting, value, "on or off");
            settings.*std::get<bool Settings::*>(setting.member) = value == "on";
            return {};
        case Kind::text:
            settings.*std::get<std::string Settings::*>(setting.member) = value;
            return {};
        case Kind::log_level: {
            static constexpr std::string_view names[] = {"error", "warn", "info", "debug"};
            for (uint8_t level = 0; level < 4; ++level) {
                if (names[level] != value) continue;
                settings.*std::get<LogLevel Settings::*>(setting.member) = LogLevel{level};
                return {};
            }
            return complain(setting, value, "error, warn, info or debug");
        }
        case Kind::list:
        case Kind::rules:
        case Kind::number:
        case Kind::workers:
        case Kind::size:
        case Kind::size_or_auto:
        case Kind::duration: break;
    }
    return apply_number(setting, value, settings);
}

std::string apply_rules(const Setting& setting, std::span<const std::string> values,
                        Settings& settings) {
    std::vector<topics::TopicRule> rules;
    for (const std::string& value : values) {
        const std::string error = parse_rules(value, rules);
        if (!error.empty()) return std::string(setting.name) + ": " + error;
    }
    if (rules.size() > topic_rules_max) {
        return std::string(setting.name) + ": " + std::to_string(rules.size()) +
               " rules are given, at most " + std::to_string(topic_rules_max) + " are allowed";
    }
    settings.*std::get<std::vector<topics::TopicRule> Settings::*>(setting.member) =
        std::move(rules);
    return {};
}

// An owner tells another shard the heads of all its partitions in one go, which must fit into a
// lane. Answers an error message, or empty.
std::string validate_lanes(const Settings& settings) {
    if (!std::has_single_bit(settings.lane_bytes)) {
        return "lane-size: " + format_size(settings.lane_bytes) + " is not a power of two";
    }
    const uint64_t least = lane_bytes_per_partition * settings.partitions;
    if (settings.lane_bytes < least) {
        return "lane-size: " + format_size(settings.lane_bytes) + " is too small for " +
               std::to_string(settings.partitions) + " partitions; it must be at least " +
               format_size(std::bit_ceil(least));
    }
    return {};
}

// Who resumes `#` sends back a cursor of all partitions. Answers an error message, or empty.
std::string validate_cursors(const Settings& settings) {
    const uint64_t least = command_bytes + cursor_bytes_per_partition * settings.partitions;
    if (settings.topic_rules.empty() || settings.message_bytes_max >= least) return {};
    return "message-max: " + format_size(settings.message_bytes_max) +
           " is too small for a cursor of " + std::to_string(settings.partitions) +
           " partitions, which a client that resumes sends; with topic-rule it must be at least " +
           format_size(least);
}

std::string validate_proxies(const Settings& settings) {
    for (const std::string& proxy : settings.trusted_proxies) {
        if (proxy != TrustedProxies::unix_name && !parse_cidr(proxy)) {
            return "trusted-proxies: '" + proxy +
                   "' is neither an address, nor a block of addresses such as 10.0.0.0/8 with no "
                   "bits set behind the prefix, nor unix";
        }
    }
    if (settings.proxy_protocol && settings.trusted_proxies.empty()) {
        return "proxy-protocol: it is believed only from trusted-proxies, and none is given";
    }
    return {};
}

}  // namespace

std::span<const Setting> settings_table() {
    return table;
}

const Setting* find_setting(std::string_view name) {
    for (const Setting& setting : table) {
        if (setting.name == name) return &setting;
    }
    return nullptr;
}

std::string environment_name(const Setting& setting) {
    std::string out = "FANFARE_" + with_separator(setting.name, '_');
    for (char& character : out) {
        if (character >= 'a' && character <= 'z')
            character = static_cast<char>(character - 'a' + 'A');
    }
    return out;
}

std::string toml_name(const Setting& setting) {
    return with_separator(setting.name, '_');
}

std::string apply_setting(const Setting& setting, std::span<const std::string> values,
                          Settings& settings) {
    if (setting.kind == Kind::rules) return apply_rules(setting, values, settings);
    if (setting.kind == Kind::list) {
        settings.*std::get<std::vector<std::string> Settings::*>(setting.member) = {values.begin(),
                                                                                    values.end()};
        return {};
    }
    if (values.size() != 1) return std::string(setting.name) + ": exactly one value is expected";
    return apply_one(setting, values.front(), settings);
}

std::string setting_text(const Setting& setting, const Settings& settings) {
    switch (setting.kind) {
        case Kind::flag:
            return settings.*std::get<bool Settings::*>(setting.member) ? "true" : "false";
        case Kind::on_off:
            return settings.*std::get<bool Settings::*>(setting.member) ? "on" : "off";
        case Kind::text: return settings.*std::get<std::string Settings::*>(setting.member);
        case Kind::list: {
            std::string out;
            for (const std::string& value :
                 settings.*std::get<std::vector<std::string> Settings::*>(setting.member)) {
                if (!out.empty()) out += ',';
                out += value;
            }
            return out;
        }
        case Kind::rules:
            return rules_text(settings.*
                              std::get<std::vector<topics::TopicRule> Settings::*>(setting.member));
        case Kind::workers:
            if (settings.workers == 0) return "auto";
            return std::to_string(settings.workers);
        case Kind::number:
            return std::to_string(settings.*std::get<uint64_t Settings::*>(setting.member));
        case Kind::size:
            return format_size(settings.*std::get<uint64_t Settings::*>(setting.member));
        case Kind::size_or_auto: {
            const uint64_t bytes = settings.*std::get<uint64_t Settings::*>(setting.member);
            return bytes == 0 ? "auto" : format_size(bytes);
        }
        case Kind::duration:
            return format_duration(settings.*std::get<uint64_t Settings::*>(setting.member));
        case Kind::log_level: {
            static constexpr const char* names[] = {"error", "warn", "info", "debug"};
            return names[static_cast<uint8_t>(settings.log_level)];
        }
    }
    UNREACHABLE();
}

std::vector<SettingChange> changes_between(const Settings& before, const Settings& after) {
    std::vector<SettingChange> changes;
    for (const Setting& setting : table) {
        std::string text_before = setting_text(setting, before);
        std::string text_after = setting_text(setting, after);
        if (text_before == text_after) continue;
        changes.push_back({&setting, std::move(text_before), std::move(text_after)});
    }
    return changes;
}

void copy_reloadable(const Settings& from, Settings& to) {
    for (const Setting& setting : table) {
        if (!setting.is_reloadable) continue;
        std::visit([&](const auto member) { to.*member = from.*member; }, setting.member);
    }
}

std::string validate_settings(const Settings& settings) {
    if (settings.listen.empty()) return "listen: at least one address is needed";
    if (settings.outbound_soft_bytes > settings.outbound_hard_bytes) {
        return "outbound-soft (" + format_size(settings.outbound_soft_bytes) +
               ") must not be above outbound-hard (" + format_size(settings.outbound_hard_bytes) +
               ")";
    }
    std::string error = validate_lanes(settings);
    if (error.empty()) error = validate_cursors(settings);
    if (!error.empty()) return error;
    if (!std::has_single_bit(settings.recv_buffers_count)) {
        return "recv-buffers: " + std::to_string(settings.recv_buffers_count) +
               " is not a power of two";
    }
    for (const std::string& origin : settings.allowed_origins) {
        if (origin != "*" && origin.find("://") == std::string::npos) {
            return "allowed-origins: '" + origin +
                   "' is not an origin such as https://app.example:8443, or *";
        }
    }
    if (settings.inbound_bytes_per_second > 0 &&
        settings.inbound_bytes_per_second < inbound_bytes_per_second_min) {
        return "inbound-rate: " + format_size(settings.inbound_bytes_per_second) +
               " is neither 0 nor at least " + format_size(inbound_bytes_per_second_min);
    }
    return validate_proxies(settings);
}

}  // namespace broker
