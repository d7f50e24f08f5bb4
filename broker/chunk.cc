#include "broker/chunk.h"

#include <sanitizer/asan_interface.h>
#include <sys/mman.h>

#include <cstdlib>
#include <utility>

namespace broker {

namespace {

size_t all_bytes(const Chunk* chunk) {
    return sizeof(Chunk) + chunk->capacity_bytes;
}

void unpoison(Chunk* chunk) {
    ASAN_UNPOISON_MEMORY_REGION(chunk->bytes(), chunk->capacity_bytes);
}

// What a mapping of that many bytes holds anyway.
uint32_t fill_pages(uint32_t capacity_bytes) {
    constexpr uint32_t page_bytes = 4'096;
    const uint32_t head_bytes = sizeof(Chunk);
    return base::align_up(head_bytes + capacity_bytes, page_bytes) - head_bytes;
}

// Of the standard size or larger, pages from the kernel; malloc's for smaller ones, and when the
// kernel grants no mapping (their number is limited, see vm.max_map_count).
Chunk* take_memory(uint32_t wanted_bytes) {
    const bool is_large = wanted_bytes >= chunk_bytes;
    const uint32_t capacity_bytes = is_large ? fill_pages(wanted_bytes) : wanted_bytes;
    const size_t bytes = sizeof(Chunk) + capacity_bytes;
    void* memory = MAP_FAILED;
    if (is_large) {
        memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    }
    const bool is_mapped = memory != MAP_FAILED;
    if (!is_mapped) memory = std::malloc(bytes);
    CHECK(memory != nullptr);
    auto* const chunk = static_cast<Chunk*>(memory);
    chunk->capacity_bytes = capacity_bytes;
    chunk->is_mapped = is_mapped;
    return chunk;
}

// False: the kernel refuses, because a mapping less in the middle of others would make one too many
// of them. Then the chunk stays, but without its pages.
bool give_back(Chunk* chunk) {
    if (!chunk->is_mapped) {
        std::free(chunk);
        return true;
    }
    const size_t bytes = all_bytes(chunk);
    if (munmap(chunk, bytes) == 0) return true;
    const uint32_t capacity_bytes = chunk->capacity_bytes;
    static_cast<void>(madvise(chunk, bytes, MADV_DONTNEED));
    *chunk = Chunk{0, 0, capacity_bytes, true, 0, nullptr};
    return false;
}

}  // namespace

ChunkPool::~ChunkPool() {
    for (Chunk* chunk : open_) {
        if (chunk != nullptr) release(Range{chunk, 0, 0});
    }
    CHECK(alive_count_ == 0);
    drop_spares();
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

Chunk* ChunkPool::allocate(uint32_t wanted_bytes) {
    Chunk* chunk = take_spare(wanted_bytes);
    if (chunk == nullptr) {
        chunk = take_memory(wanted_bytes);
        held_bytes_ += all_bytes(chunk);
    }
    *chunk = Chunk{1, 0, chunk->capacity_bytes, chunk->is_mapped, ++newest_number_, nullptr};
    ++alive_count_;
    return chunk;
}

Chunk* ChunkPool::take_spare(uint32_t wanted_bytes) {
    if (wanted_bytes < chunk_bytes) return nullptr;
    const bool is_standard = wanted_bytes == chunk_bytes;
    Chunk** link = is_standard ? &spare_ : &large_spare_;
    // Much larger ones wait for what needs them.
    const uint32_t capacity_bytes_max = is_standard ? chunk_bytes : wanted_bytes + wanted_bytes / 4;
    const auto fits = [&](const Chunk* chunk) {
        return chunk->capacity_bytes >= wanted_bytes && chunk->capacity_bytes <= capacity_bytes_max;
    };
    while (*link != nullptr && !fits(*link)) link = &(*link)->next_free;
    Chunk* const chunk = *link;
    if (chunk == nullptr) return nullptr;
    *link = chunk->next_free;
    if (is_standard) {
        --spare_count_;
    } else {
        large_spare_bytes_ -= all_bytes(chunk);
    }
    unpoison(chunk);
    return chunk;
}

void ChunkPool::recycle(Chunk* chunk) {
    --alive_count_;
    for (Chunk*& open : open_) {
        if (chunk == open) open = nullptr;
    }
    const bool is_spare =
        chunk->capacity_bytes == chunk_bytes
            ? spare_count_ < spare_count_max
            : chunk->capacity_bytes > chunk_bytes && all_bytes(chunk) <= large_spare_bytes_max;
    if (is_spare || !drop(chunk)) keep(chunk);
    trim_large_spares();
}

void ChunkPool::keep(Chunk* chunk) {
    ASAN_POISON_MEMORY_REGION(chunk->bytes(), chunk->capacity_bytes);
    const bool is_standard = chunk->capacity_bytes == chunk_bytes;
    Chunk*& first = is_standard ? spare_ : large_spare_;
    chunk->next_free = first;
    first = chunk;
    if (is_standard) {
        ++spare_count_;
    } else {
        large_spare_bytes_ += all_bytes(chunk);
    }
}

void ChunkPool::drop_spares() {
    if (spare_ == nullptr && large_spare_ == nullptr) return;
    // Those that the kernel does not take are kept anew.
    Chunk* lists[] = {std::exchange(spare_, nullptr), std::exchange(large_spare_, nullptr)};
    spare_count_ = 0;
    large_spare_bytes_ = 0;
    for (Chunk* next : lists) {
        while (next != nullptr) {
            Chunk* const chunk = std::exchange(next, next->next_free);
            unpoison(chunk);
            if (!drop(chunk)) keep(chunk);
        }
    }
}

bool ChunkPool::drop(Chunk* chunk) {
    const size_t bytes = all_bytes(chunk);
    if (!give_back(chunk)) return false;
    held_bytes_ -= bytes;
    return true;
}

void ChunkPool::trim_large_spares() {
    while (large_spare_bytes_ > large_spare_bytes_max) {
        DCHECK(large_spare_ != nullptr);
        Chunk** link = &large_spare_;
        while ((*link)->next_free != nullptr) link = &(*link)->next_free;
        Chunk* const oldest = *link;
        const size_t bytes = all_bytes(oldest);
        unpoison(oldest);
        if (!drop(oldest)) return;
        *link = nullptr;
        large_spare_bytes_ -= bytes;
    }
}

}  // namespace broker
