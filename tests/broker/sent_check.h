// What a broker sent on one connection, read as its client reads it, with a CHECK on everything
// that a client may rely on: HTTP responses with the content that they announce; after the upgrade
// frames that a client accepts and nothing behind a Close; and on a connection of the native
// dialect texts that are JSON objects with an op, of which the first is `welcome` or `goodbye`, as
// many messages behind a `replay` as it says, and positions that rise.
#pragma once

#include <cstdint>
#include <string_view>

namespace broker::testing {

enum class Sent : uint8_t {
    native,   // upgraded to /ws, if at all
    unknown,  // perhaps to /echo: what is in the frames is not looked at
};

// The end of `bytes` may be cut anywhere.
void check_sent(std::string_view bytes, Sent kind);

}  // namespace broker::testing
