#include "codec/json.h"

#define XXH_INLINE_ALL
#include <simdjson.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "io/base/check.h"
#include "io/base/units.h"

namespace codec {
namespace {

static_assert(base::readable_padding_bytes >= simdjson::SIMDJSON_PADDING);

// Up to so many keys of one object are compared with each other; beyond it they are hashed.
constexpr uint32_t compared_keys_max = 16;
constexpr size_t capacity_bytes_min = 4096;

bool is_white_space(char byte) {
    return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

bool is_digit(char byte) {
    return byte >= '0' && byte <= '9';
}

// Whether a backslash is among the bytes. Short strings are the rule, so no call for them; the last
// word overlaps the one before it.
bool has_backslash(std::string_view bytes) {
    constexpr uint64_t ones = 0x0101'0101'0101'0101;
    constexpr uint64_t high_bits = ones << 7;
    const auto word_has_backslash = [](const char* at) {
        uint64_t word = 0;
        std::memcpy(&word, at, sizeof word);
        word ^= ones * '\\';
        return ((word - ones) & ~word & high_bits) != 0;
    };
    if (bytes.size() > 64) return std::memchr(bytes.data(), '\\', bytes.size()) != nullptr;
    if (bytes.size() < 8) return bytes.find('\\') != std::string_view::npos;
    for (size_t index = 0; index + 8 <= bytes.size(); index += 8) {
        if (word_has_backslash(bytes.data() + index)) return true;
    }
    return word_has_backslash(bytes.data() + bytes.size() - 8);
}

// RFC 8259 §6: minus, an integer without leading zeros, a fraction, an exponent.
bool is_number(std::string_view text) {
    size_t at = text.starts_with('-') ? 1 : 0;
    const auto skip_digits = [&] {
        const size_t begin = at;
        while (at < text.size() && is_digit(text[at])) ++at;
        return at - begin;
    };
    const bool begins_with_zero = at < text.size() && text[at] == '0';
    const size_t integer_digits = skip_digits();
    if (integer_digits == 0 || (begins_with_zero && integer_digits > 1)) return false;
    if (at < text.size() && text[at] == '.') {
        ++at;
        if (skip_digits() == 0) return false;
    }
    if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
        ++at;
        if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
        if (skip_digits() == 0) return false;
    }
    return at == text.size();
}

// The value of the four hexadecimal digits at the beginning of `text`; above UINT16_MAX when they
// are none.
uint32_t code_unit(std::string_view text) {
    constexpr uint32_t invalid = UINT32_MAX;
    if (text.size() < 4) return invalid;
    uint32_t value = 0;
    for (const char digit : text.substr(0, 4)) {
        const char letter = static_cast<char>(digit | 0x20);
        if (is_digit(digit)) {
            value = value << 4 | static_cast<uint32_t>(digit - '0');
        } else if (letter >= 'a' && letter <= 'f') {
            value = value << 4 | static_cast<uint32_t>(letter - 'a' + 10);
        } else {
            return invalid;
        }
    }
    return value;
}

bool is_high_surrogate(uint32_t unit) {
    return unit >= 0xd800 && unit <= 0xdbff;
}
bool is_low_surrogate(uint32_t unit) {
    return unit >= 0xdc00 && unit <= 0xdfff;
}

// What a character after a backslash stands for; NUL for 'u' and for what is no escape.
char simple_escape(char byte) {
    switch (byte) {
        case '"': return '"';
        case '\\': return '\\';
        case '/': return '/';
        case 'b': return '\b';
        case 'f': return '\f';
        case 'n': return '\n';
        case 'r': return '\r';
        case 't': return '\t';
        default: return '\0';
    }
}

char* write_utf8(uint32_t code_point, char* out) {
    const auto put = [&](uint32_t byte) { *out++ = static_cast<char>(byte); };
    if (code_point < 0x80) {
        put(code_point);
    } else if (code_point < 0x800) {
        put(0xc0 | code_point >> 6);
        put(0x80 | (code_point & 0x3f));
    } else if (code_point < 0x1'0000) {
        put(0xe0 | code_point >> 12);
        put(0x80 | (code_point >> 6 & 0x3f));
        put(0x80 | (code_point & 0x3f));
    } else {
        put(0xf0 | code_point >> 18);
        put(0x80 | (code_point >> 12 & 0x3f));
        put(0x80 | (code_point >> 6 & 0x3f));
        put(0x80 | (code_point & 0x3f));
    }
    return out;
}

std::unique_ptr<simdjson::internal::dom_parser_implementation> make_stage1() {
    std::unique_ptr<simdjson::internal::dom_parser_implementation> stage1;
    // The depth is for simdjson's second stage, which is not used.
    const simdjson::error_code error =
        simdjson::get_active_implementation()->create_dom_parser_implementation(capacity_bytes_min,
                                                                                1, stage1);
    CHECK(error == simdjson::SUCCESS);
    return stage1;
}

const char* describe_stage1(simdjson::error_code error) {
    if (error == simdjson::EMPTY) return "there is no JSON value";
    if (error == simdjson::UNCLOSED_STRING) return "a string does not end";
    if (error == simdjson::UNESCAPED_CHARS) return "a string has a control character";
    if (error == simdjson::UTF8_ERROR) return "the text is not UTF-8";
    return "this is not JSON";
}

}  // namespace

JsonReader::JsonReader(uint64_t seed) : seed_(seed), stage1_(make_stage1()) {}
JsonReader::~JsonReader() = default;

bool JsonReader::begin(std::string_view text) {
    text_ = text;
    token_ = 0;
    tokens_count_ = 0;
    depth_ = 0;
    scratch_bytes_ = 0;
    keys_.clear();
    reason_ = "";
    if (text.empty()) return fail("there is no JSON value");
    if (text.size() > capacity_bytes_ && !grow(text.size())) return false;
    const simdjson::error_code error = stage1_->stage1(
        reinterpret_cast<const uint8_t*>(text.data()), text.size(), simdjson::stage1_mode::regular);
    if (error != simdjson::SUCCESS) return fail(describe_stage1(error));
    tokens_ = stage1_->structural_indexes.get();
    tokens_count_ = stage1_->n_structural_indexes;
    return true;
}

bool JsonReader::grow(size_t text_bytes) {
    const size_t capacity = std::max(capacity_bytes_min, std::bit_ceil(text_bytes));
    if (capacity > stage1_->capacity() && stage1_->set_capacity(capacity) != simdjson::SUCCESS) {
        return fail("the text is too long");
    }
    // Unescaping shortens, and so does decoding base64: two passes over a string need twice its
    // length at most.
    scratch_ = std::make_unique_for_overwrite<char[]>(2 * capacity);
    capacity_bytes_ = capacity;
    return true;
}

bool JsonReader::fail(const char* reason) {
    reason_ = reason;
    return false;
}

// The token's text. A token that is not punctuation reaches, but for white space, to the next one.
std::string_view JsonReader::token_text() const {
    const size_t begin = tokens_[token_];
    size_t end = token_ + 1 < tokens_count_ ? tokens_[token_ + 1] : text_.size();
    while (is_white_space(text_[end - 1])) --end;
    return text_.substr(begin, end - begin);
}

bool JsonReader::read_value(JsonValue& value) {
    const char byte = peek();
    value.first_token = token_;
    if (byte == '{' || byte == '[') return read_container(value);
    return read_scalar(value);
}

bool JsonReader::read_scalar(JsonValue& value) {
    const char byte = peek();
    if (byte == '"') return read_string(value);
    if (byte == '\0') return fail("a value is missing");
    value.has_escapes = false;
    value.raw = token_text();
    if (byte == '-' || is_digit(byte)) {
        value.type = JsonType::number;
        if (!is_number(value.raw)) return fail("a number breaks the grammar");
    } else if (value.raw == "true" || value.raw == "false") {
        value.type = JsonType::boolean;
    } else if (value.raw == "null") {
        value.type = JsonType::null;
    } else {
        return fail("a value is missing or is no JSON value");
    }
    ++token_;
    return true;
}

bool JsonReader::read_string(JsonValue& value) {
    value.type = JsonType::string;
    value.raw = token_text();
    // Stage 1 has found the end of every string, and makes a token of whatever else follows it.
    if (value.raw.size() < 2 || value.raw.back() != '"') return fail("a string does not end");
    const std::string_view content = value.raw.substr(1, value.raw.size() - 2);
    value.has_escapes = has_backslash(content);
    if (value.has_escapes && !check_escapes(content)) return false;
    ++token_;
    return true;
}

bool JsonReader::check_escapes(std::string_view content) {
    size_t at = content.find('\\');
    while (at != std::string_view::npos) {
        const char byte = at + 1 < content.size() ? content[at + 1] : '\0';
        if (byte != 'u') {
            if (simple_escape(byte) == '\0') return fail("a string has an unknown escape");
            at = content.find('\\', at + 2);
            continue;
        }
        const uint32_t unit = code_unit(content.substr(at + 2));
        if (unit > UINT16_MAX) return fail("\\u wants four hexadecimal digits");
        if (is_low_surrogate(unit)) return fail("a string has a lone surrogate");
        at += 6;
        if (is_high_surrogate(unit)) {
            const bool has_second = content.substr(at).starts_with("\\u");
            if (!has_second || !is_low_surrogate(code_unit(content.substr(at + 2)))) {
                return fail("a string has a lone surrogate");
            }
            at += 6;
        }
        at = content.find('\\', at);
    }
    return true;
}

bool JsonReader::open(char byte) {
    if (depth_ == json_depth_max) return fail("the nesting is deeper than 64");
    levels_[depth_++] = {.is_object = byte == '{',
                         .is_fresh = true,
                         .keys_begin = static_cast<uint32_t>(keys_.size())};
    ++token_;
    return true;
}

bool JsonReader::close() {
    const Level& level = levels_[--depth_];
    ++token_;
    if (!level.is_object) return true;
    const size_t keys_count = keys_.size() - level.keys_begin;
    if (keys_count > compared_keys_max && has_duplicates_hashed(level.keys_begin)) {
        return fail("an object has a key twice");
    }
    keys_.resize(level.keys_begin);
    return true;
}

bool JsonReader::enter() {
    const char byte = peek();
    CHECK(byte == '{' || byte == '[');
    return open(byte);
}

bool JsonReader::read_key(std::string_view& key) {
    if (peek() != '"') return fail("a key is missing or is no string");
    JsonValue value;
    if (!read_string(value)) return false;
    if (peek() != ':') return fail("a colon is missing after a key");
    ++token_;
    key = unescape(value);
    return add_key(key);
}

bool JsonReader::read_container(JsonValue& value) {
    const size_t begin = tokens_[token_];
    const uint32_t outer_depth = depth_;
    value.type = peek() == '{' ? JsonType::object : JsonType::array;
    value.has_escapes = false;
    if (!open(peek())) return false;
    while (depth_ > outer_depth) {
        bool has_member = false;
        if (!next_member(has_member)) return false;
        if (!has_member) continue;
        std::string_view key;
        if (levels_[depth_ - 1].is_object && !read_key(key)) return false;
        const char byte = peek();
        JsonValue member;
        if (byte == '{' || byte == '[' ? !open(byte) : !read_scalar(member)) return false;
    }
    value.raw = text_.substr(begin, tokens_[token_ - 1] + 1 - begin);
    return true;
}

void JsonReader::go_to(uint32_t first_token) {
    CHECK(first_token < tokens_count_);
    token_ = first_token;
}

void JsonReader::go_back(const Place& place) {
    token_ = place.token;
    depth_ = place.depth;
    keys_.resize(place.keys_count);
}

bool JsonReader::add_key(std::string_view key) {
    const uint32_t keys_begin = levels_[depth_ - 1].keys_begin;
    const size_t keys_count = keys_.size() - keys_begin;
    if (keys_count < compared_keys_max) {
        for (size_t index = keys_begin; index < keys_.size(); ++index) {
            if (keys_[index] == key) return fail("an object has a key twice");
        }
    }
    keys_.push_back(key);
    return true;
}

// All keys of the innermost object at once, when it ends: every key is hashed once.
bool JsonReader::has_duplicates_hashed(uint32_t keys_begin) {
    const size_t keys_count = keys_.size() - keys_begin;
    const size_t table_size = std::bit_ceil(keys_count * 2);
    hash_table_.assign(table_size, 0);
    for (size_t index = keys_begin; index < keys_.size(); ++index) {
        const std::string_view key = keys_[index];
        size_t place = XXH3_64bits_withSeed(key.data(), key.size(), seed_) & (table_size - 1);
        while (hash_table_[place] != 0) {
            if (keys_[hash_table_[place] - 1] == key) return true;
            place = (place + 1) & (table_size - 1);
        }
        hash_table_[place] = static_cast<uint32_t>(index + 1);
    }
    return false;
}

std::string_view JsonReader::unescape(const JsonValue& string) {
    CHECK(string.type == JsonType::string);
    const std::string_view content = string.raw.substr(1, string.raw.size() - 2);
    return string.has_escapes ? write_unescaped(content) : content;
}

char* JsonReader::take_scratch(size_t bytes_count) {
    CHECK(bytes_count <= 2 * capacity_bytes_ - scratch_bytes_);
    char* const taken = scratch_.get() + scratch_bytes_;
    scratch_bytes_ += bytes_count;
    return taken;
}

// The escapes were checked when the string was read.
std::string_view JsonReader::write_unescaped(std::string_view content) {
    char* const begin = take_scratch(content.size());
    char* out = begin;
    size_t at = 0;
    while (at < content.size()) {
        const size_t backslash = std::min(content.find('\\', at), content.size());
        std::memcpy(out, content.data() + at, backslash - at);
        out += backslash - at;
        if (backslash == content.size()) break;
        const char byte = content[backslash + 1];
        at = backslash + 2;
        if (byte != 'u') {
            *out++ = simple_escape(byte);
            continue;
        }
        uint32_t code_point = code_unit(content.substr(at));
        at += 4;
        if (is_high_surrogate(code_point)) {
            const uint32_t low = code_unit(content.substr(at + 2));
            code_point = 0x1'0000 + ((code_point - 0xd800) << 10) + (low - 0xdc00);
            at += 6;
        }
        out = write_utf8(code_point, out);
    }
    return {begin, static_cast<size_t>(out - begin)};
}

}  // namespace codec
