// TemporaryFolder: a folder of one's own, gone with all its files at the end.
#pragma once

#include <string>
#include <string_view>

namespace tools_test {

class TemporaryFolder {
  public:
    TemporaryFolder();
    ~TemporaryFolder();
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;

    std::string path(std::string_view name) const { return path_ + "/" + std::string(name); }
    // Writes a file and answers its path.
    std::string write(std::string_view name, std::string_view content) const;
    // What stands in the file; empty when there is none.
    std::string read(std::string_view name) const;
    int files_count() const;

  private:
    std::string path_;
};

}  // namespace tools_test
