// What liburing 2.3 lacks, or names differently from later versions, in one place.
#pragma once

#include <liburing.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

namespace io {

// "Any free entry of the table" for accept_direct. liburing adds one to the index; up to 2.3 the
// constant of the kernel's header wrapped around to "no table at all", and later versions accept
// this value too.
inline constexpr unsigned int file_index_any = IORING_FILE_INDEX_ALLOC - 1;

// io_uring_enable_rings(3), which liburing 2.3 declares but does not export.
[[nodiscard]] inline int enable_ring(const io_uring& ring) {
    const long result =
        syscall(SYS_io_uring_register, ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
    return result < 0 ? -errno : 0;
}

// IORING_OP_FIXED_FD_INSTALL (Linux 6.8): gives an entry of the table a descriptor of the process
// too, which is the result.
inline constexpr uint8_t op_fixed_fd_install = 54;
inline void prep_fixed_fd_install(io_uring_sqe* sqe, int index) {
    io_uring_prep_rw(op_fixed_fd_install, sqe, index, nullptr, 0, 0);
}

}  // namespace io
