#include "broker/chunk.h"

#include <sanitizer/asan_interface.h>
#include <sys/mman.h>

#include <cstdlib>

namespace broker {

namespace {

// Of the standard size, pages from the kernel; malloc's for all others, and when the kernel grants
// no mapping (their number is limited, see vm.max_map_count).
Chunk* take_memory(uint32_t capacity_bytes) {
    const size_t all_bytes = sizeof(Chunk) + capacity_bytes;
    void* memory = MAP_FAILED;
    if (capacity_bytes == chunk_bytes) {
        memory =
            mmap(nullptr, all_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    const bool is_mapped = memory != MAP_FAILED;
    if (!is_mapped) memory = std::malloc(all_bytes);
    CHECK(memory != nullptr);
    auto* const chunk = static_cast<Chunk*>(memory);
    chunk->is_mapped = is_mapped;
    return chunk;
}

// False: the kernel refuses, because a mapping less in the middle of others would make one too many
// of them. Then the chunk stays, but without its pages.
bool give_back(Chunk* chunk) {
    const size_t all_bytes = sizeof(Chunk) + chunk->capacity_bytes;
    if (!chunk->is_mapped) {
        std::free(chunk);
        return true;
    }
    if (munmap(chunk, all_bytes) == 0) return true;
    static_cast<void>(madvise(chunk, all_bytes, MADV_DONTNEED));
    *chunk = Chunk{0, 0, chunk_bytes, true, 0, nullptr};
    return false;
}

}  // namespace

ChunkPool::~ChunkPool() {
    for (Chunk* chunk : open_) {
        if (chunk != nullptr) release(Range{chunk, 0, 0});
    }
    CHECK(alive_count_ == 0);
    while (spare_ != nullptr) {
        Chunk* chunk = spare_;
        spare_ = chunk->next_free;
        ASAN_UNPOISON_MEMORY_REGION(chunk->bytes(), chunk_bytes);
        static_cast<void>(give_back(chunk));
    }
}

Range ChunkPool::append(std::span<const uint8_t> head, std::span<const uint8_t> tail,
                        ChunkStream stream) {
    const uint32_t wanted = static_cast<uint32_t>(head.size() + tail.size());
    CHECK(wanted > 0);
    Chunk*& open = open_[static_cast<uint8_t>(stream)];
    Chunk* chunk = open;
    if (wanted > chunk_bytes) {
        // Too large to share a chunk: it gets its own, whose only reference is the one we hand out.
        chunk = allocate(wanted);
    } else {
        if (chunk == nullptr || chunk->capacity_bytes - chunk->used_bytes < wanted) {
            if (chunk != nullptr) release(Range{chunk, 0, 0});
            chunk = open = allocate(chunk_bytes);
        }
        ++chunk->references;
    }
    const uint32_t begin = chunk->used_bytes;
    uint8_t* out = chunk->bytes() + begin;
    if (!head.empty()) std::memcpy(out, head.data(), head.size());
    if (!tail.empty()) std::memcpy(out + head.size(), tail.data(), tail.size());
    chunk->used_bytes += wanted;
    return Range{chunk, begin, chunk->used_bytes};
}

Range ChunkPool::append_alone(std::span<const uint8_t> bytes) {
    CHECK(!bytes.empty());
    Chunk* chunk = allocate(static_cast<uint32_t>(bytes.size()));
    std::memcpy(chunk->bytes(), bytes.data(), bytes.size());
    chunk->used_bytes = static_cast<uint32_t>(bytes.size());
    return Range{chunk, 0, chunk->used_bytes};
}

Chunk* ChunkPool::allocate(uint32_t capacity_bytes) {
    Chunk* chunk = nullptr;
    if (capacity_bytes == chunk_bytes && spare_ != nullptr) {
        chunk = spare_;
        spare_ = chunk->next_free;
        --spare_count_;
        ASAN_UNPOISON_MEMORY_REGION(chunk->bytes(), chunk_bytes);
    } else {
        chunk = take_memory(capacity_bytes);
        held_bytes_ += sizeof(Chunk) + capacity_bytes;
    }
    *chunk = Chunk{1, 0, capacity_bytes, chunk->is_mapped, ++newest_number_, nullptr};
    ++alive_count_;
    return chunk;
}

void ChunkPool::recycle(Chunk* chunk) {
    --alive_count_;
    for (Chunk*& open : open_) {
        if (chunk == open) open = nullptr;
    }
    const uint64_t all_bytes = sizeof(Chunk) + chunk->capacity_bytes;
    const bool is_spare = chunk->capacity_bytes == chunk_bytes && spare_count_ < spare_count_max;
    if (is_spare || !give_back(chunk)) {
        keep(chunk);
    } else {
        held_bytes_ -= all_bytes;
    }
}

void ChunkPool::keep(Chunk* chunk) {
    ASAN_POISON_MEMORY_REGION(chunk->bytes(), chunk_bytes);
    chunk->next_free = spare_;
    spare_ = chunk;
    ++spare_count_;
}

}  // namespace broker
