// The one binary: fanfare serve | sub | pub | history | bench | config | version. Reads like a
// table of contents.

#include <fcntl.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include "broker/bench_command.h"
#include "broker/command_line.h"
#include "broker/config.h"
#include "broker/serve.h"
#include "broker/settings.h"
#include "broker/units.h"
#include "tools/bench/run.h"
#include "tools/exit_code.h"
#include "tools/history.h"
#include "tools/output.h"
#include "tools/pub.h"
#include "tools/sub.h"

extern char** environ;

namespace {

constexpr const char* version = FANFARE_VERSION;

// What is opened next gets the lowest free number. Where a standard descriptor is closed, a socket
// or a file of state would get its number, and be printed to. So /dev/null takes the place, opened
// the other way round: using it fails as before.
void occupy_standard_descriptors() {
    for (const int fd : {0, 1, 2}) {
        if (fcntl(fd, F_GETFD) < 0)
            static_cast<void>(open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY));
    }
}

std::vector<std::string> fanfare_environment() {
    std::vector<std::string> found;
    for (char** variable = environ; *variable != nullptr; ++variable) {
        if (std::string_view(*variable).starts_with("FANFARE_")) found.emplace_back(*variable);
    }
    return found;
}

std::string variable_or(const char* name, const std::string& otherwise) {
    const char* value = std::getenv(name);
    return value == nullptr || *value == '\0' ? otherwise : value;
}

const char* type_name_of(broker::SettingKind kind) {
    switch (kind) {
        case broker::SettingKind::flag: return "";
        case broker::SettingKind::on_off: return "on|off";
        case broker::SettingKind::text:
        case broker::SettingKind::list: return "TEXT";
        case broker::SettingKind::rules: return "RULE";
        case broker::SettingKind::number: return "N";
        case broker::SettingKind::workers: return "auto|N";
        case broker::SettingKind::size: return "SIZE";
        case broker::SettingKind::size_or_auto: return "auto|SIZE";
        case broker::SettingKind::duration: return "DURATION";
        case broker::SettingKind::log_level: return "LEVEL";
    }
    return "";
}

// Adds a flag for every setting; what the user gave is collected in `sources`.
void add_settings(CLI::App& command, broker::ConfigSources& sources) {
    command
        .add_option("--config", sources.file,
                    "A TOML file of settings, keys with underscores. Also FANFARE_CONFIG.")
        ->type_name("FILE");
    const broker::Settings defaults;
    for (const broker::Setting& setting : broker::settings_table()) {
        const std::string flag = "--" + std::string(setting.name);
        const std::string otherwise = broker::setting_text(setting, defaults);
        const std::string help = std::string(setting.help) +
                                 " Default: " + (otherwise.empty() ? "none" : otherwise) + "." +
                                 (setting.is_reloadable ? " SIGHUP reloads it." : "") + " [" +
                                 broker::environment_name(setting) + "]";
        const auto collect = [&sources, &setting](const std::vector<std::string>& values) {
            sources.flags.emplace_back(&setting, values);
        };
        if (setting.kind == broker::SettingKind::flag) {
            command.add_flag_callback(
                flag, [collect] { collect({"true"}); }, help);
        } else {
            CLI::Option* option =
                command.add_option_function<std::vector<std::string>>(flag, collect, help);
            option->type_name(type_name_of(setting.kind));
            if (setting.kind == broker::SettingKind::list ||
                setting.kind == broker::SettingKind::rules) {
                option->allow_extra_args(false);
            } else {
                option->expected(1);
            }
        }
    }
}

// Answers 0, or 1 after the reason has been printed.
int load(broker::ConfigSources& sources, broker::Settings& settings) {
    sources.environment = fanfare_environment();
    if (sources.file.empty()) sources.file = variable_or("FANFARE_CONFIG", "");
    const std::string error = broker::load_settings(sources, settings);
    if (error.empty()) return 0;
    std::fprintf(stderr, "fanfare: %s\n", error.c_str());
    return 1;
}

