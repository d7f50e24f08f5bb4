// The states of a connection; what happens in each stands in broker/connection.h.
#pragma once

#include <cstdint>

namespace broker {

enum class ConnectionState : uint8_t { http, open, closing, lingering, joining, closed };

}  // namespace broker
