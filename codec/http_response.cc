#include <charconv>

#include "codec/http.h"

namespace codec {
namespace {

void append_number(std::string& out, uint64_t number) {
    char digits[20];
    const std::to_chars_result end = std::to_chars(digits, digits + sizeof digits, number);
    out.append(digits, end.ptr);
}

}  // namespace

void append_http_response(std::string& out, const HttpResponse& response) {
    const bool is_informational = response.status < 200;
    // RFC 9110 §8.6: no Content-Length in 1xx and 204; a 304 would have to carry that of a 200.
    const bool has_content = !is_informational && response.status != 204 && response.status != 304;
    out.append("HTTP/1.1 ");
    append_number(out, response.status);
    out.push_back(' ');
    out.append(http_reason_phrase(response.status));
    out.append("\r\n");
    if (has_content) {
        if (!response.body.empty()) {
            out.append("Content-Type: ");
            out.append(response.content_type);
            out.append("\r\n");
        }
        out.append("Content-Length: ");
        append_number(out, response.body.size());
        out.append("\r\n");
    }
    if (!is_informational) {
        out.append(response.keep_alive ? "Connection: keep-alive\r\n" : "Connection: close\r\n");
    }
    out.append(response.extra_fields);
    out.append("\r\n");
    if (has_content && !response.head_only) out.append(response.body);
}

const char* http_reason_phrase(uint16_t status) {
    switch (status) {
        case 100: return "Continue";
        case 101: return "Switching Protocols";
        case 200: return "OK";
        case 201: return "Created";
        case 202: return "Accepted";
        case 204: return "No Content";
        case 301: return "Moved Permanently";
        case 302: return "Found";
        case 303: return "See Other";
        case 304: return "Not Modified";
        case 307: return "Temporary Redirect";
        case 308: return "Permanent Redirect";
        case 400: return "Bad Request";
        case 401: return "Unauthorized";
        case 403: return "Forbidden";
        case 404: return "Not Found";
        case 405: return "Method Not Allowed";
        case 406: return "Not Acceptable";
        case 408: return "Request Timeout";
        case 409: return "Conflict";
        case 411: return "Length Required";
        case 413: return "Content Too Large";
        case 414: return "URI Too Long";
        case 415: return "Unsupported Media Type";
        case 417: return "Expectation Failed";
        case 422: return "Unprocessable Content";
        case 426: return "Upgrade Required";
        case 429: return "Too Many Requests";
        case 431: return "Request Header Fields Too Large";
        case 500: return "Internal Server Error";
        case 501: return "Not Implemented";
        case 503: return "Service Unavailable";
        case 504: return "Gateway Timeout";
        case 505: return "HTTP Version Not Supported";
        default: return "Unknown";
    }
}

}  // namespace codec
