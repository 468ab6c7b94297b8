#include "core/control_group.h"

#include <gtest/gtest.h>

#include "core/memory_info.h"
#include "core/processors.h"
#include "support/temp_folder.h"

namespace intaglio {
namespace {

constexpr const char* kMountV2 =
    "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
    "30 22 0:27 / /sys/fs/cgroup rw,nosuid shared:9 master:2 - cgroup2 cgroup2 rw,nsdelegate\n";

// A process in a made tree of proc and groups.
struct Tree {
  TempFolder folder;

  Tree(const std::string& mounts, const std::string& groups) {
    folder.write("proc/self/mountinfo", mounts);
    folder.write("proc/self/cgroup", groups);
  }
  void write(const std::string& name, const std::string& text) {
    folder.write("sys/fs/cgroup/" + name, text);
  }
  ControlGroupLimits limits() const { return control_group_limits(folder.path()); }
};

TEST(ControlGroup, NothingLimitsWhereNothingIsMounted) {
  const TempFolder empty;
  const ControlGroupLimits limits = control_group_limits(empty.path());
  EXPECT_FALSE(limits.processors || limits.memory_left || limits.threads);
}

TEST(ControlGroup, Version2OwnGroup) {
  Tree tree(kMountV2, "0::/user/job\n");
  tree.write("user/job/cpu.max", "150000 100000\n");
  tree.write("user/job/memory.max", "1000000\n");
  tree.write("user/job/memory.current", "400000\n");
  tree.write("user/job/pids.max", "30\n");
  EXPECT_EQ(tree.limits().processors, 1.5);
  EXPECT_EQ(tree.limits().memory_left, 600000u);
  EXPECT_EQ(tree.limits().threads, 30u);
}

// The least wins, wherever between the root and the group it stands.
TEST(ControlGroup, Version2NestedGroups) {
  Tree tree(kMountV2, "0::/a/b/c\n");
  tree.write("cpu.max", "800000 100000\n");
  tree.write("a/cpu.max", "200000 100000\n");
  tree.write("a/b/cpu.max", "max 100000\n");
  tree.write("a/b/c/cpu.max", "400000 100000\n");
  tree.write("a/memory.max", "5000\n");
  tree.write("a/memory.current", "4000\n");
  tree.write("a/b/memory.max", "max\n");
  tree.write("a/b/c/memory.max", "3000\n");
  tree.write("a/b/c/memory.current", "500\n");
  tree.write("a/pids.max", "8\n");
  tree.write("a/b/c/pids.max", "max\n");
  tree.write("a/other/cpu.max", "1000 100000\n");  // not ours
  EXPECT_EQ(tree.limits().processors, 2.0);
  EXPECT_EQ(tree.limits().memory_left, 1000u);
  EXPECT_EQ(tree.limits().threads, 8u);
}

// The high mark counts as a limit, cached files do not count as used.
TEST(ControlGroup, HighMarkAndCachedFiles) {
  Tree tree(kMountV2, "0::/a\n");
  tree.write("a/memory.max", "9000\n");
  tree.write("a/memory.high", "7000\n");
  tree.write("a/memory.current", "6500\n");
  tree.write("a/memory.stat",
             "anon 1500\nfile 5000\ninactive_file 3000\nactive_file 2000\nshmem 7\n");
  EXPECT_EQ(tree.limits().memory_left, 7000u - 1500u);
  tree.write("a/memory.stat", "inactive_file 99999\n");  // read a moment later: more than is used
  EXPECT_EQ(tree.limits().memory_left, 7000u);
  tree.write("a/memory.stat", "");
  tree.write("a/memory.current", "8000\n");
  EXPECT_EQ(tree.limits().memory_left, 0u);
}

TEST(ControlGroup, Version1EachControllerInAHierarchyOfItsOwn) {
  Tree tree(
      "31 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
      "34 30 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
      "35 30 0:32 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
      "38 30 0:35 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n",
      "5:pids:/p\n4:memory:/m/n\n3:cpuset:/m/n\n2:cpu,cpuacct:/c/d\n1:name=systemd:/s\n");
  tree.write("cpu,cpuacct/c/cpu.cfs_quota_us", "50000\n");
  tree.write("cpu,cpuacct/c/cpu.cfs_period_us", "200000\n");
  tree.write("cpu,cpuacct/c/d/cpu.cfs_quota_us", "-1\n");
  tree.write("cpu,cpuacct/c/d/cpu.cfs_period_us", "100000\n");
  tree.write("cpuset/m/n/cpu.cfs_quota_us", "1\n");  // another hierarchy's
  tree.write("cpuset/m/n/cpu.cfs_period_us", "100000\n");
  tree.write("memory/memory.limit_in_bytes", "9223372036854771712\n");
  tree.write("memory/m/memory.limit_in_bytes", "10000\n");
  tree.write("memory/m/memory.usage_in_bytes", "9000\n");
  tree.write("memory/m/memory.stat",
             "inactive_file 1\ntotal_inactive_file 2000\ntotal_active_file 500\n");
  tree.write("memory/m/n/memory.limit_in_bytes", "9223372036854771712\n");
  tree.write("pids/p/pids.max", "12\n");
  EXPECT_EQ(tree.limits().processors, 0.25);
  EXPECT_EQ(tree.limits().memory_left, 3500u);
  EXPECT_EQ(tree.limits().threads, 12u);
}

// Version 1 for memory, version 2 for the rest.
TEST(ControlGroup, Hybrid) {
  Tree tree(
      "34 30 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
      "40 30 0:37 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
      "4:memory:/job\n0::/job\n");
  tree.write("memory/job/memory.limit_in_bytes", "4096\n");
  tree.write("unified/job/cpu.max", "100000 100000\n");
  EXPECT_EQ(tree.limits().memory_left, 4096u);
  EXPECT_EQ(tree.limits().processors, 1.0);
}

// A container sees its own group at the mount point, while its name is the host's, or "/" in a name
// space of its own.
TEST(ControlGroup, OnlyAPartOfTheHierarchyIsMounted) {
  for (const std::string& group : {"/docker/1234/inner", "/docker/1234", "/"}) {
    Tree tree("30 22 0:27 /docker/1234 /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n",
              "0::" + group + "\n");
    tree.write("cpu.max", "300000 100000\n");
    tree.write("memory.max", "70\n");
    tree.write("inner/memory.max", "60\n");
    EXPECT_EQ(tree.limits().processors, 3.0) << group;
    EXPECT_EQ(tree.limits().memory_left, group.ends_with("inner") ? 60u : 70u) << group;
  }
  // Outside of the name space.
  Tree tree(kMountV2, "0::/../../elsewhere\n");
  tree.write("cpu.max", "300000 100000\n");
  EXPECT_EQ(tree.limits().processors, 3.0);
}

TEST(ControlGroup, NamesWithBlanksAndColons) {
  Tree tree("30 22 0:27 / /sys/fs/cgroup/with\\040blank rw - cgroup2 cgroup2 rw\n", "0::/a b:c\n");
  tree.write("with blank/a b:c/cpu.max", "100000 50000\n");
  EXPECT_EQ(tree.limits().processors, 2.0);
}

TEST(ControlGroup, WhatCannotBeUnderstoodLimitsNothing) {
  for (const std::string text : {"", "\n", "max\n", "max 100000\n", "100000\n", "0 100000\n",
                                 "100000 0\n", "x 100000\n", "1e5 100000\n", "-1 100000\n",
                                 "100000 100000 100000\n", "99999999999999999999999 100000\n"}) {
    Tree tree(kMountV2, "0::/\n");
    tree.write("cpu.max", text);
    EXPECT_FALSE(tree.limits().processors) << text;
  }
  for (const std::string text : {"", "max\n", "-1\n", "12k\n", "1 2\n"}) {
    Tree tree(kMountV2, "0::/\n");
    tree.write("memory.max", text);
    EXPECT_FALSE(tree.limits().memory_left) << text;
  }
  for (const std::string mounts :
       {"", "30\n", "- cgroup2\n", "30 22 0:27 / /sys/fs/cgroup rw - cgroup2\n",
        "a b c d e f - g h i\n"}) {
    for (const std::string groups : {"", "0\n", "0:\n", "0::\n", "::::\n"}) {
      Tree tree(mounts, groups);
      EXPECT_FALSE(tree.limits().processors) << mounts << groups;
    }
  }
}

TEST(Processors, AQuotaIsRoundedUpAndNeverRaisesTheAffinity) {
  EXPECT_EQ(threads_for(8, std::nullopt), 8);
  EXPECT_EQ(threads_for(8, 1.5), 2);
  EXPECT_EQ(threads_for(8, 2.0), 2);
  EXPECT_EQ(threads_for(8, 0.1), 1);
  EXPECT_EQ(threads_for(2, 7.5), 2);
  EXPECT_EQ(threads_for(0, std::nullopt), 1);
  EXPECT_EQ(threads_for(4, 1e300), 4);
  EXPECT_GE(usable_processors(), 1);
}

TEST(MemoryInfo, SizesAreInPowersOf1024) {
  EXPECT_EQ(parse_bytes("1048576"), uint64_t{1} << 20);
  EXPECT_EQ(parse_bytes("3k"), uint64_t{3} << 10);
  EXPECT_EQ(parse_bytes("512M"), uint64_t{512} << 20);
  EXPECT_EQ(parse_bytes("8GB"), uint64_t{8} << 30);
  EXPECT_EQ(parse_bytes("1.5GiB"), uint64_t{3} << 29);
  EXPECT_EQ(parse_bytes("2T"), uint64_t{2} << 40);
  for (const char* text : {"", "G", "8 G", "8Gib2", "-1", "nan", "inf", "1e30"})
    EXPECT_FALSE(parse_bytes(text)) << text;
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(uint64_t{3} << 29), "1.5 GiB");
}

TEST(MemoryInfo, TheLeastOfSystemAndGroupIsAvailable) {
  Tree tree(kMountV2, "0::/a\n");
  tree.folder.write("proc/meminfo", "MemTotal: 9 kB\nMemAvailable:    2048 kB\nSwapTotal: 0 kB\n");
  EXPECT_EQ(available_memory_bytes(tree.folder.path()), uint64_t{2} << 20);
  tree.write("a/memory.max", "1000000\n");
  tree.write("a/memory.current", "1000\n");
  EXPECT_EQ(available_memory_bytes(tree.folder.path()), 999000u);
}

}  // namespace
}  // namespace intaglio
