#include "broker/settings_exchange.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace broker {
namespace {

// Every value differs from the default, within its range where it has one.
Settings changed_settings() {
    Settings settings;
    for (const Setting& setting : settings_table()) {
        switch (setting.kind) {
            case SettingKind::flag:
            case SettingKind::on_off: {
                bool& value = settings.*std::get<bool Settings::*>(setting.member);
                value = !value;
                break;
            }
            case SettingKind::text:
                settings.*std::get<std::string Settings::*>(setting.member) += "/changed";
                break;
            case SettingKind::list:
                (settings.*std::get<std::vector<std::string> Settings::*>(setting.member))
                    .push_back("https://changed.example");
                break;
            case SettingKind::rules:
                (settings.*std::get<std::vector<topics::TopicRule> Settings::*>(setting.member))
                    .push_back({.match = "changed/#"});
                break;
            case SettingKind::number:
            case SettingKind::workers:
            case SettingKind::size:
            case SettingKind::size_or_auto:
            case SettingKind::duration:
                settings.*std::get<uint64_t Settings::*>(setting.member) = setting.most;
                break;
            case SettingKind::log_level: settings.log_level = LogLevel::debug; break;
        }
    }
    return settings;
}

TEST(SettingsExchange, OnlyWhatIsReloadableIsTaken) {
    const Settings before;
    const Settings offered = changed_settings();
    EXPECT_EQ(changes_between(before, offered).size(), settings_table().size());
    SettingsExchange exchange(1);
    exchange.offer(offered);
    Settings settings;
    ASSERT_TRUE(exchange.take(0, settings));
    for (const Setting& setting : settings_table()) {
        const Settings& expected = setting.is_reloadable ? offered : before;
        EXPECT_EQ(setting_text(setting, settings), setting_text(setting, expected)) << setting.name;
    }
}

TEST(SettingsExchange, AnOfferIsKeptUntilAllHaveTakenIt) {
    SettingsExchange exchange(2);
    EXPECT_TRUE(exchange.is_taken());
    Settings settings;
    EXPECT_FALSE(exchange.take(0, settings));
    Settings offered;
    offered.log_level = LogLevel::debug;
    exchange.offer(offered);
    EXPECT_FALSE(exchange.is_taken());
    EXPECT_TRUE(exchange.take(1, settings));
    EXPECT_EQ(settings.log_level, LogLevel::debug);
    EXPECT_FALSE(exchange.take(1, settings)) << "once";
    EXPECT_FALSE(exchange.is_taken());
    EXPECT_TRUE(exchange.take(0, settings));
    EXPECT_TRUE(exchange.is_taken());
}

TEST(SettingsExchange, ChangesSayWhatWasAndWhatIs) {
    Settings after;
    after.drain_delay_ns = 5 * base::ns_per_s;
    after.workers = 3;
    const std::vector<SettingChange> changes = changes_between(Settings{}, after);
    ASSERT_EQ(changes.size(), 2u);
    EXPECT_EQ(changes[0].setting->name, "workers");
    EXPECT_FALSE(changes[0].setting->is_reloadable);
    EXPECT_EQ(changes[0].before, "auto");
    EXPECT_EQ(changes[0].after, "3");
    EXPECT_EQ(changes[1].setting->name, "drain-delay");
    EXPECT_TRUE(changes[1].setting->is_reloadable);
    EXPECT_EQ(changes[1].before, "0s");
    EXPECT_EQ(changes[1].after, "5s");
}

TEST(SettingsExchange, WhatClientsWereToldOfIsNotReloadable) {
    for (const std::string_view name :
         {"heartbeat-interval", "heartbeat-timeout", "message-max", "subscriptions-max"}) {
        EXPECT_FALSE(find_setting(name)->is_reloadable) << name;
    }
}

}  // namespace
}  // namespace broker
