#include "codec/json.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "io/base/prng.h"
#include "tests/codec/wire.h"

namespace codec {
namespace {

using namespace std::string_literals;
using testing::Padded;

constexpr uint64_t seed = 11;

bool is_json(JsonReader& reader, std::string_view text) {
    const Padded padded(text);
    JsonValue value;
    return reader.begin(padded.view()) && reader.read_value(value) && reader.is_at_end();
}

bool is_json(std::string_view text) {
    JsonReader reader(seed);
    return is_json(reader, text);
}

std::string nested(size_t depth, std::string_view open, std::string_view close) {
    std::string text;
    for (size_t level = 0; level < depth; ++level) text.append(open);
    for (size_t level = 0; level < depth; ++level) text.append(close);
    return text;
}

void expect_json(const std::vector<std::string>& texts, bool expected) {
    for (const std::string& text : texts) EXPECT_EQ(is_json(text), expected) << text;
}

TEST(Json, AcceptsScalars) {
    expect_json({"null",
                 "true",
                 "false",
                 " \t\r\n1 \t\r\n",
                 "0",
                 "-0",
                 "-1",
                 "10",
                 "123456789",
                 "1.5",
                 "-0.0",
                 "0.10",
                 "1e1",
                 "1E+2",
                 "1e-2",
                 "0e0",
                 "-1.25E-10",
                 "1e400",
                 "-1e-400",
                 "123456789012345678901234567890123456789012345678901234567890",
                 "0.1234567890123456789012345678901234567890",
                 R"("")",
                 R"("a")",
                 R"("é€😀")",
                 R"("\"\\\/\b\f\n\r\t")",
                 R"("\u0000\u001f\u00e9\uABCD\uabcd")",
                 R"("\ud83d\ude00")",
                 R"("\\u12")",
                 R"("\\\\")",
                 R"("\\\"")",
                 "\"\x7f\"",
                 R"("a b, [c] {d}: e")",
                 "\"\xf4\x8f\xbf\xbf\"",
                 R"("\uFFFF\uFFFE")"},
                true);
}

TEST(Json, AcceptsArraysAndObjects) {
    expect_json({"[]",
                 "[ ]",
                 "{}",
                 "{ }",
                 "[1]",
                 "[1,2]",
                 "[ 1 , 2 ]",
                 "[[]]",
                 "[[],{}]",
                 "[null,true,false]",
                 R"({"a":1})",
                 R"({ "a" : 1 , "b" : [ ] })",
                 R"({"":0})",
                 R"({"a":{"a":{"a":1}}})",
                 R"([{"a":1},{"a":1}])",
                 R"({"a":1,"A":1})",
                 R"({"a b":"c,d","e":"}"})",
                 R"({"\u0061b":1,"a":2})",
                 R"(["a","a"])",
                 "[1\n,2\r]",
                 "[\"\",\"\"]"},
                true);
}

TEST(Json, RefusesNothingAndTooMuch) {
    expect_json({"",      " ",      "\n",        "1 2",        "1,2",
                 "[] []", "{}{}",   "null null", "[]]",        "{}}",
                 "[],",   ",",      ":",         "\"a\"\"b\"", "\"a\" b",
                 "[] x",  "1 \0"s,  "\0"s,       "[]\0"s,      "\xef\xbb\xbf[]",
                 "[1]]",  "[]\x0c", "\x0b[]",    "\x0c",       "\x1a",
                 "\x1f"},
                false);
}

TEST(Json, RefusesNumbers) {
    expect_json(
        {"01",        "-01", "00",    "+1",    "-",     "--1",  "1.",           ".5",  "-.5",
         "1.e1",      "1e",  "1e+",   "1E-",   "1e1.5", "0x10", "1_000",        "1f",  "Infinity",
         "-Infinity", "NaN", "1 .5",  "1.5.5", "0.",    "0e",   "1e1e1",        "1-1", "1+",
         "1\x0c",     "1a",  "1\"\"", "-a",    "0-",    "2.e3", "\xef\xbc\x91", "1\0"s},
        false);
}

