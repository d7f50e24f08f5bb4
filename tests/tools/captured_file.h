// CapturedFile: an unnamed file, to be given as stdin, stdout or stderr of what is tested.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tools_test {

class CapturedFile {
  public:
    CapturedFile();
    // With content, and positioned at its beginning.
    explicit CapturedFile(std::string_view content);
    ~CapturedFile();
    CapturedFile(const CapturedFile&) = delete;
    CapturedFile& operator=(const CapturedFile&) = delete;

    int fd() const { return fd_; }
    std::string text() const;
    std::vector<std::string> lines() const;
    bool contains(std::string_view part) const { return text().find(part) != std::string::npos; }

  private:
    int fd_;
};

}  // namespace tools_test
