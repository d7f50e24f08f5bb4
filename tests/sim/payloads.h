// Payloads: contents that say which message they are, and the little of JSON that the simulated
// peers need.
//
// The readers here are written apart from the product's on purpose: a mistake in codec/ must not
// hide itself. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "codec/payload.h"
#include "io/base/prng.h"

namespace sim {

// A payload in the model, and as the member of a publish command that carries it.
struct MadePayload {
    codec::PayloadKind kind;
    std::string bytes;
    std::string member;  // "data":… or "text":… or "base64":…
};

// A payload of about `bytes_wanted` bytes that names `message`.
MadePayload make_payload(base::Prng& prng, uint32_t message, uint32_t bytes_wanted);
// The message that a payload names; UINT32_MAX when it names none.
uint32_t message_of(codec::PayloadKind kind, std::string_view bytes);

struct JsonMember {
    std::string_view key;    // without quotes; our protocol's keys need no escapes
    std::string_view value;  // the text of the value, verbatim
};
// The members of the object that `text` is. False when it is not one object.
[[nodiscard]] bool read_members(std::string_view text, std::vector<JsonMember>& members);
// The elements of the array that `text` is, verbatim. False when it is not one array.
[[nodiscard]] bool read_elements(std::string_view text, std::vector<std::string_view>& elements);
// The value of a member; empty when it is not there.
std::string_view value_of(const std::vector<JsonMember>& members, std::string_view key);
// Undoes the escapes of a JSON string, quotes included. False when it is none.
[[nodiscard]] bool read_string(std::string_view quoted, std::string& text);
std::string quote(std::string_view text);
std::string encode_base64(std::string_view bytes);
[[nodiscard]] bool decode_base64(std::string_view text, std::string& bytes);

// Whether a filter matches a topic, level by level (MQTT 5 §4.7).
[[nodiscard]] bool filter_matches(std::string_view filter, std::string_view topic);

}  // namespace sim
