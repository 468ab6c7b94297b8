#include "io/packed_folder.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "core/files.h"
#include "support/temp_folder.h"

namespace intaglio {
namespace {

class PackedFolderTest : public ::testing::Test {
 protected:
  // Of about `bytes` bytes, last used so many seconds ago.
  Status add(const std::string& key, size_t bytes, uint64_t limit, int seconds_ago = 0) const {
    INTAGLIO_ASSIGN(PackedFileWriter file,
                    PackedFileWriter::create(packed_path(folder_.path(), key),
                                             {.key = key, .about = {{"key", key}}, .records = {}}));
    const std::vector<std::byte> rows(bytes);
    INTAGLIO_TRY(file.add("rows", "", {rows, {}, {}, {}}));
    INTAGLIO_TRY(commit_packed(folder_.path(), limit, file));
    if (seconds_ago > 0) set_age(packed_path(folder_.path(), key), seconds_ago);
    return {};
  }
  static void set_age(const std::filesystem::path& file, int64_t seconds) {
    timespec times[2];
    times[0] = times[1] = {.tv_sec = std::time(nullptr) - seconds, .tv_nsec = 0};
    ASSERT_EQ(::utimensat(AT_FDCWD, file.c_str(), times, 0), 0);
  }
  std::string names() const {
    std::string names;
    const std::vector<PackedEntry> entries = list_packed(folder_.path()).value();
    for (const PackedEntry& entry : entries) names += (names.empty() ? "" : " ") + entry.name();
    return names;
  }

  TempFolder folder_;
};

TEST_F(PackedFolderTest, ListsTheLastUsedFirst) {
  EXPECT_TRUE(list_packed(folder_ / "nowhere")->empty());
  ASSERT_TRUE(add("a", 100, 1 << 20, 30));
  ASSERT_TRUE(add("b", 100, 1 << 20, 10));
  ASSERT_TRUE(add("c", 100, 1 << 20, 20));
  EXPECT_EQ(names(), "b c a");
  PackedFile::open(packed_path(folder_.path(), "a")).value()->touch();
  EXPECT_EQ(names(), "a b c");
  EXPECT_EQ(list_packed(folder_.path())->front().about.at("key"), "a");
  ASSERT_TRUE(write_file_atomic(packed_path(folder_.path(), "d"), "no packed weights"));
  int damaged = 0;
  const std::vector<PackedEntry> entries = list_packed(folder_.path()).value();
  for (const PackedEntry& entry : entries) {
    EXPECT_EQ(entry.problem.empty(), entry.name() != "d");
    damaged += entry.problem.empty() ? 0 : 1;
  }
  EXPECT_EQ(damaged, 1);
}

TEST_F(PackedFolderTest, TheLeastRecentlyUsedMakesRoom) {
  constexpr uint64_t kLimit = 32 << 10;
  ASSERT_TRUE(add("a", 10 << 10, kLimit, 30));
  ASSERT_TRUE(add("b", 10 << 10, kLimit, 20));
  ASSERT_TRUE(add("c", 10 << 10, kLimit, 10));
  EXPECT_EQ(names(), "c b a");
  ASSERT_TRUE(add("d", 10 << 10, kLimit));
  EXPECT_EQ(names(), "d c b");
  // Two go for one that is larger.
  ASSERT_TRUE(add("e", 20 << 10, kLimit));
  EXPECT_EQ(names(), "e d");
}

TEST_F(PackedFolderTest, WhatIsInUseStays) {
  constexpr uint64_t kLimit = 32 << 10;
  ASSERT_TRUE(add("a", 10 << 10, kLimit, 30));
  ASSERT_TRUE(add("b", 10 << 10, kLimit, 20));
  ASSERT_TRUE(add("c", 10 << 10, kLimit, 10));
  const auto in_use = PackedFile::open(packed_path(folder_.path(), "a")).value();
  EXPECT_TRUE(list_packed(folder_.path())->back().in_use);
  EXPECT_FALSE(remove_packed(packed_path(folder_.path(), "a")).value());
  ASSERT_TRUE(add("d", 10 << 10, kLimit));
  EXPECT_EQ(names(), "d c a");
  // No room beside it, and nothing is removed for nothing.
  const Status full = add("e", 28 << 10, kLimit);
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, ErrorCode::kOutOfMemory);
  EXPECT_EQ(names(), "d c a");
}

TEST_F(PackedFolderTest, OneLargerThanTheLimitIsRefused) {
  ASSERT_TRUE(add("a", 100, 4096));
  EXPECT_FALSE(add("b", 5000, 4096));
  EXPECT_EQ(names(), "a");
}

TEST_F(PackedFolderTest, AMappingOutlivesItsName) {
  ASSERT_TRUE(add("a", 10 << 10, 1 << 20));
  const auto file = PackedFile::open(packed_path(folder_.path(), "a")).value();
  std::filesystem::remove(packed_path(folder_.path(), "a"));
  ASSERT_TRUE(add("a", 3 << 10, 1 << 20));
  EXPECT_TRUE(file->check({.threads = 1}));
  EXPECT_EQ(file->find("rows")->runs[kPackedRows].bytes, uint64_t{10 << 10});
}

TEST_F(PackedFolderTest, SeveralWritersOfOneFileLeaveAWholeOne) {
  std::vector<std::thread> writers;
  std::atomic<int> failed{0};
  for (int i = 0; i < 4; ++i) {
    writers.emplace_back([&] {
      for (int round = 0; round < 10; ++round)
        if (!add("a", 50 << 10, 64 << 10)) ++failed;
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(names(), "a");
  EXPECT_TRUE(PackedFile::open(packed_path(folder_.path(), "a")).value()->check({.threads = 1}));
}

TEST_F(PackedFolderTest, AKilledWriterLeavesNothing) {
  const pid_t child = ::fork();
  if (child == 0) {
    auto file = PackedFileWriter::create(packed_path(folder_.path(), "a"),
                                         {.key = "a", .about = {}, .records = {}});
    const std::vector<std::byte> rows(1000);
    if (file) static_cast<void>(file->add("rows", "", {rows, {}, {}, {}}));
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(names(), "");
  // Where files cannot be without a name it leaves one, which goes after a day.
  ASSERT_TRUE(write_file_atomic(folder_ / ".intaglio-1-0.tmp", "left"));
  ASSERT_TRUE(write_file_atomic(folder_ / ".intaglio-1-1.tmp", "at work"));
  set_age(folder_ / ".intaglio-1-0.tmp", 2 * 24 * 60 * 60);
  ASSERT_TRUE(add("b", 100, 1 << 20));
  EXPECT_FALSE(std::filesystem::exists(folder_ / ".intaglio-1-0.tmp"));
  EXPECT_TRUE(std::filesystem::exists(folder_ / ".intaglio-1-1.tmp"));
}

TEST_F(PackedFolderTest, NoDiskIsFilled) {
  EXPECT_TRUE(check_disk(folder_ / "made", 1));
  EXPECT_TRUE(std::filesystem::is_directory(folder_ / "made"));
  EXPECT_EQ(check_disk(folder_ / "made", ~uint64_t{0}).error().code, ErrorCode::kOutOfMemory);
  ASSERT_TRUE(write_file_atomic(folder_ / "file", "x"));
  EXPECT_EQ(check_disk(folder_ / "file" / "below", 1).error().code, ErrorCode::kIo);
}

}  // namespace
}  // namespace intaglio
