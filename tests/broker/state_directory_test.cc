#include "broker/state_directory.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace broker {
namespace {

namespace fs = std::filesystem;

class StateDirectoryTest : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string name = ::testing::TempDir() + "fanfare_state_XXXXXX";
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        parent_ = name;
        path_ = name + "/state";
    }
    void TearDown() override { fs::remove_all(parent_); }

    std::string file(const std::string& name) const { return path_ + "/" + name; }
    void write(const std::string& name, const std::string& content) const {
        std::ofstream(file(name)) << content;
    }
    std::string read(const std::string& name) const {
        std::ifstream stream(file(name));
        return {std::istreambuf_iterator<char>(stream), {}};
    }
    bool exists(const std::string& name) const {
        return fs::exists(fs::symlink_status(file(name)));
    }
    // Opens the directory and expects that it works.
    void open(StateDirectory& directory) const { ASSERT_EQ(directory.open(path_), ""); }
    // An error that contains the path and the part.
    void expect_error(const std::string& error, const std::string& part) const {
        EXPECT_NE(error.find(path_), std::string::npos) << error;
        EXPECT_NE(error.find(part), std::string::npos) << error;
    }

    std::string parent_;
    std::string path_;
};

mode_t mode_of(const std::string& path) {
    struct stat status {};
    EXPECT_EQ(::stat(path.c_str(), &status), 0) << path;
    return status.st_mode & 07777;
}

void write_to(const OwnedFd& fd, const std::string& content) {
    EXPECT_EQ(::write(fd.get(), content.data(), content.size()),
              static_cast<ssize_t>(content.size()));
}

TEST_F(StateDirectoryTest, IsMadeForItsOwnerAlone) {
    StateDirectory directory;
    EXPECT_FALSE(directory.is_open());
    open(directory);
    EXPECT_TRUE(directory.is_open());
    EXPECT_EQ(mode_of(path_), 0700u);
    EXPECT_EQ(mode_of(file("lock")), 0600u);
    const StateDirectory::Opened created = directory.create();
    ASSERT_EQ(created.error, "");
    EXPECT_EQ(directory.commit(created.fd), "");
    EXPECT_EQ(mode_of(file("fanfare.state")), 0600u);
}

TEST_F(StateDirectoryTest, MayBeThere) {
    ASSERT_TRUE(fs::create_directory(path_));
    StateDirectory directory;
    open(directory);
    EXPECT_TRUE(directory.is_open());
}

TEST_F(StateDirectoryTest, IsRefused) {
    StateDirectory directory;
    path_ = parent_ + "/nowhere/state";
    expect_error(directory.open(path_), "cannot be made: No such file or directory");
    path_ = parent_ + "/file";
    std::ofstream(path_) << "x";
    expect_error(directory.open(path_), "cannot be opened: Not a directory");
    path_ = "/proc/self";
    expect_error(directory.open(path_), "cannot be written");
    EXPECT_FALSE(directory.is_open());
}

// Only the lock can be written.
TEST_F(StateDirectoryTest, IsTriedBeforeItIsNeeded) {
    ASSERT_TRUE(fs::create_directories(file("fanfare.state.tmp")));
    StateDirectory directory;
    expect_error(directory.open(path_), "cannot be written: Is a directory");
    EXPECT_FALSE(directory.is_open());
}

TEST_F(StateDirectoryTest, BelongsToOneBroker) {
    StateDirectory other;
    {
        StateDirectory directory;
        open(directory);
        expect_error(other.open(path_), "is in use by another broker");
        EXPECT_FALSE(other.is_open());
        EXPECT_TRUE(directory.is_open());
    }
    open(other);
    EXPECT_TRUE(other.is_open());
}

TEST_F(StateDirectoryTest, HasNoStateAtFirst) {
    StateDirectory directory;
    open(directory);
    const StateDirectory::Opened opened = directory.open_state();
    EXPECT_EQ(opened.error, "");
    EXPECT_FALSE(opened.fd.is_open());
    EXPECT_FALSE(exists("fanfare.state.tmp")) << "what it tried with is gone";
}

