// A table of texts, good and bad, that our parser and a second one must judge alike, and as it is
// written here.

#include <gtest/gtest.h>

#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "codec/command.h"
#include "io/base/prng.h"
#include "tests/codec/reference_json.h"
#include "tests/codec/wire.h"

namespace codec {
namespace {

using namespace std::string_literals;

constexpr uint64_t seed = 5;

// Why a text stands in the table.
enum class By : uint8_t {
    grammar,   // RFC 8259 says so
    our_rule,  // RFC 8259 leaves it to us: depth, duplicates, surrogates, BOM, range of numbers
};

struct Case {
    bool is_json;
    By by;
    std::string text;
};

std::ostream& operator<<(std::ostream& out, const Case& tested) {
    out << (tested.by == By::our_rule ? "our rule" : "grammar")
        << (tested.is_json ? " y: " : " n: ");
    return out << ::testing::PrintToString(tested.text.substr(0, 200));
}

std::string repeat(std::string_view part, size_t count) {
    std::string text;
    for (size_t index = 0; index < count; ++index) text.append(part);
    return text;
}

std::vector<Case> make_cases(bool is_json, By by, const std::vector<std::string>& texts) {
    std::vector<Case> cases;
    for (const std::string& text : texts) cases.push_back({is_json, by, text});
    return cases;
}

std::vector<Case> good_scalars() {
    return make_cases(true, By::grammar,
                      {"null",
                       "true",
                       "false",
                       "0",
                       "-0",
                       "-1",
                       "7",
                       "10",
                       "1.5",
                       "-0.0",
                       "0.10",
                       "1e1",
                       "1E1",
                       "1e+2",
                       "1E-2",
                       "0e0",
                       "0E+00",
                       "-1.25E-10",
                       "100000000000000000000",
                       "1e0010"});
}

std::vector<Case> good_strings() {
    return make_cases(true, By::grammar,
                      {R"("")",
                       R"("a")",
                       R"("\"\\\/\b\f\n\r\t")",
                       R"("\u0061\u00E9\u20ac")",
                       R"("\ud83d\ude00")",
                       R"("\uD83D\uDE00")",
                       R"("\udbff\udfff")",
                       R"("\u0000")",
                       R"("\\u0061")",
                       R"("\\\\")",
                       "\"\x7f\"",
                       "\"\xc2\x80\"",
                       "\"\xdf\xbf\"",
                       "\"\xe0\xa0\x80\"",
                       "\"\xed\x9f\xbf\"",
                       "\"\xee\x80\x80\"",
                       "\"\xef\xbb\xbf\"",
                       "\"\xef\xbf\xbf\"",
                       "\"\xf0\x90\x80\x80\"",
                       "\"\xf4\x8f\xbf\xbf\"",
                       R"("\ufffe\uffff")",
                       R"("/")",
                       R"("//")",
                       R"("a/*b*/c")",
                       R"("'")",
                       R"("{[,:]}")"});
}

std::vector<Case> good_containers() {
    return make_cases(true, By::grammar,
                      {"[]",
                       "[ ]",
                       "{}",
                       "{ }",
                       "[1]",
                       "[null]",
                       "[1,2]",
                       "[[]]",
                       "[[],[]]",
                       "[{}]",
                       "[{},{}]",
                       R"({"":0})",
                       R"({"a":1})",
                       R"({"a":[]})",
                       R"({"a":{}})",
                       R"({"a":1,"b":2})",
                       R"({"a":null,"b":[true,false]})",
                       " []",
                       "[] ",
                       "\t[]\n",
                       "\r\n[]\r\n",
                       " [ 1 ,\t2\n,\r3 ] ",
                       R"( { "a" : 1 } )",
                       R"({"a":{"a":{"a":1}}})",
                       R"([{"a":1},{"a":1}])",
                       R"(["a","a"])",
                       R"({"a":"a","b":"a"})",
                       R"({"a":1,"A":2})",
                       R"({"a":1,"aa":2,"aaa":3})",
                       R"({"\u0061":1,"b":2})",
                       "\"" + std::string(5'000, 'x') + "\"",
                       "[" + repeat("0,", 999) + "0]",
                       repeat(" ", 300) + "1" + repeat("\n", 300)});
}

std::vector<Case> bad_containers() {
    return make_cases(false, By::grammar,
                      {"",
                       " ",
                       "\n",
                       "[",
                       "]",
                       "{",
                       "}",
                       "[[]",
                       "[]]",
                       "{}}",
                       "[}",
                       "{]",
                       "[1",
                       "[1,",
                       "[1,]",
                       "[,1]",
                       "[,]",
                       "[1,,2]",
                       "[1 2]",
                       "[1:2]",
                       "{\"a\"",
                       R"({"a":)",
                       R"({"a":1)",
                       R"({"a":1,})",
                       R"({,"a":1})",
                       R"({"a" 1})",
                       R"({"a":1 "b":2})",
                       R"({"a"::1})",
                       R"({"a":1,,"b":2})",
                       R"({"a","b"})",
                       R"({:1})",
                       "{1:1}",
                       "{null:1}",
                       "{a:1}",
                       "{'a':1}",
                       "{[]:1}"});
}

std::vector<Case> bad_surroundings() {
    return make_cases(false, By::grammar,
                      {"[] []",  "{}{}",   "1 2",         "1,2",   "[],",        ",",
                       ":",      "[]x",    "x[]",         "[]\0"s, "\0[]"s,      "\0"s,
                       "[\0]"s,  "[\x0c]", "[\x0b]",      "\x0c",  "[\xc2\xa0]", "[]\xe2\x80\xa8",
                       "[1]//",  "//\n[]", "[/**/1]",     "/**/",  "#\n[]",      "[\x1a]",
                       "[\x7f]", "<[]>",   "[undefined]", "`[]`",  "[1;2]",      "[...]",
                       "[*]",    "[1]&",   "\\",          "[\\]",  "[\\n]",      R"({"a":1}\n)"});
}

std::vector<Case> bad_scalars() {
    return make_cases(
        false, By::grammar,
        {"01",        "-01",       "00",    "+1",           "-",         "--1",         "1.",
         ".5",        "-.5",       "1.e1",  "1e",           "1E",        "1e+",         "1e-",
         "1e1.5",     "1e1e1",     "0x10",  "0b1",          "1_000",     "1f",          "1.5.5",
         "1-1",       "1+1",       "- 1",   "1 .5",         "1. 5",      "1e 5",        "Infinity",
         "-Infinity", "NaN",       "-NaN",  "inf",          "0e",        "0.e1",        "-0.",
         "-e1",       "0a",        "1\0"s,  "\xef\xbc\x91", "1\xc2\xb2", "True",        "TRUE",
         "tru",       "truee",     "true1", "nul",          "nulll",     "NULL",        "Null",
         "fals",      "falsey",    "nan",   "yes",          "n",         "t",           "f",
         "none",      "truefalse", "[tru]", "[nul,1]",      "[+1]",      "[01]",        "[-]",
         "[1.]",      "[1e]",      "[.1]",  "[0.1.2]",      "[1e1e]",    "[true false]"});
}

std::vector<Case> bad_strings() {
    return make_cases(
        false, By::grammar,
        {"\"", "\"a", "a\"", "'a'", "\"\"\"", R"("\")", R"("\\\")", R"("\a")", R"("\x41")",
         R"("\'")", R"("\0")", R"("\U0061")", R"("\u")", R"("\u0")", R"("\u00")", R"("\u006")",
         R"("\u006g")", R"("\u-061")", R"("\u 061")", R"("\u+061")", R"("\u00x1")", R"("\ )",
         R"("\ ")", "\"\\\n\"", "\"\n\"", "\"\t\"", "\"\r\"", "\"\x01\"", "\"\x1f\"", "\"\0\""s,
         "\"\x08\"", "\"a\nb\"", "[\"a\nb\"]", "{\"a\n\":1}", "\"a\"\"b\"", "\"a\" \"b\"",
         // Ill-formed UTF-8 (Unicode, table 3-7), on both sides of each limit.
         "\"\x80\"", "\"\xbf\"", "\"\xc0\x80\"", "\"\xc1\xbf\"", "\"\xc2\"", "\"\xc2\x41\"",
         "\"\xe0\x9f\xbf\"", "\"\xe0\x80\x80\"", "\"\xe2\x82\"", "\"\xed\xa0\x80\"",
         "\"\xed\xbf\xbf\"", "\"\xf0\x8f\xbf\xbf\"", "\"\xf0\x90\x80\"", "\"\xf4\x90\x80\x80\"",
         "\"\xf5\x80\x80\x80\"", "\"\xf8\x88\x80\x80\x80\"", "\"\xfe\"", "\"\xff\"",
         "\"\xed\xa0\xbd\xed\xb8\x80\"", "{\"\xff\":1}", "[\xe9]", "\xff\xfe[\0]\0"s,
         "[\"\xe9\"]"});
}

std::vector<Case> our_rules() {
    std::vector<Case> cases = make_cases(
        true, By::our_rule,
        {"1e400", "-1e400", "1e-400", "1.5E+9999", "[1e400,-2e999,3]", R"({"a":1e99999})",
         std::string(400, '9'), "-" + std::string(400, '9'), std::string(400, '9') + ".5e3",
         repeat("[", 64) + repeat("]", 64), repeat(R"({"a":)", 63) + "{}" + repeat("}", 63),
         repeat("[", 63) + "{}" + repeat("]", 63), "[" + repeat("[],", 100) + "[]]",
         "123456789012345678901234567890", "-18446744073709551616", "18446744073709551616"});
    const std::vector<Case> refused = make_cases(false, By::our_rule,
                                                 {repeat("[", 65) + repeat("]", 65),
                                                  repeat(R"({"a":)", 64) + "{}" + repeat("}", 64),
                                                  repeat("[", 64) + "{}" + repeat("]", 64),
                                                  repeat("[", 10'000),
                                                  repeat(R"({"a":[)", 5'000),
                                                  R"({"a":1,"a":1})",
                                                  R"({"a":1,"a":2})",
                                                  R"({"a":1,"b":2,"a":3})",
                                                  R"({"a":1,"\u0061":2})",
                                                  R"({"\u0061":1,"\u0061":2})",
                                                  R"({"/":1,"\/":2})",
                                                  R"({"":1,"":2})",
                                                  R"({"x":{"a":1,"a":2}})",
                                                  R"([1,{"a":{},"a":[]}])",
                                                  R"({"\ud83d\ude00":1,"😀":2})",
                                                  R"("\ud800")",
                                                  R"("\udbff")",
                                                  R"("\udc00")",
                                                  R"("\udfff")",
                                                  R"("\ud83d")",
                                                  R"("\ude00")",
                                                  R"("\ude00\ud83d")",
                                                  R"("\ud83d\ud83d")",
                                                  R"("\ud83dx")",
                                                  R"("\ud83d\n")",
                                                  R"("\ud83d\u0061")",
                                                  R"("\ud83d \ude00")",
                                                  R"({"\ud83d":1})",
                                                  R"(["\udc00"])",
                                                  "\xef\xbb\xbf[]",
                                                  "\xef\xbb\xbf",
                                                  "\xef\xbb\xbf 1",
                                                  " \xef\xbb\xbf[]",
                                                  "[1e400",
                                                  "[1e400,]",
                                                  "1e400e",
                                                  "-1e400x"});
    cases.insert(cases.end(), refused.begin(), refused.end());
    return cases;
}

// More keys than are compared one by one, with and without a duplicate in every place.
std::vector<Case> many_keys() {
    std::vector<Case> cases;
    for (const size_t keys_count : {16u, 17u, 40u}) {
        for (size_t doubled = 0; doubled < keys_count; ++doubled) {
            std::string text = "{";
            for (size_t key = 0; key < keys_count; ++key) {
                text += "\"key" + std::to_string(key) + "\":1,";
            }
            cases.push_back({true, By::our_rule, text + "\"last\":1}"});
            text += "\"key" + std::to_string(doubled) + "\":1}";
            cases.push_back({false, By::our_rule, text});
        }
    }
    return cases;
}

class JsonReference : public ::testing::Test {
  protected:
    void expect(const Case& tested) {
        const testing::Padded padded(tested.text);
        EXPECT_EQ(parser_.validate_json(padded.view()), tested.is_json) << "ours, " << tested;
        EXPECT_EQ(testing::is_reference_json(padded.view()), tested.is_json)
            << "the second one, " << tested;
        const CommandParser::Result result = parser_.parse(padded.view());
        EXPECT_EQ(result.error != ErrorCode::invalid_json, tested.is_json) << "parse(), " << tested;
    }
    void expect_all(const std::vector<Case>& cases) {
        for (const Case& tested : cases) expect(tested);
    }
    // What both say, which must be the same.
    bool judge(std::string_view text) {
        const testing::Padded padded(text);
        const bool is_json = parser_.validate_json(padded.view());
        EXPECT_EQ(is_json, testing::is_reference_json(padded.view()))
            << ::testing::PrintToString(text);
        return is_json;
    }

    CommandParser parser_{seed};
};

TEST_F(JsonReference, GoodScalars) {
    expect_all(good_scalars());
}
TEST_F(JsonReference, GoodStrings) {
    expect_all(good_strings());
}
TEST_F(JsonReference, GoodContainers) {
    expect_all(good_containers());
}
TEST_F(JsonReference, BadContainers) {
    expect_all(bad_containers());
}
TEST_F(JsonReference, BadSurroundings) {
    expect_all(bad_surroundings());
}
TEST_F(JsonReference, BadScalars) {
    expect_all(bad_scalars());
}
TEST_F(JsonReference, BadStrings) {
    expect_all(bad_strings());
}
TEST_F(JsonReference, OurRules) {
    expect_all(our_rules());
}
TEST_F(JsonReference, ManyKeys) {
    expect_all(many_keys());
}

// What is right by itself is right as a member, and what is wrong is wrong there too, but for the
// depth.
TEST_F(JsonReference, EveryCaseAsAMember) {
    for (const std::vector<Case>& cases :
         {good_scalars(), good_strings(), good_containers(), bad_scalars(), bad_strings()}) {
        for (const Case& tested : cases) {
            expect({tested.is_json, tested.by, "[" + tested.text + "]"});
            expect({tested.is_json, tested.by, R"({"member":)" + tested.text + "}"});
        }
    }
}

// Every prefix of a good text, and every text with one byte changed, is judged alike.
TEST_F(JsonReference, MutationsAreJudgedAlike) {
    base::Prng prng(seed);
    size_t accepted_count = 0;
    size_t refused_count = 0;
    constexpr std::string_view bytes =
        "{}[]:,\"\\/ \n\t0123456789-+.eEtrufalsnbu\x01\x7f\x80\xc2\xff";
    for (const std::vector<Case>& cases :
         {good_scalars(), good_strings(), good_containers(), our_rules()}) {
        for (const Case& tested : cases) {
            if (tested.text.size() > 200) continue;
            for (size_t count = 0; count < tested.text.size(); ++count) {
                ++(judge(tested.text.substr(0, count)) ? accepted_count : refused_count);
                for (uint32_t change = 0; change < 4; ++change) {
                    std::string changed = tested.text;
                    changed[count] = bytes[prng.below(static_cast<uint32_t>(bytes.size()))];
                    ++(judge(changed) ? accepted_count : refused_count);
                }
            }
        }
    }
    EXPECT_GT(accepted_count, 500u);
    EXPECT_GT(refused_count, 2'000u);
}

}  // namespace
}  // namespace codec
