#include "io/uring/recv_buffers.h"

#include <sys/mman.h>

#include <bit>
#include <cerrno>

#include "io/base/check.h"
#include "io/base/units.h"
#include "io/uring/uring_compat.h"

namespace io {

RecvBuffers::RecvBuffers(uint32_t count, uint32_t bytes)
    : count_(count),
      bytes_(bytes),
      stride_(bytes + static_cast<uint32_t>(base::readable_padding_bytes)),
      is_lent_(count, false) {
    // The kernel masks positions with count - 1 and numbers buffers with 16 bits, one of them lost.
    CHECK(std::has_single_bit(count) && count <= 32'768 && bytes >= 1);
    lent_.reserve(count);
}

RecvBuffers::~RecvBuffers() {
    CHECK(shared_ == nullptr);
}

int RecvBuffers::open(io_uring& ring) {
    // Mapped, because the kernel wants whole pages.
    void* const mapped = mmap(nullptr, count_ * sizeof(io_uring_buf), PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) return -errno;
    io_uring_buf_reg registration{};
    registration.ring_addr = reinterpret_cast<uintptr_t>(mapped);
    registration.ring_entries = count_;
    registration.bgid = group;
    const int result = io_uring_register_buf_ring(&ring, &registration, 0);
    if (result < 0) {
        munmap(mapped, count_ * sizeof(io_uring_buf));
        return result;
    }
    shared_ = static_cast<io_uring_buf_ring*>(mapped);
    io_uring_buf_ring_init(shared_);
    memory_ = std::make_unique_for_overwrite<uint8_t[]>(size_t{count_} * stride_);
    for (uint32_t buffer = 0; buffer < count_; ++buffer)
        offer(static_cast<uint16_t>(buffer), buffer);
    io_uring_buf_ring_advance(shared_, static_cast<int>(count_));
    return 0;
}

void RecvBuffers::close(io_uring& ring) {
    if (shared_ == nullptr) return;
    CHECK(lent_.empty());
    io_uring_unregister_buf_ring(&ring, group);
    munmap(shared_, count_ * sizeof(io_uring_buf));
    shared_ = nullptr;
}

std::span<uint8_t> RecvBuffers::lend(uint16_t buffer, uint32_t bytes) {
    CHECK(buffer < count_ && bytes <= bytes_ && !is_lent_[buffer]);
    is_lent_[buffer] = true;
    lent_.push_back(buffer);
    return {at(buffer), bytes};
}

void RecvBuffers::recycle() {
    if (lent_.empty()) return;
    uint32_t offset = 0;
    for (const uint16_t buffer : lent_) {
        is_lent_[buffer] = false;
        offer(buffer, offset++);
    }
    io_uring_buf_ring_advance(shared_, static_cast<int>(offset));
    lent_.clear();
}

void RecvBuffers::offer(uint16_t buffer, uint32_t offset) {
    io_uring_buf_ring_add(shared_, at(buffer), bytes_, buffer, io_uring_buf_ring_mask(count_),
                          static_cast<int>(offset));
}

}  // namespace io
