#include "broker/chunk.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <string_view>
#include <vector>

namespace broker {
namespace {

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
    EXPECT_EQ(own.chunk->capacity_bytes, chunk_bytes + 1);
    EXPECT_EQ(text_of(own), larger);
    EXPECT_EQ(pool.alive_count(), 3u);
    const uint64_t held_bytes = pool.held_bytes();
    pool.release(own);
    EXPECT_EQ(pool.alive_count(), 2u) << "it is not kept open";
    EXPECT_EQ(pool.held_bytes(), held_bytes - sizeof(Chunk) - chunk_bytes - 1);
    pool.release(small);
    pool.release(shared);
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

// Of the process, in pages that it holds.
size_t resident_bytes() {
    std::ifstream file("/proc/self/statm");
    size_t all_pages = 0;
    size_t resident_pages = 0;
    file >> all_pages >> resident_pages;
    return resident_pages * static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

TEST(ChunkPool, WhatABurstTookGoesBackToTheKernel) {
    constexpr int chunks_count = 1'000;
    ChunkPool pool;
    const std::string whole(chunk_bytes, 'w');
    std::vector<Range> ranges;
    ranges.reserve(chunks_count);
    const size_t before_bytes = resident_bytes();
    for (int count = 0; count < chunks_count; ++count) {
        ranges.push_back(pool.append(bytes_of(whole), {}));
    }
    const size_t all_bytes = size_t{chunks_count} * chunk_bytes;
    EXPECT_GT(resident_bytes(), before_bytes + all_bytes * 9 / 10);
    // Every second one first, so that holes come before what lies between them.
    for (const size_t begin : {size_t{0}, size_t{1}}) {
        for (size_t index = begin; index < ranges.size(); index += 2) pool.release(ranges[index]);
    }
    EXPECT_LT(resident_bytes(), before_bytes + all_bytes / 10);
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

TEST(ChunkPool, AChunkThatTheKernelDoesNotTakeBackIsUsedAgain) {
    ChunkPool pool;
    const std::string whole(chunk_bytes, 'w');
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
    }
    if (!was_full) {
        release_all();
        GTEST_SKIP() << "vm.max_map_count is too large to be reached";
    }
    EXPECT_EQ(pool.alive_count(), 1u);
    const uint64_t kept_bytes = pool.held_bytes();
    EXPECT_GT(kept_bytes, 17 * (sizeof(Chunk) + chunk_bytes));
    take_all();
    EXPECT_EQ(pool.held_bytes(), all_bytes) << "what was kept is used before more is taken";
    EXPECT_EQ(text_of(ranges.back()), whole);
    release_all();
    EXPECT_EQ(pool.held_bytes(), 17 * (sizeof(Chunk) + chunk_bytes));
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
