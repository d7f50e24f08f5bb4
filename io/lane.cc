#include "io/lane.h"

#include <bit>
#include <cstring>

#include "io/base/check.h"

namespace io {

Lane::Lane(uint64_t capacity_bytes)
    : capacity_(capacity_bytes),
      // Not zeroed: pages of a ring that is never used are never touched.
      ring_(std::make_unique_for_overwrite<uint8_t[]>(capacity_bytes)) {
    CHECK(std::has_single_bit(capacity_bytes) && capacity_bytes >= 128);
    static_assert(sizeof(Header) == 8, "record_cost() counts eight bytes of header");
    // A record of the largest size must stay expressible in its header.
    CHECK(record_bytes_max() <= UINT32_MAX);
}

std::span<uint8_t> Lane::reserve(uint32_t bytes) {
    CHECK(bytes >= 1 && bytes <= record_bytes_max());
    const uint64_t cost = record_cost(bytes);
    const uint64_t tail = capacity_ - offset(reserved_);
    // A record is never split, so one that does not fit before the end pays for that end as well.
    const uint64_t skipped = cost <= tail ? 0 : tail;
    if (reserved_ + skipped + cost - consumed_seen_ > capacity_) {
        consumed_seen_ = consumed_.load(std::memory_order_acquire);
        if (reserved_ + skipped + cost - consumed_seen_ > capacity_) return {};
    }
    if (skipped > 0) {
        // Positions are multiples of eight, so wherever a filler is needed its header fits.
        const Header filler{0, 1};
        std::memcpy(&ring_[offset(reserved_)], &filler, sizeof filler);
        reserved_ += skipped;
    }
    const Header header{bytes, 0};
    uint8_t* const record = &ring_[offset(reserved_)];
    std::memcpy(record, &header, sizeof header);
    reserved_ += cost;
    return {record + sizeof header, bytes};
}

void Lane::commit() {
    committed_.store(reserved_, std::memory_order_release);
}

uint64_t Lane::room_bytes() {
    consumed_seen_ = consumed_.load(std::memory_order_acquire);
    const uint64_t unused = capacity_ - (reserved_ - consumed_seen_);
    const uint64_t tail = capacity_ - offset(reserved_);
    if (unused <= tail) return unused;
    // The free space is in two pieces, and the first record may be one that wastes all of the first
    // piece. So what is sure to fit is what fits into one of them alone.
    const uint64_t head = unused - tail;
    return tail > head ? tail : head;
}

std::span<const uint8_t> Lane::front() {
    uint64_t position = consumed_.load(std::memory_order_relaxed);
    if (position == committed_seen_) {
        committed_seen_ = committed_.load(std::memory_order_acquire);
        if (position == committed_seen_) return {};
    }
    Header header;
    std::memcpy(&header, &ring_[offset(position)], sizeof header);
    if (header.is_filler == 1) {
        // reserve() writes a filler only together with the record that follows it, and commit()
        // publishes both, so there is something behind it.
        position += capacity_ - offset(position);
        consumed_.store(position, std::memory_order_release);
        DCHECK(position < committed_seen_);
        std::memcpy(&header, &ring_[offset(position)], sizeof header);
    }
    DCHECK(header.is_filler == 0 && header.bytes >= 1);
    return {&ring_[offset(position)] + sizeof header, header.bytes};
}

void Lane::pop() {
    const uint64_t position = consumed_.load(std::memory_order_relaxed);
    CHECK(position < committed_seen_);
    Header header;
    std::memcpy(&header, &ring_[offset(position)], sizeof header);
    // front() steps over fillers, so a filler here means that it was not called.
    CHECK(header.is_filler == 0);
    consumed_.store(position + record_cost(header.bytes), std::memory_order_release);
}

bool Lane::is_empty() {
    committed_seen_ = committed_.load(std::memory_order_acquire);
    return consumed_.load(std::memory_order_relaxed) == committed_seen_;
}

}  // namespace io
