// CrowdProcesses: many subscribers of one topic in processes of their own, because one process may
// have no more descriptors than its limit, and because a crowd must not delay the clock of whoever
// measures beside it: once the clients are there, they are scheduled behind it.
//
// Owner: a load program's one thread, which makes them before it opens sockets of its own.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace load {

// Of one process, beside some for itself.
inline constexpr uint32_t crowd_process_clients_max = 9'000;

// To be called in a process of the crowd: whoever measures goes first. Below a realtime policy
// stands any ordinary one, below that an idle one.
void step_back();

class CrowdProcesses {
  public:
    // What a process of the crowd does: it opens so many clients, and answers each number that it
    // reads from `questions_fd` with a byte to `answers_fd` when all of them have so many messages.
    // The first number is 0: all are subscribed. One process comes after the other, because a
    // broker that is asked for too much at once refuses some.
    using Serve = std::function<void(uint32_t clients_count, int questions_fd, int answers_fd)>;

    CrowdProcesses(uint32_t clients_count, const Serve& serve);
    ~CrowdProcesses();
    CrowdProcesses(const CrowdProcesses&) = delete;
    CrowdProcesses& operator=(const CrowdProcesses&) = delete;

    // Asks all of them at once; wait() then returns when all have answered. Ends the program when
    // one of them has ended.
    void ask(uint64_t messages_count) const;
    void wait() const;

  private:
    struct Process {
        pid_t pid = 0;
        int questions_fd = -1;
        int answers_fd = -1;
    };
    static void ask(const Process& process, uint64_t messages_count);
    static void wait(const Process& process);

    std::vector<Process> processes_;
};

}  // namespace load
