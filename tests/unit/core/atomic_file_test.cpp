#include "core/atomic_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <sstream>

#include "core/files.h"
#include "support/temp_folder.h"

namespace intaglio {
namespace {

namespace fs = std::filesystem;
using Temporary = AtomicFile::Temporary;

std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

Status write_file(const fs::path& path, std::string_view text,
                  Temporary temporary = Temporary::kNameless) {
  INTAGLIO_ASSIGN(AtomicFile file, AtomicFile::create(path, temporary));
  INTAGLIO_TRY(file.write(bytes_of(text)));
  return file.commit();
}

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

class AtomicFileTest : public testing::TestWithParam<Temporary> {
 protected:
  TempFolder folder_;
};
INSTANTIATE_TEST_SUITE_P(Both, AtomicFileTest,
                         testing::Values(Temporary::kNameless, Temporary::kNamed),
                         [](const auto& info) {
                           return info.param == Temporary::kNamed ? "Named" : "Nameless";
                         });

TEST_P(AtomicFileTest, AppearsWholeAndAloneOnlyAtCommit) {
  const fs::path path = folder_ / "a";
  auto file = AtomicFile::create(path, GetParam());
  ASSERT_TRUE(file) << file.error().message;
  ASSERT_TRUE(file->write(bytes_of("one ")));
  EXPECT_FALSE(fs::exists(path));
  EXPECT_EQ(folder_.entries(), GetParam() == Temporary::kNamed ? 1u : 0u);
  ASSERT_TRUE(file->write(bytes_of("two")));
  const Status committed = file->commit();
  ASSERT_TRUE(committed) << committed.error().message;
  EXPECT_EQ(read_file(path), "one two");
  EXPECT_EQ(folder_.entries(), 1u);
}

TEST_P(AtomicFileTest, WithoutCommitTheOldFileStays) {
  const fs::path path = folder_.write("a", "old");
  {
    auto file = AtomicFile::create(path, GetParam());
    ASSERT_TRUE(file);
    ASSERT_TRUE(file->write(bytes_of("new")));
  }
  EXPECT_EQ(read_file(path), "old");
  EXPECT_EQ(folder_.entries(), 1u);
}

TEST_P(AtomicFileTest, ReplacesAFileAndKeepsWhoMayReadIt) {
  const fs::path path = folder_.write("a", "an older and longer text");
  fs::permissions(path, fs::perms::owner_read | fs::perms::owner_write);
  const Status status = write_file(path, "new", GetParam());
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(read_file(path), "new");
  EXPECT_EQ(fs::status(path).permissions(), fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_EQ(folder_.entries(), 1u);
}

TEST_P(AtomicFileTest, ALinkIsWrittenThrough) {
  const fs::path file = folder_.write("inner/file", "old");
  fs::create_symlink("inner/file", folder_ / "second");
  fs::create_symlink("second", folder_ / "link");
  ASSERT_TRUE(write_file(folder_ / "link", "new", GetParam()));
  EXPECT_TRUE(fs::is_symlink(folder_ / "link"));
  EXPECT_EQ(read_file(file), "new");
  fs::create_symlink("inner/absent", folder_ / "dangling");
  ASSERT_TRUE(write_file(folder_ / "dangling", "text", GetParam()));
  EXPECT_EQ(read_file(folder_ / "inner/absent"), "text");
  fs::create_symlink("loop", folder_ / "loop");
  EXPECT_FALSE(write_file(folder_ / "loop", "text", GetParam()));
}

TEST_P(AtomicFileTest, AFullFileLimitLeavesNothing) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small{.rlim_cur = 4096, .rlim_max = before.rlim_max};
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status status = write_file(folder_ / "a", std::string(10000, 'x'), GetParam());
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, handler);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kIo);
  EXPECT_NE(status.error().message.find("File too large"), std::string::npos);
  EXPECT_EQ(folder_.entries(), 0u);
}

TEST(AtomicFile, ASignalHandlerCanRemoveWhatHasAName) {
  const TempFolder folder;
  auto one = AtomicFile::create(folder / "a", Temporary::kNamed);
  auto two = AtomicFile::create(folder / "b", Temporary::kNamed);
  ASSERT_TRUE(one && two);
  EXPECT_EQ(folder.entries(), 2u);
  remove_temporary_files();
  EXPECT_EQ(folder.entries(), 0u);
  EXPECT_FALSE(one->commit());
}

// Names come and go; the table of those to remove does not fill up.
TEST(AtomicFile, ManyFilesOneAfterTheOther) {
  const TempFolder folder;
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(AtomicFile::create(folder / "a", Temporary::kNamed));
  auto last = AtomicFile::create(folder / "b", Temporary::kNamed);
  ASSERT_TRUE(last);
  EXPECT_EQ(folder.entries(), 1u);
  remove_temporary_files();
  EXPECT_EQ(folder.entries(), 0u);
}

TEST(AtomicFile, MoreThanTheTableHolds) {
  const TempFolder folder;
  {
    std::vector<AtomicFile> files;
    for (int i = 0; i < 100; ++i) {
      auto file = AtomicFile::create(folder / std::to_string(i), Temporary::kNamed);
      ASSERT_TRUE(file);
      files.push_back(std::move(*file));
    }
    EXPECT_EQ(folder.entries(), 100u);
  }
  EXPECT_EQ(folder.entries(), 0u);
}

TEST(AtomicFile, DevicesAndPipesAreWrittenToAndNeverReplaced) {
  const TempFolder folder;
  ASSERT_TRUE(write_file("/dev/null", "text"));
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
  const Status full = write_file("/dev/full", "text");
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().message, "/dev/full: cannot write: No space left on device");
  EXPECT_TRUE(fs::is_character_file("/dev/full"));

  const fs::path pipe = folder / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_FALSE(write_file(pipe, "text"));  // and does not wait for a reader
  const int reader = open(pipe.c_str(), O_RDONLY | O_NONBLOCK);
  ASSERT_TRUE(write_file(pipe, "text"));
  std::array<char, 8> read_back{};
  EXPECT_EQ(read(reader, read_back.data(), read_back.size()), 4);
  close(reader);
  EXPECT_TRUE(fs::is_fifo(pipe));
  EXPECT_EQ(folder.entries(), 1u);
}

TEST(AtomicFile, NamesWhatCannotBeWritten) {
  const TempFolder folder;
  const auto message = [](const fs::path& path) { return write_file(path, "x").error().message; };
  EXPECT_EQ(message(folder / "no" / "a"),
            (folder / "no" / "a").string() + ": cannot write: No such file or directory");
  EXPECT_NE(message(folder.path()).find("Is a directory"), std::string::npos);
  EXPECT_NE(message(folder / "a/").find("not a file name"), std::string::npos);
  EXPECT_NE(message(folder / std::string(300, 'x')).find("File name too long"), std::string::npos);
  EXPECT_EQ(folder.entries(), 0u);
}

// A pipe has no fsync, as some file systems have none.
TEST(FlushToDisk, WhatKnowsNoFsyncIsNoFailure) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  EXPECT_TRUE(flush_to_disk(ends[1]));
  ::close(ends[0]);
  ::close(ends[1]);
  EXPECT_FALSE(flush_to_disk(ends[1]));
  EXPECT_EQ(errno, EBADF);
}

}  // namespace
}  // namespace intaglio
