#include "broker/config.h"

#include <cstdio>
#include <optional>
#include <string_view>

#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include "broker/rule_text.h"

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

constexpr std::string_view not_tables =
    "topic_rule: write each rule as a table, under [[topic_rule]]";

std::string place_of(const toml::node& node, const std::string& file) {
    return file + ":" + std::to_string(node.source().begin.line) + ": ";
}

// The text of the rule that a [[topic_rule]] table makes. An error message, or empty.
std::string text_of_rule(const toml::node& node, std::string& text) {
    const toml::table* table = node.as_table();
    if (table == nullptr) return std::string(not_tables);
    std::vector<RuleMember> members;
    for (const auto& [key, value] : *table) {
        const std::optional<std::string> value_text = text_of(value);
        if (!value_text) {
            return "topic_rule: " + std::string(key.str()) + ": expected a string or a number";
        }
        members.emplace_back(key.str(), *value_text);
    }
    text = rule_text(members);
    std::vector<topics::TopicRule> parsed;
    const std::string error = parse_rules(text, parsed);
    return error.empty() ? error : "topic_rule: " + error;
}

// Each table by itself, so that an error names its line.
std::string apply_rules(const Setting& setting, const toml::node& node, const std::string& file,
                        Settings& settings) {
    const toml::array* array = node.as_array();
    if (array == nullptr) return place_of(node, file) + std::string(not_tables);
    std::vector<std::string> texts(array->size());
    for (size_t index = 0; index < array->size(); ++index) {
        const toml::node& element = *array->get(index);
        const std::string error = text_of_rule(element, texts[index]);
        if (error.empty()) continue;
        return place_of(element, file) + error;
    }
    const std::string error = apply_setting(setting, texts, settings);
    return error.empty() ? error : file + ": " + error;
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
        const std::string place = place_of(node, file);
        if (found == nullptr) {
            return place + "unknown key '" + std::string(key.str()) +
                   "'; 'fanfare config print' shows all of them";
        }
        if (found->kind == SettingKind::rules) {
            std::string error = apply_rules(*found, node, file, settings);
            if (!error.empty()) return error;
            continue;
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
        std::vector<std::string> values = {std::string(value)};
        if (setting.kind == SettingKind::list) values = split_list(value);
        // As with a list, an empty variable means none.
        if (setting.kind == SettingKind::rules && value.empty()) values.clear();
        const std::string error = apply_setting(setting, values, settings);
        return error.empty() ? error : std::string(name) + ": " + error;
    }
    return "unknown environment variable " + std::string(name) +
           "; 'fanfare serve --help' lists the settings, each variable is FANFARE_ and its name";
}

std::string quoted(std::string_view text) {
    std::string out = "\"";
    for (const char character : text) {
        const unsigned byte = static_cast<unsigned char>(character);
        if (byte < 0x20 || byte == 0x7f) {
            char escape[7];
            std::snprintf(escape, sizeof escape, "\\u%04x", byte);
            out += escape;
            continue;
        }
        if (character == '"' || character == '\\') out += '\\';
        out += character;
    }
    return out + '"';
}

std::string value_toml(const Setting& setting, const Settings& settings) {
    switch (setting.kind) {
        case SettingKind::flag:
        case SettingKind::number: return setting_text(setting, settings);
        case SettingKind::rules: return "[]";
        case SettingKind::list: {
            std::string out;
            for (const std::string& value :
                 settings.*std::get<std::vector<std::string> Settings::*>(setting.member)) {
                out += (out.empty() ? "" : ", ") + quoted(value);
            }
            return "[" + out + "]";
        }
        case SettingKind::on_off:
        case SettingKind::text:
        case SettingKind::workers:
        case SettingKind::size:
        case SettingKind::size_or_auto:
        case SettingKind::duration:
        case SettingKind::log_level: break;
    }
    return quoted(setting_text(setting, settings));
}

}  // namespace

std::string settings_toml(const Settings& settings) {
    std::string out;
    for (const Setting& setting : settings_table()) {
        out += "# " + std::string(setting.help) + "\n";
        const bool stands_below =
            setting.kind == SettingKind::rules && !setting_text(setting, settings).empty();
        if (stands_below) {
            out += "# See the end: in TOML, tables come last.\n";
        } else {
            out += toml_name(setting) + " = " + value_toml(setting, settings) + "\n";
        }
    }
    for (const topics::TopicRule& rule : settings.topic_rules) {
        out += "\n[[topic_rule]]\n";
        for (const auto& [key, value] : members_of(rule)) {
            out += key + " = " + (key == "history_messages" ? value : quoted(value)) + "\n";
        }
    }
    return out;
}

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
