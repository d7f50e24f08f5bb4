#include "broker/config.h"

#include <optional>
#include <string_view>

#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

namespace broker {

namespace {

// Variables that are not settings of the broker: the tools' default URL, and the name of the file
// itself.
constexpr std::string_view other_variables[] = {"FANFARE_URL", "FANFARE_CONFIG"};

std::optional<std::string> text_of(const toml::node& node) {
    if (const auto* text = node.as_string()) return text->get();
    if (const auto* number = node.as_integer()) return std::to_string(number->get());
    if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
    return std::nullopt;
}

std::string apply_node(const Setting& setting, const toml::node& node, Settings& settings) {
    std::vector<std::string> values;
    if (const toml::array* array = node.as_array()) {
        for (const toml::node& element : *array) {
            const std::optional<std::string> text = text_of(element);
            if (!text) return toml_name(setting) + ": every element must be a string";
            values.push_back(*text);
        }
    } else {
        const std::optional<std::string> text = text_of(node);
        if (!text) return toml_name(setting) + ": expected a string, a number, true or false";
        values.push_back(*text);
    }
    return apply_setting(setting, values, settings);
}

std::string load_file(const std::string& file, Settings& settings) {
    const toml::parse_result result = toml::parse_file(file);
    if (!result) {
        const toml::parse_error& error = result.error();
        const uint32_t line = error.source().begin.line;
        const std::string place = line == 0 ? file : file + ":" + std::to_string(line);
        return place + ": " + std::string(error.description());
    }
    for (const auto& [key, node] : result.table()) {
        const Setting* found = nullptr;
        for (const Setting& setting : settings_table()) {
            if (toml_name(setting) == key.str()) found = &setting;
        }
        const std::string place = file + ":" + std::to_string(node.source().begin.line) + ": ";
        if (found == nullptr) {
            return place + "unknown key '" + std::string(key.str()) +
                   "'; 'fanfare config print' shows all of them";
        }
        const std::string error = apply_node(*found, node, settings);
        if (!error.empty()) return place + error;
    }
    return {};
}

std::vector<std::string> split_list(std::string_view text) {
    std::vector<std::string> values;
    if (text.empty()) return values;
    while (true) {
        const size_t comma = text.find(',');
        values.emplace_back(text.substr(0, comma));
        if (comma == std::string_view::npos) return values;
        text.remove_prefix(comma + 1);
    }
}

std::string load_variable(std::string_view variable, Settings& settings) {
    const size_t equals = variable.find('=');
    const std::string_view name = variable.substr(0, equals);
    const std::string_view value =
        equals == std::string_view::npos ? "" : variable.substr(equals + 1);
    for (const std::string_view other : other_variables) {
        if (name == other) return {};
    }
    for (const Setting& setting : settings_table()) {
        if (environment_name(setting) != name) continue;
        const bool is_list = setting.kind == SettingKind::list;
        const std::vector<std::string> values =
            is_list ? split_list(value) : std::vector<std::string>{std::string(value)};
        const std::string error = apply_setting(setting, values, settings);
        return error.empty() ? error : std::string(name) + ": " + error;
    }
    return "unknown environment variable " + std::string(name) +
           "; 'fanfare serve --help' lists the settings, each variable is FANFARE_ and its name";
}

}  // namespace

std::string load_settings(const ConfigSources& sources, Settings& settings) {
    if (!sources.file.empty()) {
        std::string error = load_file(sources.file, settings);
        if (!error.empty()) return error;
    }
    for (const std::string& variable : sources.environment) {
        std::string error = load_variable(variable, settings);
        if (!error.empty()) return error;
    }
    for (const auto& [setting, values] : sources.flags) {
        const std::string error = apply_setting(*setting, values, settings);
        if (!error.empty()) return "--" + error;
    }
    return validate_settings(settings);
}

}  // namespace broker
