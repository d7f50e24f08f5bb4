#include "tests/tools/captured_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include "io/base/check.h"

namespace tools_test {

CapturedFile::CapturedFile() : fd_(memfd_create("captured", MFD_CLOEXEC)) {
    CHECK(fd_ >= 0);
}

CapturedFile::CapturedFile(std::string_view content) : CapturedFile() {
    CHECK(write(fd_, content.data(), content.size()) == static_cast<ssize_t>(content.size()));
    CHECK(lseek(fd_, 0, SEEK_SET) == 0);
}

CapturedFile::~CapturedFile() {
    close(fd_);
}

std::string CapturedFile::text() const {
    std::string out;
    char piece[4096];
    while (true) {
        const ssize_t count = pread(fd_, piece, sizeof piece, static_cast<off_t>(out.size()));
        CHECK(count >= 0);
        if (count == 0) return out;
        out.append(piece, static_cast<size_t>(count));
    }
}

std::vector<std::string> CapturedFile::lines() const {
    std::vector<std::string> lines;
    std::string rest = text();
    while (!rest.empty()) {
        const size_t end = rest.find('\n');
        lines.push_back(rest.substr(0, end));
        rest.erase(0, end == std::string::npos ? end : end + 1);
    }
    return lines;
}

}  // namespace tools_test
