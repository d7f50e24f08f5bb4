#include "tests/codec/reference_http.h"

#include <http_parser.h>

#include <algorithm>
#include <array>
#include <optional>

#include "codec/upgrade.h"
#include "tests/codec/wire.h"

namespace codec::testing {
namespace {

using Kind = HttpParse::Kind;

// What ours refuses although http-parser may accept it, by the reason that ours gives. A refusal
// with any other reason must be one of http-parser too.
constexpr std::array<std::string_view, 24> stricter_reasons = {
    // It repairs what it may: empty lines in front (RFC 9112 §2.2), a bare LF, folded values
    // (§5.2), CR and other control characters inside a value or in place of the last LF, space
    // before a colon (§5.1).
    "this is not an HTTP request", "lines must end in CR LF",
    "a field must not be folded over lines", "a field value has a control character",
    "a field line is not a name, a colon and a value",
    // It takes several spaces in the request line (so that the version can be its target),
    // HTTP/0.9,
    // any major version.
    "the request line has no target", "the request line has no HTTP version",
    "the request line does not end in an HTTP version", "this server speaks HTTP/1.1",
    // It is a proxy's parser too: other schemes, the authority-form, and forms that need a
    // resolver's opinion.
    "this server is no proxy", "the request target is no path",
    "the request target has an unknown scheme", "the request target names no host",
    "the request target has a query but no path",
    "the request target has a character that must be percent-encoded",
    // It leaves Host, Expect and the codings to its user, and counts up to 2^64.
    "there is no Host", "there is more than one Host", "Host is not a name or address",
    "the only expectation known is 100-continue",
    "send Content-Length: Transfer-Encoding is not supported",
    "Content-Length is not a number of bytes",
    // Limits.
    "the request target is too long", "the request head is too long", "there are too many fields"};

constexpr std::array known_methods = {
#define FANFARE_METHOD(number, name, text) std::string_view(#text),
    HTTP_METHOD_MAP(FANFARE_METHOD)
#undef FANFARE_METHOD
};

std::string_view trim(std::string_view text) {
    const size_t begin = std::min(text.find_first_not_of(" \t"), text.size());
    return text.substr(begin, text.find_last_not_of(" \t") + 1 - begin);
}

// http-parser's callbacks, which get every text in pieces.
struct Reader {
    ReferenceRequest request;
    bool is_in_value = true;
    bool is_head_complete = false;
    bool is_message_complete = false;

    static Reader& of(const http_parser* parser) { return *static_cast<Reader*>(parser->data); }

