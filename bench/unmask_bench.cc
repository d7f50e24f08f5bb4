// Unmasking beside memcpy, kernel by kernel, over working sets that lie in the first cache, in the
// second one and in memory.
//
// Each round times a batch of copies and a batch of unmaskings, one right after the other, by the
// thread's CPU time, so that both see the same clock rate and neighbours; the counter "of_memcpy"
// is the median of memcpy's time divided by the kernel's: 1 is as fast as memcpy. The copies go
// from one half of the working set to the other, so both touch the same memory; the kernel runs a
// quarter of the set ahead of them, so that neither finds in a cache what the other has just
// brought there. (A copy of many bytes moves twice as many through the memory as unmasking them in
// place, so far more than 1 is to be expected there.)

#include <benchmark/benchmark.h>
#include <time.h>

#include <algorithm>
#include <cstring>
#include <iterator>
#include <string>
#include <vector>

#include "bench/table_reporter.h"
#include "codec/kernels.h"
#include "io/base/units.h"

namespace {

constexpr uint32_t masking_key = 0x12ab34cd;

struct WorkingSet {
    const char* name;
    size_t bytes_count;
};

constexpr WorkingSet working_sets[] = {
    {"L1", 24 * base::kib}, {"L2", 512 * base::kib}, {"memory", 512 * base::mib}};

double cpu_seconds() {
    timespec time = {};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// All working sets begin here, so that the large one is brought into memory once.
std::vector<uint8_t>& memory() {
    static std::vector<uint8_t> bytes(std::end(working_sets)[-1].bytes_count, 1);
    return bytes;
}

// Behind a masked header of eight bytes, so aligned to nothing larger, as payloads are.
constexpr size_t first_place = 8;

// Places of `size` bytes, one after the other, round and round.
class Walk {
  public:
    Walk(std::vector<uint8_t>& bytes, size_t begin, size_t end, size_t size)
        : bytes_(bytes), end_(end), size_(size), at_(begin + first_place) {}

    uint8_t* next() {
        if (at_ + size_ > end_) at_ = first_place;
        uint8_t* const place = bytes_.data() + at_;
        at_ += size_;
        return place;
    }

  private:
    std::vector<uint8_t>& bytes_;
    size_t end_;
    size_t size_;
    size_t at_;
};

template <class Operation>
double time_batch(size_t count, Operation operation) {
    const double begin = cpu_seconds();
    for (size_t index = 0; index < count; ++index) operation();
    benchmark::ClobberMemory();
    return cpu_seconds() - begin;
}

double median_of(std::vector<double>& values) {
    std::sort(values.begin(), values.end());
    return values.empty() ? 0 : values[values.size() / 2];
}

void unmask_of_memcpy(benchmark::State& state, const codec::Kernels* kernels,
                      const WorkingSet& set) {
    const size_t size = static_cast<size_t>(state.range(0));
    std::vector<uint8_t>& bytes = memory();
    const size_t half = set.bytes_count / 2;
    Walk unmasked(bytes, half / 2, set.bytes_count, size);
    Walk copied(bytes, 0, half, size);
    // Long enough that the two readings of the clock do not count.
    const size_t batch_count = std::max<size_t>(1, 2 * base::mib / (size + 64));
    std::vector<double> ratios;
    std::vector<double> speeds;
    for (auto _ : state) {
        const double copy_seconds = time_batch(batch_count, [&] {
            uint8_t* const place = copied.next();
            std::memcpy(place + half, place, size);
            benchmark::ClobberMemory();
        });
        const double unmask_seconds = time_batch(batch_count, [&] {
            kernels->unmask(unmasked.next(), size, masking_key);
            benchmark::ClobberMemory();
        });
        state.SetIterationTime(unmask_seconds);
        ratios.push_back(copy_seconds / unmask_seconds);
        speeds.push_back(static_cast<double>(batch_count * size) / unmask_seconds);
    }
    state.counters["of_memcpy"] = median_of(ratios);
    const double bytes_per_second = median_of(speeds);
    state.counters["ns"] = static_cast<double>(size) / bytes_per_second * 1e9;
    state.counters["GB/s"] = bytes_per_second * 1e-9;
}

void register_all() {
    for (const WorkingSet& set : working_sets) {
        for (const codec::Kernels* const each : codec::available_kernels()) {
            const std::string name = std::string(set.name) + "/" + each->name;
            auto* const registered =
                benchmark::RegisterBenchmark(name.c_str(), unmask_of_memcpy, each, set);
            registered->UseManualTime()->MinTime(0.05);
            for (const size_t size :
                 {size_t{16}, size_t{64}, size_t{128}, size_t{256}, size_t{1024}, size_t{8192},
                  size_t{65'536}, size_t{1'048'576}}) {
                if (2 * size <= set.bytes_count) registered->Arg(static_cast<int64_t>(size));
            }
        }
    }
}

constexpr bench::Table tables[] = {
    {"L1", "Unmasking in the first cache: kernel (the last one is used), bytes of a message"},
    {"L2", "Unmasking in the second cache"},
    {"memory", "Unmasking in memory"},
};

}  // namespace

int main(int argc, char** argv) {
    return bench::run_benchmarks(argc, argv, tables, register_all);
}
