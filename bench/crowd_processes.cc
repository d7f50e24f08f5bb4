#include "bench/crowd_processes.h"

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "bench/load_socket.h"

namespace load {

void step_back() {
    const int policy = sched_getscheduler(0) == SCHED_OTHER ? SCHED_IDLE : SCHED_OTHER;
    const sched_param none{};
    if (sched_setscheduler(0, policy, &none) != 0) fail("scheduling: %s", std::strerror(errno));
}

CrowdProcesses::CrowdProcesses(uint32_t clients_count, const Serve& serve) {
    while (clients_count > 0) {
        const uint32_t share = std::min(clients_count, crowd_process_clients_max);
        clients_count -= share;
        int questions[2];
        int answers[2];
        if (pipe(questions) != 0 || pipe(answers) != 0) fail("pipe: %s", std::strerror(errno));
        const pid_t pid = fork();
        if (pid < 0) fail("fork: %s", std::strerror(errno));
        if (pid == 0) {
            // The pipes of the earlier ones stay open here; the program's end closes all.
            ::close(questions[1]);
            ::close(answers[0]);
            serve(share, questions[0], answers[1]);
            _exit(0);
        }
        ::close(questions[0]);
        ::close(answers[1]);
        processes_.push_back({pid, questions[1], answers[0]});
        ask(processes_.back(), 0);
        wait(processes_.back());
    }
}

CrowdProcesses::~CrowdProcesses() {
    for (const Process& process : processes_) {
        kill(process.pid, SIGKILL);
        waitpid(process.pid, nullptr, 0);
        ::close(process.questions_fd);
        ::close(process.answers_fd);
    }
}

void CrowdProcesses::ask(uint64_t messages_count) const {
    for (const Process& process : processes_) ask(process, messages_count);
}

void CrowdProcesses::wait() const {
    for (const Process& process : processes_) wait(process);
}

void CrowdProcesses::ask(const Process& process, uint64_t messages_count) {
    if (write(process.questions_fd, &messages_count, sizeof messages_count) !=
        static_cast<ssize_t>(sizeof messages_count)) {
        fail("a part of the crowd has ended");
    }
}

void CrowdProcesses::wait(const Process& process) {
    char answer = 0;
    if (read(process.answers_fd, &answer, 1) != 1) fail("a part of the crowd has ended");
}

}  // namespace load