// What needs the settings: serves, or prints them, or says that they are valid.
int configure(broker::ConfigSources& sources, bool serves, bool prints) {
    broker::Settings settings;
    if (load(sources, settings) != 0) return 1;
    if (serves) return broker::run_serve(settings, sources, version);
    const std::string text =
        prints ? broker::settings_toml(settings) : "the configuration is valid\n";
    return tools::put_out(STDOUT_FILENO, STDERR_FILENO, "fanfare config", text) ? 0 : 1;
}

void add_format(CLI::App& command, tools::FormatChoice& format) {
    command
        .add_option_function<std::string>(
            "--format",
            [&format](const std::string& text) {
                if (text == "automatic") {
                    format = tools::FormatChoice::automatic;
                } else if (text == "readable") {
                    format = tools::FormatChoice::readable;
                } else if (text == "json") {
                    format = tools::FormatChoice::json;
                } else {
                    throw CLI::ValidationError("--format",
                                               "'" + text + "' is not automatic, readable or json");
                }
            },
            "Lines for people, or one JSON object per line. Default: automatic, which is readable "
            "on a terminal "
            "and JSON in a pipe.")
        ->type_name("automatic|readable|json");
}

void add_sub(CLI::App& command, tools::SubOptions& options) {
    command
        .add_option(
            "FILTER", options.filters,
            "Topics or filters to subscribe to; + stands for one level, # for all the rest.")
        ->required();
    command.add_option("--url", options.url,
                       "The broker: ws://host:port/path or unix:/path. Default: "
                       "ws://127.0.0.1:7788/ws. [FANFARE_URL]");
    command.add_option("--count", options.count,
                       "End with 0 after this many messages; 0 means no end.");
    command.add_option("--last", options.last_count,
                       "Begin with the last N messages of each topic, as far as the broker keeps "
                       "them.");
    command
        .add_option("--cursor-file", options.cursor_file,
                    "Keep the place in FILE, and continue there when it exists. It is written at "
                    "most once a second and at the end, so a crash repeats some messages and loses "
                    "none.")
        ->type_name("FILE");
    broker::add_duration(command, "--timeout", options.timeout_ns,
                         "End after this time: with 0, or with 3 if --count was not reached.");
    command.add_flag_callback(
        "--no-reconnect", [&options] { options.reconnect = false; },
        "End with 2 when the connection is lost, instead of connecting again.");
    add_format(command, options.format);
    command.footer(std::string(tools::exit_codes_help));
}

void add_pub(CLI::App& command, tools::PubOptions& options) {
    command.add_option("TOPIC", options.topic, "The topic to publish to.")->required();
    command.add_option(
        "DATA", options.data,
        "What to publish; - or nothing publishes each line of the standard input. After a "
        "reconnect a "
        "line that was not yet confirmed is sent again, so without --key it may be published "
        "twice.");
    command.add_option("--key", options.key,
                       "Publish once, however often it is tried: the broker leaves out what it had "
                       "with this key. Line N of the input has the key KEY-N.");
    command.add_option("--url", options.url,
                       "The broker: ws://host:port/path or unix:/path. Default: "
                       "ws://127.0.0.1:7788/ws. [FANFARE_URL]");
    CLI::Option_group* kind = command.add_option_group("kind");
    kind->add_flag_callback(
        "--json", [&options] { options.kind = tools::PubKind::json; },
        "Each message is JSON; what is not is an error. By default JSON is published as JSON, all "
        "else as text.");
    kind->add_flag_callback(
        "--text", [&options] { options.kind = tools::PubKind::text; },
        "Each message is text, even if it looks like JSON.");
    kind->add_flag_callback(
        "--binary", [&options] { options.kind = tools::PubKind::binary; },
        "DATA, or the whole input, is one binary message.");
    kind->require_option(0, 1);
    broker::add_duration(command, "--give-up-after", options.give_up_after_ns,
                         "End with 2 after trying to reconnect for this long, and with 4 after "
                         "everything was refused for its rate for this long.");
    command.footer(std::string(tools::exit_codes_help));
}

