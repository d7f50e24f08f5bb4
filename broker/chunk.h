// Chunks: where encoded bytes live, once per core, however many subscribers get them.
//
// A shard appends everything that it sends (frames of messages, replies, HTTP responses) to its
// open chunk. What stands in a queue is a Range: a piece of a chunk. Two frames that were appended
// one after the other are one range for a subscriber of both, and so one buffer of one send.
//
// Owner: a shard holds one ChunkPool; ranges are held by outbound queues. Thread: its shard's; the
// reference counts are plain integers.
// Invariants:
//  1. A frame never spans two chunks. One that is larger than chunk_bytes gets a chunk of its own.
//  2. Bytes once appended never change, and stay while a range refers to the chunk.
//  3. References count ranges, not bytes: extending a range costs nothing. The open chunk has one
//     more.
//  4. Frames of one stream lie one behind the other: compressed frames have a chunk of their own,
//     so that who gets only these, or only the others, has few ranges.
//  5. When the pool is destroyed no chunk but the open one is alive.
//  6. A few chunks are kept for use again: of the standard size, and of larger ones those that were
//     in use last. The others' pages go back to the kernel as soon as nothing refers to them:
//     malloc would keep what a burst took.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>

#include "io/base/check.h"
#include "io/base/units.h"

namespace broker {

struct Chunk {
    uint32_t references;
    uint32_t used_bytes;
    uint32_t capacity_bytes;
    bool is_mapped;   // from mmap(2), not malloc(3)
    uint64_t number;  // rises with every chunk that is taken into use, so it tells its age
    Chunk* next_free;

    uint8_t* bytes() { return reinterpret_cast<uint8_t*>(this + 1); }
};

// What fits into a chunk of the standard size, which is of whole pages with its head.
inline constexpr uint32_t chunk_bytes = 64 * 1024 - sizeof(Chunk);

struct Range {
    Chunk* chunk = nullptr;
    uint32_t begin = 0;
    uint32_t end = 0;

    uint32_t size() const { return end - begin; }
    uint8_t* data() const { return chunk->bytes() + begin; }
};
static_assert(sizeof(Range) == 16);

enum class ChunkStream : uint8_t { plain, compressed };

class ChunkPool {
  public:
    ChunkPool() = default;
    ~ChunkPool();
    ChunkPool(const ChunkPool&) = delete;
    ChunkPool& operator=(const ChunkPool&) = delete;

    // Copies head and tail together into the open chunk. The range comes with one reference, which
    // the caller gives back with release() when it has handed the range to all queues.
    [[nodiscard]] Range append(std::span<const uint8_t> head, std::span<const uint8_t> tail,
                               ChunkStream stream = ChunkStream::plain);

    // Copies the bytes into a chunk of their own, for what is kept for long: a piece of the open
    // chunk would keep all of it.
    [[nodiscard]] Range append_alone(std::span<const uint8_t> bytes);

    static void retain(const Range& range) { ++range.chunk->references; }
    void release(const Range& range) {
        DCHECK(range.chunk->references > 0);
        if (--range.chunk->references == 0) recycle(range.chunk);
    }

    // Gives the spare chunks back to the kernel, as far as it takes them.
    void drop_spares();

    // Memory of all chunks that are alive, and of the spare ones.
    uint64_t held_bytes() const { return held_bytes_; }
    // The same without the spare ones, which whoever is short of memory can have.
    uint64_t alive_bytes() const {
        return held_bytes_ - large_spare_bytes_ - spare_count_ * (sizeof(Chunk) + chunk_bytes);
    }
    uint32_t alive_count() const { return alive_count_; }
    // Of the chunk that was taken into use last.
    uint64_t newest_number() const { return newest_number_; }

  private:
    static constexpr uint32_t spare_count_max = 16;
    static constexpr uint64_t large_spare_bytes_max = 4 * base::mib;

    Chunk* allocate(uint32_t wanted_bytes);
    Chunk* take_spare(uint32_t wanted_bytes);
    void recycle(Chunk* chunk);
    void keep(Chunk* chunk);
    // False: it stays, since the kernel does not take it back.
    [[nodiscard]] bool drop(Chunk* chunk);
    void trim_large_spares();

    Chunk* open_[2] = {};     // by stream
    Chunk* spare_ = nullptr;  // chunks of the standard size that wait for use
    uint32_t spare_count_ = 0;
    Chunk* large_spare_ = nullptr;  // larger ones, what was in use last first
    uint64_t large_spare_bytes_ = 0;
    uint32_t alive_count_ = 0;  // with a reference; the open one included
    uint64_t held_bytes_ = 0;
    uint64_t newest_number_ = 0;
};

}  // namespace broker
