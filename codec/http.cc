#include "codec/http.h"

#include <algorithm>
#include <cstring>

#include "io/base/check.h"

namespace codec {
namespace {

constexpr const char* target_reason = "the request target is too long";
constexpr std::string_view tls_reason = "this is a plain HTTP port, and the client speaks TLS";

constexpr std::array<bool, 256> make_token_table() {
    std::array<bool, 256> table{};
    for (const char character : std::string_view(
             "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")) {
        table[static_cast<uint8_t>(character)] = true;
    }
    return table;
}

constexpr std::array<bool, 256> token_table = make_token_table();

bool is_token_character(char character) {
    return token_table[static_cast<uint8_t>(character)];
}

bool is_digit(char character) {
    return character >= '0' && character <= '9';
}

bool is_white_space(char character) {
    return character == ' ' || character == '\t';
}

char lower(char character) {
    return character >= 'A' && character <= 'Z' ? static_cast<char>(character + ('a' - 'A'))
                                                : character;
}

std::string_view trim(std::string_view text) {
    while (!text.empty() && is_white_space(text.front())) text.remove_prefix(1);
    while (!text.empty() && is_white_space(text.back())) text.remove_suffix(1);
    return text;
}

HttpParse refuse(uint16_t status, const char* reason) {
    return {.kind = HttpParse::Kind::refused, .status = status, .reason = reason};
}

HttpParse go_on() {
    return {.kind = HttpParse::Kind::need_more};
}

bool is_refused(const HttpParse& parse) {
    return parse.kind == HttpParse::Kind::refused;
}

// What can be said before the first line has ended. It looks at a bounded number of bytes, and only
// at a prefix, so that it says the same about every longer head. `seen_bytes` were there at an
// earlier call, which did not refuse them.
HttpParse check_start(std::string_view bytes, size_t seen_bytes, const HttpLimits& limits) {
    if (bytes.empty()) return go_on();
    constexpr char tls_handshake_record = 0x16;
    if (bytes[0] == tls_handshake_record) return refuse(400, tls_reason.data());
    size_t method_bytes = 0;
    while (method_bytes < bytes.size() && is_token_character(bytes[method_bytes])) {
        if (++method_bytes > http_method_bytes_max) return refuse(501, "the method is too long");
    }
    if (method_bytes == bytes.size()) return go_on();
    if (method_bytes == 0 || bytes[method_bytes] != ' ') {
        return refuse(400, "this is not an HTTP request");
    }
    const std::string_view rest = bytes.substr(method_bytes + 1);
    if (rest.size() <= limits.target_bytes_max) return go_on();
    if (seen_bytes > method_bytes + 1 + limits.target_bytes_max) return go_on();
    const std::string_view window = rest.substr(0, size_t{limits.target_bytes_max} + 1);
    if (window.find_first_of(" \n") != std::string_view::npos) return go_on();
    return refuse(414, target_reason);
}

// `head` is as long as a head may be, and has not ended. Within the target it says so, whichever of
// the limits is met first: how much arrives at once must not decide.
HttpParse refuse_head(std::string_view head, bool is_first_line) {
    const bool is_in_target = is_first_line && std::count(head.begin(), head.end(), ' ') == 1;
    return is_in_target ? refuse(414, target_reason) : refuse(431, "the request head is too long");
}

HttpParse check_version(std::string_view version, HttpRequest& request) {
    const bool is_version = version.size() == 8 && version.starts_with("HTTP/") &&
                            is_digit(version[5]) && version[6] == '.' && is_digit(version[7]);
    if (!is_version) return refuse(400, "the request line does not end in an HTTP version");
    if (version[5] != '1') return refuse(505, "this server speaks HTTP/1.1");
    request.minor_version = static_cast<uint8_t>(version[7] - '0');
    return go_on();
}

// Absolute-form (RFC 9112 §3.2.2): the authority replaces what Host says.
HttpParse cut_absolute_form(HttpRequest& request) {
    std::string_view rest = request.target;
    const size_t scheme_end = rest.find("://");
    if (scheme_end == std::string_view::npos) return refuse(400, "the request target is no path");
    const std::string_view scheme = rest.substr(0, scheme_end);
    if (!equals_ignoring_case(scheme, "http") && !equals_ignoring_case(scheme, "https")) {
        return refuse(400, "the request target has an unknown scheme");
    }
    rest.remove_prefix(scheme_end + 3);
    const size_t authority_end = std::min(rest.find_first_of("/?"), rest.size());
    request.host = rest.substr(0, authority_end);
    if (request.host.empty()) return refuse(400, "the request target names no host");
    rest.remove_prefix(authority_end);
    if (rest.empty()) rest = "/";
    if (rest.front() != '/') return refuse(400, "the request target has a query but no path");
    request.target = rest;
    return go_on();
}

HttpParse parse_target(HttpRequest& request) {
    for (const char character : request.target) {
        if (character <= ' ' || character > '~' || character == '#') {
            return refuse(400, "the request target has a character that must be percent-encoded");
        }
    }
    if (request.target.empty()) return refuse(400, "the request line has no target");
    if (request.method == "CONNECT") return refuse(501, "this server is no proxy");
    if (request.target != "*" || request.method != "OPTIONS") {
        if (request.target.front() != '/') {
            const HttpParse absolute = cut_absolute_form(request);
            if (is_refused(absolute)) return absolute;
        }
    }
    const size_t path_end = std::min(request.target.find('?'), request.target.size());
    request.path = request.target.substr(0, path_end);
    if (path_end < request.target.size()) request.query = request.target.substr(path_end + 1);
    return go_on();
}

HttpParse parse_request_line(std::string_view line, const HttpLimits& limits,
                             HttpRequest& request) {
    // check_start() has seen a method and the space after it.
    const size_t method_end = line.find(' ');
    CHECK(method_end != std::string_view::npos);
    request.method = line.substr(0, method_end);
    line.remove_prefix(method_end + 1);
    const size_t target_end = line.find(' ');
    if (target_end == std::string_view::npos) {
        return refuse(400, "the request line has no HTTP version");
    }
    request.target = line.substr(0, target_end);
    if (request.target.size() > limits.target_bytes_max) {
        return refuse(414, target_reason);
    }
    const HttpParse version = check_version(line.substr(target_end + 1), request);
    return is_refused(version) ? version : parse_target(request);
}

HttpParse parse_field_line(std::string_view line, HttpRequest& request) {
    size_t name_bytes = 0;
    while (name_bytes < line.size() && is_token_character(line[name_bytes])) ++name_bytes;
    if (name_bytes == 0 && is_white_space(line.front())) {
        return refuse(400, "a field must not be folded over lines");
    }
    if (name_bytes == 0 || name_bytes == line.size() || line[name_bytes] != ':') {
        return refuse(400, "a field line is not a name, a colon and a value");
    }
    const std::string_view value = trim(line.substr(name_bytes + 1));
    for (const char character : value) {
        const bool is_control = static_cast<uint8_t>(character) < ' ' || character == 0x7f;
        if (is_control && character != '\t') {
            return refuse(400, "a field value has a control character");
        }
    }
    if (request.fields_count == http_fields_max) return refuse(431, "there are too many fields");
    request.fields[request.fields_count++] = {.name = line.substr(0, name_bytes), .value = value};
    return go_on();
}

HttpParse read_host(HttpRequest& request) {
    const uint32_t hosts_count = request.field_count("Host");
    if (hosts_count > 1) return refuse(400, "there is more than one Host");
    if (hosts_count == 0 && request.minor_version > 0) return refuse(400, "there is no Host");
    if (request.host.empty()) request.host = request.field("Host").value_or(std::string_view());
    return go_on();
}

HttpParse read_framing(HttpRequest& request) {
    const uint32_t lengths_count = request.field_count("Content-Length");
    if (request.field_count("Transfer-Encoding") > 0) {
        if (lengths_count > 0) {
            return refuse(400, "Content-Length and Transfer-Encoding exclude each other");
        }
        return refuse(501, "send Content-Length: Transfer-Encoding is not supported");
    }
    if (lengths_count == 0) return go_on();
    if (lengths_count > 1) return refuse(400, "there is more than one Content-Length");
    const std::string_view digits = *request.field("Content-Length");
    constexpr size_t digits_max = 18;  // what surely fits 64 bits, signed ones too
    if (digits.empty() || digits.size() > digits_max ||
        !std::all_of(digits.begin(), digits.end(), is_digit)) {
        return refuse(400, "Content-Length is not a number of bytes");
    }
    for (const char digit : digits) {
        request.content_bytes = request.content_bytes * 10 + static_cast<uint64_t>(digit - '0');
    }
    return go_on();
}

HttpParse read_fields_meaning(HttpRequest& request) {
    const HttpParse host = read_host(request);
    if (is_refused(host)) return host;
    const HttpParse framing = read_framing(request);
    if (is_refused(framing)) return framing;
    request.keep_alive =
        !request.has_token("Connection", "close") &&
        (request.minor_version > 0 || request.has_token("Connection", "keep-alive"));
    // RFC 9110 §10.1.1: an expectation in HTTP/1.0 must be ignored.
    if (request.minor_version > 0 && request.field_count("Expect") > 0) {
        const bool is_known = request.field_count("Expect") == 1 &&
                              equals_ignoring_case(*request.field("Expect"), "100-continue");
        if (!is_known) return refuse(417, "the only expectation known is 100-continue");
        request.expects_continue = true;
    }
    return go_on();
}

// Parses a head that is there in full; every line of it ends in CRLF, the last one is empty.
HttpParse parse_head(std::string_view head, const HttpLimits& limits, HttpRequest& request) {
    request = HttpRequest();
    const size_t head_bytes = head.size();
    bool is_first_line = true;
    while (true) {
        const size_t line_bytes = head.find("\r\n");
        const std::string_view line = head.substr(0, line_bytes);
        if (line.empty()) break;
        const HttpParse parse = is_first_line ? parse_request_line(line, limits, request)
                                              : parse_field_line(line, request);
        if (is_refused(parse)) return parse;
        is_first_line = false;
        head.remove_prefix(line_bytes + 2);
    }
    const HttpParse meaning = read_fields_meaning(request);
    if (is_refused(meaning)) return meaning;
    return {.kind = HttpParse::Kind::request, .head_bytes = static_cast<uint32_t>(head_bytes)};
}

}  // namespace

HttpParse HttpHeadParser::parse(std::span<const uint8_t> bytes, const HttpLimits& limits,
                                HttpRequest& request) {
    std::string_view head(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (line_begin_ == 0) {
        const HttpParse start = check_start(head, scanned_bytes_, limits);
        if (is_refused(start)) return start;
    }
    const bool is_over_limit = head.size() > limits.head_bytes_max;
    head = head.substr(0, limits.head_bytes_max);
    while (scanned_bytes_ < head.size()) {
        const size_t line_feed = head.find('\n', scanned_bytes_);
        if (line_feed == std::string_view::npos) {
            scanned_bytes_ = static_cast<uint32_t>(head.size());
            break;
        }
        if (line_feed == line_begin_ || head[line_feed - 1] != '\r') {
            return refuse(400, "lines must end in CR LF");
        }
        scanned_bytes_ = static_cast<uint32_t>(line_feed + 1);
        if (line_feed == line_begin_ + 1) {
            return parse_head(head.substr(0, scanned_bytes_), limits, request);
        }
        line_begin_ = scanned_bytes_;
    }
    return is_over_limit ? refuse_head(head, line_begin_ == 0) : go_on();
}

std::optional<std::string_view> HttpRequest::field(std::string_view name) const {
    for (uint32_t index = 0; index < fields_count; ++index) {
        if (equals_ignoring_case(fields[index].name, name)) return fields[index].value;
    }
    return std::nullopt;
}

uint32_t HttpRequest::field_count(std::string_view name) const {
    uint32_t count = 0;
    for (uint32_t index = 0; index < fields_count; ++index) {
        if (equals_ignoring_case(fields[index].name, name)) ++count;
    }
    return count;
}

bool HttpRequest::has_token(std::string_view name, std::string_view token) const {
    for (uint32_t index = 0; index < fields_count; ++index) {
        if (!equals_ignoring_case(fields[index].name, name)) continue;
        std::string_view list = fields[index].value;
        while (const std::optional<std::string_view> element = take_list_element(list)) {
            if (equals_ignoring_case(*element, token)) return true;
        }
    }
    return false;
}

std::optional<std::string_view> take_list_element(std::string_view& list) {
    while (!list.empty()) {
        const size_t comma = std::min(list.find(','), list.size());
        const std::string_view element = trim(list.substr(0, comma));
        list.remove_prefix(std::min(comma + 1, list.size()));
        if (!element.empty()) return element;
    }
    return std::nullopt;
}

bool equals_ignoring_case(std::string_view left, std::string_view right) {
    if (left.size() != right.size()) return false;
    for (size_t index = 0; index < left.size(); ++index) {
        if (lower(left[index]) != lower(right[index])) return false;
    }
    return true;
}

bool is_http_token(std::string_view text) {
    return !text.empty() && std::all_of(text.begin(), text.end(), is_token_character);
}

bool percent_decode(std::string_view encoded, std::string& out) {
    const auto value_of = [](char digit) {
        if (is_digit(digit)) return digit - '0';
        const char letter = lower(digit);
        return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
    };
    for (size_t index = 0; index < encoded.size(); ++index) {
        if (encoded[index] != '%') {
            out.push_back(encoded[index]);
            continue;
        }
        if (encoded.size() - index < 3) return false;
        const int high = value_of(encoded[index + 1]);
        const int low = value_of(encoded[index + 2]);
        if (high < 0 || low < 0) return false;
        out.push_back(static_cast<char>(high * 16 + low));
        index += 2;
    }
    return true;
}

}  // namespace codec
