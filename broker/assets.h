// The files that are served over HTTP: the client for browsers, and the pages of examples.
//
// Pure; any thread.
#pragma once

#include <string_view>

#include "broker/embedded_files.h"
#include "codec/http.h"

namespace broker {

struct Asset {
    std::string_view path;
    std::string_view content_type;
    std::string_view extra_fields;
    bool is_example;  // served only with --examples
    EmbeddedFile (*file)();
};

// Null: there is none at this path.
const Asset* find_asset(std::string_view path);
// Whether the client has these bytes already (RFC 9110 §13.1.2), so that 304 is the answer.
bool is_known_to_client(const codec::HttpRequest& request, std::string_view etag);

}  // namespace broker
