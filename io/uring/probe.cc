#include "io/uring/probe.h"

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "io/uring/uring_compat.h"

namespace io {

namespace {

struct Entry {
    const char* name;
    bool Probe::*member;
};

struct FeatureEntry {
    Entry entry;
    uint32_t feature;
};

struct OperationEntry {
    Entry entry;
    int operation;
};

constexpr FeatureEntry features[] = {
    {{"nodrop", &Probe::keeps_overflow}, IORING_FEAT_NODROP},
    {{"submit_stable", &Probe::submit_stable}, IORING_FEAT_SUBMIT_STABLE},
    {{"ext_arg", &Probe::wait_with_timeout}, IORING_FEAT_EXT_ARG},
    {{"cqe_skip", &Probe::silent_success}, IORING_FEAT_CQE_SKIP},
};

constexpr OperationEntry operations[] = {
    {{"accept", &Probe::accept}, IORING_OP_ACCEPT},
    {{"recv", &Probe::recv}, IORING_OP_RECV},
    {{"send", &Probe::send}, IORING_OP_SEND},
    {{"sendmsg", &Probe::sendmsg}, IORING_OP_SENDMSG},
    {{"shutdown", &Probe::shutdown}, IORING_OP_SHUTDOWN},
    {{"close", &Probe::close}, IORING_OP_CLOSE},
    {{"async_cancel", &Probe::cancel}, IORING_OP_ASYNC_CANCEL},
    {{"msg_ring", &Probe::message_ring}, IORING_OP_MSG_RING},
    {{"read", &Probe::read}, IORING_OP_READ},
};

constexpr OperationEntry install_operation = {{"fixed_fd_install", &Probe::install},
                                              op_fixed_fd_install};

// What the reactor needs.
template <class Visitor>
void for_each_entry(Visitor visit) {
    for (const FeatureEntry& feature : features) visit(feature.entry);
    for (const OperationEntry& operation : operations) visit(operation.entry);
}

}  // namespace

std::string Probe::missing() const {
    std::string names;
    for_each_entry([&](const Entry& entry) {
        if (this->*entry.member) return;
        if (!names.empty()) names += ", ";
        names += entry.name;
    });
    return names;
}

std::string Probe::text() const {
    std::string line = "io_uring:";
    const auto append = [&](const Entry& entry) {
        line += std::string(" ") + (this->*entry.member ? "" : "no-") + entry.name;
    };
    for_each_entry(append);
    append(install_operation.entry);
    return line;
}

int disabled_setting() {
    int setting = 0;
    std::FILE* const file = std::fopen("/proc/sys/kernel/io_uring_disabled", "re");
    if (file == nullptr) return 0;
    if (std::fscanf(file, "%d", &setting) != 1) setting = 0;
    std::fclose(file);
    return setting;
}

Probe probe_ring(io_uring& ring) {
    Probe probe;
    for (const FeatureEntry& feature : features) {
        probe.*feature.entry.member = (ring.features & feature.feature) != 0;
    }
    // Null when the kernel cannot even be asked; then it has none of what is newer than the
    // question.
    io_uring_probe* const answer = io_uring_get_probe_ring(&ring);
    if (answer == nullptr) return probe;
    for (const OperationEntry& operation : operations) {
        probe.*operation.entry.member = io_uring_opcode_supported(answer, operation.operation) != 0;
    }
    probe.install = io_uring_opcode_supported(answer, install_operation.operation) != 0;
    io_uring_free_probe(answer);
    return probe;
}

std::string setup_error_text(int error_number, int disabled) {
    switch (error_number) {
        case EPERM:
            switch (disabled) {
                case 1:
                    return "io_uring is allowed to one group only: run `sysctl "
                           "kernel.io_uring_disabled=0`, or add the user to the group that "
                           "kernel.io_uring_group names";
                case 2:
                    return "io_uring is switched off on this machine: run `sysctl "
                           "kernel.io_uring_disabled=0`";
            }
            return "io_uring is forbidden, most likely by the seccomp profile of a container: "
                   "allow "
                   "io_uring_setup, io_uring_enter and io_uring_register in it (docker run "
                   "--security-opt seccomp=PROFILE.json; Kubernetes: "
                   "securityContext.seccompProfile)";
        case ENOSYS:
            return "this kernel has no io_uring, or a container hides it: Linux 6.1 or newer is "
                   "needed, "
                   "built with CONFIG_IO_URING";
        case EINVAL:
            return "this kernel's io_uring is too old (it knows no SINGLE_ISSUER or "
                   "DEFER_TASKRUN): Linux "
                   "6.1 or newer is needed";
        case ENOMEM:
            return "the kernel has no memory for io_uring: raise the limit on locked memory "
                   "(ulimit -l; "
                   "systemd: LimitMEMLOCK=infinity) or the memory limit of the container";
        case EMFILE:
        case ENFILE:
            return "too many open files: raise the limit (ulimit -n; systemd: LimitNOFILE=)";
    }
    return std::string("io_uring_setup failed: ") + std::strerror(error_number);
}

}  // namespace io