TEST(Json, RefusesLiterals) {
    expect_json({"True", "nul", "nulll", "truefalse", "TRUE", "undefined", "t", "tru", "true1",
                 "falsey", "null\"a\"", "none"},
                false);
}

TEST(Json, RefusesStrings) {
    expect_json({"\"",
                 "\"a",
                 "a\"",
                 "'a'",
                 "\"\\\"",
                 "\"\\a\"",
                 "\"\\x41\"",
                 "\"\\U0041\"",
                 "\"\\u\"",
                 "\"\\u0\"",
                 "\"\\u00\"",
                 "\"\\u004\"",
                 "\"\\u004g\"",
                 "\"\\u+041\"",
                 "\"\\u 041\"",
                 "\"a\nb\"",
                 "\"a\tb\"",
                 "\"a\0b\""s,
                 "\"\x1f\"",
                 "\"\\\n\"",
                 "\"\\",
                 "\"\\u12\"34\"",
                 "\"\\\0\""s,
                 "\"\\ud800\"",
                 "\"\\udc00\"",
                 "\"\\udfff\"",
                 "\"\\ud83d\\ud83d\"",
                 "\"\\ud83dx\"",
                 "\"\\ud83d\\n\"",
                 "\"\\ude00\\ud83d\"",
                 "\"\\ud83d\\ude0\"",
                 "\"\\ud83d\\u0041\"",
                 "\"\\ud83d\"",
                 "\"\\ud83d\\\""},
                false);
}

TEST(Json, RefusesWhatIsNotUtf8) {
    expect_json({"\"\xff\"", "\"\xc3\"", "\"\xed\xa0\x80\"", "\"\xc0\xaf\"", "\"\xf4\x90\x80\x80\"",
                 "[\xff]", "\xc3\xa9"},
                false);
}

TEST(Json, RefusesArrays) {
    expect_json(
        {"[",      "]",     "[1",        "[1,",     "[1,]",           "[,1]",      "[,]",
         "[1,,2]", "[1 2]", "[1}",       "[1:2]",   "[\"a\" \"b\"]",  "[\"a\":1]", "[[]",
         "[][",    "[;]",   "[1;2]",     "[\"a]",   "[\"a\",\n1\n,1", "[\x1a]",    "[1\x0c,2]",
         "[1\x0c", "2]",    "[\\\"a\"]", "\\\"a\"", "[1]\\"},
        false);
}

TEST(Json, RefusesObjects) {
    expect_json({"{",
                 "}",
                 "{\"a\"}",
                 "{\"a\":}",
                 "{\"a\":1,}",
                 "{,\"a\":1}",
                 "{\"a\":1 \"b\":2}",
                 "{\"a\" 1}",
                 "{a:1}",
                 "{1:1}",
                 "{null:1}",
                 "{'a':1}",
                 "{\"a\":1]",
                 "{\"a\",1}",
                 "{\"a\"::1}",
                 "{\"a\":1:2}",
                 "{\"a\":1,,\"b\":2}",
                 "{\"a\":1",
                 "{\"a\":",
                 "{\"a\"",
                 "{[]:1}",
                 "{\"a\":1}}",
                 "{{}}",
                 "{\"a\":1/**/}",
                 "{\"a\":1}//",
                 "{:1}",
                 "{\"a\"\x1a",
                 "1}",
                 "{\"a\":\"\\q\"}",
                 "{\"a\":1,}}",
                 "{\"a\":tru}",
                 "{\"\\ud800\":1}"},
                false);
}

TEST(Json, RefusesKeysTwice) {
    expect_json({R"({"a":1,"a":1})", R"({"a":1,"b":2,"a":3})", R"({"":1,"":2})",
                 R"({"a":1,"\u0061":2})", R"({"\u00e9":1,"é":2})", R"([[{"x":{"a":1,"a":1}}]])",
                 R"({"x":[{"b":0}],"x":0})", R"({"\/":1,"/":1})", R"({"\ud83d\ude00":1,"😀":1})"},
                false);
}