    static int on_url(http_parser* parser, const char* at, size_t count) {
        of(parser).request.target.append(at, count);
        return 0;
    }
    static int on_header_field(http_parser* parser, const char* at, size_t count) {
        Reader& reader = of(parser);
        if (reader.is_in_value) reader.request.fields.emplace_back();
        reader.is_in_value = false;
        reader.request.fields.back().first.append(at, count);
        return 0;
    }
    static int on_header_value(http_parser* parser, const char* at, size_t count) {
        Reader& reader = of(parser);
        reader.is_in_value = true;
        reader.request.fields.back().second.append(at, count);
        return 0;
    }
    static int on_headers_complete(http_parser* parser) {
        Reader& reader = of(parser);
        ReferenceRequest& request = reader.request;
        request.method = http_method_str(static_cast<http_method>(parser->method));
        request.major_version = parser->http_major;
        request.minor_version = parser->http_minor;
        request.keep_alive = http_should_keep_alive(parser) != 0;
        request.is_chunked = (parser->flags & F_CHUNKED) != 0;
        if ((parser->flags & F_CONTENTLENGTH) != 0) request.content_bytes = parser->content_length;
        reader.is_head_complete = true;
        return 0;
    }
    static int on_message_complete(http_parser* parser) {
        of(parser).is_message_complete = true;
        return 0;
    }
};

std::string quote(std::string_view text) {
    return "'" + std::string(text) + "'";
}

// Whether http-parser reads Connection in its own way, which is not that of RFC 9112 §9.3: it takes
// Proxy-Connection for it, in HTTP/1.0 keep-alive wins over close, and it misses a word before a
// tab and what follows an empty element or one that is the beginning of a word it knows ("clos,
// keep-alive").
bool reads_connection_otherwise(const HttpRequest& request, const ReferenceRequest& theirs) {
    if (request.field_count("Proxy-Connection") > 0) return true;
    if (request.minor_version == 0 && request.has_token("Connection", "close")) {
        return !request.keep_alive;
    }
    for (const auto& [name, value] : theirs.fields) {
        if (!equals_ignoring_case(name, "Connection")) continue;
        if (value.find('\t') != std::string::npos) return true;
        std::string_view rest = value;
        while (!rest.empty()) {
            const size_t comma = std::min(rest.find(','), rest.size());
            const std::string_view element = trim(rest.substr(0, comma));
            for (const std::string_view word : {"close", "keep-alive", "upgrade"}) {
                if (element.size() < word.size() &&
                    equals_ignoring_case(element, word.substr(0, element.size()))) {
                    return true;
                }
            }
            rest.remove_prefix(std::min(comma + 1, rest.size()));
        }
    }
    return false;
}

// Where the texts of one request differ; `method_text` is the method that http-parser was given.
std::string compare_heads(const HttpRequest& ours, std::string_view method_text,
                          const ReferenceRequest& theirs) {
    if (theirs.method != method_text) return "method " + quote(theirs.method);
    if (theirs.major_version != 1 || theirs.minor_version != ours.minor_version) return "version";
    if (theirs.is_chunked) return "chunked content";
    if (theirs.content_bytes != ours.content_bytes) {
        return "content of " + std::to_string(theirs.content_bytes) + " bytes";
    }
    if (theirs.fields.size() != ours.fields_count) {
        return std::to_string(theirs.fields.size()) + " fields";
    }
    for (uint32_t index = 0; index < ours.fields_count; ++index) {
        const auto& [name, value] = theirs.fields[index];
        if (ours.fields[index].name != name) return "field name " + quote(name);
        if (ours.fields[index].value != trim(value)) return "field value " + quote(value);
    }
    if (theirs.keep_alive != ours.keep_alive && !reads_connection_otherwise(ours, theirs)) {
        return "keep-alive";
    }
    return "";
}

// A host that RFC 3986 §3.2.2 allows and http-parser does not know how to read: with a character of
// sub-delims or '~', or with a colon and no port.
bool is_host_of_ours_only(std::string_view host) {
    return host.ends_with(':') || host.find_first_of("~!$&'()*+,;=") != std::string_view::npos;
}

// The parts of the target, by http-parser's other parser, the one for URLs.
std::string compare_targets(const HttpRequest& ours, std::string target) {
    const bool is_absolute = !target.starts_with('/') && target != "*";
    const bool has_their_host = !is_host_of_ours_only(ours.host);
    if (is_absolute && !has_their_host) {
        // Not simply where the host's text is first: a host may be called as the scheme is.
        constexpr std::string_view separator = "://";
        target.replace(target.find(separator) + separator.size(), ours.host.size(), "h");
    }
    http_parser_url url;
    http_parser_url_init(&url);
    if (http_parser_parse_url(target.data(), target.size(), 0, &url) != 0) return "not a URL";
    const auto part = [&](unsigned field) {
        const bool is_there = (url.field_set & 1u << field) != 0;
        const auto& place = url.field_data[field];
        return is_there ? std::string_view(target).substr(place.off, place.len)
                        : std::string_view();
    };
    const std::string_view path = part(UF_PATH);
    if (ours.path != (path.empty() ? "/" : path)) return "path " + quote(path);
    if (ours.query != part(UF_QUERY)) return "query " + quote(part(UF_QUERY));
    if (is_absolute == part(UF_HOST).empty()) return "host " + quote(part(UF_HOST));
    if (!is_absolute || !has_their_host) return "";
    std::string host(part(UF_HOST));
    // It leaves out the brackets of an address.
    if (target[url.field_data[UF_HOST].off - 1u] == '[') host = "[" + host + "]";
    if (!part(UF_PORT).empty()) host += ":" + std::string(part(UF_PORT));
    if (ours.host != host) return "host " + quote(host);
    return "";
}

// Two refusals of http-parser that are mistakes of its own: it allows no tab after the number of
// Content-Length (RFC 9110 §5.6.3), and takes the first field whose name only begins with
// Transfer-Encoding for that one.
bool is_their_mistake(const HttpRequest& ours, std::string_view head, std::string_view reason) {
    if (reason == http_errno_description(HPE_INVALID_CONTENT_LENGTH)) {
        const std::optional<std::string_view> length = ours.field("Content-Length");
        if (!length) return false;
        const size_t length_end =
            static_cast<size_t>(length->data() - head.data()) + length->size();
        const std::string_view after = head.substr(length_end);
        return after.substr(0, after.find('\r')).find('\t') != std::string_view::npos;
    }
    if (reason != http_errno_description(HPE_INVALID_TRANSFER_ENCODING) &&
        reason != http_errno_description(HPE_UNEXPECTED_CONTENT_LENGTH)) {
        return false;
    }
    constexpr std::string_view name = "Transfer-Encoding";
    return std::any_of(ours.fields.begin(), ours.fields.begin() + ours.fields_count,
                       [&](const HttpField& field) {
                           return field.name.size() > name.size() &&
                                  equals_ignoring_case(field.name.substr(0, name.size()), name);
                       });
}

// `head` was accepted by ours.
std::string compare_accepted(const HttpRequest& ours, std::string_view head) {
    const bool is_known =
        std::find(known_methods.begin(), known_methods.end(), ours.method) != known_methods.end();
    const std::string method(is_known ? ours.method : "GET");
    std::string message = method;
    message += head.substr(ours.method.size());
    const size_t head_bytes = message.size();
    // With as much of a body as was told, and the beginning of a request that is not part of it.
    constexpr uint64_t body_bytes_max = 4'096;
    const bool has_body = ours.content_bytes <= body_bytes_max;
    if (has_body) message.append(ours.content_bytes, 'x').append("GET /next");
    const ReferenceHttp theirs = reference_http(message);
    if (theirs.kind == Kind::refused) {
        return is_their_mistake(ours, head, theirs.reason)
                   ? ""
                   : std::string("refused: ") + theirs.reason;
    }
    if (theirs.kind == Kind::need_more) return "the head has not ended";
    if (theirs.request.head_bytes != head_bytes) return "the head ended earlier";
    std::string in_head = compare_heads(ours, method, theirs.request);
    if (!in_head.empty()) return in_head;
    if (has_body && theirs.message_bytes != head_bytes + ours.content_bytes) {
        return "the body ended elsewhere";
    }
    return compare_targets(ours, theirs.request.target);
}

// "HOST:PORT" of a URL that has nothing else than that and its scheme, lower case, with the port
// that is implied where there is none; nothing for other texts.
std::optional<std::string> place_of(const std::string& url, unsigned implied_port) {
    http_parser_url parts;
    http_parser_url_init(&parts);
    if (http_parser_parse_url(url.data(), url.size(), 0, &parts) != 0) return std::nullopt;
    const unsigned has_port = parts.field_set & 1u << UF_PORT;
    if ((parts.field_set & ~has_port) != (1u << UF_SCHEMA | 1u << UF_HOST)) return std::nullopt;
    std::string place = url.substr(parts.field_data[UF_HOST].off, parts.field_data[UF_HOST].len);
    for (char& character : place) {
        if (character >= 'A' && character <= 'Z') character += 'a' - 'A';
    }
    return place + ":" + std::to_string(has_port != 0 ? parts.port : implied_port);
}

// Ours, with the check of the host that follows every head before anything is done with it.
HttpParse parse_and_check_host(Padded& bytes, const HttpLimits& limits, HttpRequest& request) {
    HttpHeadParser parser;
    const HttpParse parse = parser.parse(bytes.span(), limits, request);
    if (parse.kind != Kind::request || request.host.empty() || is_host(request.host)) return parse;
    return {.kind = Kind::refused, .status = 400, .reason = "Host is not a name or address"};
}

}  // namespace

ReferenceHttp reference_http(std::string_view bytes) {
    http_parser_settings settings;
    http_parser_settings_init(&settings);
    settings.on_url = Reader::on_url;
    settings.on_header_field = Reader::on_header_field;
    settings.on_header_value = Reader::on_header_value;
    settings.on_headers_complete = Reader::on_headers_complete;
    settings.on_message_complete = Reader::on_message_complete;
    Reader reader;
    http_parser parser;
    http_parser_init(&parser, HTTP_REQUEST);
    parser.data = &reader;
    ReferenceHttp result;
    // Byte by byte, to know where the callbacks come.
    for (size_t index = 0; index < bytes.size() && !reader.is_message_complete; ++index) {
        http_parser_execute(&parser, &settings, &bytes[index], 1);
        if (reader.is_head_complete && reader.request.head_bytes == 0) {
            reader.request.head_bytes = index + 1;
        }
        if (reader.is_message_complete) result.message_bytes = index + 1;
        const http_errno error = HTTP_PARSER_ERRNO(&parser);
        if (error != HPE_OK) {
            result.kind = Kind::refused;
            result.reason = http_errno_description(error);
            return result;
        }
    }
    if (reader.is_head_complete) result.kind = Kind::request;
    result.request = std::move(reader.request);
    return result;
}

std::string find_http_disagreement(std::string_view bytes, const HttpLimits& limits) {
    HttpRequest request;
    testing::Padded padded(bytes);
    HttpParse ours = parse_and_check_host(padded, limits, request);
    if (ours.kind == Kind::request) {
        const std::string found =
            compare_accepted(request, padded.view().substr(0, ours.head_bytes));
        return found.empty() ? "" : "ours accepts; http-parser: " + found;
    }
    if (reference_http(bytes).kind != Kind::request) return "";
    if (ours.kind == Kind::need_more) {
        // It takes any byte for the LF of the empty line. Ours reads on, and must find, at the
        // latest when the line ends, that this was none.
        testing::Padded longer(std::string(bytes) + "\r\n\r\n");
        ours = parse_and_check_host(longer, limits, request);
        if (ours.kind != Kind::refused) return "ours waits; http-parser: the head has ended";
    }
    const bool is_stricter = std::find(stricter_reasons.begin(), stricter_reasons.end(),
                                       ours.reason) != stricter_reasons.end();
    if (is_stricter) return "";
    return std::string("http-parser accepts; ours refuses, not for being stricter: ") + ours.reason;
}

std::string find_origin_disagreement(const HttpRequest& request) {
    const std::string origin(request.field("Origin").value_or(""));
    constexpr std::string_view separator = "://";
    const size_t scheme_end = origin.find(separator);
    if (scheme_end == std::string::npos) return "let in without a scheme: " + quote(origin);
    const std::string host = origin.substr(scheme_end + separator.size());
    // What http-parser cannot read must be the very same.
    if (is_host_of_ours_only(host) || is_host_of_ours_only(request.host)) return "";
    const std::string_view scheme = std::string_view(origin).substr(0, scheme_end);
    const bool is_secure =
        equals_ignoring_case(scheme, "https") || equals_ignoring_case(scheme, "wss");
    const unsigned implied_port = is_secure ? 443 : 80;
    const std::optional<std::string> theirs = place_of("http://" + host, implied_port);
    const std::optional<std::string> asked =
        place_of(std::string("http://").append(request.host), implied_port);
    if (!theirs || !asked)
        return "let in, but no URL: " + quote(origin) + " at " + quote(request.host);
    return *theirs == *asked ? "" : "let in from " + *theirs + " to " + *asked;
}

}  // namespace codec::testing
