#include "tests/codec/allocation_counter.h"

#include <cstddef>
#include <cstdlib>
#include <new>

#include "io/base/check.h"

namespace {

uint64_t calls_count = 0;

void* allocate(size_t bytes_count, size_t alignment) {
    ++calls_count;
    const size_t rounded = (bytes_count + alignment - 1) / alignment * alignment;
    void* const block = std::aligned_alloc(alignment, rounded == 0 ? alignment : rounded);
    CHECK(block != nullptr);
    return block;
}

}  // namespace

void* operator new(size_t bytes_count) {
    return allocate(bytes_count, alignof(std::max_align_t));
}
void* operator new(size_t bytes_count, std::align_val_t alignment) {
    return allocate(bytes_count, static_cast<size_t>(alignment));
}
void* operator new(size_t bytes_count, const std::nothrow_t&) noexcept {
    return allocate(bytes_count, alignof(std::max_align_t));
}
void operator delete(void* block) noexcept {
    std::free(block);
}
void operator delete(void* block, size_t) noexcept {
    std::free(block);
}
void operator delete(void* block, std::align_val_t) noexcept {
    std::free(block);
}
void operator delete(void* block, size_t, std::align_val_t) noexcept {
    std::free(block);
}
void operator delete(void* block, const std::nothrow_t&) noexcept {
    std::free(block);
}

namespace codec::testing {

uint64_t allocations_count() {
    return calls_count;
}

}  // namespace codec::testing
