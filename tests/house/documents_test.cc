// The tables in the documents are those in the code: the ops, error codes, close codes, settings
// and metrics stand in one place each, and what is printed about them must not rot. fanfare.js is
// held against the same tables of PROTOCOL.md by tests/js/protocol_test.mjs.
//
// When a test fails it prints the table that belongs between the two markers.

#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>
#include <string>

#include "broker/close_codes.h"
#include "broker/metrics.h"
#include "broker/settings.h"
#include "codec/command.h"
#include "codec/errors.h"
#include "codec/gap.h"
#include "codec/recovery.h"

namespace {

std::string read_file(const std::string& name) {
    const std::ifstream file(std::string(FANFARE_SOURCE_DIR) + "/" + name);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
}

// What stands between "<!-- table: NAME -->" and the next "<!-- end -->".
std::string table_in(const std::string& file, const std::string& name) {
    const std::string text = read_file(file);
    const std::string begin_mark = "<!-- table: " + name + " -->\n";
    const size_t begin = text.find(begin_mark);
    if (begin == std::string::npos) return "no table named " + name + " in " + file;
    const size_t end = text.find("<!-- end -->", begin);
    return text.substr(begin + begin_mark.size(), end - begin - begin_mark.size());
}

std::string code(std::string_view text) {
    return "`" + std::string(text) + "`";
}

// Every op that stands in the text as {"op":"…", also inside a literal of C++.
std::set<std::string> ops_in(std::string text) {
    std::erase(text, '\\');
    constexpr std::string_view begin = "{\"op\":\"";
    std::set<std::string> ops;
    for (size_t at = text.find(begin); at != std::string::npos; at = text.find(begin, at)) {
        at += begin.size();
        // A comment may show any op as "…".
        if (text[at] >= 'a' && text[at] <= 'z') {
            ops.insert(text.substr(at, text.find('"', at) - at));
        }
    }
    return ops;
}

TEST(Documents, OpsOfClients) {
    std::set<std::string> ops;
#define FANFARE_X(name) ops.insert(#name);
    FANFARE_COMMAND_OPS(FANFARE_X)
#undef FANFARE_X
    ops.erase("auth");  // reserved, as the text says
    std::set<std::string> told;
    std::stringstream rows(table_in("PROTOCOL.md", "commands"));
    for (std::string row; std::getline(rows, row);) {
        const std::set<std::string> sent = ops_in(row.substr(0, row.find('|', 1)));
        told.insert(sent.begin(), sent.end());
    }
    EXPECT_EQ(told, ops);
}

TEST(Documents, OpsOfTheBroker) {
    std::set<std::string> told = ops_in(table_in("PROTOCOL.md", "objects"));
    std::stringstream rows(table_in("PROTOCOL.md", "commands"));
    for (std::string row; std::getline(rows, row);) {
        const std::set<std::string> answers = ops_in(row.substr(row.find('|', 1)));
        told.insert(answers.begin(), answers.end());
    }
    EXPECT_EQ(told, ops_in(read_file("codec/reply.cc")));
}

TEST(Documents, ErrorCodes) {
    std::string table = "| code | meaning |\n|---|---|\n";
#define FANFARE_X(name, meaning) \
    table += "| " + code(#name) + " | " + std::string(meaning) + " |\n";
    FANFARE_ERROR_CODES(FANFARE_X)
#undef FANFARE_X
    EXPECT_EQ(table_in("PROTOCOL.md", "error codes"), table);
}

TEST(Documents, RecoveryCodes) {
    std::string table = "| code | why |\n|---|---|\n";
#define FANFARE_X(name, reason) table += "| " + code(#name) + " | " + std::string(reason) + " |\n";
    FANFARE_RECOVERY_CODES(FANFARE_X)
#undef FANFARE_X
    EXPECT_EQ(table_in("PROTOCOL.md", "recovery codes"), table);
}

TEST(Documents, GapCodes) {
    std::string table = "| code | why |\n|---|---|\n";
#define FANFARE_X(name, reason) table += "| " + code(#name) + " | " + std::string(reason) + " |\n";
    FANFARE_GAP_CODES(FANFARE_X)
#undef FANFARE_X
    EXPECT_EQ(table_in("PROTOCOL.md", "gap codes"), table);
}

std::string text_of(broker::Reconnect reconnect) {
    switch (reconnect) {
        case broker::Reconnect::no: return "no";
        case broker::Reconnect::with_jitter: return "with jitter";
        case broker::Reconnect::after_retry_ms: return "after retry_ms";
        case broker::Reconnect::at_once: return "at once";
    }
    return "";
}

TEST(Documents, CloseCodes) {
    std::string table = "| code | name | reconnect | why |\n|---|---|---|---|\n";
    for (const broker::CloseCodeRow& row : broker::close_codes) {
        table += "| " + std::to_string(static_cast<uint16_t>(row.code)) + " | " + code(row.name) +
                 " | " + text_of(row.reconnect) + " | " + std::string(row.reason) + " |\n";
    }
    EXPECT_EQ(table_in("PROTOCOL.md", "close codes"), table);
}

TEST(Documents, Settings) {
    std::string table = "| name | default | what |\n|---|---|---|\n";
    const broker::Settings defaults;
    for (const broker::Setting& setting : broker::settings_table()) {
        const std::string value = broker::setting_text(setting, defaults);
        table += "| " + code(setting.name) + " | " + (value.empty() ? "none" : code(value)) +
                 " | " + std::string(setting.help) + " |\n";
    }
    EXPECT_EQ(table_in("OPERATIONS.md", "settings"), table);
}

TEST(Documents, ReloadableSettings) {
    std::string names;
    for (const broker::Setting& setting : broker::settings_table()) {
        if (!setting.is_reloadable) continue;
        names += (names.empty() ? "" : ", ") + code(setting.name);
    }
    EXPECT_EQ(table_in("OPERATIONS.md", "reloadable settings"), names + "\n");
}

TEST(Documents, Metrics) {
    std::string table = "| name | type | what |\n|---|---|---|\n";
#define FANFARE_X(name, type, help) \
    table += "| " + code(#name) + " | " + #type + " | " + std::string(help) + " |\n";
    FANFARE_METRICS(FANFARE_X)
#undef FANFARE_X
    EXPECT_EQ(table_in("OPERATIONS.md", "metrics"), table);
}

TEST(Documents, MetricFamilies) {
    std::string table = "| name | type | label | what |\n|---|---|---|---|\n";
    std::string row_end;  // of the family whose values are being added
    bool is_first_value = true;
    const auto begin_family = [&](const std::string& name, const std::string& type,
                                  const std::string& label, const std::string& help) {
        table += row_end + "| " + code(name) + " | " + type + " | " + code(label) + ": ";
        row_end = " | " + help + " |\n";
        is_first_value = true;
    };
    const auto add_value = [&](const std::string& value) {
        table += (is_first_value ? "" : ", ") + code(value);
        is_first_value = false;
    };
#define FANFARE_F(name, type, label, help) begin_family(#name, #type, #label, help);
#define FANFARE_C(cell, value) add_value(value);
    FANFARE_METRIC_FAMILIES(FANFARE_F, FANFARE_C)
#undef FANFARE_F
#undef FANFARE_C
    EXPECT_EQ(table_in("OPERATIONS.md", "metric families"), table + row_end);
}

TEST(Documents, Histograms) {
    std::string table = "| name | type | what |\n|---|---|---|\n";
#define FANFARE_X(name, help) \
    table += "| " + code(#name) + " | histogram | " + std::string(help) + " |\n";
    FANFARE_HISTOGRAMS(FANFARE_X)
#undef FANFARE_X
    EXPECT_EQ(table_in("OPERATIONS.md", "histograms"), table);
}

}  // namespace