TEST_F(StateDirectoryTest, HandsAStateOn) {
    StateDirectory directory;
    open(directory);
    const StateDirectory::Opened created = directory.create();
    ASSERT_EQ(created.error, "");
    write_to(created.fd, "state");
    EXPECT_FALSE(exists("fanfare.state")) << "not before it is complete";
    EXPECT_EQ(directory.commit(created.fd), "");
    EXPECT_EQ(read("fanfare.state"), "state");
    EXPECT_FALSE(exists("fanfare.state.tmp"));

    const StateDirectory::Opened opened = directory.open_state();
    ASSERT_TRUE(opened.fd.is_open()) << opened.error;
    char bytes[8] = {};
    EXPECT_EQ(::read(opened.fd.get(), bytes, sizeof bytes), 5);
    EXPECT_EQ(std::string(bytes), "state");
    EXPECT_EQ(directory.remove_state(), "");
    EXPECT_FALSE(exists("fanfare.state"));
    expect_error(directory.remove_state(), "removed: No such file or directory");
}

TEST_F(StateDirectoryTest, DiscardsWhatIsNotComplete) {
    StateDirectory directory;
    open(directory);
    const StateDirectory::Opened created = directory.create();
    ASSERT_EQ(created.error, "");
    write_to(created.fd, "half");
    EXPECT_TRUE(exists("fanfare.state.tmp"));
    directory.discard();
    EXPECT_FALSE(exists("fanfare.state.tmp"));
    EXPECT_FALSE(exists("fanfare.state"));
}

TEST_F(StateDirectoryTest, ClearsUpAfterABrokerThatEndedWhileSaving) {
    ASSERT_TRUE(fs::create_directory(path_));
    write("fanfare.state.tmp", "half");
    StateDirectory directory;
    open(directory);
    EXPECT_FALSE(exists("fanfare.state.tmp"));
}

TEST_F(StateDirectoryTest, BeginsAgainWithAnEmptyFile) {
    StateDirectory directory;
    open(directory);
    write_to(directory.create().fd, "something long");
    const StateDirectory::Opened created = directory.create();
    write_to(created.fd, "short");
    EXPECT_EQ(directory.commit(created.fd), "");
    EXPECT_EQ(read("fanfare.state"), "short");
}

TEST_F(StateDirectoryTest, KeepsTheYoungestThatWereSetAside) {
    StateDirectory directory;
    open(directory);
    std::string name;
    for (int number = 1; number <= 5; ++number) {
        write("fanfare.state", "damaged " + std::to_string(number));
        EXPECT_EQ(directory.set_aside("damaged", name), "");
        EXPECT_EQ(name, "fanfare.state.damaged-1");
        EXPECT_FALSE(exists("fanfare.state"));
    }
    write("fanfare.state", "unusable");
    EXPECT_EQ(directory.set_aside("unusable", name), "");
    EXPECT_EQ(read("fanfare.state.damaged-1"), "damaged 5");
    EXPECT_EQ(read("fanfare.state.damaged-2"), "damaged 4");
    EXPECT_EQ(read("fanfare.state.damaged-3"), "damaged 3");
    EXPECT_FALSE(exists("fanfare.state.damaged-4"));
    EXPECT_EQ(read("fanfare.state.unusable-1"), "unusable");
    expect_error(directory.set_aside("unusable", name), "renamed");
}

// Somebody made directories of the names that are needed.
TEST_F(StateDirectoryTest, SaysWhatIsInTheWay) {
    StateDirectory directory;
    open(directory);
    write("fanfare.state", "state");
    ASSERT_TRUE(fs::create_directories(file("fanfare.state.damaged-2/x")));
    ASSERT_TRUE(fs::create_directories(file("fanfare.state.damaged-3/x")));
    std::string name;
    expect_error(directory.set_aside("damaged", name), "fanfare.state.damaged-2");
    EXPECT_EQ(read("fanfare.state"), "state") << "it is not lost";

    fs::remove(file("fanfare.state"));
    ASSERT_TRUE(fs::create_directories(file("fanfare.state/x")));
    const StateDirectory::Opened created = directory.create();
    expect_error(directory.commit(created.fd), "renamed: Is a directory");
    expect_error(directory.remove_state(), "removed: Is a directory");
    fs::remove_all(file("fanfare.state"));
    fs::create_symlink("fanfare.state", file("fanfare.state"));
    const StateDirectory::Opened opened = directory.open_state();
    EXPECT_FALSE(opened.fd.is_open());
    expect_error(opened.error, "cannot be opened: Too many levels of symbolic links");
}

// The descriptor is of a kind that cannot be synced.
TEST_F(StateDirectoryTest, DoesNotTrustWhatIsNotOnTheDisk) {
    StateDirectory directory;
    open(directory);
    ASSERT_EQ(directory.create().error, "");
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const OwnedFd reading(ends[0]);
    const OwnedFd writing(ends[1]);
    expect_error(directory.commit(writing), "cannot be written: Invalid argument");
    EXPECT_FALSE(exists("fanfare.state"));
}

}  // namespace
}  // namespace broker
