#include "topics/name.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace topics {
namespace {

std::string levels(uint32_t count) {
    std::string name = "l";
    for (uint32_t index = 1; index < count; ++index) name += "/l";
    return name;
}

// What holds for topics and filters alike.
void expect_both(NameError error, std::string_view name) {
    EXPECT_EQ(error, check_topic(name)) << name;
    EXPECT_EQ(error, check_publishable(name)) << name;
    EXPECT_EQ(error, check_filter(name)) << name;
}

TEST(Name, empty_is_refused_and_one_byte_is_a_name) {
    expect_both(NameError::empty, "");
    expect_both(NameError::none, "a");
    expect_both(NameError::none, " ");
}

TEST(Name, bytes_are_limited) {
    expect_both(NameError::none, std::string(topic_bytes_max, 'a'));
    expect_both(NameError::too_long, std::string(topic_bytes_max + 1, 'a'));
    // The limit is on bytes, not characters: 256 of these are 512 bytes.
    std::string accents;
    for (uint32_t index = 0; index < topic_bytes_max / 2; ++index) accents += "é";
    expect_both(NameError::none, accents);
    expect_both(NameError::too_long, accents + "é");
}

TEST(Name, levels_are_limited) {
    expect_both(NameError::none, levels(topic_levels_max));
    expect_both(NameError::too_many_levels, levels(topic_levels_max + 1));
    // Empty levels count.
    expect_both(NameError::none, std::string(topic_levels_max - 1, '/'));
    expect_both(NameError::too_many_levels, std::string(topic_levels_max, '/'));
    // '#' takes a level too.
    EXPECT_EQ(NameError::none, check_filter(levels(topic_levels_max - 1) + "/#"));
    EXPECT_EQ(NameError::too_many_levels, check_filter(levels(topic_levels_max) + "/#"));
}

TEST(Name, levels_may_be_empty) {
    for (const std::string_view name : {"/", "//", "/a", "a/", "a//b"}) {
        expect_both(NameError::none, name);
    }
    EXPECT_EQ(NameError::none, check_filter("//#"));
    EXPECT_EQ(NameError::none, check_filter("+//+"));
}

TEST(Name, every_ascii_byte_is_allowed_unless_it_is_a_control_or_a_wildcard) {
    for (uint32_t byte = 0; byte < 0x80; ++byte) {
        const std::string name = std::string("a") + static_cast<char>(byte) + "b";
        const bool is_control = byte < 0x20 || byte == 0x7f;
        const bool is_wildcard = byte == '+' || byte == '#';
        const NameError in_topic = is_control    ? NameError::control_character
                                   : is_wildcard ? NameError::wildcard_in_topic
                                                 : NameError::none;
        const NameError in_filter = is_control    ? NameError::control_character
                                    : is_wildcard ? NameError::wildcard_not_alone
                                                  : NameError::none;
        EXPECT_EQ(in_topic, check_topic(name)) << byte;
        EXPECT_EQ(in_filter, check_filter(name)) << byte;
    }
}

TEST(Name, c1_controls_are_refused_and_their_neighbours_are_not) {
    for (uint32_t tail = 0x80; tail < 0xc0; ++tail) {
        const std::string name = std::string("a\xc2") + static_cast<char>(tail);
        expect_both(tail < 0xa0 ? NameError::control_character : NameError::none, name);
    }
    // The same second byte after another first one is a letter: U+00C0 is "À".
    expect_both(NameError::none, "\xc3\x80");
    // A three-byte sequence may hold 0x80 to 0x9F in its tail.
    expect_both(NameError::none, "\xe2\x82\xac");
}

TEST(Name, utf8_must_be_valid) {
    const std::vector<std::string_view> bad = {
        "\x80",              // a tail without a lead
        "a\xc3",             // a lead without its tail
        "\xc3/",             // a lead before a separator
        "\xc0\xaf",          // '/' in two bytes
        "\xe0\x80\xaf",      // '/' in three bytes
        "\xed\xa0\x80",      // a surrogate
        "\xf4\x90\x80\x80",  // above U+10FFFF
        "\xf5\x80\x80\x80",  // a byte that never begins a character
        "\xff",
    };
    for (const std::string_view name : bad) expect_both(NameError::utf8_invalid, name);
    const std::vector<std::string_view> good = {
        "\xc2\xa0",     "\xdf\xbf",         "\xe0\xa0\x80",     "\xed\x9f\xbf", "\xee\x80\x80",
        "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf", "日本/東京",
    };
    for (const std::string_view name : good) expect_both(NameError::none, name);
}

TEST(Name, invalid_utf8_is_found_wherever_it_stands) {
    for (uint32_t bytes = 1; bytes <= topic_bytes_max; bytes += 37) {
        for (uint32_t place = 0; place < bytes; ++place) {
            std::string name(bytes, 'a');
            name[place] = '\xff';
            ASSERT_EQ(NameError::utf8_invalid, check_topic(name)) << bytes << " " << place;
        }
    }
}

TEST(Name, wildcards_are_for_filters) {
    for (const std::string_view name : {"+", "#", "a/+", "a/#", "+/a", "a/+/b", "a+", "a#b"}) {
        EXPECT_EQ(NameError::wildcard_in_topic, check_topic(name)) << name;
        EXPECT_EQ(NameError::wildcard_in_topic, check_publishable(name)) << name;
    }
}

TEST(Name, wildcards_stand_alone_in_their_level) {
    for (const std::string_view filter :
         {"+", "#", "+/+", "+/#", "a/+", "a/#", "/+", "+/", "/#", "+/a/+/b/#"}) {
        EXPECT_EQ(NameError::none, check_filter(filter)) << filter;
        EXPECT_TRUE(has_wildcard(filter)) << filter;
    }
    for (const std::string_view filter :
         {"a+", "+a", "a/b+", "++", "a#", "#a", "##", "+#", "a/b#"}) {
        EXPECT_EQ(NameError::wildcard_not_alone, check_filter(filter)) << filter;
    }
    for (const std::string_view filter : {"a", "a/b", "/", "$a"}) {
        EXPECT_FALSE(has_wildcard(filter)) << filter;
    }
}

TEST(Name, hash_is_the_last_level) {
    EXPECT_EQ(NameError::hash_not_last, check_filter("#/a"));
    EXPECT_EQ(NameError::hash_not_last, check_filter("a/#/b"));
    EXPECT_EQ(NameError::hash_not_last, check_filter("#/"));
    EXPECT_EQ(NameError::hash_not_last, check_filter("#/#"));
    EXPECT_EQ(NameError::none, check_filter("a/#"));
}

TEST(Name, dollar_is_reserved_only_at_the_beginning_and_only_for_publishers) {
    for (const std::string_view topic : {"$", "$SYS", "$SYS/a", "$/"}) {
        EXPECT_EQ(NameError::none, check_topic(topic)) << topic;
        EXPECT_EQ(NameError::none, check_filter(topic)) << topic;
        EXPECT_EQ(NameError::reserved, check_publishable(topic)) << topic;
    }
    EXPECT_EQ(NameError::none, check_filter("$SYS/#"));
    for (const std::string_view topic : {"a$", "a/$", "/$SYS", " $"}) {
        EXPECT_EQ(NameError::none, check_publishable(topic)) << topic;
    }
    // What is wrong with the name itself is said first.
    EXPECT_EQ(NameError::wildcard_in_topic, check_publishable("$a/#"));
}

TEST(Name, every_error_has_its_own_sentence) {
    std::set<std::string_view> sentences;
    for (uint8_t value = 0; value <= static_cast<uint8_t>(NameError::hash_not_last); ++value) {
        const std::string_view sentence = describe(static_cast<NameError>(value));
        EXPECT_TRUE(sentence.ends_with(".")) << sentence;
        EXPECT_TRUE(sentences.insert(sentence).second) << sentence;
    }
    EXPECT_EQ(10u, sentences.size());
}

struct Match {
    std::string_view filter;
    std::string_view topic;
    bool is_match;
};

TEST(Matches, the_examples_of_mqtt_5_section_4_7) {
    const std::vector<Match> examples = {
        // §4.7.1.2, '#'
        {"sport/tennis/player1/#", "sport/tennis/player1", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
        {"sport/#", "sport", true},
        {"#", "sport/tennis", true},
        {"sport/tennis/#", "sport/tennis/player1", true},
        // §4.7.1.3, '+'
        {"sport/tennis/+", "sport/tennis/player1", true},
        {"sport/tennis/+", "sport/tennis/player2", true},
        {"sport/tennis/+", "sport/tennis/player1/ranking", false},
        {"sport/+", "sport", false},
        {"sport/+", "sport/", true},
        {"+", "sport", true},
        {"+/tennis/#", "sport/tennis", true},
        {"+/tennis/#", "sport/tennis/player1", true},
        {"sport/+/player1", "sport/tennis/player1", true},
        {"+/+", "/finance", true},
        {"/+", "/finance", true},
        {"+", "/finance", false},
        // §4.7.2, '$'
        {"#", "$SYS", false},
        {"#", "$SYS/monitor/Clients", false},
        {"+/monitor/Clients", "$SYS/monitor/Clients", false},
        {"$SYS/#", "$SYS/monitor/Clients", true},
        {"$SYS/#", "$SYS", true},
        {"$SYS/monitor/+", "$SYS/monitor/Clients", true},
        // §4.7.3: case and separators distinguish
        {"ACCOUNTS", "Accounts", false},
        {"Accounts payable", "Accounts payable", true},
        {"/A", "A", false},
        {"A", "/A", false},
    };
    for (const auto& [filter, topic, is_match] : examples) {
        ASSERT_EQ(NameError::none, check_filter(filter)) << filter;
        ASSERT_EQ(NameError::none, check_topic(topic)) << topic;
        EXPECT_EQ(is_match, matches(filter, topic)) << filter << " and " << topic;
    }
}

TEST(Matches, the_edges) {
    const std::vector<Match> examples = {
        {"a", "a", true},
        {"a", "b", false},
        {"a", "aa", false},
        {"aa", "a", false},
        {"a/b", "a", false},
        {"a", "a/b", false},
        {"a/", "a", false},
        {"a", "a/", false},
        {"a//b", "a//b", true},
        {"a//b", "a/b", false},
        {"a/+/b", "a//b", true},
        {"a/+", "a/", true},
        {"+/+", "/", true},
        {"+", "/", false},
        {"+/+/+", "/", false},
        {"/#", "/", true},
        {"/#", "/a", true},
        {"/#", "a", false},
        // '#' matches its parent: the parent of "/#" is the empty level, which alone is no topic.
        {"+/#", "a", true},
        {"a/+/#", "a", false},
        {"a/+/#", "a/b", true},
        {"a/b/#", "a", false},
        // '$' hides from wildcards in the first level only.
        {"+/a", "$x/a", false},
        {"$x/+", "$x/$y", true},
        {"+/$y", "x/$y", true},
        {"+", "$", false},
        {"$", "$", true},
        {"#", "x/$SYS", true},
    };
    for (const auto& [filter, topic, is_match] : examples) {
        EXPECT_EQ(is_match, matches(filter, topic)) << filter << " and " << topic;
    }
}

}  // namespace
}  // namespace topics
