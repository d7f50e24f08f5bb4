// RecvBuffers: the buffers of one ring, from which the kernel takes one when bytes arrive.
//
// An idle connection holds none. A buffer goes out with the event that lends its bytes, and all
// that are out come home together at the next turn, with one write to the memory shared with the
// kernel (io_uring_register_buf_ring(3)).
//
// Owner: the io_uring reactor; opened after the ring, closed before it. Thread: its owner's.
// Invariants:
//  1. A buffer is either at home (the kernel may fill it) or lent (named by an event of this turn).
//  2. After every buffer stand base::readable_padding_bytes that the kernel never writes.
// Limits: `count` buffers, a power of two up to 32,768; memory is touched only as buffers are first
// used.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

struct io_uring;
struct io_uring_buf_ring;

namespace io {

class RecvBuffers {
  public:
    RecvBuffers(uint32_t count, uint32_t bytes);
    ~RecvBuffers();
    RecvBuffers(const RecvBuffers&) = delete;
    RecvBuffers& operator=(const RecvBuffers&) = delete;

    static constexpr uint16_t group = 0;

    // Allocates and registers; 0 or -errno.
    [[nodiscard]] int open(io_uring& ring);
    void close(io_uring& ring);

    // The first `bytes` bytes of a buffer that a completion named.
    std::span<uint8_t> lend(uint16_t buffer, uint32_t bytes);
    // Every lent buffer is at home again.
    void recycle();

    uint32_t lent_count() const { return static_cast<uint32_t>(lent_.size()); }

  private:
    uint8_t* at(uint16_t buffer) { return &memory_[size_t{buffer} * stride_]; }
    void offer(uint16_t buffer, uint32_t offset);

    const uint32_t count_;
    const uint32_t bytes_;
    const uint32_t stride_;
    io_uring_buf_ring* shared_ = nullptr;  // mapped; null before open()
    std::unique_ptr<uint8_t[]> memory_;
    std::vector<uint16_t> lent_;
    std::vector<bool> is_lent_;
};

}  // namespace io
