#include "broker/settings.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "broker/units.h"

namespace broker {
namespace {

using Kind = SettingKind;

std::string apply(std::string_view name, std::vector<std::string> values, Settings& settings) {
    const Setting* setting = find_setting(name);
    EXPECT_NE(setting, nullptr) << name;
    return setting == nullptr ? "no such setting" : apply_setting(*setting, values, settings);
}

bool has_range(const Setting& setting) {
    switch (setting.kind) {
        case Kind::number:
        case Kind::workers:
        case Kind::size:
        case Kind::size_or_auto:
        case Kind::duration: return true;
        case Kind::flag:
        case Kind::on_off:
        case Kind::text:
        case Kind::list:
        case Kind::rules:
        case Kind::log_level: return false;
    }
    return false;
}

std::string number_text(const Setting& setting, uint64_t number) {
    if (setting.kind == Kind::size || setting.kind == Kind::size_or_auto) {
        return std::to_string(number) + "B";
    }
    if (setting.kind == Kind::duration) return std::to_string(number) + "ns";
    return std::to_string(number);
}

TEST(Settings, NamesAreUniqueInEveryForm) {
    std::set<std::string> names;
    for (const Setting& setting : settings_table()) {
        EXPECT_TRUE(names.insert(std::string(setting.name)).second) << setting.name;
        EXPECT_TRUE(names.insert(environment_name(setting)).second) << setting.name;
        EXPECT_EQ(find_setting(setting.name), &setting);
        EXPECT_EQ(setting.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz-"),
                  std::string_view::npos);
        EXPECT_FALSE(setting.help.empty()) << setting.name;
        EXPECT_TRUE(setting.help.ends_with('.')) << setting.name;
    }
    EXPECT_EQ(find_setting("no-such-setting"), nullptr);
    EXPECT_EQ(find_setting(""), nullptr);
}

TEST(Settings, OneNameHasThreeForms) {
    const Setting& setting = *find_setting("heartbeat-interval");
    EXPECT_EQ(environment_name(setting), "FANFARE_HEARTBEAT_INTERVAL");
    EXPECT_EQ(toml_name(setting), "heartbeat_interval");
}

TEST(Settings, DefaultsAreValidAndTheirTextParsesBack) {
    const Settings defaults;
    EXPECT_EQ(validate_settings(defaults), "");
    for (const Setting& setting : settings_table()) {
        // The text of a list is for people: values joined by commas. That of no rules is empty.
        if (setting.kind == Kind::list || setting.kind == Kind::rules) continue;
        const std::string text = setting_text(setting, defaults);
        Settings changed;
        EXPECT_EQ(apply_setting(setting, std::vector<std::string>{text}, changed), "")
            << setting.name;
        EXPECT_EQ(setting_text(setting, changed), text) << setting.name;
        const bool is_auto = setting.kind == Kind::workers || setting.kind == Kind::size_or_auto;
        if (!has_range(setting) || is_auto) continue;
        const uint64_t value = defaults.*std::get<uint64_t Settings::*>(setting.member);
        EXPECT_EQ(changed.*std::get<uint64_t Settings::*>(setting.member), value) << setting.name;
        EXPECT_GE(value, setting.least) << setting.name;
        EXPECT_LE(value, setting.most) << setting.name;
    }
    EXPECT_EQ(setting_text(*find_setting("listen"), defaults), "127.0.0.1:7788,[::1]:7788");
}

TEST(Settings, RangesHoldAtBothEnds) {
    for (const Setting& setting : settings_table()) {
        if (!has_range(setting)) continue;
        SCOPED_TRACE(setting.name);
        Settings settings;
        const auto member = std::get<uint64_t Settings::*>(setting.member);
        for (const uint64_t inside : {setting.least, setting.most}) {
            EXPECT_EQ(apply_setting(setting, std::vector{number_text(setting, inside)}, settings),
                      "");
            EXPECT_EQ(settings.*member, inside);
        }
        settings.*member = setting.least;
        for (const uint64_t outside : {setting.least - 1, setting.most + 1}) {
            const std::string error =
                apply_setting(setting, std::vector{number_text(setting, outside)}, settings);
            EXPECT_NE(error.find(setting.name), std::string::npos) << error;
            EXPECT_NE(error.find(number_text(setting, outside)), std::string::npos) << error;
            EXPECT_EQ(settings.*member, setting.least) << "a refused value changes nothing";
        }
    }
}

TEST(Settings, EverySettingWithANumberRefusesWhatIsNone) {
    for (const Setting& setting : settings_table()) {
        if (!has_range(setting)) continue;
        for (const char* text : {"", "many", "-1", "1.5", "99999999999999999999"}) {
            Settings settings;
            EXPECT_NE(apply_setting(setting, std::vector<std::string>{text}, settings), "")
                << setting.name << " took '" << text << "'";
        }
    }
    Settings settings;
    EXPECT_NE(apply("heartbeat-interval", {"25"}, settings), "") << "a duration needs its unit";
    EXPECT_NE(apply("partitions", {"64KiB"}, settings), "") << "a number has none";
}

TEST(Settings, FlagsAreTrueOrFalse) {
    Settings settings;
    EXPECT_EQ(apply("pin", {"true"}, settings), "");
    EXPECT_TRUE(settings.pin);
    EXPECT_EQ(setting_text(*find_setting("pin"), settings), "true");
    EXPECT_EQ(apply("pin", {"false"}, settings), "");
    EXPECT_FALSE(settings.pin);
    for (const char* text : {"", "yes", "1", "True"}) EXPECT_NE(apply("pin", {text}, settings), "");
}

TEST(Settings, SwitchesAreOnOrOff) {
    Settings settings;
    EXPECT_EQ(apply("compression", {"off"}, settings), "");
    EXPECT_FALSE(settings.compression);
    EXPECT_EQ(setting_text(*find_setting("compression"), settings), "off");
    EXPECT_EQ(apply("compression", {"on"}, settings), "");
    EXPECT_TRUE(settings.compression);
    for (const char* text : {"", "true", "On"})
        EXPECT_NE(apply("compression", {text}, settings), "");
}

TEST(Settings, LogLevels) {
    Settings settings;
    for (const char* text : {"error", "warn", "info", "debug"}) {
        EXPECT_EQ(apply("log-level", {text}, settings), "");
        EXPECT_EQ(setting_text(*find_setting("log-level"), settings), text);
    }
    EXPECT_EQ(settings.log_level, LogLevel::debug);
    EXPECT_NE(apply("log-level", {"trace"}, settings), "");
    EXPECT_NE(apply("log-level", {""}, settings), "");
}

TEST(Settings, WorkersMayBeAuto) {
    Settings settings;
    EXPECT_EQ(apply("workers", {"3"}, settings), "");
    EXPECT_EQ(settings.workers, 3u);
    EXPECT_EQ(apply("workers", {"auto"}, settings), "");
    EXPECT_EQ(settings.workers, 0u);
    EXPECT_EQ(setting_text(*find_setting("workers"), settings), "auto");
    EXPECT_NE(apply("workers", {"0"}, settings), "") << "auto is written auto";
}

TEST(Settings, ListsTakeAllValuesAndOthersExactlyOne) {
    Settings settings;
    EXPECT_EQ(apply("listen", {"127.0.0.1:1", "unix:/tmp/a,b"}, settings), "");
    EXPECT_EQ(settings.listen, (std::vector<std::string>{"127.0.0.1:1", "unix:/tmp/a,b"}));
    EXPECT_EQ(apply("allowed-origins", {}, settings), "");
    EXPECT_TRUE(settings.allowed_origins.empty());
    EXPECT_NE(apply("partitions", {"1", "2"}, settings), "");
    EXPECT_NE(apply("partitions", {}, settings), "");
}

TEST(Settings, RulesAreTakenAllAtOnce) {
    Settings settings;
    EXPECT_EQ(apply("topic-rule", {"match=a", "match=b,history_bytes=1KiB;match=#"}, settings), "");
    ASSERT_EQ(settings.topic_rules.size(), 3u);
    EXPECT_EQ(settings.topic_rules[0].match, "a");
    EXPECT_EQ(settings.topic_rules[1].match, "b");
    EXPECT_EQ(settings.topic_rules[2].match, "#");
    const std::vector<topics::TopicRule> before = settings.topic_rules;
    const std::string text = setting_text(*find_setting("topic-rule"), settings);
    EXPECT_EQ(apply("topic-rule", {text}, settings), "");
    EXPECT_EQ(settings.topic_rules, before);

    const std::string error = apply("topic-rule", {"match=a", "match=+a"}, settings);
    EXPECT_NE(error.find("topic-rule: 'match=+a'"), std::string::npos) << error;
    EXPECT_EQ(settings.topic_rules, before) << "a refused value changes nothing";
    EXPECT_EQ(apply("topic-rule", {}, settings), "");
    EXPECT_TRUE(settings.topic_rules.empty());
}

TEST(Settings, RulesAreLimited) {
    Settings settings;
    EXPECT_EQ(apply("topic-rule", std::vector<std::string>(1'000, "match=a"), settings), "");
    EXPECT_EQ(settings.topic_rules.size(), 1'000u);
    const std::string error =
        apply("topic-rule", std::vector<std::string>(1'001, "match=a"), settings);
    EXPECT_NE(error.find("1001"), std::string::npos) << error;
    EXPECT_NE(error.find("1000"), std::string::npos) << error;
    EXPECT_EQ(settings.topic_rules.size(), 1'000u);
}

TEST(Settings, LanesHoldTheHeadsOfAllPartitions) {
    Settings settings;
    settings.lane_bytes = 8 * base::kib;
    settings.partitions = 128;
    EXPECT_EQ(validate_settings(settings), "");
    settings.partitions = 129;
    const std::string error = validate_settings(settings);
    EXPECT_NE(error.find("lane-size"), std::string::npos) << error;
    EXPECT_NE(error.find("129 partitions"), std::string::npos) << error;
    EXPECT_NE(error.find("16KiB"), std::string::npos) << error;
    settings.lane_bytes = 16 * base::kib;
    EXPECT_EQ(validate_settings(settings), "") << "what the message said";
    settings.partitions = find_setting("partitions")->most;
    settings.lane_bytes = Settings{}.lane_bytes;
    EXPECT_EQ(validate_settings(settings), "") << "the default is enough for all";
}

TEST(Settings, AMessageHoldsTheCursorOfAllPartitions) {
    Settings settings;
    settings.partitions = 4'096;
    EXPECT_EQ(validate_settings(settings), "") << "without history there are no cursors";
    ASSERT_EQ(apply("topic-rule", {"match=#,history_messages=1"}, settings), "");
    const std::string error = validate_settings(settings);
    EXPECT_NE(error.find("message-max"), std::string::npos) << error;
    EXPECT_NE(error.find("4096 partitions"), std::string::npos) << error;
    EXPECT_NE(error.find("115200"), std::string::npos) << error;
    settings.message_bytes_max = 115'200;
    EXPECT_EQ(validate_settings(settings), "") << "what the message said";
    settings.message_bytes_max -= 1;
    EXPECT_NE(validate_settings(settings), "");
    settings.partitions = Settings{}.partitions;
    settings.message_bytes_max = Settings{}.message_bytes_max;
    EXPECT_EQ(validate_settings(settings), "") << "the defaults fit";
}

TEST(Settings, RelationsAreValidated) {
    Settings settings;
    settings.outbound_soft_bytes = settings.outbound_hard_bytes;
    EXPECT_EQ(validate_settings(settings), "");
    settings.outbound_soft_bytes = settings.outbound_hard_bytes + 1;
    EXPECT_NE(validate_settings(settings).find("outbound-soft"), std::string::npos);

    settings = {};
    settings.listen.clear();
    EXPECT_NE(validate_settings(settings).find("listen"), std::string::npos);

    settings = {};
    settings.lane_bytes = 12'000;
    EXPECT_NE(validate_settings(settings).find("lane-size"), std::string::npos);

    settings = {};
    settings.recv_buffers_count = 100;
    EXPECT_NE(validate_settings(settings).find("recv-buffers"), std::string::npos);

    settings = {};
    settings.allowed_origins = {"https://app.example:8443", "*"};
    EXPECT_EQ(validate_settings(settings), "");
    settings.allowed_origins = {"app.example"};
    EXPECT_NE(validate_settings(settings).find("allowed-origins"), std::string::npos);

    settings = {};
    settings.trusted_proxies = {"10.0.0.0/8", "2001:db8::1", "unix"};
    settings.proxy_protocol = true;
    EXPECT_EQ(validate_settings(settings), "");
    settings.trusted_proxies = {"10.0.0.1/8"};
    EXPECT_NE(validate_settings(settings).find("trusted-proxies"), std::string::npos);
    settings.trusted_proxies.clear();
    EXPECT_NE(validate_settings(settings).find("proxy-protocol"), std::string::npos);
}

TEST(Settings, ARateOfBytesIsOffOrLargeEnough) {
    Settings settings;
    for (const uint64_t right : {uint64_t{0}, base::kib, base::mib}) {
        settings.inbound_bytes_per_second = right;
        EXPECT_EQ(validate_settings(settings), "");
    }
    for (const uint64_t wrong : {uint64_t{1}, base::kib - 1}) {
        settings.inbound_bytes_per_second = wrong;
        EXPECT_NE(validate_settings(settings).find("inbound-rate"), std::string::npos);
    }
}

}  // namespace
}  // namespace broker
