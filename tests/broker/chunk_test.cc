#include "broker/chunk.h"

#include <gtest/gtest.h>

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
