#include "tests/sim/payloads.h"

#include <charconv>

namespace sim {

namespace {

constexpr std::string_view base64_alphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

// What tends to break encoders: quotes, escapes, controls, and characters of two, three and four
// bytes.
constexpr std::string_view text_pieces[] = {"x",
                                            "lorem ",
                                            "\"",
                                            "\\",
                                            "\n",
                                            "\t",
                                            "\x01",
                                            "/",
                                            "\xc3\xbc",
                                            "{}",
                                            "\xe2\x82\xac",
                                            ",",
                                            "\x7f",
                                            "</a>",
                                            "\xf0\x9f\x8e\xba",
                                            "'"};

std::string filler(base::Prng& prng, uint32_t bytes_wanted) {
    std::string text;
    while (text.size() < bytes_wanted) {
        if (prng.below(4) == 0) {
            text += text_pieces[prng.below(std::size(text_pieces))];
        } else {
            text.append(prng.between(1, 32), static_cast<char>(prng.between('a', 'z')));
        }
    }
    return text;
}

// Where the JSON value that begins at `at` ends; npos when it does not end.
size_t value_end(std::string_view text, size_t at) {
    uint32_t depth = 0;
    bool is_in_string = false;
    for (; at < text.size(); ++at) {
        const char c = text[at];
        if (is_in_string) {
            if (c == '\\') ++at;
            if (c == '"') is_in_string = false;
            if (c == '"' && depth == 0) return at + 1;
        } else if (c == '"') {
            is_in_string = true;
        } else if (c == '{' || c == '[') {
            ++depth;
        } else if (c == '}' || c == ']') {
            if (depth == 0) return at;
            if (--depth == 0) return at + 1;
        } else if (c == ',' && depth == 0) {
            return at;
        }
    }
    return std::string_view::npos;
}

void append_utf8(std::string& text, uint32_t code_point) {
    const auto push = [&text](uint32_t byte) { text.push_back(static_cast<char>(byte)); };
    if (code_point < 0x80) {
        push(code_point);
    } else if (code_point < 0x800) {
        push(0xc0 | (code_point >> 6));
        push(0x80 | (code_point & 0x3f));
    } else if (code_point < 0x10000) {
        push(0xe0 | (code_point >> 12));
        push(0x80 | ((code_point >> 6) & 0x3f));
        push(0x80 | (code_point & 0x3f));
    } else {
        push(0xf0 | (code_point >> 18));
        push(0x80 | ((code_point >> 12) & 0x3f));
        push(0x80 | ((code_point >> 6) & 0x3f));
        push(0x80 | (code_point & 0x3f));
    }
}

bool read_hex(std::string_view text, size_t at, uint32_t& value) {
    if (at + 4 > text.size()) return false;
    const char* const end = text.data() + at + 4;
    return std::from_chars(text.data() + at, end, value, 16).ptr == end;
}

}  // namespace

MadePayload make_payload(base::Prng& prng, uint32_t message, uint32_t bytes_wanted) {
    MadePayload made;
    const std::string name = std::to_string(message);
    switch (prng.below(3)) {
        case 0: {
            made.kind = codec::PayloadKind::json;
            constexpr std::string_view spaces[] = {"", " ", "\n", "\t "};
            const std::string_view space = spaces[prng.below(4)];
            made.bytes = "{\"m\":" + name + "," + std::string(space) +
                         "\"fill\":" + quote(filler(prng, bytes_wanted)) + std::string(space) +
                         ",\"n\":[1.50,null,-0e+7]}";
            made.member = "\"data\":" + made.bytes;
            return made;
        }
        case 1:
            made.kind = codec::PayloadKind::text;
            made.bytes = name + "|" + filler(prng, bytes_wanted);
            made.member = "\"text\":" + quote(made.bytes);
            return made;
        default:
            made.kind = codec::PayloadKind::binary;
            made.bytes = name + "|";
            for (uint32_t at = 0; at < bytes_wanted; ++at) {
                made.bytes.push_back(static_cast<char>(prng.below(256)));
            }
            made.member = "\"base64\":\"" + encode_base64(made.bytes) + "\"";
            return made;
    }
}

uint32_t message_of(codec::PayloadKind kind, std::string_view bytes) {
    constexpr std::string_view json_begin = "{\"m\":";
    if (kind == codec::PayloadKind::json) {
        if (!bytes.starts_with(json_begin)) return UINT32_MAX;
        bytes.remove_prefix(json_begin.size());
    }
    uint32_t message = UINT32_MAX;
    const auto parsed = std::from_chars(bytes.data(), bytes.data() + bytes.size(), message);
    return parsed.ec == std::errc() ? message : UINT32_MAX;
}

bool read_members(std::string_view text, std::vector<JsonMember>& members) {
    members.clear();
    if (text.size() < 2 || text.front() != '{' || text.back() != '}') return false;
    size_t at = 1;
    while (text[at] == '"') {
        const size_t key_end = text.find('"', at + 1);
        if (key_end == std::string_view::npos || key_end + 1 >= text.size()) return false;
        if (text[key_end + 1] != ':') return false;
        const size_t begin = key_end + 2;
        const size_t end = value_end(text, begin);
        if (end == std::string_view::npos || end >= text.size() || end == begin) return false;
        members.push_back({text.substr(at + 1, key_end - at - 1), text.substr(begin, end - begin)});
        if (text[end] == '}') return end == text.size() - 1;
        if (text[end] != ',') return false;
        at = end + 1;
        if (at >= text.size()) return false;
    }
    return false;
}

bool read_elements(std::string_view text, std::vector<std::string_view>& elements) {
    elements.clear();
    if (text.size() < 2 || text.front() != '[' || text.back() != ']') return false;
    if (text.size() == 2) return true;
    size_t at = 1;
    while (true) {
        const size_t end = value_end(text, at);
        if (end == std::string_view::npos || end >= text.size() || end == at) return false;
        elements.push_back(text.substr(at, end - at));
        if (text[end] == ']') return end == text.size() - 1;
        if (text[end] != ',') return false;
        at = end + 1;
        if (at >= text.size()) return false;
    }
}

std::string_view value_of(const std::vector<JsonMember>& members, std::string_view key) {
    for (const JsonMember& member : members) {
        if (member.key == key) return member.value;
    }
    return {};
}

bool read_string(std::string_view quoted, std::string& text) {
    text.clear();
    if (quoted.size() < 2 || quoted.front() != '"' || quoted.back() != '"') return false;
    const std::string_view inner = quoted.substr(1, quoted.size() - 2);
    constexpr std::string_view short_names = "\"\\/bfnrt";
    constexpr std::string_view short_values = "\"\\/\b\f\n\r\t";
    for (size_t at = 0; at < inner.size(); ++at) {
        const char c = inner[at];
        if (c == '"' || static_cast<unsigned char>(c) < 0x20) return false;
        if (c != '\\') {
            text.push_back(c);
            continue;
        }
        if (++at >= inner.size()) return false;
        const size_t known = short_names.find(inner[at]);
        if (known != std::string_view::npos) {
            text.push_back(short_values[known]);
            continue;
        }
        uint32_t unit = 0;
        if (inner[at] != 'u' || !read_hex(inner, at + 1, unit)) return false;
        at += 4;
        uint32_t low = 0;
        if (unit >= 0xd800 && unit < 0xdc00) {
            if (at + 2 >= inner.size() || !read_hex(inner, at + 3, low)) return false;
            unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
            at += 6;
        }
        append_utf8(text, unit);
    }
    return true;
}

std::string quote(std::string_view text) {
    std::string quoted = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') quoted.push_back('\\');
        if (static_cast<unsigned char>(c) < 0x20) {
            constexpr std::string_view digits = "0123456789abcdef";
            quoted += "\\u00";
            quoted.push_back(digits[static_cast<unsigned char>(c) >> 4]);
            quoted.push_back(digits[static_cast<unsigned char>(c) & 15]);
        } else {
            quoted.push_back(c);
        }
    }
    quoted.push_back('"');
    return quoted;
}

