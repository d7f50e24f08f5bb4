#include "broker/config.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

namespace broker {
namespace {

class Config : public ::testing::Test {
  protected:
    // Writes the TOML file that the sources name.
    void write_file(const std::string& text) {
        const std::string test = ::testing::UnitTest::GetInstance()->current_test_info()->name();
        sources_.file = ::testing::TempDir() + "fanfare_config_" + test + ".toml";
        std::ofstream(sources_.file) << text;
    }
    void set_flag(std::string_view name, std::vector<std::string> values) {
        sources_.flags.emplace_back(find_setting(name), std::move(values));
    }
    std::string load() {
        settings_ = {};
        return load_settings(sources_, settings_);
    }
    // An error that names everything of `parts`.
    void expect_error(const std::vector<std::string>& parts) {
        const std::string error = load();
        EXPECT_NE(error, "");
        for (const std::string& part : parts) {
            EXPECT_NE(error.find(part), std::string::npos)
                << "'" << part << "' is not in: " << error;
        }
    }

    ConfigSources sources_;
    Settings settings_;
};

TEST_F(Config, NothingSetMeansDefaults) {
    EXPECT_EQ(load(), "");
    EXPECT_EQ(settings_.partitions, Settings{}.partitions);
    EXPECT_EQ(settings_.listen, Settings{}.listen);
}

TEST_F(Config, FlagsBeforeVariablesBeforeFileBeforeDefaults) {
    write_file("partitions = 2\nworkers = 2\nsubscriptions_max = 2\n");
    EXPECT_EQ(load(), "");
    EXPECT_EQ(settings_.partitions, 2u);
    sources_.environment = {"FANFARE_PARTITIONS=3", "FANFARE_WORKERS=3"};
    EXPECT_EQ(load(), "");
    EXPECT_EQ(settings_.partitions, 3u);
    set_flag("partitions", {"4"});
    EXPECT_EQ(load(), "");
    EXPECT_EQ(settings_.partitions, 4u);
    EXPECT_EQ(settings_.workers, 3u);
    EXPECT_EQ(settings_.subscriptions_max, 2u);
    EXPECT_EQ(settings_.connections_max, Settings{}.connections_max);
}

TEST_F(Config, AFileMaySetEveryKind) {
    write_file(R"(
        listen = ["127.0.0.1:1", "[::1]:2"]
        allowed_origins = "https://app.example"
        allow_anonymous = true
        workers = "auto"
        partitions = 8
        message_max = "32KiB"
        outbound_soft = 4096
        heartbeat_interval = "10s"
        log_level = "debug"
        admin_listen = "127.0.0.1:3"
    )");
    EXPECT_EQ(load(), "");
    EXPECT_EQ(settings_.listen, (std::vector<std::string>{"127.0.0.1:1", "[::1]:2"}));
    EXPECT_EQ(settings_.allowed_origins, std::vector<std::string>{"https://app.example"});
    EXPECT_TRUE(settings_.allow_anonymous);
    EXPECT_EQ(settings_.workers, 0u);
    EXPECT_EQ(settings_.partitions, 8u);
    EXPECT_EQ(settings_.message_bytes_max, 32 * base::kib);
    EXPECT_EQ(settings_.outbound_soft_bytes, 4096u);
    EXPECT_EQ(settings_.heartbeat_interval_ns, 10 * base::ns_per_s);
    EXPECT_EQ(settings_.log_level, LogLevel::debug);
    EXPECT_EQ(settings_.admin_listen, "127.0.0.1:3");
}

TEST_F(Config, EverySettingIsAVariableAndAKey) {
    for (const Setting& setting : settings_table()) {
        if (setting.kind == SettingKind::list || setting.kind == SettingKind::rules) continue;
        const std::string text = setting_text(setting, Settings{});
        sources_ = {};
        sources_.environment = {environment_name(setting) + "=" + text};
        EXPECT_EQ(load(), "") << setting.name;
        write_file(toml_name(setting) + " = " +
                   (setting.kind == SettingKind::flag ? text : "'" + text + "'") + "\n");
        EXPECT_EQ(load(), "") << setting.name;
    }
}

TEST_F(Config, ListsInVariablesAreSplitAtCommas) {
    sources_.environment = {"FANFARE_LISTEN=127.0.0.1:1,unix:/tmp/x",
                            "FANFARE_ALLOWED_ORIGINS=https://app.example"};
    EXPECT_EQ(load(), "");
    EXPECT_EQ(settings_.listen, (std::vector<std::string>{"127.0.0.1:1", "unix:/tmp/x"}));
    EXPECT_EQ(settings_.allowed_origins, std::vector<std::string>{"https://app.example"});
}

TEST_F(Config, AnEmptyVariableOfAListMeansNone) {
    write_file("allowed_origins = ['https://app.example']\n[[topic_rule]]\nmatch = 'a'\n");
    EXPECT_EQ(load(), "");
    EXPECT_EQ(settings_.topic_rules.size(), 1u);
    sources_.environment = {"FANFARE_ALLOWED_ORIGINS=", "FANFARE_TOPIC_RULE="};
    EXPECT_EQ(load(), "");
    EXPECT_TRUE(settings_.allowed_origins.empty());
    EXPECT_TRUE(settings_.topic_rules.empty());
}

TEST_F(Config, RulesComeFromTablesVariablesAndFlags) {
    write_file(R"(
        partitions = 8
        [[topic_rule]]
        match = 'a,b;c\d=e/#'
        history_messages = 10
        history_bytes = "1MiB"
        history_ttl = '90s'
        [[topic_rule]]
        history_messages = "0"
        match = "secret/#"
        [[topic_rule]]
        match = '#'
        history_bytes = 4096
    )");
    EXPECT_EQ(load(), "");
    const std::vector<topics::TopicRule> from_file = {
        {.match = "a,b;c\\d=e/#",
         .history_messages_max = 10,
         .history_bytes_max = base::mib,
         .history_ttl_ns = 90 * base::ns_per_s},
        {.match = "secret/#"},
        {.match = "#", .history_messages_max = UINT64_MAX, .history_bytes_max = 4096}};
    EXPECT_EQ(settings_.topic_rules, from_file);
    EXPECT_EQ(settings_.partitions, 8u);

    sources_.environment = {"FANFARE_TOPIC_RULE=match=x;match=y\\;z"};
    EXPECT_EQ(load(), "");
    ASSERT_EQ(settings_.topic_rules.size(), 2u);
    EXPECT_EQ(settings_.topic_rules[1].match, "y;z");

    set_flag("topic-rule", {"match=1", "match=2", "match=3"});
    EXPECT_EQ(load(), "");
    EXPECT_EQ(settings_.topic_rules.size(), 3u);
}

TEST_F(Config, BadRulesNameTheirTable) {
    const std::string good = "[[topic_rule]]\nmatch = 'a'\n";
    write_file(good + "[[topic_rule]]\nmatch = 'b'\nhistory_message = 1\n");
    expect_error({sources_.file + ":3:", "topic_rule", "unknown key 'history_message'"});
    write_file(good + "[[topic_rule]]\nmatch = 'b'\nhistory_messages = 1.5\n");
    expect_error({sources_.file + ":3:", "topic_rule", "history_messages", "number"});
    write_file(good + "[[topic_rule]]\nhistory_ttl = 60\nmatch = 'b'\n");
    expect_error({sources_.file + ":3:", "history_ttl", "60", "unit"});
    write_file(good + "[[topic_rule]]\n'match,x' = 'b'\n");
    expect_error({sources_.file + ":3:", "unknown key 'match,x'"});
    write_file("\n[topic_rule]\nmatch = 'a'\n");
    expect_error({sources_.file + ":2:", "[[topic_rule]]"});
    write_file("topic_rule = 'match=a'\n");
    expect_error({sources_.file + ":1:", "[[topic_rule]]"});
    write_file("topic_rule = ['match=a']\n");
    expect_error({sources_.file + ":1:", "[[topic_rule]]"});
    std::string many;
    for (int rule = 0; rule < 1'001; ++rule) many += good;
    write_file(many);
    expect_error({sources_.file, "1001"});
    sources_.file.clear();
    sources_.environment = {"FANFARE_TOPIC_RULE=match=a;"};
    expect_error({"FANFARE_TOPIC_RULE", "empty"});
    sources_.environment.clear();
    set_flag("topic-rule", {"a"});
    expect_error({"--topic-rule", "'a' is not KEY=VALUE"});
}

// Printed, read back, and printed again.
std::string print_twice(const Settings& settings, const std::string& file, Settings& read_back) {
    std::string printed = settings_toml(settings);
    std::ofstream(file) << printed;
    read_back = {};
    EXPECT_EQ(load_settings({.environment = {}, .flags = {}, .file = file}, read_back), "");
    EXPECT_EQ(settings_toml(read_back), printed);
    return printed;
}

TEST_F(Config, WhatIsPrintedCanBeRead) {
    write_file("");
    Settings read_back;
    const std::string defaults = print_twice(Settings{}, sources_.file, read_back);
    EXPECT_NE(defaults.find("\ntopic_rule = []\n"), std::string::npos);
    for (const Setting& setting : settings_table()) {
        EXPECT_NE(defaults.find("\n" + toml_name(setting) + " = "), std::string::npos);
    }

    Settings settings;
    settings.listen = {"unix:/tmp/a \"b\" \\c"};
    settings.state_dir = "/tmp/\n\t\x7f\xc3\xa4";
    settings.workers = 3;
    settings.idempotency_keys_max = 0;
    settings.topic_rules = {
        {.match = "a\"b\\c,d;e=f/#", .history_messages_max = 1'000'000'000},
        {.match = "+", .history_messages_max = 0},
        {.match = "\xc3\xa4", .history_messages_max = UINT64_MAX, .history_bytes_max = 1},
        {.match = "#",
         .history_messages_max = 1,
         .history_bytes_max = 3 * base::mib,
         .history_ttl_ns = base::ns_per_s / 10}};
    const std::string printed = print_twice(settings, sources_.file, read_back);
    EXPECT_EQ(read_back.listen, settings.listen);
    EXPECT_EQ(read_back.state_dir, settings.state_dir);
    EXPECT_EQ(read_back.workers, 3u);
    EXPECT_EQ(read_back.idempotency_keys_max, 0u);
    EXPECT_EQ(read_back.topic_rules, settings.topic_rules);
    EXPECT_EQ(printed.find("topic_rule = []"), std::string::npos);
}

TEST_F(Config, UnknownNamesAreErrors) {
    sources_.environment = {"FANFARE_HEARTBEET_INTERVAL=1s"};
    expect_error({"FANFARE_HEARTBEET_INTERVAL"});
    sources_.environment = {"FANFARE_URL=ws://localhost", "FANFARE_CONFIG=/etc/fanfare.toml"};
    EXPECT_EQ(load(), "") << "these belong to the tools and to the command line";
    write_file("partitions = 1\nheartbeet = '1s'\n");
    expect_error({sources_.file + ":2", "heartbeet"});
    write_file("[table]\npartitions = 1\n");
    expect_error({"table"});
    write_file("heartbeat-interval = '1s'\n");
    expect_error({"heartbeat-interval"});
}

TEST_F(Config, BadTomlIsReportedWithItsLine) {
    write_file("partitions = 1\nworkers = = 2\n");
    expect_error({sources_.file + ":2"});
}

TEST_F(Config, AMissingFileIsAnError) {
    sources_.file = ::testing::TempDir() + "fanfare_config_that_is_not_there.toml";
    expect_error({sources_.file});
}

TEST_F(Config, BadValuesNameTheirPlace) {
    write_file("partitions = 1\n\nworkers = 65\n");
    expect_error({sources_.file + ":3", "workers", "65", "1 to 64"});
    write_file("partitions = 1.5\n");
    expect_error({sources_.file + ":1", "partitions"});
    write_file("partitions = [1, 2]\n");
    expect_error({"partitions"});
    write_file("listen = ['127.0.0.1:1', 2020-01-01]\n");
    expect_error({"listen"});
    sources_.file.clear();
    sources_.environment = {"FANFARE_PARTITIONS=none"};
    expect_error({"FANFARE_PARTITIONS", "none"});
    sources_.environment = {"FANFARE_PARTITIONS"};
    expect_error({"FANFARE_PARTITIONS"});
    sources_.environment.clear();
    set_flag("partitions", {"0"});
    expect_error({"--partitions", "0", "1 to 4096"});
}

TEST_F(Config, TheWholeIsValidated) {
    set_flag("outbound-soft", {"1MiB"});
    EXPECT_EQ(load(), "");
    set_flag("outbound-hard", {"512KiB"});
    expect_error({"outbound-soft", "outbound-hard"});
}

}  // namespace
}  // namespace broker
