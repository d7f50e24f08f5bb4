// SendArena: where the headers and part lists of sends live between the request and its submission.
//
// The kernel copies both when it takes the submission (IORING_FEAT_SUBMIT_STABLE), so nothing is
// allocated per send and nothing lives longer than a turn.
//
// Owner: the io_uring reactor. Thread: its owner's.
// Invariants: 1. What add() answers stays in place until reset().
// Limits: blocks are kept, so the arena grows to the largest number of parts in one turn.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "io/reactor.h"

namespace io {

class SendArena {
  public:
    // A header whose parts are copies of these, at most iovecs_per_send_max.
    msghdr* add(std::span<const iovec> parts) {
        if (iovecs_used_ + parts.size() > block_iovecs) {
            ++block_;
            iovecs_used_ = 0;
            headers_used_ = 0;
        }
        if (block_ == blocks_.size()) blocks_.push_back(std::make_unique<Block>());
        Block& block = *blocks_[block_];
        iovec* const first = &block.iovecs[iovecs_used_];
        std::copy(parts.begin(), parts.end(), first);
        iovecs_used_ += static_cast<uint32_t>(parts.size());
        msghdr* const header = &block.headers[headers_used_++];
        *header = msghdr{};
        header->msg_iov = first;
        header->msg_iovlen = parts.size();
        return header;
    }

    // Legal once everything that add() answered has been submitted.
    void reset() {
        block_ = 0;
        iovecs_used_ = 0;
        headers_used_ = 0;
    }

  private:
    static constexpr uint32_t block_iovecs = 1024;
    static_assert(block_iovecs >= iovecs_per_send_max);

    struct Block {
        iovec iovecs[block_iovecs];
        // A send has at least two parts here (one part needs no header), so this many are enough.
        msghdr headers[block_iovecs / 2];
    };

    std::vector<std::unique_ptr<Block>> blocks_;
    size_t block_ = 0;  // the one that is being filled; it may not exist yet
    uint32_t iovecs_used_ = 0;
    uint32_t headers_used_ = 0;
};

}  // namespace io
