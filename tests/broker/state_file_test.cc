// The writer and the reader of state files against each other, and the reader against everything
// that a disk or an enemy can make of a file.

#include "broker/state_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <string>
#include <vector>

#include "broker/owned_fd.h"
#include "broker/state_reader.h"
#include "broker/state_writer.h"
#include "tests/broker/state_forge.h"

namespace broker {
namespace {

using broker_test::key_record;
using broker_test::keys_of_record;
using broker_test::MemoryFile;
using broker_test::message_record;
using broker_test::partition_record;
using broker_test::StateForge;
using broker_test::topic_record;
using broker_test::Transcript;
using topics::History;
using topics::KeyWindow;

const StateHead head_of_all{.epoch = "0123456789abcdef",
                            .hash_seed = 0x1122334455667788,
                            .saved_wall_ns = 1'700'000'000'000'000'000,
                            .partitions_count = 64,
                            .shards_count = 2};

// Some of everything.
void write_all(StateWriter& writer) {
    writer.partition(3, 17, 5);
    writer.topic(3, "news/uk", 9);
    writer.topic(3, "news", 0);
    writer.message(3, {10, "news/uk", 0, R"({"a":1})"}, 250);
    writer.message(3, {17, "news", 2, std::string_view("\0\xff", 2)}, UINT64_MAX);
    writer.partition(63, UINT64_MAX, UINT64_MAX);
    writer.keys_of(0);
    writer.keys_of(1);
    writer.key({1, UINT64_MAX, 10, 77});
    writer.key({2, 3, 0, 76});
}

std::string file_of_all() {
    const MemoryFile file;
    StateWriter writer(file.fd(), head_of_all);
    write_all(writer);
    EXPECT_EQ(writer.finish(), 0);
    return file.content();
}

StateFault read_all(int fd, std::string* reason = nullptr, Transcript* transcript = nullptr) {
    StateReader reader(fd);
    StateHead head;
    StateProblem problem = reader.read_head(head);
    Transcript nobodys;
    if (problem.is_none()) {
        problem = reader.read_records(transcript == nullptr ? nobodys : *transcript);
    }
    EXPECT_EQ(problem.is_none(), problem.reason.empty());
    if (reason != nullptr) *reason = problem.reason;
    return problem.fault;
}

StateFault read_bytes(std::string_view bytes, std::string* reason = nullptr) {
    const MemoryFile file(bytes);
    return read_all(file.fd(), reason);
}

TEST(StateFile, WhatIsWrittenIsRead) {
    const MemoryFile file;
    StateWriter writer(file.fd(), head_of_all);
    write_all(writer);
    ASSERT_EQ(writer.finish(), 0);

    StateReader reader(file.fd());
    for (int time = 0; time < 2; ++time) {  // as often as one likes
        StateHead head;
        Transcript transcript;
        ASSERT_TRUE(reader.read_head(head).is_none());
        EXPECT_EQ(head, head_of_all);
        ASSERT_TRUE(reader.read_records(transcript).is_none());
        const std::vector<std::string> expected = {
            "partition 3 head 17 forgotten 5",
            "topic 3 news/uk floor 9",
            "topic 3 news floor 0",
            R"(message 3:10 news/uk kind 0 age 250 {"a":1})",
            "message 3:17 news kind 2 age 18446744073709551615 " + std::string("\0\xff", 2),
            "partition 63 head 18446744073709551615 forgotten 18446744073709551615",
            "keys of 0",
            "keys of 1",
            "key 1 18446744073709551615 offset 10 age 77",
            "key 2 3 offset 0 age 76"};
        EXPECT_EQ(transcript.lines, expected);
        const StateCounts counts{.partitions = 2,
                                 .topics = 2,
                                 .messages = 2,
                                 .keys = 2,
                                 .file_bytes = file.content().size()};
        EXPECT_EQ(reader.counts(), counts);
        EXPECT_EQ(writer.counts(), counts);
    }
}

// What the tests forge is what the writer writes; else they would test nothing.
TEST(StateFile, IsWhatTheHeaderSays) {
    StateForge forge;
    forge.head(head_of_all);
    forge.records(partition_record(3, 17, 5) + topic_record("news/uk", 9) +
                  topic_record("news", 0) + message_record({10, "news/uk", 0, R"({"a":1})"}, 250) +
                  message_record({17, "news", 2, std::string_view("\0\xff", 2)}, UINT64_MAX) +
                  partition_record(63, UINT64_MAX, UINT64_MAX) + keys_of_record(0) +
                  keys_of_record(1) + key_record({1, UINT64_MAX, 10, 77}) +
                  key_record({2, 3, 0, 76}));
    forge.end({.partitions = 2, .topics = 2, .messages = 2, .keys = 2});
    EXPECT_EQ(forge.bytes(), file_of_all());
}

TEST(StateFile, NothingIsAStateToo) {
    const MemoryFile file;
    const StateHead smallest{.epoch = "e"};
    StateWriter writer(file.fd(), smallest);
    ASSERT_EQ(writer.finish(), 0);
    Transcript transcript;
    EXPECT_EQ(read_all(file.fd(), nullptr, &transcript), StateFault::none);
    EXPECT_TRUE(transcript.lines.empty());
    StateReader reader(file.fd());
    StateHead head;
    EXPECT_TRUE(reader.read_head(head).is_none());
    EXPECT_EQ(head, smallest);
}

TEST(StateFile, ManyBlocksAndTheLargestMessage) {
    const MemoryFile file;
    StateWriter writer(file.fd(), head_of_all);
    writer.partition(0, 100'000, 0);
    const std::string topic(512, 't');
    writer.topic(0, topic, 0);
    const std::string largest(16 * base::mib, 'x');
    for (uint64_t offset = 1; offset <= 2'000; ++offset) {
        const std::string_view payload = std::string_view(largest).substr(0, offset % 700);
        writer.message(0, {offset, topic, 1, offset == 1'000 ? largest : payload}, offset);
    }
    ASSERT_EQ(writer.finish(), 0);

    class Sizes final : public StateVisitor {
      public:
        bool partition(uint32_t, uint64_t, uint64_t) override { return true; }
        bool topic(uint32_t, std::string_view name, uint64_t) override {
            return name.size() == 512;
        }
        bool message(uint32_t, const History::Message& message, uint64_t age_ns) override {
            ++messages_count;
            const size_t bytes = messages_count == 1'000 ? 16 * base::mib : messages_count % 700;
            return message.offset == messages_count && age_ns == messages_count &&
                   message.payload.size() == bytes &&
                   message.payload.find_first_not_of('x') == std::string_view::npos;
        }
        bool keys_of(uint32_t) override { return false; }
        bool key(const KeyWindow::Entry&) override { return false; }
        uint64_t messages_count = 0;
    } sizes;
    StateReader reader(file.fd());
    StateHead head;
    ASSERT_TRUE(reader.read_head(head).is_none());
    EXPECT_TRUE(reader.read_records(sizes).is_none());
    EXPECT_EQ(sizes.messages_count, 2'000u);
    EXPECT_EQ(reader.counts(), writer.counts());
}

TEST(StateFile, EveryWrongBitIsFound) {
    const std::string bytes = file_of_all();
    ASSERT_EQ(read_bytes(bytes), StateFault::none);
    for (size_t index = 0; index < bytes.size(); ++index) {
        for (int bit = 0; bit < 8; ++bit) {
            std::string changed = bytes;
            changed[index] = static_cast<char>(changed[index] ^ (1 << bit));
            const bool is_version = index >= state_magic.size() && index < state_magic.size() + 4;
            EXPECT_EQ(read_bytes(changed), is_version ? StateFault::unusable : StateFault::damaged)
                << "byte " << index << ", bit " << bit;
        }
    }
}

TEST(StateFile, EveryShorterAndEveryLongerFileIsFound) {
    const std::string bytes = file_of_all();
    for (size_t size = 0; size < bytes.size(); ++size) {
        EXPECT_EQ(read_bytes(std::string_view(bytes).substr(0, size)), StateFault::damaged) << size;
    }
    std::string reason;
    EXPECT_EQ(read_bytes(std::string_view(bytes).substr(0, bytes.size() - 1), &reason),
              StateFault::damaged);
    EXPECT_NE(reason.find("cut short"), std::string::npos) << reason;
    EXPECT_EQ(read_bytes(bytes + '\0', &reason), StateFault::damaged);
    EXPECT_NE(reason.find("follows its end"), std::string::npos) << reason;
}

TEST(StateFile, AnotherVersionIsSaid) {
    std::string bytes = file_of_all();
    bytes[state_magic.size()] = 2;
    std::string reason;
    EXPECT_EQ(read_bytes(bytes, &reason), StateFault::unusable);
    EXPECT_NE(reason.find("version 2"), std::string::npos) << reason;
}

// Each block is right; where it stands is not.
TEST(StateFile, BlocksHaveTheirPlace) {
    const std::string one = partition_record(0, 1, 0);
    const std::string two = partition_record(1, 1, 0);
    StateForge right;
    right.head(head_of_all);
    const size_t first = right.bytes().size();
    right.records(one);
    const size_t second = right.bytes().size();
    right.records(two);
    const size_t third = right.bytes().size();
    right.end({.partitions = 2});
    const std::string bytes = right.bytes();
    ASSERT_EQ(read_bytes(bytes), StateFault::none);
    ASSERT_EQ(second - first, third - second);

    const std::string block_1 = bytes.substr(first, second - first);
    std::string swapped = bytes;
    swapped.replace(first, block_1.size(), bytes, second, block_1.size());
    swapped.replace(second, block_1.size(), block_1);
    std::string missing = bytes;
    missing.erase(first, block_1.size());
    std::string repeated = bytes;
    repeated.insert(first, block_1);
    std::string reason;
    for (const std::string& wrong : {swapped, missing, repeated}) {
        EXPECT_EQ(read_bytes(wrong, &reason), StateFault::damaged);
        EXPECT_NE(reason.find("not in its place"), std::string::npos) << reason;
    }
}

TEST(StateFile, BlocksHaveAKnownKind) {
    for (const uint32_t kind : {0u, 1u, 4u, UINT32_MAX}) {
        StateForge forge;
        forge.head(head_of_all);
        forge.block(BlockKind{kind}, "");
        forge.end({});
        EXPECT_EQ(read_bytes(forge.bytes()), StateFault::damaged) << kind;
    }
    for (const BlockKind first : {BlockKind::records, BlockKind::end, BlockKind{0}}) {
        StateForge forge;
        forge.block(first, broker_test::head_content(head_of_all));
        forge.end({});
        EXPECT_EQ(read_bytes(forge.bytes()), StateFault::damaged);
    }
}

// A length is not believed, and nothing is allocated for it.
TEST(StateFile, BlocksHaveALimit) {
    std::string reason;
    for (const uint32_t content_bytes : {1u, state_block_bytes_max, state_block_bytes_max + 1}) {
        StateForge forge;
        forge.head(head_of_all);
        const BlockHead head{BlockKind::records, content_bytes, 1, 0};
        std::string bytes = forge.bytes();
        bytes.append(reinterpret_cast<const char*>(&head), sizeof head);
        EXPECT_EQ(read_bytes(bytes, &reason), StateFault::damaged);
        const bool is_too_large = content_bytes > state_block_bytes_max;
        EXPECT_NE(reason.find(is_too_large ? "too large" : "cut short"), std::string::npos)
            << reason;
        // With as many bytes behind it as it says.
        const MemoryFile file(bytes);
        const off_t size = static_cast<off_t>(bytes.size()) + off_t{content_bytes};
        ASSERT_EQ(::ftruncate(file.fd(), size), 0);
        EXPECT_EQ(read_all(file.fd(), &reason), StateFault::damaged);
        EXPECT_NE(reason.find(is_too_large ? "too large" : "checksum"), std::string::npos)
            << reason;
    }
}

TEST(StateFile, HeadsAreChecked) {
    const auto read_head = [](std::string_view content) {
        StateForge forge;
        forge.block(BlockKind::head, content);
        forge.end({});
        return read_bytes(forge.bytes());
    };
    StateHead head = head_of_all;
    head.epoch.assign(state_epoch_bytes_max, 'e');
    EXPECT_EQ(read_head(broker_test::head_content(head)), StateFault::none);
    head.epoch += 'e';
    EXPECT_EQ(read_head(broker_test::head_content(head)), StateFault::damaged);
    head.epoch.clear();
    EXPECT_EQ(read_head(broker_test::head_content(head)), StateFault::damaged);
    const std::string content = broker_test::head_content(head_of_all);
    EXPECT_EQ(read_head(content + 'x'), StateFault::damaged);
    for (size_t size = 0; size < content.size(); ++size) {
        EXPECT_EQ(read_head(content.substr(0, size)), StateFault::damaged) << size;
    }
}

// What reading answers when the records are these and the sums are right.
StateFault read_records(const std::string& records, const StateCounts& counts) {
    StateForge forge;
    forge.head(head_of_all);
    forge.records(records);
    forge.end(counts);
    return read_bytes(forge.bytes());
}

TEST(StateFile, RecordsEndInTheirBlock) {
    const std::string partition = partition_record(0, 1, 0);
    const std::string keys = keys_of_record(0);
    const std::string topic = topic_record("topic", 1);
    const std::string message = message_record({1, "topic", 1, "payload"}, 5);
    const std::string key = key_record({1, 2, 3, 4});
    struct Case {
        std::string before;
        std::string record;
        StateCounts counts;
    };
    const Case cases[] = {{"", partition, {.partitions = 1}},
                          {partition, topic, {.partitions = 1, .topics = 1}},
                          {partition, message, {.partitions = 1, .messages = 1}},
                          {"", keys, {}},
                          {keys, key, {.keys = 1}}};
    for (const Case& one : cases) {
        EXPECT_EQ(read_records(one.before + one.record, one.counts), StateFault::none);
        for (size_t size = 1; size < one.record.size(); ++size) {
            const std::string cut = one.before + one.record.substr(0, size);
            EXPECT_EQ(read_records(cut, one.counts), StateFault::damaged) << size;
        }
        EXPECT_EQ(read_records(one.before + one.record + '\0', one.counts), StateFault::damaged);
        EXPECT_EQ(read_records(one.before + one.record + '\x06', one.counts), StateFault::damaged);
    }
}

TEST(StateFile, RecordsHaveAnOrder) {
    EXPECT_EQ(read_records(topic_record("a", 0), {.topics = 1}), StateFault::damaged);
    EXPECT_EQ(read_records(message_record({1, "a", 0, ""}, 0), {.messages = 1}),
              StateFault::damaged);
    EXPECT_EQ(read_records(key_record({1, 2, 3, 4}), {.keys = 1}), StateFault::damaged);
    // The reader forgets what it knew of another file.
    const MemoryFile file(file_of_all());
    StateReader reader(file.fd());
    StateHead head;
    Transcript transcript;
    ASSERT_TRUE(reader.read_head(head).is_none());
    ASSERT_TRUE(reader.read_records(transcript).is_none());
    StateForge forge;
    forge.head(head_of_all);
    forge.records(topic_record("a", 0));
    forge.end({.topics = 1});
    ASSERT_EQ(::ftruncate(file.fd(), 0), 0);
    ASSERT_EQ(::pwrite(file.fd(), forge.bytes().data(), forge.bytes().size(), 0),
              static_cast<ssize_t>(forge.bytes().size()));
    ASSERT_TRUE(reader.read_head(head).is_none());
    EXPECT_EQ(reader.read_records(transcript).fault, StateFault::damaged);
}

TEST(StateFile, SumsAreCompared) {
    const std::string records = partition_record(0, 1, 0) + topic_record("a", 0) +
                                message_record({1, "a", 0, ""}, 0) + keys_of_record(0) +
                                key_record({1, 2, 3, 4});
    const StateCounts right{.partitions = 1, .topics = 1, .messages = 1, .keys = 1};
    EXPECT_EQ(read_records(records, right), StateFault::none);
    for (uint64_t StateCounts::*member : {&StateCounts::partitions, &StateCounts::topics,
                                          &StateCounts::messages, &StateCounts::keys}) {
        StateCounts wrong = right;
        wrong.*member = 2;
        EXPECT_EQ(read_records(records, wrong), StateFault::damaged);
    }
    for (const std::string& content :
         {broker_test::counts_content(right) + 'x', broker_test::counts_content(right).substr(1)}) {
        StateForge forge;
        forge.head(head_of_all);
        forge.records(records);
        forge.block(BlockKind::end, content);
        EXPECT_EQ(read_bytes(forge.bytes()), StateFault::damaged);
    }
}

TEST(StateFile, AVisitorMayRefuse) {
    const MemoryFile file(file_of_all());
    for (size_t lines_max = 0; lines_max < 10; ++lines_max) {
        Transcript transcript;
        transcript.lines_max = lines_max;
        std::string reason;
        EXPECT_EQ(read_all(file.fd(), &reason, &transcript), StateFault::damaged);
        EXPECT_NE(reason.find("contradicts"), std::string::npos) << reason;
        EXPECT_EQ(transcript.lines.size(), lines_max) << "nothing more is shown";
    }
}

TEST(StateFile, WhatCannotBeReadIsNotDamaged) {
    EXPECT_EQ(read_all(-1), StateFault::unreadable);
    const OwnedFd write_only(::open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    EXPECT_EQ(read_all(write_only.get()), StateFault::damaged) << "not a file";
    const MemoryFile file(file_of_all());
    const std::string path = "/proc/self/fd/" + std::to_string(file.fd());
    const OwnedFd unreadable(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_TRUE(unreadable.is_open());
    EXPECT_EQ(read_all(unreadable.get()), StateFault::unreadable);
}

TEST(StateWriter, SaysWhenTheDiskIsFull) {
    const OwnedFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
    ASSERT_TRUE(full.is_open());
    StateWriter writer(full.get(), head_of_all);
    write_all(writer);
    EXPECT_EQ(writer.finish(), ENOSPC);
}

TEST(StateWriter, StopsAtTheFirstFailure) {
    constexpr rlim_t bytes_max = 600 * base::kib;
    struct rlimit before {};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
    const auto handler_before = std::signal(SIGXFSZ, SIG_IGN);
    struct rlimit limited = before;
    limited.rlim_cur = bytes_max;
    char path[] = "/tmp/fanfare_state_writer_XXXXXX";
    const OwnedFd file(::mkstemp(path));
    ASSERT_TRUE(file.is_open());
    ::unlink(path);
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limited), 0);

    StateWriter writer(file.get(), head_of_all);
    writer.partition(0, 1'000'000, 0);
    writer.topic(0, "a", 0);
    const std::string payload(1'000, 'x');
    for (uint64_t offset = 1; offset <= 1'000; ++offset) {
        writer.message(0, {offset, "a", 0, payload}, 0);
    }
    const int error = writer.finish();
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
    std::signal(SIGXFSZ, handler_before);
    EXPECT_EQ(error, EFBIG);
    EXPECT_EQ(::lseek(file.get(), 0, SEEK_END), static_cast<off_t>(bytes_max));
    EXPECT_EQ(read_all(file.get()), StateFault::damaged);
}

}  // namespace
}  // namespace broker
