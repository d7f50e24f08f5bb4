#include "tools/line_reader.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "io/base/units.h"

namespace tools {
namespace {

constexpr size_t read_bytes = 64 * base::kib;

}  // namespace

LineReader::Next LineReader::next(std::string_view& line) {
    const size_t line_end = buffer_.find('\n', scanned_);
    const bool is_last = line_end == std::string::npos && has_ended_;
    if (line_end == std::string::npos && !has_ended_) {
        scanned_ = buffer_.size();
        if (scanned_ - begin_ <= line_bytes_max) return Next::empty;
        // Forgets what it has of the line, and remembers that it did.
        is_skipping_ = true;
        begin_ = scanned_;
        return Next::empty;
    }
    if (is_last && begin_ == buffer_.size() && !is_skipping_) return Next::end;

    const size_t end = is_last ? buffer_.size() : line_end;
    line = std::string_view(buffer_).substr(begin_, end - begin_);
    begin_ = is_last ? end : end + 1;
    scanned_ = begin_;
    lines_count_ += 1;
    const bool is_too_long = is_skipping_ || line.size() > line_bytes_max;
    is_skipping_ = false;
    return is_too_long ? Next::too_long : Next::line;
}

void LineReader::read_more() {
    buffer_.erase(0, begin_);
    scanned_ -= begin_;
    begin_ = 0;
    const size_t old_bytes = buffer_.size();
    buffer_.resize(old_bytes + read_bytes);
    const ssize_t count = read(fd_, buffer_.data() + old_bytes, read_bytes);
    buffer_.resize(old_bytes + static_cast<size_t>(std::max<ssize_t>(count, 0)));
    if (count > 0) return;
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) return;
    has_ended_ = true;
    if (count < 0) error_ = errno;
}

bool LineReader::read_all(uint64_t bytes_max, std::string& out) {
    while (!has_ended_ && buffer_.size() <= bytes_max) {
        pollfd watched{.fd = fd_, .events = POLLIN, .revents = 0};
        if (poll(&watched, 1, -1) > 0) read_more();
    }
    if (buffer_.size() > bytes_max) return false;
    out = std::move(buffer_);
    buffer_.clear();
    return true;
}

}  // namespace tools
