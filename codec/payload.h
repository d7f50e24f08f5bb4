// Payload: what is published, in the model that all dialects share. Pure; any thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace codec {

enum class PayloadKind : uint8_t {
    json,    // JSON text, verbatim, valid by RFC 8259
    text,    // UTF-8
    binary,  // any bytes
};

struct Payload {
    PayloadKind kind = PayloadKind::json;
    std::string_view bytes;
};

}  // namespace codec
