// Trees as systemd, Docker and Kubernetes lay them out, made of plain files.

#include "broker/control_groups.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace broker {
namespace {

class ControlGroups : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string name = ::testing::TempDir() + "fanfare_cgroup_XXXXXX";
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        folder_ = name;
    }
    void TearDown() override { std::filesystem::remove_all(folder_); }

    void write(const std::string& file, const std::string& text) const {
        const std::filesystem::path path = folder_ + file;
        std::filesystem::create_directories(path.parent_path());
        std::ofstream(path) << text << "\n";
    }
    ControlGroupLimits read(const std::string& membership) const {
        write("/self", membership);
        return read_control_group_limits(folder_ + "/fs", folder_ + "/self");
    }

    std::string folder_;
};

TEST_F(ControlGroups, AUnitsLimitIsFoundAtItsPath) {
    write("/fs/system.slice/fanfare.service/memory.max", "1073741824");
    write("/fs/system.slice/fanfare.service/cpu.max", "150000 100000");
    const ControlGroupLimits limits = read("0::/system.slice/fanfare.service");
    EXPECT_EQ(limits.memory_bytes, uint64_t{1} << 30);
    EXPECT_EQ(limits.processors, 2u) << "one and a half";
}

TEST_F(ControlGroups, TheLeastOnTheWayUpCounts) {
    write("/fs/memory.max", "900");
    write("/fs/a/memory.max", "500");
    write("/fs/a/b/memory.max", "max");
    write("/fs/a/b/c/memory.max", "700");
    write("/fs/a/cpu.max", "max 100000");
    write("/fs/a/b/cpu.max", "100000 100000");
    write("/fs/a/b/c/cpu.max", "400001 100000");
    const ControlGroupLimits limits = read("0::/a/b/c");
    EXPECT_EQ(limits.memory_bytes, 500u);
    EXPECT_EQ(limits.processors, 1u);
    EXPECT_EQ(read("0::/").memory_bytes, 900u);
}

TEST_F(ControlGroups, AContainerSeesItsOwnAtTheRoot) {
    write("/fs/memory.max", "4096");
    write("/fs/cpu.max", "50000 100000");
    for (const char* membership : {"0::/", "0::/../../outside", "0::/docker/hidden"}) {
        const ControlGroupLimits limits = read(membership);
        EXPECT_EQ(limits.memory_bytes, 4'096u) << membership;
        EXPECT_EQ(limits.processors, 1u) << membership;
    }
}

TEST_F(ControlGroups, VersionOneHasATreeForEachController) {
    write("/fs/memory/docker/x/memory.limit_in_bytes", "8192");
    write("/fs/cpu/docker/y/cpu.cfs_quota_us", "300000");
    write("/fs/cpu/docker/y/cpu.cfs_period_us", "200000");
    const std::string membership = "9:pids:/z\n4:memory:/docker/x\n3:cpu,cpuacct:/docker/y\n0::/";
    ControlGroupLimits limits = read(membership);
    EXPECT_EQ(limits.memory_bytes, 8'192u);
    EXPECT_EQ(limits.processors, 2u);
    // As it stands where there is no limit.
    write("/fs/memory/docker/x/memory.limit_in_bytes", "9223372036854771712");
    write("/fs/cpu/docker/y/cpu.cfs_quota_us", "-1");
    limits = read(membership);
    EXPECT_GT(limits.memory_bytes, uint64_t{1} << 60);
    EXPECT_EQ(limits.processors, UINT32_MAX);
}

TEST_F(ControlGroups, WhatCannotBeReadIsNoLimit) {
    write("/fs/memory.max", "");
    write("/fs/cpu.max", "100000");
    for (const char* membership :
         {"", "::", "0:", "0::", "0::/", "no colon", "0::/a//b", "0::ab", "0:/", "\n0::/a\n"}) {
        const ControlGroupLimits limits = read(membership);
        EXPECT_EQ(limits.memory_bytes, UINT64_MAX) << membership;
        EXPECT_EQ(limits.processors, UINT32_MAX) << membership;
    }
    EXPECT_EQ(read_control_group_limits(folder_, folder_ + "/nothing").memory_bytes, UINT64_MAX);
}

}  // namespace
}  // namespace broker
