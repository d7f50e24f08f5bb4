// HttpAnswer: one response of the broker, as simulated HTTP clients read it. Written apart from the
// product's own code on purpose. Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace sim {

struct HttpAnswer {
    uint32_t status = 0;
    bool is_last = false;  // the connection closes after it
    std::optional<uint64_t> retry_after_s;
    std::string allow;  // the methods that a 405 names
    std::string body;
};

// Takes a response off the front of what `who` has read, once it is whole. `is_head`: of a HEAD
// request, whose response has no body. Throws Violation when it is no response.
std::optional<HttpAnswer> take_http_answer(const std::string& who, std::string& incoming,
                                           bool is_head);

}  // namespace sim
