#include "tools/bench/histogram.h"

#include <algorithm>
#include <cmath>

namespace bench {

void Histogram::merge(const Histogram& other) {
    for (uint32_t bucket = 0; bucket < buckets_count; ++bucket) {
        buckets_[bucket] += other.buckets_[bucket];
    }
    count_ += other.count_;
    sum_ += other.sum_;
    max_ = std::max(max_, other.max_);
    min_ = std::min(min_, other.min_);
}

double Histogram::mean() const {
    return count_ == 0 ? 0 : static_cast<double>(sum_) / static_cast<double>(count_);
}

uint64_t Histogram::upper_end_of(uint32_t bucket) {
    if (bucket < 2 * half) return bucket;
    const uint32_t shift = bucket / half - 1;
    const uint64_t leading = bucket - shift * half;
    return ((leading + 1) << shift) - 1;
}

uint64_t Histogram::at(double quantile) const {
    if (count_ == 0) return 0;
    const double share = std::clamp(quantile, 0.0, 1.0) * static_cast<double>(count_);
    const uint64_t wanted = std::max<uint64_t>(1, static_cast<uint64_t>(std::ceil(share)));
    uint64_t seen = 0;
    for (uint32_t bucket = 0; bucket < buckets_count; ++bucket) {
        seen += buckets_[bucket];
        if (seen >= wanted) return std::min(upper_end_of(bucket), max_);
    }
    return max_;
}

}  // namespace bench
