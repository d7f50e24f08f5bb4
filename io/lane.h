// Lane: a bounded ring of variable-length records from one producer thread to one consumer thread.
//
// Shards share nothing but these rings. Full is a return value, never a wait.
//
// Owner: Mesh (or whoever connects two threads). Threads: reserve, commit and room_bytes on the
// producer's; front and pop on the consumer's.
// Invariants:
//  1. Records arrive whole, once, and in the order of their reservation.
//  2. A record is contiguous in memory and 8-byte aligned; one that does not fit before the end of
//     the ring leaves a filler there and starts at the beginning.
//  3. The consumer sees nothing of a record before commit(); commit publishes all reserved so far.
//  4. Positions are 64-bit byte counts that never wrap in practice; each side writes only its own,
//     with release order, and reads the other's with acquire order. Each side caches the other's
//     position, so a cache line moves between cores once per batch and not once per record.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

namespace io {

class Lane {
  public:
    // Bytes of the ring, a power of two, at least 128. The largest record is capacity / 2 - 8.
    explicit Lane(uint64_t capacity_bytes);
    Lane(const Lane&) = delete;
    Lane& operator=(const Lane&) = delete;

    // Producer. Room for one record of `bytes` (at least 1), or an empty span when the ring is
    // full.
    [[nodiscard]] std::span<uint8_t> reserve(uint32_t bytes);
    // Producer. Makes everything reserved so far visible to the consumer.
    void commit();
    // Producer. Any sequence of records is sure to fit whose record_cost() adds up to at most this.
    uint64_t room_bytes();
    // What a record takes from room_bytes().
    static constexpr uint64_t record_cost(uint64_t bytes) {
        return ((bytes + 7) & ~uint64_t{7}) + 8;
    }
    uint64_t record_bytes_max() const { return capacity_ / 2 - 8; }

    // Consumer. The oldest record, empty when there is none. Valid until pop().
    [[nodiscard]] std::span<const uint8_t> front();
    // Consumer. Gives the space of front()'s record back. Requires that front() was not empty.
    void pop();
    // Consumer, and exact only there: whether nothing is waiting.
    bool is_empty();

  private:
    struct Header {
        uint32_t bytes;      // of the record, without header and alignment
        uint32_t is_filler;  // 1: skip to the beginning of the ring
    };

    uint64_t offset(uint64_t position) const { return position & (capacity_ - 1); }

    // Constant after construction.
    const uint64_t capacity_;
    const std::unique_ptr<uint8_t[]> ring_;

    // Written by the producer.
    alignas(64) std::atomic<uint64_t> committed_{0};
    uint64_t reserved_ = 0;
    uint64_t consumed_seen_ = 0;

    // Written by the consumer.
    alignas(64) std::atomic<uint64_t> consumed_{0};
    uint64_t committed_seen_ = 0;
};

}  // namespace io
