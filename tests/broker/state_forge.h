// StateForge: makes state files by hand, right and wrong ones, always with right checksums: what a
// checksum catches needs no forging. With it, a file in memory and a visitor that writes down what
// it is shown.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "broker/state_file.h"
#include "broker/state_reader.h"

namespace broker_test {

// A file without a name.
class MemoryFile {
  public:
    explicit MemoryFile(std::string_view content = {});
    ~MemoryFile();
    MemoryFile(const MemoryFile&) = delete;
    MemoryFile& operator=(const MemoryFile&) = delete;

    int fd() const { return fd_; }
    std::string content() const;

  private:
    int fd_;
};

class StateForge {
  public:
    // Begins with a right preface.
    StateForge();

    void block(broker::BlockKind kind, std::string_view content);
    // The blocks of a right file; the end counts what was given to records().
    void head(const broker::StateHead& head);
    void records(std::string_view content) { block(broker::BlockKind::records, content); }
    void end(const broker::StateCounts& counts);

    const std::string& bytes() const { return bytes_; }

  private:
    std::string bytes_;
    uint64_t blocks_count_ = 0;
};

// Contents, as broker/state_file.h describes them.
std::string head_content(const broker::StateHead& head);
std::string counts_content(const broker::StateCounts& counts);
std::string partition_record(uint32_t partition, uint64_t head, uint64_t forgotten_floor);
std::string topic_record(std::string_view topic, uint64_t floor);
std::string message_record(const topics::History::Message& message, uint64_t age_ns);
std::string keys_of_record(uint32_t shard);
std::string key_record(const topics::KeyWindow::Entry& entry);

// Everything that a reader shows, a line each.
class Transcript final : public broker::StateVisitor {
  public:
    bool partition(uint32_t partition, uint64_t head, uint64_t forgotten_floor) override;
    bool topic(uint32_t partition, std::string_view topic, uint64_t floor) override;
    bool message(uint32_t partition, const topics::History::Message& message,
                 uint64_t age_ns) override;
    bool keys_of(uint32_t shard) override;
    bool key(const topics::KeyWindow::Entry& entry) override;

    std::vector<std::string> lines;
    size_t lines_max = SIZE_MAX;  // what comes beyond is refused

  private:
    bool add(std::string line);
};

}  // namespace broker_test
