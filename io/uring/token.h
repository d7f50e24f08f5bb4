// Token: what a completion carries to say what it completes. A packed value, never a pointer: a
// stale one can be recognized, and it can be read in a trace.
#pragma once

#include <cstdint>

#include "io/base/slab.h"

namespace io {

// What a completion belongs to. The first five become events; the others stay inside the reactor.
enum class TokenOp : uint8_t {
    accept,        // slot.index: the entry of the accept pool
    recv,          // slot: the connection's
    send,          // slot: the connection's
    close,         // slot: the connection's
    close_entry,   // slot.index: the socket, whose entry is ours to give
    shutdown,      // slot.index: the socket
    install,       // slot.index: the socket, which can now be shut down; slot.generation: how
    cancel,        // an attempt to end another request; that one's completion tells the outcome
    wake_sent,     // slot.index: the shard that could not be woken (success is silent)
    wake_arrived,  // another shard's wake, posted into this ring
    wake_read,     // the wake from outside
};

struct Token {
    base::Slot slot;
    TokenOp op;

    // 32 bits of index, 24 of generation, 8 of operation.
    uint64_t pack() const {
        return uint64_t{slot.index} | uint64_t{slot.generation & base::generation_mask} << 32 |
               uint64_t{static_cast<uint8_t>(op)} << 56;
    }

    static Token unpack(uint64_t packed) {
        return Token{{static_cast<uint32_t>(packed),
                      static_cast<uint32_t>(packed >> 32) & base::generation_mask},
                     static_cast<TokenOp>(packed >> 56)};
    }
};

}  // namespace io
