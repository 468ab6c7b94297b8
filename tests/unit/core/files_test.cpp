#include "core/files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/scoped_environment.h"
#include "support/temp_folder.h"

namespace intaglio {
namespace {

using test::ScopedEnvironment;
using ::testing::HasSubstr;

TEST(ReadFile, ReadsBytesAndExplainsFailures) {
  const TempFolder folder;
  const std::string bytes("a\0b\n", 4);
  const auto path = folder.write("f", bytes);
  EXPECT_EQ(*read_file(path), bytes);
  EXPECT_EQ(*read_file(path, 4), bytes);
  EXPECT_THAT(read_file(path, 3).error().message, HasSubstr("at most 3"));
  EXPECT_THAT(read_file(folder.path()).error().message, HasSubstr("is a folder"));
  EXPECT_THAT(read_file(folder / "none").error().message,
              HasSubstr("none: cannot read: No such file"));
}

TEST(WriteFileAtomic, ReplacesWholeFilesAndLeavesNothingElse) {
  const TempFolder folder;
  const auto path = folder / std::string(255, 'n');  // the longest name of most file systems
  ASSERT_TRUE(write_file_atomic(path, "first"));
  ASSERT_TRUE(write_file_atomic(path, "2"));
  EXPECT_EQ(*read_file(path), "2");
  EXPECT_EQ(folder.entries(), 1u);
  EXPECT_FALSE(write_file_atomic(folder / "no/file", "x"));
  EXPECT_FALSE(write_file_atomic(folder.path(), "x"));
  EXPECT_FALSE(write_file_atomic(folder.path() / "", "x"));
  EXPECT_FALSE(write_file_atomic("", "x"));
  std::filesystem::create_directory(folder / "sub");
  EXPECT_FALSE(write_file_atomic(folder / "sub", "x"));
  EXPECT_EQ(folder.entries(), 2u);
}

TEST(CacheFolder, FollowsTheEnvironment) {
  const ScopedEnvironment home("HOME", "/home/me");
  {
    const ScopedEnvironment cache("XDG_CACHE_HOME", "/var/cache/me");
    EXPECT_EQ(*cache_folder("map", "maps"), "/var/cache/me/intaglio/map");
  }
  const ScopedEnvironment cache("XDG_CACHE_HOME", "relative");
  EXPECT_EQ(*cache_folder("map", "maps"), "/home/me/.cache/intaglio/map");
  const ScopedEnvironment no_home("HOME", "");
  const auto none = cache_folder("map", "maps");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().message,
            "no folder for maps: set XDG_CACHE_HOME or HOME to an absolute path");
}

}  // namespace
}  // namespace intaglio