TEST(Json, EveryRefusalSaysWhy) {
    JsonReader reader(seed);
    for (const std::string_view text : {"", " ", "[1,]", "{\"a\":1,\"a\":2}", "\"\\q\"", "\"\x01\"",
                                        "\"\xff\"", "\"", "nul", "01", "[1}"}) {
        EXPECT_FALSE(is_json(reader, text));
        EXPECT_STRNE(reader.reason(), "") << text;
    }
    EXPECT_TRUE(is_json(reader, "{}"));
    EXPECT_STREQ(reader.reason(), "");
}

TEST(Json, DepthOnBothSides) {
    EXPECT_TRUE(is_json(nested(64, "[", "]")));
    EXPECT_FALSE(is_json(nested(65, "[", "]")));
    const auto objects = [](size_t depth) {
        std::string text = nested(depth - 1, "{\"a\":", "");
        return text + "{}" + std::string(depth - 1, '}');
    };
    EXPECT_TRUE(is_json(objects(64)));
    EXPECT_FALSE(is_json(objects(65)));
    EXPECT_FALSE(is_json(nested(100'000, "[", "]")));
    EXPECT_FALSE(is_json(nested(100'000, "[", "")));
    // Depth is nesting, not the number of containers.
    std::string wide = "[";
    for (uint32_t index = 0; index < 1000; ++index) wide += "[{}],";
    EXPECT_TRUE(is_json(wide + "0]"));
}

// Below and above the number of keys from which they are hashed.
TEST(Json, DuplicateKeysInObjectsOfEverySize) {
    JsonReader reader(seed);
    for (uint32_t count = 1; count <= 60; ++count) {
        std::string members;
        for (uint32_t index = 0; index < count; ++index) {
            members +=
                (index == 0 ? "\"key" : ",\"key") + std::to_string(index) + "\":{\"key0\":0}";
        }
        EXPECT_TRUE(is_json(reader, "{" + members + "}")) << count;
        for (uint32_t index = 0; index < count; ++index) {
            EXPECT_FALSE(
                is_json(reader, "{" + members + ",\"key" + std::to_string(index) + "\":1}"))
                << count << " " << index;
            // k is k: the comparison is of what the key says.
            EXPECT_FALSE(
                is_json(reader, "{" + members + ",\"\\u006bey" + std::to_string(index) + "\":1}"))
                << count << " " << index;
        }
        EXPECT_TRUE(is_json(reader, "{" + members + ",\"kez\":1}")) << count;
    }
}

TEST(Json, TensOfThousandsOfKeys) {
    JsonReader reader(seed);
    std::string text = "{";
    for (uint32_t index = 0; index < 50'000; ++index)
        text += "\"" + std::to_string(index) + "\":0,";
    EXPECT_TRUE(is_json(reader, text + "\"last\":0}"));
    EXPECT_FALSE(is_json(reader, text + "\"49999\":0}"));
    EXPECT_FALSE(is_json(reader, text + "\"0\":0}"));
}

TEST(Json, ValuesAreHandedOutVerbatim) {
    JsonReader reader(seed);
    const Padded padded(
        R"(  {"n": -1.50e+10 , "s" : "a\n" ,"o":{ "x" : [ 1 ] } , "b":true,"z":null }  )");
    ASSERT_TRUE(reader.begin(padded.view()));
    ASSERT_EQ(reader.peek(), '{');
    ASSERT_TRUE(reader.enter());
    struct Member {
        std::string_view key;
        JsonType type;
        std::string_view raw;
    };
    const Member expected[] = {
        {"n", JsonType::number, "-1.50e+10"},
        {"s", JsonType::string, R"("a\n")"},
        {"o", JsonType::object, R"({ "x" : [ 1 ] })"},
        {"b", JsonType::boolean, "true"},
        {"z", JsonType::null, "null"},
    };
    for (const Member& member : expected) {
        bool has_member = false;
        std::string_view key;
        JsonValue value;
        ASSERT_TRUE(reader.next_member(has_member));
        ASSERT_TRUE(has_member);
        ASSERT_TRUE(reader.read_key(key));
        ASSERT_TRUE(reader.read_value(value));
        EXPECT_EQ(key, member.key);
        EXPECT_EQ(value.type, member.type);
        EXPECT_EQ(value.raw, member.raw);
        if (value.type == JsonType::string) {
            EXPECT_EQ(reader.unescape(value), "a\n");
        }
    }
    bool has_member = true;
    ASSERT_TRUE(reader.next_member(has_member));
    EXPECT_FALSE(has_member);
    EXPECT_TRUE(reader.is_at_end());
}

// Walks over the next key of an object that was entered.
std::string_view next_key(JsonReader& reader) {
    bool has_member = false;
    std::string_view key;
    EXPECT_TRUE(reader.next_member(has_member) && has_member && reader.read_key(key));
    return key;
}

// A second walk may end anywhere: neither its depth nor its keys are left behind.
TEST(Json, AValueIsWalkedAgainAndLeftInTheMiddle) {
    JsonReader reader(seed);
    const Padded padded(R"({"a":{"b":1,"c":{"d":2}},"b":3,"c":4})");
    ASSERT_TRUE(reader.begin(padded.view()) && reader.enter());
    EXPECT_EQ(next_key(reader), "a");
    JsonValue value;
    ASSERT_TRUE(reader.read_value(value));
    const JsonReader::Place place = reader.place();
    reader.go_to(value.first_token);
    ASSERT_TRUE(reader.enter());
    EXPECT_EQ(next_key(reader), "b");
    ASSERT_TRUE(reader.read_value(value));
    EXPECT_EQ(next_key(reader), "c");
    ASSERT_TRUE(reader.enter());
    EXPECT_EQ(next_key(reader), "d");
    reader.go_back(place);
    EXPECT_EQ(next_key(reader), "b");
    ASSERT_TRUE(reader.read_value(value));
    EXPECT_EQ(value.raw, "3");
    EXPECT_EQ(next_key(reader), "c");
    ASSERT_TRUE(reader.read_value(value));
    bool has_member = true;
    ASSERT_TRUE(reader.next_member(has_member));
    EXPECT_FALSE(has_member);
    EXPECT_TRUE(reader.is_at_end());
}

TEST(Json, UnescapesEveryEscape) {
    JsonReader reader(seed);
    const Padded padded(
        R"("-\"\\\/\b\f\n\r\t\u0041\u00e9\u20ac\ud83d\ude00\u0000\uffff\udbff\udfff-")");
    JsonValue value;
    ASSERT_TRUE(reader.begin(padded.view()));
    ASSERT_TRUE(reader.read_value(value));
    EXPECT_EQ(reader.unescape(value), "-\"\\/\b\f\n\r\tAé€😀\0\xef\xbf\xbf\xf4\x8f\xbf\xbf-"s);
}

// Backslashes at every place of strings of every length around the words that are searched at once.
TEST(Json, ABackslashIsFoundAnywhere) {
    JsonReader reader(seed);
    for (size_t size = 2; size <= 200; ++size) {
        for (size_t at = 0; at + 1 < size; ++at) {
            std::string content(size, 'x');
            content[at] = '\\';
            content[at + 1] = 'q';
            ASSERT_FALSE(is_json(reader, "\"" + content + "\"")) << size << " " << at;
            content[at + 1] = 'n';
            ASSERT_TRUE(is_json(reader, "\"" + content + "\"")) << size << " " << at;
        }
    }
}

TEST(Json, NoPrefixOfAContainerIsJson) {
    JsonReader reader(seed);
    const std::string text = R"({"a":[1,-2.5e3,"x\u00e9\"",{"b":null}],"c":{"d":true,"e":false}})";
    ASSERT_TRUE(is_json(reader, text));
    for (size_t size = 0; size < text.size(); ++size) {
        EXPECT_FALSE(is_json(reader, std::string_view(text).substr(0, size))) << size;
    }
}

// A second opinion on small texts: a plain recursive descent, character by character.
class Descent {
  public:
    explicit Descent(std::string_view text) : text_(text) {}

    bool is_json() {
        skip_space();
        if (!value()) return false;
        skip_space();
        return at_ == text_.size();
    }

  private:
    char now() const { return at_ < text_.size() ? text_[at_] : '\0'; }
    bool take(char wanted) {
        if (now() != wanted) return false;
        ++at_;
        return true;
    }
    void skip_space() {
        while (at_ < text_.size() && (now() == ' ' || now() == '\n')) ++at_;
    }
    bool word(std::string_view wanted) {
        if (text_.substr(at_, wanted.size()) != wanted) return false;
        at_ += wanted.size();
        return true;
    }
    bool digits() {
        const size_t begin = at_;
        while (now() >= '0' && now() <= '9') ++at_;
        return at_ > begin;
    }
    bool number() {
        take('-');
        if (!take('0') && !digits()) return false;
        if (take('.') && !digits()) return false;
        if (!take('e')) return true;
        if (!take('-')) take('+');
        return digits();
    }
    bool string() {
        if (!take('"')) return false;
        while (at_ < text_.size() && now() != '"') {
            if (now() < ' ') return false;
            // (\u is left out: no text that is drawn here has four hexadecimal digits after it)
            constexpr std::string_view escapes = "\"\\/bfnrt";
            if (take('\\') && escapes.find(now()) == std::string_view::npos) return false;
            ++at_;
        }
        return take('"');
    }
    bool members(char close, bool has_keys) {
        ++at_;
        skip_space();
        if (take(close)) return true;
        std::vector<std::string_view> keys;
        while (true) {
            skip_space();
            const size_t begin = at_;
            if (has_keys) {
                if (!string()) return false;
                const std::string_view key = text_.substr(begin, at_ - begin);
                for (const std::string_view other : keys) {
                    if (other == key) return false;
                }
                keys.push_back(key);
                skip_space();
                if (!take(':')) return false;
                skip_space();
            }
            if (!value()) return false;
            skip_space();
            if (take(close)) return true;
            if (!take(',')) return false;
        }
    }
    bool value() {
        if (now() == '[') return members(']', false);
        if (now() == '{') return members('}', true);
        if (now() == '"') return string();
        if (now() == 't') return word("true");
        if (now() == 'n') return word("null");
        return number();
    }

    std::string_view text_;
    size_t at_ = 0;
};

TEST(Json, AgreesWithAPlainDescentOnRandomTexts) {
    JsonReader reader(seed);
    base::Prng prng(8);
    const std::string_view parts[] = {"{",    "}",     "[",      "]",      ",",       ":",
                                      "\"",   "\"a\"", "\"b\":", "\"a\":", "1",       "0",
                                      "-",    ".",     "e",      "+",      " ",       "\n",
                                      "true", "null",  "\\",     "n",      "\"\\n\"", "2.5e-1",
                                      "[]",   "{}",    "x",      "\x01",   "\"",      ","};
    uint32_t accepted_count = 0;
    for (uint32_t round = 0; round < 400'000; ++round) {
        std::string text;
        for (uint64_t count = prng.between(1, 9); count > 0; --count)
            text.append(parts[prng.below(std::size(parts))]);
        const bool expected = Descent(text).is_json();
        ASSERT_EQ(is_json(reader, text), expected) << text;
        if (expected) ++accepted_count;
    }
    EXPECT_GT(accepted_count, 1'000u);
}

// Valid texts with one character changed, which reaches deeper than random ones.
TEST(Json, AgreesWithAPlainDescentOnDamagedTexts) {
    JsonReader reader(seed);
    base::Prng prng(9);
    const std::string whole =
        R"({"op":"publish","topic":"a","data":{"x":[1,-2.5e+3,0],"y":"\n\\","z":null},"e":true})";
    const std::string_view characters = "{}[],:\"\\n019-+.e tx\x01";
    ASSERT_TRUE(Descent(whole).is_json());
    uint32_t accepted_count = 0;
    for (uint32_t round = 0; round < 100'000; ++round) {
        std::string text = whole;
        for (uint64_t count = prng.between(1, 2); count > 0; --count) {
            const size_t at = prng.below(text.size());
            const char character = characters[prng.below(characters.size())];
            switch (prng.below(3)) {
                case 0: text[at] = character; break;
                case 1: text.insert(at, 1, character); break;
                default: text.erase(at, 1); break;
            }
        }
        const bool expected = Descent(text).is_json();
        ASSERT_EQ(is_json(reader, text), expected) << text;
        if (expected) ++accepted_count;
    }
    EXPECT_GT(accepted_count, 5'000u);
}

}  // namespace
}  // namespace codec
