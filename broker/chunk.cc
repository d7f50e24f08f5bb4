#include "broker/chunk.h"

#include <cstdlib>

namespace broker {

ChunkPool::~ChunkPool() {
    for (Chunk* chunk : open_) {
        if (chunk != nullptr) release(Range{chunk, 0, 0});
    }
    CHECK(alive_count_ == 0);
    while (spare_ != nullptr) {
        Chunk* chunk = spare_;
        spare_ = chunk->next_free;
        free_chunk(chunk);
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
    } else {
        chunk = static_cast<Chunk*>(std::malloc(sizeof(Chunk) + capacity_bytes));
        CHECK(chunk != nullptr);
        held_bytes_ += sizeof(Chunk) + capacity_bytes;
    }
    *chunk = Chunk{1, 0, capacity_bytes, ++newest_number_, nullptr};
    ++alive_count_;
    return chunk;
}

void ChunkPool::recycle(Chunk* chunk) {
    --alive_count_;
    for (Chunk*& open : open_) {
        if (chunk == open) open = nullptr;
    }
    if (chunk->capacity_bytes == chunk_bytes && spare_count_ < spare_count_max) {
        chunk->next_free = spare_;
        spare_ = chunk;
        ++spare_count_;
    } else {
        free_chunk(chunk);
    }
}

void ChunkPool::free_chunk(Chunk* chunk) {
    held_bytes_ -= sizeof(Chunk) + chunk->capacity_bytes;
    std::free(chunk);
}

}  // namespace broker
