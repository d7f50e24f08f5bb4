#include "broker/chunk.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "io/base/units.h"
#include "tests/broker/resident_memory.h"

namespace broker {
namespace {

using testing::resident_bytes;

std::span<const uint8_t> bytes_of(std::string_view text) {
    return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::string text_of(const Range& range) {
    return {reinterpret_cast<const char*>(range.data()), range.size()};
}

TEST(ChunkPool, AppendsHeadAndTailTogether) {
    ChunkPool pool;
    const Range range = pool.append(bytes_of("head"), bytes_of("tail"));
    EXPECT_EQ(text_of(range), "headtail");
    const Range only_head = pool.append(bytes_of("head"), {});
    EXPECT_EQ(text_of(only_head), "head");
    const Range only_tail = pool.append({}, bytes_of("tail"));
    EXPECT_EQ(text_of(only_tail), "tail");
    pool.release(range);
    pool.release(only_head);
    pool.release(only_tail);
}

TEST(ChunkPool, NeighboursAreAdjacentInOneChunk) {
    ChunkPool pool;
    const Range first = pool.append(bytes_of("one"), {});
    const Range second = pool.append(bytes_of("two"), {});
    EXPECT_EQ(first.chunk, second.chunk);
    EXPECT_EQ(first.end, second.begin);
    EXPECT_EQ(pool.alive_count(), 1u);
    pool.release(first);
    pool.release(second);
    EXPECT_EQ(pool.alive_count(), 1u) << "the open chunk stays";
}

TEST(ChunkPool, AFrameNeverSpansTwoChunks) {
    ChunkPool pool;
    const std::string most(chunk_bytes - 10, 'm');
    const Range first = pool.append(bytes_of(most), {});
    const Range fits = pool.append(bytes_of("0123456789"), {});
    EXPECT_EQ(fits.chunk, first.chunk) << "the last byte of a chunk is used";
    const Range next = pool.append(bytes_of("x"), {});
    EXPECT_NE(next.chunk, first.chunk);
    EXPECT_EQ(next.begin, 0u);
    EXPECT_EQ(pool.alive_count(), 2u);
    pool.release(first);
    EXPECT_EQ(text_of(fits), "0123456789") << "one reference keeps the whole chunk";
    EXPECT_EQ(pool.alive_count(), 2u);
    pool.release(fits);
    EXPECT_EQ(pool.alive_count(), 1u);
    pool.release(next);
}

TEST(ChunkPool, LargeFramesGetAChunkOfTheirOwn) {
    ChunkPool pool;
    const Range small = pool.append(bytes_of("small"), {});
    const std::string exactly(chunk_bytes, 'e');
    const Range shared = pool.append(bytes_of(exactly), {});
    EXPECT_EQ(shared.chunk->capacity_bytes, chunk_bytes);
    const std::string larger(chunk_bytes + 1, 'l');
    const Range own = pool.append(bytes_of(larger), {});
    EXPECT_GT(own.chunk->capacity_bytes, chunk_bytes);
    EXPECT_EQ(text_of(own), larger);
    EXPECT_EQ(pool.alive_count(), 3u);
    const Range behind = pool.append(bytes_of("behind"), {});
    EXPECT_NE(behind.chunk, own.chunk) << "nothing else goes into it";
    pool.release(own);
    pool.release(behind);
    pool.release(small);
    pool.release(shared);
    EXPECT_EQ(pool.alive_count(), 1u) << "it is not kept open";
}

// Takes that many frames of that size, then gives all of them back.
void take_and_release(ChunkPool& pool, size_t frame_bytes, size_t count) {
    const std::string frame(frame_bytes, 'f');
    std::vector<Range> ranges;
    while (ranges.size() < count) ranges.push_back(pool.append(bytes_of(frame), {}));
    for (const Range& range : ranges) pool.release(range);
}

constexpr uint64_t large_spares_max = 4 * base::mib;

TEST(ChunkPool, LargeSparesAreUsedAgainAndBounded) {
    ChunkPool pool;
    take_and_release(pool, 200'000, 100);
    const uint64_t kept_bytes = pool.held_bytes();
    EXPECT_LE(kept_bytes, large_spares_max);
    EXPECT_GT(kept_bytes, large_spares_max - 210'000);
    const std::string frame(190'000, 'a');
    std::vector<Range> ranges;
    for (int count = 0; count < 20; ++count) ranges.push_back(pool.append(bytes_of(frame), {}));
    EXPECT_EQ(pool.held_bytes(), kept_bytes) << "nothing was allocated";
    ranges.push_back(pool.append(bytes_of(frame), {}));
    EXPECT_GT(pool.held_bytes(), kept_bytes);
    for (const Range& range : ranges) EXPECT_EQ(text_of(range), frame);
    for (const Range& range : ranges) pool.release(range);
}

TEST(ChunkPool, WhatIsMuchTooLargeIsNoSpareForALittleOne) {
    ChunkPool pool;
    take_and_release(pool, 1'000'000, 1);
    const uint64_t kept_bytes = pool.held_bytes();
    const Range small = pool.append(bytes_of(std::string(100'000, 's')), {});
    EXPECT_GT(pool.held_bytes(), kept_bytes);
    EXPECT_LT(small.chunk->capacity_bytes, 200'000u);
    pool.release(small);
}

TEST(ChunkPool, SparesOfTheSizeInUseReplaceThoseOfAnother) {
    ChunkPool pool;
    take_and_release(pool, 1'000'000, 4);
    take_and_release(pool, 100'000, 40);
    const uint64_t kept_bytes = pool.held_bytes();
    EXPECT_LE(kept_bytes, large_spares_max);
    std::vector<Range> ranges;
    const std::string frame(100'000, 'f');
    for (int count = 0; count < 40; ++count) ranges.push_back(pool.append(bytes_of(frame), {}));
    EXPECT_EQ(pool.held_bytes(), kept_bytes) << "all forty were kept";
    for (const Range& range : ranges) pool.release(range);
}

TEST(ChunkPool, AChunkLargerThanAllSparesTogetherIsNeverKept) {
    ChunkPool pool;
    take_and_release(pool, large_spares_max, 1);
    EXPECT_EQ(pool.held_bytes(), 0u);
    take_and_release(pool, large_spares_max - sizeof(Chunk), 1);
    EXPECT_EQ(pool.held_bytes(), large_spares_max);
}

TEST(ChunkPool, SparesAreUsedAgainAndBounded) {
    ChunkPool pool;
    const std::string whole(chunk_bytes, 'w');
    std::vector<Range> ranges;
    for (int count = 0; count < 40; ++count) ranges.push_back(pool.append(bytes_of(whole), {}));
    EXPECT_EQ(pool.alive_count(), 40u);
    EXPECT_EQ(pool.held_bytes(), 40 * (sizeof(Chunk) + chunk_bytes));
    for (const Range& range : ranges) pool.release(range);
    EXPECT_EQ(pool.alive_count(), 1u);
    // The open one and the spares.
    EXPECT_EQ(pool.held_bytes(), 17 * (sizeof(Chunk) + chunk_bytes));
    ranges.clear();
    for (int count = 0; count < 16; ++count) ranges.push_back(pool.append(bytes_of(whole), {}));
    EXPECT_EQ(pool.held_bytes(), 16 * (sizeof(Chunk) + chunk_bytes)) << "nothing was allocated";
    for (const Range& range : ranges) pool.release(range);
}

TEST(ChunkPool, SparesAreNotAliveAndCanBeGivenBack) {
    ChunkPool pool;
    EXPECT_EQ(pool.alive_bytes(), 0u);
    pool.drop_spares();  // there are none
    const Range small = pool.append(bytes_of("s"), {});
    const uint64_t open_bytes = pool.alive_bytes();
    EXPECT_EQ(open_bytes, sizeof(Chunk) + chunk_bytes);
    for (int round = 0; round < 2; ++round) {
        take_and_release(pool, chunk_bytes, 20);
        take_and_release(pool, 100'000, 20);
        EXPECT_EQ(pool.alive_bytes(), 2 * open_bytes) << "the one that is held, and the open one";
        EXPECT_GT(pool.held_bytes(), 20 * 100'000u + 16 * open_bytes);
        pool.drop_spares();
        EXPECT_EQ(pool.alive_bytes(), 2 * open_bytes);
        EXPECT_EQ(pool.held_bytes(), 2 * open_bytes);
    }
    EXPECT_EQ(text_of(small), "s");
    pool.release(small);
}

// Frames that fill a chunk of the standard size, and of twice that.
class ChunkPoolOfSize : public ::testing::TestWithParam<size_t> {};

INSTANTIATE_TEST_SUITE_P(Sizes, ChunkPoolOfSize,
                         ::testing::Values(size_t{chunk_bytes}, size_t{2 * chunk_bytes}));

TEST_P(ChunkPoolOfSize, WhatABurstTookGoesBackToTheKernel) {
    constexpr int chunks_count = 1'000;
    ChunkPool pool;
    const std::string whole(GetParam(), 'w');
    std::vector<Range> ranges;
    ranges.reserve(chunks_count);
    const uint64_t before_bytes = resident_bytes();
    for (int count = 0; count < chunks_count; ++count) {
        ranges.push_back(pool.append(bytes_of(whole), {}));
    }
    const size_t all_bytes = chunks_count * whole.size();
    EXPECT_GT(resident_bytes(), before_bytes + all_bytes * 9 / 10);
    // Every second one first, so that holes come before what lies between them.
    for (const size_t begin : {size_t{0}, size_t{1}}) {
        for (size_t index = begin; index < ranges.size(); index += 2) pool.release(ranges[index]);
    }
    // The shadow that AddressSanitizer keeps of it is an eighth.
    EXPECT_LT(resident_bytes(), before_bytes + all_bytes / 4);
}

// Leaves the process no mapping more, until it is destroyed.
class AllMappings {
  public:
    AllMappings() {
        std::ifstream("/proc/sys/vm/max_map_count") >> count_max_;
        if (count_max_ > 200'000) return;
        bytes_ = size_t{count_max_} * 2 * page_bytes_;
        pages_ = static_cast<uint8_t*>(
            mmap(nullptr, bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
        if (pages_ == MAP_FAILED) return;
        for (size_t at = 0; at < bytes_; at += 2 * page_bytes_) {
            is_full_ = mprotect(pages_ + at, page_bytes_, PROT_READ) != 0;
            if (is_full_) return;
        }
    }
    ~AllMappings() {
        if (pages_ != nullptr && pages_ != MAP_FAILED) munmap(pages_, bytes_);
    }
    AllMappings(const AllMappings&) = delete;
    AllMappings& operator=(const AllMappings&) = delete;
    bool is_full() const { return is_full_; }

  private:
    const size_t page_bytes_ = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    uint64_t count_max_ = 0;
    size_t bytes_ = 0;
    uint8_t* pages_ = nullptr;
    bool is_full_ = false;
};

TEST_P(ChunkPoolOfSize, AChunkThatTheKernelDoesNotTakeBackIsUsedAgain) {
    ChunkPool pool;
    const std::string whole(GetParam(), 'w');
    std::vector<Range> ranges;
    ranges.reserve(200);
    const auto take_all = [&] {
        ranges.clear();
        while (ranges.size() < 200) ranges.push_back(pool.append(bytes_of(whole), {}));
    };
    const auto release_all = [&] {
        for (const size_t begin : {size_t{0}, size_t{1}}) {
            for (size_t index = begin; index < 200; index += 2) pool.release(ranges[index]);
        }
    };
    take_all();
    const uint64_t all_bytes = pool.held_bytes();
    bool was_full = false;
    {
        // Nothing is allocated in here, since that might need a mapping.
        const AllMappings all_mappings;
        was_full = all_mappings.is_full();
        if (was_full) release_all();
        if (was_full) pool.drop_spares();  // as far as it takes them
    }
    if (!was_full) {
        release_all();
        GTEST_SKIP() << "vm.max_map_count is too large to be reached";
    }
    EXPECT_GT(pool.held_bytes(), all_bytes / 4);
    take_all();
    EXPECT_EQ(pool.held_bytes(), all_bytes) << "what was kept is used before more is taken";
    EXPECT_EQ(text_of(ranges.back()), whole);
    release_all();
    EXPECT_LE(pool.held_bytes(), large_spares_max) << "now the kernel takes it back";
}

TEST(ChunkPoolDeathTest, ARangeThatOutlivesItsPoolIsAnErrorOfOurs) {
    EXPECT_DEATH(
        {
            ChunkPool pool;
            static_cast<void>(pool.append(bytes_of("forgotten"), {}));
        },
        "alive_count_ == 0");
}

}  // namespace
}  // namespace broker
