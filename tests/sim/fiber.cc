#include "tests/sim/fiber.h"

#include <sys/mman.h>
#include <unistd.h>

#include <utility>

#include "io/base/check.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace sim {

namespace {

size_t guard_bytes() {
    return static_cast<size_t>(sysconf(_SC_PAGESIZE));
}

// AddressSanitizer keeps a shadow of the stack it believes to be on; these two tell it the truth.
void switch_begin([[maybe_unused]] void** fake_stack, [[maybe_unused]] const void* bottom,
                  [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(fake_stack, bottom, bytes);
#endif
}

void switch_end([[maybe_unused]] void* fake_stack, [[maybe_unused]] const void** bottom,
                [[maybe_unused]] size_t* bytes) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake_stack, bottom, bytes);
#endif
}

}  // namespace

Fiber::Fiber(std::function<void()> body) : body_(std::move(body)) {
    void* const mapped = mmap(nullptr, guard_bytes() + stack_bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(mapped != MAP_FAILED);
    stack_ = static_cast<uint8_t*>(mapped);
    CHECK(mprotect(stack_, guard_bytes(), PROT_NONE) == 0);
#if defined(__SANITIZE_ADDRESS__)
    // The address range may have been the stack of an earlier fiber that never ended.
    __asan_unpoison_memory_region(stack_ + guard_bytes(), stack_bytes);
#endif
    CHECK(getcontext(&inside_) == 0);
    inside_.uc_stack.ss_sp = stack_ + guard_bytes();
    inside_.uc_stack.ss_size = stack_bytes;
    inside_.uc_link = nullptr;
    // makecontext(3) passes only ints, so the pointer travels in halves.
    const uint64_t self = reinterpret_cast<uintptr_t>(this);
    makecontext(&inside_, reinterpret_cast<void (*)()>(&Fiber::trampoline), 2,
                static_cast<uint32_t>(self >> 32), static_cast<uint32_t>(self));
}

Fiber::~Fiber() {
    munmap(stack_, guard_bytes() + stack_bytes);
}

void Fiber::resume() {
    CHECK(!is_finished_ && !is_inside_);
    is_inside_ = true;
    switch_begin(&outside_fake_stack_, stack_ + guard_bytes(), stack_bytes);
    CHECK(swapcontext(&outside_, &inside_) == 0);
    switch_end(outside_fake_stack_, nullptr, nullptr);
    is_inside_ = false;
}

void Fiber::pause() {
    CHECK(is_inside_);
    switch_begin(&inside_fake_stack_, outside_bottom_, outside_bytes_);
    CHECK(swapcontext(&inside_, &outside_) == 0);
    switch_end(inside_fake_stack_, &outside_bottom_, &outside_bytes_);
}

void Fiber::trampoline(uint32_t self_high, uint32_t self_low) {
    const uint64_t self = (uint64_t{self_high} << 32) | self_low;
    reinterpret_cast<Fiber*>(static_cast<uintptr_t>(self))->run();
}

void Fiber::run() {
    switch_end(nullptr, &outside_bottom_, &outside_bytes_);
    body_();
    is_finished_ = true;
    // A null fake stack tells AddressSanitizer that this stack will not be entered again.
    switch_begin(nullptr, outside_bottom_, outside_bytes_);
    setcontext(&outside_);
    UNREACHABLE();
}

}  // namespace sim
