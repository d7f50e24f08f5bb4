#include "tests/sim/http_answer.h"

#include <charconv>
#include <string_view>

#include "tests/sim/ledger.h"

namespace sim {

namespace {

// A field of a response's head; none where there is no such field.
std::optional<std::string_view> field_of(std::string_view head, std::string_view name) {
    const size_t at = head.find(name);
    if (at == std::string_view::npos) return std::nullopt;
    const std::string_view rest = head.substr(at + name.size());
    return rest.substr(0, rest.find("\r\n"));
}

std::optional<uint64_t> number_of(std::string_view head, std::string_view name) {
    const std::optional<std::string_view> field = field_of(head, name);
    if (!field) return std::nullopt;
    uint64_t number = 0;
    std::from_chars(field->data(), field->data() + field->size(), number);
    return number;
}

}  // namespace

std::optional<HttpAnswer> take_http_answer(const std::string& who, std::string& incoming,
                                           bool is_head) {
    const size_t end = incoming.find("\r\n\r\n");
    if (end == std::string::npos) return std::nullopt;
    const std::string head = incoming.substr(0, end + 2);
    if (!head.starts_with("HTTP/1.1 ")) violated("P7", who + " got no response but: " + head);
    HttpAnswer answer;
    std::from_chars(head.data() + 9, head.data() + 12, answer.status);
    const std::optional<uint64_t> length = number_of(head, "\r\nContent-Length: ");
    // RFC 9110 §8.6: a 204 has no length, and all others of this broker have one.
    if (length.has_value() != (answer.status != 204)) {
        violated("P7", who + " got a response of unknown length: " + head);
    }
    const uint64_t body_bytes = is_head ? 0 : length.value_or(0);
    if (incoming.size() < end + 4 + body_bytes) return std::nullopt;
    answer.is_last = head.find("\r\nConnection: close\r\n") != std::string::npos;
    answer.retry_after_s = number_of(head, "\r\nRetry-After: ");
    answer.allow = field_of(head, "\r\nAllow: ").value_or("");
    answer.body = incoming.substr(end + 4, body_bytes);
    incoming.erase(0, end + 4 + body_bytes);
    return answer;
}

}  // namespace sim
