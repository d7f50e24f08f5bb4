// IoErrors: what the kernel's answers to a receive and a send mean for a connection, one commented
// table per operation. Accepts have theirs in the reactor, which knows what it arms
// (io/uring/reactor_accept.cc).
//
// Pure; any thread.
#pragma once

#include <cstdint>

namespace broker {

// How a receive ended.
enum class ReceiveEnd : uint8_t {
    stream_end,  // the peer has said its last
    stopped,     // by us
    no_buffer,   // none was at home: wait in the line for one
    no_memory,   // the kernel's: arm it again a little later
    broken,      // nothing will come any more, and what is queued has no reader
};

// `result` is that of the event: 0 or -errno.
[[nodiscard]] ReceiveEnd receive_end_of(int32_t result);

// Why a send took nothing.
enum class SendFailure : uint8_t {
    no_memory,  // the kernel's: try it again a little later
    broken,     // the connection is
};

// `result` is that of the event: -errno.
[[nodiscard]] SendFailure send_failure_of(int32_t result);

}  // namespace broker
