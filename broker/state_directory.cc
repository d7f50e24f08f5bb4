#include "broker/state_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace broker {

namespace {

constexpr const char* lock_name = "lock";
constexpr const char* state_name = "fanfare.state";
constexpr const char* temporary_name = "fanfare.state.tmp";
// What was published is nobody's business but the broker's.
constexpr mode_t directory_mode = 0700;
constexpr mode_t file_mode = 0600;

std::string set_aside_name(std::string_view kind, uint32_t number) {
    return std::string(state_name) + "." + std::string(kind) + "-" + std::to_string(number);
}

}  // namespace

std::string StateDirectory::open(const std::string& path) {
    path_ = path;
    if (::mkdir(path.c_str(), directory_mode) != 0 && errno != EEXIST) {
        return failed("cannot be made", errno);
    }
    directory_ = OwnedFd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory_.is_open()) return failed("cannot be opened", errno);
    OwnedFd lock(::openat(directory_.get(), lock_name, O_RDWR | O_CREAT | O_CLOEXEC, file_mode));
    if (!lock.is_open()) return failed("cannot be written", errno);
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) return path_ + " is in use by another broker";
        return failed("cannot be locked", errno);
    }
    // Also takes away what a broker left that ended while it was saving.
    const Opened probe = create();
    if (!probe.error.empty()) return probe.error;
    discard();
    lock_ = std::move(lock);
    return {};
}

StateDirectory::Opened StateDirectory::open_state() const {
    // Not to wait for a writer, should somebody have put a pipe there.
    OwnedFd fd(::openat(directory_.get(), state_name, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (fd.is_open() || errno == ENOENT) return {std::move(fd), {}};
    return {{}, failed("has a state that cannot be opened", errno)};
}

std::string StateDirectory::set_aside(std::string_view kind, std::string& name) const {
    const int directory = directory_.get();
    for (uint32_t number = states_set_aside_max; number > 1; --number) {
        const std::string from = set_aside_name(kind, number - 1);
        const std::string to = set_aside_name(kind, number);
        if (::renameat(directory, from.c_str(), directory, to.c_str()) != 0 && errno != ENOENT) {
            return failed("does not let " + from + " be renamed", errno);
        }
    }
    name = set_aside_name(kind, 1);
    if (::renameat(directory, state_name, directory, name.c_str()) != 0) {
        return failed("does not let its state be renamed", errno);
    }
    return sync();
}

std::string StateDirectory::remove_state() const {
    if (::unlinkat(directory_.get(), state_name, 0) != 0) {
        return failed("does not let its state be removed", errno);
    }
    return sync();
}

StateDirectory::Opened StateDirectory::create() const {
    OwnedFd fd(::openat(directory_.get(), temporary_name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC,
                        file_mode));
    if (fd.is_open()) return {std::move(fd), {}};
    return {{}, failed("cannot be written", errno)};
}

std::string StateDirectory::commit(const OwnedFd& fd) const {
    const int directory = directory_.get();
    if (::fsync(fd.get()) != 0) return failed("cannot be written", errno);
    if (::renameat(directory, temporary_name, directory, state_name) != 0) {
        return failed("does not let its state be renamed", errno);
    }
    return sync();
}

void StateDirectory::discard() const {
    // Should it fail, the next start tries again, and nobody reads a file of that name.
    ::unlinkat(directory_.get(), temporary_name, 0);
}

std::string StateDirectory::failed(std::string_view what, int error_number) const {
    return path_ + " " + std::string(what) + ": " + std::strerror(error_number);
}

std::string StateDirectory::sync() const {
    return ::fsync(directory_.get()) == 0 ? std::string() : failed("cannot be synced", errno);
}

}  // namespace broker
