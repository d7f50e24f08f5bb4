#include "codec/forwarded_for.h"

#include <algorithm>

namespace codec {

namespace {

std::string_view trimmed(std::string_view text) {
    const size_t begin = text.find_first_not_of(" \t");
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

bool is_port(std::string_view text) {
    return !text.empty() && text.size() <= 5 &&
           std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// An address that may be in brackets and may have a port.
IpAddress parse_entry(std::string_view entry) {
    std::string_view host = entry;
    std::string_view port;
    if (entry.starts_with('[')) {
        const size_t end = entry.find(']');
        if (end == std::string_view::npos) return {};
        host = entry.substr(1, end - 1);
        port = entry.substr(end + 1);
        // Brackets are IPv6's.
        if (host.find(':') == std::string_view::npos) return {};
    } else if (std::count(entry.begin(), entry.end(), ':') == 1) {
        const size_t colon = entry.find(':');
        host = entry.substr(0, colon);
        port = entry.substr(colon);
    }
    if (!port.empty() && (port.front() != ':' || !is_port(port.substr(1)))) return {};
    return parse_ip_address(host).value_or(IpAddress{});
}

}  // namespace

bool ForwardedFor::next(IpAddress& address) {
    while (true) {
        while (rest_.empty()) {
            if (fields_left_ == 0) return false;
            const HttpField& field = request_.fields[--fields_left_];
            if (equals_ignoring_case(field.name, "X-Forwarded-For")) rest_ = field.value;
        }
        const size_t comma = rest_.rfind(',');
        const bool is_first = comma == std::string_view::npos;
        const std::string_view entry = trimmed(is_first ? rest_ : rest_.substr(comma + 1));
        rest_ = is_first ? std::string_view{} : rest_.substr(0, comma);
        if (entry.empty()) continue;  // RFC 9110 §5.6.1.2
        address = parse_entry(entry);
        return true;
    }
}

}  // namespace codec
