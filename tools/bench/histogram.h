// Histogram: counts of durations in log-linear buckets, as HDR histograms have them.
//
// Owner: each load shard has its own; they are merged once their threads have ended. Thread: its
// owner's.
// Invariants:
//  1. Below 256 ns a bucket is one nanosecond wide; above, an octave has 128 buckets, so that a
//     value is known to within 0.8 %. A quantile is told as the upper end of its bucket, but never
//     more than the largest value seen.
//  2. The sum of all buckets is count().
// Limits: values above 2^42 ns (73 minutes) count as that; 4,608 buckets, 36 KiB.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace bench {

class Histogram {
  public:
    static constexpr uint64_t value_max = (uint64_t{1} << 42) - 1;

    void record(uint64_t value) {
        value = value < value_max ? value : value_max;
        ++buckets_[bucket_of(value)];
        ++count_;
        sum_ += value;
        max_ = max_ < value ? value : max_;
        min_ = min_ > value ? value : min_;
    }

    void merge(const Histogram& other);

    uint64_t count() const { return count_; }
    // 0 of an empty histogram, as are all the others.
    uint64_t min() const { return count_ == 0 ? 0 : min_; }
    uint64_t max() const { return max_; }
    double mean() const;
    // The smallest value such that the share `quantile`, 0 to 1, of all values is not above it.
    uint64_t at(double quantile) const;

  private:
    static constexpr uint32_t linear_bits = 8;  // values below 2^8 have a bucket each
    static constexpr uint32_t half = 1U << (linear_bits - 1);
    static constexpr uint32_t octaves_count = 42 - linear_bits;
    static constexpr uint32_t buckets_count = 2 * half + octaves_count * half;

    // The leading linear_bits bits of a value choose its bucket, and how far they were shifted its
    // octave.
    static uint32_t bucket_of(uint64_t value) {
        const auto width = static_cast<uint32_t>(std::bit_width(value | (2 * half - 1)));
        const uint32_t shift = width - linear_bits;
        return shift * half + static_cast<uint32_t>(value >> shift);
    }
    static uint64_t upper_end_of(uint32_t bucket);

    std::array<uint64_t, buckets_count> buckets_{};
    uint64_t count_ = 0;
    uint64_t sum_ = 0;
    uint64_t max_ = 0;
    uint64_t min_ = UINT64_MAX;
};

}  // namespace bench
