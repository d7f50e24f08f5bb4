// Fiber: a function with a stack of its own that the simulated world resumes and that pauses
// itself.
//
// What it is for: a shard waits in the middle of its turn, inside Reactor::turn(). Everything that
// other shards can see while it waits (above all its sleep flag in the mesh) must be seen exactly
// then, so the simulated wait has to suspend the shard there and nowhere else.
//
// Owner: World. Thread: the one of its World; a fiber never moves to another thread.
// Invariants:
//  1. resume() returns when the body paused or ended; pause() returns at the next resume().
//  2. No exception leaves the body.
//  3. A fiber that is destroyed before it ended leaks what stands on its stack; only a failed run
//     does that.
// Limits: stack_bytes of stack, with a guard page below them.
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <cstdint>
#include <functional>

namespace sim {

class Fiber {
  public:
    static constexpr size_t stack_bytes = 512 * 1024;

    explicit Fiber(std::function<void()> body);
    ~Fiber();
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;

    // From the world. Requires !is_finished().
    void resume();
    // From the body.
    void pause();
    bool is_finished() const { return is_finished_; }

  private:
    static void trampoline(uint32_t self_high, uint32_t self_low);
    void run();

    const std::function<void()> body_;
    uint8_t* stack_ = nullptr;  // mapped; the guard page comes first
    ucontext_t inside_{};
    ucontext_t outside_{};
    bool is_inside_ = false;
    bool is_finished_ = false;

    // What AddressSanitizer wants to know about each change of stacks.
    void* inside_fake_stack_ = nullptr;
    void* outside_fake_stack_ = nullptr;
    const void* outside_bottom_ = nullptr;
    size_t outside_bytes_ = 0;
};

}  // namespace sim
