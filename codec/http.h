// HTTP/1.1 as a server reads and writes it (RFC 9110, RFC 9112): strict, without allocation, one
// request head at a time. Enough for the upgrade, for publishing over POST and for the admin
// surface.
//
// Pure; any thread. Views point into the caller's bytes and die with them.
//
// What is refused rather than repaired (each opens a door for request smuggling): bare LF,
// obs-fold, space before a colon, control characters, empty lines before the request line, a
// missing or repeated Host in HTTP/1.1, repeated or malformed Content-Length, Content-Length
// together with Transfer-Encoding. Transfer-Encoding itself answers 501.
//
// Invariants:
//  1. The same bytes give the same answer, however they arrived: what refuses a head refuses every
//     longer one.
//  2. Looking at a head that grows byte by byte costs time linear in its length, but for the first
//     line's start.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace codec {

struct HttpField {
    std::string_view name;   // as sent; compare with equals_ignoring_case
    std::string_view value;  // without the white space around it
};

inline constexpr uint32_t http_fields_max = 64;
// Longer than any method that is registered; beyond it 501, as RFC 9112 §3 wants for unknown long
// ones.
inline constexpr uint32_t http_method_bytes_max = 32;

struct HttpRequest {
    std::string_view method;
    // Origin-form ("/path?query") as sent; absolute-form is accepted and cut to it.
    std::string_view target;
    std::string_view path;   // still percent-encoded
    std::string_view query;  // without the '?'
    // Of a target in absolute-form, else of Host. Empty when Host was, or was left out in HTTP/1.0.
    std::string_view host;
    uint8_t minor_version = 1;
    bool keep_alive = true;
    bool expects_continue = false;
    uint64_t content_bytes = 0;  // Content-Length; the body follows the head
    uint32_t fields_count = 0;
    std::array<HttpField, http_fields_max> fields;

    // The value of the first field of that name, if any.
    std::optional<std::string_view> field(std::string_view name) const;
    // How often the field occurs.
    uint32_t field_count(std::string_view name) const;
    // Whether a comma-separated list field (all its occurrences) has the token, ignoring case.
    bool has_token(std::string_view name, std::string_view token) const;
};

struct HttpLimits {
    uint32_t head_bytes_max;    // request line and fields; beyond it 431, within the target 414
    uint32_t target_bytes_max;  // beyond it 414
};

struct HttpParse {
    enum class Kind : uint8_t { need_more, request, refused };
    Kind kind;
    uint32_t head_bytes = 0;  // request: the head's length; the body begins there
    uint16_t status = 0;      // refused: 400, 414, 417, 431, 501 or 505
    const char* reason = "";  // refused: one sentence for the body
};

// Finds and parses one request head. Keeps only how far it has looked for the end of the head.
class HttpHeadParser {
  public:
    // `bytes` begins at the head and holds all that arrived so far; nothing is consumed. A refusal
    // comes as early as the bytes allow (a request line that cannot be one, too long a head).
    [[nodiscard]] HttpParse parse(std::span<const uint8_t> bytes, const HttpLimits& limits,
                                  HttpRequest& request);
    // Forgets the progress, for the next head on the same connection.
    void reset() { *this = HttpHeadParser(); }

  private:
    uint32_t scanned_bytes_ = 0;  // no LF before here but those that end lines
    uint32_t line_begin_ = 0;     // of the line that has not ended
};

// Case-insensitive for ASCII only, as HTTP's names are.
bool equals_ignoring_case(std::string_view left, std::string_view right);
// A token of RFC 9110 §5.6.2: at least one character, none of them a delimiter.
bool is_http_token(std::string_view text);
// Takes the next element off the front of a comma-separated list, without the white space around
// it. Empty elements are skipped (RFC 9110 §5.6.1.2); nullopt at the end of the list.
std::optional<std::string_view> take_list_element(std::string_view& list);

// Decodes %XX into `out` (appended). False on a malformed escape. '+' stays '+'.
[[nodiscard]] bool percent_decode(std::string_view encoded, std::string& out);

struct HttpResponse {
    uint16_t status;
    std::string_view content_type = "text/plain; charset=utf-8";
    std::string_view extra_fields;  // whole lines, each ended by CRLF
    std::string_view body;
    bool keep_alive = true;
    bool head_only = false;  // the answer to HEAD: Content-Length as if the body were there
};

// Appends status line, Content-Type, Content-Length, Connection, extra fields and body. A status
// that has no content (1xx, 204, 304) gets neither the fields about it nor a body, and a 1xx no
// Connection either.
void append_http_response(std::string& out, const HttpResponse& response);
const char* http_reason_phrase(uint16_t status);

}  // namespace codec
