#include "broker/rule_text.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "io/base/prng.h"

namespace broker {
namespace {

using topics::TopicRule;

// The one rule of the text.
TopicRule parse_one(const std::string& text) {
    std::vector<TopicRule> rules;
    EXPECT_EQ(parse_rules(text, rules), "") << text;
    EXPECT_EQ(rules.size(), 1u) << text;
    return rules.empty() ? TopicRule{} : rules.front();
}

// An error that contains all parts.
void expect_error(const std::string& text, const std::vector<std::string>& parts) {
    std::vector<TopicRule> rules;
    const std::string error = parse_rules(text, rules);
    EXPECT_NE(error, "") << text;
    for (const std::string& part : parts) {
        EXPECT_NE(error.find(part), std::string::npos) << "'" << part << "' is not in: " << error;
    }
}

TEST(RuleText, AllMembers) {
    const TopicRule expected{.match = "chat/#",
                             .history_messages_max = 100,
                             .history_bytes_max = base::mib,
                             .history_ttl_ns = 3600 * base::ns_per_s};
    EXPECT_EQ(parse_one("match=chat/#,history_messages=100,history_bytes=1MiB,history_ttl=1h"),
              expected);
    EXPECT_EQ(parse_one("history_ttl=60m,history_bytes=1024KiB,match=chat/#,history_messages=0100"),
              expected)
        << "in any order";
}

TEST(RuleText, PolicyForSlowConsumers) {
    using topics::OnSlow;
    EXPECT_EQ(parse_one("match=a").slow_policy(), OnSlow::catch_up);
    EXPECT_EQ(parse_one("match=a,history_messages=0").slow_policy(), OnSlow::disconnect);
    for (const char* text : {"match=a,history_messages=7,on_slow=catch_up",
                             "match=a,history_messages=7,on_slow=conflate",
                             "match=a,history_messages=0,on_slow=drop_oldest",
                             "match=a,history_messages=0,on_slow=disconnect"}) {
        const TopicRule rule = parse_one(text);
        EXPECT_TRUE(rule.on_slow.has_value());
        EXPECT_EQ(rules_text(std::vector<TopicRule>{rule}), text);
    }
    expect_error("match=a,on_slow=wait", {"on_slow", "'wait'", "conflate"});
    expect_error("match=a,on_slow=conflate,on_slow=conflate", {"twice"});
    expect_error("match=a,history_messages=0,on_slow=catch_up", {"catch_up", "keeps none"});
}

TEST(RuleText, WhatIsLeftOut) {
    EXPECT_EQ(parse_one("match=a"), (TopicRule{.match = "a",
                                               .history_messages_max = 100,
                                               .history_ttl_ns = 300 * base::ns_per_s}));
    EXPECT_EQ(
        parse_one("match=a,history_ttl=1h"),
        (TopicRule{
            .match = "a", .history_messages_max = 100, .history_ttl_ns = 3600 * base::ns_per_s}));
    EXPECT_EQ(parse_one("match=a,history_messages=7"),
              (TopicRule{.match = "a", .history_messages_max = 7}));
    EXPECT_EQ(
        parse_one("match=a,history_bytes=7B"),
        (TopicRule{.match = "a", .history_messages_max = UINT64_MAX, .history_bytes_max = 7}));
}

TEST(RuleText, NothingIsKept) {
    EXPECT_EQ(parse_one("match=a,history_messages=0"), TopicRule{.match = "a"});
    EXPECT_FALSE(parse_one("match=a,history_messages=0").keeps_history());
    expect_error("match=a,history_messages=0,history_bytes=1MiB", {"history_messages=0"});
    expect_error("match=a,history_ttl=1h,history_messages=0", {"history_messages=0"});
}

TEST(RuleText, ManyRules) {
    std::vector<TopicRule> rules = {{.match = "before"}};
    EXPECT_EQ(parse_rules("match=a;match=b,history_messages=1;match=#", rules), "");
    ASSERT_EQ(rules.size(), 4u);
    EXPECT_EQ(rules[0].match, "before") << "what was there stays";
    EXPECT_EQ(rules[1].match, "a");
    EXPECT_EQ(rules[2].match, "b");
    EXPECT_EQ(rules[2].history_messages_max, 1u);
    EXPECT_EQ(rules[3].match, "#");
    for (const char* text : {"", ";", "match=a;", ";match=a", "match=a;;match=b"}) {
        expect_error(text, {"a rule is empty"});
    }
}

TEST(RuleText, ABackslashMakesPlain) {
    EXPECT_EQ(parse_one(R"(match=a\,b\;c\\d\=e=f)").match, R"(a,b;c\d=e=f)");
    EXPECT_EQ(parse_one(R"(match=\\\\)").match, R"(\\)");
    EXPECT_EQ(parse_one(R"(match==)").match, "=") << "a key ends at its first =";
    EXPECT_EQ(parse_one("match= a ").match, " a ") << "blanks are part of a topic";
    for (const char* text : {R"(match=a\)", R"(match=a\b)", R"(match=a\/b)", R"(ma\tch=a)"}) {
        expect_error(text, {"backslash"});
    }
    // The backslash takes what would have ended the rule.
    expect_error(R"(match=a\;match=+b)", {R"('match=a\;match=+b')", "match"});
}

TEST(RuleText, MistakesAreNamed) {
    expect_error("history_messages=1", {"match is missing"});
    expect_error("match", {"'match' is not KEY=VALUE"});
    expect_error("match=a,", {"'' is not KEY=VALUE"});
    expect_error("match=a,,history_messages=1", {"'' is not KEY=VALUE"});
    expect_error("match=a,history=1", {"unknown key 'history'", "history_messages"});
    expect_error("match=a, history_messages=1", {"unknown key ' history_messages'"});
    expect_error("Match=a", {"unknown key 'Match'"});
    expect_error("match=a,match=a", {"match is given twice"});
    for (const char* member : {"history_messages=1", "history_bytes=1B", "history_ttl=1s"}) {
        const std::string twice = std::string(member) + "," + member;
        expect_error("match=a," + twice, {"is given twice"});
    }
    expect_error("match=a;match=b,history_messages=x", {"'match=b,history_messages=x'", "'x'"});
}

TEST(RuleText, FiltersAreChecked) {
    for (const char* filter : {"a+", "#/a", "a/#b", "", "a\x01", "\xff"}) {
        expect_error(std::string("match=") + filter, {"match: '"});
    }
    EXPECT_EQ(parse_one("match=" + std::string(512, 'a')).match.size(), 512u);
    expect_error("match=" + std::string(513, 'a'), {"match: '"});
}

TEST(RuleText, RangesHoldAtBothEnds) {
    EXPECT_EQ(parse_one("match=a,history_messages=1000000000").history_messages_max,
              1'000'000'000u);
    expect_error("match=a,history_messages=1000000001", {"0 to 1000000000"});
    expect_error("match=a,history_messages=-1", {"history_messages", "'-1'"});
    expect_error("match=a,history_messages=", {"history_messages", "''"});
    expect_error("match=a,history_messages=1KiB", {"history_messages", "number"});

    EXPECT_EQ(parse_one("match=a,history_bytes=1").history_bytes_max, 1u);
    EXPECT_EQ(parse_one("match=a,history_bytes=1024GiB").history_bytes_max, history_bytes_most);
    expect_error("match=a,history_bytes=0", {"history_bytes", "'0'", "1B to 1024GiB"});
    expect_error("match=a,history_bytes=1025GiB", {"1B to 1024GiB"});
    expect_error("match=a,history_bytes=1h", {"history_bytes", "size"});

    EXPECT_EQ(parse_one("match=a,history_ttl=100ms").history_ttl_ns, history_ttl_ns_least);
    EXPECT_EQ(parse_one("match=a,history_ttl=87600h").history_ttl_ns, history_ttl_ns_most);
    expect_error("match=a,history_ttl=99ms", {"100ms to 87600h"});
    expect_error("match=a,history_ttl=87601h", {"100ms to 87600h"});
    expect_error("match=a,history_ttl=60", {"history_ttl", "unit"});
}

TEST(RuleText, IsTakenBack) {
    base::Prng prng(1);
    const std::string alphabet = "ab/,;=\\ \"'{}";
    for (int round = 0; round < 2'000; ++round) {
        std::vector<TopicRule> rules;
        for (uint64_t count = prng.between(1, 4); count > 0; --count) {
            TopicRule rule;
            for (uint64_t size = prng.between(1, 12); size > 0; --size) {
                rule.match += alphabet[prng.below(alphabet.size())];
            }
            if (prng.below(4) > 0) {
                rule.history_messages_max = prng.below(2) == 0 ? UINT64_MAX : prng.between(1, 99);
                rule.history_ttl_ns =
                    prng.below(2) == 0 ? UINT64_MAX : prng.between(1, 99) * base::ns_per_s;
                const bool has_bytes = rule.history_messages_max == UINT64_MAX || prng.below(2) > 0;
                if (has_bytes) rule.history_bytes_max = prng.between(1, 5 * base::mib);
            }
            rules.push_back(rule);
        }
        std::vector<TopicRule> parsed;
        const std::string text = rules_text(rules);
        EXPECT_EQ(parse_rules(text, parsed), "") << text;
        EXPECT_EQ(parsed, rules) << text;
    }
    EXPECT_EQ(rules_text({}), "");
}

TEST(RuleText, IsReadable) {
    const std::string text = "match=a/#,history_messages=5,history_bytes=2KiB,history_ttl=90s";
    const std::vector<TopicRule> rules = {parse_one(text), parse_one("match=x=y")};
    EXPECT_EQ(rules_text(rules), text + ";match=x=y,history_messages=100,history_ttl=5m");
}

}  // namespace
}  // namespace broker