std::string encode_base64(std::string_view bytes) {
    std::string text;
    for (size_t at = 0; at < bytes.size(); at += 3) {
        const size_t have = std::min<size_t>(3, bytes.size() - at);
        uint32_t group = 0;
        for (size_t index = 0; index < 3; ++index) {
            const uint32_t byte =
                index < have ? static_cast<unsigned char>(bytes[at + index]) : uint32_t{0};
            group = (group << 8) | byte;
        }
        for (size_t index = 0; index < 4; ++index) {
            text.push_back(index <= have ? base64_alphabet[(group >> (18 - 6 * index)) & 63] : '=');
        }
    }
    return text;
}

bool decode_base64(std::string_view text, std::string& bytes) {
    bytes.clear();
    if (text.size() % 4 != 0) return false;
    uint32_t bits = 0;
    uint32_t bits_count = 0;
    while (text.ends_with('=')) text.remove_suffix(1);
    for (const char c : text) {
        const size_t value = base64_alphabet.find(c);
        if (value == std::string_view::npos) return false;
        bits = (bits << 6) | static_cast<uint32_t>(value);
        bits_count += 6;
        if (bits_count < 8) continue;
        bits_count -= 8;
        bytes.push_back(static_cast<char>((bits >> bits_count) & 0xff));
    }
    return true;
}

bool filter_matches(std::string_view filter, std::string_view topic) {
    const bool begins_with_wildcard = filter.starts_with('+') || filter.starts_with('#');
    if (topic.starts_with('$') && begins_with_wildcard) return false;
    while (true) {
        if (filter == "#") return true;
        const size_t filter_slash = filter.find('/');
        const size_t topic_slash = topic.find('/');
        const std::string_view filter_level = filter.substr(0, filter_slash);
        if (filter_level != "+" && filter_level != topic.substr(0, topic_slash)) return false;
        if (topic_slash == std::string_view::npos) {
            // "a/#" matches its parent "a" too.
            return filter_slash == std::string_view::npos || filter.substr(filter_slash) == "/#";
        }
        if (filter_slash == std::string_view::npos) return false;
        filter.remove_prefix(filter_slash + 1);
        topic.remove_prefix(topic_slash + 1);
    }
}

}  // namespace sim