void add_history(CLI::App& command, tools::HistoryOptions& options) {
    command.add_option("TOPIC", options.topic, "The topic whose messages to print.")->required();
    command.add_option("--last", options.last_count, "Only the last N messages. Default: 100.");
    command.add_option("--url", options.url,
                       "The broker: ws://host:port/path or unix:/path. Default: "
                       "ws://127.0.0.1:7788/ws. [FANFARE_URL]");
    add_format(command, options.format);
    command.footer(std::string(tools::exit_codes_help));
}

}  // namespace

// What it lets through, no memory say, is to end the process.
int main(int argc, char** argv) {  // NOLINT(bugprone-exception-escape)
    occupy_standard_descriptors();
    CLI::App app{"Fanfare, a pub/sub message broker that clients reach over WebSocket."};
    app.name("fanfare");
    app.set_version_flag("--version", std::string("fanfare ") + version);
    app.require_subcommand(1);
    app.failure_message([](const CLI::App*, const CLI::Error& error) {
        return "fanfare: " + std::string(error.what()) +
               "\nRun with --help for more information.\n";
    });

    broker::ConfigSources sources;
    CLI::App* serve = app.add_subcommand("serve", "Run the broker.");
    add_settings(*serve, sources);
    CLI::App* config = app.add_subcommand("config", "Check or print the configuration.");
    config->require_subcommand(1);
    CLI::App* config_check = config->add_subcommand(
        "check", "Say whether the configuration is valid, and exit with 0 or 1.");
    add_settings(*config_check, sources);
    CLI::App* config_print =
        config->add_subcommand("print", "Print all settings in force as a TOML file.");
    add_settings(*config_print, sources);

    tools::SubOptions sub_options;
    sub_options.url = variable_or("FANFARE_URL", sub_options.url);
    sub_options.no_color = !variable_or("NO_COLOR", "").empty();
    CLI::App* sub = app.add_subcommand("sub", "Subscribe and print what arrives.");
    add_sub(*sub, sub_options);
    tools::PubOptions pub_options;
    pub_options.url = variable_or("FANFARE_URL", pub_options.url);
    CLI::App* pub =
        app.add_subcommand("pub", "Publish a message, or each line of the standard input.");
    add_pub(*pub, pub_options);
    tools::HistoryOptions history_options;
    history_options.url = variable_or("FANFARE_URL", history_options.url);
    history_options.no_color = sub_options.no_color;
    CLI::App* history =
        app.add_subcommand("history", "Print what the broker keeps of a topic, oldest first.");
    add_history(*history, history_options);
    bench::Plan plan;
    plan.url = variable_or("FANFARE_URL", plan.url);
    CLI::App* bench_command =
        app.add_subcommand("bench", "Measure a broker: how many clients, how fast, how late.");
    broker::add_bench(*bench_command, plan);
    CLI::App* version_command = app.add_subcommand("version", "Print the version.");

    if (argc < 2) {
        std::fputs(app.help().c_str(), stdout);
        return tools::exit_usage;
    }
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : tools::exit_usage;
    }

    if (version_command->parsed()) {
        std::printf("fanfare %s\n", version);
        return 0;
    }
    // That nobody reads the output any more, as after `| head -1`, is told to the tools by EPIPE;
    // they end in good order.
    std::signal(SIGPIPE, SIG_IGN);
    if (sub->parsed()) return tools::run_sub(sub_options);
    if (pub->parsed()) return tools::run_pub(pub_options);
    if (history->parsed()) return tools::run_history(history_options);
    if (bench_command->parsed()) return bench::run_bench(std::move(plan));

    return configure(sources, serve->parsed(), config_print->parsed());
}
